//! The type of a graph value: element type, shape, memory layout, quantisation.

use crate::dim::{Dim, SymTable};
use crate::dtype::DType;
use smallvec::SmallVec;
use std::sync::Arc;

/// A shape: outermost dimension first. Rank 0 is a scalar.
pub type Dims = SmallVec<[Dim; 6]>;

/// How the elements of a tensor lie in memory. Dims are always the logical ones.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Layout {
    /// Dense, row-major.
    #[default]
    Plain,
    /// `NCHW{block}c`: dimension 1 is split into blocks, the block index stands where the dimension
    /// stood and the position in the block is innermost: `[N][C/block][spatial…][block]`. The last block is
    /// padded; what the padding holds is unspecified.
    Blocked {
        /// Elements a block, a power of two.
        block: u8,
    },
}

/// Affine quantisation of an integer tensor: `real = scale * (stored - zero_point)`, as ONNX
/// `DequantizeLinear` and MLIR's `quant.uniform` define it.
#[derive(Clone, PartialEq, Debug)]
pub struct Quant {
    /// One scale, or one for each index of `axis` (times blocks).
    pub scales: Vec<f32>,
    /// As many zero points as scales, or none when all are zero.
    pub zero_points: Vec<i32>,
    /// The dimension that the scales run along; `None` for per-tensor.
    pub axis: Option<usize>,
    /// Elements along `axis` that share one scale; `None` for one.
    pub block: Option<usize>,
}

/// The type of a value.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorType {
    /// Element (storage) type.
    pub dtype: DType,
    /// Logical shape.
    pub dims: Dims,
    /// Memory layout.
    pub layout: Layout,
    /// Quantisation, if the stored integers stand for reals.
    pub quant: Option<Arc<Quant>>,
}

impl TensorType {
    /// A plain, unquantised type.
    pub fn new<D: Into<Dim>>(dtype: DType, dims: impl IntoIterator<Item = D>) -> TensorType {
        TensorType { dtype, dims: dims.into_iter().map(Into::into).collect(), layout: Layout::Plain, quant: None }
    }
    /// The same type with another shape.
    pub fn with_dims<D: Into<Dim>>(&self, dims: impl IntoIterator<Item = D>) -> TensorType {
        TensorType { dims: dims.into_iter().map(Into::into).collect(), ..self.clone() }
    }
    /// The same type with another element type, unquantised.
    pub fn with_dtype(&self, dtype: DType) -> TensorType {
        TensorType { dtype, quant: None, ..self.clone() }
    }
    /// The same type in another layout.
    pub fn with_layout(&self, layout: Layout) -> TensorType {
        TensorType { layout, ..self.clone() }
    }
    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }
    /// The shape, if all of it is known and fits `usize`.
    pub fn static_dims(&self) -> Option<Vec<usize>> {
        self.dims.iter().map(|d| d.known().and_then(|n| usize::try_from(n).ok())).collect()
    }
    /// Number of elements, if known and not overflowing.
    pub fn num_elements(&self) -> Option<usize> {
        self.static_dims()?.iter().try_fold(1usize, |a, &d| a.checked_mul(d))
    }
    /// Size of the dense plain form in bytes, if known and not overflowing.
    pub fn num_bytes(&self) -> Option<usize> {
        self.num_elements()?.checked_mul(self.dtype.size())
    }
    /// Text such as `f32[1x3x224x224]`, `f32[batch, 10]`, `f32[1x32x7x7; c16]`, `u8[4; scale [0.5], zero [3]]`. The
    /// graph parser reads it back.
    pub fn show(&self, syms: &SymTable) -> String {
        let symbolic = self.dims.iter().any(|d| d.known().is_none());
        let dims: Vec<String> = self.dims.iter().map(|&d| syms.show(d)).collect();
        let mut text = format!("{}[{}", self.dtype, dims.join(if symbolic { ", " } else { "x" }));
        if let Layout::Blocked { block } = self.layout {
            text += &format!("; c{block}");
        }
        if let Some(q) = &self.quant {
            text += &format!("; scale {}", list(&q.scales));
            if !q.zero_points.is_empty() {
                text += &format!(", zero {}", list(&q.zero_points));
            }
            if let Some(axis) = q.axis {
                text += &format!(", axis {axis}");
            }
            if let Some(block) = q.block {
                text += &format!(", block {block}");
            }
        }
        text.push(']');
        text
    }
}

fn list<T: std::fmt::Debug>(items: &[T]) -> String {
    format!("{items:?}")
}
