//! A copy as loops: every element of a tensor from one storage to another.

use crate::storage::Storage;

/// A loop of a copy, in bytes.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Loop {
    /// Iterations.
    pub extent: usize,
    /// Source bytes from one to the next.
    pub src: usize,
    /// Destination bytes from one to the next.
    pub dst: usize,
}

/// Loops without an order (the elements are independent), and where they start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Piece {
    /// Loops.
    pub loops: Vec<Loop>,
    /// First source byte.
    pub src: usize,
    /// First destination byte.
    pub dst: usize,
}

/// The copy of a tensor of shape `dims` whose dimension `d` is dimension `src_dims[d]` of the source and dimension `d` of the
/// destination. A dimension that is blocked on either side becomes two loops, and its last, partial block a piece of its
/// own. `None` if both sides are blocked along different dimensions or by different sizes.
pub fn pieces(dims: &[usize], from: &Storage, src_dims: &[usize], to: &Storage) -> Option<Vec<Piece>> {
    // Blocks of one channel are planes, as in a plain tensor.
    let blocks = |s: &Storage| s.block.filter(|&b| b > 1);
    let blocked_from = blocks(from).and_then(|b| Some((src_dims.iter().position(|&s| s == 1)?, b)));
    let blocked_to = blocks(to).map(|b| (1, b));
    let split = match (blocked_from, blocked_to) {
        (Some(a), Some(b)) if a != b => return None,
        (a, b) => a.or(b),
    };
    let mut whole = Piece { src: from.offset, dst: to.offset, ..Piece::default() };
    let plain = |d: usize| Loop { extent: dims[d], src: from.strides[src_dims[d]], dst: to.strides[d] };
    let Some((at, block)) = split else {
        whole.loops = (0..dims.len()).map(plain).collect();
        return Some(vec![whole]);
    };
    // (block to block, lane to lane) on each side.
    let element = to.dtype.size();
    let both = |blocked: bool, stride: usize| if blocked { (stride, element) } else { (block * stride, stride) };
    let src = both(blocked_from.is_some(), from.strides[src_dims[at]]);
    let dst = both(blocked_to.is_some(), to.strides[at]);
    whole.loops = (0..dims.len()).filter(|&d| d != at).map(plain).collect();
    let (full, rest) = (dims[at] / block, dims[at] % block);
    let mut out = Vec::new();
    if full > 0 {
        let mut piece = whole.clone();
        piece.loops.push(Loop { extent: full, src: src.0, dst: dst.0 });
        piece.loops.push(Loop { extent: block, src: src.1, dst: dst.1 });
        out.push(piece);
    }
    if rest > 0 {
        whole.src += full * src.0;
        whole.dst += full * dst.0;
        whole.loops.push(Loop { extent: rest, src: src.1, dst: dst.1 });
        out.push(whole);
    }
    Some(out)
}

impl Piece {
    /// The same copy with loops of one iteration dropped, loops in order of the destination's strides, and neighbours that
    /// walk on through memory merged.
    pub fn simplified(mut self) -> Piece {
        self.loops.retain(|l| l.extent != 1);
        self.loops.sort_by_key(|l| (std::cmp::Reverse(l.dst), std::cmp::Reverse(l.src)));
        let mut merged: Vec<Loop> = Vec::new();
        for inner in self.loops {
            match merged.last_mut() {
                Some(outer) if outer.src == inner.src * inner.extent && outer.dst == inner.dst * inner.extent => {
                    *outer = Loop { extent: outer.extent * inner.extent, ..inner };
                }
                _ => merged.push(inner),
            }
        }
        Piece { loops: merged, ..self }
    }
    /// The copy of bytes as one of words, if whole words lie together on both sides.
    pub fn in_words(&self) -> Option<Piece> {
        let mut words = self.clone();
        let l = words.loops.iter_mut().find(|l| l.src == 1 && l.dst == 1)?;
        *l = Loop { extent: l.extent / 4, src: 4, dst: 4 };
        let whole = self.loops.iter().any(|l| l.src == 1 && l.dst == 1 && l.extent.is_multiple_of(4));
        words.loops.retain(|l| l.extent != 1);
        whole.then_some(words)
    }
    /// Bytes from the start that the source and the destination of elements of so many bytes span.
    pub fn spans(&self, element: usize) -> (usize, usize) {
        let span = |f: fn(&Loop) -> usize| self.loops.iter().map(|l| (l.extent - 1) * f(l)).sum::<usize>() + element;
        (span(|l| l.src), span(|l| l.dst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Halo;
    use mnnc_ir::DType;

    /// Every element goes where the storages say.
    #[test]
    fn pieces_cover_every_element() {
        for c in [1, 3, 16, 20, 33] {
            let dims = [2, c, 3, 5];
            let plain = Storage::plain(DType::F32, &dims).unwrap();
            let halo = Halo { top: 1, left: 2, bottom: 0, right: 1, fill: 0 };
            let blocked = Storage::blocked(DType::F32, &dims, 16, halo).unwrap();
            let planes = Storage::blocked(DType::F32, &dims, 1, halo).unwrap();
            let interleaved = Storage::interleaved(DType::F32, &dims, 16, halo).unwrap();
            let forms = [&plain, &blocked, &planes, &interleaved];
            for (from, to) in forms.into_iter().flat_map(|a| forms.into_iter().map(move |b| (a, b))) {
                let mut seen = std::collections::BTreeMap::new();
                for p in pieces(&dims, from, &[0, 1, 2, 3], to).unwrap() {
                    let p = p.simplified();
                    let n: usize = p.loops.iter().map(|l| l.extent).product();
                    for flat in 0..n {
                        let (mut src, mut dst, mut rest) = (p.src, p.dst, flat);
                        for l in &p.loops {
                            src += rest % l.extent * l.src;
                            dst += rest % l.extent * l.dst;
                            rest /= l.extent;
                        }
                        assert!(seen.insert(dst, src).is_none());
                    }
                }
                assert_eq!(seen.len(), dims.iter().product::<usize>());
                for flat in 0..seen.len() {
                    let i = [flat / (c * 15), flat / 15 % c, flat / 5 % 3, flat % 5];
                    assert_eq!(seen[&to.address(&i)], from.address(&i));
                }
            }
        }
    }
}
