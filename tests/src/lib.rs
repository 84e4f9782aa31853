//! What the tests of the whole product share.

mod python;
pub mod shared;

pub use python::python;
