//! Memory of weights and workspaces: aligned for vectors and, where there is much of it, in large pages.
//!
//! Kernels walk through many channel planes at once, more of them than the processor remembers translations of small pages for.
//! Measured on Linux: resnet50 and mobilenet_v2 run in 10 to 20 % less time in pages of 2 MiB.

use memmap2::MmapMut;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// Alignment of every piece of weights and of every buffer: a cache line, and the widest vector.
pub const ALIGN: usize = 64;

/// A large page of x86-64, and of AArch64 with small ones of 4 KiB.
const LARGE_PAGE: usize = 2 << 20;

/// [`ALIGN`] bytes that lie together.
#[derive(Copy, Clone, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; ALIGN]);

/// Bytes at an address that is a multiple of [`ALIGN`].
pub struct AlignedBytes(Store);

enum Store {
    Lines(Vec<Line>),
    /// `len` bytes from the first large page in the mapping on.
    Pages {
        map: MmapMut,
        at: usize,
        len: usize,
    },
}

impl AlignedBytes {
    /// Zeros, at least `bytes` of them.
    pub fn zeroed(bytes: usize) -> AlignedBytes {
        vec![Line([0; ALIGN]); bytes.div_ceil(ALIGN)].into()
    }

    /// Zeros, at least `bytes` of them, in large pages if they fill at least half of one and the system has them. For memory that is
    /// used again and again: such pages take long to make.
    pub fn in_large_pages(bytes: usize) -> AlignedBytes {
        AlignedBytes::in_large_pages_if_there(bytes).unwrap_or_else(|| AlignedBytes::zeroed(bytes))
    }

    /// As [`in_large_pages`](Self::in_large_pages); `None` if there is no such amount of memory.
    pub fn in_large_pages_if_there(bytes: usize) -> Option<AlignedBytes> {
        if bytes < LARGE_PAGE / 2 { Some(AlignedBytes::zeroed(bytes)) } else { large_pages(bytes) }
    }

    /// Asks the system to put the bytes, as far as they fill large pages, into such. It costs a copy of them, and nothing depends
    /// on it.
    pub fn gather_in_large_pages(&self) {
        #[cfg(target_os = "linux")]
        {
            let start = (self.as_ptr() as usize).next_multiple_of(LARGE_PAGE);
            let end = (self.as_ptr() as usize + self.len()) / LARGE_PAGE * LARGE_PAGE;
            if start < end {
                let first = self.as_ptr().wrapping_add(start - self.as_ptr() as usize).cast_mut().cast();
                for advice in [libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE] {
                    // SAFETY: the range lies in this allocation, and neither advice changes what it holds.
                    unsafe {
                        libc::madvise(first, end - start, advice);
                    }
                }
            }
        }
    }
}

/// `None` if the system refuses.
fn large_pages(bytes: usize) -> Option<AlignedBytes> {
    let len = bytes.next_multiple_of(ALIGN);
    let whole = len.checked_next_multiple_of(LARGE_PAGE)?;
    let map = MmapMut::map_anon(whole.checked_add(LARGE_PAGE)?).ok()?;
    let at = (map.as_ptr() as usize).next_multiple_of(LARGE_PAGE) - map.as_ptr() as usize;
    // Without large pages it is still memory.
    #[cfg(target_os = "linux")]
    let _ = map.advise_range(memmap2::Advice::HugePage, at, whole);
    Some(AlignedBytes(Store::Pages { map, at, len }))
}

impl From<Vec<Line>> for AlignedBytes {
    fn from(lines: Vec<Line>) -> Self {
        AlignedBytes(Store::Lines(lines))
    }
}

impl Default for AlignedBytes {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl Clone for AlignedBytes {
    fn clone(&self) -> Self {
        let mut copy = match &self.0 {
            Store::Lines(lines) => return lines.clone().into(),
            Store::Pages { len, .. } => AlignedBytes::in_large_pages(*len),
        };
        copy.copy_from_slice(self);
        copy
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Store::Lines(lines) => bytemuck::cast_slice(lines),
            Store::Pages { map, at, len } => &map[*at..*at + *len],
        }
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Store::Lines(lines) => bytemuck::cast_slice_mut(lines),
            Store::Pages { map, at, len } => &mut map[*at..*at + *len],
        }
    }
}

impl fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBytes({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pages_hold_what_was_asked_for() {
        for bytes in [0, 1, 100, LARGE_PAGE / 2, LARGE_PAGE + 1, 3 * LARGE_PAGE] {
            let mut m = AlignedBytes::in_large_pages(bytes);
            assert_eq!((m.len(), m.as_ptr() as usize % ALIGN), (bytes.next_multiple_of(ALIGN), 0));
            assert!(m.iter().all(|&b| b == 0));
            m.fill(7);
            assert!(m.clone()[..] == m[..]);
            if bytes >= LARGE_PAGE {
                assert_eq!(m.as_ptr() as usize % LARGE_PAGE, 0);
            }
        }
    }

    #[test]
    fn gathering_changes_nothing() {
        let mut m = AlignedBytes::zeroed(3 * LARGE_PAGE);
        m.iter_mut().enumerate().for_each(|(i, b)| *b = i as u8);
        m.gather_in_large_pages();
        assert!(m.iter().enumerate().all(|(i, &b)| b == i as u8));
        AlignedBytes::default().gather_in_large_pages();
    }
}
