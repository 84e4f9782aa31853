//! Options of every verb that reads a model.

use std::path::PathBuf;

use mnnc::error::{self, Result};
use mnnc::tune::TuneFile;
use mnnc::{CompileOptions, Compiler, Format, Hooks, Limits, Memory, Model, OptLevel, Precision, Prefer, Target};

use super::progress::Step;

/// The model and how to read it.
#[derive(clap::Args, Clone)]
pub struct ModelArgs {
    /// The model file.
    pub model: PathBuf,
    /// Format of the model [default: found from its content].
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    from: Option<Format>,
    /// Shape of an input that the model leaves open, such as x=1x3x224x224.
    #[arg(long = "shape", value_name = "NAME=DIMS", value_parser = shape)]
    pub shapes: Vec<(String, Vec<u64>)>,
    /// Largest model or data file.
    #[arg(long, value_name = "BYTES", help_heading = "Limits")]
    max_model_bytes: Option<u64>,
    /// Largest single tensor.
    #[arg(long, value_name = "BYTES", help_heading = "Limits")]
    max_tensor_bytes: Option<u64>,
    /// Most nodes.
    #[arg(long, value_name = "N", help_heading = "Limits")]
    max_nodes: Option<usize>,
    /// Most memory for the model's structure, weights not counted.
    #[arg(long, value_name = "BYTES", help_heading = "Limits")]
    max_memory: Option<u64>,
}

impl ModelArgs {
    /// The model in this file, all else as usual.
    pub fn of(model: PathBuf) -> Self {
        ModelArgs {
            model,
            from: None,
            shapes: Vec::new(),
            max_model_bytes: None,
            max_tensor_bytes: None,
            max_nodes: None,
            max_memory: None,
        }
    }

    fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits {
            max_model_bytes: self.max_model_bytes.unwrap_or(default.max_model_bytes),
            max_tensor_bytes: self.max_tensor_bytes.unwrap_or(default.max_tensor_bytes),
            max_nodes: self.max_nodes.unwrap_or(default.max_nodes),
            max_memory: self.max_memory.unwrap_or(default.max_memory),
            ..default
        }
    }
}

/// What native code is for.
#[derive(clap::Args, Clone, Default)]
pub struct TargetArgs {
    /// System to compile for, such as aarch64-linux-gnu [default: this one].
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Processor: native, a name or a level; several with commas are chosen from at run time [default: native].
    #[arg(long, value_name = "CPU")]
    cpu: Option<String>,
}

impl TargetArgs {
    /// The target, if one was named.
    pub fn target(&self) -> Result<Option<Target>> {
        if self.target.is_none() && self.cpu.is_none() {
            return Ok(None);
        }
        let target = Target::parse(self.target.as_deref(), self.cpu.as_deref());
        target.map(Some).map_err(|e| error::usage(e.to_string()))
    }
}

/// Measured schedules.
#[derive(clap::Args, Clone)]
pub struct TuneArgs {
    /// Schedules that `mnnc tune` found for this model on the processor that is compiled for.
    #[arg(long = "tune", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl TuneArgs {
    /// The file, if one was named.
    pub fn file(&self) -> Result<Option<TuneFile>> {
        self.file.as_deref().map(TuneFile::read).transpose()
    }
}

/// How to optimise.
#[derive(clap::Args, Clone, Default)]
pub struct OptArgs {
    /// 0: what lowering needs; 1: every rewrite that keeps the model open to editing; 2: everything.
    #[arg(long, value_name = "0..2", default_value = "2", value_parser = opt_level)]
    opt_level: OptLevel,
    /// What choices are made in favour of: normal, size or speed.
    #[arg(long, value_name = "WHAT", default_value = "normal", value_parser = prefer)]
    opt_prefer: Prefer,
    /// How exact the computation must be: high, normal, or low (bf16 with sums in f32, on processors that have it).
    #[arg(long, value_name = "WHAT", default_value = "normal", value_parser = precision, help_heading = "Precision")]
    pub precision: Precision,
    /// How compressed weights are computed with: normal (in f32), or low (8-bit ones in int8, activations quantised at run time).
    #[arg(long, value_name = "WHAT", default_value = "normal", value_parser = memory, help_heading = "Precision")]
    memory: Memory,
    /// Print the graph to stderr after this pass, or after every pass with `all`.
    #[arg(long, value_name = "PASS", help_heading = "Debugging")]
    print_ir_after: Vec<String>,
    /// Write the graph after each pass to a file in this folder.
    #[arg(long, value_name = "DIR", help_heading = "Debugging")]
    dump_phases: Option<PathBuf>,
    /// Check each pass: the graph's rules, and its results on random inputs before and after.
    #[arg(long, help_heading = "Debugging")]
    verify_each: bool,
}

impl OptArgs {
    /// Whether native code may compute less exactly than in `f32`.
    pub fn reduces(&self) -> bool {
        self.precision == Precision::Low || self.memory == Memory::Low
    }

    fn hooks(&self) -> Hooks {
        Hooks {
            print_after: self.print_ir_after.clone(),
            dump_dir: self.dump_phases.clone(),
            verify: self.verify_each,
            verify_each: self.verify_each,
        }
    }
}

impl ModelArgs {
    /// The options that these arguments ask for.
    pub fn options(&self, opt: Option<&OptArgs>) -> CompileOptions {
        CompileOptions {
            from: self.from,
            shapes: self.shapes.clone(),
            limits: self.limits(),
            opt_level: opt.map_or_else(OptLevel::default, |o| o.opt_level),
            prefer: opt.map_or_else(Prefer::default, |o| o.opt_prefer),
            precision: opt.map_or_else(Precision::default, |o| o.precision),
            memory: opt.map_or_else(Memory::default, |o| o.memory),
            hooks: opt.map_or_else(Hooks::default, OptArgs::hooks),
            ..CompileOptions::default()
        }
    }

    /// Reads the model and says what is odd about it.
    pub fn load(&self, compiler: &Compiler) -> Result<Model> {
        let _step = Step::begin(format!("reading {}", self.model.display()));
        let model = compiler.load(&self.model)?;
        for warning in &model.imported().warnings {
            eprintln!("{warning}");
        }
        Ok(model)
    }
}

fn format(text: &str) -> std::result::Result<Format, String> {
    Format::from_name(text)
        .ok_or_else(|| format!("`{text}` is no format; there are {}", Format::ALL.map(Format::name).join(", ")))
}

fn opt_level(text: &str) -> std::result::Result<OptLevel, String> {
    text.parse()
}

fn prefer(text: &str) -> std::result::Result<Prefer, String> {
    text.parse()
}

fn precision(text: &str) -> std::result::Result<Precision, String> {
    let known = Precision::ALL.map(|(_, name)| name).join(", ");
    let found = Precision::ALL.into_iter().find(|(_, name)| *name == text);
    found.map(|(p, _)| p).ok_or_else(|| format!("`{text}` is none of {known}"))
}

fn memory(text: &str) -> std::result::Result<Memory, String> {
    let known = Memory::ALL.map(|(_, name)| name).join(", ");
    let found = Memory::ALL.into_iter().find(|(_, name)| *name == text);
    found.map(|(m, _)| m).ok_or_else(|| format!("`{text}` is none of {known}"))
}

/// `name=1x3x224x224`; the name may itself contain `=`.
fn shape(text: &str) -> std::result::Result<(String, Vec<u64>), String> {
    let (name, dims) = text.rsplit_once('=').ok_or("write it as NAME=1x3x224x224")?;
    let parts = dims.split(['x', ',']).filter(|_| !dims.is_empty());
    let dims = parts.map(|d| d.parse().map_err(|_| format!("`{d}` is not a size")));
    Ok((name.into(), dims.collect::<std::result::Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::shape;

    #[test]
    fn shapes_are_sizes_with_an_x_between() {
        assert_eq!(shape("x=1x3"), Ok(("x".into(), vec![1, 3])));
        assert_eq!(shape("a=b=7"), Ok(("a=b".into(), vec![7])));
        assert_eq!(shape("scalar="), Ok(("scalar".into(), vec![])));
        assert!(shape("x").is_err());
        assert!(shape("x=1x-3").is_err());
    }
}
