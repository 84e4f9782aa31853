//! A dense convolution of a chain, of floats or of bytes.

use crate::families::conv::{self, Geometry, Kind};
use crate::families::conv_integer::Convolution;
use crate::families::dense::Dense;
use crate::families::igemm::spec::{Number, Window};
use crate::families::sides::PlacedEpilogue;
use crate::family::{View, Wish};
use crate::lowering::{Lowering, Placed};
use mnnc_ir::{DType, OpError};
use mnnc_vector::Target;

/// The convolution.
pub(super) enum DenseLayer {
    /// Of floats.
    Floats(Geometry),
    /// Of bytes, whose results are bytes.
    Bytes(Convolution),
}

impl DenseLayer {
    /// `None` if the node is no such layer, or has several groups.
    pub fn read(view: &View, target: &Target) -> Option<DenseLayer> {
        let bytes = || {
            let byte = view.graph.ty(view.outputs[0]).dtype == DType::U8;
            Convolution::read(view, target).filter(|_| byte).map(DenseLayer::Bytes)
        };
        let layer = Geometry::read(view, target).map(DenseLayer::Floats).or_else(bytes)?;
        let g = layer.geometry();
        (g.kind == Kind::Dense && g.shape.groups == 1).then_some(layer)
    }

    /// Shape and window.
    pub fn geometry(&self) -> &Geometry {
        match self {
            DenseLayer::Floats(g) => g,
            DenseLayer::Bytes(c) => &c.g,
        }
    }

    /// What it reads and writes.
    pub fn number(&self) -> Number {
        match self {
            DenseLayer::Floats(_) => Number::F32,
            DenseLayer::Bytes(_) => Number::U8,
        }
    }

    /// Whether it is a 1x1 convolution of all pixels.
    pub fn is_point(&self) -> bool {
        let g = self.geometry();
        g.window == Window::POINT && g.halo.is_empty()
    }

    /// Whether it reads what the node writes.
    pub fn reads(&self, view: &View) -> bool {
        let dtype = view.graph.ty(view.outputs[0]).dtype;
        dtype == if self.number() == Number::U8 { DType::U8 } else { DType::F32 }
    }

    /// How it reads its input.
    pub fn wish(&self, target: &Target) -> Wish {
        match self {
            DenseLayer::Floats(g) => g.wish(target),
            DenseLayer::Bytes(c) => c.wish(target),
        }
    }

    /// As a product of an input that lies there.
    ///
    /// # Errors
    /// If the weights are not constant.
    pub fn dense<'g>(
        &self,
        view: &View,
        input: &Placed,
        epilogue: PlacedEpilogue,
        lo: &Lowering<'g>,
    ) -> Result<Dense<'g>, OpError> {
        match self {
            DenseLayer::Floats(g) => conv::dense(view, g, input, epilogue, lo),
            DenseLayer::Bytes(c) => Ok(c.dense(input, epilogue, lo.target())),
        }
    }
}
