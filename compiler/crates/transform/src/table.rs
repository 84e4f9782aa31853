//! Every pass, one line each.

use crate::pass::Pass;
use crate::{clean, fold, fuse, quant, rank};

/// All passes.
pub static PASSES: &[Pass] = &[
    // fold
    fold::constants::PASS,
    fold::shapes::PASS,
    // clean
    clean::dce::PASS,
    clean::cse::PASS,
    clean::simplify::PASS,
    clean::transpose::PASS,
    clean::pad::PASS,
    clean::blocks::PASS,
    clean::bn::PASS,
    clean::gather::PASS,
    clean::point::PASS,
    // rank
    rank::row::PASS,
    rank::volume::PASS,
    // quant
    quant::moved::PASS,
    quant::lower::PASS,
    quant::spell::PASS,
    quant::expand::PASS,
    quant::repeat::PASS,
    // fuse
    fuse::conv::PASS,
    fuse::activation::PASS,
    fuse::norm::PASS,
    fuse::pool::PASS,
    fuse::strength::PASS,
    fuse::attention::PASS,
    fuse::sink::PASS,
    fuse::group::PASS,
    // quant
    quant::dynamic::PASS,
];

/// The pass of this name.
pub fn find(name: &str) -> Option<&'static Pass> {
    PASSES.iter().find(|p| p.name == name)
}
