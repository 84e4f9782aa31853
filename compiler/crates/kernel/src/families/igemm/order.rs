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
        return vec![Nest { channel: 0, start: 0, loops: vec![channel, row], run }];
    }
    let head = if spec.first_in > 0 { spec.channels_in.min(spec.block_in - spec.first_in) } else { 0 };
    let behind = spec.channels_in - head;
    let (full, rest) = (behind / spec.block_in, behind % spec.block_in);
    let mut out = Vec::new();
    let mut push = |channel: usize, blocks: usize, start: usize, channels: usize| {
        let mut part = |channel: usize, start: usize, inner: Option<usize>, steps: usize| {
            let mut loops =
                vec![Loop { count: blocks, stride: spec.input.plane, delta: [spec.block_in, 0, 0] }, row, column];
            loops.extend(inner.map(|count| Loop { count, stride: 4 * UNROLL, delta: [UNROLL, 0, 0] }));
            let run = (0..steps).map(|s| Step { disp: 4 * s, delta: [s, 0, 0] }).collect();
            out.push(Nest { channel, start, loops, run });
        };
        let (unrolled, odd) = (channels / UNROLL, channels % UNROLL);
        if unrolled > 0 {
            part(channel, start, Some(unrolled), UNROLL);
        }
        if odd > 0 {
            part(channel + channels - odd, start + 4 * (channels - odd), None, odd);
        }
    };
    if head > 0 {
        push(0, 1, 4 * spec.first_in, head);
    }
    let plane = usize::from(head > 0) * spec.input.plane;
    if full > 0 {
        push(head, full, plane, spec.block_in);
    }
    if rest > 0 {
        push(head + full * spec.block_in, 1, plane + full * spec.input.plane, rest);
    }
    out
}

/// The weights in the order in which the code reads them: channel, filter row, filter column of every step.
pub fn steps(spec: &Spec) -> Vec<[usize; 3]> {
    fn walk(loops: &[Loop], run: &[Step], at: [usize; 3], out: &mut Vec<[usize; 3]>) {
        let plus = |a: [usize; 3], d: [usize; 3], n: usize| [a[0] + n * d[0], a[1] + n * d[1], a[2] + n * d[2]];
        match loops.split_first() {
            Some((l, inner)) => (0..l.count).for_each(|i| walk(inner, run, plus(at, l.delta, i), out)),
            None => out.extend(run.iter().map(|s| plus(at, s.delta, 1))),
        }
    }
    let mut out = Vec::with_capacity(spec.depth());
    for nest in nests(spec) {
        walk(&nest.loops, &nest.run, [nest.channel, 0, 0], &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::spec::{Number, Strides, Window};
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
                        out: [1, 1],
                        output: Strides::default(),
                        blocks: 1,
                        panels: 1,
                        tiling: Tiling::PIXEL,
                        last_lanes: 16,
                        channels_out: 16,
                        weights_image: 0,
                        has_bias: false,
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
