//! Biases of depthwise convolutions as MNN has them: its kernel on integers adds whole numbers. The network gets those numbers, so that the simulation
//! computes what the engine will.

use std::collections::HashMap;

use mnnc_ir::{Graph, NodeId, Tensor, ValueId};
use mnnc_quant::calibrate::QParams;
use mnnc_schema::mnn::DepthwiseBias;

/// Changes the biases of `anchors` that are depthwise convolutions with symmetric integer weights to the nearest that the engine has.
pub(super) fn whole_biases(g: &mut Graph, anchors: &[NodeId], params: &[(ValueId, QParams)]) {
    let params: HashMap<ValueId, QParams> = params.iter().copied().collect();
    for &n in anchors {
        if let Some(bias) = whole(g, n, &params) {
            let name = format!("{}.bias", g.node(n).name);
            let new = g.add_const(&name, Tensor::new([bias.len()], bias));
            g.set_input(n, 2, Some(new));
        }
    }
}

fn whole(g: &Graph, n: NodeId, params: &HashMap<ValueId, QParams>) -> Option<Vec<f32>> {
    let node = g.node(n);
    if node.op.name != "conv" {
        return None;
    }
    let group = g.facts(n).of(node).int("group").unwrap_or(1);
    let weight = g.node(g.producer_of(node.input(1)?, "dequantize_linear")?);
    let &[outputs, 1, ..] = g.ty(node.input(1)?).static_dims()?.as_slice() else { return None };
    if outputs < 2 || usize::try_from(group) != Ok(outputs) || weight.input(2).is_some() {
        return None;
    }
    let scales = g.constant(weight.input(1)?).filter(|t| t.len() == outputs)?.to_vec::<f32>();
    let old = match node.input(2) {
        Some(b) => g.constant(b).filter(|t| t.len() == outputs)?.to_vec::<f32>(),
        None => vec![0.0; outputs],
    };
    let x = params.get(&node.input(0)?)?;
    let y = result(g, node.outputs()[0], params)?;
    // The file's integers are signed.
    let zero = y.zero - if y.integers().0 == 0 { 128 } else { 0 };
    let rule = |scale: f32| DepthwiseBias::new(scale, x.scale, (y.scale, zero));
    Some(old.iter().zip(scales).map(|(&b, scale)| rule(scale).meaning(rule(scale).stored(b))).collect())
}

/// How the first rounded value behind `v` is rounded.
fn result(g: &Graph, mut v: ValueId, params: &HashMap<ValueId, QParams>) -> Option<QParams> {
    loop {
        if let Some(&p) = params.get(&v) {
            return Some(p);
        }
        v = *g.node(g.single_user(v)?).outputs().first()?;
    }
}
