//! Writes the kernel.

use super::super::spec::{Number, Spec, Strides};
use super::plan::{Pair, Plan, Run};
use super::row;
use crate::families::walk::{Place, Results, add, advance, bump};
use mnnc_vector::{Gpr, Hint, KernelBuilder, TileShapes, Var, Vector};

/// First input tile and first weight tile; the accumulators come before.
const INPUT: u8 = 4;
const WEIGHTS: u8 = 6;
/// Bytes of a row of a tile.
const ROW: usize = 64;
/// Most reduction steps without a loop.
const UNROLL: usize = 6;
/// Most instructions of an epilogue that is written out for every pixel of a run.
const SHORT: usize = 6;

pub(super) struct Emitter<'a> {
    spec: &'a Spec,
    plan: Plan,
    /// Elements of the reduction in a row of the input's tiles, and rows of the weights' ones.
    row: usize,
}

/// What a unit works with.
struct Unit {
    weights: Gpr,
    bias: Vec<Vector>,
    /// Distance of the rows of input tiles, and of those of weight tiles and sums.
    strides: [Gpr; 2],
    scratch: Gpr,
    /// Byte offset of the first line of each step that the next pair prefetches.
    line: Option<Var<Gpr>>,
}

/// Pointers that move over the image.
struct Cursor {
    input: Var<Gpr>,
    results: Results,
}

/// A loop of the reduction.
#[derive(Copy, Clone)]
struct Loop {
    count: usize,
    stride: usize,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(spec: &'a Spec) -> Emitter<'a> {
        Emitter { spec, plan: Plan::new(spec), row: row(spec.block_in) }
    }

    /// Bytes of a step of the panel, and of a pixel of sums.
    fn width(&self) -> usize {
        self.spec.blocks * ROW
    }

    pub(super) fn emit(&self, b: &mut KernelBuilder) {
        let spec = self.spec;
        let groups = self.plan.groups();
        let (input, weights, bias) = (b.arg(0), b.arg(1), b.arg(2));
        let sides: Vec<Gpr> = (0..spec.sides.len()).map(|i| b.arg(3 + i)).collect();
        let output = b.arg(3 + spec.sides.len());
        let scratch = b.scratch((self.plan.scratch * self.width()) as u32);
        let sums = (self.plan.pixels as u8, ROW as u8);
        let pixels = (self.plan.pixels as u8, 4 * self.row as u8);
        let panel = (self.row as u8, ROW as u8);
        b.tile_config(&TileShapes { tiles: [sums, sums, sums, sums, pixels, pixels, panel, panel] });
        let strides = [spec.window.stride[1] * spec.input.pixel, self.width()].map(|s| b.int(s as i64));
        if !spec.last_lanes.is_multiple_of(b.lanes()) {
            b.tail_mask(spec.last_lanes);
        }
        let (begin, end) = (b.begin(), b.end());
        b.for_range(begin, end, 1, |b, unit| {
            let panel = b.int_rem(unit, spec.panels as u32);
            let rest = b.int_div(unit, spec.panels as u32);
            let group = b.int_rem(rest, groups as u32);
            let image = b.int_div(rest, groups as u32);
            let row = b.int_mul(group, self.plan.group_rows as i32);
            let place = Place { image, panel, blocks: spec.blocks, row };
            let per_row = Strides { plane: 0, row: spec.input.row * spec.window.stride[0], half: 0, ..spec.input };
            let input = place.of(b, input, &per_row);
            let output = place.of(b, output, &spec.output);
            let sides: Vec<Gpr> = sides.iter().zip(&spec.sides).map(|(&p, s)| place.of(b, p, &s.strides)).collect();
            let lanes = b.lanes();
            let weights = advance(b, weights, panel, spec.panel_bytes(lanes));
            let bias = advance(b, bias, panel, self.width());
            let bias = (0..spec.blocks).map(|j| b.load(bias.at((j * ROW) as i32))).collect();
            let line = (self.plan.pairs() <= 16).then(|| {
                let zero = b.int(0);
                b.var(zero)
            });
            let unit = Unit { weights, bias, strides, scratch, line };
            let results = Results::new(b, output, &sides).behind(b, spec.epilogue.as_ref(), spec.bounded).zero_behind(
                b,
                &spec.output,
                spec.channels_out,
                place,
            );
            let cursor = Cursor { input: b.var(input), results };
            let total = b.int(spec.out[0] as i64);
            let left = b.int_sub(total, row);
            self.rows(b, &unit, &cursor, left);
        });
        b.tile_release();
    }

    /// The strips of one unit; `left` rows are left from its first on.
    fn rows(&self, b: &mut KernelBuilder, unit: &Unit, at: &Cursor, left: Gpr) {
        let plan = &self.plan;
        let (rows, strip) = (self.spec.out[0], plan.strip_rows);
        if plan.groups() == 1 {
            b.repeat((rows / strip) as u64, |b| self.strip(b, unit, at));
        } else {
            let here = b.int_min(left, plan.group_rows as i32);
            let strips = b.int_div(here, strip as u32);
            b.repeat_dyn(strips, |b| self.strip(b, unit, at));
        }
        if let Some(last) = &plan.last {
            if plan.groups() == 1 {
                self.pair(b, unit, at, last);
            } else {
                let odd = b.int_min(left, plan.group_rows as i32);
                let odd = b.int_rem(odd, strip as u32);
                b.repeat_dyn(odd, |b| self.pair(b, unit, at, last));
            }
        }
    }

    /// All tiles of a strip; leaves the cursor at the next.
    fn strip(&self, b: &mut KernelBuilder, unit: &Unit, at: &Cursor) {
        let (spec, plan) = (self.spec, &self.plan);
        let step = spec.window.stride[1] * spec.input.pixel;
        let pixels = 2 * plan.pixels;
        let (looped, rest) = if plan.regular > 1 { plan.strip.split_at(plan.regular) } else { plan.strip.split_at(0) };
        if let Some(first) = looped.first() {
            b.repeat(looped.len() as u64, |b| {
                self.pair(b, unit, at, first);
                bump(b, at.input, pixels * step, 0);
                at.results.bump(b, &spec.output, &spec.sides, 0, pixels as isize);
            });
            let moved = looped.len() * pixels;
            bump(b, at.input, 0, moved * step);
            at.results.bump(b, &spec.output, &spec.sides, 0, -(moved as isize));
        }
        for pair in rest {
            self.pair(b, unit, at, pair);
        }
        bump(b, at.input, plan.strip_rows * spec.window.stride[0] * spec.input.row, 0);
        at.results.bump(b, &spec.output, &spec.sides, plan.strip_rows, 0);
    }

    fn pair(&self, b: &mut KernelBuilder, unit: &Unit, at: &Cursor, pair: &Pair) {
        let blocks = self.spec.blocks as u8;
        let tiles = pair.tiles.len() as u8;
        for i in 0..tiles {
            for j in 0..blocks {
                b.tile_zero(2 * i + j);
            }
        }
        let base = b.get(at.input);
        let start = add(b, base, pair.tiles[0].input);
        let ip = b.var(start);
        let wp = b.var(unit.weights);
        let below: Vec<usize> = pair.tiles.iter().map(|t| t.input - pair.tiles[0].input).collect();
        let (loops, run) = self.reduction();
        self.nest(b, unit, &loops, run, ip, wp, &below);
        for (i, t) in pair.tiles.iter().enumerate() {
            for j in 0..blocks {
                let to = t.scratch * self.width() + usize::from(j) * ROW;
                b.tile_store(2 * i as u8 + j, unit.scratch, unit.strides[1], to as i32);
            }
        }
        self.next_line(b, unit);
        for run in &pair.runs {
            self.finish(b, unit, at, run);
        }
    }

    /// The reduction as loops around a straight run: its steps and the bytes of the input between them.
    fn reduction(&self) -> (Vec<Loop>, Loop) {
        let spec = self.spec;
        let block = spec.block_in.min(spec.channels_in);
        let [kh, kw] = spec.window.kernel;
        let [dh, dw] = spec.window.dilation;
        let mut loops: Vec<Loop> = [
            Loop { count: spec.channels_in / block, stride: spec.input.plane },
            Loop { count: kh, stride: dh * spec.input.row },
            Loop { count: kw, stride: dw * spec.input.pixel },
            Loop { count: block / self.row, stride: 4 * self.row },
        ]
        .into_iter()
        .filter(|l| l.count > 1)
        .collect();
        let inner = loops.pop().unwrap_or(Loop { count: 1, stride: 0 });
        let run = (1..=UNROLL.min(inner.count)).rev().find(|n| inner.count.is_multiple_of(*n)).unwrap_or(1);
        if run < inner.count {
            loops.push(Loop { count: inner.count / run, stride: run * inner.stride });
        }
        (loops, Loop { count: run, ..inner })
    }

    #[allow(clippy::too_many_arguments, reason = "the state of one loop nest")]
    fn nest(
        &self,
        b: &mut KernelBuilder,
        unit: &Unit,
        loops: &[Loop],
        run: Loop,
        ip: Var<Gpr>,
        wp: Var<Gpr>,
        below: &[usize],
    ) {
        let Some((l, inner)) = loops.split_first() else {
            for s in 0..run.count {
                self.step(b, unit, s, s * run.stride, ip, wp, below);
            }
            bump(b, wp, run.count * self.row * self.width(), 0);
            return;
        };
        b.repeat(l.count as u64, |b| {
            self.nest(b, unit, inner, run, ip, wp, below);
            // The inner loops have moved the pointer already.
            let moved = inner.first().map_or(0, |l| l.count * l.stride);
            bump(b, ip, l.stride, moved);
        });
    }

    /// One step of the reduction: every tile is loaded right before its first product.
    #[allow(clippy::too_many_arguments, reason = "the state of one loop nest")]
    fn step(
        &self,
        b: &mut KernelBuilder,
        unit: &Unit,
        s: usize,
        disp: usize,
        ip: Var<Gpr>,
        wp: Var<Gpr>,
        below: &[usize],
    ) {
        let (ip, wp) = (b.get(ip), b.get(wp));
        let at = s * self.row * self.width();
        for (i, below) in (0u8..).zip(below) {
            b.tile_load(INPUT + i, ip, unit.strides[0], (disp + below) as i32);
            for j in 0..self.spec.blocks as u8 {
                if i == 0 {
                    b.tile_load(WEIGHTS + j, wp, unit.strides[1], (at + usize::from(j) * ROW) as i32);
                }
                match self.spec.number {
                    Number::U8 => b.tile_dot_u8s8(2 * i + j, INPUT + i, WEIGHTS + j),
                    _ => b.tile_dot(2 * i + j, INPUT + i, WEIGHTS + j),
                }
            }
        }
        if let Some(line) = unit.line
            && let Ok(ahead) = i32::try_from(at + self.spec.panel_bytes(b.lanes()))
        {
            let line = b.get(line);
            for n in 0..self.lines() {
                b.prefetch(Hint::L2, wp.at_index(line, 1, ahead + (n * ROW) as i32));
            }
        }
    }

    /// Lines of each step of the next panel that a pair prefetches.
    fn lines(&self) -> usize {
        (self.row * self.spec.blocks).div_ceil(self.plan.pairs())
    }

    /// The pairs of a panel take turns in prefetching.
    fn next_line(&self, b: &mut KernelBuilder, unit: &Unit) {
        if let Some(line) = unit.line {
            let now = b.get(line);
            let next = b.int_add(now, (self.lines() * ROW) as i32);
            b.set(line, next);
        }
    }

    /// Bias, epilogue and store of a run of pixels.
    fn finish(&self, b: &mut KernelBuilder, unit: &Unit, at: &Cursor, run: &Run) {
        let spec = self.spec;
        let short = spec.epilogue.as_ref().is_none_or(|f| f.nodes.len() <= SHORT);
        let together = match spec.output.number {
            _ if short => 16,
            Number::U8 => 4,
            _ => 2,
        };
        let results = at.results.fork(b);
        results.bump(b, &spec.output, &spec.sides, run.at[0], run.at[1] as isize);
        let first = add(b, unit.scratch, run.scratch * self.width());
        let sums = b.var(first);
        let pixels = |b: &mut KernelBuilder, n: usize| {
            if spec.output.number == Number::U8 {
                self.pixels_of_bytes(b, unit, &results, sums, n);
            } else {
                (0..n).for_each(|p| self.pixel(b, unit, &results, sums, p));
            }
        };
        if run.count > together {
            b.repeat((run.count / together) as u64, |b| {
                pixels(b, together);
                bump(b, sums, together * self.width(), 0);
                results.bump(b, &spec.output, &spec.sides, 0, together as isize);
            });
            pixels(b, run.count % together);
        } else {
            pixels(b, run.count);
        }
    }

    /// The pixel so many behind the pointers.
    fn pixel(&self, b: &mut KernelBuilder, unit: &Unit, results: &Results, sums: Var<Gpr>, pixel: usize) {
        let spec = self.spec;
        let values = self.sums(b, unit, sums, pixel);
        if let ([low, high], true) = (&values[..], spec.output.half > 0) {
            results.store_block(b, &spec.output, &spec.sides, [*low, *high], [0, pixel]);
            return;
        }
        for (j, value) in values.into_iter().enumerate() {
            let lanes = if j + 1 == spec.blocks { spec.last_lanes } else { b.lanes() };
            results.store(b, &spec.output, &spec.sides, value, [0, pixel, j], lanes);
        }
    }

    /// As [`pixel`](Self::pixel), of so many pixels; bytes are narrowed and stored several vectors at a time.
    fn pixels_of_bytes(&self, b: &mut KernelBuilder, unit: &Unit, results: &Results, sums: Var<Gpr>, count: usize) {
        let spec = self.spec;
        if count == 0 {
            return;
        }
        let values: Vec<Vector> = (0..count).flat_map(|p| self.sums(b, unit, sums, p)).collect();
        let shape = [1, count, spec.blocks];
        results.store_tile(b, &spec.output, &spec.sides, &values, shape, spec.last_lanes);
    }

    /// The sums of a pixel, bias included.
    fn sums(&self, b: &mut KernelBuilder, unit: &Unit, sums: Var<Gpr>, pixel: usize) -> Vec<Vector> {
        (0..self.spec.blocks)
            .map(|j| {
                let mem = b.get(sums).at((pixel * self.width() + j * ROW) as i32);
                match self.spec.number {
                    Number::U8 => b.add_i32(unit.bias[j], mem),
                    _ => b.add(unit.bias[j], mem),
                }
            })
            .collect()
    }
}
