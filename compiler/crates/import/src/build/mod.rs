//! A graph in the making, as every frontend needs it: nodes are typed as they are placed, what depends on constants only
//! is evaluated at once ([`place`]), and shapes that are known only in part are followed through the arithmetic on them
//! ([`partial`]), so that the shape computations of exporters vanish.

mod partial;
mod place;

use crate::Limits;
use mnnc_ir::{DType, Graph, OpDecl, OpError, RegionId, Tensor, ValueId};
use partial::Element;
use std::collections::HashMap;

/// The graph that an import builds up.
pub(crate) struct Builder {
    pub(crate) graph: Graph,
    pub(crate) limits: Limits,
    /// Where nodes are appended.
    pub(crate) region: RegionId,
    /// Integer values of which some elements are known, or known by name.
    partial: HashMap<ValueId, Vec<Element>>,
}

impl Builder {
    pub(crate) fn new(graph: Graph, limits: Limits) -> Builder {
        Builder { region: graph.main(), graph, limits, partial: HashMap::new() }
    }
}

/// The IR op of this name.
pub(crate) fn op(name: &str) -> Result<&'static OpDecl, OpError> {
    mnnc_ops::lookup(name).ok_or_else(|| OpError::unsupported("this operator is not supported yet"))
}

/// A rank-0 tensor of this element type.
pub(crate) fn scalar(x: f64, dtype: DType) -> Result<Tensor, OpError> {
    Ok(match dtype {
        DType::F32 => Tensor::scalar(x as f32),
        DType::F64 => Tensor::scalar(x),
        DType::F16 => Tensor::scalar(half::f16::from_f64(x)),
        DType::BF16 => Tensor::scalar(half::bf16::from_f64(x)),
        DType::I8 => Tensor::scalar(x as i8),
        DType::I16 => Tensor::scalar(x as i16),
        DType::I32 => Tensor::scalar(x as i32),
        DType::I64 => Tensor::scalar(x as i64),
        DType::U8 => Tensor::scalar(x as u8),
        DType::U16 => Tensor::scalar(x as u16),
        DType::U32 => Tensor::scalar(x as u32),
        DType::U64 => Tensor::scalar(x as u64),
        DType::Bool => Tensor::bools(vec![], vec![x != 0.0]),
    })
}
