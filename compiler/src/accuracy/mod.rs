//! How good a classifier is on pictures with known classes, and how far a compressed model strays from its original.

mod labels;
mod score;

pub use labels::Labels;
pub use score::{Accuracy, Score};
