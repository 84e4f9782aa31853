//! The command lines of MNN's own tools, as verbs (`mnnc MNNConvert …`) and when the program is called by their names.
//!
//! `auto-quant` is a verb of this program's own; here it is known by its other names.
//!
//! Every option of MNN's tools works or is refused by name with the reason; what they do not know is an error. Their exit codes are 0
//! and 1.

pub mod convert;
mod info;
mod options;
pub mod quantized;
mod testdir;

use std::ffi::OsString;
use std::path::Path;

/// A tool's verb with other names that it goes by.
type Names = (&'static str, &'static [&'static str]);

/// The tools that are here.
const TOOLS: [Names; 2] = [("MNNConvert", &["mnnconvert"]), ("quantized.out", &["mnnquant"])];
/// A verb of this program's own that takes what MNN's tool of that name takes.
const AUTO_QUANT: Names = ("auto-quant", &["auto_quant", "auto_quant.py"]);

/// The command line of `mnnc` that these arguments stand for: the verb stands first where the program is called by a tool's name.
pub fn arguments(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let called = args.first().and_then(|program| Path::new(program).file_name()?.to_str().map(str::to_owned));
    let tool = called.and_then(|name| {
        let name = name.strip_suffix(std::env::consts::EXE_SUFFIX).unwrap_or(&name);
        TOOLS.iter().chain([&AUTO_QUANT]).find(|(verb, others)| *verb == name || others.contains(&name))
    });
    if let Some((verb, _)) = tool {
        args[0] = "mnnc".into();
        args.insert(1, verb.into());
    }
    args
}

/// Whether these arguments, after [`arguments`], are for one of the tools.
pub fn is_called(args: &[OsString]) -> bool {
    let verb = args.get(1).and_then(|verb| verb.to_str());
    verb.is_some_and(|verb| TOOLS.iter().any(|(name, others)| *name == verb || others.contains(&verb)))
}

#[cfg(test)]
mod tests {
    use super::{arguments, is_called};

    fn seen(args: &[&str]) -> Vec<String> {
        let args = arguments(args.iter().map(Into::into));
        args.into_iter().map(|a| a.into_string().unwrap()).collect()
    }

    #[test]
    fn a_link_by_a_tools_name_is_the_tool() {
        assert_eq!(seen(&["/usr/bin/MNNConvert", "-f", "ONNX"]), ["mnnc", "MNNConvert", "-f", "ONNX"]);
        assert_eq!(seen(&["./quantized.out", "a"]), ["mnnc", "quantized.out", "a"]);
        assert_eq!(seen(&["/bin/mnnc", "compile"]), ["/bin/mnnc", "compile"]);
        assert!(is_called(&arguments(["MNNConvert".into()])));
        assert!(!is_called(&arguments(["mnnc".into(), "compile".into()])));
    }
}
