//! What one implicit GEMM computes.

use super::border::Border;
use super::packing::Packing;
use crate::cost::Tiling;
use crate::families::sides::Side;
use crate::storage::Storage;
use mnnc_ir::DType;
use mnnc_ir::scalar::ScalarFn;
use mnnc_vector::Elem;

/// How numbers lie in memory. Floats are computed with as `f32`, integers as `i32`.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Number {
    /// As `f32`.
    #[default]
    F32,
    /// Rounded to bf16.
    Bf16,
    /// As `i32`.
    I32,
    /// Unsigned bytes.
    U8,
    /// Signed bytes.
    I8,
}

impl Number {
    /// Of a storage.
    pub fn of(s: &Storage) -> Number {
        Number::of_type(s.dtype)
    }

    /// Of a type that kernels compute with.
    pub fn of_type(d: DType) -> Number {
        match d {
            DType::BF16 => Number::Bf16,
            DType::I32 => Number::I32,
            DType::U8 => Number::U8,
            DType::I8 => Number::I8,
            _ => Number::F32,
        }
    }

    /// The element type of a load or store that converts; `None` where lanes lie as they are.
    pub fn converted(self) -> Option<Elem> {
        match self {
            Number::F32 | Number::I32 => None,
            Number::Bf16 => Some(Elem::Bf16),
            Number::U8 => Some(Elem::U8),
            Number::I8 => Some(Elem::I8),
        }
    }

    /// Bytes of one.
    pub fn bytes(self) -> usize {
        self.converted().map_or(4, Elem::bytes)
    }

    /// Channels that are one element of an implicit GEMM's reduction, 4 bytes wide.
    pub fn element(self) -> usize {
        4 / self.bytes()
    }
}

/// Byte strides of a tensor seen as images of rows of pixels of channel blocks.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Strides {
    /// From one image (batch element) to the next.
    pub image: usize,
    /// From one block of channels to the next.
    pub plane: usize,
    /// From one row to the next.
    pub row: usize,
    /// From one pixel to the next.
    pub pixel: usize,
    /// From the first vector of channels of a block to its second; 0 where a block is one vector.
    pub half: usize,
    /// What lies there.
    pub number: Number,
}

impl Strides {
    /// Whether the last block of so many channels is filled up with zeros, as blocks of bf16 are.
    pub fn fills_up(&self, channels: usize, lanes: usize) -> bool {
        let block = if self.half > 0 { 2 * lanes } else { lanes };
        self.number == Number::Bf16 && (channels == 0 || !channels.is_multiple_of(block))
    }

    /// Bytes to a vector of channels, counted from the first of a block.
    pub fn vector(&self, index: usize) -> usize {
        if self.half == 0 { index * self.plane } else { index / 2 * self.plane + index % 2 * self.half }
    }
}

/// Extents of the filter and how it moves.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    /// Rows, columns.
    pub kernel: [usize; 2],
    /// Output pixel to output pixel, in input pixels.
    pub stride: [usize; 2],
    /// Tap to tap, in input pixels.
    pub dilation: [usize; 2],
}

impl Window {
    /// A single tap.
    pub const POINT: Window = Window { kernel: [1, 1], stride: [1, 1], dilation: [1, 1] };
}

/// What sums start at.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Start {
    /// Zero; argument 2 of the kernel is unused.
    Zero,
    /// The bias.
    Bias,
    /// The sum of what each tap that is read adds. Argument 2 then holds prefix sums of these along the filter's rows and columns, one more each
    /// than there are taps: `[filter rows + 1][filter columns + 1][blocks]` vectors a panel.
    Taps,
}

/// A convolution or matrix product. The kernel's arguments are: input (at the first tap of the first output pixel), packed weights, bias (one
/// vector a block, and as [`Packing::bias_vectors`] says), each side operand, output. Its units are `images * row groups * panels`, panels innermost, or outermost
/// where the tiling says so.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    /// Batch elements.
    pub images: usize,
    /// What input and weights are: `f32`, bf16, or unsigned bytes times signed ones with sums in `i32`. With bf16 two channels are one
    /// element, with bytes four: `channels_in`, `first_in` and `block_in` count elements.
    pub number: Number,
    /// Input channels.
    pub channels_in: usize,
    /// Position of the first of them in its block; 0 but for groups that begin inside a block.
    pub first_in: usize,
    /// Channels that lie together, one element apart; the others follow at `input.plane`.
    pub block_in: usize,
    /// Input strides.
    pub input: Strides,
    /// Filter.
    pub window: Window,
    /// The border whose taps are left out, if any.
    pub border: Option<Border>,
    /// Output rows and columns.
    pub out: [usize; 2],
    /// Output strides; a plane is one vector of channels.
    pub output: Strides,
    /// Channel vectors in a panel.
    pub blocks: usize,
    /// Panels.
    pub panels: usize,
    /// How the output is cut into units and tiles.
    pub tiling: Tiling,
    /// Lanes of the last vector of a panel that are stored; all but in the tail of a row-major output.
    pub last_lanes: usize,
    /// Output channels from the first panel on; what lies beyond in a block of bf16 is stored as zero.
    pub channels_out: usize,
    /// Bytes from the weights of one image to those of the next: 0 but for products of two computed matrices.
    pub weights_image: usize,
    /// How the weights lie in memory.
    pub packing: Packing,
    /// What sums start at.
    pub start: Start,
    /// What happens to every sum. `Arg(0)` is the sum, `Arg(1 + i)` is `sides[i]`.
    pub epilogue: Option<ScalarFn>,
    /// Further operands of the epilogue.
    pub sides: Vec<Side>,
    /// Whether what the epilogue converts to integers is [in range](crate::families::epilogue::bounds::converts_in_range).
    pub bounded: bool,
}

impl Spec {
    /// Reduction length.
    pub fn depth(&self) -> usize {
        self.channels_in * self.window.kernel[0] * self.window.kernel[1]
    }

    /// Number of units of the kernel.
    pub fn units(&self) -> usize {
        self.images * self.tiling.groups(self.out[0]) * self.panels
    }
}
