//! Writes the kernel.

use super::super::spec::{Number, Spec, Strides};
use super::plan::{Pair, Plan, Run};
use super::row;
use crate::families::walk::{Place, Results, add, advance, bump};
use mnnc_vector::{Cond, Gpr, Hint, KernelBuilder, TileShapes, Var, Vector};

/// First input tile and first weight tile; the accumulators come before.
const INPUT: u8 = 4;
const WEIGHTS: u8 = 6;
/// Bytes of a row of a tile.
const ROW: usize = 64;
/// Most reduction steps without a loop.
const UNROLL: usize = 6;
/// Bytes of weights that stay in L1 while all pairs of a unit pass over them, beside their sums and the rows that they read.
const CHUNK: usize = 20 << 10;
/// Most instructions of an epilogue that is written out for every pixel of a run.
const SHORT: usize = 6;

pub(super) struct Emitter<'a> {
    spec: &'a Spec,
    plan: Plan,
    /// Elements of the reduction in a row of the input's tiles, and rows of the weights' ones.
    row: usize,
    /// The reduction in chunks: loops over them, outermost first. All pairs of a unit do one chunk before the next, and their sums wait in the scratch
    /// area. Empty where it is done at once.
    chunks: Vec<Loop>,
    /// Loops within a chunk, and the straight run within those.
    loops: Vec<Loop>,
    run: Loop,
}

/// What a unit works with.
struct Unit {
    /// The weights of the present chunk.
    weights: Var<Gpr>,
    bias: Vec<Vector>,
    /// Distance of the rows of input tiles, and of those of weight tiles and sums.
    strides: [Gpr; 2],
    scratch: Gpr,
    /// The sums of the present pair.
    sums: Var<Gpr>,
    /// Byte offset of the first line of each step that the next pair prefetches; negative if none does.
    line: Option<Var<Gpr>>,
}

/// Pointers that move over the image.
struct Cursor {
    input: Var<Gpr>,
    results: Results,
}

/// A loop of the reduction.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Loop {
    count: usize,
    stride: usize,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(spec: &'a Spec) -> Emitter<'a> {
        let (loops, run) = reduction(spec, row(spec.block_in));
        let whole = Emitter { spec, plan: Plan::new(spec), row: row(spec.block_in), chunks: Vec::new(), loops, run };
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
    fn width(&self) -> usize {
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
                // Later units find the panels in L2.
                let zero = b.int(0);
                let first = b.int_sub(unit, begin);
                b.if_(Cond::Lt, first, spec.panels as i32, |b| b.set(line, zero));
            }
            let unit = Unit { weights: b.var(weights), bias, strides, scratch, sums: b.var(scratch), line };
            let results = Results::new(b, output, &sides).behind(b, spec.epilogue.as_ref(), spec.bounded).zero_behind(
                b,
                &spec.output,
                spec.channels_out,
                place,
            );
            let cursor = Cursor { input: b.var(input), results };
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
        b.repeat((l.count - usize::from(last)) as u64, |b| {
            self.passes(b, unit, at, left, inner, false);
            bump(b, at.input, l.stride, moved);
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
        if let Some(odd_one) = &plan.last {
            if plan.groups() == 1 {
                self.pair(b, unit, at, odd_one, last);
            } else {
                let odd = b.int_min(left, plan.group_rows as i32);
                let odd = b.int_rem(odd, strip as u32);
                b.repeat_dyn(odd, |b| self.pair(b, unit, at, odd_one, last));
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
                to(b, 0, pixels as isize);
            });
            let moved = looped.len() * pixels;
            bump(b, at.input, 0, moved * step);
            to(b, 0, -(moved as isize));
        }
        for pair in rest {
            self.pair(b, unit, at, pair, last);
        }
        bump(b, at.input, plan.strip_rows * spec.window.stride[0] * spec.input.row, 0);
        to(b, plan.strip_rows, 0);
    }

    /// Two tiles and, in the last pass, the pixels that are finished then.
    fn pair(&self, b: &mut KernelBuilder, unit: &Unit, at: &Cursor, pair: &Pair, last: bool) {
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
        self.nest(b, unit, &self.loops, self.run, ip, wp, &below);
        for (tile, place) in accumulators {
            b.tile_store(tile, sums, unit.strides[1], place);
        }
        self.next_line(b, unit);
        if last {
            for run in &pair.runs {
                self.finish(b, unit, at, run);
            }
        }
        bump(b, unit.sums, self.apart(), 0);
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
        let base = b.get(unit.sums);
        let first = add(b, base, run.scratch * self.width());
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
                    _ if !self.chunks.is_empty() => b.load(mem),
                    Number::U8 => b.add_i32(unit.bias[j], mem),
                    _ => b.add(unit.bias[j], mem),
                }
            })
            .collect()
    }
}

/// The reduction as loops around a straight run: its steps and the bytes of the input between them.
fn reduction(spec: &Spec, row: usize) -> (Vec<Loop>, Loop) {
    let block = spec.block_in.min(spec.channels_in);
    let [kh, kw] = spec.window.kernel;
    let [dh, dw] = spec.window.dilation;
    let mut loops: Vec<Loop> = [
        Loop { count: spec.channels_in / block, stride: spec.input.plane },
        Loop { count: kh, stride: dh * spec.input.row },
        Loop { count: kw, stride: dw * spec.input.pixel },
        Loop { count: block / row, stride: 4 * row },
    ]
    .into_iter()
    .filter(|l| l.count > 1)
    .collect();
    let inner = loops.pop().unwrap_or(Loop { count: 1, stride: 0 });
    let run = largest_divisor(inner.count, UNROLL);
    if run < inner.count {
        loops.push(Loop { count: inner.count / run, stride: run * inner.stride });
    }
    (loops, Loop { count: run, ..inner })
}

fn largest_divisor(n: usize, most: usize) -> usize {
    (1..=most.min(n)).rev().find(|d| n.is_multiple_of(*d)).unwrap_or(1)
}

/// The loops around a run of so many steps, cut in two: those over chunks of at most `most` steps, and those within one.
fn in_chunks(loops: &[Loop], run: usize, most: usize) -> (Vec<Loop>, Vec<Loop>) {
    let mut steps = run;
    let mut at = loops.len();
    while at > 0 && steps * loops[at - 1].count <= most {
        at -= 1;
        steps *= loops[at].count;
    }
    let (mut chunks, mut within) = (loops[..at].to_vec(), loops[at..].to_vec());
    if let Some(split) = chunks.pop() {
        let inner = largest_divisor(split.count, most / steps);
        if inner > 1 {
            within.insert(0, Loop { count: inner, ..split });
        }
        chunks.push(Loop { count: split.count / inner, stride: inner * split.stride });
    }
    (chunks, within)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The input offsets of all steps, in order.
    fn offsets(loops: &[Loop], run: Loop) -> Vec<usize> {
        let all = loops.iter().chain(std::iter::once(&run));
        all.fold(vec![0], |out, l| out.iter().flat_map(|o| (0..l.count).map(move |i| o + i * l.stride)).collect())
    }

    #[test]
    fn chunks_are_the_reduction_cut_up() {
        for (counts, run) in [(vec![8, 3], 3), (vec![16], 4), (vec![3, 7], 1), (vec![], 6), (vec![5, 3, 4], 2)] {
            let stride = |i: usize| 1000usize.pow(i as u32 + 1);
            let loops: Vec<Loop> =
                counts.iter().enumerate().map(|(i, &count)| Loop { count, stride: stride(counts.len() - i) }).collect();
            let run = Loop { count: run, stride: 1 };
            for most in 6..40 {
                let (chunks, within) = in_chunks(&loops, run.count, most);
                let joined: Vec<Loop> = chunks.iter().chain(&within).copied().collect();
                assert_eq!(offsets(&joined, run), offsets(&loops, run), "{loops:?} by {most}");
                assert!(run.count * within.iter().map(|l| l.count).product::<usize>() <= most);
            }
        }
    }
}
