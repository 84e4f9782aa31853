//! Poolings.

use crate::onnx::table::{Row, plain};

pub(super) static ROWS: &[Row] = &[
    plain("AveragePool", "average_pool"),
    plain("GlobalAveragePool", "global_average_pool"),
    plain("GlobalLpPool", "global_lp_pool"),
    plain("GlobalMaxPool", "global_max_pool"),
    plain("LpPool", "lp_pool"),
    plain("MaxPool", "max_pool"),
];
