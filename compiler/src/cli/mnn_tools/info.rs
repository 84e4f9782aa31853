//! What MNNConvert shows without converting: ops of a frontend, what is in a file, a file as JSON.

use std::path::Path;

use mnnc::error::{self, Result};
use mnnc::output;
use mnnc_ir::Diagnostic;
use mnnc_schema::mnn::{self, MNN_DATA_FORMAT, OpType};

use super::super::stdout::print;
use super::options::Framework;

/// The bytes of a `.mnn` file.
fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| error::file("read", path, &e))
}

fn root<'a>(bytes: &'a [u8], path: &Path) -> Result<mnn::Net<'a>> {
    mnn::root(bytes).map_err(|e| Diagnostic::bad_input(format!("not a .mnn file: {e}")).file(path.display()).into())
}

/// `--OP`: the ops of a format, one a line, and how many.
pub fn ops(framework: Framework) -> Result<()> {
    if framework != Framework::Onnx {
        let message = "--OP lists the ops of ONNX only: of no other format are they read one by one";
        return Err(Diagnostic::unsupported(message).remedy("say -f ONNX").into());
    }
    let mut names: Vec<String> = mnnc_import::onnx::coverage().into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let total = names.len();
    names.push(format!("Total: {total}\n"));
    print(&names.join("\n"));
    Ok(())
}

/// `--info`: inputs, outputs and version of a file.
pub fn info(path: &Path) -> Result<()> {
    let bytes = read(path)?;
    let net = root(&bytes, path)?;
    let summary = mnnc_mnn::summary(&bytes)
        .map_err(|e| mnnc::Error::from(Diagnostic::bad_input(e.to_string()).file(path.display())))?;
    let inputs: Vec<_> = net.oplists().into_iter().flatten().filter(|op| op.type_() == OpType::Input).collect();
    let format = |f: MNN_DATA_FORMAT| f.variant_name().unwrap_or("?");
    let mut text = String::from("Model default dimensionFormat is ");
    // That of the inputs, where they agree; that of the source else.
    let layouts: Vec<MNN_DATA_FORMAT> =
        inputs.iter().filter_map(|op| op.main_as_input()).map(|input| input.dformat()).collect();
    text += layouts.first().map_or("NCHW", |&f| format(f));
    text += "\nModel Inputs:\n";
    for (port, op) in summary.inputs.iter().zip(&inputs) {
        let layout = op.main_as_input().map_or(MNN_DATA_FORMAT::NC4HW4, |input| input.dformat());
        let dims: Vec<String> = port.dims.iter().map(i32::to_string).collect();
        let dtype = port.dtype.as_deref().unwrap_or("DT_INVALID").trim_start_matches("DT_").to_lowercase();
        text += &format!(
            "[ {} ]: dimensionFormat: {}, size: [ {} ], type is {dtype}\n",
            port.name,
            format(layout),
            dims.join(",")
        );
    }
    text += "Model Outputs:\n";
    for port in &summary.outputs {
        text += &format!("[ {} ]\n", port.name);
    }
    text += &format!("Model Version: {}\n", summary.version.as_deref().unwrap_or("< 2.0.0"));
    print(&text);
    Ok(())
}

/// `--JsonFile`: the whole file as JSON. Floats are written so that they read back equal.
pub fn dump(path: &Path, to: &Path) -> Result<()> {
    let bytes = read(path)?;
    let net = root(&bytes, path)?;
    let fill = |out: &mut std::io::BufWriter<&std::fs::File>| {
        serde_json::to_writer_pretty(out, &net).map_err(std::io::Error::from)
    };
    output::write_whole(to, fill).map_err(|e| error::file("write", to, &e))
}
