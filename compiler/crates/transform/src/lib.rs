//! Graph passes and the pass manager.
//!
//! A [`pass::Pass`] is a row of the [`table`]: name, one line of documentation, options, function. Most passes are sets of
//! [`rules::Rule`]s: a rule looks at one node and proposes a checked patch ([`mnnc_ir::Patch`]); one driver applies them
//! until none fits. A [`pipeline`] is text, such as `fold,(simplify,cse)*,dce`; the optimisation levels are named texts
//! ([`levels`]). The [`manager`] runs a pipeline, verifies, prints and dumps between passes, and counts.
//!
//! | folder | passes |
//! |---|---|
//! | `fold/` | evaluate at compile time: constants, shape arithmetic |
//! | `clean/` | drop what does nothing: dead code, duplicates, identities, transposes |
//! | `rank/` | windows over one dimension (for native code) or three as windows over images |
//! | `quant/` | compressed weights stay compressed; in the end integers are computed with, or weights written out |
//! | `fuse/` | recover and merge: conv+BN, activations, norms, gemm; groups for native kernels |

pub mod clean;
pub mod compare;
pub mod fold;
pub mod fuse;
pub mod levels;
pub mod manager;
pub mod pass;
pub mod pattern;
pub mod pipeline;
pub mod quant;
pub mod rank;
pub mod rules;
pub mod table;

pub use levels::{OptLevel, Prefer, Target};
pub use manager::{Hooks, Manager, Report};
pub use pipeline::Pipeline;
