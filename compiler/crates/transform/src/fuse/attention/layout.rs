//! Where the elements of a tensor lie in another one that it was made from by moving elements only.

use crate::pattern::dims;
use mnnc_ir::scalar::{Binary, Expr, ScalarFn, ScalarNode, Source};
use mnnc_ir::{Graph, Traits, ValueId};

/// A loop over part of a dimension: how often, and the step of each turn in elements of the source.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Factor {
    /// Turns.
    pub extent: usize,
    /// Elements.
    pub step: usize,
}

/// The place of every element: `offset + Σ turn * step` over the factors of all dimensions. A dimension has several factors,
/// outermost first, where a reshape merged what does not lie evenly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Place of the first element.
    pub offset: usize,
    /// Factors of each dimension, extents above 1.
    pub dims: Vec<Vec<Factor>>,
}

impl Layout {
    /// A dense, row-major tensor.
    pub fn dense(shape: &[usize]) -> Layout {
        let mut step = 1;
        let mut dims: Vec<Vec<Factor>> = Vec::new();
        for &extent in shape.iter().rev() {
            dims.push(if extent == 1 { Vec::new() } else { vec![Factor { extent, step }] });
            step *= extent;
        }
        dims.reverse();
        Layout { offset: 0, dims }
    }

    /// The same elements under another shape.
    pub fn reshape(&self, shape: &[usize]) -> Option<Layout> {
        // What lies one behind the other is one loop, so that it can be cut anywhere.
        let mut rest: Vec<Factor> = Vec::new();
        for f in self.dims.concat() {
            match rest.last_mut() {
                Some(outer) if outer.step == f.step * f.extent => {
                    *outer = Factor { extent: outer.extent * f.extent, step: f.step };
                }
                _ => rest.push(f),
            }
        }
        let mut dims = Vec::new();
        for &size in shape.iter().rev() {
            let mut own = Vec::new();
            let mut left = size;
            while left > 1 {
                let f = rest.pop()?;
                let inner = if left.is_multiple_of(f.extent) { f.extent } else { left };
                if !f.extent.is_multiple_of(inner) || !left.is_multiple_of(inner) {
                    return None;
                }
                own.push(Factor { extent: inner, step: f.step });
                if f.extent > inner {
                    rest.push(Factor { extent: f.extent / inner, step: f.step * inner });
                }
                left /= inner;
            }
            own.reverse();
            dims.push(own);
        }
        dims.reverse();
        rest.is_empty().then_some(Layout { offset: self.offset, dims })
    }

    /// Stretched to a shape as NumPy does.
    pub fn broadcast(&self, from: &[usize], to: &[usize]) -> Option<Layout> {
        let skip = to.len().checked_sub(from.len())?;
        let dims = to.iter().enumerate().map(|(d, &extent)| {
            let stretched = if extent == 1 { Vec::new() } else { vec![Factor { extent, step: 0 }] };
            match d.checked_sub(skip) {
                Some(i) if from[i] == extent => Some(self.dims[i].clone()),
                Some(i) if from[i] != 1 => None,
                _ => Some(stretched),
            }
        });
        Some(Layout { offset: self.offset, dims: dims.collect::<Option<_>>()? })
    }

    /// Exchanges the last two dimensions.
    pub fn turned(mut self) -> Layout {
        let n = self.dims.len();
        if n >= 2 {
            self.dims.swap(n - 1, n - 2);
        }
        self
    }

    /// The step of a dimension, if it is one loop; 0 if it has one element.
    pub fn step(&self, d: usize) -> Option<usize> {
        match coalesced(&self.dims[d])[..] {
            [] => Some(0),
            [f] => Some(f.step),
            _ => None,
        }
    }

    /// For a layout of a tensor of `shape` inside a dense one with as many elements: where the elements of the dense one, seen
    /// under shape `source`, lie in the tensor.
    pub fn inverse(&self, source: &[usize]) -> Option<Layout> {
        let mut step = 1;
        let mut pairs: Vec<(Factor, usize)> = Vec::new();
        for f in self.dims.iter().flatten().rev() {
            pairs.push((*f, step));
            step *= f.extent;
        }
        pairs.sort_by_key(|(f, _)| std::cmp::Reverse(f.step));
        let mut dense = 1;
        for (f, _) in pairs.iter().rev() {
            if f.step != dense {
                return None;
            }
            dense *= f.extent;
        }
        let all = pairs.iter().map(|&(f, step)| Factor { extent: f.extent, step }).collect();
        let flat = Layout { offset: 0, dims: vec![all] };
        if self.offset != 0 || dense != source.iter().product::<usize>() { None } else { flat.reshape(source) }
    }
}

/// Neighbouring factors that are one loop, made one.
fn coalesced(factors: &[Factor]) -> Vec<Factor> {
    let mut out: Vec<Factor> = Vec::new();
    for &f in factors {
        match out.last_mut() {
            Some(o) if o.step == f.step * f.extent => *o = Factor { extent: o.extent * f.extent, step: f.step },
            _ => out.push(f),
        }
    }
    out
}

/// One dimension that several layouts step through, cut into the same loops for all: extents, and for each layout its steps.
pub fn common_loops(all: &[Vec<Factor>]) -> Option<(Vec<usize>, Vec<Vec<usize>>)> {
    let mut rest: Vec<Vec<Factor>> = all.iter().map(|f| coalesced(f)).collect();
    let mut loops: Vec<(usize, Vec<usize>)> = Vec::new();
    while rest.iter().any(|f| !f.is_empty()) {
        let inner = rest.iter().map(|f| f.last().map_or(0, |f| f.extent)).min()?;
        let mut steps = Vec::new();
        for factors in &mut rest {
            let f = factors.pop().filter(|f| inner > 1 && f.extent.is_multiple_of(inner))?;
            steps.push(f.step);
            if f.extent > inner {
                factors.push(Factor { extent: f.extent / inner, step: f.step * inner });
            }
        }
        loops.push((inner, steps));
    }
    loops.reverse();
    // Loops that all layouts walk through evenly are one.
    let mut merged: Vec<(usize, Vec<usize>)> = Vec::new();
    for (n, steps) in loops {
        match merged.last_mut() {
            Some((m, outer)) if outer.iter().zip(&steps).all(|(o, s)| *o == s * n) => {
                *m *= n;
                *outer = steps;
            }
            _ => merged.push((n, steps)),
        }
    }
    let steps = (0..all.len()).map(|i| merged.iter().map(|(_, s)| s[i]).collect()).collect();
    Some((merged.iter().map(|(n, _)| *n).collect(), steps))
}

/// The shape of a value with at least one element, and not so many that counting them overflows.
pub fn sized(g: &Graph, v: ValueId) -> Option<Vec<usize>> {
    g.ty(v).num_bytes().filter(|n| (1..1 << 48).contains(n))?;
    dims(g, v)
}

/// If the node behind `v` only moves elements of its first input: that input, and the layout of `v` for a layout of it.
pub fn moved(g: &Graph, v: ValueId) -> Option<(ValueId, impl Fn(&Layout) -> Option<Layout> + use<>)> {
    let n = g.producer(v)?;
    let node = g.node(n);
    let x = node.input(0)?;
    let (from, to) = (sized(g, x)?, sized(g, v)?);
    if !node.regions.is_empty() {
        return None;
    }
    if node.op.traits.contains(Traits::VIEW) {
        return Some((x, Move::Reshape(to).applied()));
    }
    if g.is_elementwise(n) || g.ty(x).dtype != g.ty(v).dtype {
        return None;
    }
    let output = node.outputs().iter().position(|&y| y == v)?;
    let facts = g.facts(n);
    let compute = node.op.compute?(&facts.of(node)).ok()?;
    let stage = compute.stages.get(*compute.outputs.get(output)?).filter(|s| s.reduce.is_none() && s.dims == to)?;
    let ScalarNode::Load { source: Source::Input(0), index, guard: None } = stage.body.node(stage.body.result) else {
        return None;
    };
    let index: Vec<Affine> = index.iter().map(|&e| Affine::of(&stage.body, e, to.len())).collect::<Option<_>>()?;
    Some((x, Move::Index { index, from, to }.applied()))
}

/// How a node moves elements.
enum Move {
    Reshape(Vec<usize>),
    Index { index: Vec<Affine>, from: Vec<usize>, to: Vec<usize> },
}

impl Move {
    fn applied(self) -> impl Fn(&Layout) -> Option<Layout> + use<> {
        move |l| match &self {
            Move::Reshape(to) => l.reshape(to),
            Move::Index { index, from, to } => picked(l, index, from, to),
        }
    }
}

/// The layout of what is picked by `index` from a tensor with layout `l`.
fn picked(l: &Layout, index: &[Affine], from: &[usize], to: &[usize]) -> Option<Layout> {
    let mut offset = l.offset;
    let mut dims: Vec<Option<Vec<Factor>>> = vec![None; to.len()];
    for ((at, factors), &size) in index.iter().zip(&l.dims).zip(from) {
        let axes: Vec<usize> = (0..to.len()).filter(|&a| at.factors[a] != 0 && to[a] != 1).collect();
        let (start, whole) = (at.start, axes.first().is_some_and(|&a| at.factors[a] == 1 && to[a] == size));
        let own = match (&axes[..], &coalesced(factors)[..]) {
            ([], all) => {
                // One index: its digits.
                let mut rest = start;
                for f in all.iter().rev() {
                    offset += rest % f.extent * f.step;
                    rest /= f.extent;
                }
                continue;
            }
            ([_], all) if whole && start == 0 => all.to_vec(),
            (&[a], &[f]) => {
                offset += start * f.step;
                vec![Factor { extent: to[a], step: f.step * at.factors[a] }]
            }
            _ => return None,
        };
        // A diagonal has two steps.
        if dims[axes[0]].replace(own).is_some() {
            return None;
        }
    }
    let dims = dims.into_iter().zip(to).map(|(own, &extent)| match own {
        Some(own) => own,
        None if extent == 1 => Vec::new(),
        None => vec![Factor { extent, step: 0 }],
    });
    Some(Layout { offset, dims: dims.collect() })
}

/// `start + Σ axis * factor`.
#[derive(Clone)]
struct Affine {
    start: usize,
    factors: Vec<usize>,
}

impl Affine {
    fn of(f: &ScalarFn, e: Expr, axes: usize) -> Option<Affine> {
        let (start, factors) = linear(f, e, axes)?;
        let factors = factors.into_iter().map(|x| usize::try_from(x).ok()).collect::<Option<_>>()?;
        Some(Affine { start: usize::try_from(start).ok()?, factors })
    }
}

fn linear(f: &ScalarFn, e: Expr, axes: usize) -> Option<(i64, Vec<i64>)> {
    let constant = |x: i64| (x, vec![0; axes]);
    Some(match f.node(e) {
        ScalarNode::Const(c) if c.fract() == 0.0 && c.abs() < 2f64.powi(52) => constant(*c as i64),
        ScalarNode::Axis(a) if *a < axes => {
            let mut t = constant(0);
            t.1[*a] = 1;
            t
        }
        ScalarNode::Binary(op, a, b) => {
            let ((p, mut x), (q, y)) = (linear(f, *a, axes)?, linear(f, *b, axes)?);
            let number = |v: &[i64]| v.iter().all(|&k| k == 0);
            match op {
                Binary::Add => {
                    x.iter_mut().zip(&y).for_each(|(x, y)| *x += y);
                    (p.checked_add(q)?, x)
                }
                Binary::Sub => {
                    x.iter_mut().zip(&y).for_each(|(x, y)| *x -= y);
                    (p.checked_sub(q)?, x)
                }
                Binary::Mul if number(&x) || number(&y) => {
                    let (k, v, other) = if number(&x) { (p, y, q) } else { (q, x, p) };
                    let scaled = v.into_iter().map(|t| t.checked_mul(k)).collect::<Option<_>>()?;
                    (k.checked_mul(other)?, scaled)
                }
                _ => return None,
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_loops_of_a_projection() {
        // [2, 5, 3 * 4 * 8] as q, k, v of 4 heads: [2, 5, 3, 4, 8].
        let l = Layout::dense(&[2, 5, 96]).reshape(&[2, 5, 3, 4, 8]).unwrap();
        let steps: Vec<Option<usize>> = (0..5).map(|d| l.step(d)).collect();
        assert_eq!(steps, [480, 96, 32, 8, 1].map(Some));
        // Merged unevenly, a dimension has two factors; merged evenly, one.
        assert_eq!(l.reshape(&[10, 96]).unwrap().step(0), Some(96));
        let turned = Layout { offset: 0, dims: [0, 3, 1, 4].map(|d| l.dims[d].clone()).to_vec() };
        let merged = turned.reshape(&[8, 5, 8]).unwrap();
        assert_eq!(merged.dims[0], [Factor { extent: 2, step: 480 }, Factor { extent: 4, step: 8 }]);
        assert_eq!(merged.step(0), None);
        assert!(Layout::dense(&[6, 4]).reshape(&[4, 6]).is_some_and(|l| l.step(0) == Some(6)));
    }

    #[test]
    fn loops_are_cut_where_any_layout_is() {
        let q = vec![Factor { extent: 2, step: 100 }, Factor { extent: 6, step: 8 }];
        let k = vec![Factor { extent: 4, step: 50 }, Factor { extent: 3, step: 0 }];
        let (extents, steps) = common_loops(&[q, k]).unwrap();
        assert_eq!(extents, [2, 2, 3]);
        assert_eq!(steps, [vec![100, 24, 8], vec![100, 50, 0]]);
        assert_eq!(common_loops(&[Vec::new(), Vec::new()]), Some((vec![], vec![vec![], vec![]])));
    }

    #[test]
    fn a_turned_tensor_turns_back() {
        let y = Layout::dense(&[2, 3, 5]);
        // [3, 2, 5] made from [2, 3, 5].
        let t = Layout { offset: 0, dims: [1, 0, 2].map(|d| y.dims[d].clone()).to_vec() };
        let back = t.inverse(&[2, 3, 5]).unwrap();
        assert_eq!((0..3).map(|d| back.step(d)).collect::<Vec<_>>(), [5, 10, 1].map(Some));
    }
}
