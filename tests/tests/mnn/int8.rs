//! Networks with int8 activations in MNN: what it computes is what the simulation and native code of the file say, integer by integer.

use crate::engine::{self, Case};
use mnnc::calibrate::{Config, Samples};
use mnnc::quantize::Recipe;
use mnnc::{Compiler, Emit, Engine, Model, zoo};
use mnnc_ir::{DType, Tensor};
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
    let names =
        |values: &[mnnc_ir::ValueId]| -> Vec<String> { values.iter().map(|&v| g.value(v).name.clone()).collect() };
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
    let step = made.report.activations.iter().find(|a| a.name == outputs[0]).expect("the output is rounded").scale;
    let mut simulation = Engine::reference(made.simulated.graph());
    let read = compiler.load(&path).expect("our own file");
    let mut native = Engine::jit(compiler.jit(&read).expect("native code"));
    let (mut near, mut equal, mut all, mut same, mut as_simulated) = (0, 0, 0, 0, true);
    for (picture, theirs) in pictures.iter().zip(engine::run(python, &cases, Duration::from_secs(300))) {
        let ours = simulation.run(picture).expect("it evaluates").remove(0).to_vec::<f32>();
        let theirs = theirs?.remove(0).to_vec::<f32>();
        let computed = native.run(picture).expect("it runs").remove(0).to_vec::<f32>();
        // Layers at the end may be float ones.
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
