//! The filter of a depthwise convolution, or one of small groups, as its kernel reads it.

use super::{Spec, dot, grouped, sum};
use crate::families::conv::{compiled, weights};
use crate::families::igemm::pack::{pack_channels, pack_integers};
use crate::lowering::Lowering;
use crate::schedule::{KernelId, Operand};
use mnnc_ir::OpError;

/// Weights, and what the sums of each channel start at.
pub struct Filter {
    /// Of products of bytes; else floats are multiplied.
    dots: Option<dot::Taps>,
    /// Channels of a group.
    depth: usize,
    /// First part of the kernel's name.
    family: &'static str,
    weights: Vec<u8>,
    start: Vec<u8>,
    blocks: usize,
}

impl Filter {
    /// Of floats: weights are `[channel][tap]`.
    pub fn floats(values: &[f32], bias: &[f32], kernel: [usize; 2], blocks: usize, lanes: usize) -> Filter {
        Filter {
            dots: None,
            depth: 1,
            family: "depthwise",
            weights: pack(values, kernel[0] * kernel[1], blocks, lanes),
            start: pack_channels(bias, 0, blocks * lanes),
            blocks,
        }
    }

    /// Of floats, in groups of `depth` channels: weights are `[channel][channel of its group][tap]`.
    pub fn grouped(
        values: &[f32],
        bias: &[f32],
        depth: usize,
        kernel: [usize; 2],
        blocks: usize,
        lanes: usize,
    ) -> Filter {
        Filter {
            depth,
            family: "grouped",
            weights: grouped::pack(values, depth, kernel[0] * kernel[1], blocks, lanes),
            ..Filter::floats(&[], bias, kernel, blocks, lanes)
        }
    }

    /// Of bytes that are multiplied as floats, whose sums are exact.
    pub fn exact(values: &[i8], start: &[i32], kernel: [usize; 2], blocks: usize, lanes: usize) -> Filter {
        let values: Vec<f32> = values.iter().map(|&w| f32::from(w)).collect();
        let start: Vec<f32> = start.iter().map(|&x| x as f32).collect();
        Filter { family: "depthwise_u8_f32", ..Filter::floats(&values, &start, kernel, blocks, lanes) }
    }

    /// Of bytes, by dot products.
    pub fn dots(
        taps: dot::Taps,
        values: &[i8],
        start: &[i32],
        kernel: [usize; 2],
        blocks: usize,
        lanes: usize,
    ) -> Filter {
        Filter {
            family: "depthwise_u8",
            weights: taps.pack(values, kernel, blocks, lanes),
            start: pack_integers(start, 0, blocks * lanes),
            dots: Some(taps),
            depth: 1,
            blocks,
        }
    }

    /// Bytes of weights and of starts for a vector of channels.
    pub fn bytes(&self) -> [usize; 2] {
        [&self.weights, &self.start].map(|b| b.len() / self.blocks)
    }

    /// The two as operands, named after the node.
    pub fn place(&self, name: &str, lo: &mut Lowering) -> [Operand; 2] {
        [
            weights(lo, &format!("{name}.weight"), self.weights.clone()),
            weights(lo, &format!("{name}.bias"), self.start.clone()),
        ]
    }

    /// Adds the step that convolves `from` with it, by the name of its node.
    ///
    /// # Errors
    /// If the kernel does not compile.
    pub fn lower(
        &self,
        spec: &Spec,
        [from, to]: [Operand; 2],
        sides: Vec<Operand>,
        name: &str,
        lo: &mut Lowering,
    ) -> Result<(), OpError> {
        let mut operands = vec![from];
        operands.extend(self.place(name, lo));
        operands.extend(sides);
        operands.push(to);
        let kernel = self.kernel(spec, lo)?;
        let taps = spec.window.kernel[0] * spec.window.kernel[1];
        let flops = 2 * self.depth * taps * spec.images * spec.channels * spec.out[0] * spec.out[1];
        lo.step(kernel, operands, spec.units(), flops as u64);
        Ok(())
    }

    /// The kernel that reads them.
    ///
    /// # Errors
    /// If it does not compile.
    pub fn kernel(&self, spec: &Spec, lo: &mut Lowering) -> Result<KernelId, OpError> {
        // Kernels of the same spec differ by the windows that the filter was packed for.
        let windows = match &self.dots {
            Some(taps) => format!("_step{}", taps.step()),
            None if self.depth > 1 => format!("_of{}", self.depth),
            None => String::new(),
        };
        let key = format!("{}{windows}", super::name(self.family, spec, lo.target()));
        lo.cached_kernel(key.clone(), |t| {
            compiled(match &self.dots {
                Some(taps) => dot::compile(spec, taps, t, &key),
                None if self.depth > 1 => sum::compile(spec, sum::Weighting::PerGroup(self.depth), t, &key),
                None => sum::compile(spec, sum::Weighting::PerChannel, t, &key),
            })
        })
    }
}

/// Packs depthwise weights `[channel][tap]` as `[block][tap][lane]`, so many blocks, zero beyond the last channel.
fn pack(values: &[f32], taps: usize, blocks: usize, lanes: usize) -> Vec<u8> {
    let mut packed = vec![0f32; blocks * lanes * taps];
    for (c, row) in values.chunks_exact(taps).enumerate() {
        for (t, &x) in row.iter().enumerate() {
            packed[((c / lanes) * taps + t) * lanes + c % lanes] = x;
        }
    }
    bytemuck::cast_slice(&packed).to_vec()
}
