//! One row for each ONNX operator, a family a file. To add an operator, add its row.

mod activation;
mod arithmetic;
mod control;
mod convolution;
mod create;
mod index;
mod logic;
mod matrix;
mod microsoft;
mod microsoft_quantized;
mod normalize;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod resize;
mod shape;

use super::table::Row;

/// All rows.
pub(crate) static ALL: &[&[Row]] = &[
    activation::ROWS,
    arithmetic::ROWS,
    control::ROWS,
    convolution::ROWS,
    create::ROWS,
    index::ROWS,
    logic::ROWS,
    matrix::ROWS,
    microsoft::ROWS,
    microsoft_quantized::ROWS,
    normalize::ROWS,
    pool::ROWS,
    quantize::ROWS,
    recurrent::ROWS,
    reduce::ROWS,
    resize::ROWS,
    shape::ROWS,
];
