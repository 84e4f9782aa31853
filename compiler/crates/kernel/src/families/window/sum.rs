//! Weighted and plain sums over a window: depthwise convolution, convolution of small groups, and average pooling. The input has a zero
//! border as wide as the windows reach.

use super::grouped;
use super::input::Input;
use super::{Source, Spec};
use crate::families::igemm::spec::{Number, Strides};
use crate::families::tile::{Tile, split_evenly, tile_rows};
use crate::families::walk::{Place, Results, advance, bump, load};
use mnnc_vector::{CompileError, CompiledKernel, Gpr, KernelBuilder, Target, Var, Vector};

/// How the taps are weighted.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Weighting {
    /// By one vector a tap and block: argument 1 is `[block][tap][lane]`, argument 2 the bias `[block][lane]`.
    PerChannel,
    /// By channels of a group, so many of them: argument 1 is what [`grouped::pack`] makes, argument 2 the bias `[block][lane]`.
    PerGroup(usize),
    /// Equally, this number for zero, then multiplied by a factor for each output pixel: argument 1 is `[row][column]` of factors,
    /// argument 2 is unused.
    PerPixel(u8),
}

/// Accumulators of a tile; fewer than 14 leave the multiply-add pipes waiting.
const PIXELS: usize = 14;

/// Compiles the kernel. Arguments: input (at the first tap of the first output pixel; by rows, one for each), weights or factors,
/// bias, side operands, output.
pub fn compile(spec: &Spec, weighting: Weighting, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let lanes = b.lanes();
    let pixels = PIXELS.min(target.vec_regs() - 4);
    let taps = spec.window.kernel[0] * spec.window.kernel[1];
    let pixels = if let Weighting::PerGroup(_) = weighting { grouped::pixels(&spec.window, target) } else { pixels };
    let in_registers = weighting == Weighting::PerChannel && taps + pixels + 3 <= target.vec_regs();
    Emitter { spec, weighting, lanes, pixels, in_registers }.emit(&mut b);
    b.compile()
}

struct Emitter<'a> {
    spec: &'a Spec,
    weighting: Weighting,
    lanes: usize,
    pixels: usize,
    /// The weights of a block stay in registers.
    in_registers: bool,
}

/// The weights of the current block.
struct Weights {
    base: Gpr,
    loaded: Vec<Vector>,
    bias: Option<Vector>,
}

struct Cursor {
    input: Input,
    factors: Var<Gpr>,
    results: Results,
}

impl Emitter<'_> {
    fn emit(&self, b: &mut KernelBuilder) {
        let spec = self.spec;
        let [kh, kw] = spec.window.kernel;
        let vector = self.lanes * 4;
        let first = spec.inputs();
        let inputs: Vec<Gpr> = (0..first).map(|i| b.arg(i)).collect();
        let (weights, bias) = (b.arg(first), b.arg(first + 1));
        let sides: Vec<Gpr> = (0..spec.sides.len()).map(|i| b.arg(first + 2 + i)).collect();
        let output = b.arg(first + 2 + spec.sides.len());
        let (begin, end) = (b.begin(), b.end());
        let group_rows = spec.group_rows();
        let groups = spec.out[0].div_ceil(group_rows);
        b.for_range(begin, end, 1, |b, unit| {
            let place = spec.place(b, unit);
            let Place { panel, row, .. } = place;
            let per_row = Strides { row: spec.input.row * spec.window.stride[0], ..spec.input };
            let from = place.within(b, &spec.input, spec.channels, spec.blocks);
            let inputs: Vec<Gpr> = inputs.iter().map(|&i| from.of(b, i, &per_row)).collect();
            let output = place.of(b, output, &spec.output);
            let sides: Vec<Gpr> = sides.iter().zip(&spec.sides).map(|(&p, s)| place.of(b, p, &s.strides)).collect();
            let (weights, factors) = match self.weighting {
                Weighting::PerChannel => (advance(b, weights, panel, kh * kw * vector), weights),
                Weighting::PerGroup(depth) => {
                    (advance(b, weights, panel, depth * grouped::vectors(&spec.window) * vector), weights)
                }
                Weighting::PerPixel(_) => (weights, advance(b, weights, row, spec.out[1] * 4)),
            };
            let bias = (!matches!(self.weighting, Weighting::PerPixel(_))).then(|| {
                let at = advance(b, bias, panel, vector);
                b.load(at.at(0))
            });
            let taps = if self.in_registers { kh * kw } else { 0 };
            let loaded = (0..taps).map(|t| b.load(weights.at((t * vector) as i32))).collect();
            let weights = Weights { base: weights, loaded, bias };
            let input = Input::new(b, spec.source, inputs);
            let results = Results::new(b, output, &sides).behind(b, spec.epilogue.as_ref(), spec.bounded).zero_behind(
                b,
                &spec.output,
                spec.channels,
                place,
            );
            let cursor = Cursor { input, factors: b.var(factors), results };

            let step = match spec.source {
                Source::Image => tile_rows(spec.out[1], group_rows, self.pixels),
                Source::Rows => spec.out[0],
            };
            if groups == 1 {
                b.repeat((group_rows / step) as u64, |b| self.tile_row(b, &cursor, &weights, step));
                if !group_rows.is_multiple_of(step) {
                    self.tile_row(b, &cursor, &weights, group_rows % step);
                }
            } else {
                let total = b.int(spec.out[0] as i64);
                let left = b.int_sub(total, row);
                let here = b.int_min(left, group_rows as i32);
                b.repeat_dyn(here, |b| self.tile_row(b, &cursor, &weights, 1));
            }
        });
    }

    fn tile_row(&self, b: &mut KernelBuilder, at: &Cursor, weights: &Weights, rows: usize) {
        let spec = self.spec;
        let [sh, sw] = spec.window.stride;
        for (cols, count) in split_evenly(spec.out[1], self.pixels / rows) {
            b.repeat(count as u64, |b| {
                self.tile(b, at, weights, Tile { rows, cols });
                at.input.forward(b, &spec.input, cols * sw);
                at.results.bump(b, &spec.output, &spec.sides, 0, cols as isize);
                if matches!(self.weighting, Weighting::PerPixel(_)) {
                    bump(b, at.factors, cols * 4, 0);
                }
            });
        }
        let cols = spec.out[1];
        at.input.next_rows(b, &spec.input, rows * sh, cols * sw);
        at.results.bump(b, &spec.output, &spec.sides, rows, -(cols as isize));
        if matches!(self.weighting, Weighting::PerPixel(_)) {
            bump(b, at.factors, rows * cols * 4, cols * 4);
        }
    }

    fn tile(&self, b: &mut KernelBuilder, at: &Cursor, weights: &Weights, tile: Tile) {
        let spec = self.spec;
        let sums = match self.weighting {
            Weighting::PerGroup(depth) => {
                let start = weights.bias.expect("a convolution has a bias");
                grouped::sums(b, spec, depth, &at.input, weights.base, start, tile)
            }
            _ => self.sums(b, at, weights, tile),
        };
        at.results.store_tile(b, &spec.output, &spec.sides, &sums, [tile.rows, tile.cols, 1], self.lanes);
    }

    /// The sums of a tile, channel by channel.
    fn sums(&self, b: &mut KernelBuilder, at: &Cursor, weights: &Weights, tile: Tile) -> Vec<Vector> {
        let spec = self.spec;
        let [kh, kw] = spec.window.kernel;
        let [sh, sw] = spec.window.stride;
        let [dh, dw] = spec.window.dilation;
        let mut acc: Vec<Option<Vector>> = vec![None; tile.pixels()];
        for y in 0..(tile.rows - 1) * sh + (kh - 1) * dh + 1 {
            for x in 0..(tile.cols - 1) * sw + (kw - 1) * dw + 1 {
                let users = users(tile, [kh, kw], [sh, sw], [dh, dw], [y, x]);
                if users.is_empty() {
                    continue;
                }
                let tap = at.input.at(b, &spec.input, y, x);
                let v = load(b, spec.input.number, tap);
                let v = if spec.input.number == Number::U8 { b.i32_to_f32(v) } else { v };
                for (pixel, tap) in users {
                    let sum = self.accumulate(b, acc[pixel], v, tap, weights);
                    acc[pixel] = Some(sum);
                }
            }
        }
        let mut sums: Vec<Vector> = acc.into_iter().map(|s| s.expect("every pixel has a tap")).collect();
        for (p, sum) in sums.iter_mut().enumerate() {
            let (r, c) = (p / tile.cols, p % tile.cols);
            if let Weighting::PerPixel(zero) = self.weighting {
                if zero > 0 {
                    *sum = b.sub(*sum, (kh * kw * usize::from(zero)) as f32);
                }
                let factors = b.get(at.factors);
                let factor = b.broadcast(factors.at(((r * spec.out[1] + c) * 4) as i32));
                *sum = b.mul(*sum, factor);
            }
            if spec.sums == Number::I32 {
                *sum = b.f32_to_i32_nearest(*sum);
            }
        }
        sums
    }

    fn accumulate(&self, b: &mut KernelBuilder, sum: Option<Vector>, v: Vector, tap: usize, w: &Weights) -> Vector {
        if matches!(self.weighting, Weighting::PerPixel(_)) {
            return match sum {
                Some(s) => b.add(s, v),
                None => v,
            };
        }
        let sum = sum.or(w.bias).expect("a depthwise convolution has a bias");
        match w.loaded.get(tap) {
            Some(&weight) => b.fma(sum, v, weight),
            None => b.fma(sum, v, w.base.at((tap * self.lanes * 4) as i32)),
        }
    }
}

/// The `(pixel, tap)` pairs of a tile that read input position `at`.
pub(super) fn users(
    tile: Tile,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    at: [usize; 2],
) -> Vec<(usize, usize)> {
    let pairs = |len: usize, d: usize| -> Vec<(usize, usize)> {
        (0..len)
            .flat_map(|o| (0..kernel[d]).map(move |k| (o, k)))
            .filter(|(o, k)| o * stride[d] + k * dilation[d] == at[d])
            .collect()
    };
    let (rows, cols) = (pairs(tile.rows, 0), pairs(tile.cols, 1));
    let mut out = Vec::new();
    for &(r, kr) in &rows {
        for &(c, kc) in &cols {
            out.push((r * tile.cols + c, kr * kernel[1] + kc));
        }
    }
    out
}
