//! One row for each type of op, a family a file. To add one, add its row.

mod activation;
mod arithmetic;
mod constant;
mod convolution;
mod index;
mod int8;
mod join;
mod matrix;
mod normalize;
mod pool;
mod reduce;
mod resize;
mod shape;
mod slice;

use super::table::Row;

/// All rows.
pub(crate) static ALL: &[&[Row]] = &[
    activation::ROWS,
    arithmetic::ROWS,
    constant::ROWS,
    convolution::ROWS,
    index::ROWS,
    int8::ROWS,
    join::ROWS,
    matrix::ROWS,
    normalize::ROWS,
    pool::ROWS,
    reduce::ROWS,
    resize::ROWS,
    shape::ROWS,
    slice::ROWS,
];
