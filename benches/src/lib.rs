//! Single layers as models, for `benches/kernels`. (`benches/run`, which compares whole networks with other engines, is in Python.)

mod catalogue;
mod graph;

pub use catalogue::{Layer, catalogue};
