//! The dense convolution at the head of a chain.

use super::chain::{Chunk, Head};
use super::extent;
use crate::cost::Problem;
use crate::families::conv::{compiled, weights};
use crate::families::dense::Dense;
use crate::families::igemm;
use crate::families::igemm::spec::{Spec, Strides};
use crate::families::region::Region;
use crate::families::sides::{image_strides, place_in_vectors};
use crate::family::View;
use crate::lowering::Lowering;
use crate::program::{Arg, Base, Call};
use crate::schedule::Operand;
use mnnc_ir::OpError;
use std::ops::Range;

/// The dense convolution.
pub(super) struct FirstLayer {
    /// All of it as a product.
    problem: Problem,
    /// Its kernel for a panel, but for the number of rows and their cut.
    spec: Spec,
    input: Region,
    /// Rows and columns from the first to the last tap of the filter.
    reach: [usize; 2],
    /// Weights, bias and side operands of the first panel.
    constants: Vec<Operand>,
    /// First part of the kernels' names.
    family: &'static str,
    pub flops: usize,
}

impl FirstLayer {
    pub fn new(head: &Head, view: &View, lo: &mut Lowering) -> Result<FirstLayer, OpError> {
        let target = *lo.target();
        let lanes = target.lanes();
        let x = view.inputs[0].ok_or_else(|| OpError::invalid("input 0 is missing"))?;
        let placed = lo.input(x, head.dense.wish(&target))?;
        let dims = head.dense.geometry().shape.dims();
        let epilogue = place_in_vectors(view.epilogue.as_ref(), lo, &dims)?;
        // A call sees some rows, and not where in the image they are.
        let dense = Dense { border: None, ..head.dense.dense(view, &placed, epilogue, lo)? };
        let slice = dense.in_panels(head.blocks(), lanes);
        let spec = dense.spec(&slice, Strides::default(), &target);
        let name = lo.graph().node(view.node).name.clone();
        let [packed, bias] = dense.pack(&slice, &spec, lanes);
        let packed = weights(lo, &format!("{name}.weight"), packed);
        let bias = weights(lo, &format!("{name}.bias"), bias);
        let reach = [0, 1].map(|d| (dense.window.kernel[d] - 1) * dense.window.dilation[d]);
        Ok(FirstLayer {
            problem: dense.problem(lanes),
            reach,
            flops: 2 * dense.terms * dims.iter().product::<usize>(),
            constants: [packed, bias].into_iter().chain(dense.epilogue.operands).collect(),
            input: dense.input,
            family: dense.family,
            spec: Spec { images: 1, panels: 1, ..spec },
        })
    }

    /// The input from the first tap of the pixel in row and column `at` of the intermediate image on, and the constants.
    pub fn operands(&self, at: [usize; 2]) -> Vec<Operand> {
        let stride = self.spec.window.stride;
        let input = self.input.from([at[0] * stride[0], at[1] * stride[1]]);
        std::iter::once(input.operand).chain(self.constants.iter().cloned()).collect()
    }

    /// How far the operands move from image to image and from panel to panel.
    pub fn strides(&self, lanes: usize) -> Vec<[usize; 2]> {
        let constants = [self.spec.panel_bytes(lanes), self.spec.bias_bytes(lanes)];
        let sides = self.spec.sides.iter().map(|s| s.strides.vector(self.spec.blocks));
        let panels = constants.into_iter().chain(sides).map(|bytes| [0, bytes]);
        std::iter::once([self.spec.input.image, 0]).chain(panels).collect()
    }

    /// The call that makes `rows` of a chunk of the intermediate image in its ring. The first operands are [these](Self::operands), from
    /// row `origin` of the intermediate image on.
    pub fn call(&self, chunk: &Chunk, rows: Range<usize>, origin: usize, lo: &mut Lowering) -> Result<Call, OpError> {
        let (target, lanes) = (*lo.target(), lo.target().lanes());
        let ring = &chunk.ring.storage;
        let out = [rows.len(), chunk.layer.cols.input];
        let tiling = lo.planner().tiling(&Problem { out, ..self.problem }, self.spec.blocks);
        let spec = Spec { out, tiling, output: image_strides(ring, &ring.dims), ..self.spec.clone() };
        let key = igemm::name(self.family, &spec, &target);
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(igemm::compile(&spec, t, &key)))?;
        let [down, across] = spec.window.stride;
        let (planes, element) = (spec.channels_in.div_ceil(spec.block_in), 4 * spec.block_in);
        let [height, width] = [(out[0] - 1) * down + self.reach[0] + 1, (out[1] - 1) * across + self.reach[1] + 1];
        let read = extent(&spec.input, [planes, height, width], element);
        let to = chunk.ring.row(rows.start, origin) + ring.halo.left * ring.strides[3];
        let mut args = vec![
            Arg::fixed(Base::Operand(0), (rows.start - origin) * down * spec.input.row, read),
            Arg::fixed(Base::Operand(1), 0, spec.panel_bytes(lanes)),
            Arg::fixed(Base::Operand(2), 0, spec.bias_bytes(lanes)),
        ];
        for (i, side) in spec.sides.iter().enumerate() {
            let bytes = extent(&side.strides, [spec.blocks, 1, 1], side.bytes(lanes));
            args.push(Arg::fixed(Base::Operand(3 + i), 0, bytes));
        }
        let vector = lanes * spec.output.number.bytes();
        args.push(Arg::fixed(Base::Scratch, to, extent(&spec.output, [spec.blocks, out[0], out[1]], vector)));
        Ok(Call { kernel, args, units: igemm::units(&spec, &target) })
    }
}
