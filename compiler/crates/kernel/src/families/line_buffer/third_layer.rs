//! The 1x1 convolution at the end of a chain.

use super::part::{Part, bias_values, constants};
use crate::families::conv::Geometry;
use crate::families::dense::Dense;
use crate::families::igemm::operand::Bias;
use crate::families::igemm::operand::Weights;
use crate::families::igemm::spec::{Number, Window};
use crate::families::sides::{PlacedEpilogue, from_offset, image_strides};
use crate::family::View;
use crate::lowering::{Lowering, Placed};
use crate::schedule::{Access, Operand};
use mnnc_ir::OpError;

/// The 1x1 convolution.
pub(super) struct ThirdLayer<'a> {
    g: &'a Geometry,
    weights: Weights<'a>,
    bias: Vec<f32>,
    epilogue: PlacedEpilogue,
    name: String,
}

impl<'a> ThirdLayer<'a> {
    pub fn new(
        g: &'a Geometry,
        view: &View,
        epilogue: PlacedEpilogue,
        lo: &Lowering<'a>,
    ) -> Result<ThirdLayer<'a>, OpError> {
        let (weights, bias) = constants(view, lo)?;
        let bias = bias_values(bias, g.shape.outputs);
        Ok(ThirdLayer { g, weights, bias, epilogue, name: lo.graph().node(view.node).name.clone() })
    }

    /// Adds the steps that make, from a strip of the second layer's output, that part of `to` which begins at row and column `at`.
    pub fn step(&self, strip: &Placed, at: [usize; 2], to: &Placed, lo: &mut Lowering) -> Result<(), OpError> {
        let shape = &self.g.shape;
        let from = image_strides(&strip.storage, &strip.storage.dims);
        let output = Part::of(to, at);
        let mut epilogue = self.epilogue.clone();
        for (side, operand) in epilogue.sides.iter().zip(&mut epilogue.operands) {
            *operand = from_offset(operand, at[0] * side.strides.row + at[1] * side.strides.pixel);
        }
        let [.., rows, cols] = strip.storage.dims[..] else {
            return Err(OpError::invalid("a strip is not of rank 4"));
        };
        let dense = Dense {
            family: "conv",
            images: shape.batch,
            groups: 1,
            inputs: shape.inputs,
            outputs: shape.outputs,
            window: Window::POINT,
            out: [rows, cols],
            number: Number::F32,
            block_in: strip.storage.block.unwrap_or(1),
            input: Operand { access: Access::Read, ..strip.read() },
            input_strides: from,
            output: output.operand,
            output_strides: output.strides,
            weights: &self.weights,
            bias: Bias::F32(&self.bias),
            terms: shape.inputs,
            epilogue: &epilogue,
        };
        dense.lower(lo, &self.name)
    }
}
