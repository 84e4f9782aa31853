//! Native code: lowering an optimised graph and running it in place.

use mnnc_codegen::{CodegenError, Jit, Options, Target, Tuned};
use mnnc_ir::Graph;
use mnnc_ir::diag::{Diagnostic, Diagnostics, Kind};
use mnnc_kernel::families;

use crate::compiler::{Compiler, Model, Precision};
use crate::error::Result;
use mnnc_transform::Prefer;

impl Compiler {
    /// Optimises a model for native code and lowers it for every processor of the target.
    ///
    /// # Errors
    /// Every node that cannot be compiled.
    pub fn lower(&self, model: &Model) -> Result<mnnc_codegen::Model> {
        let optimised = self.optimise(model, mnnc_transform::Target::Native)?;
        self.lower_graph(model, &optimised.graph)
    }

    /// Lowers a graph that is optimised already.
    pub(crate) fn lower_graph(&self, model: &Model, graph: &Graph) -> Result<mnnc_codegen::Model> {
        let file = self.options.tune.as_ref();
        let tuned = file.map(|file| file.choices(model, &self.target())).transpose()?;
        self.lower_tuned(model, graph, tuned)
    }

    /// The same with these schedules.
    pub(crate) fn lower_tuned(
        &self,
        model: &Model,
        graph: &Graph,
        tuned: Option<Tuned>,
    ) -> Result<mnnc_codegen::Model> {
        let hash = model.imported.source_hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let options = Options {
            name: self.symbol_prefix(model),
            source_hash: hash,
            tuned,
            reduced: self.reduces(),
            exact: self.exact.clone(),
            expands: self.options.prefer == Prefer::Speed,
        };
        // Transformed weights are up to four times as large.
        let plain = self.options.precision == Precision::High || self.options.prefer == Prefer::Size;
        let families = if plain { families::direct() } else { families::ALL.to_vec() };
        mnnc_codegen::Model::compile(graph, &self.target(), &families, &options)
            .map_err(|e| diagnostics(e, &model.path().display().to_string()))
    }

    /// The target, this machine's own if none was chosen. Instructions for reduced precision are not asked of the processor unless that
    /// is wanted.
    pub fn target(&self) -> Target {
        let target = self.options.target.clone().unwrap_or_else(Target::host);
        if self.options.precision == Precision::Low { target } else { target.in_f32() }
    }

    /// What the symbols of native code begin with: the name that was chosen, else the model file's.
    fn symbol_prefix(&self, model: &Model) -> String {
        let stem = || model.path().file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        self.options.name.clone().unwrap_or_else(stem)
    }

    /// Compiles a model into memory, for this machine.
    ///
    /// # Errors
    /// Every node that cannot be compiled, or a target that this machine cannot run.
    pub fn jit(&self, model: &Model) -> Result<Jit> {
        let lowered = self.lower(model)?;
        Jit::new(lowered).map_err(|e| diagnostics(e, ""))
    }
}

/// A failure of code generation; `file` is the model's.
pub(crate) fn diagnostics(error: CodegenError, file: &str) -> Diagnostics {
    match error {
        CodegenError::Lowering(nodes) => {
            let node = |e: mnnc_kernel::NodeError| {
                let d = Diagnostic::from(e.error).node(e.name).op(e.op);
                if e.shapes.is_empty() { d } else { d.shapes([e.shapes]) }
            };
            nodes.into_iter().map(node).collect::<Diagnostics>().in_file(file)
        }
        CodegenError::Internal(message) => Diagnostic::internal(message).into(),
        CodegenError::Io(what, error) => Diagnostic::usage(format!("{what}: {error}")).into(),
        CodegenError::Host(message) => Diagnostic::new(Kind::Unsupported, message).into(),
        other => Diagnostic::usage(other.to_string()).into(),
    }
}
