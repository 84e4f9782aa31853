//! The arena of packed weights: pieces in order of first use, equal ones shared, each aligned to [`ALIGN`] bytes.

use mnnc_ir::bytes::Bytes;
use std::collections::HashMap;

/// Alignment of every piece and of the whole arena: a cache line, and the widest vector.
pub const ALIGN: usize = 64;

/// Weights while they are collected. A piece that is a constant as it stands in the model is a view of the mapped file.
#[derive(Clone, Debug, Default)]
pub struct WeightArena {
    pieces: Vec<(usize, Bytes)>,
    by_hash: HashMap<[u8; 32], usize>,
    len: usize,
}

impl WeightArena {
    /// Offset of these bytes; equal bytes are stored once.
    pub fn add(&mut self, bytes: Bytes) -> usize {
        let hash = *blake3::hash(&bytes).as_bytes();
        if let Some(&at) = self.by_hash.get(&hash) {
            return at;
        }
        let at = self.len;
        self.by_hash.insert(hash, at);
        self.len += bytes.len().next_multiple_of(ALIGN);
        self.pieces.push((at, bytes));
        at
    }
    /// Size of the arena in bytes, a multiple of [`ALIGN`].
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether there are no weights.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Pieces with their offsets, in order.
    pub fn pieces(&self) -> impl Iterator<Item = (usize, &Bytes)> {
        self.pieces.iter().map(|(at, b)| (*at, b))
    }
    /// Everything in one aligned allocation. Each piece is dropped once it is copied, so that the peak is hardly more
    /// than one arena.
    pub fn finish(self) -> AlignedBytes {
        let mut lines: Vec<Line> = Vec::with_capacity(self.len / ALIGN);
        for (at, piece) in self.pieces {
            debug_assert_eq!(at, lines.len() * ALIGN);
            let (full, rest) = piece.as_chunks::<ALIGN>();
            lines.extend(full.iter().map(|c| Line(*c)));
            if !rest.is_empty() {
                let mut last = Line([0; ALIGN]);
                last.0[..rest.len()].copy_from_slice(rest);
                lines.push(last);
            }
        }
        AlignedBytes(lines)
    }
}

#[derive(Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; ALIGN]);

/// Bytes at an address that is a multiple of [`ALIGN`].
#[derive(Clone, Default)]
pub struct AlignedBytes(Vec<Line>);

impl AlignedBytes {
    /// Zeros, at least `bytes` of them.
    pub fn zeroed(bytes: usize) -> AlignedBytes {
        AlignedBytes(vec![Line([0; ALIGN]); bytes.div_ceil(ALIGN)])
    }
}

impl std::ops::Deref for AlignedBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl std::ops::DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

impl std::fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBytes({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_aligned_and_shared() {
        let mut a = WeightArena::default();
        assert_eq!(a.add(Bytes::from_vec(vec![1u8; 100])), 0);
        assert_eq!(a.add(Bytes::from_vec(vec![2u8; 64])), 128);
        assert_eq!(a.add(Bytes::from_vec(vec![1u8; 100])), 0);
        assert_eq!(a.len(), 192);
        let all = a.finish();
        assert_eq!(all.as_ptr() as usize % ALIGN, 0);
        assert_eq!(all[..100], [1; 100]);
        assert_eq!(all[100..128], [0; 28]);
        assert_eq!(all[128..], [2; 64]);
    }
}
