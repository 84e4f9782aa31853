//! Convolutions.

use crate::onnx::table::{Row, plain};

pub(super) static ROWS: &[Row] =
    &[plain("Conv", "conv"), plain("ConvInteger", "conv_integer"), plain("ConvTranspose", "conv_transpose")];
