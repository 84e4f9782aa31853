//! Shared, immutable byte ranges: constants point into the mapped model file and are never copied
//! by a clone.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// A cheap-to-clone view of bytes that something else owns: a mapped file, a decoded message, a vector.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

/// Owns typed elements and shows them as bytes, so that a vector's alignment survives.
struct Typed<T>(Vec<T>);

impl<T: bytemuck::NoUninit> AsRef<[u8]> for Typed<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl Bytes {
    /// All bytes of `owner`.
    pub fn from_owner(owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Bytes {
        let len = (*owner).as_ref().len();
        Bytes { owner, range: 0..len }
    }
    /// Takes over a vector of plain elements (little endian as on the host).
    pub fn from_vec<T: bytemuck::NoUninit + Send + Sync>(v: Vec<T>) -> Bytes {
        Bytes::from_owner(Arc::new(Typed(v)))
    }
    /// A part of this range, or `None` if it reaches outside.
    pub fn slice(&self, range: Range<usize>) -> Option<Bytes> {
        if range.start > range.end || range.end > self.range.len() {
            return None;
        }
        let start = self.range.start + range.start;
        Some(Bytes { owner: self.owner.clone(), range: start..start + range.len() })
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.range.len())
    }
}
