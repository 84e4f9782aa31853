//! Convolutions of random shapes through the tuned kernels, against the reference evaluation.

use crate::support::{Machine, native_targets};
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType};
use mnnc_kernel::cost::Choice;
use mnnc_kernel::{Core, Planner, Schedule, families, lower_with};
use mnnc_ops::family::conv::CONV;
use mnnc_ops::sample::Gen;
use mnnc_vector::Target;
use rayon::prelude::*;
use std::collections::HashMap;

#[derive(Debug)]
struct Case {
    batch: usize,
    inputs: usize,
    outputs: usize,
    groups: usize,
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pads: [usize; 4],
}

impl Case {
    /// Multiplications of the definition.
    fn work(&self) -> usize {
        let out = |d: usize| {
            let extent = (self.kernel[d] - 1) * self.dilation[d] + 1;
            (self.size[d] + self.pads[d] + self.pads[d + 2] - extent) / self.stride[d] + 1
        };
        let taps = self.kernel[0] * self.kernel[1];
        self.batch * self.outputs * out(0) * out(1) * self.inputs / self.groups * taps
    }
}

fn random(g: &mut Gen) -> Case {
    let side = |g: &mut Gen| g.pick(&[1, 1, 2, 3, 3, 4, 5, 6, 7]);
    let kernel = if g.coin() { [side(g); 2] } else { [side(g), side(g)] };
    let dilation = if g.below(4) == 0 { [1 + g.below(2), 1 + g.below(2)] } else { [1, 1] };
    let extent = [(kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1];
    let widest = if g.below(4) == 0 { 60 } else { 20 };
    let size = [extent[0] + g.below(14), extent[1] + g.below(widest)];
    let depthwise = g.below(4) == 0;
    let groups = if depthwise { 1 + g.below(50) } else { g.pick(&[1, 1, 1, 2, 3, 5, 8]) };
    let (inputs, outputs) = if depthwise {
        (groups, groups)
    } else if groups == 2 && g.coin() {
        (2 * 16 * (1 + g.below(2)), 2 * 16 * (1 + g.below(3)))
    } else if groups > 1 && g.below(3) == 0 {
        // Several groups to a vector, on some target.
        let n = g.pick(&[2, 4, 8]);
        (groups * n, groups * n)
    } else if groups > 1 {
        // Groups that begin and end inside channel blocks, one channel to a block and more.
        (groups * g.pick(&[1, 3, 4, 12, 21]), groups * g.pick(&[1, 2, 6, 12, 18]))
    } else {
        (1 + g.below(67), 1 + g.below(67))
    };
    let pads = std::array::from_fn(|i| g.below(extent[i % 2].min(4)));
    let batch = 1 + g.below(3);
    let stride = if g.coin() { [1, 1] } else { [1 + g.below(3), 1 + g.below(3)] };
    Case { batch, inputs, outputs, groups, size, kernel, stride, dilation, pads }
}

/// A case small enough to have thousands of them.
fn small(g: &mut Gen) -> Case {
    loop {
        let case = random(g);
        if case.work() < 1 << 22 {
            return case;
        }
    }
}

/// The graph, its input, and the reference result.
fn graph(c: &Case, g: &mut Gen) -> (Graph, Tensor, Tensor) {
    let mut graph = Graph::new("conv");
    let dims = [c.batch, c.inputs, c.size[0], c.size[1]];
    let x = graph.add_input("x", TensorType::new(DType::F32, dims));
    let w = graph.add_const("w", g.f32s(&[c.outputs, c.inputs / c.groups, c.kernel[0], c.kernel[1]]));
    let b = graph.add_const("b", g.f32s(&[c.outputs]));
    let ints = |v: &[usize]| v.iter().map(|&x| x as i64).collect::<Vec<i64>>();
    let attrs = Attrs::new()
        .with("group", c.groups as i64)
        .with("strides", ints(&c.stride))
        .with("dilations", ints(&c.dilation))
        .with("pads", ints(&c.pads));
    let y = graph.emit(NodeSpec::new(&CONV, [x, w, b]).attrs(attrs).outputs(["y"])).expect("a valid convolution");
    graph.set_results(graph.main(), vec![y]);
    let input = g.f32s(&dims);
    let run_region = |_: usize, _: &[Tensor]| unreachable!();
    let node = graph.producer(y).expect("the convolution");
    let facts = graph.facts(node);
    let values: Vec<Option<Tensor>> = vec![Some(input.clone()), graph.constant(w).cloned(), graph.constant(b).cloned()];
    let ctx = mnnc_ir::decl::EvalCtx { op: facts.of(graph.node(node)), inputs: &values, run_region: &run_region };
    let expected = (CONV.eval)(&ctx).expect("evaluates").remove(0);
    (graph, input, expected)
}

/// Random convolutions for each instruction set.
const CASES: u64 = 3000;

/// Every convolution is compiled with the schedule that the cost model chooses, and with one of its candidates: whatever a search may
/// pick must be right.
#[test]
fn random_convolutions_equal_the_reference() {
    for target in native_targets() {
        let tuned: usize = (0..CASES).into_par_iter().map(|seed| check(target, seed)).sum();
        assert!(tuned as u64 >= CASES * 9 / 10, "{target}: only {tuned} of {CASES} convolutions had a tuned kernel");
    }
}

/// Checks one case; 1 if it has tuned kernels.
fn check(target: Target, seed: u64) -> usize {
    let mut g = Gen::new(seed);
    let case = small(&mut g);
    let (graph, input, expected) = graph(&case, &mut g);
    let planner = Planner::for_core(target, Core::any(target.isa));
    let lowered = |planner: &Planner| {
        lower_with(&graph, planner, families::ALL).unwrap_or_else(|e| panic!("{target} seed {seed}: {case:?}: {e:?}"))
    };
    let schedule = lowered(&planner);
    let kernels = |s: &Schedule| -> Vec<String> { s.kernels.iter().map(|(_, k)| k.name.clone()).collect() };
    let family = |k: &String| ["conv", "depthwise", "grouped", "winograd"].iter().any(|f| k.starts_with(f));
    let tuned = kernels(&schedule).iter().any(family);
    compare(&schedule, &input, &expected, seed, &format!("{target} seed {seed}: {case:?}"));
    if let Some(d) = schedule.decisions.first() {
        let all = planner.candidates(&d.problem);
        let (choice, _) = all[g.below(all.len())];
        let other = planner.clone().with_tuned(&HashMap::from([(d.problem, choice)]));
        compare(&lowered(&other), &input, &expected, seed + 1, &format!("{target} seed {seed}: {choice}; {case:?}"));
    }
    usize::from(tuned)
}

/// Runs a schedule, in one share or two, and compares the result.
fn compare(schedule: &Schedule, input: &Tensor, expected: &Tensor, seed: u64, what: &str) {
    let dims = expected.dims().to_vec();
    let input = std::slice::from_ref(input);
    let got = Machine::new(schedule).run(input, &[(DType::F32, dims)], seed.is_multiple_of(2)).remove(0);
    let (got, expected) = (got.view::<f32>(), expected.view::<f32>());
    let winograd = schedule.kernels.iter().any(|(_, k)| k.name.starts_with("winograd"));
    let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    let slack = if winograd { WINOGRAD } else { DIRECT } * largest;
    for (i, (a, b)) in got.iter().zip(expected.iter()).enumerate() {
        let off = (a - b).abs();
        assert!(off <= 1e-4 + 1e-4 * b.abs() + slack, "{what}: element {i} is {a}, not {b}; the largest is {largest}");
    }
}

/// Wide dilations, with taps that read only the border: left out, whatever the schedule.
#[test]
fn dilated_convolutions_equal_the_reference() {
    for target in native_targets() {
        let planner = Planner::for_core(target, Core::any(target.isa));
        let mut left_out = 0;
        for seed in 0..120 {
            let mut g = Gen::new(5000 + seed);
            let kernel = g.pick(&[[3, 3], [3, 3], [5, 3], [2, 4], [1, 3], [7, 2]]);
            let (stride, dilation) = (g.pick(&[[1, 1], [1, 1], [2, 1], [2, 3]]), [1 + g.below(20), 1 + g.below(30)]);
            let reach = |d: usize| (kernel[d] - 1) * dilation[d];
            // Borders on one side, on both, and wider than the image.
            let pads = std::array::from_fn(|i| g.below(reach(i % 2) + 1));
            let least = |d: usize| (reach(d) + 1).saturating_sub(pads[d] + pads[d + 2]).max(1);
            let groups = g.pick(&[1, 1, 1, 2, 3]);
            let case = Case {
                batch: 1 + g.below(2),
                inputs: groups * (1 + g.below(50)),
                outputs: groups * (1 + g.below(50)),
                groups,
                size: [least(0) + g.below(25), least(1) + g.below(40)],
                kernel,
                stride,
                dilation,
                pads,
            };
            let (graph, input, expected) = graph(&case, &mut g);
            let lowered = |planner: &Planner| {
                lower_with(&graph, planner, families::ALL)
                    .unwrap_or_else(|e| panic!("{target} seed {seed}: {case:?}: {e:?}"))
            };
            let schedule = lowered(&planner);
            compare(&schedule, &input, &expected, seed, &format!("{target} seed {seed}: {case:?}"));
            let Some(d) = schedule.decisions.first() else { continue };
            left_out += usize::from(d.problem.border.is_some());
            let all = planner.candidates(&d.problem);
            let (choice, _) = all[g.below(all.len())];
            let other = planner.clone().with_tuned(&HashMap::from([(d.problem, choice)]));
            compare(
                &lowered(&other),
                &input,
                &expected,
                seed + 1,
                &format!("{target} seed {seed}: {choice}; {case:?}"),
            );
        }
        assert!(left_out >= 40, "{target}: only {left_out} of 120 had a border to leave out");
    }
}

/// Rounding of sums of f32 in another order, relative to the largest output: an element that cancels keeps the error of its terms (measured
/// 0.4e-6 to 1.8e-6 for 500 to 5,000 terms).
const DIRECT: f32 = 2e-6;

/// Rounding of the transforms, relative to the largest output: measured up to 2e-6 for F(4, 3).
const WINOGRAD: f32 = 6e-6;

#[test]
fn transformed_tiles_equal_the_reference() {
    for target in native_targets() {
        let mut tuned = 0;
        for seed in 0..80 {
            let mut g = Gen::new(1000 + seed);
            let dilation = [1, 1].map(|d| if g.below(3) == 0 { d + g.below(20) } else { d });
            let kernel = g.pick(&[[3, 3], [3, 3], [5, 5], [1, 3], [3, 1], [1, 5], [5, 1], [3, 5], [2, 4]]);
            let pads = std::array::from_fn(|i| g.below((kernel[i % 2] - 1) * dilation[i % 2] + 1));
            let least = |d: usize| ((kernel[d] - 1) * dilation[d] + 1).saturating_sub(pads[d] + pads[d + 2]).max(1);
            let case = Case {
                batch: 1 + g.below(3),
                inputs: 32 + g.below(40),
                outputs: 32 + g.below(40),
                groups: 1,
                size: [least(0) + g.below(40), least(1) + g.below(60)],
                kernel,
                stride: [1, 1],
                dilation,
                pads,
            };
            let (graph, input, expected) = graph(&case, &mut g);
            // What the cost model chooses, or any other size, band and number of images.
            let planner = Planner::new(target);
            let schedule = lower_with(&graph, &planner, families::ALL).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
            let problem = schedule.decisions.first().expect("a product").problem;
            let mut all: Vec<Choice> = planner.candidates(&problem).into_iter().map(|c| c.0).collect();
            all.retain(|c| matches!(c, Choice::Winograd(_)));
            let choice = all[g.below(all.len())];
            let planner = if g.coin() { planner.with_tuned(&HashMap::from([(problem, choice)])) } else { planner };
            let schedule = lower_with(&graph, &planner, families::ALL).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
            tuned += usize::from(schedule.kernels.iter().any(|(_, k)| k.name.starts_with("winograd")));
            let dims = expected.dims().to_vec();
            let got = Machine::new(&schedule).run(&[input], &[(DType::F32, dims)], seed % 2 == 0).remove(0);
            let (got, expected) = (got.view::<f32>(), expected.view::<f32>());
            let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
            let worst = got.iter().zip(expected.iter()).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(
                worst <= WINOGRAD * largest,
                "{target} seed {seed}: {choice}: off by {worst} of {largest}; {kernel:?} size {:?} dilation {:?} channels {}->{}",
                case.size,
                case.dilation,
                case.inputs,
                case.outputs
            );
        }
        assert!(tuned >= 40, "{target}: only {tuned} of 80 convolutions were transformed");
    }
}
