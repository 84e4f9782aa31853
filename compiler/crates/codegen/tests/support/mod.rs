//! What the tests of this crate share: graphs from samples, comparison of results.

pub mod network;

use mnnc_ir::decl::Sample;
use mnnc_ir::{DType, Graph, NodeSpec, OpDecl, Tensor};

/// A graph of one node, with inputs for the sample's run-time operands.
pub fn graph_of(op: &'static OpDecl, s: &Sample) -> Result<(Graph, Vec<Tensor>), String> {
    let mut g = Graph::new(op.name);
    let mut inputs = Vec::new();
    let mut feeds = Vec::new();
    for (i, t) in s.inputs.iter().enumerate() {
        inputs.push(match t {
            None => None,
            Some(t) if s.constant.get(i) == Some(&true) => Some(g.add_const(&format!("c{i}"), t.clone())),
            Some(t) => {
                feeds.push(t.clone());
                Some(g.add_input(&format!("x{i}"), t.ty()))
            }
        });
    }
    let spec = NodeSpec {
        op,
        name: op.name.into(),
        attrs: s.attrs.clone(),
        inputs,
        outputs: (0..s.num_outputs).map(|i| format!("y{i}")).collect(),
        regions: Vec::new(),
    };
    let n = g.add_node(spec).map_err(|e| e.to_string())?;
    let outputs = g.node(n).outputs().to_vec();
    g.set_results(g.main(), outputs);
    Ok((g, feeds))
}

/// Largest deviation in units of `1e-5 + 1e-5 |ref|` for `f32` (16-bit floats: of their own precision); exact for
/// integers and `f64` nearly so.
pub fn deviation(got: &Tensor, want: &Tensor) -> Result<f64, String> {
    if got.dtype() != want.dtype() || got.dims() != want.dims() {
        return Err(format!("{}{:?} instead of {}{:?}", got.dtype(), got.dims(), want.dtype(), want.dims()));
    }
    let (absolute, relative) = match want.dtype() {
        DType::F64 => (1e-11, 1e-11),
        DType::F32 => (1e-5, 1e-5),
        DType::F16 => (2e-3, 2e-3),
        DType::BF16 => (1.6e-2, 1.6e-2),
        _ => (0.0, 0.0),
    };
    let mut worst = 0.0f64;
    for (i, (x, y)) in got.to_f64s().iter().zip(want.to_f64s()).enumerate() {
        if x.to_bits() == y.to_bits() || *x == y || x.is_nan() && y.is_nan() {
            continue;
        }
        let limit = absolute + relative * y.abs();
        if limit == 0.0 || !x.is_finite() || !y.is_finite() {
            return Err(format!("element {i} is {x} instead of {y}"));
        }
        worst = worst.max((x - y).abs() / limit);
    }
    Ok(worst)
}
