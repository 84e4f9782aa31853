//! ONNX's own backend cases, written as `.mnn` and run in MNN.

use crate::common::{cases, onnx_cases};
use crate::mnn::engine::{self, Case};
use mnnc_import::{ImportOptions, load_onnx_bytes};
use mnnc_ir::{Graph, Tensor};
use mnnc_mnn::WriteOptions;
use mnnc_ops::Evaluator;
use mnnc_transform::{Hooks, Manager, OptLevel, Pipeline, Prefer, Target, levels};
use std::collections::BTreeMap;
use std::time::Duration;

/// Fewer right cases than this mean that something got lost. Raise it as ops are added.
const AT_LEAST: usize = 600;
/// Cases that share a Python process.
const BATCH: usize = 100;

fn optimised(model: Vec<u8>) -> Result<Graph, String> {
    let mut graph = load_onnx_bytes(model, &ImportOptions::default()).map_err(|_| "not imported")?.graph;
    let pipeline =
        Pipeline::parse(&levels::pipeline(Target::Mnn, OptLevel::O1, Prefer::Normal)).expect("a level's pipeline");
    Manager::new(&Hooks::default()).run(&mut graph, &pipeline).map_err(|e| e.to_string())?;
    Ok(graph)
}

/// The reasons of the first refused node.
fn reason(error: &mnnc_mnn::WriteError) -> String {
    match error {
        mnnc_mnn::WriteError::Unsupported(nodes) => {
            nodes.first().map(|node| format!("{}: {}", node.op, node.reason)).unwrap_or_default()
        }
        other => other.to_string(),
    }
}

#[test]
fn onnx_cases_are_right_or_refused() {
    let Some(python) = mnnc_tests::python() else { return };
    let Some(folder) = onnx_cases() else {
        eprintln!("skipped: no Python with the package onnx");
        return;
    };
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let mut disputed = Vec::new();
    let (mut runs, mut wanted) = (Vec::new(), Vec::new());
    for case in cases::collect(&folder) {
        let data = case.folder.join("test_data_set_0");
        let (Ok(inputs), Ok(want)) = (cases::tensors(&data, "input"), cases::tensors(&data, "output")) else {
            continue;
        };
        let model = std::fs::read(case.folder.join("model.onnx")).expect("the case's model");
        // Shapes and the like come as inputs; where those have to be constants, they are made such.
        let written = |model: Vec<u8>| {
            let graph = optimised(model)?;
            let bytes = mnnc_mnn::write(&graph, &WriteOptions::default()).map_err(|error| reason(&error))?;
            Ok::<_, String>((graph, bytes))
        };
        let (graph, bytes) = match written(model.clone()) {
            Ok(done) => done,
            Err(why) => match cases::with_constants(&model, &data, inputs.len()).map(written) {
                Some(Ok(done)) => done,
                Some(Err(why)) if why == "not imported" => continue,
                None if why == "not imported" => continue,
                _ => {
                    *refused.entry(why).or_default() += 1;
                    continue;
                }
            },
        };
        let feeds: Vec<(String, Tensor)> = graph
            .inputs()
            .iter()
            .zip(&inputs)
            .map(|(&v, tensor)| (graph.value(v).name.clone(), tensor.clone()))
            .collect();
        // Where the reference itself has another opinion, the matter is that of the imports' own suite.
        let values: Vec<Tensor> = feeds.iter().map(|(_, tensor)| tensor.clone()).collect();
        let agrees = Evaluator::new(&graph)
            .run(&values)
            .is_ok_and(|got| got.iter().zip(&want).all(|(g, w)| engine::error(g, w).is_ok_and(|error| error <= 1.0)));
        if !agrees {
            disputed.push(case.name);
            continue;
        }
        let outputs: Vec<String> = graph.outputs().iter().map(|&v| graph.value(v).name.clone()).collect();
        runs.push(Case { model: bytes, api: "module", memory: "normal", inputs: feeds, outputs, beside: None });
        wanted.push((case.name, want));
    }
    let mut outcomes = Vec::new();
    for batch in runs.chunks(BATCH) {
        outcomes.extend(engine::run(python, batch, Duration::from_secs(120)));
    }
    let (mut right, mut wrong) = (0, Vec::new());
    for (outcome, (name, want)) in outcomes.into_iter().zip(wanted) {
        let verdict = outcome.and_then(|got| {
            got.iter().zip(&want).try_fold(0.0f64, |worst, (g, w)| engine::error(g, w).map(|e| worst.max(e)))
        });
        match verdict {
            Ok(error) if error <= 1.0 => right += 1,
            Ok(error) => wrong.push(format!("{name}: {error:.1} times the tolerance off")),
            Err(why) => wrong.push(format!("{name}: {why}")),
        }
    }
    for (why, count) in &refused {
        println!("refused {count}: {why}");
    }
    println!("disputed: {}", disputed.join(" "));
    println!("{right} right, {} wrong, {} refused", wrong.len(), refused.values().sum::<usize>());
    assert!(wrong.is_empty(), "wrong in MNN:\n{}", wrong.join("\n"));
    assert!(right >= AT_LEAST, "only {right} cases right");
}
