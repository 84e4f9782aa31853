//! Dense and grouped convolutions as implicit GEMMs, in slices: the output channel vectors that read the same input channels.

mod parts;
mod slice;

use crate::cost::Problem;
use crate::families::conv::{compiled, weights};
use crate::families::igemm::border::Border;
use crate::families::igemm::operand::{Bias, Reader, Weights};
use crate::families::igemm::packing::Packing;
use crate::families::igemm::spec::{Number, Spec, Strides, Window};
use crate::families::igemm::{self, tiles};
use crate::families::region::Region;
use crate::families::sides::{PlacedEpilogue, from_offset};
use crate::families::taps::Together;
use crate::lowering::Lowering;
use mnnc_ir::OpError;
use mnnc_vector::Target;
pub use parts::Parts;
use slice::Slice;

/// A convolution with what it reads placed.
pub struct Dense<'a> {
    /// First part of the kernels' names.
    pub family: &'static str,
    /// Batch elements.
    pub images: usize,
    /// Groups.
    pub groups: usize,
    /// Input channels of a group.
    pub inputs: usize,
    /// Output channels of a group.
    pub outputs: usize,
    /// Filter.
    pub window: Window,
    /// The border around the input, where it is worth leaving out: zeros, or else the bias is given by taps.
    pub border: Option<Border>,
    /// Output rows and columns.
    pub out: [usize; 2],
    /// What input and weights are. Bytes are unsigned in the input and signed in the weights.
    pub number: Number,
    /// Input channels that lie together.
    pub block_in: usize,
    /// Input, from the first tap of the first output pixel on.
    pub input: Region,
    /// Weights, by the channels of a group.
    pub weights: Weights<'a>,
    /// What sums start at.
    pub bias: Bias,
    /// Products in a sum, those that a layout adds not counted.
    pub terms: usize,
    /// What follows.
    pub epilogue: PlacedEpilogue,
}

impl Dense<'_> {
    /// The same convolution, with what is read at once for each tap, or for each filter row, as its channels.
    pub fn reading(mut self, together: Together) -> Self {
        self.inputs = together.channels;
        self.block_in = together.channels;
        if together.rows {
            self.window.kernel[1] = 1;
            self.border = None;
        }
        self
    }

    /// As a problem for the planner.
    pub fn problem(&self, lanes: usize) -> Problem {
        Problem {
            // Pairs of bf16 are cut as single numbers are.
            number: if self.number == Number::U8 { Number::U8 } else { Number::F32 },
            images: self.images,
            groups: self.groups,
            inputs: self.inputs,
            outputs: self.outputs,
            window: self.window,
            border: self.border,
            out: self.out,
            own_weights: false,
            apart: self.input.strides.pixel * self.window.stride[1],
            packing: self.packing(lanes),
        }
    }

    /// How the weights lie.
    fn packing(&self, lanes: usize) -> Packing {
        let columns = self.window.kernel[1];
        let shared = !self.is_aligned(if self.number == Number::Bf16 { 2 * lanes } else { lanes });
        self.weights.packing(Reader {
            inputs: self.inputs,
            block_in: self.block_in,
            columns,
            number: self.number,
            shared,
        })
    }

    /// Whether tiles do it.
    fn on_tiles(&self, target: &Target) -> bool {
        (self.groups == 1 || self.number == Number::Bf16)
            && tiles::fits(target, self.number, self.block_in / self.number.element(), self.out)
    }

    /// The kernel of a part, that writes a result which lies so.
    pub fn spec(&self, slice: &Slice, output: Strides, target: &Target) -> Spec {
        let lanes = target.lanes();
        // Channels an element of the input, and elements in the order of the reduction: tiles take whole rows.
        let element = self.number.element();
        let whole = if self.on_tiles(target) { tiles::row(self.block_in / element) } else { 1 };
        Spec {
            images: self.images,
            number: self.number,
            channels_in: slice.inputs.div_ceil(element).next_multiple_of(whole),
            first_in: slice.channel % self.block_in / element,
            block_in: self.block_in / element,
            input: self.input.strides,
            window: self.window,
            border: self.border,
            out: self.out,
            output,
            blocks: slice.blocks,
            panels: slice.panels,
            tiling: slice.tiling,
            last_lanes: lanes,
            channels_out: slice.end.saturating_sub(slice.first * lanes),
            weights_image: 0,
            packing: self.packing(lanes),
            start: self.bias.start(self.border),
            bounded: self.epilogue.bounded,
            epilogue: self.epilogue.f.clone(),
            sides: self.epilogue.sides.clone(),
        }
    }

    /// Weights and bias of a part, as its kernel reads them.
    pub fn pack(&self, slice: &Slice, spec: &Spec, lanes: usize) -> [Vec<u8>; 2] {
        let own = |o: usize, [c, y, x]: [usize; 3]| {
            let own = (slice.channel + c).checked_sub(o / self.outputs * self.inputs);
            own.filter(|&c| c < self.inputs).map(|c| [c, y, x])
        };
        let first = slice.first * lanes;
        let packed = self.weights.pack(spec, lanes, first, slice.end, &own);
        [packed, self.weights.pack_bias(spec, lanes, first, slice.end, &self.bias)]
    }

    /// Adds the steps that write the result.
    ///
    /// # Errors
    /// If a kernel does not compile.
    pub fn lower(&self, to: &Region, lo: &mut Lowering, name: &str) -> Result<(), OpError> {
        self.lower_part(to, lo, name, &mut Parts::default())
    }

    /// As [`lower`](Self::lower), for one of several parts of a convolution.
    ///
    /// # Errors
    /// If a kernel does not compile.
    pub fn lower_part(&self, to: &Region, lo: &mut Lowering, name: &str, parts: &mut Parts) -> Result<(), OpError> {
        let slices = self.slices(&to.strides, lo, parts);
        let mut all = |lo: &mut Lowering| slices.iter().try_for_each(|s| self.lower_slice(s, to, lo, name, parts));
        // Slices write vectors of their own; of half vectors, two may share a line.
        if to.strides.half == 0 { lo.in_parts(all) } else { all(lo) }
    }

    fn lower_slice(
        &self,
        slice: &Slice,
        to: &Region,
        lo: &mut Lowering,
        name: &str,
        parts: &mut Parts,
    ) -> Result<(), OpError> {
        let target = *lo.target();
        let lanes = target.lanes();
        let strides = &to.strides;
        let spec = self.spec(slice, *strides, &target);
        let [packed, bias] = parts.packed(slice, || {
            let [packed, bias] = self.pack(slice, &spec, lanes);
            [("weight", packed), ("bias", bias)].map(|(what, bytes)| weights(lo, &format!("{name}.{what}"), bytes))
        });
        let key = igemm::name(self.family, &spec, &target);
        let units = igemm::units(&spec, &target);
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(igemm::compile(&spec, t, &key)))?;
        let plane = slice.channel / self.block_in * self.input.strides.plane;
        let mut operands = vec![from_offset(&self.input.operand, plane), packed, bias];
        for (side, o) in self.epilogue.sides.iter().zip(&self.epilogue.operands) {
            operands.push(from_offset(o, side.strides.vector(slice.first)));
        }
        let mut output = from_offset(&to.operand, strides.vector(slice.first));
        let planes = strides.plane >= self.out[0] * strides.row;
        let vectors = slice.panels * slice.blocks;
        let whole = strides.half == 0 || (slice.first.is_multiple_of(2) && vectors.is_multiple_of(2));
        if self.images == 1 && planes && whole {
            // Planes of its own.
            output.bytes = output.bytes.min(strides.vector(vectors));
        }
        operands.push(output);
        let channels = (vectors * lanes).min(slice.end.saturating_sub(slice.first * lanes));
        let flops = 2 * self.terms * channels * self.images * self.out[0] * self.out[1];
        lo.step(kernel, operands, units, flops as u64);
        Ok(())
    }
}
