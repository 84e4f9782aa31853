//! Windows over one dimension, as windows over images.

pub mod row;
