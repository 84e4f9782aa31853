//! What the implicit GEMM costs.

use super::stream::{Reread, beside};
use super::{Class, Direct, Planner, Problem, Tiling};
use crate::families::igemm::border::Border;
use crate::families::igemm::spec::Number;

/// Loads, address arithmetic and loop control that do not hide behind multiply-adds.
const STEP_OVERHEAD: f64 = 1.03;
/// Cycles to fill and drain the pipeline around a tile.
const TILE: f64 = 25.0;
/// Cycles for each accumulator of a tile: bias, epilogue, store.
const ACCUMULATOR: f64 = 1.5;
/// The same where sums of bytes are scaled, rounded and narrowed.
const REQUANTISED: f64 = 3.5;
/// Instructions for the product of an element that is split into 16-bit lanes: two multiplications, two additions.
const SPLIT: f64 = 4.0;
/// Register tiles that share the fetching of the next panel; beyond, it is not fetched ahead.
const AHEAD: usize = 64;

impl Planner {
    /// Cycles of the whole product.
    pub(super) fn direct_cycles(&self, p: &Problem, d: &Direct) -> f64 {
        let classes = self.classes(p, d);
        let compute: f64 = classes.iter().map(|c| self.compute(p, c)).sum();
        let groups = (p.images * p.groups) as f64;
        let compute = compute * groups;
        let sets = if p.own_weights { p.images } else { 1 };
        let weights = p.weight_bytes();
        let units = classes.first().map_or(1, |c| c.tiling.groups(p.out[0])) * p.images / sets;
        let ahead = classes.iter().all(|c| c.tiling.tiles(p.out) <= AHEAD);
        // The first unit reads the weights from where they wait, the others from where the first left them. A panel that stays is
        // counted with its tiles.
        let first = weights / self.far_rate();
        let units = if d.panels_outside { 1 } else { units };
        let again =
            (units - 1) as f64 * Reread::new(&self.machine, weights, weights + self.unit_input(p, &classes)).cycles();
        let images = self.images(p);
        if ahead { beside(compute, first) + again + images } else { compute + first + again + images }
    }

    /// Cycles of the panels of a class over one image and group, weights at hand.
    pub(super) fn compute(&self, p: &Problem, c: &Class) -> f64 {
        let (m, depth, lanes) = (&self.machine, p.depth() as f64, self.target.lanes());
        let [rows, cols] = p.out;
        let panel = depth * (c.blocks * lanes) as f64 * p.packing.bytes();
        let expand = p.packing.instructions(&self.target) * c.blocks as f64;
        let input = self.unit_input(p, std::slice::from_ref(c));
        let groups = c.tiling.groups(rows);
        // The panel is read by each tile, beside the input of the unit. (The next one, fetched meanwhile, passes by: counting it
        // would prefer narrow panels at 7x7, where 14x2 measured best with panels of 0.6 MB.)
        let weights =
            if panel + 8192.0 <= 0.7 * m.l1 as f64 { Reread::default() } else { Reread::new(m, panel, panel + input) };
        let tiles = [c.tiling.tile_rows, c.tiling.columns(cols).first().map_or(1, |&(n, _)| n)];
        let depth = depth * left(p, tiles);
        let tile = |rows: usize, cols: usize| {
            let pixels = (rows * cols) as f64;
            let accumulators = pixels * c.blocks as f64;
            let step =
                ((accumulators + expand) / self.products(p)).max((pixels + c.blocks as f64) / m.loads).max(m.latency);
            let finish = if p.number == Number::U8 { REQUANTISED } else { ACCUMULATOR };
            weights.beside(depth * step * STEP_OVERHEAD) + TILE + finish * accumulators
        };
        let row_of_tiles = |rows: usize| -> f64 {
            c.tiling.columns(cols).iter().map(|&(n, count)| count as f64 * tile(rows, n)).sum()
        };
        let per_unit = c.tiling.group_rows.min(rows);
        let t = c.tiling.tile_rows;
        let unit =
            |n: usize| (n / t) as f64 * row_of_tiles(t) + if n.is_multiple_of(t) { 0.0 } else { row_of_tiles(n % t) };
        let whole = rows / per_unit;
        let mut all = whole as f64 * unit(per_unit);
        if !rows.is_multiple_of(per_unit) {
            all += unit(rows % per_unit);
        }
        // Every panel reads the input of its unit again; where panels are outside, that of all units.
        let set = if c.tiling.panels_outside { input * (groups * p.images) as f64 } else { input };
        let passes = groups as f64 * Reread::new(m, input, set + panel).cycles();
        (all + passes) * c.panels as f64
    }

    /// Products of vectors of elements a cycle.
    fn products(&self, p: &Problem) -> f64 {
        match p.number {
            Number::Bf16 => self.machine.bf16,
            Number::U8 if !self.target.has_dot_u8s8() => self.machine.fmas / SPLIT,
            _ => self.machine.fmas,
        }
    }

    /// Bytes of input under a unit.
    fn unit_input(&self, p: &Problem, classes: &[Class]) -> f64 {
        let rows = classes.iter().map(|c| c.tiling.group_rows.min(p.out[0])).max().unwrap_or(1);
        4.0 * (p.elements() * self.under(p, 0, rows) * self.under(p, 1, p.out[1])) as f64
    }

    /// Inputs under so many outputs along a dimension, a border that is left out not counted.
    fn under(&self, p: &Problem, d: usize, outputs: usize) -> usize {
        let w = &p.window;
        let reach = (outputs.max(1) - 1) * w.stride[d] + (w.kernel[d] - 1) * w.dilation[d] + 1;
        p.border.map_or(reach, |b| reach.min(b.size[d]))
    }

    /// Cycles to read the input from, and write the output to, where the neighbouring layers have it.
    pub(super) fn images(&self, p: &Problem) -> f64 {
        let input = (p.elements() * self.under(p, 0, p.out[0]) * self.under(p, 1, p.out[1])) as f64;
        let output = p.outputs.div_ceil(p.number.element()) * p.pixels();
        let bytes = 4.0 * (p.images * p.groups) as f64 * (input + output as f64);
        let m = &self.machine;
        if bytes <= 0.75 * m.l2 as f64 { 0.0 } else { 0.5 * bytes / m.l3_rate }
    }

    /// Bytes a cycle at which weights come that nobody has read since the last run of the model.
    pub(super) fn far_rate(&self) -> f64 {
        let m = &self.machine;
        if self.resident <= m.l2 / 2 {
            m.l2_rate
        } else if self.resident <= m.l3 {
            m.l3_rate
        } else {
            m.memory_rate
        }
    }

    /// The cut by a choice: panels of its width, the remainder in wider or narrower ones.
    pub(super) fn classes(&self, p: &Problem, d: &Direct) -> Vec<Class> {
        let blocks = p.outputs.div_ceil(self.target.lanes());
        super::panels::split(&self.target, blocks, d.blocks)
            .into_iter()
            .map(|(first, width, panels)| {
                let tiling = self.narrowed(p, d, width);
                let panel = ((p.depth() * width * self.target.lanes()) as f64 * p.packing.bytes()) as usize;
                Class { first, blocks: width, panels, tiling: shared(tiling, p, panels, panel) }
            })
            .collect()
    }

    /// The tiling of a choice for panels that may be wider than its own.
    fn narrowed(&self, p: &Problem, d: &Direct, blocks: usize) -> Tiling {
        let most = self.most_pixels(p, blocks);
        let tile_rows = d.tile[0].min(most);
        let tile_cols = d.tile[1].min(most / tile_rows).max(1);
        let group_rows =
            if d.group_rows >= p.out[0] { p.out[0] } else { d.group_rows.next_multiple_of(tile_rows).min(p.out[0]) };
        Tiling { tile_rows, tile_cols, group_rows, panels_outside: d.panels_outside }
    }
}

/// What is left of the reduction where tiles of these rows and columns leave out the border.
fn left(p: &Problem, tiles: [usize; 2]) -> f64 {
    let borders = Border::left_out(p.border, &p.window, p.out, tiles);
    (0..2).map(|d| borders[d].map_or(1.0, |b| b.share(&p.window, p.out, d, tiles[d]))).product()
}

/// Weights that cost nothing to read once more: L2 holds them.
const LIGHT: usize = 256 << 10;
/// Units from which on an odd number of them leaves no thread idle for long.
const MANY_UNITS: usize = 9;

/// The tiling with the rows cut in two, where two threads could not share the units evenly and the `panels` of so many bytes are light.
fn shared(t: Tiling, p: &Problem, panels: usize, panel: usize) -> Tiling {
    let rows = p.out[0];
    let units = p.images * panels * t.groups(rows);
    let half = rows.div_ceil(2).next_multiple_of(t.tile_rows);
    let uneven = units % 2 == 1 && units < MANY_UNITS && t.groups(rows) == 1;
    if uneven && half < rows && panels * panel <= LIGHT { Tiling { group_rows: half, ..t } } else { t }
}
