//! The last step of a compilation: check, then write what was asked for.

use std::path::{Path, PathBuf};

use mnnc_codegen::artifact::{self, Kind};
use mnnc_ir::diag::{Diagnostic, Diagnostics};
use mnnc_ir::{Graph, Tensor};
use mnnc_transform::{OptLevel, Prefer, Target as Purpose};

use crate::compiler::{CompileOptions, Compiler, Memory, Model, Precision};
use crate::dynamic;
use crate::error::{self, Result};
use crate::inputs;
use crate::native::diagnostics;
use crate::output;
use crate::reduced;
use crate::verify::Verification;

/// What a compilation writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emit {
    /// A file that MNN's interpreter loads.
    Mnn,
    /// A relocatable object with its header and manifest.
    Object,
    /// A static library of that object.
    StaticLib,
    /// A shared library.
    Shared,
    /// The optimised graph in text form.
    Ir,
}

impl Emit {
    /// Every kind, with its name and the extension that stands for it.
    pub const ALL: [(Emit, &'static str, &'static str); 5] = [
        (Emit::Mnn, "mnn", "mnn"),
        (Emit::Object, "obj", "o"),
        (Emit::StaticLib, "staticlib", "a"),
        (Emit::Shared, "shared", "so"),
        (Emit::Ir, "ir", "mir"),
    ];

    /// The kind that a file's extension stands for.
    pub fn of(path: &Path) -> Option<Emit> {
        let extension = path.extension()?.to_str()?;
        Emit::ALL.iter().find(|(_, _, e)| *e == extension).map(|(emit, ..)| *emit)
    }

    fn artifact(self) -> Option<Kind> {
        match self {
            Emit::Object => Some(Kind::Object),
            Emit::StaticLib => Some(Kind::Archive),
            Emit::Shared => Some(Kind::Shared),
            Emit::Mnn | Emit::Ir => None,
        }
    }
}

/// What was compiled.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// The files written, the one that was asked for first.
    pub files: Vec<PathBuf>,
    /// Nodes after optimisation.
    pub nodes: usize,
    /// Bytes of the first file.
    pub bytes: u64,
    /// Bytes of workspace that native code needs.
    pub workspace: Option<u64>,
    /// Result of the closing check; `None` without one.
    pub verification: Option<Verification>,
    /// What the check could not cover, and other things worth knowing.
    pub notes: Vec<String>,
    /// The compiler that made it: with other options than were asked for, where those were off by too much.
    pub by: Compiler,
}

/// Seed of the inputs of the closing check.
const CHECK_SEED: u64 = 0x6d6e6e63;

impl Compiler {
    /// Optimises, checks and writes a model.
    ///
    /// With `verify`, what is about to be written is compared with the reference evaluator on seeded inputs first; if it
    /// is wrong, nothing is written.
    ///
    /// # Errors
    /// Everything that is unsupported, a failed check (exit code 3), or a file that cannot be written.
    pub fn compile(&self, model: &Model, emit: Emit, path: &Path, verify: bool) -> Result<Compiled> {
        let mut done = match emit.artifact() {
            Some(kind) => self.compile_native(model, kind, path, verify)?,
            None => self.compile_graph(model, emit, path, verify)?,
        };
        if let Some(first) = done.files.first() {
            done.bytes = std::fs::metadata(first).map_or(0, |m| m.len());
        }
        Ok(done)
    }

    fn compile_native(&self, model: &Model, kind: Kind, path: &Path, verify: bool) -> Result<Compiled> {
        let graph = self.optimise(model, Purpose::Native)?.graph;
        let mut done = Compiled { nodes: nodes(&graph), by: self.clone(), ..Compiled::default() };
        let runs_here = self.target().runs_here();
        let inputs = self.check_inputs(model, verify, &mut done)?;
        // The layers first: the code that shows them all is gone, with its copy of the weights, before the real one is made.
        let layers = match &inputs {
            Some(inputs) if runs_here => self.verify_layers(model, &graph, inputs)?,
            _ => Vec::new(),
        };
        if self.reduces() && self.exact.is_empty() {
            let exact = reduced::inexact(&graph, &layers);
            if !exact.is_empty() {
                let names: Vec<&str> = exact.iter().map(|&n| graph.node(n).name.as_str()).collect();
                let note = format!("in f32, where bf16 adds more than 3 % of error: {}", names.join(", "));
                let mut done = Compiler { exact, ..self.clone() }.compile_native(model, kind, path, verify)?;
                done.notes.push(note);
                return Ok(done);
            }
        }
        done.notes.extend(self.reduction_note());
        done.notes.extend(self.memory_note(&graph));
        let mut lowered = self.lower_graph(model, &graph)?;
        if self.options.name.is_none() {
            // `NAME.h` and `NAME.json` stand beside `NAME.o`.
            lowered.interface.name = stem(path);
        }
        done.workspace = Some(lowered.workspace() as u64);
        if let Some(inputs) = inputs {
            let mut found = if runs_here {
                self.verify_outputs(model, &graph, &lowered, &inputs)?
            } else {
                done.notes.push("code for another machine: the graph was checked, the code was not run".into());
                self.verify_graph(model, &graph, &inputs)?
            };
            // The error budget of transformed convolutions: the contract's tolerance, before any allowance for noise.
            if found.noise.is_some() && self.options.precision == Precision::Normal && uses_winograd(&lowered) {
                let options = CompileOptions { precision: Precision::High, ..self.options.clone() };
                let mut done = Compiler::new(options).compile_native(model, kind, path, verify)?;
                done.notes.push(
                    "an output was out of tolerance with Winograd convolution: compiled without, as by --precision high".into(),
                );
                return Ok(done);
            }
            if self.reduces() && runs_here {
                found.know_floors(&layers);
                let note = reduced::measured(&found);
                if found.outputs.iter().any(|o| !o.deviation.is_within()) {
                    let options = CompileOptions { precision: Precision::Normal, ..self.options.clone() };
                    let mut done = Compiler::new(options).compile_native(model, kind, path, verify)?;
                    done.notes.push(format!("in f32 after all, for that was too much: {note}"));
                    return Ok(done);
                }
                done.notes.push(note);
            }
            if dynamic::quantises(&graph) && runs_here {
                let note = dynamic::measured(&found);
                if found.outputs.iter().any(|o| !o.deviation.is_within()) {
                    let options = CompileOptions { memory: Memory::Normal, ..self.options.clone() };
                    let mut done = Compiler::new(options).compile_native(model, kind, path, verify)?;
                    done.notes.push(format!("--memory low: in f32 after all, for that was too much: {note}"));
                    return Ok(done);
                }
                done.notes.push(note);
            }
            found.layers.extend(layers);
            done.accept(found)?;
        }
        done.files = artifact::write(&lowered, kind, path).map_err(|e| diagnostics(e, ""))?;
        Ok(done)
    }

    fn compile_graph(&self, model: &Model, emit: Emit, path: &Path, verify: bool) -> Result<Compiled> {
        let purpose = if emit == Emit::Mnn { Purpose::Mnn } else { Purpose::Native };
        let graph = self.optimise(model, purpose)?.graph;
        let mut done = Compiled { nodes: nodes(&graph), by: self.clone(), ..Compiled::default() };
        if let Some(inputs) = self.check_inputs(model, verify, &mut done)? {
            done.accept(self.verify_graph(model, &graph, &inputs)?)?;
        }
        let (bytes, weights) = match emit {
            Emit::Mnn => {
                let file = self.mnn(model, &graph)?;
                done.notes.extend(file.notes);
                (file.model, file.weights)
            }
            _ => (graph.to_text().into_bytes(), None),
        };
        done.files = vec![path.to_path_buf()];
        // The weights first: a model that is there has them.
        if let Some(weights) = weights {
            let beside = beside(path);
            output::write(&beside, &weights)?;
            done.files.push(beside);
        }
        output::write(path, &bytes)?;
        Ok(done)
    }

    /// The bytes of the `.mnn` file that a model becomes, weights and all.
    pub(crate) fn mnn_file(&self, model: &Model) -> Result<Vec<u8>> {
        let mut options = self.options.clone();
        options.mnn.external_weights = false;
        let graph = self.optimise(model, Purpose::Mnn)?.graph;
        Compiler { options, ..self.clone() }.mnn(model, &graph).map(|file| file.model)
    }

    /// The bytes of a `.mnn` file of an optimised graph, read back and compared with the model's interface.
    fn mnn(&self, model: &Model, graph: &Graph) -> Result<mnnc_mnn::File> {
        let options = mnnc_mnn::WriteOptions {
            opt_level: match self.options.opt_level {
                OptLevel::O0 => 0,
                OptLevel::O1 => 1,
                OptLevel::O2 => 2,
            },
            prefer: match self.options.prefer {
                Prefer::Normal => mnnc_mnn::Prefer::Normal,
                Prefer::Size => mnnc_mnn::Prefer::Size,
                Prefer::Speed => mnnc_mnn::Prefer::Speed,
            },
            ..self.options.mnn.clone()
        };
        let file = mnnc_mnn::write_file(graph, &options).map_err(|e| write_error(e, model.path()))?;
        let back = mnnc_mnn::summary(&file.model)
            .map_err(|e| error::internal(format!("the .mnn file does not read back: {e}")))?;
        let names = |values: &[mnnc_ir::ValueId]| -> Vec<String> {
            values.iter().map(|&v| graph.value(v).name.clone()).collect()
        };
        let found = |ports: &[mnnc_mnn::Port]| -> Vec<String> { ports.iter().map(|p| p.name.clone()).collect() };
        if names(graph.inputs()) != found(&back.inputs) || names(graph.outputs()) != found(&back.outputs) {
            return Err(error::internal(format!(
                "the .mnn file has inputs {:?} and outputs {:?}, the model {:?} and {:?}",
                found(&back.inputs),
                found(&back.outputs),
                names(graph.inputs()),
                names(graph.outputs())
            )));
        }
        Ok(file)
    }

    /// Inputs for the closing check, or a note why there is none.
    fn check_inputs(&self, model: &Model, verify: bool, done: &mut Compiled) -> Result<Option<Vec<Tensor>>> {
        let graph = model.graph();
        if !verify {
            return Ok(None);
        }
        if graph.inputs().iter().any(|&v| graph.ty(v).static_dims().is_none()) {
            done.notes
                .push("not checked: an input's shape is open; fix it with --shape to have the result checked".into());
            return Ok(None);
        }
        inputs::all(graph, CHECK_SEED).map(Some)
    }
}

/// Whether any processor's code transforms the tiles of a convolution.
fn uses_winograd(model: &mnnc_codegen::Model) -> bool {
    let transformed =
        |v: &mnnc_codegen::Variant| v.schedule.kernels.iter().any(|(_, k)| k.name.starts_with("winograd"));
    model.variants.iter().any(transformed)
}

impl Compiled {
    /// Bytes of the first file, and of one with weights that stands beside it.
    pub fn all_bytes(&self) -> u64 {
        let weights = self.files.iter().skip(1).filter(|file| file.extension().is_some_and(|e| e == "weight"));
        self.bytes + weights.filter_map(|file| Some(std::fs::metadata(file).ok()?.len())).sum::<u64>()
    }

    /// Keeps the result of the closing check.
    fn accept(&mut self, found: Verification) -> Result<()> {
        found.judge()?;
        if let Some(noise) = found.noise {
            self.notes.push(format!(
                "ill-conditioned: moving the inputs by 2^-22 of themselves moves the outputs by up to {noise:.1e}"
            ));
        }
        self.verification = Some(found);
        Ok(())
    }
}

/// Nodes of the main region.
fn nodes(graph: &Graph) -> usize {
    graph.schedule().len()
}

/// Where MNN looks for the weights of a `.mnn` file that holds none.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".weight");
    name.into()
}

/// A C identifier from a file's name.
fn stem(path: &Path) -> String {
    let stem = path.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy().into_owned());
    mnnc_codegen::identifier(&stem)
}

fn write_error(error: mnnc_mnn::WriteError, model: &Path) -> Diagnostics {
    match error {
        mnnc_mnn::WriteError::Unsupported(nodes) => {
            let node = |n: mnnc_mnn::Unsupported| {
                Diagnostic::unsupported(n.reason).node(n.node).op(n.op).shapes([n.shapes]).file(model.display())
            };
            nodes.into_iter().map(node).collect()
        }
        error @ mnnc_mnn::WriteError::TooLarge { .. } => {
            Diagnostic::unsupported(error.to_string()).file(model.display()).into()
        }
    }
}
