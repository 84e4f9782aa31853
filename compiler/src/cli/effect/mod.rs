//! What verbs that compress report about their work: options, and the measurements.

mod options;

use mnnc::accuracy::{Compared, Pictures};
use mnnc::calibrate::Samples;
use mnnc::effect::{Effect, OutputError, Rounded};
use mnnc::error::Result;
use mnnc::quantize::Watcher;
use mnnc::{CompileOptions, Compiled, Compiler, Compressed, Emit, Engine, Loss, Memory, Model, Precision};
use mnnc_ir::Graph;

pub use options::{MeasureArgs, PictureArgs, ReportArgs, beside, open, warn_of_skipped, write_json};

use super::progress::Bar;

/// Samples that tell the error of one layer alone: a mean over all elements of all outputs, which few tell well enough.
pub const SAMPLES_ALONE: usize = 4;

/// The accuracy of two models, each in native code by its compiler.
///
/// # Errors
/// A model does not compile for this machine or does not run.
pub fn accuracy(
    pictures: &Pictures,
    before: (&Compiler, &Model),
    after: (&Compiler, &Model),
    bar: &Bar,
) -> Result<Compared> {
    bar.stage("measuring accuracy");
    let engine = |(compiler, model): (&Compiler, &Model)| here(compiler).jit(model).map(Engine::jit);
    pictures.compare(&mut engine(before)?, &mut engine(after)?, &|done, total| bar.progress(done, total))
}

/// The compiler of the float model that errors and times are measured against.
pub fn plain(compiler: &Compiler) -> Compiler {
    Compiler::new(CompileOptions { precision: Precision::Normal, memory: Memory::Normal, ..compiler.options().clone() })
}

/// The same compiler for a processor that can run what it makes: this one's, where the target is another.
pub fn here(compiler: &Compiler) -> Compiler {
    if compiler.target().runs_here() {
        return compiler.clone();
    }
    Compiler::new(CompileOptions { target: None, tune: None, ..compiler.options().clone() })
}

/// A model that was compressed on the way to an artefact.
pub struct Subject<'a> {
    /// The compiler with the options that were asked for.
    pub compiler: &'a Compiler,
    /// The float model.
    pub model: &'a Model,
    /// It with compressed weights; `None` where only arithmetic is reduced.
    pub compressed: Option<&'a Compressed>,
}

impl Subject<'_> {
    /// Measures what became of it in `done`; with `emit`, also how large the float model would be, and layer by layer.
    ///
    /// # Errors
    /// A picture that could be read cannot any more, or a model does not run on them.
    pub fn effect(&self, done: &Compiled, pictures: Option<&Pictures>, emit: Option<Emit>) -> Result<Effect> {
        let after = self.compressed.map_or(self.model, |compressed| &compressed.model);
        let weights = self.compressed.map(|compressed| compressed.report.clone()).unwrap_or_default();
        let mut effect = Effect::new(self.model, &weights, done);
        let plain = plain(self.compiler);
        let bar = Bar::default();
        bar.stage("measuring errors");
        self.errors(&mut effect, (&plain, &done.by))?;
        bar.stage("measuring time");
        effect.time((&plain, self.model), (&done.by, after));
        effect.accuracy = pictures.map(|p| accuracy(p, (&plain, self.model), (&done.by, after), &bar)).transpose()?;
        let Some(emit) = emit else { return Ok(effect) };
        effect.float_file(&plain, self.model, emit);
        let open = is_open(self.model.graph());
        if let Some(compressed) = self.compressed.filter(|_| !open) {
            effect.layer_times(compressed.float.graph(), (&plain, self.model), (&done.by, after));
            bar.stage("one layer after the other");
            let rounded = Rounded { float: &compressed.float, graph: compressed.model.graph(), biases: true };
            let samples = match pictures {
                Some(pictures) => pictures.samples.some(SAMPLES_ALONE),
                None => Samples::seeded(compressed.float.graph())?,
            };
            effect.alone_on = if pictures.is_some() { "pictures" } else { "seeded inputs" }.into();
            effect.alone(&here(&plain), rounded, &samples, &|done, total| bar.progress(done, total));
        }
        Ok(effect)
    }

    /// The errors of the outputs: of the weights alone, as they were measured already, or of all that native code does.
    fn errors(&self, effect: &mut Effect, (plain, by): (&Compiler, &Compiler)) -> Result<()> {
        let reduces = by.options().precision == Precision::Low || by.options().memory == Memory::Low;
        let after = self.compressed.map_or(self.model, |compressed| &compressed.model);
        if reduces && by.target().runs_here() && !is_open(self.model.graph()) {
            let engine = |compiler: &Compiler, model: &Model| compiler.jit(model).map(Engine::jit);
            let (mut float, mut reduced) = (engine(plain, self.model)?, engine(by, after)?);
            let losses = Loss::measure(self.model.graph(), &mut float, &mut reduced)?;
            effect.outputs = losses.iter().map(OutputError::from).collect();
            effect.measured_on = "seeded inputs, in native code".into();
        } else {
            effect.outputs = self.compressed.iter().flat_map(|c| &c.losses).map(OutputError::from).collect();
            effect.measured_on = "seeded inputs".into();
        }
        Ok(())
    }
}

/// Whether an input's shape is not fixed.
fn is_open(graph: &Graph) -> bool {
    graph.inputs().iter().any(|&v| graph.ty(v).static_dims().is_none())
}
