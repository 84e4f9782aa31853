//! Real pictures through a trained classifier: the same class as ONNX Runtime, and as often right.

use std::path::Path;
use std::process::Command;

use mnnc::{Compiler, Engine, npy};
use mnnc_ir::Tensor;
use mnnc_tests::picture::{Scale, centre, planar};
use mnnc_tests::{shared, tools};

/// The share of pictures with the same class.
const AGREEMENT: f64 = 0.995;
/// MobileNetV2's published accuracy is 71.9 %; this model's head was recovered from 8 bits.
const ACCURACY: f64 = 0.65;

fn best(logits: &[f32]) -> usize {
    let mut best = 0;
    for (i, x) in logits.iter().enumerate() {
        if *x > logits[best] {
            best = i;
        }
    }
    best
}

#[test]
fn mobilenet_v2_sees_what_onnx_runtime_sees() {
    let (Some(model), Some(labels), Some(python)) = (
        shared::file("data/models/mnv2_tv1_fp32.onnx"),
        shared::file("data/imagenet_val/labels.csv"),
        mnnc_tests::python(),
    ) else {
        return;
    };
    let labels = std::fs::read_to_string(&labels).unwrap();
    let rows: Vec<(&str, usize)> =
        labels.lines().skip(1).filter_map(|l| l.split_once(',')).map(|(f, c)| (f, c.trim().parse().unwrap())).collect();
    assert_eq!(rows.len(), 400);
    let folder = shared::folder().join("data/imagenet_val/labelled");
    let pictures: Vec<Tensor> =
        rows.iter().map(|(file, _)| planar(&centre(&folder.join(file), 224, 224), Scale::IMAGENET)).collect();

    let compiler = Compiler::default();
    let mut jit = Engine::jit(compiler.jit(&compiler.load(&model).unwrap()).unwrap());
    let ours: Vec<usize> =
        pictures.iter().map(|p| best(&jit.run(std::slice::from_ref(p)).unwrap()[0].to_vec::<f32>())).collect();

    let work = tempfile::tempdir().unwrap();
    let (batch, logits) = (work.path().join("batch.npy"), work.path().join("logits.npy"));
    let all: Vec<f32> = pictures.iter().flat_map(|p| p.to_vec::<f32>()).collect();
    npy::write(&batch, &Tensor::new([rows.len(), 3, 224, 224], all)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/top1.py");
    tools::run(Command::new(python).arg(script).args([&model, &batch, &logits]), b"").unwrap_or_else(|e| panic!("{e}"));
    let theirs: Vec<usize> = npy::read(&logits).unwrap().to_vec::<f32>().chunks(1000).map(best).collect();

    let share = |n: usize| n as f64 / rows.len() as f64;
    let agreement = share(ours.iter().zip(&theirs).filter(|(a, b)| a == b).count());
    let right = |found: &[usize]| share(found.iter().zip(&rows).filter(|(f, (_, class))| *f == class).count());
    let (ours, theirs) = (right(&ours), right(&theirs));
    eprintln!(
        "top-1: same class in {:.2} %; right in {:.2} %, ONNX Runtime {:.2} %",
        agreement * 100.0,
        ours * 100.0,
        theirs * 100.0
    );
    assert!(agreement >= AGREEMENT, "the same class in {:.2} % of the pictures", agreement * 100.0);
    assert!(ours >= ACCURACY && (ours - theirs).abs() <= 1.0 - AGREEMENT, "right in {ours}, ONNX Runtime in {theirs}");
}
