//! Pooling of images: sliding windows through [`crate::families::window`], whole planes by one pass.

mod global;
mod sliding;

pub use global::GlobalPool;
pub(super) use global::PoolTail;
pub use sliding::Pool;
pub(super) use sliding::{Geometry, Kind};
