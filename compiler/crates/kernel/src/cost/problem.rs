//! What there is to schedule.

use crate::families::igemm::spec::Window;

/// A product to be scheduled: a convolution as implicit GEMM, or one of matrices (one row of pixels, a single tap).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Problem {
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
    /// Output rows and columns.
    pub out: [usize; 2],
    /// Bytes from the input of one output pixel to that of the next in a row.
    pub apart: usize,
}

impl Problem {
    /// A product of matrices: `rows x depth` times `depth x cols`, row-major.
    pub fn matrices(images: usize, rows: usize, depth: usize, cols: usize) -> Problem {
        Problem {
            images,
            groups: 1,
            inputs: depth,
            outputs: cols,
            window: Window::POINT,
            out: [1, rows],
            apart: 4 * depth,
        }
    }

    /// Output pixels of an image.
    pub fn pixels(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// Length of the sums.
    pub fn depth(&self) -> usize {
        self.inputs * self.window.kernel[0] * self.window.kernel[1]
    }
}
