//! Nodes as families see them: an anchor and the element-wise chain behind it, inlined into one formula.

use crate::cost::Planner;
use crate::family::{Epilogue, View};
use mnnc_ir::scalar::{Expr, ScalarBuilder};
use mnnc_ir::{DType, Def, Graph, Node, NodeId, OpError, Tensor, ValueId};
use std::collections::HashMap;

/// Builds the [`View`] of a node. An op named `fused` has one region: an anchor and element-wise nodes, or element-wise
/// nodes only. Those in front of the anchor make its first operand of one value and of numbers.
///
/// # Errors
/// A `fused` body of another form, or a formula that does not fit its types.
pub fn view<'g>(graph: &'g Graph, planner: &'g Planner, id: NodeId) -> Result<View<'g>, OpError> {
    let node = graph.node(id);
    let outputs = node.outputs().to_vec();
    let alone = |anchor, inputs, epilogue| View {
        graph,
        planner,
        node: id,
        anchor,
        anchor_id: anchor.map(|_| id),
        inputs,
        prologue: None,
        epilogue,
        outputs: outputs.clone(),
    };
    if node.op.name == "fused" {
        return fused(graph, planner, id);
    }
    if graph.is_elementwise(id) && outputs.len() == 1 {
        let chain = Chain { graph, outer: HashMap::new() };
        let epilogue = chain.formula(&[id], None, outputs[0])?;
        return Ok(alone(None, Vec::new(), Some(epilogue)));
    }
    Ok(alone(Some(node), node.inputs().to_vec(), None))
}

fn fused<'g>(graph: &'g Graph, planner: &'g Planner, id: NodeId) -> Result<View<'g>, OpError> {
    let node = graph.node(id);
    let bad = |why: &str| OpError::unsupported(format!("the fused body of {} {why}", node.name));
    let &[r] = &node.regions[..] else {
        return Err(bad("is not one region"));
    };
    let region = graph.region(r);
    let (&[result], &[output]) = (region.results(), node.outputs()) else {
        return Err(bad("has not exactly one result"));
    };
    let mut outer = HashMap::new();
    for (i, &p) in region.params.iter().enumerate() {
        outer.insert(p, node.input(i).ok_or_else(|| bad("reads an absent input"))?);
    }
    let chain = Chain { graph, outer };
    let nodes = region.nodes();
    let (before, anchor, rest) = match nodes.iter().position(|&n| !graph.is_elementwise(n)) {
        _ if nodes.is_empty() => return Err(bad("is empty")),
        None => (&nodes[..0], None, nodes),
        Some(at) => (&nodes[..at], Some(nodes[at]), &nodes[at + 1..]),
    };
    if let Some(n) = rest.iter().find(|n| !graph.is_elementwise(**n)) {
        return Err(bad(&format!("has a second anchor, {}", graph.node(*n).op.name)));
    }
    let anchor_node: Option<&Node> = anchor.map(|a| graph.node(a));
    let first = anchor_node.and_then(|a| a.outputs().first().copied());
    let epilogue = if rest.is_empty() { None } else { Some(chain.formula(rest, first, result)?) };
    if rest.is_empty() && first != Some(result) {
        return Err(bad("does not yield its anchor's first result"));
    }
    let mut inputs: Vec<Option<ValueId>> =
        anchor_node.map_or(Vec::new(), |a| a.inputs().iter().map(|v| v.map(|v| chain.main(v))).collect());
    let mut prologue = None;
    if let (Some(a), false) = (anchor_node, before.is_empty()) {
        let first = a.input(0).ok_or_else(|| bad("computes an operand that its anchor lacks"))?;
        let made = chain.formula(before, None, first)?;
        let &[x] = &made.sides[..] else { return Err(bad("computes its anchor's operand of several values")) };
        inputs[0] = Some(x);
        prologue = Some(made.f);
    }
    Ok(View {
        graph,
        planner,
        node: id,
        anchor: anchor_node,
        anchor_id: anchor,
        inputs,
        prologue,
        epilogue,
        outputs: vec![output],
    })
}

/// The literal that stands for a constant of one element, if `f64` holds it exactly.
fn literal(t: &Tensor) -> Option<f64> {
    let x = match t.len() {
        1 => *t.to_f64s().first()?,
        _ => return None,
    };
    let exact = !matches!(t.dtype(), DType::I64 | DType::U64) || x.abs() <= (1u64 << 53) as f64;
    // A NaN literal would never be shared and prints badly; it is read from memory instead.
    (exact && !x.is_nan()).then_some(x)
}

struct Chain<'g> {
    graph: &'g Graph,
    /// Region parameters as values of the main region.
    outer: HashMap<ValueId, ValueId>,
}

impl Chain<'_> {
    fn main(&self, v: ValueId) -> ValueId {
        self.outer.get(&v).copied().unwrap_or(v)
    }

    /// Inlines `nodes` into one formula of `result`. `anchor` is argument 0.
    fn formula(&self, nodes: &[NodeId], anchor: Option<ValueId>, result: ValueId) -> Result<Epilogue, OpError> {
        let mut b = ScalarBuilder::new();
        let mut exprs: HashMap<ValueId, Expr> = HashMap::new();
        let mut sides: Vec<ValueId> = Vec::new();
        if let Some(a) = anchor {
            exprs.insert(a, b.arg(0, self.graph.ty(a).dtype));
        }
        for &n in nodes {
            let node = self.graph.node(n);
            let args: Vec<Option<Expr>> = node
                .inputs()
                .iter()
                .map(|v| v.map(|v| self.operand(v, anchor.is_some(), &mut b, &mut exprs, &mut sides)))
                .collect();
            let facts = self.graph.facts(n);
            let Some(f) = node.op.scalar else {
                return Err(OpError::unsupported(format!("{} is not element-wise", node.op.name)));
            };
            let e = f(&facts.of(node), &mut b, &args)?;
            if let Some(&v) = node.outputs().first() {
                exprs.insert(v, e);
            }
        }
        let e = *exprs.get(&result).ok_or_else(|| OpError::invalid("the fused result is not computed in the body"))?;
        Ok(Epilogue { f: b.finish(e), sides })
    }

    fn operand(
        &self,
        v: ValueId,
        anchored: bool,
        b: &mut ScalarBuilder,
        exprs: &mut HashMap<ValueId, Expr>,
        sides: &mut Vec<ValueId>,
    ) -> Expr {
        if let Some(&e) = exprs.get(&v) {
            return e;
        }
        let main = self.main(v);
        let d = self.graph.ty(main).dtype;
        let constant = matches!(self.graph.value(main).def, Def::Const(_));
        let e = match self.graph.constant(main).filter(|_| constant).and_then(literal) {
            Some(x) => b.constant(x, d),
            None => {
                let i = sides.iter().position(|&s| s == main).unwrap_or_else(|| {
                    sides.push(main);
                    sides.len() - 1
                });
                b.arg(i + usize::from(anchored), d)
            }
        };
        exprs.insert(v, e);
        e
    }
}
