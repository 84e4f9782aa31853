//! Schedules found by measurement: `mnnc tune` times candidates inside the model, on this machine, and keeps the best in a file that
//! compilations read. Without a file, the cost model alone decides, and output does not depend on the machine's mood.

mod check;
mod file;
mod measure;
mod search;

pub use check::{Agreement, Row};
pub use file::TuneFile;
pub use search::{Gain, Tuning};
