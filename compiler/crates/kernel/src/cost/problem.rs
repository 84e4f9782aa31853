//! What there is to schedule.

use crate::families::igemm::border::Border;
use crate::families::igemm::packing::Packing;
use crate::families::igemm::spec::{Number, Window};
use crate::families::winograd::Size;
use mnnc_vector::Target;
use std::fmt;

/// A product to be scheduled: a convolution as implicit GEMM, or one of matrices (one row of pixels, a single tap).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Problem {
    /// What is multiplied.
    pub number: Number,
    /// Images, or products of a batch.
    pub images: usize,
    /// Groups of channels that do not mix.
    pub groups: usize,
    /// Input channels of a group, or the length of the sums.
    pub inputs: usize,
    /// Output channels of a group.
    pub outputs: usize,
    /// Filter.
    pub window: Window,
    /// The border whose taps are left out, if any.
    pub border: Option<Border>,
    /// Output rows and columns.
    pub out: [usize; 2],
    /// Whether each image is multiplied with weights of its own.
    pub own_weights: bool,
    /// Bytes from the input of one output pixel to that of the next in a row.
    pub apart: usize,
    /// How the weights lie.
    pub packing: Packing,
}

impl Problem {
    /// A product of matrices: `rows x depth` times `depth x cols`, row-major.
    pub fn matrices(images: usize, rows: usize, depth: usize, cols: usize) -> Problem {
        Problem {
            number: Number::F32,
            images,
            groups: 1,
            inputs: depth,
            outputs: cols,
            window: Window::POINT,
            border: None,
            out: [1, rows],
            own_weights: images > 1,
            apart: 4 * depth,
            packing: Packing::WHOLE,
        }
    }

    /// The same with bytes, four to an element.
    pub fn of_bytes(self) -> Problem {
        Problem { number: Number::U8, apart: self.apart / Number::U8.element(), ..self }
    }

    /// Output pixels of an image.
    pub fn pixels(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// Input channels as elements of 4 bytes.
    pub fn elements(&self) -> usize {
        self.inputs.div_ceil(self.number.element())
    }

    /// Length of the sums, in elements of 4 bytes.
    pub fn depth(&self) -> usize {
        self.elements() * self.window.kernel[0] * self.window.kernel[1]
    }

    /// Bytes of all weights.
    pub fn weight_bytes(&self) -> f64 {
        let sets = if self.own_weights { self.images } else { 1 };
        self.packing.bytes() * (self.depth() * self.outputs * self.groups * sets) as f64
    }

    /// Multiplications and additions of the definition.
    pub fn flops(&self) -> f64 {
        let taps = self.window.kernel[0] * self.window.kernel[1];
        2.0 * (self.images * self.groups * self.outputs * self.pixels()) as f64 * (self.inputs * taps) as f64
    }

    /// Whether tiles can be transformed: a dense convolution of stride 1, dilated or not, with channels enough to fill vectors.
    pub fn is_winograd(&self, target: &Target) -> bool {
        self.number == Number::F32
            && self.packing == Packing::WHOLE
            && self.window.stride == [1, 1]
            && !Size::all(self.window.kernel).is_empty()
            && self.groups == 1
            && self.inputs >= 2 * target.lanes()
            && self.outputs >= target.lanes()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kh, kw] = self.window.kernel;
        if self.number == Number::U8 {
            f.write_str("u8 ")?;
        }
        write!(f, "{kh}x{kw} {}->{} at {}x{}", self.inputs, self.outputs, self.out[0], self.out[1])?;
        let pair = |f: &mut fmt::Formatter<'_>, what: &str, [y, x]: [usize; 2]| match (y, x) {
            (1, 1) => Ok(()),
            (y, x) if y == x => write!(f, ", {what} {y}"),
            (y, x) => write!(f, ", {what} {y}x{x}"),
        };
        pair(f, "stride", self.window.stride)?;
        pair(f, "dilation", self.window.dilation)?;
        if self.groups > 1 {
            write!(f, ", {} groups", self.groups)?;
        }
        if self.images > 1 {
            write!(f, ", {} images", self.images)?;
        }
        if self.packing != Packing::WHOLE {
            write!(f, ", weights in {}", self.packing)?;
        }
        Ok(())
    }
}
