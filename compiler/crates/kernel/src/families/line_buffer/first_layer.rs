//! The dense convolution at the head of a chain.

use super::chain::{Chunk, Head};
use super::part::{bias_values, constants, extent};
use crate::cost::{Problem, Tiling};
use crate::families::conv::{compiled, weights};
use crate::families::igemm;
use crate::families::igemm::operand::{Bias, Reader};
use crate::families::igemm::spec::{Number, Spec, Strides};
use crate::families::sides::{from_offset, image_strides};
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
    pub spec: Spec,
    input: Operand,
    /// Rows and columns from the first to the last tap of the filter.
    reach: [usize; 2],
    pub weights: Operand,
    pub bias: Operand,
    pub flops: usize,
}

impl FirstLayer {
    pub fn new(head: &Head, view: &View, lo: &mut Lowering) -> Result<FirstLayer, OpError> {
        let (g, target) = (&head.dense, *lo.target());
        let lanes = target.lanes();
        let x = view.inputs[0].ok_or_else(|| OpError::invalid("input 0 is missing"))?;
        let placed = lo.input(x, g.wish(&target))?;
        let s = &placed.storage;
        let panels = g.shape.outputs.div_ceil(lanes) / head.blocks();
        let (values, bias) = constants(view, lo)?;
        let block_in = s.block.unwrap_or(1);
        let packing = values.packing(Reader {
            inputs: g.shape.inputs,
            block_in,
            columns: g.window.kernel[1],
            number: Number::F32,
            shared: false,
        });
        let spec = Spec {
            images: 1,
            number: Number::F32,
            channels_in: g.shape.inputs,
            first_in: 0,
            block_in,
            input: image_strides(s, &s.dims),
            window: g.window,
            out: g.out(),
            output: Strides::default(),
            blocks: head.blocks(),
            panels,
            tiling: Tiling::PIXEL,
            last_lanes: lanes,
            channels_out: g.shape.outputs,
            weights_image: 0,
            packing,
            has_bias: true,
            bounded: false,
            epilogue: view.epilogue.as_ref().map(|e| e.f.clone()),
            sides: Vec::new(),
        };
        let name = lo.graph().node(view.node).name.clone();
        let packed = values.pack(&spec, lanes, 0, g.shape.outputs, &|_, k| Some(k));
        let bias = bias_values(bias, g.shape.outputs);
        let bias = values.pack_bias(&spec, lanes, 0, g.shape.outputs, Bias::F32(&bias));
        let [rows, cols] = [0, 1].map(|d| (g.window.kernel[d] - 1) * g.window.dilation[d]);
        let [height, width] = g.out();
        let flops = 2 * spec.depth() * g.shape.batch * g.shape.outputs * height * width;
        Ok(FirstLayer {
            input: from_offset(&placed.read(), s.first_tap(g.halo)),
            reach: [rows, cols],
            weights: weights(lo, &format!("{name}.weight"), packed),
            bias: weights(lo, &format!("{name}.bias"), bias),
            flops,
            problem: Problem {
                number: Number::F32,
                images: g.shape.batch,
                groups: 1,
                inputs: g.shape.inputs,
                outputs: g.shape.outputs,
                window: g.window,
                out: g.out(),
                own_weights: false,
                apart: spec.input.pixel * g.window.stride[1],
                packing,
            },
            spec: Spec { panels: 1, ..spec },
        })
    }

    /// The input from the first tap of the pixel in row and column `at` of the intermediate image on.
    pub fn from(&self, at: [usize; 2]) -> Operand {
        let (s, stride) = (&self.spec.input, self.spec.window.stride);
        from_offset(&self.input, at[0] * stride[0] * s.row + at[1] * stride[1] * s.pixel)
    }

    /// The call that makes `rows` of a chunk of the intermediate image in its ring. Operands 0 to 2 are input, from row `origin` of the
    /// intermediate image on, weights and bias.
    pub fn call(&self, chunk: &Chunk, rows: Range<usize>, origin: usize, lo: &mut Lowering) -> Result<Call, OpError> {
        let (target, lanes) = (*lo.target(), lo.target().lanes());
        let ring = &chunk.ring.storage;
        let out = [rows.len(), chunk.layer.cols.input];
        let tiling = lo.planner().tiling(&Problem { out, ..self.problem }, self.spec.blocks);
        let spec = Spec { out, tiling, output: image_strides(ring, &ring.dims), ..self.spec.clone() };
        let key = igemm::name("conv", &spec, &target);
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(igemm::emit::compile(&spec, t, &key)))?;
        let [down, across] = spec.window.stride;
        let (planes, element) = match spec.block_in {
            1 => (spec.channels_in, 4),
            b => (spec.channels_in.div_ceil(b), lanes * 4),
        };
        let [height, width] = [(out[0] - 1) * down + self.reach[0] + 1, (out[1] - 1) * across + self.reach[1] + 1];
        let read = extent(&spec.input, [planes, height, width], element);
        let to = chunk.ring.row(rows.start, origin) + ring.halo.left * ring.strides[3];
        let written = extent(&spec.output, [spec.blocks, out[0], out[1]], lanes * 4);
        let args = vec![
            Arg::fixed(Base::Operand(0), (rows.start - origin) * down * spec.input.row, read),
            Arg::fixed(Base::Operand(1), 0, spec.panel_bytes(lanes)),
            Arg::fixed(Base::Operand(2), 0, spec.bias_bytes(lanes)),
            Arg::fixed(Base::Scratch, to, written),
        ];
        Ok(Call { kernel, args, units: spec.units() })
    }
}
