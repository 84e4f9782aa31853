//! Load, optimise, emit: the three steps of every compilation.

use std::path::{Path, PathBuf};

use mnnc_codegen::Target;
use mnnc_import::{Format, ImportOptions, Imported, Limits, Rounding};
use mnnc_ir::{Graph, NodeId};
use mnnc_transform::{Hooks, Manager, OptLevel, Pipeline, Prefer, Report, Target as Purpose};

use crate::error::Result;
use crate::tune::TuneFile;
use crate::{mnn_arithmetic, quantised};

/// Everything that a compilation depends on besides the model's bytes.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// The model's format; found from its content when `None`.
    pub from: Option<Format>,
    /// Shapes of inputs by name, for those that the model leaves open.
    pub shapes: Vec<(String, Vec<u64>)>,
    /// Bounds on what a model may make the compiler do.
    pub limits: Limits,
    /// How much is optimised.
    pub opt_level: OptLevel,
    /// What choices are made in favour of.
    pub prefer: Prefer,
    /// How closely native code rounds as the plain definitions do.
    pub precision: Precision,
    /// How native code computes with compressed weights.
    pub memory: Memory,
    /// What happens between passes.
    pub hooks: Hooks,
    /// What native code is for; this machine when `None`.
    pub target: Option<Target>,
    /// What the symbols of native code begin with; the model file's name when `None`.
    pub name: Option<String>,
    /// What a `.mnn` file says besides the model, and where its weights lie. The level and the preference are those above.
    pub mnn: mnnc_mnn::WriteOptions,
    /// Schedules measured by [`Compiler::tune`], which go before those of the cost model.
    pub tune: Option<TuneFile>,
}

/// How native code may round.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Precision {
    /// Algorithms that reorder sums beyond the definition are left out: no Winograd convolution.
    High,
    /// Everything that stays within the tolerance of the closing check.
    #[default]
    Normal,
    /// bf16 with sums in `f32`, where the processor multiplies it and the closing check finds a layer's error within bounds.
    Low,
}

impl Precision {
    /// Every choice with its name.
    pub const ALL: [(Precision, &'static str); 3] =
        [(Precision::High, "high"), (Precision::Normal, "normal"), (Precision::Low, "low")];
}

/// How native code computes with compressed weights, which it never keeps as numbers in memory.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Memory {
    /// In `f32`: weights are expanded in registers.
    #[default]
    Normal,
    /// Products with 8-bit weights in integers, activations quantised at run time, where the processor multiplies bytes and the closing check
    /// finds the outputs within bounds. What MNN calls `Memory_Low`.
    Low,
}

impl Memory {
    /// Every choice with its name.
    pub const ALL: [(Memory, &'static str); 2] = [(Memory::Normal, "normal"), (Memory::Low, "low")];
}

/// The compiler with its options.
#[derive(Clone, Debug, Default)]
pub struct Compiler {
    pub(crate) options: CompileOptions,
    /// Nodes of the optimised graph that are computed in `f32`, whatever the precision.
    pub(crate) exact: Vec<NodeId>,
}

/// A model that was read, checked and typed.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) imported: Imported,
    pub(crate) path: PathBuf,
    /// See [`Model::computed`].
    arithmetic: Option<Graph>,
}

impl Model {
    /// The same model computed by another graph with the same inputs and outputs, such as a compressed one: what is emitted is
    /// checked against that graph.
    pub fn with_graph(&self, graph: Graph) -> Model {
        let imported = Imported { graph, rounding: Rounding::Onnx, ..self.imported.clone() };
        Model { imported, path: self.path.clone(), arithmetic: None }
    }

    fn new(mut imported: Imported, path: PathBuf) -> Result<Model> {
        quantised::type_ports(&mut imported.graph);
        let arithmetic = match imported.rounding {
            Rounding::Onnx => None,
            Rounding::Mnn => Some(mnn_arithmetic::as_engine(&imported.graph)?),
        };
        Ok(Model { imported, path, arithmetic })
    }
}

/// A graph that is ready to be emitted, and what was done to it.
#[derive(Clone, Debug)]
pub struct Optimised {
    /// The graph.
    pub graph: Graph,
    /// What the passes did.
    pub report: Report,
}

impl Model {
    /// The graph as the model has it.
    pub fn graph(&self) -> &Graph {
        &self.imported.graph
    }
    /// The graph whose results are the model's: of a `.mnn` file with int8 activations, the arithmetic of MNN's kernels, step by step.
    pub fn computed(&self) -> &Graph {
        self.arithmetic.as_ref().unwrap_or(self.graph())
    }
    /// What the importer found out about the file.
    pub fn imported(&self) -> &Imported {
        &self.imported
    }
    /// The file, or what stands for it.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Compiler {
    /// A compiler with these options.
    pub fn new(options: CompileOptions) -> Self {
        Compiler { options, exact: Vec::new() }
    }

    /// Its options.
    pub fn options(&self) -> &CompileOptions {
        &self.options
    }

    fn import_options(&self) -> ImportOptions {
        ImportOptions { format: self.options.from, shapes: self.options.shapes.clone(), limits: self.options.limits }
    }

    /// Reads the model at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with the file, or everything in it that is not supported.
    pub fn load(&self, path: &Path) -> Result<Model> {
        let imported = mnnc_import::load(path, &self.import_options())?;
        Model::new(imported, path.to_path_buf())
    }

    /// Reads an ONNX model in memory; `name` stands for the file.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_onnx(&self, name: &str, bytes: Vec<u8>) -> Result<Model> {
        let imported = mnnc_import::load_onnx_bytes(bytes, &self.import_options())?;
        Model::new(imported, PathBuf::from(name))
    }

    /// Runs the pipeline that the options name for this purpose.
    ///
    /// # Errors
    /// A pass that fails, which is a mistake of the compiler, or a dump that cannot be written.
    pub fn optimise(&self, model: &Model, purpose: Purpose) -> Result<Optimised> {
        let (level, prefer) = (self.options.opt_level, self.options.prefer);
        let text = match purpose {
            Purpose::Native if self.multiplies_bytes() => mnnc_transform::levels::low_memory(level, prefer),
            _ => mnnc_transform::levels::pipeline(purpose, level, prefer),
        };
        // A file states what is quantised; the engine that reads it computes.
        let graph = if purpose == Purpose::Native { model.computed() } else { model.graph() };
        self.transform(graph.clone(), &text)
    }

    /// Runs the part of the pipeline that no target decides: what is left is ready to be quantised, and [`Model::with_graph`] makes it a model
    /// again.
    ///
    /// # Errors
    /// As [`optimise`](Self::optimise).
    pub fn clean(&self, model: &Model) -> Result<Optimised> {
        let text = mnnc_transform::levels::clean(self.options.opt_level, self.options.prefer);
        self.transform(model.graph().clone(), &text)
    }

    /// Runs the pipeline `text` over `graph`.
    ///
    /// # Errors
    /// A pipeline that does not parse, or as [`optimise`](Self::optimise).
    pub fn transform(&self, mut graph: Graph, text: &str) -> Result<Optimised> {
        let pipeline = Pipeline::parse(text)?;
        let report = Manager::new(&self.options.hooks).run(&mut graph, &pipeline)?;
        Ok(Optimised { graph, report })
    }
}
