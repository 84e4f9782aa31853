//! What every element of a result shows, read off an op's loop form: slice, split, concat, pad, expand, tile, nearest resize and
//! whatever else comes to copies position by position along each dimension.

use mnnc_ir::compute::{Compute, Stage};
use mnnc_ir::scalar::{Binary, Expr, ScalarFn, ScalarNode, Source};

/// Longest dimension that is looked at.
const LONGEST: usize = 1 << 16;
/// Most moves of a result.
const MOST: usize = 256;

/// Where elements come from.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum From {
    /// An input of the op.
    Input(usize),
    /// They are all this number.
    Constant(f64),
}

/// Positions along one dimension of the result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Axis {
    /// The dimension of the source that moves with it, if one does.
    pub dim: Option<usize>,
    /// Positions in the result and in the source.
    pub pairs: Vec<(usize, usize)>,
}

/// A box of elements of the result: the product of positions along each dimension.
#[derive(Clone, PartialEq, Debug)]
pub struct Move {
    /// Source.
    pub from: From,
    /// For each dimension of the result.
    pub axes: Vec<Axis>,
    /// Position in each dimension of the source that no axis moves.
    pub base: Vec<usize>,
}

/// The moves that make up each output, in any order. `None` if the op computes anything, or is not separable by dimension.
pub fn moves(compute: &Compute, shapes: &[Option<Vec<usize>>]) -> Option<Vec<Vec<Move>>> {
    compute
        .outputs
        .iter()
        .map(|&s| {
            let dims = &compute.stages.get(s)?.dims;
            let whole = |(d, &n): (usize, &usize)| Axis { dim: Some(d), pairs: (0..n).map(|i| (i, i)).collect() };
            if dims.iter().any(|&n| n > LONGEST) {
                return None;
            }
            let axes = dims.iter().enumerate().map(whole).collect();
            let mut walk = Walk { compute, shapes, out: Vec::new() };
            walk.stage(s, View { axes, base: vec![0; dims.len()] })?;
            Some(walk.out)
        })
        .collect()
}

/// Elements of the result as positions in a stage or input.
#[derive(Clone)]
struct View {
    axes: Vec<Axis>,
    base: Vec<usize>,
}

impl View {
    /// Those whose position in dimension `dim` of the stage is (or is not) allowed.
    fn filter(&self, dim: usize, allowed: &[bool], want: bool) -> View {
        let mut v = self.clone();
        let keep = |p: usize| allowed.get(p) == Some(&want);
        match v.axes.iter_mut().find(|a| a.dim == Some(dim)) {
            Some(a) => a.pairs.retain(|p| keep(p.1)),
            None if v.base.get(dim).is_some_and(|&p| keep(p)) => {}
            None => v.axes.iter_mut().for_each(|a| a.pairs.clear()),
        }
        v
    }
    fn is_empty(&self) -> bool {
        self.axes.iter().any(|a| a.pairs.is_empty())
    }
}

struct Walk<'a> {
    compute: &'a Compute,
    shapes: &'a [Option<Vec<usize>>],
    out: Vec<Move>,
}

impl Walk<'_> {
    fn stage(&mut self, s: usize, view: View) -> Option<()> {
        let compute = self.compute;
        let stage = compute.stages.get(s).filter(|s| s.reduce.is_none())?;
        self.expr(stage, stage.body.result, view)
    }

    fn expr(&mut self, stage: &Stage, e: Expr, view: View) -> Option<()> {
        if view.is_empty() && !view.axes.is_empty() {
            return Some(());
        }
        match stage.body.node(e) {
            ScalarNode::Const(c) => self.push(Move { from: From::Constant(*c), axes: view.axes, base: Vec::new() }),
            ScalarNode::Load { source, index, guard } => {
                let inside = match guard {
                    Some((condition, otherwise)) => self.guarded(stage, *condition, *otherwise, view)?,
                    None => view,
                };
                if inside.is_empty() && !inside.axes.is_empty() {
                    return Some(());
                }
                let (next, source) = (self.load(stage, *source, index, &inside)?, *source);
                match source {
                    Source::Input(i) => self.push(Move { from: From::Input(i), axes: next.axes, base: next.base }),
                    Source::Stage(s) => self.stage(s, next),
                }
            }
            _ => None,
        }
    }

    fn push(&mut self, m: Move) -> Option<()> {
        self.out.push(m);
        (self.out.len() <= MOST).then_some(())
    }

    /// Handles what lies outside the condition and gives what lies inside.
    fn guarded(&mut self, stage: &Stage, condition: Expr, otherwise: Expr, view: View) -> Option<View> {
        if view.axes.is_empty() {
            return None;
        }
        let mut inside = view;
        for part in conjuncts(&stage.body, condition) {
            let dim = only_axis(&stage.body, part)?.unwrap_or(0);
            let allowed: Vec<bool> = table(stage, part, dim)?.into_iter().map(|x| x != 0).collect();
            // Outside of this condition but inside all earlier ones, so that nothing is moved twice.
            let outside = inside.filter(dim, &allowed, false);
            self.expr(stage, otherwise, outside)?;
            inside = inside.filter(dim, &allowed, true);
        }
        Some(inside)
    }

    /// The view carried through a load.
    fn load(&self, stage: &Stage, source: Source, index: &[Expr], view: &View) -> Option<View> {
        let dims = match source {
            Source::Input(i) => self.shapes.get(i)?.clone()?,
            Source::Stage(s) => self.compute.stages.get(s)?.dims.clone(),
        };
        let mut next = View {
            axes: view
                .axes
                .iter()
                .map(|a| Axis { dim: None, pairs: a.pairs.iter().map(|p| (p.0, 0)).collect() })
                .collect(),
            base: vec![0; dims.len()],
        };
        for (k, (&e, &n)) in index.iter().zip(&dims).enumerate() {
            let at = only_axis(&stage.body, e)?;
            let table = table(stage, e, at.unwrap_or(0))?;
            let position = |p: usize| table.get(p).and_then(|&x| usize::try_from(x).ok()).filter(|&x| x < n);
            let axis = at.and_then(|d| view.axes.iter().position(|a| a.dim == Some(d)));
            match axis {
                Some(a) if next.axes[a].dim.is_some() => return None,
                Some(a) => {
                    let moved: Option<Vec<_>> =
                        view.axes[a].pairs.iter().map(|&(d, p)| Some((d, position(p)?))).collect();
                    next.axes[a] = Axis { dim: Some(k), pairs: moved? };
                }
                None => next.base[k] = position(at.map_or(0, |d| view.base[d]))?,
            }
        }
        Some(next)
    }
}

/// The operands of a conjunction.
fn conjuncts(f: &ScalarFn, e: Expr) -> Vec<Expr> {
    match f.node(e) {
        ScalarNode::Binary(Binary::And, a, b) => [conjuncts(f, *a), conjuncts(f, *b)].concat(),
        _ => vec![e],
    }
}

/// The one loop dimension that an expression depends on, `Some(None)` if on none; `None` if on several, or on elements.
fn only_axis(f: &ScalarFn, e: Expr) -> Option<Option<usize>> {
    let both = |a: Option<usize>, b: Option<usize>| match (a, b) {
        (Some(x), Some(y)) if x != y => None,
        (a, b) => Some(a.or(b)),
    };
    match f.node(e) {
        ScalarNode::Const(_) => Some(None),
        ScalarNode::Axis(a) => Some(Some(*a)),
        ScalarNode::Unary(_, a) | ScalarNode::Cast(a) => only_axis(f, *a),
        ScalarNode::Binary(_, a, b) | ScalarNode::Compare(_, a, b) => both(only_axis(f, *a)?, only_axis(f, *b)?),
        ScalarNode::Select(c, a, b) => both(both(only_axis(f, *c)?, only_axis(f, *a)?)?, only_axis(f, *b)?),
        ScalarNode::Arg(_) | ScalarNode::Load { .. } => None,
    }
}

/// Values of an expression for each position along its dimension.
fn table(stage: &Stage, e: Expr, dim: usize) -> Option<Vec<i64>> {
    let mut body = stage.body.clone();
    for (node, _) in &mut body.nodes {
        if let ScalarNode::Axis(a) = node {
            *a = 0;
        }
    }
    body.result = e;
    let dims = vec![stage.dims.get(dim).copied().unwrap_or(1)];
    let dtype = body.dtype(e);
    let alone = Compute { stages: vec![Stage { dims, dtype, reduce: None, body }], outputs: vec![0] };
    mnnc_ops::evaluate_compute(&alone, &[]).ok()?.first()?.to_i64s()
}
