//! `mnnc run`: a model on given inputs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use mnnc::error::{self, Result};
use mnnc::{CompileOptions, Compiler, Engine, Model, inputs, npy};
use mnnc_ir::{Diagnostic, Tensor};

use super::model::{ModelArgs, OptArgs, TargetArgs, TuneArgs};
use super::progress::Step;
use super::stdout::{print, print_json};
use crate::report::{Cell, Table};

/// Run a model and write its outputs as `.npy` files.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// An input from a `.npy` file; inputs that are not given are random.
    #[arg(long = "input", value_name = "NAME=FILE.npy", value_parser = input)]
    inputs: Vec<(String, PathBuf)>,
    /// Write DIR/<output name>.npy for each output; a `/` in a name becomes `_`.
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// What computes.
    #[arg(long, value_enum, default_value = "jit")]
    engine: EngineName,
    /// Seed of the inputs that are not given.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    tune: TuneArgs,
    #[command(flatten)]
    opt: OptArgs,
}

/// What can run a model.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    /// Native code, compiled now.
    Jit,
    /// The reference evaluator.
    Reference,
}

fn input(text: &str) -> std::result::Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("write it as NAME=FILE.npy")?;
    Ok((name.into(), file.into()))
}

pub fn run(args: Args) -> Result<()> {
    let mut given = HashMap::new();
    let mut options = CompileOptions {
        target: args.target.target()?,
        tune: args.tune.file()?,
        ..args.model.options(Some(&args.opt))
    };
    for (name, path) in &args.inputs {
        let tensor = npy::read(path)?;
        // What is given settles a shape that the model leaves open.
        if !options.shapes.iter().any(|(shaped, _)| shaped == name) {
            options.shapes.push((name.clone(), tensor.dims().iter().map(|&d| d as u64).collect()));
        }
        if given.insert(name.clone(), tensor).is_some() {
            return Err(error::usage(format!("input {name} is given twice")));
        }
    }
    let compiler = Compiler::new(options);
    let model = args.model.load(&compiler)?;
    let inputs = all_inputs(&model, given, args.seed)?;
    let mut engine = engine(&compiler, &model, args.engine)?;
    let outputs = {
        let _step = Step::begin("running");
        engine.run(&inputs)?
    };
    let graph = model.graph();
    let named = || graph.outputs().iter().map(|&v| &graph.value(v).name).zip(&outputs);
    if let Some(dir) = &args.output_dir {
        write_all(dir, named())?;
    }
    let columns = [("name", "output"), ("type", "type"), ("min", "min"), ("max", "max"), ("mean", "mean")];
    let mut table = Table::new(&columns);
    for (name, tensor) in named() {
        let [min, max, mean] = statistics(tensor);
        table.row([name.as_str().into(), tensor.ty().show(&graph.syms).into(), min, max, mean]);
    }
    if args.json {
        print_json(&table.json());
    } else {
        print(&table.text());
    }
    Ok(())
}

/// The engine of this name, for this model.
pub fn engine(compiler: &Compiler, model: &Model, name: EngineName) -> Result<Engine> {
    match name {
        EngineName::Reference => Ok(Engine::reference(model.computed())),
        EngineName::Jit => {
            let _step = Step::begin("compiling");
            Ok(Engine::jit(compiler.jit(model)?))
        }
    }
}

/// Inputs in the model's order: given ones, checked, and random ones for the rest.
fn all_inputs(model: &Model, mut given: HashMap<String, Tensor>, seed: u64) -> Result<Vec<Tensor>> {
    let graph = model.graph();
    let mut all = Vec::new();
    for &v in graph.inputs() {
        let value = graph.value(v);
        let Some(tensor) = given.remove(&value.name) else {
            all.push(inputs::one(graph, v, seed)?);
            continue;
        };
        if tensor.ty() != value.ty {
            let (got, want) = (tensor.ty().show(&graph.syms), value.ty.show(&graph.syms));
            let message = format!("input {} is {got}, the model takes {want}", value.name);
            return Err(Diagnostic::usage(message).remedy("convert it with numpy's astype and reshape").into());
        }
        all.push(tensor);
    }
    if let Some(name) = given.keys().next() {
        let known: Vec<&str> = graph.inputs().iter().map(|&v| graph.value(v).name.as_str()).collect();
        return Err(error::usage(format!("the model has no input {name}; it has: {}", known.join(", "))));
    }
    Ok(all)
}

fn write_all<'a>(dir: &Path, outputs: impl Iterator<Item = (&'a String, &'a Tensor)>) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(|e| error::file("create", dir, &e))?;
    for (name, tensor) in outputs {
        npy::write(&dir.join(format!("{}.npy", file_stem(name))), tensor)?;
    }
    Ok(())
}

/// A file name of an output's name. Names come from the model: none may lead out of the folder.
fn file_stem(name: &str) -> String {
    let safe: String =
        name.chars().map(|c| if matches!(c, '/' | '\\' | ':') || c.is_control() { '_' } else { c }).collect();
    if safe.is_empty() { "output".into() } else { safe }
}

fn statistics(tensor: &Tensor) -> [Cell; 3] {
    let values = tensor.to_f64s();
    if values.is_empty() {
        return [Cell::Empty, Cell::Empty, Cell::Empty];
    }
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    [min, max, mean].map(|value| Cell::Number(value, 6))
}

#[cfg(test)]
mod tests {
    use super::file_stem;

    #[test]
    fn output_files_stay_in_their_folder() {
        assert_eq!(file_stem("a/b:0"), "a_b_0");
        assert_eq!(file_stem("../x"), ".._x");
        assert_eq!(file_stem(""), "output");
    }
}
