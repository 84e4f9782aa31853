//! Native code against ONNX Runtime, an authority that shares no code with this project.
//!
//! A Python with the `onnx` and `onnxruntime` packages runs the model file itself, unoptimised, and hands over every
//! value that the optimised graph still computes under the model's name for it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use mnnc_import::Format;
use mnnc_ir::{DType, Diagnostic, Graph, Tensor, ValueId};
use serde_json::json;

use crate::compare::Tolerance;
use crate::compiler::{Compiler, Model};
use crate::error::{self, Result};
use crate::native::diagnostics;
use crate::npy;
use crate::verify::{Verification, layer};

/// What runs in Python.
const SCRIPT: &str = include_str!("onnxruntime_check.py");
/// How the script says that a package is missing.
const MISSING: &str = "missing: ";
/// What to do then.
const REMEDY: &str =
    "pip install onnx==1.23.2 onnxruntime==1.32.0, and name that Python with --python or the variable MNNC_PYTHON";
/// Most bytes of layers that one run of the model hands over.
const BATCH: usize = 1 << 30;

/// The Python to use: the given one, else `$MNNC_PYTHON`, else `python3`.
pub fn python(given: Option<PathBuf>) -> PathBuf {
    given.or_else(|| std::env::var_os("MNNC_PYTHON").map(PathBuf::from)).unwrap_or_else(|| "python3".into())
}

impl Compiler {
    /// Checks native code for this machine, layers and outputs, against ONNX Runtime in the given Python. Layers are
    /// those f32 values of the optimised graph that the model has too, by name and shape.
    ///
    /// # Errors
    /// The model is no ONNX file or cannot be compiled, the Python or its packages are missing, or ONNX Runtime refuses
    /// the model; a wrong result is no error of this function.
    pub fn verify_against_onnxruntime(&self, model: &Model, inputs: &[Tensor], python: &Path) -> Result<Verification> {
        if model.imported().format != Format::Onnx {
            return Err(error::usage("ONNX Runtime runs ONNX models only"));
        }
        let authority = Authority { python, model, inputs };
        let graph = model.graph();
        let expected = authority.run(graph, graph.outputs())?;
        let reference: Option<Vec<Tensor>> = graph.outputs().iter().map(|v| expected.get(v).cloned()).collect();
        let reference = reference.ok_or_else(|| error::internal("ONNX Runtime left an output out"))?;
        let computed = self.jit(model)?.run(inputs).map_err(|e| diagnostics(e, ""))?;
        let mut found = self.judge_outputs(model, &reference, &computed, inputs)?;

        let optimised = self.optimise(model, mnnc_transform::Target::Native)?.graph;
        let mut layers = self.native_layers(model, &optimised, inputs)?;
        layers.retain(|(_, got)| got.dtype() == DType::F32);
        for batch in batches(&layers) {
            let values: Vec<ValueId> = batch.iter().map(|&(v, _)| v).collect();
            let expected = authority.run(&optimised, &values)?;
            for (v, got) in batch {
                // Another shape is another value: the passes may lay it out anew under its name.
                if let Some(want) = expected.get(v).filter(|want| want.ty() == got.ty()) {
                    found.layers.push(layer(&optimised, *v, want, got, Tolerance::of_layer(want)));
                }
            }
        }
        Ok(found)
    }
}

/// Runs of layers, each of at most [`BATCH`] bytes or of one layer.
fn batches(layers: &[(ValueId, Tensor)]) -> Vec<&[(ValueId, Tensor)]> {
    let (mut all, mut start, mut bytes) = (Vec::new(), 0, 0usize);
    for (i, (_, tensor)) in layers.iter().enumerate() {
        let size = tensor.bytes().len();
        if i > start && bytes.saturating_add(size) > BATCH {
            all.push(&layers[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes = bytes.saturating_add(size);
    }
    all.extend((start < layers.len()).then(|| &layers[start..]));
    all
}

/// ONNX Runtime with a model and its inputs.
struct Authority<'a> {
    python: &'a Path,
    model: &'a Model,
    inputs: &'a [Tensor],
}

impl Authority<'_> {
    /// What ONNX Runtime computes for those of the values of `graph` that the model file has, by name.
    fn run(&self, graph: &Graph, values: &[ValueId]) -> Result<HashMap<ValueId, Tensor>> {
        let folder = tempfile::tempdir().map_err(|e| error::file("create", &std::env::temp_dir(), &e))?;
        let path = |name: &str| folder.path().join(name);
        let put = |name: &str, text: &str| {
            std::fs::write(path(name), text).map_err(|e| error::file("write", &path(name), &e))
        };
        let mut files = serde_json::Map::new();
        let original = self.model.graph();
        for (i, (&v, input)) in original.inputs().iter().zip(self.inputs).enumerate() {
            let file = format!("input{i}.npy");
            npy::write(&path(&file), input)?;
            files.insert(original.value(v).name.clone(), file.into());
        }
        let names: Vec<&str> = values.iter().map(|&v| graph.value(v).name.as_str()).collect();
        put("request.json", &json!({"inputs": files, "values": names}).to_string())?;
        put("onnxruntime_check.py", SCRIPT)?;
        self.execute(folder.path())?;

        let index = path("index.json");
        let text = std::fs::read_to_string(&index).map_err(|e| error::file("read", &index, &e))?;
        let index: HashMap<String, String> =
            serde_json::from_str(&text).map_err(|e| error::internal(format!("index of ONNX Runtime's values: {e}")))?;
        let present = values.iter().filter_map(|&v| Some((v, index.get(&graph.value(v).name)?)));
        present.map(|(v, file)| Ok((v, npy::read(&path(file))?))).collect()
    }

    fn execute(&self, folder: &Path) -> Result<()> {
        let mut command = Command::new(self.python);
        command.arg(folder.join("onnxruntime_check.py")).arg(self.model.path()).arg(folder);
        let python = self.python.display();
        let output = command
            .output()
            .map_err(|e| Diagnostic::usage(format!("cannot run the Python {python}: {e}")).remedy(REMEDY))?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        if let Some(package) = last.strip_prefix(MISSING) {
            let message = format!("the Python {python} lacks what runs ONNX Runtime: {package}");
            return Err(Diagnostic::usage(message).remedy(REMEDY).into());
        }
        let message = format!("ONNX Runtime fails ({}): {last}", output.status);
        Err(Diagnostic::bad_input(message).file(self.model.path().display()).into())
    }
}
