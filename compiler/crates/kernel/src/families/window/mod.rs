//! Windows that slide over each channel by itself, or over a few together: depthwise convolution, convolution of small groups, average and max
//! pooling, on blocked images.
//!
//! The lanes are channels, so there is no arithmetic across lanes but within [small groups](grouped), and a tile of output pixels shares the input vectors that their
//! windows have in common: each is loaded once and used for every tap it serves.

pub mod dot;
mod filter;
pub mod grouped;
mod input;
pub mod max;
pub mod sum;

pub use filter::Filter;

use crate::families::igemm::spec::{Number, Strides, Window};
use crate::families::sides::Side;
use crate::families::walk::Place;
use crate::storage::Halo;
use mnnc_ir::scalar::ScalarFn;
use mnnc_ops::family::conv::Axis;
use mnnc_vector::{Gpr, KernelBuilder};

/// How a window kernel addresses its input.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// One argument, an image whose rows lie a constant apart.
    Image,
    /// One argument for each row that the windows of all output rows cover, top to bottom: rows of a ring lie in any order. Such a
    /// kernel computes one image, in one tile of rows; its units are the channel blocks.
    Rows,
}

/// What a window kernel computes, of `f32`, bf16 or bytes. Units are `images * blocks * row groups`, row groups innermost.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    /// Batch elements.
    pub images: usize,
    /// Vectors of channels.
    pub blocks: usize,
    /// Channels; what lies beyond in a block of bf16 is stored as zero.
    pub channels: usize,
    /// How the input is addressed.
    pub source: Source,
    /// Input rows and columns, without border.
    pub size: [usize; 2],
    /// Input strides.
    pub input: Strides,
    /// Filter.
    pub window: Window,
    /// Rows above and columns to the left that the first window covers.
    pub pads: [usize; 2],
    /// Output rows and columns.
    pub out: [usize; 2],
    /// Row groups, that several threads can share: [`row_groups`], or 1.
    pub groups: usize,
    /// Output strides.
    pub output: Strides,
    /// What happens to every result. `Arg(0)` is the result, `Arg(1 + i)` is `sides[i]`.
    pub epilogue: Option<ScalarFn>,
    /// Further operands of the epilogue.
    pub sides: Vec<Side>,
    /// Whether what the epilogue converts to integers is [in range](crate::families::epilogue::bounds::converts_in_range).
    pub bounded: bool,
    /// What the epilogue gets, or the output where there is none.
    pub sums: Number,
}

impl Spec {
    /// Arguments that address the input.
    pub fn inputs(&self) -> usize {
        match self.source {
            Source::Image => 1,
            Source::Rows => {
                (self.out[0] - 1) * self.window.stride[0] + (self.window.kernel[0] - 1) * self.window.dilation[0] + 1
            }
        }
    }
    /// Output rows of a group; the last may have fewer.
    pub fn group_rows(&self) -> usize {
        self.out[0].div_ceil(self.groups)
    }
    /// Number of units.
    pub fn units(&self) -> usize {
        self.images * self.blocks * self.out[0].div_ceil(self.group_rows())
    }
    /// Where a unit of the kernel starts.
    fn place(&self, b: &mut KernelBuilder, unit: Gpr) -> Place {
        let groups = self.out[0].div_ceil(self.group_rows());
        let group = b.int_rem(unit, groups as u32);
        let rest = b.int_div(unit, groups as u32);
        let panel = b.int_rem(rest, self.blocks as u32);
        let image = b.int_div(rest, self.blocks as u32);
        let row = b.int_mul(group, self.group_rows() as i32);
        Place { image, panel, blocks: 1, row }
    }
}

/// Row groups of an image: as many as it takes to have work for several threads.
pub fn row_groups(images: usize, blocks: usize, rows: usize) -> usize {
    let want = 8usize.div_ceil((images * blocks).max(1));
    want.min(rows / 4).max(1)
}

/// Full name of the kernel of a spec; see [`crate::families::igemm::name`].
pub fn name(family: &str, spec: &Spec, target: &mnnc_vector::Target) -> String {
    let [kh, kw] = spec.window.kernel;
    let [sh, sw] = spec.window.stride;
    let [rows, cols] = spec.out;
    let text = format!("{spec:?}");
    format!("{family}_k{kh}x{kw}s{sh}x{sw}_{rows}x{cols}_{target}_{}", crate::families::fingerprint(&text))
}

/// The filter over two spatial dimensions.
pub fn of(rows: &Axis, cols: &Axis) -> Window {
    Window {
        kernel: [rows.kernel, cols.kernel],
        stride: [rows.stride, cols.stride],
        dilation: [rows.dilation, cols.dilation],
    }
}

/// The border that the windows reach into.
pub fn halo(rows: &Axis, cols: &Axis) -> Halo {
    let after =
        |a: &Axis| ((a.output - 1) * a.stride + (a.kernel - 1) * a.dilation + 1).saturating_sub(a.begin + a.input);
    Halo { top: rows.begin, left: cols.begin, bottom: after(rows), right: after(cols), fill: 0 }
}
