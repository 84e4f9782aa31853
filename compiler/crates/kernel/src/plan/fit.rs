//! Best fit in several orders, each improved by placing first what reached furthest.

use super::Lifetime;

/// Beyond this many buffers the quadratic search is limited to one order.
const MANY: usize = 5000;

/// Offsets, in the order of the lifetimes, and the workspace that they need.
#[derive(Clone, Debug, Default)]
pub(super) struct Placement {
    pub offsets: Vec<usize>,
    pub size: usize,
}

/// The smallest placement that the orders give; stops early at the bound.
pub(super) fn best(lives: &[Lifetime], bound: usize) -> Placement {
    let span = |l: &Lifetime| (l.last - l.first + 1) as u128;
    type Key<'a> = Box<dyn Fn(&Lifetime) -> (u128, usize) + 'a>;
    let keys: [Key; 5] = [
        Box::new(|l| (u128::MAX - l.bytes as u128, l.first)),
        Box::new(|l| (u128::MAX - l.bytes as u128 * span(l), l.first)),
        Box::new(|l| (u128::MAX - span(l), usize::MAX - l.bytes)),
        Box::new(|l| (l.first as u128, usize::MAX - l.bytes)),
        Box::new(|l| (u128::MAX - l.last as u128, usize::MAX - l.bytes)),
    ];
    let mut best: Option<Placement> = None;
    for key in keys.iter().take(if lives.len() > MANY { 1 } else { keys.len() }) {
        let mut order: Vec<usize> = (0..lives.len()).collect();
        order.sort_by_key(|&i| (key(&lives[i]), i));
        let p = repaired(lives, place(lives, &order), order, bound);
        if best.as_ref().is_none_or(|b| p.size < b.size) {
            best = Some(p);
        }
        if best.as_ref().is_some_and(|b| b.size == bound) {
            break;
        }
    }
    best.unwrap_or_default()
}

/// Most rounds of [`repaired`].
const ROUNDS: usize = 60;
/// Pairs of buffers looked at in all rounds together: some tens of milliseconds.
const EFFORT: usize = 20_000_000;

/// The best placement that is found by placing first, again and again, what reached furthest.
fn repaired(lives: &[Lifetime], first: Placement, mut order: Vec<usize>, bound: usize) -> Placement {
    let rounds = ROUNDS.min(EFFORT / (lives.len() * lives.len()).max(1));
    let mut best = first.clone();
    let mut last = first;
    for _ in 0..rounds {
        if best.size == bound {
            break;
        }
        let furthest = |i: &usize| last.offsets[*i] + lives[*i].bytes == last.size;
        let (front, rest): (Vec<usize>, Vec<usize>) = order.iter().partition(|i| furthest(i));
        order = front.into_iter().chain(rest).collect();
        last = place(lives, &order);
        if last.size < best.size {
            best = last.clone();
        }
    }
    best
}

/// Puts each buffer, in this order, into the tightest gap between those placed before it that live at the same time.
fn place(lives: &[Lifetime], order: &[usize]) -> Placement {
    let mut offsets = vec![0; lives.len()];
    // Placed buffers by offset.
    let mut placed: Vec<usize> = Vec::with_capacity(order.len());
    let mut size = 0;
    for &i in order {
        let mut end = 0;
        let mut tightest: Option<(usize, usize)> = None;
        for &j in placed.iter().filter(|&&j| lives[j].overlaps(&lives[i])) {
            let at = offsets[j];
            if at >= end + lives[i].bytes && tightest.is_none_or(|(waste, _)| at - end - lives[i].bytes < waste) {
                tightest = Some((at - end - lives[i].bytes, end));
            }
            end = end.max(at + lives[j].bytes);
        }
        let at = tightest.map_or(end, |(_, at)| at);
        offsets[i] = at;
        size = size.max(at + lives[i].bytes);
        let k = placed.partition_point(|&j| offsets[j] < at);
        placed.insert(k, i);
    }
    Placement { offsets, size }
}
