//! Dense and grouped convolutions as implicit GEMMs: which output channel vectors read which input channels.
//!
//! Groups that do not fill channel blocks share vectors. Such a vector reads the inputs of all groups that it holds channels of,
//! with zero weights where group and channel do not belong together: at most a vector's worth of groups is wasted,
//! and all of the work stays in the tuned kernel. (An infinite or NaN input thus reaches the other groups of its vector.)

use crate::cost::{Problem, Tiling};
use crate::families::conv::{compiled, weights};
use crate::families::igemm::operand::{Bias, Reader, Weights};
use crate::families::igemm::packing::Packing;
use crate::families::igemm::spec::{Number, Spec, Strides, Window};
use crate::families::igemm::{self, tiles};
use crate::families::sides::{PlacedEpilogue, from_offset};
use crate::families::taps::Together;
use crate::lowering::Lowering;
use crate::schedule::Operand;
use mnnc_ir::OpError;
use mnnc_vector::Target;

/// A convolution with its operands placed.
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
    /// Output rows and columns.
    pub out: [usize; 2],
    /// What input and weights are. Bytes are unsigned in the input and signed in the weights.
    pub number: Number,
    /// Input channels that lie together.
    pub block_in: usize,
    /// Input, at the first tap of the first output pixel.
    pub input: Operand,
    /// Its strides.
    pub input_strides: Strides,
    /// Output, at its first pixel.
    pub output: Operand,
    /// Its strides.
    pub output_strides: Strides,
    /// Weights, by the channels of a group.
    pub weights: &'a Weights<'a>,
    /// What sums start at.
    pub bias: Bias<'a>,
    /// Products in a sum, those that a layout adds not counted.
    pub terms: usize,
    /// What follows.
    pub epilogue: &'a PlacedEpilogue,
}

/// Output channel vectors that read the same range of input channels.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Slice {
    /// First output vector.
    first: usize,
    /// Vectors a panel.
    blocks: usize,
    /// Panels.
    panels: usize,
    /// How the output is cut.
    tiling: Tiling,
    /// Output channels from this one on do not belong to it.
    end: usize,
    /// First input channel.
    channel: usize,
    /// Input channels.
    inputs: usize,
}

impl Dense<'_> {
    /// The same convolution, with what is read at once for each tap, or for each filter row, as its channels.
    pub fn reading(mut self, together: Together) -> Self {
        self.inputs = together.channels;
        self.block_in = together.channels;
        if together.rows {
            self.window.kernel[1] = 1;
        }
        self
    }

    fn problem(&self, lanes: usize) -> Problem {
        Problem {
            // Pairs of bf16 are cut as single numbers are.
            number: if self.number == Number::U8 { Number::U8 } else { Number::F32 },
            images: self.images,
            groups: self.groups,
            inputs: self.inputs,
            outputs: self.outputs,
            window: self.window,
            out: self.out,
            own_weights: false,
            apart: self.input_strides.pixel * self.window.stride[1],
            packing: self.packing(lanes),
        }
    }

    /// Whether groups are whole blocks of channels, or there is only one.
    fn is_aligned(&self, block: usize) -> bool {
        self.groups == 1 || (self.inputs.is_multiple_of(block) && self.outputs.is_multiple_of(block))
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

    fn slices(&self, lo: &mut Lowering) -> Vec<Slice> {
        let lanes = lo.target().lanes();
        let total = self.groups * self.outputs;
        if self.groups == 1 && (self.output_strides.half > 0 || self.on_tiles(lo.target())) {
            return self.pairs_of_vectors(lo);
        }
        if self.number == Number::Bf16 && self.groups > 1 {
            return self.pairs_of_groups(lo);
        }
        let mut slices = self.vectors_of_groups(lo);
        if self.output_strides.half > 0 && !total.div_ceil(lanes).is_multiple_of(2) {
            // The second vector of the last block, all of it zeros.
            let last = slices.last().copied();
            slices.extend(last.map(|s| Slice { first: total.div_ceil(lanes), blocks: 1, panels: 1, ..s }));
        }
        slices
    }

    /// One vector after the other, with the groups that it holds channels of.
    fn vectors_of_groups(&self, lo: &mut Lowering) -> Vec<Slice> {
        let lanes = lo.target().lanes();
        let total = self.groups * self.outputs;
        if self.is_aligned(lanes) {
            let classes = lo.panels(&self.problem(lanes));
            let of_group = |g: usize| {
                classes.iter().map(move |c| Slice {
                    first: g * self.outputs / lanes + c.first,
                    blocks: c.blocks,
                    panels: c.panels,
                    tiling: c.tiling,
                    end: (g + 1) * self.outputs,
                    channel: g * self.inputs,
                    inputs: self.inputs,
                })
            };
            return (0..self.groups).flat_map(of_group).collect();
        }
        let tiling = lo.planner().tiling(&self.problem(lanes), 1);
        let element = self.number.element();
        (0..total.div_ceil(lanes))
            .map(|first| {
                let last = ((first + 1) * lanes).min(total) - 1;
                let groups = [first * lanes / self.outputs, last / self.outputs];
                // From the first of an element on.
                let channel = groups[0] * self.inputs / element * element;
                Slice {
                    first,
                    blocks: 1,
                    panels: 1,
                    tiling,
                    end: total,
                    channel,
                    inputs: (groups[1] + 1) * self.inputs - channel,
                }
            })
            .collect()
    }

    /// Two vectors a panel, with the groups that they hold channels of, in whole blocks of the input.
    fn pairs_of_groups(&self, lo: &Lowering) -> Vec<Slice> {
        let lanes = lo.target().lanes();
        let total = self.groups * self.outputs;
        let vectors = total.div_ceil(lanes);
        let tiling = lo.planner().tiling(&self.problem(lanes), 2);
        let mut slices: Vec<Slice> = Vec::new();
        for first in (0..vectors).step_by(2) {
            let blocks = if self.output_strides.half > 0 { 2 } else { 2.min(vectors - first) };
            let last = ((first + 2) * lanes).min(total) - 1;
            let groups = [first * lanes / self.outputs, last / self.outputs];
            let channel = groups[0] * self.inputs / self.block_in * self.block_in;
            let inputs = ((groups[1] + 1) * self.inputs).next_multiple_of(self.block_in) - channel;
            match slices.last_mut() {
                Some(s) if [s.channel, s.inputs, s.blocks] == [channel, inputs, blocks] => s.panels += 1,
                _ => slices.push(Slice { first, blocks, panels: 1, tiling, end: total, channel, inputs }),
            }
        }
        slices
    }

    fn on_tiles(&self, target: &Target) -> bool {
        (self.groups == 1 || self.number == Number::Bf16)
            && tiles::fits(target, self.number, self.block_in / self.number.element(), self.out)
    }

    /// Two vectors a panel, as tiles compute them and blocks of bf16 hold them; the last is alone only where the output has no
    /// second one.
    fn pairs_of_vectors(&self, lo: &Lowering) -> Vec<Slice> {
        let lanes = lo.target().lanes();
        let tiling = lo.planner().tiling(&self.problem(lanes), 2);
        let whole =
            Slice { tiling, first: 0, blocks: 2, panels: 0, end: self.outputs, channel: 0, inputs: self.inputs };
        let vectors = self.outputs.div_ceil(lanes);
        if self.output_strides.half > 0 {
            return vec![Slice { panels: vectors.div_ceil(2), ..whole }];
        }
        lo.planner()
            .pairs(vectors)
            .iter()
            .map(|c| Slice { first: c.first, blocks: c.blocks, panels: c.panels, ..whole })
            .collect()
    }

    /// Adds the steps.
    ///
    /// # Errors
    /// If a kernel does not compile.
    pub fn lower(&self, lo: &mut Lowering, name: &str) -> Result<(), OpError> {
        let target = *lo.target();
        let lanes = target.lanes();
        for slice in self.slices(lo) {
            // Channels an element of the input, and elements in the order of the reduction: tiles take whole rows.
            let element = self.number.element();
            let whole = if self.on_tiles(&target) { tiles::row(self.block_in / element) } else { 1 };
            let spec = Spec {
                images: self.images,
                number: self.number,
                channels_in: slice.inputs.div_ceil(element).next_multiple_of(whole),
                first_in: slice.channel % self.block_in / element,
                block_in: self.block_in / element,
                input: self.input_strides,
                window: self.window,
                out: self.out,
                output: self.output_strides,
                blocks: slice.blocks,
                panels: slice.panels,
                tiling: slice.tiling,
                last_lanes: lanes,
                channels_out: slice.end.saturating_sub(slice.first * lanes),
                weights_image: 0,
                packing: self.packing(lanes),
                has_bias: true,
                bounded: self.epilogue.bounded,
                epilogue: self.epilogue.f.clone(),
                sides: self.epilogue.sides.clone(),
            };
            let own = |o: usize, [c, y, x]: [usize; 3]| {
                let own = (slice.channel + c).checked_sub(o / self.outputs * self.inputs);
                own.filter(|&c| c < self.inputs).map(|c| [c, y, x])
            };
            let packed = self.weights.pack(&spec, lanes, slice.first * lanes, slice.end, &own);
            let packed = weights(lo, &format!("{name}.weight"), packed);
            let count = slice.panels * slice.blocks * lanes;
            let bias = self.weights.pack_bias(&spec, lanes, slice.first * lanes, slice.end, self.bias);
            let bias = weights(lo, &format!("{name}.bias"), bias);
            let key = igemm::name(self.family, &spec, &target);
            let units = igemm::units(&spec, &target);
            let kernel = lo.cached_kernel(key.clone(), |t| compiled(igemm::compile(&spec, t, &key)))?;
            let input = from_offset(&self.input, slice.channel / self.block_in * self.input_strides.plane);
            let mut operands = vec![input, packed, bias];
            for (side, o) in self.epilogue.sides.iter().zip(&self.epilogue.operands) {
                operands.push(from_offset(o, side.strides.vector(slice.first)));
            }
            let mut output = from_offset(&self.output, self.output_strides.vector(slice.first));
            let planes = self.output_strides.plane >= self.out[0] * self.output_strides.row;
            let vectors = slice.panels * slice.blocks;
            let whole = self.output_strides.half == 0 || (slice.first.is_multiple_of(2) && vectors.is_multiple_of(2));
            if self.images == 1 && planes && whole {
                // Slices write planes of their own, and may run at the same time.
                output.bytes = output.bytes.min(self.output_strides.vector(vectors));
            }
            operands.push(output);
            let channels = count.min(slice.end.saturating_sub(slice.first * lanes));
            let flops = 2 * self.terms * channels * self.images * self.out[0] * self.out[1];
            lo.step(kernel, operands, units, flops as u64);
        }
        Ok(())
    }
}
