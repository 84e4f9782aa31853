//! Networks with int8 activations in MNN: what it computes is what the simulation and native code of the file say, integer by integer.

use crate::mnn::engine::{self, Case};
use mnnc::calibrate::{Config, Samples};
use mnnc::quantize::Recipe;
use mnnc::{Compiler, Emit, Engine, Model, zoo};
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, OpDecl, Tensor, TensorType, ValueId};
use mnnc_ops::sample::Gen;
use mnnc_quant::calibrate::Style;
use mnnc_schema::onnx::Message;
use mnnc_tests::shared;
use std::path::Path;
use std::time::Duration;

/// Pictures that are compared.
const PICTURES: usize = 12;
/// Share of the outputs that must be the simulation's.
const EQUAL: f64 = 0.999;

/// `quant.json` for torchvision's classifiers.
fn imagenet(method: &str) -> Config {
    let channels = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)];
    let text = serde_json::json!({
        "format": "RGB",
        "mean": channels.map(|(mean, _)| mean * 255.0),
        "normal": channels.map(|(_, deviation)| 1.0 / (deviation * 255.0)),
        "center_crop_h": 224.0 / 227.0,
        "center_crop_w": 224.0 / 227.0,
        "path": shared::folder().join("data/imagenet_val/calibration"),
        "used_image_num": PICTURES,
        "feature_quantize_method": method,
    });
    Config::parse(&text.to_string()).expect("a configuration")
}

fn best(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}

/// What is wrong with a model that was quantised with this method and these samples.
fn check(python: &Path, name: &str, model: &Model, config: &Config, samples: &Samples) -> Result<(), String> {
    let compiler = Compiler::default();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = compiler.quantize(model, &Recipe::of(config, Style::EveryOp), samples, &()).expect("quantised");
    let path = folder.path().join("net.mnn");
    compiler.compile(&made.model, Emit::Mnn, &path, false).expect("written");
    let file = std::fs::read(&path).expect("written before");
    let g = made.model.graph();
    let names = |values: &[ValueId]| -> Vec<String> { values.iter().map(|&v| g.value(v).name.clone()).collect() };
    let (inputs, outputs) = (names(g.inputs()), names(g.outputs()));
    let pictures: Vec<Vec<Tensor>> = (0..samples.len()).map(|i| samples.get(i).expect("a sample")).collect();
    let case = |picture: &Vec<Tensor>| Case {
        model: file.clone(),
        api: "module",
        memory: "normal",
        inputs: inputs.iter().cloned().zip(picture.iter().cloned()).collect(),
        outputs: outputs.clone(),
        beside: None,
    };
    let cases: Vec<Case> = pictures.iter().map(case).collect();
    let rounded = made.report.activations.iter().find(|a| a.name == outputs[0]);
    let mut simulation = Engine::reference(made.simulated.graph());
    let read = compiler.load(&path).expect("our own file");
    let mut native = Engine::jit(compiler.jit(&read).expect("native code"));
    let (mut near, mut equal, mut all, mut same, mut as_simulated) = (0, 0, 0, 0, true);
    for (picture, theirs) in pictures.iter().zip(engine::run(python, &cases, Duration::from_secs(300))) {
        let ours = simulation.run(picture).expect("it evaluates").remove(0).to_vec::<f32>();
        let theirs = theirs?.remove(0).to_vec::<f32>();
        let computed = native.run(picture).expect("it runs").remove(0).to_vec::<f32>();
        // Layers at the end may be float ones: a hundredth of their results then is a step.
        let largest = ours.iter().fold(0f32, |m, x| m.max(x.abs()));
        let step = rounded.map_or(largest / 100.0, |a| a.scale);
        as_simulated &= ours.iter().zip(&computed).all(|(a, b)| (a - b).abs() <= 1e-3 * step);
        let off = || ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs());
        near += off().filter(|&off| off <= 1.001 * step).count();
        equal += off().filter(|&off| off <= 1e-3 * step).count();
        all += ours.len();
        same += usize::from(best(&ours) == best(&theirs));
    }
    let [near, equal] = [near, equal].map(|n| n as f64 / all as f64);
    println!(
        "{name}: {:.2} % of outputs within a step, {:.2} % equal, first {same} of {}",
        100.0 * near,
        100.0 * equal,
        pictures.len()
    );
    if !as_simulated {
        return Err(format!("{name}: native code of the file computes something else"));
    }
    if equal >= EQUAL && same == pictures.len() { Ok(()) } else { Err(format!("{name}: {equal}, {same}")) }
}

/// Sums in another order differ on processors without these instructions, and then everything behind.
fn is_simulated() -> bool {
    #[cfg(target_arch = "x86_64")]
    let there = is_x86_feature_detected!("avx512vnni");
    #[cfg(not(target_arch = "x86_64"))]
    let there = false;
    if !there {
        println!("skipped: this processor has no AVX-512 VNNI, MNN's arithmetic on which is simulated");
    }
    there
}

#[test]
fn trained_networks_give_what_the_simulation_says() {
    let Some(python) = mnnc_tests::python() else { return };
    let mut bad = Vec::new();
    // Symmetric activations, and such with a zero point.
    for (name, method) in [("mnv2_tv1_fp32", "KL"), ("mnv2_tv1_fp32", "MINMAX"), ("squeezenet1.1_fp32", "MINMAX")] {
        let Some(file) = shared::file(&format!("data/models/{name}.onnx")).filter(|_| is_simulated()) else { return };
        let model = Compiler::default().load(&file).expect("a network");
        let config = imagenet(method);
        let samples = Samples::open(&config, model.graph()).expect("pictures");
        bad.extend(check(python, &format!("{name} {method}"), &model, &config, &samples).err());
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// Sums with a ReLU behind, max pooling of numbers of both signs, and a network that needs no shared folder.
#[test]
fn a_residual_network_gives_what_the_simulation_says() {
    let Some(python) = mnnc_tests::python().filter(|_| is_simulated()) else { return };
    let proto = zoo::build("resnet18", &zoo::Options { size: (64, 64), ..Default::default() }).expect("a zoo network");
    let model = Compiler::default().load_onnx("resnet18", proto.encode_to_vec()).expect("a network");
    let mut random = Gen::new(9);
    let noise = (0..PICTURES).map(|_| vec![random.tensor(DType::F32, &[1, 3, 64, 64], -2.0, 2.0)]).collect();
    let samples = Samples::given(model.graph(), noise).expect("samples");
    let bad: Vec<String> = ["KL", "MINMAX"]
        .iter()
        .filter_map(|method| check(python, &format!("resnet18 {method}"), &model, &imagenet(method), &samples).err())
        .collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// Two convolutions, with an op between them that MNN has a kernel on integers for, or hands scales through.
fn between(name: &str, base: &Model) -> Model {
    let mut random = Gen::new(name.len() as u64);
    let mut g = Graph::new(name);
    let x = g.add_input("x", TensorType::new(DType::F32, [1usize, 3, 16, 16]));
    let mut conv = |g: &mut Graph, x: ValueId, outputs: usize, size: usize, groups: usize| {
        let inputs = g.ty(x).static_dims().expect("a shape")[1] / groups;
        let w = g.add_const("w", random.tensor(DType::F32, &[outputs, inputs, size, size], -0.4, 0.4));
        let b = g.add_const("b", random.tensor(DType::F32, &[outputs], -0.3, 0.3));
        let pads = vec![size as i64 / 2; 4];
        emit(g, "conv", &[x, w, b], Attrs::new().with("pads", pads).with("group", groups as i64))
    };
    let a = conv(&mut g, x, 16, 3, 1);
    let none = Attrs::new;
    let y = match name {
        "max" | "min" | "sub" | "mul" | "add" => {
            let b = conv(&mut g, x, 16, 1, 1);
            emit(&mut g, name, &[a, b], none())
        }
        "nearest" | "linear" => {
            let factors = g.add_const("factors", Tensor::new([4], vec![1f32, 1.0, 2.0, 2.0]));
            let mode = if name == "nearest" { "asymmetric" } else { "half_pixel" };
            let attrs =
                none().with("mode", name).with("coordinate_transformation_mode", mode).with("nearest_mode", "floor");
            let spec = NodeSpec { inputs: vec![Some(a), None, Some(factors)], ..NodeSpec::new(lookup("resize"), []) };
            let spec = spec.attrs(attrs).outputs(["y"]);
            g.emit(spec).unwrap_or_else(|e| panic!("resize: {e:?}"))
        }
        "leaky_relu" => emit(&mut g, name, &[a], none().with("alpha", 0.1)),
        "relu after sum" => {
            let b = conv(&mut g, x, 16, 1, 1);
            let sum = emit(&mut g, "add", &[a, b], none());
            emit(&mut g, "relu", &[sum], none())
        }
        "pad of a maximum" | "pad of integers" => {
            let b = conv(&mut g, x, 16, 1, 1);
            let sum = emit(&mut g, if name == "pad of integers" { "add" } else { "max" }, &[a, b], none());
            let pads = g.add_const("pads", Tensor::ints(&[0, 2, 1, 0, 0, 3, 0, 2]));
            emit(&mut g, "pad", &[sum, pads], none())
        }
        "maximum of turned" => {
            let turned = emit(&mut g, "transpose", &[x], none().with("perm", vec![0i64, 1, 3, 2]));
            let curve = emit(&mut g, "sigmoid", &[turned], none());
            emit(&mut g, "max", &[curve, turned], none())
        }
        "clip of a maximum" => {
            let b = conv(&mut g, x, 16, 1, 1);
            let most = emit(&mut g, "max", &[a, b], none());
            let [low, high] = [-0.5f32, 1.0].map(|x| g.add_const("bound", Tensor::scalar(x)));
            emit(&mut g, "clip", &[most, low, high], none())
        }
        "maximum of a clip" => {
            let [low, high] = [-0.5f32, 1.0].map(|x| g.add_const("bound", Tensor::scalar(x)));
            let less = emit(&mut g, "clip", &[a, low, high], none());
            emit(&mut g, "max", &[less, a], none())
        }
        "pool of a pool" => {
            let once = emit(&mut g, "max_pool", &[a], none().with("kernel_shape", vec![2i64, 2]));
            emit(&mut g, "max_pool", &[once], none().with("kernel_shape", vec![2i64, 2]))
        }
        // What moves elements, between what has scales and what has none.
        "pool of turned" => {
            let curve = emit(&mut g, "tanh", &[a], none());
            let turned = emit(&mut g, "transpose", &[curve], none().with("perm", vec![0i64, 1, 3, 2]));
            emit(&mut g, "max_pool", &[turned], none().with("kernel_shape", vec![2i64, 2]))
        }
        "transposed" => {
            let w = g.add_const("w", Gen::new(5).tensor(DType::F32, &[16, 8, 2, 2], -0.4, 0.4));
            emit(&mut g, "conv_transpose", &[a, w], none().with("strides", vec![2i64, 2]))
        }
        "groups" => conv(&mut g, a, 16, 3, 4),
        "depthwise" => conv(&mut g, a, 16, 3, 16),
        "sigmoid" | "tanh" | "hard_swish" | "relu" => emit(&mut g, name, &[a], none()),
        "max_pool" | "average_pool" => {
            emit(&mut g, name, &[a], none().with("kernel_shape", vec![2i64, 2]).with("strides", vec![2i64, 2]))
        }
        "concat" => {
            let b = conv(&mut g, x, 8, 1, 1);
            let b = emit(&mut g, "relu", &[b], none());
            emit(&mut g, "concat", &[a, b], none().with("axis", 1i64))
        }
        name => panic!("{name} is no case"),
    };
    let y = conv(&mut g, y, 8, 1, 1);
    g.set_results(g.main(), vec![y]);
    base.with_graph(g)
}

fn lookup(op: &str) -> &'static OpDecl {
    mnnc_ops::lookup(op).expect("an op")
}

fn emit(g: &mut Graph, op: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
    let spec = NodeSpec::new(lookup(op), inputs.iter().copied()).attrs(attrs).outputs(["y"]);
    g.emit(spec).unwrap_or_else(|e| panic!("{op}: {e:?}"))
}

/// MNN has kernels on integers that are wrong; a file must not run into them.
#[test]
fn ops_between_convolutions_give_what_the_simulation_says() {
    let Some(python) = mnnc_tests::python().filter(|_| is_simulated()) else { return };
    let proto = zoo::build("squeezenet1_1", &zoo::Options { size: (32, 32), ..Default::default() }).expect("a network");
    let base = Compiler::default().load_onnx("base", proto.encode_to_vec()).expect("a network");
    let mut bad = Vec::new();
    for name in [
        "max",
        "min",
        "sub",
        "mul",
        "add",
        "nearest",
        "linear",
        "leaky_relu",
        "relu after sum",
        "pad of a maximum",
        "pad of integers",
        "maximum of turned",
        "clip of a maximum",
        "maximum of a clip",
        "pool of a pool",
        "pool of turned",
        "transposed",
        "groups",
        "depthwise",
        "sigmoid",
        "tanh",
        "hard_swish",
        "relu",
        "max_pool",
        "average_pool",
        "concat",
    ] {
        let model = between(name, &base);
        let mut random = Gen::new(9);
        let noise = (0..4).map(|_| vec![random.tensor(DType::F32, &[1, 3, 16, 16], -2.0, 2.0)]).collect();
        let samples = Samples::given(model.graph(), noise).expect("samples");
        let what = format!("{name} MINMAX");
        bad.extend(check(python, &what, &model, &imagenet("MINMAX"), &samples).err());
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
