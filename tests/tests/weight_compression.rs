//! Compressed weights of a trained MobileNetV2: how much smaller, and how often right on 400 labelled pictures.

use std::path::PathBuf;

use mnnc::accuracy::{Accuracy, Labels, Score};
use mnnc::weights::Samples;
use mnnc::{Compiler, Engine, Model};
use mnnc_ir::Tensor;
use mnnc_quant::weight::{Effort, Method, Options, Report};
use mnnc_tests::picture::{Scale, centre, planar};
use mnnc_tests::shared;

#[derive(Clone)]
struct Bench {
    compiler: Compiler,
    model: Model,
    pictures: Vec<(usize, Tensor)>,
    calibration: Vec<Vec<Tensor>>,
    reference: Vec<Vec<f32>>,
}

/// The model, the labelled pictures with the float model's outputs, and the calibration pictures.
fn bench() -> Option<Bench> {
    let file = shared::file("data/models/mnv2_tv1_fp32.onnx")?;
    let labels = Labels::read(&shared::file("data/imagenet_val/labels.csv")?).unwrap();
    let folder = shared::folder().join("data/imagenet_val");
    let read = |path: PathBuf| planar(&centre(&path, 224, 224), Scale::IMAGENET);
    let pictures = labels.rows.into_iter().map(|(f, c)| (c, read(folder.join("labelled").join(f)))).collect();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder.join("calibration")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let calibration = files.into_iter().map(|f| vec![read(f)]).collect();
    let compiler = Compiler::default();
    let model = compiler.load(&file).unwrap();
    let model = model.with_graph(compiler.clean(&model).unwrap().graph);
    let mut bench = Bench { compiler, model, pictures, calibration, reference: Vec::new() };
    bench.reference = bench.outputs(&bench.model);
    Some(bench)
}

impl Bench {
    fn outputs(&self, model: &Model) -> Vec<Vec<f32>> {
        // What counts here is the numbers, so the weights may be expanded beforehand.
        let expanded = self.compiler.transform(model.graph().clone(), "fold{max-growth=1073741824}").unwrap().graph;
        let mut engine = Engine::jit(self.compiler.jit(&model.with_graph(expanded)).unwrap());
        self.pictures.iter().map(|(_, x)| engine.run(std::slice::from_ref(x)).unwrap()[0].to_vec()).collect()
    }
    fn judge(&self, model: &Model) -> Accuracy {
        let mut score = Score::default();
        for (((class, _), reference), got) in self.pictures.iter().zip(&self.reference).zip(self.outputs(model)) {
            score.add(Some(*class), Some(reference), &got);
        }
        score.finish()
    }
    fn measure(&self, what: &str, options: &Options, effort: Option<Effort>) -> (Accuracy, Report) {
        let start = std::time::Instant::now();
        let policy = options.policy(self.model.graph());
        let samples: &dyn Samples = &Slice(&self.calibration);
        let samples = effort.map(|e| (samples, e));
        let (small, report) = self.compiler.compress(&self.model, &policy, samples).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        let found = self.judge(&small);
        let (before, after) = report.bytes();
        eprintln!(
            "{what}: top-1 {:.2} top-5 {:.2} agreement {:.2} SQNR {:.2} dB, weights {:.2}x smaller, {seconds:.1} s",
            100.0 * found.top1.unwrap(),
            100.0 * found.top5.unwrap(),
            100.0 * found.agreement.unwrap(),
            found.sqnr.unwrap(),
            before as f64 / after as f64,
        );
        (found, report)
    }
}

struct Slice<'a>(&'a [Vec<Tensor>]);

impl Samples for Slice<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn get(&self, i: usize) -> mnnc::Result<Vec<Tensor>> {
        Ok(self.0[i].clone())
    }
}

#[test]
#[ignore = "a study, not a check"]
fn study() {
    let Some(bench) = bench() else { return };
    let float = bench.judge(&bench.model);
    eprintln!("float: {float:?}");
    let which = std::env::var("STUDY").unwrap_or_default();
    let wants = |name: &str| which.is_empty() || which.split(',').any(|w| name.starts_with(w));
    let run = |name: &str, options: &Options, effort: Option<Effort>| {
        if wants(name) {
            bench.measure(name, options, effort);
        }
    };
    let noise = mnnc::weights::Synthetic::new(bench.model.graph());
    let noise: Vec<Vec<Tensor>> = (0..noise.len()).map(|i| noise.get(i).unwrap()).collect();
    let synthetic = Bench { calibration: noise, ..bench.clone() };
    let sham = |name: &str, options: &Options, effort: Effort| {
        if wants(name) {
            synthetic.measure(name, options, Some(effort));
        }
    };
    run("fp16", &Options::bits(16), None);
    for method in [Method::MinMax, Method::Mse, Method::Hqq] {
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
        ("1 round", Effort { rounds: 1, ..base.clone() }),
        ("0 rounds", Effort { rounds: 0, ..base.clone() }),
        ("5 rounds", Effort { rounds: 5, ..base.clone() }),
        ("damping 0.1", Effort { damping: 0.1, ..base.clone() }),
        ("damping 0.001", Effort { damping: 0.001, ..base.clone() }),
        ("64 patches", Effort { patches: 64, ..base.clone() }),
    ];
    for (name, effort) in efforts {
        run(&format!("data8 {name}"), &Options::bits(8), Some(effort.clone()));
        run(&format!("data4 {name}"), &Options::bits(4).block(32), Some(effort.clone()));
        let effort = Effort { bias: false, ..effort };
        sham(&format!("sham8 {name}"), &Options::bits(8), effort.clone());
        sham(&format!("sham4 {name}"), &Options::bits(4).block(32), effort);
    }
}
