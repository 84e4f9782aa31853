//! Writes the kernel.

use super::super::border::{Border, Taps};
use super::super::spec::{Number, Spec, Strides};
use super::plan::{Pair, Plan};
use super::reduction::{Loop, in_chunks, reduction};
use super::row;
use crate::families::walk::{Place, Results, add, advance, bump};
use mnnc_vector::{Cond, Gpr, Hint, KernelBuilder, TileShapes, Var, Vector};

/// First input tile and first weight tile; the accumulators come before.
const INPUT: u8 = 4;
const WEIGHTS: u8 = 6;
/// Bytes of a row of a tile.
pub(super) const ROW: usize = 64;
/// Bytes of weights that stay in L1 while all pairs of a unit pass over them, beside their sums and the rows that they read.
const CHUNK: usize = 24 << 10;

pub(super) struct Emitter<'a> {
    pub(super) spec: &'a Spec,
    pub(super) plan: Plan,
    /// Elements of the reduction in a row of the input's tiles, and rows of the weights' ones.
    row: usize,
    /// The reduction in chunks: loops over them, outermost first. All pairs of a unit do one chunk before the next, and their sums wait in the scratch
    /// area. Empty where it is done at once.
    pub(super) chunks: Vec<Loop>,
    /// Loops within a chunk, and the straight run within those.
    loops: Vec<Loop>,
    run: Loop,
    /// The border, for each dimension of the filter along which taps are left out for it.
    leaves_out: [Option<Border>; 2],
}

/// What a unit works with.
pub(super) struct Unit {
    /// The weights of the present chunk.
    weights: Var<Gpr>,
    pub(super) bias: Vec<Vector>,
    /// Distance of the rows of input tiles, and of those of weight tiles and sums.
    strides: [Gpr; 2],
    scratch: Gpr,
    /// Its first output row.
    row: Gpr,
    /// The sums of the present pair.
    pub(super) sums: Var<Gpr>,
    /// Byte offset of the first line of each step that the next pair prefetches; negative if none does.
    line: Option<Var<Gpr>>,
}

/// What a pair reads: pointers that move along the reduction, and the distance of each tile from the first.
struct Reading {
    ip: Var<Gpr>,
    wp: Var<Gpr>,
    below: Vec<usize>,
    /// The taps that are read along each dimension of the filter, if not all.
    taps: [Option<Taps>; 2],
}

/// What moves over the image: pointers, and the output row and column that they are at.
struct Cursor {
    input: Var<Gpr>,
    results: Results,
    at: [Var<Gpr>; 2],
    /// The filter row and column of the present chunk, where chunks are of single ones.
    tap: [Var<Gpr>; 2],
}

impl<'a> Emitter<'a> {
    pub(super) fn new(spec: &'a Spec) -> Emitter<'a> {
        let (row, plan) = (row(spec.block_in), Plan::new(spec));
        let widest = [0, 1].map(|d| plan.strip.iter().map(|p| p.extent()[d][1]).max().unwrap_or(0));
        let leaves_out = Border::left_out(spec.border, &spec.window, spec.out, widest);
        let (loops, run) = reduction(spec, row, leaves_out.map(|b| b.is_some()));
        let whole = Emitter { spec, plan, row, chunks: Vec::new(), loops, run, leaves_out };
        if !whole.plan.chunked {
            return whole;
        }
        let (chunks, loops) = in_chunks(&whole.loops, run.count, CHUNK / (whole.row * whole.width()));
        Emitter { chunks, loops, ..whole }
    }

    /// Bytes from the sums of a pair to those of the next.
    fn apart(&self) -> usize {
        if self.chunks.is_empty() { 0 } else { self.plan.apart * self.width() }
    }

    /// Bytes of a step of the panel, and of a pixel of sums.
    pub(super) fn width(&self) -> usize {
        self.spec.blocks * ROW
    }

    pub(super) fn emit(&self, b: &mut KernelBuilder) {
        let spec = self.spec;
        let groups = self.plan.groups();
        let (input, weights, bias) = (b.arg(0), b.arg(1), b.arg(2));
        let sides: Vec<Gpr> = (0..spec.sides.len()).map(|i| b.arg(3 + i)).collect();
        let output = b.arg(3 + spec.sides.len());
        let scratch = b.scratch((self.plan.sums() * self.width()) as u32);
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
                let none = b.int(-(i64::from(i32::MAX) / 2));
                b.var(none)
            });
            if let Some(line) = line {
                let zero = b.int(0);
                if self.plan.stays() {
                    // Later units find the panels in L2.
                    let first = b.int_sub(unit, begin);
                    b.if_(Cond::Lt, first, spec.panels as i32, |b| b.set(line, zero));
                } else {
                    b.set(line, zero);
                }
            }
            let results = Results::new(b, output, &sides).behind(b, spec.epilogue.as_ref(), spec.bounded).zero_behind(
                b,
                &spec.output,
                spec.channels_out,
                place,
            );
            let unit = Unit { weights: b.var(weights), bias, strides, scratch, row, sums: b.var(scratch), line };
            let zero = b.int(0);
            let cursor =
                Cursor { input: b.var(input), results, at: [b.var(row), b.var(zero)], tap: [b.var(zero), b.var(zero)] };
            let total = b.int(spec.out[0] as i64);
            let left = b.int_sub(total, row);
            if !self.chunks.is_empty() {
                self.start_with_bias(b, &unit);
            }
            self.passes(b, &unit, &cursor, left, &self.chunks, true);
        });
        b.tile_release();
    }

    /// Writes the bias where the sums of a unit will be.
    fn start_with_bias(&self, b: &mut KernelBuilder, unit: &Unit) {
        b.set(unit.sums, unit.scratch);
        b.repeat(self.plan.sums() as u64, |b| {
            for (j, &bias) in unit.bias.iter().enumerate() {
                let mem = b.get(unit.sums).at((j * ROW) as i32);
                b.store(bias, mem);
            }
            bump(b, unit.sums, self.width(), 0);
        });
    }

    /// Passes over the unit, one for each chunk of the reduction. The last one, if it is here, finishes the results.
    fn passes(&self, b: &mut KernelBuilder, unit: &Unit, at: &Cursor, left: Gpr, chunks: &[Loop], last: bool) {
        let Some((l, inner)) = chunks.split_first() else {
            self.rows(b, unit, at, left, last);
            let steps = self.run.count * self.loops.iter().map(|l| l.count).product::<usize>();
            bump(b, unit.weights, steps * self.row * self.width(), 0);
            return;
        };
        let moved = inner.first().map_or(0, |l| l.count * l.stride);
        let tap = self.left_out(l).map(|d| at.tap[d]);
        if let Some(tap) = tap {
            let zero = b.int(0);
            b.set(tap, zero);
        }
        b.repeat((l.count - usize::from(last)) as u64, |b| {
            self.passes(b, unit, at, left, inner, false);
            bump(b, at.input, l.stride, moved);
            if let Some(tap) = tap {
                bump(b, tap, 1, 0);
            }
        });
        if last {
            self.passes(b, unit, at, left, inner, true);
        }
    }

    /// The strips of one unit, of which `left` rows are left from its first on; the input stays where it is.
    fn rows(&self, b: &mut KernelBuilder, unit: &Unit, at: &Cursor, left: Gpr, last: bool) {
        let plan = &self.plan;
        let (rows, strip) = (self.spec.out[0], plan.strip_rows);
        let start = b.get(at.input);
        b.set(at.at[0], unit.row);
        b.set(unit.sums, unit.scratch);
        if let Some(line) = unit.line {
            let (now, zero) = (b.get(line), b.int(0));
            b.if_(Cond::Gt, now, 0, |b| b.set(line, zero));
        }
        if plan.groups() == 1 {
            b.repeat((rows / strip) as u64, |b| self.strip(b, unit, at, last));
        } else {
            let here = b.int_min(left, plan.group_rows as i32);
            let strips = b.int_div(here, strip as u32);
            b.repeat_dyn(strips, |b| self.strip(b, unit, at, last));
        }
        if !plan.last.is_empty() {
            let pairs = |b: &mut KernelBuilder| plan.last.iter().for_each(|pair| self.pair(b, unit, at, pair, last));
            if plan.groups() == 1 {
                pairs(b);
            } else {
                let odd = b.int_min(left, plan.group_rows as i32);
                let odd = b.int_rem(odd, strip as u32);
                b.repeat_dyn(odd, pairs);
            }
        }
        b.set(at.input, start);
    }

    /// All tiles of a strip; leaves the cursor at the next.
    fn strip(&self, b: &mut KernelBuilder, unit: &Unit, at: &Cursor, last: bool) {
        let (spec, plan) = (self.spec, &self.plan);
        let step = spec.window.stride[1] * spec.input.pixel;
        let pixels = 2 * plan.pixels;
        let (looped, rest) = if plan.regular > 1 { plan.strip.split_at(plan.regular) } else { plan.strip.split_at(0) };
        // Results stay where they are in a pass that finishes none.
        let to = |b: &mut KernelBuilder, rows: usize, pixels: isize| {
            if last {
                at.results.bump(b, &spec.output, &spec.sides, rows, pixels);
            }
        };
        if let Some(first) = looped.first() {
            b.repeat(looped.len() as u64, |b| {
                self.pair(b, unit, at, first, last);
                bump(b, at.input, pixels * step, 0);
                self.counted(b, at, 1, pixels, 0);
                to(b, 0, pixels as isize);
            });
            let moved = looped.len() * pixels;
            bump(b, at.input, 0, moved * step);
            self.counted(b, at, 1, 0, moved);
            to(b, 0, -(moved as isize));
        }
        for pair in rest {
            self.pair(b, unit, at, pair, last);
        }
        bump(b, at.input, plan.strip_rows * spec.window.stride[0] * spec.input.row, 0);
        self.counted(b, at, 0, plan.strip_rows, 0);
        to(b, plan.strip_rows, 0);
    }

    /// The dimension of the filter along which this loop leaves out taps. One that chunks cut up is read whole.
    fn left_out(&self, l: &Loop) -> Option<usize> {
        l.window.filter(|&d| self.leaves_out[d].is_some() && l.count == self.spec.window.kernel[d])
    }

    /// Moves on the row or column that leaving out taps asks for.
    fn counted(&self, b: &mut KernelBuilder, at: &Cursor, d: usize, forward: usize, back: usize) {
        if self.leaves_out[d].is_some() {
            bump(b, at.at[d], forward, back);
        }
    }

    /// Two tiles and, in the last pass, the pixels that are finished then.
    fn pair(&self, b: &mut KernelBuilder, unit: &Unit, at: &Cursor, pair: &Pair, last: bool) {
        let extent = pair.extent();
        let taps = [0, 1].map(|d| {
            let ([first, count], here) = (extent[d], b.get(at.at[d]));
            let here = add(b, here, first);
            self.leaves_out[d].filter(|_| count > 0).map(|border| border.emit(b, &self.spec.window, d, here, count))
        });
        let chunk: Vec<(Gpr, Taps)> = self
            .chunks
            .iter()
            .filter_map(|l| self.left_out(l))
            .filter_map(|d| Some((b.get(at.tap[d]), taps[d]?)))
            .collect();
        among(b, &chunk, |b| self.multiply(b, unit, at, pair, taps));
        self.next_line(b, unit);
        if last {
            pair.runs.iter().for_each(|run| self.finish(b, unit, &at.results, run));
        }
        bump(b, unit.sums, self.apart(), 0);
    }

    /// The products of a pair.
    fn multiply(&self, b: &mut KernelBuilder, unit: &Unit, at: &Cursor, pair: &Pair, taps: [Option<Taps>; 2]) {
        let sums = b.get(unit.sums);
        let accumulators: Vec<(u8, i32)> = (0..pair.tiles.len())
            .flat_map(|i| (0..self.spec.blocks).map(move |j| (i, j)))
            .map(|(i, j)| ((2 * i + j) as u8, (pair.tiles[i].scratch * self.width() + j * ROW) as i32))
            .collect();
        for &(tile, place) in &accumulators {
            if self.chunks.is_empty() {
                b.tile_zero(tile);
            } else {
                b.tile_load(tile, sums, unit.strides[1], place);
            }
        }
        let base = b.get(at.input);
        let start = add(b, base, pair.tiles[0].input);
        let ip = b.var(start);
        let weights = b.get(unit.weights);
        let wp = b.var(weights);
        let below: Vec<usize> = pair.tiles.iter().map(|t| t.input - pair.tiles[0].input).collect();
        let reading = Reading { ip, wp, below, taps };
        self.nest(b, unit, &self.loops, &reading);
        for (tile, place) in accumulators {
            b.tile_store(tile, sums, unit.strides[1], place);
        }
    }

    fn nest(&self, b: &mut KernelBuilder, unit: &Unit, loops: &[Loop], at: &Reading) {
        let Some((l, inner)) = loops.split_first() else {
            for s in 0..self.run.count {
                self.step(b, unit, s, s * self.run.stride, at);
            }
            return bump(b, at.wp, self.run.count * self.row * self.width(), 0);
        };
        // The inner loops have moved the pointer already.
        let moved = inner.first().map_or(0, |l| l.count * l.stride);
        let once = |b: &mut KernelBuilder| {
            self.nest(b, unit, inner, at);
            bump(b, at.ip, l.stride, moved);
        };
        let Some(taps) = self.left_out(l).and_then(|d| at.taps[d]) else {
            return b.repeat(l.count as u64, once);
        };
        let steps = inner.iter().map(|l| l.count).product::<usize>() * self.run.count;
        taps.repeat(b, l.count, [(at.ip, l.stride), (at.wp, steps * self.row * self.width())], once);
    }

    /// One step of the reduction: every tile is loaded right before its first product.
    fn step(&self, b: &mut KernelBuilder, unit: &Unit, s: usize, disp: usize, reading: &Reading) {
        let (ip, wp, below) = (b.get(reading.ip), b.get(reading.wp), &reading.below);
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
            b.if_(Cond::Ge, line, 0, |b| {
                for n in 0..self.lines() {
                    b.prefetch(Hint::L2, wp.at_index(line, 1, ahead + (n * ROW) as i32));
                }
            });
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
}

/// Does `body` if each tap is among those that are read.
fn among(b: &mut KernelBuilder, taps: &[(Gpr, Taps)], body: impl FnOnce(&mut KernelBuilder)) {
    let Some(((tap, read), rest)) = taps.split_first() else { return body(b) };
    let end = b.int_add(read.first, read.count);
    b.if_(Cond::Ge, *tap, read.first, |b| b.if_(Cond::Lt, *tap, end, |b| among(b, rest, body)));
}
