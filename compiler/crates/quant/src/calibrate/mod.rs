//! Activations in eight bits: what is observed of them, and the scale and zero point that follow.
//!
//! ```text
//! Extent (a sample each) ──▶ Histogram (all values) ──▶ Observed ──Spec──▶ QParams
//! ```
//!
//! Running a model is somebody else's business: observers are given tensors.

mod equalise;
mod histogram;
mod insert;
mod kl;
mod method;
mod params;
mod place;

pub use equalise::{Channels, Class, classes, equalise};
pub use histogram::{Extent, HALF, Histogram};
pub use insert::{expand_constants, insert, simulate, spread};
pub use method::{Chosen, Method, Observed, Spec};
pub use params::QParams;
pub use place::{Group, Placement, Style, is_called};
