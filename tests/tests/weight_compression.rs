//! Compressed weights of a trained MobileNetV2: how much smaller, and how often right on 400 labelled pictures.

use std::path::PathBuf;
use std::time::Instant;

use mnnc::accuracy::{Accuracy, Labels, Outputs, judge};
use mnnc::weights::{Samples, Synthetic};
use mnnc::{Compiler, Emit, Model};
use mnnc_ir::Tensor;
use mnnc_quant::weight::{Effort, Method, Options};
use mnnc_tests::picture::{Scale, centre, planar};
use mnnc_tests::shared;

struct Bench {
    compiler: Compiler,
    model: Model,
    pictures: Pictures,
    classes: Vec<usize>,
    calibration: Pictures,
    reference: Outputs,
    /// Bytes of the `.mnn` file in `f32`.
    bytes: u64,
}

/// Prepared pictures.
struct Pictures(Vec<Vec<Tensor>>);

impl Samples for Pictures {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn get(&self, i: usize) -> mnnc::Result<Vec<Tensor>> {
        Ok(self.0[i].clone())
    }
}

/// The model, the labelled pictures with the float model's outputs, and the calibration pictures.
fn bench() -> Option<Bench> {
    let file = shared::file("data/models/mnv2_tv1_fp32.onnx")?;
    let labels = Labels::read(&shared::file("data/imagenet_val/labels.csv")?).unwrap();
    let folder = shared::folder().join("data/imagenet_val");
    let read = |path: PathBuf| vec![planar(&centre(&path, 224, 224), Scale::IMAGENET)];
    let (files, classes): (Vec<String>, Vec<usize>) = labels.rows.into_iter().unzip();
    let pictures = Pictures(files.iter().map(|f| read(folder.join("labelled").join(f))).collect());
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder.join("calibration")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let calibration = Pictures(files.into_iter().map(read).collect());
    let compiler = Compiler::default();
    let model = compiler.load(&file).unwrap();
    let model = model.with_graph(compiler.clean(&model).unwrap().graph);
    let reference = compiler.outputs(&model, &pictures).unwrap();
    let mut bench = Bench { compiler, model, pictures, classes, calibration, reference, bytes: 0 };
    bench.bytes = bench.file_bytes(&bench.model);
    Some(bench)
}

/// What a compressed model is worth.
struct Found {
    accuracy: Accuracy,
    /// How many times smaller the `.mnn` file is.
    smaller: f64,
}

impl Bench {
    fn file_bytes(&self, model: &Model) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        self.compiler.compile(model, Emit::Mnn, &folder.path().join("m.mnn"), false).unwrap().bytes
    }
    fn judge(&self, model: &Model) -> Accuracy {
        let outputs = self.compiler.outputs(model, &self.pictures).unwrap();
        judge(&outputs, Some(&self.classes), Some(&self.reference))
    }
    fn measure(&self, what: &str, options: &Options, samples: Option<(&dyn Samples, Effort)>) -> Found {
        let start = Instant::now();
        let policy = options.policy(self.model.graph());
        let (small, report) = self.compiler.compress(&self.model, &policy, samples).unwrap();
        assert_eq!(report.notes, [""; 0]);
        let seconds = start.elapsed().as_secs_f64();
        let accuracy = self.judge(&small);
        let smaller = self.bytes as f64 / self.file_bytes(&small) as f64;
        eprintln!(
            "{what}: top-1 {:.2} top-5 {:.2} agreement {:.2} SQNR {:.2} dB, {smaller:.2}x smaller, {seconds:.1} s",
            100.0 * accuracy.top1.unwrap(),
            100.0 * accuracy.top5.unwrap(),
            100.0 * accuracy.agreement.unwrap(),
            accuracy.sqnr.unwrap(),
        );
        Found { accuracy, smaller }
    }
}

/// Bounds for the loss of top-1 in pictures, SQNR in decibels and the size of the file.
#[test]
fn a_trained_network_keeps_its_accuracy() {
    let Some(bench) = bench() else { return };
    let float = bench.judge(&bench.model).top1.unwrap();
    let pictures: &dyn Samples = &bench.calibration;
    let calibrated = || Some((pictures, Effort::default()));
    let four = || Options::bits(4).block(32);
    let check = |what: &str, found: Found, top1: f64, sqnr: f64, smaller: f64| {
        let (a, b) = (found.accuracy.top1.unwrap(), found.accuracy.sqnr.unwrap());
        assert!(a >= top1 - 1e-9, "{what}: top-1 {a}, at least {top1} is wanted");
        assert!(b >= sqnr, "{what}: {b} dB, at least {sqnr} are wanted");
        assert!(found.smaller >= smaller, "{what}: {} times smaller, at least {smaller} is wanted", found.smaller);
    };
    check("fp16", bench.measure("fp16", &Options::bits(16), None), float, 43.0, 1.9);
    check("8 bits", bench.measure("8 bits, no data", &Options::bits(8), None), float - 0.0025, 22.0, 3.7);
    check("8 bits", bench.measure("8 bits, pictures", &Options::bits(8), calibrated()), float - 0.0025, 25.0, 3.7);
    check("4 bits", bench.measure("4 bits, no data", &four(), None), 0.70, 0.0, 6.5);
    check("4 bits", bench.measure("4 bits, pictures", &four(), calibrated()), 0.76, 0.0, 6.5);
}

/// Prints what the choices are worth; `STUDY` picks some by how their names begin, with commas between.
#[test]
#[ignore = "a study, not a check"]
fn study() {
    let Some(bench) = bench() else { return };
    eprintln!("float: {:?}", bench.judge(&bench.model));
    let which = std::env::var("STUDY").unwrap_or_default();
    let wants = |name: &str| which.is_empty() || which.split(',').any(|w| name.starts_with(w));
    let pictures: &dyn Samples = &bench.calibration;
    let noise: &dyn Samples = &Synthetic::new(bench.model.graph());
    let run = |name: &str, options: &Options, samples: Option<(&dyn Samples, Effort)>| {
        if wants(name) {
            bench.measure(name, options, samples);
        }
    };
    run("fp16", &Options::bits(16), None);
    for method in [Method::MinMax, Method::Mse, Method::Hqq, Method::Output] {
        run(&format!("free8 {method:?}"), &Options { method, ..Options::bits(8) }, None);
        for symmetric in [true, false] {
            let options = Options { method, symmetric, ..Options::bits(4).block(32) };
            run(&format!("free4 {method:?} symmetric={symmetric}"), &options, None);
        }
    }
    let base = Effort::default();
    let efforts = [
        ("default", base.clone()),
        ("no bias", Effort { bias: false, ..base.clone() }),
        ("0 rounds", Effort { rounds: 0, ..base.clone() }),
        ("5 rounds", Effort { rounds: 5, ..base.clone() }),
        ("damping 0.1", Effort { damping: 0.1, ..base.clone() }),
        ("damping 0.001", Effort { damping: 0.001, ..base.clone() }),
        ("few patches", Effort { patches: 2, ..base.clone() }),
        ("many patches", Effort { patches: 32, ..base.clone() }),
    ];
    for (name, effort) in efforts {
        run(&format!("data8 {name}"), &Options::bits(8), Some((pictures, effort.clone())));
        run(&format!("data4 {name}"), &Options::bits(4).block(32), Some((pictures, effort.clone())));
        run(&format!("noise4 {name}"), &Options::bits(4).block(32), Some((noise, Effort { bias: false, ..effort })));
    }
}
