//! Copies between images of bf16 whose channels move in pairs: two of them are a word, and words are what the kernels copy.

use super::moves::{Axis, From, Move};
use crate::storage::Storage;
use mnnc_ir::DType;

/// The image as words of two channels, its last block filled up.
pub fn words(s: &Storage) -> Option<Storage> {
    let block = s.block.filter(|b| s.dtype == DType::BF16 && s.dims.len() == 4 && b.is_multiple_of(2))?;
    let mut dims = s.dims.clone();
    dims[1] = dims[1].next_multiple_of(block) / 2;
    Some(Storage { dtype: DType::U32, dims, block: Some(block / 2), ..s.clone() })
}

/// The moves of the channels of such an image, as moves of words. What fills up the last block becomes zero. `None` if one moves a single channel, or
/// something else in place of channels; a constant must be zero.
pub fn moves(moves: &[Move], dims: &[usize], block: usize) -> Option<Vec<Move>> {
    let &[images, channels, rows, cols] = dims else { return None };
    let mut out: Vec<Move> = moves.iter().map(pairs).collect::<Option<_>>()?;
    if !channels.is_multiple_of(2) {
        return None;
    }
    let end = channels.next_multiple_of(block) / 2;
    if channels / 2 < end {
        let still = |positions: std::ops::Range<usize>| Axis { dim: None, pairs: positions.map(|i| (i, 0)).collect() };
        let axes = vec![still(0..images), still(channels / 2..end), still(0..rows), still(0..cols)];
        out.push(Move { from: From::Constant(0.0), axes, base: Vec::new() });
    }
    Some(out)
}

/// A move of pairs of channels.
fn pairs(m: &Move) -> Option<Move> {
    let source = match m.from {
        From::Input(_) => Some(1),
        From::Constant(0.0) => None,
        From::Constant(_) => return None,
    };
    let mut axes = m.axes.clone();
    let channels = axes.get_mut(1).filter(|a| source.is_none() || a.dim == source)?;
    let even = |w: &[(usize, usize)]| match *w {
        [(dst, src), next] if dst.is_multiple_of(2) => match source {
            Some(_) => (src.is_multiple_of(2) && next == (dst + 1, src + 1)).then_some((dst / 2, src / 2)),
            None => (next.0 == dst + 1).then_some((dst / 2, 0)),
        },
        _ => None,
    };
    channels.pairs = channels.pairs.chunks(2).map(even).collect::<Option<_>>()?;
    let elsewhere = axes.iter().enumerate().any(|(d, a)| d != 1 && source.is_some() && a.dim == Some(1));
    (axes.len() == 4 && !elsewhere).then_some(Move { axes, ..m.clone() })
}
