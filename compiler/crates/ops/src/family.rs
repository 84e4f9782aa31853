//! The declarations, one family a file.

pub mod activation;
pub mod conv;
pub mod linear;
pub mod pool;
pub mod structured;
