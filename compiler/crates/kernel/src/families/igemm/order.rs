//! The order of the reduction.

use super::spec::Spec;

/// Reduction steps written out without a loop.
pub(super) const UNROLL: usize = 4;

/// A nest of counted loops around a straight run of steps, as movements of the input pointer. The weights are read in the
/// same order, one step after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nest {
    /// Channel of the first step.
    pub channel: usize,
    /// Bytes from the pixel's first tap to where the nest starts.
    pub start: usize,
    /// Loops, outermost first.
    pub loops: Vec<Loop>,
    /// The steps inside all loops.
    pub run: Vec<Step>,
    /// The number of outer loops inside of which the factors of packed weights change, where they stand among the weights.
    pub scales_at: Option<usize>,
}

/// One loop.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Loop {
    /// Iterations, at least 1.
    pub count: usize,
    /// Bytes that the input moves each.
    pub stride: usize,
    /// Channels, filter rows and filter columns that the weights move each.
    pub delta: [usize; 3],
}

impl Loop {
    /// The dimension of the filter that it is over, if it is.
    pub fn window(&self) -> Option<usize> {
        (0..2).find(|d| self.delta[1 + d] > 0)
    }
}

/// One step: where its input is, relative to the pointer, and which weight it takes, relative to the loops'.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Bytes.
    pub disp: usize,
    /// Channel, filter row, filter column.
    pub delta: [usize; 3],
}

/// The reduction of a spec as nests, one after the other.
pub fn nests(spec: &Spec) -> Vec<Nest> {
    let [kh, kw] = spec.window.kernel;
    let [dh, dw] = spec.window.dilation;
    let row = Loop { count: kh, stride: dh * spec.input.row, delta: [0, 1, 0] };
    let column = Loop { count: kw, stride: dw * spec.input.pixel, delta: [0, 0, 1] };
    if spec.block_in == 1 {
        // Planar input, as a model's first layer has: the taps of a filter row are the straight run.
        let channel = Loop { count: spec.channels_in, stride: spec.input.plane, delta: [1, 0, 0] };
        let run = (0..kw).map(|k| Step { disp: k * column.stride, delta: [0, 0, k] }).collect();
        return vec![Nest { channel: 0, start: 0, loops: vec![channel, row], run, scales_at: None }];
    }
    let unroll = spec.packing.unroll();
    let mut out = Vec::new();
    // `outer` times `planes` planes from `start` on, of each of which `channels` are read.
    let mut push = |channel: usize, [outer, planes]: [usize; 2], start: usize, channels: usize| {
        let mut part = |channel: usize, start: usize, inner: Option<usize>, steps: usize| {
            let stride = planes * spec.input.plane;
            let mut loops = vec![Loop { count: outer, stride, delta: [planes * spec.block_in, 0, 0] }, row, column];
            let scales_at = spec.packing.block().map(|_| loops.len());
            if planes > 1 {
                loops.push(Loop { count: planes, stride: spec.input.plane, delta: [spec.block_in, 0, 0] });
            }
            loops.extend(inner.map(|count| Loop { count, stride: 4 * unroll, delta: [unroll, 0, 0] }));
            let run = (0..steps).map(|s| Step { disp: 4 * s, delta: [s, 0, 0] }).collect();
            out.push(Nest { channel, start, loops, run, scales_at });
        };
        let (unrolled, odd) = (channels / unroll, channels % unroll);
        if unrolled > 0 {
            part(channel, start, Some(unrolled), unroll);
        }
        if odd > 0 {
            part(channel + channels - odd, start + 4 * (channels - odd), None, odd);
        }
    };
    if let Some(size) = spec.packing.block() {
        // Blocks of factors are whole planes: all of one, for all taps, before the next.
        let planes = size / spec.block_in;
        let (full, rest) = (spec.channels_in / size, spec.channels_in % size);
        let at = |channel: usize| channel / spec.block_in * spec.input.plane;
        if full > 0 {
            push(0, [full, planes], 0, spec.block_in);
        }
        if rest / spec.block_in > 0 {
            push(full * size, [1, rest / spec.block_in], at(full * size), spec.block_in);
        }
        let behind = spec.channels_in - rest % spec.block_in;
        if behind < spec.channels_in {
            push(behind, [1, 1], at(behind), spec.channels_in - behind);
        }
        return out;
    }
    let head = if spec.first_in > 0 { spec.channels_in.min(spec.block_in - spec.first_in) } else { 0 };
    let behind = spec.channels_in - head;
    let (full, rest) = (behind / spec.block_in, behind % spec.block_in);
    if head > 0 {
        push(0, [1, 1], 4 * spec.first_in, head);
    }
    let plane = usize::from(head > 0) * spec.input.plane;
    if full > 0 {
        push(head, [full, 1], plane, spec.block_in);
    }
    if rest > 0 {
        push(head + full * spec.block_in, [1, 1], plane + full * spec.input.plane, rest);
    }
    out
}

/// A piece of packed weights.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// The factors of a block, by the first of its weights.
    Factors([usize; 3]),
    /// Weights of steps in a row: channel, filter row, filter column of each.
    Run(Vec<[usize; 3]>),
}

/// The pieces in the order in which the code reads them.
pub fn pieces(spec: &Spec) -> Vec<Piece> {
    fn walk(nest: &Nest, level: usize, at: [usize; 3], out: &mut Vec<Piece>) {
        let plus = |a: [usize; 3], d: [usize; 3], n: usize| [a[0] + n * d[0], a[1] + n * d[1], a[2] + n * d[2]];
        if nest.scales_at == Some(level) {
            out.push(Piece::Factors(at));
        }
        match nest.loops.get(level) {
            Some(l) => (0..l.count).for_each(|i| walk(nest, level + 1, plus(at, l.delta, i), out)),
            None => out.push(Piece::Run(nest.run.iter().map(|s| plus(at, s.delta, 1)).collect())),
        }
    }
    let mut out = Vec::new();
    for nest in nests(spec) {
        walk(&nest, 0, [nest.channel, 0, 0], &mut out);
    }
    out
}

/// The weights in the order in which the code reads them: channel, filter row, filter column of every step.
pub fn steps(spec: &Spec) -> Vec<[usize; 3]> {
    let runs = pieces(spec).into_iter().filter_map(|p| match p {
        Piece::Run(steps) => Some(steps),
        Piece::Factors(_) => None,
    });
    runs.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::super::packing::Packing;
    use super::super::spec::{Number, Start, Strides, Window};
    use super::*;
    use crate::cost::Tiling;

    #[test]
    fn every_weight_is_read_once() {
        for block_in in [1, 4, 8, 16, 5000] {
            for channels_in in [1, 3, 4, 16, 17, 37, 64] {
                for (kernel, first_in) in [([1, 1], 0), ([3, 3], 3), ([1, 5], 1), ([7, 2], 0)] {
                    let first_in = first_in % block_in;
                    let spec = Spec {
                        images: 1,
                        channels_in,
                        first_in,
                        block_in,
                        number: Number::F32,
                        input: Strides { plane: 4096, row: 512, pixel: 64, ..Strides::default() },
                        window: Window { kernel, stride: [1, 1], dilation: [1, 1] },
                        border: None,
                        out: [1, 1],
                        output: Strides::default(),
                        blocks: 1,
                        panels: 1,
                        tiling: Tiling::PIXEL,
                        last_lanes: 16,
                        channels_out: 16,
                        weights_image: 0,
                        packing: Packing::WHOLE,
                        start: Start::Zero,
                        bounded: false,
                        epilogue: None,
                        sides: Vec::new(),
                    };
                    let mut seen = steps(&spec);
                    assert_eq!(seen.len(), spec.depth());
                    seen.sort_unstable();
                    seen.dedup();
                    assert_eq!(seen.len(), spec.depth(), "block {block_in} channels {channels_in} {kernel:?}");
                    assert!(seen.iter().all(|s| s[0] < channels_in && s[1] < kernel[0] && s[2] < kernel[1]));
                }
            }
        }
    }
}
