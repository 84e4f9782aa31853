//! `spell-quant`: ONNX's operators on quantised tensors as float operators between `dequantize_linear` and `quantize_linear`,
//! for whoever knows quantised tensors in that form only. A bit before rounding may differ.

use crate::pass::{Pass, PassCx};
use crate::pattern::{op, output};
use crate::rules::{self, Rule};
use mnnc_ir::{Attrs, DType, Graph, NodeId, NodeSpec, Patch, Plan, Tensor, ValueId};

/// The pass.
pub const PASS: Pass = Pass {
    name: "spell-quant",
    doc: "ONNX's operators on quantised tensors as float operators between dequantise and quantise (`.mnn` only)",
    options: &[],
    run: |g, cx| {
        rules::apply(g, RULES, cx);
        Ok(())
    },
};

const RULES: &[Rule] = &[
    Rule { name: "quantised convolution", roots: &["q_linear_conv"], rewrite: conv },
    Rule { name: "quantised product", roots: &["q_linear_matmul"], rewrite: product },
];

/// The reals of operand `at` of node `n`, its scale and zero point being the next two.
fn reals(p: &mut Patch, n: NodeId, at: usize, axis: i64) -> Option<ValueId> {
    let node = p.graph().node(n);
    let operands = [node.input(at)?, node.input(at + 1)?, node.input(at + 2)?];
    let attrs = Attrs::new().with("axis", axis);
    p.node(NodeSpec::new(op("dequantize_linear")?, operands).attrs(attrs)).ok()
}

fn finished(mut p: Patch, n: NodeId, y: ValueId) -> Option<Plan> {
    let g = p.graph();
    let node = g.node(n);
    let z = p.node(NodeSpec::new(op("quantize_linear")?, [y, node.input(6)?, node.input(7)?])).ok()?;
    p.replace(output(g, n)?, z);
    Some(p.finish())
}

/// q_linear_conv(x, w, b) = quantised(conv(reals of x, reals of w, b·sx·sw))
fn conv(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let mut p = Patch::at(g, n);
    let mut inputs = vec![reals(&mut p, n, 0, 1)?, reals(&mut p, n, 3, 0)?];
    if let Some(b) = node.input(8) {
        let numbers = |i: usize| g.constant(node.input(i)?).map(Tensor::to_f64s);
        let (sx, sw) = (numbers(1)?, numbers(4)?);
        let b = g.constant(b).filter(|b| b.dtype() == DType::I32)?.to_f64s();
        let unit = |c: usize| sx.first().zip(sw.get(if sw.len() == 1 { 0 } else { c })).map(|(x, w)| x * w);
        let b: Vec<f32> = b.iter().enumerate().map(|(c, b)| Some((b * unit(c)?) as f32)).collect::<Option<_>>()?;
        inputs.push(p.constant(&format!("{}.bias", node.name), Tensor::new(vec![b.len()], b)));
    }
    let spec = NodeSpec::new(op("conv")?, inputs).attrs(node.attrs.clone()).named(node.name.clone());
    let y = p.node(spec).ok()?;
    finished(p, n, y)
}

/// q_linear_matmul(a, b) = quantised(matmul(reals of a, reals of b))
fn product(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let mut p = Patch::at(g, n);
    // A scale for each row of a runs along its last dimension but one, for each column of b along its last.
    let inputs = [reals(&mut p, n, 0, -2)?, reals(&mut p, n, 3, -1)?];
    let y = p.node(NodeSpec::new(op("matmul")?, inputs).named(node.name.clone())).ok()?;
    finished(p, n, y)
}
