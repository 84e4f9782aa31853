//! Norms, reductions, softmax, linear resizes and convolutions over images of one row (what those over one dimension are lowered to) of random
//! shapes through the tuned kernels, against the reference evaluation; and that all of it compiles for NEON.

use crate::support::{Machine, native_targets};
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType, ValueId};
use mnnc_kernel::{KernelCode, families, lower};
use mnnc_ops::Evaluator;
use mnnc_ops::sample::Gen;
use mnnc_vector::Target;

struct Case {
    graph: Graph,
    input: Tensor,
    what: String,
}

/// A graph of one op on an input of these dims.
fn one(name: &str, dims: &[usize], attrs: Attrs, data: Tensor, others: &[Option<Tensor>]) -> Case {
    let mut graph = Graph::new(name);
    let x = graph.add_input("x", TensorType::new(DType::F32, dims.iter().copied()));
    let others: Vec<Option<ValueId>> = others
        .iter()
        .enumerate()
        .map(|(i, t)| t.as_ref().map(|t| graph.add_const(&format!("c{i}"), t.clone())))
        .collect();
    let what = format!("{name} {attrs:?} on {dims:?}");
    let mut spec = NodeSpec::new(mnnc_ops::lookup(name).expect("an op"), []).attrs(attrs);
    spec.inputs = std::iter::once(Some(x)).chain(others).collect();
    let y = graph.emit(spec.outputs(["y"])).unwrap_or_else(|e| panic!("{what}: {e:?}"));
    graph.set_results(graph.main(), vec![y]);
    Case { graph, input: data, what }
}

fn image(g: &mut Gen) -> Vec<usize> {
    vec![1 + g.below(2), 1 + g.below(40), 1 + g.below(12), 1 + g.below(30)]
}

fn case(g: &mut Gen) -> Case {
    match g.below(7) {
        0 => {
            let dims = image(g);
            let (data, scale, bias) = (g.f32s(&dims), g.f32s(&[dims[1]]), g.f32s(&[dims[1]]));
            one("instance_normalization", &dims, Attrs::new(), data, &[Some(scale), Some(bias)])
        }
        1 => {
            let (groups, of) = (1 + g.below(4), g.pick(&[1, 2, 4, 16, 32]));
            let mut dims = image(g);
            dims[1] = groups * of;
            let (data, scale, bias) = (g.f32s(&dims), g.f32s(&[dims[1]]), g.f32s(&[dims[1]]));
            let attrs = Attrs::new().with("num_groups", groups as i64);
            one("group_normalization", &dims, attrs, data, &[Some(scale), Some(bias)])
        }
        2 => {
            let dims = image(g);
            let scales = Tensor::new([4], vec![1.0f32, 1.0, g.pick(&[2.0, 1.5, 3.0]), g.pick(&[2.0, 4.0, 1.7])]);
            let mode = g.pick(&["half_pixel", "align_corners", "asymmetric"]);
            let attrs = Attrs::new().with("mode", "linear").with("coordinate_transformation_mode", mode);
            let data = g.f32s(&dims);
            one("resize", &dims, attrs, data, &[None, Some(scales)])
        }
        3 | 4 => {
            let dims = [1 + g.below(5), 1 + g.below(20), 1 + g.below(70)];
            let name = g.pick(&["reduce_sum", "reduce_mean", "reduce_max", "reduce_min"]);
            let axes: &[i64] = g.pick(&[&[2], &[-1], &[1], &[0, 1], &[1, 2], &[0, 1, 2]]);
            let data = g.f32s(&dims);
            one(name, &dims, Attrs::new().with("keepdims", g.coin()), data, &[Some(Tensor::ints(axes))])
        }
        5 => {
            let dims = [1 + g.below(900), g.pick(&[2, 4, 8])];
            let data = g.f32s(&dims);
            one(g.pick(&["softmax", "log_softmax"]), &dims, Attrs::new().with("axis", -1i64), data, &[])
        }
        _ => {
            let groups = g.pick(&[1, 1, 3]);
            let (inputs, outputs, kernel) = (groups * (1 + g.below(20)), groups * (1 + g.below(20)), 1 + g.below(5));
            let dims = [1 + g.below(2), inputs, 1, kernel + g.below(50)];
            let weights = g.f32s(&[outputs, inputs / groups, 1, kernel]);
            let pad = g.below(kernel) as i64;
            let attrs = Attrs::new()
                .with("group", groups as i64)
                .with("pads", vec![0, pad, 0, 0])
                .with("strides", vec![1, 1 + g.below(2) as i64]);
            let data = g.f32s(&dims);
            one("conv", &dims, attrs, data, &[Some(weights)])
        }
    }
}

#[test]
fn random_ops_equal_the_reference() {
    for target in native_targets() {
        for seed in 0..250 {
            let Case { graph, input, what } = case(&mut Gen::new(seed));
            let expected = Evaluator::new(&graph)
                .run(std::slice::from_ref(&input))
                .unwrap_or_else(|e| panic!("{what}: {}", e.message))
                .remove(0);
            let schedule = lower(&graph, &target, families::ALL).unwrap_or_else(|e| panic!("{what}: {e:?}"));
            let generic = schedule.kernels.iter().find(|(_, k)| matches!(k.code, KernelCode::Loops(_)));
            assert!(generic.is_none(), "{target} seed {seed}: {what} runs {:?}", generic.map(|g| &g.1.name));
            let got = Machine::new(&schedule)
                .run(&[input], &[(DType::F32, expected.dims().to_vec())], seed % 2 == 0)
                .remove(0);
            for (i, (a, b)) in got.view::<f32>().iter().zip(expected.view::<f32>().iter()).enumerate() {
                assert!(
                    (a - b).abs() <= 2e-5 + 1e-4 * b.abs(),
                    "{target} seed {seed}: element {i} is {a}, not {b}; {what}"
                );
            }
        }
    }
}

#[test]
fn random_ops_compile_for_neon() {
    for seed in 0..120 {
        let Case { graph, what, .. } = case(&mut Gen::new(seed));
        lower(&graph, &Target::NEON, families::ALL).unwrap_or_else(|e| panic!("{what}: {e:?}"));
    }
}
