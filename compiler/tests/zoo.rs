//! The zoo's networks against what torchvision publishes of them, and, where a
//! Python with `onnx` and `onnxruntime` is at hand, against those two.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

use mnnc::zoo::{Options, ZooError, build, names, write};
use mnnc_schema::onnx::{GraphProto, ModelProto};

/// Number of trainable parameters that torchvision documents for each network.
const PARAMETERS: [(&str, i64); 8] = [
    ("mobilenet_v2", 3_504_872),
    ("mobilenet_v3_large", 5_483_032),
    ("efficientnet_b0", 5_288_548),
    ("shufflenet_v2_x1_0", 2_278_604),
    ("squeezenet1_1", 1_235_496),
    ("resnet18", 11_689_512),
    ("resnet50", 25_557_032),
    ("vit_b_32", 88_224_232),
];

fn graph(name: &str, options: &Options) -> GraphProto {
    build(name, options).unwrap().graph.unwrap()
}

/// Elements of all initializers whose name `keep` accepts.
fn elements(graph: &GraphProto, keep: impl Fn(&str) -> bool) -> i64 {
    let kept = graph.initializer.iter().filter(|t| keep(&t.name));
    kept.map(|t| t.dims.iter().product::<i64>()).sum()
}

fn histogram(graph: &GraphProto) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for node in &graph.node {
        *counts.entry(node.op_type.as_str()).or_default() += 1;
    }
    counts
}

#[test]
fn parameters_are_those_of_torchvision() {
    assert_eq!(names(), PARAMETERS.map(|(name, _)| name));
    for (name, published) in PARAMETERS {
        let unfolded = graph(name, &Options { unfolded: true, ..Default::default() });
        let count = elements(&unfolded, |name| !name.contains(".running_"));
        assert_eq!(count, published, "{name}, unfolded");
        // Folding turns each norm's scale and shift into one bias.
        let norm_channels = elements(&unfolded, |name| name.ends_with(".running_mean"));
        let folded = graph(name, &Options::default());
        assert_eq!(elements(&folded, |_| true), published - norm_channels, "{name}, folded");
        assert!(!histogram(&folded).contains_key("BatchNormalization"), "{name}");
    }
}

#[test]
fn layers_are_those_of_torchvision() {
    let counts = |name| {
        let graph = graph(name, &Options::default());
        let count = |op| histogram(&graph).get(op).copied().unwrap_or(0);
        ["Conv", "Add", "MatMul", "Gemm", "Concat", "Mul"].map(count)
    };
    assert_eq!(counts("mobilenet_v2"), [52, 10, 0, 1, 0, 0]);
    assert_eq!(counts("mobilenet_v3_large"), [62, 10, 0, 2, 0, 8]);
    assert_eq!(counts("efficientnet_b0"), [81, 9, 0, 1, 0, 65]);
    assert_eq!(counts("shufflenet_v2_x1_0"), [56, 0, 0, 1, 16, 0]);
    assert_eq!(counts("squeezenet1_1"), [26, 0, 0, 0, 8, 0]);
    assert_eq!(counts("resnet18"), [20, 8, 0, 1, 0, 0]);
    assert_eq!(counts("resnet50"), [53, 16, 0, 1, 0, 0]);
    assert_eq!(counts("vit_b_32"), [1, 73, 60, 13, 1, 48]);
}

#[test]
fn every_value_is_defined_once_and_before_its_use() {
    for (name, _) in PARAMETERS {
        for unfolded in [false, true] {
            let options = Options { size: (64, 64), unfolded, ..Default::default() };
            let graph = graph(name, &options);
            let mut known = vec![graph.input[0].name.clone()];
            known.extend(graph.initializer.iter().map(|t| t.name.clone()));
            let mut known: std::collections::HashSet<_> = known.into_iter().collect();
            for node in &graph.node {
                for input in &node.input {
                    assert!(known.contains(input), "{name}: {input} of {}", node.name);
                }
                for output in &node.output {
                    assert!(known.insert(output.clone()), "{name}: {output} twice");
                }
            }
            assert!(known.contains("output"), "{name}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let bytes = |seed| {
        let mut file = Vec::new();
        let options = Options { seed, size: (64, 64), ..Default::default() };
        write(&build("shufflenet_v2_x1_0", &options).unwrap(), &mut file).unwrap();
        file
    };
    assert!(bytes(1) == bytes(1));
    assert!(bytes(1) != bytes(2));
}

#[test]
fn wrong_requests_are_explained() {
    let error = build("resnet19", &Options::default()).unwrap_err();
    assert!(error.to_string().contains("there are: mobilenet_v2,"), "{error}");
    let refused = |name: &str, options: Options| {
        assert!(matches!(build(name, &options), Err(ZooError::Input(_))), "{name} {options:?}");
    };
    refused("vit_b_32", Options { size: (224, 200), ..Default::default() });
    refused("squeezenet1_1", Options { size: (16, 224), ..Default::default() });
    refused("resnet18", Options { size: (0, 224), ..Default::default() });
    refused("resnet18", Options { batch: 0, ..Default::default() });
    refused("resnet18", Options { batch: usize::MAX, ..Default::default() });
}

/// A Python that has `onnx` and `onnxruntime`: `MNNC_PYTHON`, or `python3`.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("MNNC_PYTHON").map_or("python3".into(), PathBuf::from);
    let has = Command::new(&python).args(["-c", "import onnx, onnxruntime, numpy"]).output();
    has.is_ok_and(|output| output.status.success()).then_some(python)
}

#[test]
fn onnx_accepts_and_onnxruntime_runs_every_variant() {
    let Some(python) = python() else {
        eprintln!("skipped: no Python with onnx and onnxruntime (set MNNC_PYTHON)");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let save = |model: &ModelProto, name: &str| {
        let mut file = std::fs::File::create(dir.path().join(name)).unwrap();
        write(model, &mut file).unwrap();
    };
    for (name, _) in PARAMETERS {
        let variants = [
            ("folded", Options::default()),
            ("unfolded", Options { unfolded: true, ..Default::default() }),
            ("dynamic", Options { dynamic_batch: true, ..Default::default() }),
            ("small", Options { batch: 2, size: (64, 96), ..Default::default() }),
        ];
        for (variant, options) in variants {
            save(&build(name, &options).unwrap(), &format!("{variant}.onnx"));
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zoo_check.py");
        let output = Command::new(&python).arg(script).arg(dir.path()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
    }
}
