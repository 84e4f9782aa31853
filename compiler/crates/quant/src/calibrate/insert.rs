//! Putting parameters into a graph: the pairs of QDQ form, or arithmetic in float that gives the same numbers.

use mnnc_ir::{Diagnostic, Graph, NodeId, NodeSpec, OpError, Tensor, ValueId};
use mnnc_ops::eval::evaluate_op;
use mnnc_ops::family::arithmetic::MUL;
use mnnc_ops::family::clip::CLIP;
use mnnc_ops::family::math::ROUND;
use mnnc_ops::family::quant::{DEQUANTIZE_LINEAR, QUANTIZE_LINEAR};

use super::params::QParams;

/// Rounds the values of `g` for all their readers: `quantize_linear` and `dequantize_linear` behind each. Results of the graph stay as they are.
///
/// # Errors
/// An op that does not take what it should, which is a mistake of the compiler.
pub fn insert(g: &mut Graph, params: &[(ValueId, QParams)]) -> Result<(), Diagnostic> {
    for &(v, p) in params {
        round(g, v, |g, at| {
            let name = g.value(v).name.clone();
            let scale = g.add_const(&format!("{name}.scale"), Tensor::scalar(p.scale));
            let zero = g.add_const(&format!("{name}.zero"), p.zero_tensor());
            let main = g.main();
            let spec = NodeSpec::new(&QUANTIZE_LINEAR, [v, scale, zero]).outputs([format!("{name}.quantized")]);
            let q = g.insert_node(main, at, spec)?;
            let q_value = g.node(q).outputs()[0];
            let spec =
                NodeSpec::new(&DEQUANTIZE_LINEAR, [q_value, scale, zero]).outputs([format!("{name}.dequantized")]);
            let dq = g.insert_node(main, at + 1, spec)?;
            Ok((q, dq))
        })?;
    }
    Ok(())
}

/// The same numbers, but for quotients that fall between two integers, by ops that any engine has: a clip, a product, a rounding, a product.
///
/// # Errors
/// As [`insert`].
pub fn simulate(g: &mut Graph, params: &[(ValueId, QParams)]) -> Result<(), Diagnostic> {
    for &(v, p) in params {
        round(g, v, |g, at| {
            let (low, high) = p.range();
            let bounds = [low, high].map(|x| g.add_const("bound", Tensor::scalar(x as f32)));
            let inverse = g.add_const("inverse", Tensor::scalar(1.0 / p.scale));
            let scale = g.add_const("scale", Tensor::scalar(p.scale));
            let main = g.main();
            let first = g.insert_node(main, at, NodeSpec::new(&CLIP, [v, bounds[0], bounds[1]]))?;
            let x = g.node(first).outputs()[0];
            let n = g.insert_node(main, at + 1, NodeSpec::new(&MUL, [x, inverse]))?;
            let x = g.node(n).outputs()[0];
            let n = g.insert_node(main, at + 2, NodeSpec::new(&ROUND, [x]))?;
            let x = g.node(n).outputs()[0];
            Ok((first, g.insert_node(main, at + 3, NodeSpec::new(&MUL, [x, scale]))?))
        })?;
    }
    Ok(())
}

/// Puts nodes behind `v`; `make` says which is the first and which is the last of them.
fn round(
    g: &mut Graph,
    v: ValueId,
    make: impl FnOnce(&mut Graph, usize) -> Result<(NodeId, NodeId), OpError>,
) -> Result<(), Diagnostic> {
    let at = g.producer(v).and_then(|n| g.position(n)).map_or(0, |p| p + 1);
    let (readers, main) = (g.value(v).users().to_vec(), g.main());
    let (_, last) = make(g, at)?;
    let rounded = g.node(last).outputs()[0];
    for n in readers {
        // Bodies read what is outside, too: their nodes are readers like any other.
        for i in 0..g.node(n).inputs().len() {
            if g.node(n).input(i) == Some(v) {
                g.set_input(n, i, Some(rounded));
            }
        }
    }
    debug_assert!(g.node(last).region() == Some(main));
    Ok(())
}

/// The graph with constants that are dequantised made float constants, for engines and simulations that know no integers.
///
/// # Errors
/// A constant that cannot be dequantised.
pub fn expand_constants(g: &mut Graph) -> Result<(), Diagnostic> {
    let nodes: Vec<NodeId> =
        g.nodes().filter(|(_, n)| n.region().is_some() && n.op.name == "dequantize_linear").map(|(n, _)| n).collect();
    for n in nodes {
        let inputs: Vec<Option<Tensor>> =
            g.node(n).inputs().iter().map(|v| v.and_then(|v| g.constant(v).cloned())).collect();
        if g.node(n).inputs().iter().zip(&inputs).any(|(v, t)| v.is_some() && t.is_none()) {
            continue;
        }
        let made = evaluate_op(&DEQUANTIZE_LINEAR, &g.node(n).attrs, &inputs, 1, usize::MAX);
        let tensor = made.map_err(|e| Diagnostic::at_node(g, n, &e))?.remove(0);
        let old = g.node(n).outputs()[0];
        let name = g.value(old).name.clone();
        let new = g.add_const(&format!("{name}.expanded"), tensor);
        g.replace_uses(old, new);
        g.erase_node(n);
    }
    Ok(())
}

/// Parameters of each value of groups.
pub fn spread(groups: &[super::place::Group], params: &[QParams]) -> Vec<(ValueId, QParams)> {
    groups.iter().zip(params).flat_map(|(g, &p)| g.values.iter().map(move |&v| (v, p))).collect()
}
