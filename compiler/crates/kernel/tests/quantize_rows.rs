//! Quantisation at run time: bytes and scales are those of the reference evaluation, bit for bit.

use crate::support::{Machine, native_targets};
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType};
use mnnc_kernel::{families, lower};
use mnnc_ops::Evaluator;
use mnnc_ops::sample::Gen;
use rayon::prelude::*;

#[test]
fn bytes_and_scales_are_exact() {
    for target in native_targets() {
        let tuned: usize = (0..300u64)
            .into_par_iter()
            .map(|seed| {
                let mut g = Gen::new(seed);
                let (dims, axes): (Vec<usize>, Vec<i64>) = match g.below(3) {
                    0 => (vec![1 + g.below(20), 16 * (1 + g.below(12))], vec![-1]),
                    1 => (vec![1 + g.below(2), 1 + g.below(70), 1 + g.below(9), 1 + g.below(40)], vec![1]),
                    _ => (vec![1 + g.below(3), 1 + g.below(70), 1 + g.below(9), 1 + g.below(40)], vec![1, 2, 3]),
                };
                let zero = g.pick(&[0i64, 128]);
                let count: usize = dims.iter().product();
                let nothing = g.below(8) == 0;
                let element = |g: &mut Gen| {
                    let x = g.below(4001) as f32 / 1000.0 - 2.0;
                    let x = if zero == 0 { x.abs() } else { x };
                    if nothing { x * 1e-38 } else { x }
                };
                let input = Tensor::new(&dims[..], (0..count).map(|_| element(&mut g)).collect::<Vec<f32>>());
                let mut graph = Graph::new("rows");
                let x = graph.add_input("x", TensorType::new(DType::F32, dims.iter().copied()));
                let op = mnnc_ops::lookup("dynamic_quantize_rows").expect("the op");
                let attrs = Attrs::new().with("axes", axes).with("zero_point", zero);
                let spec = NodeSpec::new(op, [x]).attrs(attrs).outputs(["q", "scale"]);
                let n = graph.add_node(spec).expect("a valid node");
                let results = graph.node(n).outputs().to_vec();
                graph.set_results(graph.main(), results);
                let expected = Evaluator::new(&graph).run(std::slice::from_ref(&input)).expect("evaluates");
                let schedule = lower(&graph, &target, families::ALL).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
                let shapes: Vec<_> = expected.iter().map(|t| (t.dtype(), t.dims().to_vec())).collect();
                let got = Machine::new(&schedule).run(std::slice::from_ref(&input), &shapes, seed % 2 == 0);
                for (got, expected) in got.iter().zip(&expected) {
                    assert!(got.bytes()[..] == expected.bytes()[..], "{target} seed {seed}: {dims:?} zero {zero}");
                }
                usize::from(schedule.kernels.iter().any(|(_, k)| k.name.starts_with("quantize_")))
            })
            .sum();
        assert_eq!(tuned, 300, "{target}: not all by tuned kernels");
    }
}
