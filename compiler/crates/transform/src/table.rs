//! Every pass, one line each.

use crate::pass::Pass;
use crate::{clean, fold, fuse};

/// All passes.
pub static PASSES: &[Pass] = &[
    // fold
    fold::constants::PASS,
    // clean
    clean::dce::PASS,
    clean::cse::PASS,
    // fuse
    fuse::group::PASS,
];

/// The pass of this name.
pub fn find(name: &str) -> Option<&'static Pass> {
    PASSES.iter().find(|p| p.name == name)
}
