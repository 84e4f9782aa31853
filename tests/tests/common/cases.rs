//! A backend test case: a model with data sets of inputs and expected outputs.

use mnnc_import::{ImportOptions, Imported, Limits};
use mnnc_ir::decl::OpErrorKind;
use mnnc_ir::diag::Diagnostics;
use mnnc_ir::{DType, Tensor};
use mnnc_ops::Evaluator;
use mnnc_schema::onnx::{Message, ModelProto, TensorProto};
use std::fs;
use std::path::{Path, PathBuf};

/// Why a case does not pass.
pub enum Trouble {
    /// The importer or an op says that it cannot.
    Unsupported(String),
    /// Anything else.
    Failed(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Unsupported(why) => write!(f, "unsupported: {why}"),
            Trouble::Failed(why) => f.write_str(why),
        }
    }
}

/// One case.
pub struct Case {
    /// Its name.
    pub name: String,
    /// Where its model and data stand.
    pub folder: PathBuf,
}

/// All cases in a folder, by name.
pub fn collect(folder: &Path) -> Vec<Case> {
    let mut all: Vec<Case> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.join("model.onnx").exists())
        .map(|folder| Case { name: folder.file_name().unwrap().to_string_lossy().into_owned(), folder })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// The first finding, without what differs from case to case.
fn reason(d: &Diagnostics) -> String {
    let Some(first) = d.0.first() else { return String::new() };
    match &first.op {
        Some(op) => format!("{op}: {}", first.message),
        None => first.message.clone(),
    }
}

fn trouble(d: &Diagnostics) -> Trouble {
    match d.exit_code() {
        2 => Trouble::Unsupported(reason(d)),
        _ => Trouble::Failed(d.to_string()),
    }
}

impl Case {
    /// Path of the model.
    pub fn model(&self) -> PathBuf {
        self.folder.join("model.onnx")
    }
    /// Imports the model and evaluates every data set.
    pub fn run(&self) -> Result<(), Trouble> {
        let mut sets = 0;
        for set in 0.. {
            let data = self.folder.join(format!("test_data_set_{set}"));
            if !data.exists() {
                break;
            }
            if data.join("not_tensors").exists() {
                return Err(Trouble::Unsupported("sequences and optionals are not supported".to_string()));
            }
            self.run_set(&data)?;
            sets += 1;
        }
        if sets == 0 {
            return Err(Trouble::Unsupported("the case has no data".to_string()));
        }
        Ok(())
    }

    fn run_set(&self, data: &Path) -> Result<(), Trouble> {
        let inputs = tensors(data, "input")?;
        let expected = tensors(data, "output")?;
        let model = fs::read(self.model()).unwrap();
        // Cases feed shapes, axes and the like as inputs. Where those have to be constants, they are made such.
        match self.evaluate(mnnc_import::load_onnx_bytes(model.clone(), &ImportOptions::default()), &inputs, &expected)
        {
            Err(Trouble::Unsupported(why)) => match with_constants(&model, data, inputs.len()) {
                Some(fixed) => self
                    .evaluate(mnnc_import::load_onnx_bytes(fixed, &ImportOptions::default()), &inputs[..1], &expected)
                    .map_err(|e| match e {
                        Trouble::Unsupported(_) => Trouble::Unsupported(why),
                        failed => failed,
                    }),
                None => Err(Trouble::Unsupported(why)),
            },
            other => other,
        }
    }

    fn evaluate(
        &self,
        imported: Result<Imported, Diagnostics>,
        inputs: &[Tensor],
        expected: &[Tensor],
    ) -> Result<(), Trouble> {
        let graph = imported.map_err(|d| trouble(&d))?.graph;
        let inputs = &inputs[..inputs.len().min(graph.inputs().len())];
        let got = Evaluator::new(&graph).run(inputs).map_err(|e| match e.kind {
            OpErrorKind::Unsupported => Trouble::Unsupported(e.message.clone()),
            OpErrorKind::Invalid => Trouble::Failed(e.to_string()),
        })?;
        if got.len() != expected.len() {
            return Err(Trouble::Failed(format!("{} outputs, {} expected", got.len(), expected.len())));
        }
        let (rtol, atol) = self.tolerance();
        for (i, (g, e)) in got.iter().zip(expected).enumerate() {
            compare(g, e, rtol, atol).map_err(|why| Trouble::Failed(format!("output {i}: {why}")))?;
        }
        Ok(())
    }

    /// Relative and absolute tolerance: the case's own, else ONNX's default.
    fn tolerance(&self) -> (f64, f64) {
        let text = fs::read_to_string(self.folder.join("tolerance")).unwrap_or_default();
        let mut numbers = text.split_whitespace().filter_map(|t| t.parse().ok());
        (numbers.next().unwrap_or(1e-3), numbers.next().unwrap_or(1e-7))
    }
}

/// The model with all inputs but the first made initializers, or `None` if there are no others.
pub fn with_constants(model: &[u8], data: &Path, count: usize) -> Option<Vec<u8>> {
    let mut model = ModelProto::decode(model).ok()?;
    let graph = model.graph.as_mut()?;
    if count < 2 || graph.input.len() != count {
        return None;
    }
    for i in 1..count {
        let bytes = fs::read(data.join(format!("input_{i}.pb"))).ok()?;
        let mut t = TensorProto::decode(bytes.as_slice()).ok()?;
        t.name = graph.input[i].name.clone();
        graph.initializer.push(t);
    }
    Some(model.encode_to_vec())
}

/// The tensors `KIND_0.pb`, `KIND_1.pb`, … of a folder.
pub fn tensors(data: &Path, kind: &str) -> Result<Vec<Tensor>, Trouble> {
    let mut out = Vec::new();
    loop {
        let path = data.join(format!("{kind}_{}.pb", out.len()));
        let Ok(bytes) = fs::read(&path) else { return Ok(out) };
        if bytes.is_empty() {
            return Err(Trouble::Unsupported("sequences and optionals are not supported".to_string()));
        }
        out.push(mnnc_import::onnx::read_tensor(bytes, &Limits::default()).map_err(|e| match e.kind {
            OpErrorKind::Unsupported => Trouble::Unsupported(e.message),
            OpErrorKind::Invalid => Trouble::Failed(format!("{}: {}", path.display(), e.message)),
        })?);
    }
}

/// Whether `got` is `expected` within `atol + rtol * |expected|`.
pub fn compare(got: &Tensor, expected: &Tensor, rtol: f64, atol: f64) -> Result<(), String> {
    if got.dtype() != expected.dtype() || got.dims() != expected.dims() {
        return Err(format!("{}{:?}, expected {}{:?}", got.dtype(), got.dims(), expected.dtype(), expected.dims()));
    }
    if matches!(got.dtype(), DType::I64 | DType::U64) {
        let same = got.bytes()[..] == expected.bytes()[..];
        return if same { Ok(()) } else { Err("integers differ".to_string()) };
    }
    // Numbers of 16 bits are compared within two units in the last place: intermediate results are rounded to 16 bits
    // after each operator here, in NumPy's order there.
    let rtol = match got.dtype() {
        DType::F16 => rtol.max(f64::powi(2.0, -9)),
        DType::BF16 => rtol.max(f64::powi(2.0, -6)),
        _ => rtol,
    };
    let (g, e) = (got.to_f64s(), expected.to_f64s());
    for (i, (&g, &e)) in g.iter().zip(&e).enumerate() {
        let close = g == e || (g.is_nan() && e.is_nan()) || (g - e).abs() <= atol + rtol * e.abs();
        if !close {
            return Err(format!("element {i} is {g}, expected {e}"));
        }
    }
    Ok(())
}
