//! Compression of constant weights: which ones, into how many bits, and how the integers are chosen.
//!
//! ```text
//! sites(graph) ──▶ Policy (a Scheme for every site; JSON) ──▶ compress(graph, policy) ──▶ graph in QDQ form, Report
//! ```
//!
//! A [`Site`] is a constant operand of a convolution or product. Its weights are seen as `[outputs][inputs][taps]`, whatever the op's own
//! order of dimensions; a *row* is what shares one scale: an output channel, or a block of its input channels with all their taps. So
//! integers are chosen ([`methods`]) without knowledge of ops, and stored ([`compress`]) without knowledge of methods.
//!
//! In the graph, scales of blocks are repeated over the taps, since `dequantize_linear` has one for each index of the dimensions that are not
//! blocked. Storage keeps one, so sizes count one. Scales that are stored in half precision are `f32` constants that an `f16` holds exactly.

pub mod calibrated;
pub mod compress;
pub mod constants;
pub mod defaults;
pub mod methods;
pub mod mnn;
pub mod policy;
pub mod report;
pub mod rows;
pub mod site;

pub use calibrated::{Calibrated, Effort, Watch};
pub use compress::{Quantiser, compress, compress_with};
pub use constants::halve_constants;
pub use defaults::Options;
pub use policy::{Entry, Method, Policy, ScaleType, Scheme};
pub use report::{Layer, Report};
pub use rows::{Quantised, Rows};
pub use site::{Kind, Site, sites};
