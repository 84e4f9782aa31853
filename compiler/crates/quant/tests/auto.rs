//! Automatic choice on a small network whose layers differ in what they can bear.

use std::collections::HashSet;

use mnnc_ir::{DType, Diagnostics, Graph, NodeSpec, Tensor, TensorType};
use mnnc_ops::Evaluator;
use mnnc_ops::family::activation::RELU;
use mnnc_ops::family::linear::MATMUL;
use mnnc_quant::auto::{Axes, Goal, Measured, Sensitivity, Trial, ladders, search};
use mnnc_quant::weight::{Policy, compress};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const WIDTH: usize = 64;
const LAYERS: usize = 4;

fn random(rng: &mut ChaCha8Rng, dims: [usize; 2], scale: f32) -> Tensor {
    Tensor::new(dims, (0..dims[0] * dims[1]).map(|_| scale * (rng.random::<f32>() - 0.5)).collect())
}

/// Products with relu between them; the last layer's result is almost all of the output.
fn network() -> Graph {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut g = Graph::new("net");
    let mut x = g.add_input("x", TensorType::new(DType::F32, [8u64, WIDTH as u64]));
    for i in 0..LAYERS {
        let w = g.add_const(&format!("w{i}"), random(&mut rng, [WIDTH, WIDTH], 0.5));
        x = g.emit(NodeSpec::new(&MATMUL, [x, w]).named(format!("layer{i}")).outputs([format!("y{i}")])).unwrap();
        if i + 1 < LAYERS {
            x = g.emit(NodeSpec::new(&RELU, [x]).outputs([format!("r{i}")])).unwrap();
        }
    }
    g.set_results(g.main(), vec![x]);
    g
}

struct Run {
    graph: Graph,
    input: Tensor,
    reference: Vec<f64>,
    trials: usize,
    /// Milliseconds that a policy takes.
    clock: Option<fn(&Policy) -> f64>,
}

impl Run {
    fn new(graph: Graph) -> Run {
        let input = random(&mut ChaCha8Rng::seed_from_u64(2), [8, WIDTH], 2.0);
        let reference = Evaluator::new(&graph).run(std::slice::from_ref(&input)).unwrap()[0].to_f64s();
        Run { graph, input, reference, trials: 0, clock: None }
    }
}

impl Trial for Run {
    fn measure(&mut self, policy: &Policy) -> Result<Measured, Diagnostics> {
        self.trials += 1;
        let mut g = self.graph.clone();
        let report = compress(&mut g, policy)?;
        let got = Evaluator::new(&g).run(std::slice::from_ref(&self.input)).unwrap()[0].to_f64s();
        let pairs = || self.reference.iter().zip(&got);
        let largest = self.reference.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let signal: f64 = self.reference.iter().map(|x| x * x).sum();
        Ok(Measured {
            error: pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest,
            noise: pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>() / signal,
            bytes: report.bytes().1,
            milliseconds: self.clock.map(|clock| clock(policy)),
        })
    }
}

fn searched(goal: Goal) -> Result<(Measured, Policy, Vec<Measured>, usize), Diagnostics> {
    timed(goal, None)
}

fn timed(
    goal: Goal,
    clock: Option<fn(&Policy) -> f64>,
) -> Result<(Measured, Policy, Vec<Measured>, usize), Diagnostics> {
    let graph = network();
    let ladders = ladders(&graph, Axes::default());
    assert_eq!(ladders.len(), LAYERS);
    let mut run = Run { clock, ..Run::new(graph) };
    let sensitivity = Sensitivity::measure(&ladders, &mut run, &mut |_| {})?;
    let (point, frontier) = search(&ladders, &sensitivity, goal, &mut run, &mut |_| {})?;
    let best = frontier.best().iter().map(|p| p.measured).collect();
    Ok((point.measured, point.policy, best, run.trials))
}

#[test]
fn ladders_go_from_exact_to_small() {
    for l in ladders(&network(), Axes::default()) {
        assert_eq!(l.steps[0].noise, 0.0);
        assert!(l.steps.len() > 4);
        assert!(l.steps.windows(2).all(|p| p[0].bytes > p[1].bytes && p[0].noise < p[1].noise));
    }
    let eight = ladders(&network(), Axes { bits: false, blocks: false, ..Axes::default() });
    assert!(eight.iter().all(|l| l.steps.iter().all(|s| matches!(s.scheme.bits, 0 | 8 | 16))));
}

#[test]
fn a_bound_is_held_with_few_bytes() {
    let all = (LAYERS * WIDTH * WIDTH * 4) as u64;
    let mut last = u64::MAX;
    for bound in [0.02, 0.05, 0.2] {
        let (found, policy, frontier, trials) = searched(Goal::Error(bound)).unwrap();
        assert!(found.error <= bound, "{found:?} for {bound}");
        assert!(found.bytes < last.min(all / 3), "{found:?} for {bound}");
        assert!(trials < 60);
        last = found.bytes;
        let names: HashSet<_> = policy.ops.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names.len(), LAYERS);
        assert!(frontier.windows(2).all(|p| p[0].bytes < p[1].bytes && p[0].error > p[1].error));
        // Nothing that was seen is smaller and holds the bound.
        assert!(frontier.iter().all(|m| m.error > bound || m.bytes >= found.bytes));
    }
}

#[test]
fn a_budget_is_held_with_little_error() {
    let all = (LAYERS * WIDTH * WIDTH * 4) as u64;
    let (large, ..) = searched(Goal::Bytes(all / 3)).unwrap();
    let (small, ..) = searched(Goal::Bytes(all / 6)).unwrap();
    assert!(large.bytes <= all / 3 && small.bytes <= all / 6);
    assert!(large.error < small.error);
}

#[test]
fn a_goal_that_nothing_holds_says_what_comes_closest() {
    let text = searched(Goal::Bytes(1000)).unwrap_err().to_string();
    assert!(text.contains("do not fit 1000 bytes") && text.contains("smallest"), "{text}");
}

/// A machine that computes bytes fastest, and has to unpack what is smaller.
fn bytes_are_fastest(policy: &Policy) -> f64 {
    let of = |bits: u8| match bits {
        0 | 16 => 4.0,
        8 => 1.0,
        _ => 3.0,
    };
    policy.ops.iter().map(|op| of(op.weights.bits)).sum()
}

#[test]
fn a_budget_of_time_is_held_with_little_error() {
    let search = |budget: f64| timed(Goal::Milliseconds(budget), Some(bytes_are_fastest));
    let fastest = LAYERS as f64;
    let (float, policy, best, _) = search(100.0).unwrap();
    assert!(float.error == 0.0 && policy.ops.iter().all(|op| op.weights.bits == 0));
    assert!(best.contains(&float));
    // Fewer bits are smaller and slower: all in 8 is the one choice.
    let (eight, policy, best, trials) = search(fastest).unwrap();
    assert!(policy.ops.iter().all(|op| op.weights.bits == 8), "{policy:?}");
    assert!(eight.milliseconds == Some(fastest) && best.contains(&eight) && trials < 60);
    let (some, policy, best, _) = search(fastest + 6.0).unwrap();
    assert!(some.milliseconds.unwrap() <= fastest + 6.0 && some.error < eight.error, "{some:?} {policy:?}");
    // What is listed as best is so in time, not in bytes.
    assert!(best.contains(&some));
    assert!(best.windows(2).all(|p| p[0].milliseconds < p[1].milliseconds && p[0].error > p[1].error));
}

#[test]
fn a_budget_of_time_that_nothing_holds_says_how_fast_it_goes() {
    let text = timed(Goal::Milliseconds(3.9), Some(bytes_are_fastest)).unwrap_err().to_string();
    assert!(text.contains("no choice runs in 3.9 ms; the fastest takes 4.000"), "{text}");
}
