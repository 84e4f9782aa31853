//! The place of the `.mnn` reader: a file back to a graph, to be optimised, quantised or compiled to native code.
//!
//! It will stand on [`mnnc_schema::mnn::root`], which verifies a file, and mirror [`crate::write`]: one rule an op.
//! Until then [`crate::summary`] shows what a file holds.
