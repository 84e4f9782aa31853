//! Moves between storages as loops of bytes.

use super::loops::{Loop, Piece};
use super::moves::{Axis, Move};
use crate::storage::Storage;

/// Most pieces of a move: beyond, it is not regular enough for kernels of its own.
const MOST: usize = 256;

/// Positions at constant steps, each of the source `repeat` times in a row.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Run {
    dst: usize,
    src: usize,
    count: usize,
    dst_step: usize,
    src_step: usize,
    repeat: usize,
}

/// Runs that follow each other.
fn greedy(pairs: &[(usize, usize)]) -> Vec<Run> {
    let mut out = Vec::new();
    let mut rest = pairs;
    while let Some(&(dst, src)) = rest.first() {
        let step = |a: (usize, usize), b: (usize, usize)| Some((b.0.checked_sub(a.0)?, b.1.checked_sub(a.1)?));
        let first = rest.get(1).and_then(|&p| step((dst, src), p));
        let count = match first {
            None => 1,
            Some(s) => 1 + rest.windows(2).take_while(|w| step(w[0], w[1]) == Some(s)).count(),
        };
        let (dst_step, src_step) = first.unwrap_or((1, 1));
        out.push(Run { dst, src, count, dst_step, src_step, repeat: 1 });
        rest = &rest[count..];
    }
    out
}

/// As few runs as taking turns with up to four gives: a resize by 2/3 is two runs, of even and of odd positions.
fn runs(axis: &Axis) -> Vec<Run> {
    let turns = |k: usize| -> Vec<Run> {
        (0..k).flat_map(|j| greedy(&axis.pairs.iter().skip(j).step_by(k).copied().collect::<Vec<_>>())).collect()
    };
    (1..=4).map(turns).min_by_key(Vec::len).unwrap_or_default()
}

/// The one run that repeats each position of the source, as a resize by a whole number does: its copies then lie beside each other
/// in time as in memory.
fn repeated(axis: &Axis) -> Option<Run> {
    let (_, first) = *axis.pairs.first()?;
    let repeat = axis.pairs.iter().take_while(|p| p.1 == first).count();
    let alike = |group: &[(usize, usize)]| {
        group.len() == repeat && group.iter().enumerate().all(|(i, p)| *p == (group[0].0 + i, group[0].1))
    };
    if repeat < 2 || repeat == axis.pairs.len() || !axis.pairs.chunks(repeat).all(alike) {
        return None;
    }
    match greedy(&axis.pairs.iter().step_by(repeat).copied().collect::<Vec<_>>())[..] {
        [run] => Some(Run { repeat, ..run }),
        _ => None,
    }
}

/// How a storage walks along one of its dimensions.
#[derive(Copy, Clone)]
struct Walk {
    stride: usize,
    /// Elements that lie together before the stride counts.
    block: Option<usize>,
}

impl Walk {
    fn along(s: &Storage, dim: usize) -> Walk {
        Walk { stride: s.strides[dim], block: s.block.filter(|&b| b > 1 && dim == 1) }
    }
    const STILL: Walk = Walk { stride: 0, block: None };
    /// Bytes of `n` positions, a whole number of blocks.
    fn far(self, n: usize) -> usize {
        n / self.block.unwrap_or(1) * self.stride
    }
    /// Bytes of `n` positions within a block.
    fn near(self, n: usize, element: usize) -> usize {
        n * if self.block.is_some() { element } else { self.stride }
    }
    fn lane(self, position: usize) -> usize {
        self.block.map_or(0, |b| position % b)
    }
}

/// Loops of a part of a run, and where it starts.
struct Segment {
    dst: usize,
    src: usize,
    loops: Vec<Loop>,
}

/// A run cut where a block of either side ends; parts that repeat from block to block share a loop.
fn segments(run: Run, src: Walk, dst: Walk, element: usize) -> Vec<Segment> {
    let irregular = (dst.block.is_some() && run.dst_step != 1) || (src.block.is_some() && run.src_step > 1);
    if irregular && run.count > 1 {
        let one = |i: usize| Run { dst: run.dst + i * run.dst_step, src: run.src + i * run.src_step, count: 1, ..run };
        return (0..run.count).flat_map(|i| segments(one(i), src, dst, element)).collect();
    }
    let at = |i: usize| (run.src + i * run.src_step, run.dst + i * run.dst_step);
    let starts = |i: usize| {
        let (s, d) = at(i);
        (src.block.is_some() && run.src_step > 0 && src.lane(s) == 0) || (dst.block.is_some() && dst.lane(d) == 0)
    };
    let mut cuts: Vec<usize> = (1..run.count).filter(|&i| starts(i)).collect();
    cuts.insert(0, 0);
    cuts.push(run.count);
    let mut groups: Vec<(usize, usize, Vec<usize>)> = Vec::new();
    for w in cuts.windows(2) {
        let (s, d) = at(w[0]);
        let key = (w[1] - w[0], src.lane(s) * 1024 + dst.lane(d));
        let follows = |g: &&mut (usize, usize, Vec<usize>)| {
            let n = g.2.len();
            (g.0, g.1) == key && (n < 2 || w[0] - g.2[n - 1] == g.2[1] - g.2[0])
        };
        match groups.iter_mut().find(follows) {
            Some(g) => g.2.push(w[0]),
            None => groups.push((key.0, key.1, vec![w[0]])),
        }
    }
    groups
        .into_iter()
        .map(|(len, _, firsts)| {
            let (s, d) = at(firsts[0]);
            let apart = firsts.get(1).map_or(0, |n| n - firsts[0]);
            let blocks =
                Loop { extent: firsts.len(), src: src.far(apart * run.src_step), dst: dst.far(apart * run.dst_step) };
            let lanes =
                Loop { extent: len, src: src.near(run.src_step, element), dst: dst.near(run.dst_step, element) };
            let repeat = Loop { extent: run.repeat, src: 0, dst: dst.near(1, element) };
            Segment { dst: d, src: s, loops: vec![blocks, lanes, repeat] }
        })
        .collect()
}

/// The pieces of a move. `from` is the storage of its source; without one, a single element is repeated. `None` if there are too many.
pub fn pieces(m: &Move, from: Option<&Storage>, to: &Storage) -> Option<Vec<Piece>> {
    let element = to.dtype.size();
    // For each dimension of the result its segments, then their product.
    let mut products: Vec<(Vec<usize>, Vec<usize>, Vec<Loop>)> = vec![(Vec::new(), m.base.clone(), Vec::new())];
    for (a, axis) in m.axes.iter().enumerate() {
        let src = match (from, axis.dim) {
            (Some(s), Some(d)) => Walk::along(s, d),
            _ => Walk::STILL,
        };
        let dst = Walk::along(to, a);
        let repeated = repeated(axis).filter(|_| dst.block.is_none());
        let runs = repeated.map_or_else(|| runs(axis), |r| vec![r]);
        let all: Vec<Segment> = runs.into_iter().flat_map(|r| segments(r, src, dst, element)).collect();
        let mut next = Vec::new();
        if all.len().checked_mul(products.len())? > MOST {
            return None;
        }
        for (dst, src, loops) in &products {
            for s in &all {
                let (mut dst, mut src, mut loops) = (dst.clone(), src.clone(), loops.clone());
                dst.push(s.dst);
                if let Some(at) = axis.dim.and_then(|d| src.get_mut(d)) {
                    *at = s.src;
                }
                loops.extend(s.loops.iter().copied());
                next.push((dst, src, loops));
            }
        }
        products = next;
    }
    let piece = |(dst, src, loops): (Vec<usize>, Vec<usize>, Vec<Loop>)| Piece {
        loops,
        src: from.map_or(0, |s| s.address(&src)),
        dst: to.address(&dst),
    };
    Some(products.into_iter().map(piece).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resize_by_a_whole_number_is_one_run() {
        let of = |f: &dyn Fn(usize) -> usize, n: usize| {
            repeated(&Axis { dim: Some(0), pairs: (0..n).map(|i| (i, f(i))).collect() })
        };
        let run = Run { dst: 0, src: 0, count: 5, dst_step: 3, src_step: 1, repeat: 3 };
        assert_eq!(of(&|i| i / 3, 15), Some(run));
        assert_eq!(of(&|i| i / 3, 14), None);
        assert_eq!(of(&|i| i * 2 / 3, 12), None);
        assert_eq!(of(&|i| i, 4), None);
        assert_eq!(of(&|_| 7, 4), None);
    }

    #[test]
    fn runs_take_turns() {
        let of = |f: &dyn Fn(usize) -> usize, n: usize| {
            runs(&Axis { dim: Some(0), pairs: (0..n).map(|i| (i, f(i))).collect() })
        };
        assert_eq!(of(&|i| i, 9).len(), 1);
        assert_eq!(of(&|i| i / 2, 10).len(), 2);
        assert_eq!(of(&|i| i / 3, 9).len(), 3);
        assert_eq!(of(&|i| 5 - i, 5).len(), 5);
        for n in 1..20 {
            for k in 1..6 {
                let mut covered: Vec<(usize, usize)> = of(&|i| i * 7 / k, n)
                    .iter()
                    .flat_map(|r| {
                        (0..r.count).map(|i| (r.dst + i * r.dst_step, r.src + i * r.src_step)).collect::<Vec<_>>()
                    })
                    .collect();
                covered.sort_unstable();
                assert_eq!(covered, (0..n).map(|i| (i, i * 7 / k)).collect::<Vec<_>>());
            }
        }
    }
}
