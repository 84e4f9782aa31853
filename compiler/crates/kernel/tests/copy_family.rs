//! Ops that only copy, on images in channel blocks and on plain tensors, against the reference evaluation.

use crate::support::{Machine, native_targets};
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, OpDecl, Tensor, TensorType, ValueId};
use mnnc_kernel::{KernelCode, families, lower};
use mnnc_ops::Evaluator;
use mnnc_ops::sample::Gen;

fn op(name: &str) -> &'static OpDecl {
    mnnc_ops::lookup(name).expect("an op of the catalogue")
}

fn emit(g: &mut Graph, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
    g.emit(NodeSpec::new(op(name), inputs.iter().copied()).attrs(attrs)).unwrap_or_else(|e| panic!("{name}: {e:?}"))
}

fn ints(g: &mut Graph, values: &[i64]) -> ValueId {
    let name = format!("c{}", g.values().count());
    g.add_const(&name, Tensor::ints(values))
}

/// A node that works in channel blocks and changes nothing.
fn blocked(g: &mut Graph, x: ValueId) -> ValueId {
    emit(g, "max_pool", &[x], Attrs::new().with("kernel_shape", vec![1i64, 1]))
}

/// A random copy of an image of these dims.
fn copy(g: &mut Graph, gen_: &mut Gen, x: ValueId, dims: [usize; 4]) -> ValueId {
    let [_, c, h, w] = dims.map(|d| d as i64);
    match gen_.below(7) {
        0 => {
            let (axis, step) = (gen_.int(1, 3), gen_.int(1, 2));
            let size = dims[axis as usize] as i64;
            let start = gen_.int(0, size / 2);
            let parts = [[start], [size], [axis], [step]].map(|v| ints(g, &v));
            emit(g, "slice", &[x, parts[0], parts[1], parts[2], parts[3]], Attrs::new())
        }
        1 => {
            let (low, high) = (ints(g, &[0, 0]), ints(g, &[c.min(7), h]));
            let axes = ints(g, &[1, 2]);
            let part = emit(g, "slice", &[x, low, high, axes], Attrs::new());
            emit(g, "concat", &[part, x, part], Attrs::new().with("axis", 1i64))
        }
        2 => emit(g, "concat", &[x, x], Attrs::new().with("axis", gen_.int(1, 3))),
        3 => {
            let mode = gen_.pick(&["constant", "edge", "reflect"]);
            let mut pads: Vec<i64> = (0..8).map(|_| gen_.int(0, 2)).collect();
            (pads[0], pads[4]) = (0, 0);
            if mode == "reflect" {
                pads = pads.iter().zip([0, c, h, w].iter().cycle()).map(|(&p, &n)| p.min(n - 1).max(0)).collect();
            }
            let pads = ints(g, &pads);
            emit(g, "pad", &[x, pads], Attrs::new().with("mode", mode))
        }
        4 => {
            let scales = g.add_const("scales", Tensor::new([4], vec![1.0f32, 1.0, gen_.pick(&[1.0, 2.0, 3.0]), 2.0]));
            let mut spec = NodeSpec::new(op("resize"), []);
            spec.inputs = vec![Some(x), None, Some(scales)];
            let attrs = Attrs::new().with("coordinate_transformation_mode", "asymmetric").with("nearest_mode", "floor");
            g.emit(spec.attrs(attrs)).expect("a resize")
        }
        5 => {
            let shape = ints(g, &[1, 1, 1, 1]);
            let wide = emit(g, "expand", &[x, shape], Attrs::new());
            let repeats = ints(g, &[1, 2, 1, gen_.int(1, 2)]);
            emit(g, "tile", &[wide, repeats], Attrs::new())
        }
        _ => {
            let first = gen_.int(0, c - 1);
            let sizes = ints(g, &[first, c - first]);
            let spec = NodeSpec::new(op("split"), [x, sizes]).attrs(Attrs::new().with("axis", 1i64));
            let n = g.add_node(spec.outputs(["left", "right"])).expect("a split");
            let parts = g.node(n).outputs().to_vec();
            let parts: Vec<ValueId> = if first == 0 { vec![parts[1]] } else { vec![parts[1], parts[0]] };
            emit(g, "concat", &parts, Attrs::new().with("axis", 1i64))
        }
    }
}

#[test]
fn copies_equal_the_reference() {
    for target in native_targets() {
        let mut tuned = 0;
        for seed in 0..200 {
            let mut gen_ = Gen::new(seed);
            let dims = [1 + gen_.below(2), 1 + gen_.below(40), 2 + gen_.below(8), 2 + gen_.below(30)];
            let mut g = Graph::new("copy");
            let input = g.add_input("x", TensorType::new(DType::F32, dims));
            let ends = [gen_.coin(), gen_.coin()];
            let x = if ends[0] { blocked(&mut g, input) } else { input };
            let y = copy(&mut g, &mut gen_, x, dims);
            let y = if ends[1] { blocked(&mut g, y) } else { y };
            g.set_results(g.main(), vec![y]);
            let data = gen_.f32s(&dims);
            let expected = Evaluator::new(&g)
                .run(std::slice::from_ref(&data))
                .unwrap_or_else(|e| panic!("seed {seed}: {}", e.message))
                .remove(0);
            let schedule = lower(&g, &target, families::ALL).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
            let generic = |k: &KernelCode| matches!(k, KernelCode::Loops(_));
            tuned += usize::from(!schedule.kernels.iter().any(|(_, k)| generic(&k.code)));
            let got = Machine::new(&schedule)
                .run(&[data], &[(DType::F32, expected.dims().to_vec())], seed % 2 == 0)
                .remove(0);
            let ops: Vec<&str> = g.schedule().iter().map(|&n| g.node(n).op.name).collect();
            for (i, (a, b)) in got.view::<f32>().iter().zip(expected.view::<f32>().iter()).enumerate() {
                assert!(
                    a == b,
                    "{target} seed {seed}: element {i} is {a}, not {b}; {ops:?} on {dims:?}, blocked {ends:?}"
                );
            }
        }
        assert!(tuned >= 180, "{target}: only {tuned} of 200 graphs have tuned kernels only");
    }
}
