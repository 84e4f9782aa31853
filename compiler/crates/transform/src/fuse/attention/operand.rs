//! An operand of an attention: which tensor it is read from, and how.

use super::layout::{self, Factor, Layout};
use crate::pattern::{dims, op, scalar};
use mnnc_ir::{Attrs, Graph, NodeSpec, Patch, ValueId};

/// What an operand is for; the kernel can read each in certain ways only.
#[derive(Copy, Clone, PartialEq, Eq)]
pub enum Role {
    /// `[queries, depth]`, either of which is dense.
    Query,
    /// `[keys, depth]`.
    Key,
    /// The same, given as `[depth, keys]`.
    TurnedKey,
    /// `[keys, width]`, dense along the width.
    Value,
    /// `[queries, keys]`.
    Mask,
}

/// A tensor, and a layout `[matrices, rows, columns]` of the operand in it.
pub struct Operand {
    /// The tensor.
    pub value: ValueId,
    /// The operand in it.
    pub layout: Layout,
    /// What the operand is the tensor's elements times.
    pub factor: f64,
}

impl Operand {
    /// An operand `v` that is broadcast to `shape` and stands for matrices of `sizes`. It is read from the tensor furthest
    /// back that the kernel can read it from.
    pub fn find(g: &Graph, v: ValueId, shape: &[usize], role: Role, sizes: [usize; 3]) -> Option<Operand> {
        let own = dims(g, v)?;
        Operand::furthest(g, v, role, |l| {
            let l = l.broadcast(&own, shape)?;
            let l = if role == Role::TurnedKey { l.turned() } else { l };
            l.reshape(&sizes)
        })
    }

    /// An operand of `heads` heads of a batch of `n`, of rank 4 or with its `own` heads side by side; each of its heads serves
    /// several in turn.
    pub fn heads(g: &Graph, v: ValueId, [n, heads, own, rows, cols]: [usize; 5], role: Role) -> Option<Operand> {
        let side_by_side = dims(g, v)?.len() == 3;
        if own == 0 || !heads.is_multiple_of(own) {
            return None;
        }
        Operand::furthest(g, v, role, |l| {
            let split = if side_by_side {
                let l = l.reshape(&[n, rows, own, cols])?;
                [0, 2, 1, 3].map(|d| l.dims[d].clone())
            } else {
                [0, 1, 2, 3].map(|d| l.dims[d].clone())
            };
            let [batch, mut group, rows_, cols_] = split;
            if heads > own {
                group.push(Factor { extent: heads / own, step: 0 });
            }
            let l = Layout { offset: l.offset, dims: vec![[batch, group].concat(), rows_, cols_] };
            l.reshape(&[n * heads, rows, cols])
        })
    }

    fn furthest(g: &Graph, v: ValueId, role: Role, finish: impl Fn(&Layout) -> Option<Layout>) -> Option<Operand> {
        /// Longer chains of views do not occur.
        const FURTHEST: usize = 16;
        let mut best = None;
        // From each tensor on the way back, forward again.
        let mut steps = Vec::new();
        let (mut at, mut factor) = (v, 1.0);
        loop {
            let start = layout::sized(g, at).map(|d| Layout::dense(&d));
            let here = start.and_then(|l| steps.iter().rev().try_fold(l, |l, step: &Step| step(&l)));
            if let Some(layout) = here.and_then(|l| finish(&l)).filter(|l| readable(role, l)) {
                best = Some(Operand { value: at, layout, factor });
            }
            if steps.len() == FURTHEST {
                break;
            }
            if let Some((x, step)) = layout::moved(g, at) {
                steps.push(Box::new(step));
                at = x;
            } else if let Some((x, f)) = scaled(g, at).filter(|_| role != Role::Value && role != Role::Mask) {
                factor *= f;
                at = x;
            } else {
                break;
            }
        }
        best
    }

    /// A mask whose queries do not lie side by side is turned.
    pub fn turn_if_needed(&mut self, p: &mut Patch) -> Option<()> {
        if matches!(self.layout.step(1), Some(0 | 1)) {
            return Some(());
        }
        let shape = p.ty(self.value).static_dims()?;
        let [rows, cols] = [1, 2].map(|d| self.layout.dims[d].iter().map(|f| f.extent).product::<usize>());
        // The tensor as rows of the layout's columns, if that is what it is.
        let n = shape.len();
        if n < 2 || shape[n - 1] != cols || shape[n - 2] != rows || self.layout.step(1) != Some(cols) {
            return None;
        }
        let perm: Vec<i64> = (0..n as i64 - 2).chain([n as i64 - 1, n as i64 - 2]).collect();
        let spec = NodeSpec::new(op("transpose")?, [self.value]).attrs(Attrs::new().with("perm", perm));
        self.value = p.node(spec).ok()?;
        let one = |extent: usize, step: usize| if extent == 1 { Vec::new() } else { vec![Factor { extent, step }] };
        self.layout.dims[1] = one(rows, 1);
        self.layout.dims[2] = one(cols, rows);
        Some(())
    }
}

type Step = Box<dyn Fn(&Layout) -> Option<Layout>>;

fn readable(role: Role, l: &Layout) -> bool {
    let (row, col) = (l.step(1), l.step(2));
    let dense = |s: Option<usize>| matches!(s, Some(0 | 1));
    row.is_some()
        && col.is_some()
        && match role {
            Role::Query => dense(col) || row == Some(1),
            Role::Value => dense(col),
            Role::Key | Role::TurnedKey | Role::Mask => true,
        }
}

/// `x` and `c`, if `v` is `x · c` for one number.
fn scaled(g: &Graph, v: ValueId) -> Option<(ValueId, f64)> {
    let n = g.producer(v)?;
    let (a, b) = (g.node(n).input(0)?, g.node(n).input(1)?);
    let (x, f) = match (g.node(n).op.name, scalar(g, a), scalar(g, b)) {
        ("mul", None, Some(c)) => (a, c),
        ("mul", Some(c), None) => (b, c),
        ("div", None, Some(c)) if c != 0.0 => (a, 1.0 / c),
        _ => return None,
    };
    (g.ty(x).dims == g.ty(v).dims && f.is_finite()).then_some((x, f))
}
