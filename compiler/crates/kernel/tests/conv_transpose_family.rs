//! Transposed convolutions of random shapes through the tuned kernels, against the reference evaluation.

use crate::support::{Machine, native_targets};
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType};
use mnnc_kernel::{families, lower};
use mnnc_ops::family::conv_transpose::CONV_TRANSPOSE;
use mnnc_ops::sample::Gen;

#[test]
fn random_transposed_convolutions_equal_the_reference() {
    for target in native_targets() {
        let mut cases = 0;
        for seed in 0..60 {
            let mut g = Gen::new(seed);
            let stride = [1 + g.below(3), 1 + g.below(3)];
            let kernel = stride.map(|s| s + g.below(3));
            let groups = g.pick(&[1, 1, 2, 7]);
            let (inputs, outputs) = (groups * (1 + g.below(37)), groups * (1 + g.below(37)));
            let dims = [1 + g.below(2), inputs, 1 + g.below(9), 1 + g.below(20)];
            let pads: Vec<i64> = (0..4).map(|i| g.below(kernel[i % 2].div_ceil(2)) as i64).collect();
            let extra: Vec<i64> = stride.iter().map(|&s| g.below(s) as i64).collect();
            let mut graph = Graph::new("conv_transpose");
            let x = graph.add_input("x", TensorType::new(DType::F32, dims));
            let w = graph.add_const("w", g.f32s(&[inputs, outputs / groups, kernel[0], kernel[1]]));
            let b = graph.add_const("b", g.f32s(&[outputs]));
            let attrs = Attrs::new()
                .with("group", groups as i64)
                .with("strides", stride.map(|s| s as i64).to_vec())
                .with("pads", pads)
                .with("output_padding", extra);
            let Ok(y) = graph.emit(NodeSpec::new(&CONV_TRANSPOSE, [x, w, b]).attrs(attrs).outputs(["y"])) else {
                continue;
            };
            graph.set_results(graph.main(), vec![y]);
            let input = g.f32s(&dims);
            let run_region = |_: usize, _: &[Tensor]| unreachable!();
            let node = graph.producer(y).expect("the convolution");
            let values = [Some(input.clone()), graph.constant(w).cloned(), graph.constant(b).cloned()];
            let facts = graph.facts(node);
            let ctx =
                mnnc_ir::decl::EvalCtx { op: facts.of(graph.node(node)), inputs: &values, run_region: &run_region };
            let expected = (CONV_TRANSPOSE.eval)(&ctx).expect("evaluates").remove(0);
            let schedule = lower(&graph, &target, families::ALL).unwrap_or_else(|e| panic!("seed {seed}: {}", e.len()));
            let tuned = schedule.kernels.iter().any(|(_, k)| k.name.starts_with("conv_transpose"));
            assert!(tuned, "{target} seed {seed} has no tuned kernel");
            cases += 1;
            let out = expected.dims().to_vec();
            let got = Machine::new(&schedule).run(&[input], &[(DType::F32, out)], seed % 2 == 0).remove(0);
            for (i, (a, b)) in got.view::<f32>().iter().zip(expected.view::<f32>().iter()).enumerate() {
                assert!(
                    (a - b).abs() <= 1e-4 + 1e-4 * b.abs(),
                    "{target} seed {seed}: element {i} is {a}, not {b}; kernel {kernel:?} stride {stride:?} on {dims:?}"
                );
            }
        }
        assert!(cases >= 45, "{target}: only {cases} of 60 cases are valid");
    }
}
