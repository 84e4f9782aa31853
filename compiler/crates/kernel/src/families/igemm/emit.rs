//! Writes the kernel of a [`Spec`].

use super::border::{Border, Taps};
use super::expand::{Expander, Factors};
use super::input_ahead;
use super::order::{Nest, nests};
use super::spec::{Number, Spec, Start, Strides};
use super::start;
use super::weights_ahead::Ahead;
use crate::cost::Tiling;
use crate::families::tile::Tile;
use crate::families::walk::{Place, Results, add, advance, bump};
use mnnc_vector::{CompileError, CompiledKernel, Cond, Gpr, KernelBuilder, Target, Var, Vector};

/// Compiles the kernel.
pub fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let expander = Expander::new(&mut b, spec.packing, spec.blocks);
    let plan = Plan::new(spec);
    let widest = plan.columns.first().map_or(0, |c| c.0);
    let mut leaves_out = Border::left_out(spec.border, &spec.window, spec.out, [plan.tile_rows, widest]);
    // Only what is a loop can be left out.
    for (d, border) in leaves_out.iter_mut().enumerate() {
        border.take_if(|_| nests(spec).iter().any(|n| n.loops.iter().all(|l| l.window() != Some(d))));
    }
    let kernel = Emitter { spec, plan, lanes: b.lanes(), expander, leaves_out };
    kernel.emit(&mut b);
    b.compile()
}

/// The cut of the output, spelled out.
struct Plan {
    /// Rows of a tile.
    tile_rows: usize,
    /// Rows of a unit.
    group_rows: usize,
    /// Units along the rows.
    groups: usize,
    /// Column counts of the tiles of a row: `(columns, how many)`.
    columns: Vec<(usize, usize)>,
}

impl Plan {
    fn new(spec: &Spec) -> Plan {
        let [rows, cols] = spec.out;
        let Tiling { tile_rows, group_rows, .. } = spec.tiling;
        Plan { tile_rows, group_rows, groups: spec.tiling.groups(rows), columns: spec.tiling.columns(cols) }
    }
    /// Tiles of a unit.
    fn tiles(&self, spec: &Spec) -> usize {
        let [rows, cols] = spec.out;
        spec.tiling.tiles([rows.min(self.group_rows), cols])
    }
}

/// What moves over the image: pointers, and the output row and column that they are at.
struct Cursor {
    input: Var<Gpr>,
    results: Results,
    at: [Var<Gpr>; 2],
}

struct Emitter<'a> {
    spec: &'a Spec,
    plan: Plan,
    lanes: usize,
    expander: Expander,
    /// The border, for each dimension of the filter along which taps are left out for it.
    leaves_out: [Option<Border>; 2],
}

/// A tile while it is computed: where input and weights are read, and its sums.
struct Sums<'a> {
    input: Var<Gpr>,
    weights: Var<Gpr>,
    acc: &'a [Var<Vector>],
    panel: Panel,
    tile: Tile,
    /// The taps that are read along each dimension of the filter, if not all.
    taps: [Option<Taps>; 2],
}

/// Where the weights are, and how the next panel is prefetched.
#[derive(Copy, Clone)]
struct Panel {
    weights: Gpr,
    bias: Gpr,
    ahead: Option<Prefetch>,
}

/// What is fetched ahead, where it begins and where it goes on.
#[derive(Copy, Clone)]
struct Prefetch {
    ahead: Ahead,
    first: Gpr,
    next: Var<Gpr>,
}

impl Emitter<'_> {
    fn emit(&self, b: &mut KernelBuilder) {
        let spec = self.spec;
        let input = b.arg(0);
        let weights = b.arg(1);
        let bias = b.arg(2);
        let sides: Vec<Gpr> = (0..spec.sides.len()).map(|i| b.arg(3 + i)).collect();
        let output = b.arg(3 + spec.sides.len());
        if !spec.last_lanes.is_multiple_of(self.lanes) {
            b.tail_mask(spec.last_lanes);
        }
        let (begin, end) = (b.begin(), b.end());
        b.for_range(begin, end, 1, |b, unit| {
            let (panel, rest) = if spec.tiling.panels_outside {
                let each = (self.plan.groups * spec.images) as u32;
                (b.int_div(unit, each), b.int_rem(unit, each))
            } else {
                (b.int_rem(unit, spec.panels as u32), b.int_div(unit, spec.panels as u32))
            };
            let group = b.int_rem(rest, self.plan.groups as u32);
            let image = b.int_div(rest, self.plan.groups as u32);
            let first_row = b.int_mul(group, self.plan.group_rows as i32);

            let place = Place { image, panel, blocks: spec.blocks, row: first_row };
            let per_row = Strides { plane: 0, half: 0, row: spec.input.row * spec.window.stride[0], ..spec.input };
            let input = place.of(b, input, &per_row);
            let output = place.of(b, output, &spec.output);
            let sides: Vec<Gpr> = sides.iter().zip(&spec.sides).map(|(&p, s)| place.of(b, p, &s.strides)).collect();
            let weights = advance(b, weights, panel, spec.panel_bytes(self.lanes));
            let weights = advance(b, weights, image, spec.weights_image);
            let bias = advance(b, bias, panel, spec.bias_bytes(self.lanes));

            let panel = Panel { weights, bias, ahead: self.ahead(b, weights, rest) };
            let results = Results::new(b, output, &sides).behind(b, spec.epilogue.as_ref(), spec.bounded);
            let results = results.zero_behind(b, &spec.output, spec.channels_out, place);
            let zero = b.int(0);
            let cursor = Cursor { input: b.var(input), results, at: [b.var(first_row), b.var(zero)] };
            self.rows(b, &cursor, panel, first_row);
        });
    }

    /// How a unit prefetches, the `rest`-th of those that read the weights of a panel: all of them before the next panel, or it alone.
    fn ahead(&self, b: &mut KernelBuilder, weights: Gpr, rest: Gpr) -> Option<Prefetch> {
        let spec = self.spec;
        let units = if spec.tiling.panels_outside { self.plan.groups * spec.images } else { 1 };
        let ahead = Ahead::new(spec, self.lanes, units, self.plan.tiles(spec))?;
        let first = ahead.start(b, weights, (units > 1).then_some(rest));
        Some(Prefetch { ahead, first, next: b.var(first) })
    }

    /// The rows of one unit.
    fn rows(&self, b: &mut KernelBuilder, at: &Cursor, panel: Panel, first_row: Gpr) {
        let rows = self.spec.out[0];
        let (step, group) = (self.plan.tile_rows, self.plan.group_rows);
        let part = rows % step;
        if self.plan.groups == 1 || rows.is_multiple_of(group) {
            let here = rows.min(group);
            b.repeat((here / step) as u64, |b| self.tile_row(b, at, panel, step));
            if !here.is_multiple_of(step) {
                self.tile_row(b, at, panel, here % step);
            }
            return;
        }
        // The last unit has fewer rows, and rows beyond its whole tiles.
        let total = b.int(rows as i64);
        let left = b.int_sub(total, first_row);
        let here = b.int_min(left, group as i32);
        let whole = b.int_div(here, step as u32);
        b.repeat_dyn(whole, |b| self.tile_row(b, at, panel, step));
        if part > 0 {
            b.if_(Cond::Lt, left, group as i32, |b| self.tile_row(b, at, panel, part));
        }
    }

    /// All tiles of `rows` rows; leaves the cursor at the next rows.
    fn tile_row(&self, b: &mut KernelBuilder, at: &Cursor, panel: Panel, rows: usize) {
        let spec = self.spec;
        for &(cols, count) in &self.plan.columns {
            b.repeat(count as u64, |b| {
                self.tile(b, at, panel, Tile { rows, cols });
                bump(b, at.input, cols * spec.window.stride[1] * spec.input.pixel, 0);
                at.results.bump(b, &spec.output, &spec.sides, 0, cols as isize);
                self.counted(b, at, 1, cols, 0);
                if let Some(Prefetch { ahead, first, next }) = panel.ahead {
                    ahead.next_tile(b, next, first);
                }
            });
        }
        let cols = spec.out[1];
        let stride = spec.window.stride;
        bump(b, at.input, rows * stride[0] * spec.input.row, cols * stride[1] * spec.input.pixel);
        at.results.bump(b, &spec.output, &spec.sides, rows, -(cols as isize));
        self.counted(b, at, 1, 0, cols);
        self.counted(b, at, 0, rows, 0);
    }

    /// Moves on the row or column that leaving out taps asks for.
    fn counted(&self, b: &mut KernelBuilder, at: &Cursor, d: usize, forward: usize, back: usize) {
        if self.leaves_out[d].is_some() {
            bump(b, at.at[d], forward, back);
        }
    }

    fn tile(&self, b: &mut KernelBuilder, at: &Cursor, panel: Panel, tile: Tile) {
        let spec = self.spec;
        let blocks = spec.blocks;
        let taps = [0, 1].map(|d| {
            let here = b.get(at.at[d]);
            self.leaves_out[d].map(|border| border.emit(b, &spec.window, d, here, [tile.rows, tile.cols][d]))
        });
        let of_taps = (spec.start == Start::Taps).then(|| start::of_taps(b, spec, self.lanes, panel.bias, taps));
        let acc: Vec<Var<Vector>> = (0..tile.pixels() * blocks)
            .map(|i| {
                let start = match &of_taps {
                    Some(starts) => starts[i % blocks],
                    None => self.expander.start(b, panel.bias, spec.start == Start::Bias, i % blocks),
                };
                b.var(start)
            })
            .collect();
        let weights = b.var(panel.weights);
        for nest in nests(spec) {
            let base = b.get(at.input);
            let start = add(b, base, nest.start);
            let sums = Sums { input: b.var(start), weights, acc: &acc, panel, tile, taps };
            self.nest(b, &nest, 0, &sums, &Factors::default());
        }
        let sums: Vec<Vector> = (0..acc.len())
            .map(|i| {
                let sum = b.get(acc[i]);
                self.expander.finish(b, sum, panel.bias, i % blocks)
            })
            .collect();
        let extent = [tile.rows, tile.cols, blocks];
        at.results.store_tile(b, &spec.output, &spec.sides, &sums, extent, spec.last_lanes.min(self.lanes));
    }

    /// The loops of a nest from the `level`-th on.
    fn nest(&self, b: &mut KernelBuilder, nest: &Nest, level: usize, sums: &Sums, factors: &Factors) {
        let loaded = (nest.scales_at == Some(level)).then(|| self.expander.factors(b, sums.weights));
        let factors = loaded.as_ref().unwrap_or(factors);
        match nest.loops.get(level) {
            Some(l) if l.count == 1 => self.nest(b, nest, level + 1, sums, factors),
            Some(l) => {
                let here = b.get(sums.input);
                input_ahead::prefetch(b, here, &input_ahead::lines(self.spec, nest, level, sums.tile));
                let once = |b: &mut KernelBuilder| {
                    self.nest(b, nest, level + 1, sums, factors);
                    // The inner loops have moved the pointer already.
                    let moved = nest.loops[level + 1..].iter().find(|l| l.count > 1).map_or(0, |l| l.count * l.stride);
                    bump(b, sums.input, l.stride, moved);
                };
                let Some(taps) = l.window().and_then(|d| sums.taps[d]) else { return b.repeat(l.count as u64, once) };
                let weights = self.bytes_of_weights(nest, level + 1);
                taps.repeat(b, l.count, [(sums.input, l.stride), (sums.weights, weights)], once);
            }
            None => {
                let packing = self.spec.packing;
                let ahead = sums.panel.ahead.filter(|p| p.ahead.is_done_by(nest.run.len()));
                for (s, step) in nest.run.iter().enumerate() {
                    if let Some(Prefetch { ahead, next, .. }) = ahead {
                        ahead.prefetch(b, s, [sums.weights, next]);
                    }
                    self.step(b, s, step.disp, sums, factors);
                }
                if let Some(Prefetch { ahead, next, .. }) = ahead {
                    ahead.next_run(b, next);
                }
                bump(b, sums.weights, packing.run_bytes(nest.run.len(), self.spec.blocks * self.lanes), 0);
            }
        }
    }

    /// Bytes of the weights that the loops of a nest from the `level`-th on read.
    fn bytes_of_weights(&self, nest: &Nest, level: usize) -> usize {
        let (packing, width) = (self.spec.packing, self.spec.blocks * self.lanes);
        let factors = if nest.scales_at == Some(level) { packing.scale_bytes(width) } else { 0 };
        factors
            + match nest.loops.get(level) {
                Some(l) => l.count * self.bytes_of_weights(nest, level + 1),
                None => packing.run_bytes(nest.run.len(), width),
            }
    }

    /// One step of the reduction: `blocks` weight vectors, one broadcast and `blocks` multiply-adds a pixel.
    fn step(&self, b: &mut KernelBuilder, s: usize, disp: usize, sums: &Sums, factors: &Factors) {
        let (spec, tile) = (self.spec, sums.tile);
        let (ip, wp) = (b.get(sums.input), b.get(sums.weights));
        let weights: Vec<Factor> = (0..spec.blocks)
            .map(|j| {
                let w = self.expander.weight(b, wp, s, j, sums.panel.bias, factors);
                Factor::new(b, spec.number, w, KernelBuilder::split_i8)
            })
            .collect();
        for p in 0..tile.pixels() {
            let (r, c) = (p / tile.cols, p % tile.cols);
            let pixel = r * spec.window.stride[0] * spec.input.row + c * spec.window.stride[1] * spec.input.pixel;
            let x = b.broadcast(ip.at((disp + pixel) as i32));
            let x = Factor::new(b, spec.number, x, KernelBuilder::split_u8);
            for (j, &w) in weights.iter().enumerate() {
                let var = sums.acc[p * spec.blocks + j];
                let sum = b.get(var);
                let sum = match (x, w) {
                    (Factor::Whole(x), Factor::Whole(w)) => match spec.number {
                        Number::Bf16 => b.dot_bf16(sum, x, w),
                        Number::U8 => b.dot_u8s8(sum, x, w),
                        _ => b.fma(sum, x, w),
                    },
                    (Factor::Split(x), Factor::Split(w)) => b.dot_split(sum, x, w),
                    _ => unreachable!("both factors are split, or none"),
                };
                b.set(var, sum);
            }
        }
    }
}

/// A factor in registers. Bytes are split once for all its products where no instruction multiplies them as they are.
#[derive(Copy, Clone)]
enum Factor {
    Whole(Vector),
    Split([Vector; 2]),
}

impl Factor {
    fn new(
        b: &mut KernelBuilder,
        number: Number,
        v: Vector,
        split: fn(&mut KernelBuilder, Vector) -> [Vector; 2],
    ) -> Factor {
        let splits = number == Number::U8 && !b.target().has_dot_u8s8();
        if splits { Factor::Split(split(b, v)) } else { Factor::Whole(v) }
    }
}
