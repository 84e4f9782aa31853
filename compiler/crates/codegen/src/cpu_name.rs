//! What `--cpu` may say of one processor: a name, and features added to it or taken away (`x86-64-v4+bf16`, `znver4-vnni`).

use crate::CodegenError;
use crate::target::{Arch, Cpu, Target};
use mnnc_vector::Features;

/// A processor of family `arch` from its text; `native` is `host`.
///
/// # Errors
/// An unknown name or feature, one of another family, or a feature that code for the level cannot use; with what is known.
pub(crate) fn parse(text: &str, arch: Arch, host: Cpu) -> Result<Cpu, CodegenError> {
    let (name, changes) = split(text);
    let Some(mut cpu) = named(name, host) else {
        return Err(CodegenError::Usage(format!("unknown cpu {name}; known: native, {}", known(arch))));
    };
    if cpu.level.arch() != arch {
        return Err(CodegenError::Usage(format!("cpu {name} is not of this target; it has {}", known(arch))));
    }
    for (add, feature) in changes {
        let optional = cpu.level.optional();
        let Some(feature) = Features::from_name(&feature.to_uppercase()).filter(|&f| optional.contains(f)) else {
            let names: Vec<String> = optional.iter_names().map(|(n, _)| n.to_lowercase()).collect();
            let has = if names.is_empty() { "no features".to_owned() } else { format!("only {}", names.join(", ")) };
            return Err(CodegenError::Usage(format!(
                "cpu {name} has no feature {feature} that code could use; {} has {has}",
                cpu.level.name()
            )));
        };
        cpu.features.set(feature, add);
    }
    Ok(cpu)
}

fn named(name: &str, host: Cpu) -> Option<Cpu> {
    if name == "native" { Some(host) } else { Target::cpu_names().find(|(n, _)| *n == name).map(|(_, c)| c) }
}

/// The names of a family, for messages.
fn known(arch: Arch) -> String {
    let names: Vec<&str> = Target::cpu_names().filter(|(_, c)| c.level.arch() == arch).map(|(n, _)| n).collect();
    names.join(", ")
}

/// The name, and the features behind it with whether they are added. Names hold hyphens, too: only what is a feature's name is
/// taken for one that is taken away.
fn split(text: &str) -> (&str, Vec<(bool, &str)>) {
    let (mut name, mut changes) = (text, Vec::new());
    while let Some(at) = name.rfind(['+', '-']) {
        let (add, feature) = (name.as_bytes()[at] == b'+', &name[at + 1..]);
        if !add && Features::from_name(&feature.to_uppercase()).is_none() {
            break;
        }
        changes.push((add, feature));
        name = &name[..at];
    }
    changes.reverse();
    (name, changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Level;

    fn x64(text: &str) -> Result<Cpu, String> {
        parse(text, Arch::X64, Cpu::new(Level::X64V3)).map_err(|e| e.to_string())
    }

    #[test]
    fn features_are_added_and_taken_away() {
        assert_eq!(x64("x86-64-v4+bf16+vnni").unwrap().features, Features::BF16 | Features::VNNI);
        assert_eq!(x64("znver4-vnni").unwrap().features, Features::BF16 | Features::VBMI);
        assert_eq!(x64("znver4-vnni-bf16+vnni").unwrap().features, Features::VNNI | Features::VBMI);
        assert_eq!(x64("skylake-avx512").unwrap().features, Features::empty());
        assert_eq!(x64("native+vnni").unwrap(), Cpu { features: Features::VNNI, ..Cpu::new(Level::X64V3) });
        let shown = x64("x86-64-v4+vnni+bf16").unwrap();
        assert_eq!(x64(&shown.to_string()).unwrap(), shown);
    }

    #[test]
    fn what_is_unknown_is_named() {
        let cases = [
            ("x86-64-v9+bf16", "unknown cpu x86-64-v9; known: native, x86-64-v1"),
            ("x86-64-v4+sve", "no feature sve"),
            ("x86-64-v3+bf16", "x86-64-v3 has only vnni"),
            ("x86-64-v2+vnni", "x86-64-v2 has no features"),
            ("x86-64-v4+", "no feature "),
            ("+vnni", "unknown cpu ;"),
            ("neon", "not of this target"),
            ("x86-64-v4+dotprod", "only vnni, bf16"),
        ];
        for (text, part) in cases {
            let e = x64(text).expect_err(text);
            assert!(e.contains(part), "{text}: {e}");
        }
    }
}
