//! The file of tuned schedules: JSON that people can read.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use mnnc_codegen::{Cpu, Target, Tuned};
use mnnc_ir::diag::Diagnostic;
use mnnc_kernel::cost::{Choice, Direct, Problem, Winograd};
use mnnc_kernel::families::igemm::border::Border;
use mnnc_kernel::families::igemm::spec::{Number, Window};
use mnnc_kernel::families::winograd::Size;
use serde::{Deserialize, Serialize};

use crate::compiler::Model;
use crate::error::{self, Result};

/// What the field `format` says.
const FORMAT: &str = "mnnc tune";
/// Version of the format.
const VERSION: u32 = 2;
/// No file of a real model is larger.
const MOST_BYTES: u64 = 16 << 20;

/// Tuned schedules of one model on one processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TuneFile {
    format: String,
    version: u32,
    /// Version of the compiler that measured.
    mnnc: String,
    /// Processor that it measured on.
    cpu: String,
    /// Hash of the model's bytes.
    model: String,
    /// Types of the model's inputs.
    inputs: Vec<String>,
    choices: Vec<Entry>,
}

/// One product and its schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    problem: ProblemText,
    schedule: Schedule,
    /// Measured time of all nodes with this product, and with the schedule that the cost model chooses; for people.
    ms: f64,
    untuned_ms: f64,
}

/// A [`Problem`]. Numbers are 32 bits wide: none of a real model is larger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProblemText {
    images: u32,
    groups: u32,
    inputs: u32,
    outputs: u32,
    kernel: [u32; 2],
    stride: [u32; 2],
    dilation: [u32; 2],
    /// Zeros before the image and the image's extents, where taps that read only zeros are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    border: Option<[[u32; 2]; 2]>,
    /// Whether that goes for a few taps, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    thin: bool,
    out: [u32; 2],
    own_weights: bool,
    apart: u32,
    /// Bytes are multiplied, not floats.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    bytes: bool,
    /// How the weights lie, where they are packed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    packing: String,
}

/// A [`Choice`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "lowercase", deny_unknown_fields)]
enum Schedule {
    /// The implicit GEMM.
    Direct { vectors: u32, tile: [u32; 2], rows: u32, panels_outside: bool },
    /// Transformed tiles.
    Winograd { products: [u32; 2], taps: [u32; 2], band: u32, images: u32 },
}

/// A tuned product with its times in milliseconds, tuned and untuned.
pub(super) type Measured = (Problem, Choice, [f64; 2]);

impl TuneFile {
    /// The file of what was measured.
    pub(super) fn new(model: &Model, cpu: Cpu, choices: &[Measured]) -> TuneFile {
        let entry = |&(problem, choice, [ms, untuned_ms]): &Measured| Entry {
            problem: problem_text(&problem),
            schedule: schedule(&choice),
            ms: rounded(ms),
            untuned_ms: rounded(untuned_ms),
        };
        TuneFile {
            format: FORMAT.into(),
            version: VERSION,
            mnnc: env!("CARGO_PKG_VERSION").into(),
            cpu: cpu_text(cpu),
            model: hash(model),
            inputs: inputs(model),
            choices: choices.iter().map(entry).collect(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read, is too large, or is not of this format and version.
    pub fn read(path: &Path) -> Result<TuneFile> {
        let wrong = |what: String| Diagnostic::bad_input(what).file(path.display());
        let file = File::open(path).map_err(|e| error::file("read", path, &e))?;
        let mut text = String::new();
        match file.take(MOST_BYTES + 1).read_to_string(&mut text) {
            Ok(n) if n as u64 > MOST_BYTES => {
                return Err(wrong(format!("a tune file has at most {MOST_BYTES} bytes, this one has more")).into());
            }
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                return Err(wrong("this is not a tune file: it is no text".into()).into());
            }
            Err(e) => return Err(error::file("read", path, &e)),
        }
        // The version first: the rest may look different in another.
        let value: serde_json::Value = serde_json::from_str(&text)
            .map_err(|e| wrong(format!("this is not a tune file, or a part of one: {e}")))?;
        if value.get("format").and_then(|f| f.as_str()) != Some(FORMAT) {
            return Err(wrong(format!("this is not a tune file: `format` is not \"{FORMAT}\"")).into());
        }
        let version = value.get("version").and_then(serde_json::Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            let has = version.map_or_else(|| "none".into(), |v| v.to_string());
            return Err(again(wrong(format!("the tune file's format has version {has}, not {VERSION}"))).into());
        }
        serde_json::from_value(value).map_err(|e| wrong(format!("the tune file is damaged: {e}")).into())
    }

    /// The file's text.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The schedules, for compiling this model for this target.
    ///
    /// # Errors
    /// They were made by another version, for another model or processor, or do not fit the registers.
    pub fn choices(&self, model: &Model, target: &Target) -> Result<Tuned> {
        let wrong = |what: String| again(Diagnostic::bad_input(what));
        if self.mnnc != env!("CARGO_PKG_VERSION") {
            let message =
                format!("the tune file was made by mnnc {}, this is {}", self.mnnc, env!("CARGO_PKG_VERSION"));
            return Err(wrong(message).into());
        }
        if self.model != hash(model) {
            return Err(wrong("the tune file was made for another model".into()).into());
        }
        if self.inputs != inputs(model) {
            let (has, wants) = (self.inputs.join(", "), inputs(model).join(", "));
            return Err(wrong(format!("the tune file was made for inputs {has}, not {wants}")).into());
        }
        let Some(&cpu) = target.cpus.iter().find(|&&cpu| cpu_text(cpu) == self.cpu) else {
            let wanted: Vec<String> = target.cpus.iter().map(|&cpu| cpu_text(cpu)).collect();
            let message = format!("the tune file was made on {}, not on {}", self.cpu, wanted.join(" or "));
            return Err(wrong(message).into());
        };
        let vector = cpu.vector();
        let mut choices = HashMap::new();
        for (i, entry) in self.choices.iter().enumerate() {
            let Some(problem) = entry.problem.problem() else {
                return Err(wrong(format!("choice {i} of the tune file is for no product")).into());
            };
            let choice = entry.schedule.choice();
            let fitting = choice.filter(|c| vector.is_some_and(|v| c.fits(&problem, &v)));
            let Some(choice) = fitting else {
                return Err(wrong(format!("choice {i} of the tune file is out of range for {problem}")).into());
            };
            choices.insert(problem, choice);
        }
        Ok(Tuned { cpu, choices })
    }
}

fn again(d: Diagnostic) -> Diagnostic {
    d.remedy("make a new one with mnnc tune")
}

/// Three digits are more than a measurement is worth.
fn rounded(ms: f64) -> f64 {
    (ms * 1e4).round() / 1e4
}

fn cpu_text(cpu: Cpu) -> String {
    format!("{cpu} ({})", cpu.core)
}

fn hash(model: &Model) -> String {
    model.imported().source_hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn inputs(model: &Model) -> Vec<String> {
    let graph = model.graph();
    graph.inputs().iter().map(|&v| graph.ty(v).show(&graph.syms)).collect()
}

fn problem_text(p: &Problem) -> ProblemText {
    // A number that does not fit makes an entry that matches no product, and so changes nothing.
    let n = |x: usize| u32::try_from(x).unwrap_or(0);
    ProblemText {
        images: n(p.images),
        groups: n(p.groups),
        inputs: n(p.inputs),
        outputs: n(p.outputs),
        kernel: p.window.kernel.map(n),
        stride: p.window.stride.map(n),
        dilation: p.window.dilation.map(n),
        border: p.border.map(|b| [b.before.map(n), b.size.map(n)]),
        thin: p.border.is_some_and(|b| b.thin),
        out: p.out.map(n),
        own_weights: p.own_weights,
        apart: n(p.apart),
        bytes: p.number == Number::U8,
        packing: p.packing.to_string(),
    }
}

impl ProblemText {
    fn problem(&self) -> Option<Problem> {
        let n = |x: u32| x as usize;
        Some(Problem {
            number: if self.bytes { Number::U8 } else { Number::F32 },
            images: n(self.images),
            groups: n(self.groups),
            inputs: n(self.inputs),
            outputs: n(self.outputs),
            window: Window { kernel: self.kernel.map(n), stride: self.stride.map(n), dilation: self.dilation.map(n) },
            border: self.border.map(|[before, size]| Border {
                before: before.map(n),
                size: size.map(n),
                thin: self.thin,
            }),
            out: self.out.map(n),
            own_weights: self.own_weights,
            apart: n(self.apart),
            packing: self.packing.parse().ok()?,
        })
    }
}

fn schedule(c: &Choice) -> Schedule {
    let n = |x: usize| u32::try_from(x).unwrap_or(0);
    match c {
        Choice::Direct(d) => Schedule::Direct {
            vectors: n(d.blocks),
            tile: d.tile.map(n),
            rows: n(d.group_rows),
            panels_outside: d.panels_outside,
        },
        Choice::Winograd(w) => {
            let products = [0, 1].map(|d| n(w.size.inputs(d)));
            Schedule::Winograd { products, taps: w.size.taps().map(n), band: n(w.band), images: n(w.images) }
        }
    }
}

impl Schedule {
    fn choice(&self) -> Option<Choice> {
        let n = |x: u32| x as usize;
        match *self {
            Schedule::Direct { vectors, tile, rows, panels_outside } => Some(Choice::Direct(Direct {
                blocks: n(vectors),
                tile: tile.map(n),
                group_rows: n(rows),
                panels_outside,
            })),
            Schedule::Winograd { products, taps, band, images } => {
                let size = Size::new(products.map(n), taps.map(n))?;
                Some(Choice::Winograd(Winograd { size, band: n(band), images: n(images) }))
            }
        }
    }
}
