//! Every op that the compiler knows, one line each.

use crate::elementwise;
use crate::family::*;
use mnnc_ir::OpDecl;
use mnnc_ir::decl::Sample;
use std::collections::HashMap;
use std::sync::OnceLock;

/// All declarations, by family.
pub static ALL: &[&OpDecl] = &[
    // arithmetic
    &arithmetic::ADD,
    &arithmetic::SUB,
    &arithmetic::MUL,
    &arithmetic::DIV,
    &arithmetic::MOD,
    &arithmetic::POW,
    &arithmetic::MAX,
    &arithmetic::MIN,
    &arithmetic::SUM,
    &arithmetic::MEAN,
    &arithmetic::BIT_SHIFT,
    // math
    &math::RECIPROCAL,
    &math::NEG,
    &math::ABS,
    &math::SIGN,
    &math::SQRT,
    &math::EXP,
    &math::LOG,
    &math::SIN,
    &math::COS,
    &math::TAN,
    &math::ASIN,
    &math::ACOS,
    &math::ATAN,
    &math::SINH,
    &math::COSH,
    &math::TANH,
    &math::ASINH,
    &math::ACOSH,
    &math::ATANH,
    &math::ERF,
    &math::FLOOR,
    &math::CEIL,
    &math::ROUND,
    // activation
    &activation::RELU,
    &activation::LEAKY_RELU,
    &activation::THRESHOLDED_RELU,
    &activation::ELU,
    &activation::SELU,
    &activation::CELU,
    &activation::SIGMOID,
    &activation::SWISH,
    &activation::HARD_SIGMOID,
    &activation::HARD_SWISH,
    &activation::SOFTPLUS,
    &activation::SOFTSIGN,
    &activation::MISH,
    &activation::GELU,
    &activation::SHRINK,
    // clip
    &clip::CLIP,
    &clip::PRELU,
    // logic
    &logic::NOT,
    &logic::BITWISE_NOT,
    &logic::IS_NAN,
    &logic::IS_INF,
    &logic::WHERE,
    &logic::EQUAL,
    &logic::LESS,
    &logic::LESS_OR_EQUAL,
    &logic::GREATER,
    &logic::GREATER_OR_EQUAL,
    &logic::AND,
    &logic::OR,
    &logic::XOR,
    &logic::BITWISE_AND,
    &logic::BITWISE_OR,
    &logic::BITWISE_XOR,
    // reshape
    &reshape::RESHAPE,
    &reshape::SQUEEZE,
    &reshape::UNSQUEEZE,
    &reshape::FLATTEN,
    &reshape::IDENTITY,
    &reshape::DROPOUT,
    // transpose
    &transpose::TRANSPOSE,
    &transpose::DEPTH_TO_SPACE,
    &transpose::SPACE_TO_DEPTH,
    // slice
    &slice::SLICE,
    &slice::SPLIT,
    &slice::CONCAT,
    // expand, pad
    &expand::EXPAND,
    &expand::TILE,
    &pad::PAD,
    // fill
    &fill::SHAPE,
    &fill::SIZE,
    &fill::CONSTANT_OF_SHAPE,
    &fill::RANGE,
    &fill::EYE_LIKE,
    // reduce
    &reduce::REDUCE_SUM,
    &reduce::REDUCE_MEAN,
    &reduce::REDUCE_MAX,
    &reduce::REDUCE_MIN,
    &reduce::REDUCE_PROD,
    &reduce::REDUCE_L1,
    &reduce::REDUCE_L2,
    &reduce::REDUCE_LOG_SUM,
    &reduce::REDUCE_LOG_SUM_EXP,
    &reduce::REDUCE_SUM_SQUARE,
    &reduce::ARG_MAX,
    &reduce::ARG_MIN,
    &reduce::CUM_SUM,
    &reduce::CUM_PROD,
    // window functions
    &window_function::HANN_WINDOW,
    &window_function::HAMMING_WINDOW,
    &window_function::BLACKMAN_WINDOW,
    // index
    &index::TRILU,
    &index::ONE_HOT,
    &index::REVERSE_SEQUENCE,
    &index::NON_ZERO,
    &index::COMPRESS,
    // cast
    &cast::CAST,
    // conv
    &conv::CONV,
    &conv_transpose::CONV_TRANSPOSE,
    // linear
    &linear::MATMUL,
    &linear::GEMM,
    &linear::EINSUM,
    // gather
    &gather::GATHER,
    &gather::GATHER_ELEMENTS,
    &gather::GATHER_ND,
    &gather::SCATTER_ELEMENTS,
    &gather::SCATTER_ND,
    // sort
    &top_k::TOP_K,
    &non_max_suppression::NON_MAX_SUPPRESSION,
    // recurrent
    &recurrent::RNN,
    &recurrent::GRU,
    &recurrent::LSTM,
    // attention
    &attention::ATTENTION,
    &attention::multi_head::MULTI_HEAD_ATTENTION,
    // quant
    &quant::QUANTIZE_LINEAR,
    &quant::DEQUANTIZE_LINEAR,
    &quant::DYNAMIC_QUANTIZE_LINEAR,
    &quant::DYNAMIC_QUANTIZE_ROWS,
    &quant::Q_LINEAR_CONV,
    &quant::CONV_INTEGER,
    &quant::CONV_TRANSPOSE_INTEGER,
    &quant::Q_LINEAR_MATMUL,
    &quant::MATMUL_INTEGER,
    // resize
    &resize::RESIZE,
    &resize::GRID_SAMPLE,
    // norm
    &norm::BATCH_NORMALIZATION,
    &norm::LAYER_NORMALIZATION,
    &norm::RMS_NORMALIZATION,
    &norm::INSTANCE_NORMALIZATION,
    &norm::GROUP_NORMALIZATION,
    &norm::LRN,
    &norm::LP_NORMALIZATION,
    &norm::MEAN_VARIANCE_NORMALIZATION,
    // softmax
    &softmax::SOFTMAX,
    &softmax::LOG_SOFTMAX,
    &softmax::HARDMAX,
    // pool
    &pool::MAX_POOL,
    &pool::AVERAGE_POOL,
    &pool::LP_POOL,
    &pool::GLOBAL_AVERAGE_POOL,
    &pool::GLOBAL_MAX_POOL,
    &pool::GLOBAL_LP_POOL,
    // structured
    &structured::IF,
    &structured::LOOP,
    &structured::SCAN,
    &structured::FUSED,
];

/// The op of this name.
pub fn lookup(name: &str) -> Option<&'static OpDecl> {
    static BY_NAME: OnceLock<HashMap<&'static str, &'static OpDecl>> = OnceLock::new();
    BY_NAME.get_or_init(|| ALL.iter().map(|&op| (op.name, op)).collect()).get(name).copied()
}

/// Random valid uses of an op: its own, or for an element-wise op that gives none, those that follow from its operands.
pub fn samples(op: &'static OpDecl, seed: u64) -> Vec<Sample> {
    let own = (op.samples)(seed);
    if own.is_empty() && op.is_elementwise() { elementwise::samples(op, seed) } else { own }
}
