//! Positions of extremes along columns through the tuned kernel, against the reference evaluation: ties, numbers that are none.

use crate::support::{Machine, native_targets};
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType};
use mnnc_kernel::{families, lower};
use mnnc_ops::Evaluator;
use mnnc_ops::sample::Gen;

#[test]
fn positions_equal_the_reference() {
    for target in native_targets() {
        for seed in 0..60 {
            let mut g = Gen::new(seed);
            let dims = [1 + g.below(3), 1 + g.below(25), 1 + g.below(9), 16 + g.below(40)];
            let axis = 1 + g.below(2);
            let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0];
            let values: Vec<f32> = (0..dims.iter().product())
                .map(|_| if g.below(12) == 0 { g.pick(&odd) } else { g.below(9) as f32 - 4.0 })
                .collect();
            let input = Tensor::new(dims, values);
            let name = g.pick(&["arg_max", "arg_min"]);
            let mut graph = Graph::new("arg");
            let x = graph.add_input("x", TensorType::new(DType::F32, dims));
            let attrs = Attrs::new().with("axis", axis as i64).with("keepdims", g.coin());
            let spec = NodeSpec::new(mnnc_ops::lookup(name).expect("an op"), [x]).attrs(attrs).outputs(["y"]);
            let y = graph.emit(spec).expect("a node");
            graph.set_results(graph.main(), vec![y]);
            let inputs = std::slice::from_ref(&input);
            let expected = Evaluator::new(&graph).run(inputs).expect("evaluates").remove(0);
            let schedule = lower(&graph, &target, families::ALL).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
            assert!(schedule.kernels.iter().any(|(_, k)| k.name.starts_with("arg_columns")), "{target} seed {seed}");
            let shape = [(DType::I64, expected.dims().to_vec())];
            let got = Machine::new(&schedule).run(inputs, &shape, seed % 2 == 0).remove(0);
            assert_eq!(got.to_i64s(), expected.to_i64s(), "{target} seed {seed}: {name} of {dims:?} along {axis}");
        }
    }
}
