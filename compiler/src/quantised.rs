//! What is quantised in a model: every tensor of integers that stand for reals, with its scales and zero points.
//!
//! Inside a graph the ops say so, whose operands scales and zero points are. Of what goes in and comes out of a model the [type](TensorType::quant)
//! says it, too, from where headers, manifests and descriptions in objects have it.

use std::sync::Arc;

use mnnc_ir::{Attr, Graph, Node, NodeId, Quant, Tensor, TensorType, ValueId};
use serde_json::{Value, json};

/// A quantised tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantised {
    /// Name of the integers.
    pub name: String,
    /// Whether they are constants.
    pub weight: bool,
    /// Bits that each of them needs.
    pub bits: u32,
    /// Their type, quantisation included. Parameters that are computed at run time are left out.
    pub ty: TensorType,
}

/// The quantised tensors of `graph`, in the order in which they are first read or made; bodies of control flow included.
pub fn of(graph: &Graph) -> Vec<Quantised> {
    let mut seen: Vec<ValueId> = Vec::new();
    let mut out = Vec::new();
    for (n, node) in graph.nodes() {
        let Some((v, params, axis)) = quantised(node) else { continue };
        if seen.contains(&v) {
            continue;
        }
        seen.push(v);
        out.push(describe(graph, n, v, params, axis));
    }
    out
}

/// Gives the inputs and outputs of a graph that are integers their quantisation, where all readers, or the producer, say the same.
pub fn type_ports(graph: &mut Graph) {
    let mut found: Vec<(ValueId, Vec<TensorType>)> =
        graph.inputs().iter().chain(graph.outputs()).map(|&v| (v, Vec::new())).collect();
    for (n, node) in graph.nodes() {
        let Some((v, params, axis)) = quantised(node) else { continue };
        if let Some((_, types)) = found.iter_mut().find(|(port, _)| *port == v) {
            types.push(describe(graph, n, v, params, axis).ty);
        }
    }
    for (v, types) in found {
        if let Some(ty) = types.first().filter(|first| types.iter().all(|t| t == *first)) {
            graph.set_type(v, ty.clone());
        }
    }
}

/// The integers that a node reads or makes, the position of their scale (the zero point follows), and the dimension that
/// several scales run along where the node does not say.
fn quantised(node: &Node) -> Option<(ValueId, usize, i64)> {
    match node.op.name {
        "dequantize_linear" => Some((node.input(0)?, 1, 1)),
        "quantize_linear" => Some((*node.outputs().first()?, 1, 1)),
        "q_linear_conv" => Some((node.input(3)?, 4, 0)),
        "q_linear_matmul" => Some((node.input(3)?, 4, -1)),
        _ => None,
    }
}

fn describe(graph: &Graph, n: NodeId, v: ValueId, params: usize, axis: i64) -> Quantised {
    let node = graph.node(n);
    let int = |name: &str| match node.attrs.get(name) {
        Some(Attr::Int(x)) => Some(*x),
        _ => None,
    };
    let numbers = |i: usize| node.input(i).and_then(|v| graph.constant(v)).map(Tensor::to_f64s);
    let ty = graph.ty(v);
    let axis = int("axis").unwrap_or(axis);
    let axis = usize::try_from(if axis < 0 { axis + ty.rank() as i64 } else { axis }).ok();
    let quant = numbers(params).map(|scales| {
        let zeros = numbers(params + 1).unwrap_or_default();
        Arc::new(Quant {
            axis: axis.filter(|_| scales.len() > 1),
            block: int("block_size").and_then(|b| usize::try_from(b).ok()).filter(|&b| b > 0),
            zero_points: if zeros.iter().all(|&z| z == 0.0) {
                Vec::new()
            } else {
                zeros.iter().map(|&z| z as i32).collect()
            },
            scales: scales.iter().map(|&s| s as f32).collect(),
        })
    });
    let bits = int("bits").and_then(|b| u32::try_from(b).ok()).filter(|&b| b > 0);
    Quantised {
        name: graph.value(v).name.clone(),
        weight: graph.constant(v).is_some(),
        bits: bits.unwrap_or(8 * ty.dtype.size() as u32),
        ty: TensorType { quant, ..ty.clone() },
    }
}

impl Quantised {
    /// How scales lie over the tensor: `tensor`, `axis 0`, `axis 1 by 32`, or `run time`.
    pub fn granularity(&self) -> String {
        match self.ty.quant.as_deref() {
            None => "run time".to_owned(),
            Some(Quant { axis: None, .. }) => "tensor".to_owned(),
            Some(Quant { axis: Some(a), block: None, .. }) => format!("axis {a}"),
            Some(Quant { axis: Some(a), block: Some(b), .. }) => format!("axis {a} by {b}"),
        }
    }

    /// The scales: one number, or the least and the greatest.
    pub fn scales(&self) -> String {
        self.ty.quant.as_deref().map_or_else(String::new, |q| range(&q.scales))
    }

    /// The zero points, likewise.
    pub fn zero_points(&self) -> String {
        let zeros = self.ty.quant.as_deref().map_or(&[][..], |q| &q.zero_points);
        if zeros.is_empty() { "0".to_owned() } else { range(zeros) }
    }

    /// For reports: all scales and zero points.
    pub fn json(&self) -> Value {
        let quant = self.ty.quant.as_deref();
        json!({
            "name": self.name,
            "kind": if self.weight { "weight" } else { "activation" },
            "stored": self.ty.dtype.name(),
            "bits": self.bits,
            "scales": quant.map(|q| &q.scales),
            "zero_points": quant.map(|q| &q.zero_points),
            "axis": quant.and_then(|q| q.axis),
            "block": quant.and_then(|q| q.block),
        })
    }
}

fn range<T: Copy + PartialOrd + std::fmt::Display>(values: &[T]) -> String {
    let Some(&first) = values.first() else { return String::new() };
    let (low, high) = values
        .iter()
        .fold((first, first), |(low, high), &x| (if x < low { x } else { low }, if x > high { x } else { high }));
    if low == high { format!("{low}") } else { format!("{low} to {high}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CompileOptions, Compiler};
    use mnnc_ir::constant::ConstPool;
    use mnnc_ir::parse::parse_graph;
    use mnnc_transform::{OptLevel, Prefer, Target};

    /// Bytes in and out, and the same bytes read by two scales.
    const NET: &str = r#"graph "net" {
  input %x: u8[1x2x4x4]
  input %twice: u8[4]
  const %s: f32[] = dense[0.5]
  const %z: u8[] = dense[128]
  const %t: f32[] = dense[0.25]
  const %o: u8[] = dense[3]
  const %w: f32[2x2x1x1] = dense[1.0, -2.0, 0.5, 1.0]
  %a = dequantize_linear(%x, %s, %z)
  %b = conv(%a, %w)
  %c = relu(%b)
  %y = quantize_linear(%c, %t, %o)
  %d = dequantize_linear(%twice, %s, %z)
  %e = dequantize_linear(%twice, %t, %z)
  %f = add(%d, %e)
  output %y, %f
}
"#;

    #[test]
    fn ports_keep_their_quantisation_through_every_pass() {
        let mut g = parse_graph(NET, &mnnc_ops::lookup, &ConstPool::default()).expect("parses");
        type_ports(&mut g);
        let of =
            |g: &Graph, v: ValueId| g.ty(v).quant.as_deref().map(|q| (q.scales.clone(), q.zero_points.clone(), q.axis));
        for level in [OptLevel::O0, OptLevel::O2] {
            let text = mnnc_transform::levels::pipeline(Target::Native, level, Prefer::default());
            let g = Compiler::new(CompileOptions::default()).transform(g.clone(), &text).expect("optimises").graph;
            assert_eq!(of(&g, g.inputs()[0]), Some((vec![0.5], vec![128], None)));
            assert_eq!(of(&g, g.inputs()[1]), None, "readers differ");
            assert_eq!(of(&g, g.outputs()[0]), Some((vec![0.25], vec![3], None)), "{}", g.to_text());
            assert_eq!(of(&g, g.outputs()[1]), None);
        }
    }
}
