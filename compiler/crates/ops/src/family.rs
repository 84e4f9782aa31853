//! The declarations, one family a file.

pub mod activation;
