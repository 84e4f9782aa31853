//! Calibration: a float model at work on sample data, and what is to be learnt from it.
//!
//! * [`Config`]: MNN's `quant.json`.
//! * [`Samples`]: pictures, arrays or folders of inputs, as tensors.
//! * [`Runner`] (made by [`Compiler::watch`](crate::Compiler::watch)): native code that shows intermediate values of all samples to observers, in
//!   bounded memory.
//!
//! The arithmetic of ranges is in `mnnc_quant::calibrate`.

mod config;
mod picture;
mod runner;
mod samples;
mod sequence;

pub use config::{Config, FeatureMethod, InputSpec, InputType, PixelFormat, WeightMethod};
pub use picture::Preparation;
pub use runner::{Progress, Runner};
pub use samples::Samples;
