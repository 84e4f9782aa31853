//! The arena of packed weights: pieces in order of first use, equal ones shared, each aligned to [`ALIGN`] bytes.

use crate::memory::Line;
use std::collections::HashMap;

pub use crate::memory::{ALIGN, AlignedBytes};

/// Weights while they are collected, copied into one growing allocation at once: a packed piece lives twice only while it is
/// added, so that the peak is hardly more than the arena.
#[derive(Clone, Debug, Default)]
pub struct WeightArena {
    lines: Vec<Line>,
    pieces: Vec<(usize, usize)>,
    by_hash: HashMap<[u8; 32], usize>,
}

impl WeightArena {
    /// Offset of these bytes; equal bytes are stored once.
    pub fn add(&mut self, bytes: &[u8]) -> usize {
        let hash = *blake3::hash(bytes).as_bytes();
        if let Some(&at) = self.by_hash.get(&hash) {
            return at;
        }
        let at = self.len();
        self.by_hash.insert(hash, at);
        self.pieces.push((at, bytes.len()));
        let (full, rest) = bytes.as_chunks::<ALIGN>();
        self.lines.extend(full.iter().map(|c| Line(*c)));
        if !rest.is_empty() {
            let mut last = Line([0; ALIGN]);
            last.0[..rest.len()].copy_from_slice(rest);
            self.lines.push(last);
        }
        at
    }
    /// Size of the arena in bytes, a multiple of [`ALIGN`].
    pub fn len(&self) -> usize {
        self.lines.len() * ALIGN
    }
    /// Whether there are no weights.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
    /// Pieces with their offsets, in order.
    pub fn pieces(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let all: &[u8] = bytemuck::cast_slice(&self.lines);
        self.pieces.iter().map(move |&(at, len)| (at, &all[at..at + len]))
    }
    /// Everything in one aligned allocation.
    pub fn finish(self) -> AlignedBytes {
        AlignedBytes::from(self.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_aligned_and_shared() {
        let mut a = WeightArena::default();
        assert_eq!(a.add(&[1u8; 100]), 0);
        assert_eq!(a.add(&[2u8; 64]), 128);
        assert_eq!(a.add(&[1u8; 100]), 0);
        assert_eq!(a.len(), 192);
        let all = a.finish();
        assert_eq!(all.as_ptr() as usize % ALIGN, 0);
        assert_eq!(all[..100], [1; 100]);
        assert_eq!(all[100..128], [0; 28]);
        assert_eq!(all[128..], [2; 64]);
    }
}
