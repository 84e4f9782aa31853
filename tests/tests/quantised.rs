//! Quantised models against ONNX Runtime: every operator on integers, small networks in all spellings, and standard networks
//! as ONNX Runtime's quantiser leaves them; the evaluator, and native code on every vector level that this machine has.

use std::path::{Path, PathBuf};
use std::process::Command;

use mnnc::{CompileOptions, Compiler, Engine, Jit, Target};
use mnnc_ir::{DType, Graph, Tensor, ValueId};
use mnnc_tests::{networks, onnxruntime, tools};

/// Share of quantised results that may be more than a step off: sums in another order fall on the other side of a rounding,
/// and what follows carries it on.
const FAR: f64 = 0.01;
/// What a result in float may be off, of its largest element.
const ROUNDING: f64 = 1e-4;
/// Operators whose bits are defined: native code gives those of the evaluator.
const EXACT: &[&str] = &["q_linear_", "conv_integer", "matmul_integer", "dynamic_quantize_linear"];

fn write(arguments: &[&Path], python: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/quantised.py");
    tools::run(Command::new(python).arg(script).args(arguments), b"").unwrap_or_else(|e| panic!("{e}"));
}

/// An input for each of the model's: bytes over their whole range, floats of a normal distribution.
fn inputs(g: &Graph) -> Vec<Tensor> {
    let mut state = 0x5eed_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 40
    };
    let one = |&v: &ValueId| {
        let dims = g.ty(v).static_dims().expect("shapes are fixed");
        let n: usize = dims.iter().product();
        match g.ty(v).dtype {
            DType::U8 => Tensor::new(dims, (0..n).map(|_| next() as u8).collect()),
            DType::I8 => Tensor::new(dims, (0..n).map(|_| next() as i8).collect()),
            _ => {
                let mut unit = || next() as f32 / (1 << 24) as f32;
                Tensor::new(dims, (0..n).map(|_| (0..12).map(|_| unit()).sum::<f32>() - 6.0).collect())
            }
        }
    };
    g.inputs().iter().map(one).collect()
}

/// The step between neighbouring values of an output, if it has one.
fn step(g: &Graph, v: ValueId) -> Option<f64> {
    if matches!(g.ty(v).dtype, DType::U8 | DType::I8) {
        return Some(1.0);
    }
    let node = g.node(g.producer(v)?);
    match node.op.name {
        "dequantize_linear" => g.constant(node.input(1)?)?.to_f64s().first().copied(),
        "flatten" | "reshape" => step(g, node.input(0)?),
        _ => None,
    }
}

fn compare(g: &Graph, got: &[Tensor], want: &[Tensor]) -> Result<(), String> {
    for (i, (&v, (got, want))) in g.outputs().iter().zip(got.iter().zip(want)).enumerate() {
        // NumPy stores a scalar as a vector of one.
        let number = got.len() == 1 && want.len() == 1;
        if (got.dims() != want.dims() && !number) || got.dtype() != want.dtype() {
            return Err(format!("output {i} is {}{:?}", got.dtype(), got.dims()));
        }
        let (a, b) = (got.to_f64s(), want.to_f64s());
        let largest = b.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let bound = match (step(g, v), got.dtype().is_float()) {
            (Some(step), _) => step * 1.001,
            (None, true) => ROUNDING * largest,
            (None, false) => 0.0,
        };
        let far = a.iter().zip(&b).filter(|(x, y)| !((*x - *y).abs() <= bound)).count();
        let allowed = if step(g, v).is_some() { FAR } else { 0.0 };
        let share = far as f64 / a.len() as f64;
        if share > allowed {
            let at = a.iter().zip(&b).position(|(x, y)| !((x - y).abs() <= bound)).unwrap_or(0);
            return Err(format!("output {i}: {share:.4} are off, element {at} is {} instead of {}", a[at], b[at]));
        }
        let telling = number || b.iter().any(|x| *x != b[0]);
        if !telling {
            return Err(format!("output {i} proves nothing"));
        }
    }
    Ok(())
}

fn targets() -> impl Iterator<Item = (&'static str, Target)> {
    ["native", "x86-64", "x86-64-v3", "x86-64-v4"]
        .into_iter()
        .filter_map(|cpu| Some((cpu, Target::parse(None, Some(cpu)).ok().filter(Target::runs_here)?)))
}

fn check(file: &Path) -> Result<(), String> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let model = Compiler::default().load(file).map_err(|e| e.to_string())?;
    let g = model.graph();
    let inputs = inputs(g);
    // As the model says: what ONNX Runtime merges it may compute in fewer bits.
    let Some(authority) = onnxruntime::run_plain(file, &inputs) else { return Ok(()) };
    let reference = Engine::reference(g).run(&inputs).map_err(|e| e.to_string())?;
    compare(g, &reference, &authority).map_err(|e| format!("the evaluator: {e}"))?;
    for (cpu, target) in targets() {
        let compiler = Compiler::new(CompileOptions { target: Some(target), ..Default::default() });
        let jit = compiler.lower(&model).map_err(|e| format!("{cpu}: {e}"))?;
        let jit = Jit::new(jit).map_err(|e| format!("{cpu}: {e}"))?;
        let outputs = Engine::jit(jit).run(&inputs).map_err(|e| format!("{cpu}: {e}"))?;
        compare(g, &outputs, &authority).map_err(|e| format!("{cpu}: {e}"))?;
        if EXACT.iter().any(|op| name.starts_with(op)) {
            for (a, b) in outputs.iter().zip(&reference) {
                if a.bytes()[..] != b.bytes()[..] {
                    return Err(format!("{cpu}: the bits are not those that ONNX defines"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn operators_and_small_networks_equal_onnx_runtime() {
    let Some(python) = mnnc_tests::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    write(&[Path::new("operators"), folder.path()], python);
    let mut models: Vec<PathBuf> = std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().path()).collect();
    models.sort();
    assert!(models.len() > 40);
    let wrong: Vec<String> =
        models.iter().filter_map(|f| check(f).err().map(|e| format!("{}: {e}", f.display()))).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), models.len(), wrong.join("\n"));
}

/// Whether the class that `theirs` has first is first in `ours`, too, or a step below at most: results in bytes often tie.
fn same_class(g: &Graph, ours: &Tensor, theirs: &Tensor) -> bool {
    let (ours, theirs) = (ours.to_f64s(), theirs.to_f64s());
    let best = |values: &[f64]| (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap_or(0);
    let step = step(g, g.outputs()[0]).unwrap_or(0.0);
    ours[best(&theirs)] + step * 1.001 >= ours[best(&ours)]
}

/// How far results are off, as a share of them.
fn relative(got: &Tensor, want: &Tensor) -> f64 {
    let (mut off, mut all) = (0.0, 0.0);
    for (a, b) in got.to_f64s().into_iter().zip(want.to_f64s()) {
        off += (a - b) * (a - b);
        all += b * b;
    }
    (off / all).sqrt()
}

/// What the deviation from ONNX Runtime may exceed that of ONNX Runtime from itself.
const NOISE: f64 = 2.0;
/// One number of so many of an input is moved to measure the latter. An implementation that rounds a product of scales once and one that divides
/// instead differ in about as many results of a layer of resnet18, and either is as often off what numbers without rounding give.
const NUDGED: usize = 50_000;

/// The inputs with a few numbers moved by a step of 255 over the range.
fn nudged(inputs: &[Tensor]) -> Vec<Tensor> {
    let one = |t: &Tensor| {
        let mut values = t.to_vec::<f32>();
        let (low, high) = values.iter().fold((0.0f32, 0.0f32), |(low, high), &x| (low.min(x), high.max(x)));
        for x in values.iter_mut().skip(NUDGED / 2).step_by(NUDGED) {
            *x += if *x > 0.0 { low - high } else { high - low } / 255.0;
        }
        Tensor::new(t.dims().to_vec(), values)
    };
    inputs.iter().map(one).collect()
}

/// A standard network in this form of ONNX Runtime's quantiser: native code against ONNX Runtime.
fn network(name: &str, form: &str) {
    let Some(python) = mnnc_tests::python() else { return };
    let network = networks::named(name);
    let Some(source) = network.file() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (file, input) = (folder.path().join(format!("{name}_{form}.onnx")), folder.path().join("input.npy"));
    let model = Compiler::default().load(&source).unwrap_or_else(|e| panic!("{e}"));
    mnnc::npy::write(&input, &network.inputs(model.graph())[0]).unwrap();
    write(&[Path::new("network"), &source, &file, Path::new(form), &input], python);
    judge(&file, CompileOptions::default(), network, form.starts_with("qop"));
}

/// Native code against ONNX Runtime, and, where the model is written in `integers`, against the evaluator, bit for bit.
fn judge(file: &Path, options: CompileOptions, network: networks::Network, integers: bool) {
    let compiler = Compiler::new(options);
    let model = compiler.load(file).unwrap_or_else(|e| panic!("{e}"));
    let g = model.graph();
    let inputs = network.inputs(g);
    let Some(authority) = onnxruntime::run(file, &inputs) else { return };
    let jit = Jit::new(compiler.lower(&model).unwrap_or_else(|e| panic!("{e}"))).unwrap_or_else(|e| panic!("{e}"));
    let outputs = Engine::jit(jit).run(&inputs).unwrap_or_else(|e| panic!("{e}"));
    if integers {
        let reference = Engine::reference(g).run(&inputs).unwrap_or_else(|e| panic!("{e}"));
        assert!(outputs[0].bytes()[..] == reference[0].bytes()[..], "native code computes other integers");
    }
    assert!(same_class(g, &outputs[0], &authority[0]), "another class than ONNX Runtime's");
    let Err(why) = compare(g, &outputs, &authority) else { return };
    // Many a network amplifies every flipped rounding from layer to layer, in any implementation: ONNX Runtime is as far from itself, merging
    // operators or not, and with a few numbers of the input a step off.
    let others = [onnxruntime::run_plain(file, &inputs), onnxruntime::run(file, &nudged(&inputs))];
    let from_itself = |other: Option<Vec<Tensor>>| other.map(|other| relative(&other[0], &authority[0]));
    let noise = others.into_iter().filter_map(from_itself).fold(0.0, f64::max);
    let off = relative(&outputs[0], &authority[0]);
    assert!(off <= NOISE * noise, "{}: {why}; {off:.4} off, ONNX Runtime from itself {noise:.4}", file.display());
    eprintln!("{}: {off:.4} off, ONNX Runtime from itself {noise:.4}", file.display());
}

#[test]
fn trained_mobilenet_as_it_came() {
    let Some(file) = mnnc_tests::shared::file("data/models/mnv2_tv1_static_qdq_u8.onnx") else { return };
    let shapes = vec![("input".to_string(), vec![1, 3, 224, 224])];
    judge(&file, CompileOptions { shapes, ..Default::default() }, networks::named("mnv2_tv1_fp32"), false);
}

macro_rules! networks {
    ($($test:ident: $name:literal $form:literal;)*) => {
        $(#[test]
        fn $test() {
            network($name, $form);
        })*
    };
}

networks! {
    trained_mobilenet_qdq: "mnv2_tv1_fp32" "qdq_u8_s8";
    trained_mobilenet_signed: "mnv2_tv1_fp32" "qdq_s8_s8";
    trained_mobilenet_operators: "mnv2_tv1_fp32" "qop_u8_s8";
    trained_squeezenet_unsigned: "squeezenet1.1_fp32" "qdq_u8_u8";
    trained_squeezenet_operators: "squeezenet1.1_fp32" "qop_u8_u8";
    mobilenet_v3_large_qdq: "mobilenet_v3_large" "qdq_u8_s8";
    shufflenet_qdq: "shufflenet_v2_x1_0" "qdq_u8_s8";
    shufflenet_operators: "shufflenet_v2_x1_0" "qop_u8_u8";
    resnet18_qdq: "resnet18" "qdq_u8_s8";
    resnet18_signed: "resnet18" "qdq_s8_s8";
    resnet18_operators: "resnet18" "qop_u8_s8";
}
