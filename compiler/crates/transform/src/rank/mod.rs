//! Windows over one or three dimensions, as windows over images.

pub mod row;
pub mod volume;
