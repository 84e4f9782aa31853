//! The candidates of a problem, and the cheapest among them.

use super::panels::usual_width;
use super::{Choice, Direct, Planner, Problem, Winograd};
use crate::families::tile::{max_pixels_of, split_evenly, tile_rows};
use crate::families::winograd::{Phases, Size};

/// What a candidate must gain by the model to be taken instead of the usual one, which was measured: the model's own error.
const MARGIN: f64 = 0.97;
/// What transformed tiles must gain over the definition in the same numbers: they round worse and take more memory.
const WINOGRAD_MARGIN: f64 = 0.9;
/// Output pixels of a unit, as measured best on large images.
const UNIT: usize = 200;
/// Units that threads can share evenly: a cut that the cost model prefers has as many, unless the usual one has not either.
const SHARED: usize = 8;
/// Widest panel among the candidates with many pixels.
const WIDEST: usize = 6;
/// Tiles of a band beyond which its buffers leave every L2.
const MOST_TILES: usize = 512;

impl Planner {
    /// The schedule of a product: the tuned one, else the cheapest by the model.
    pub fn choose(&self, p: &Problem) -> Choice {
        if let Some(&tuned) = self.tuned.get(p) {
            return tuned;
        }
        match self.winograd(p, p) {
            Some(w) => Choice::Winograd(w),
            None => Choice::Direct(self.direct(p)),
        }
    }

    /// The transformed tiles that the product should be computed with, if that is better than `plain`: the same product, or the one of
    /// numbers with fewer bits that takes its place, by the implicit GEMM.
    pub fn winograd(&self, p: &Problem, plain: &Problem) -> Option<Winograd> {
        match self.tuned.get(p) {
            Some(Choice::Winograd(w)) => return Some(*w),
            Some(Choice::Direct(_)) => return None,
            None => {}
        }
        let (w, cycles) = cheapest(self.winograd_candidates(p), |w| self.winograd_cycles(p, w))?;
        let margin = if plain.number == p.number { WINOGRAD_MARGIN } else { 1.0 };
        (cycles < margin * self.direct_cycles(plain, &self.direct(plain))).then_some(w)
    }

    /// The cut with the tallest bands, of the same tiles, that `fits`, if one is at most `dearer` times as dear; else the one of lowest bands
    /// that is. A tuned one stays as it is.
    pub fn with_band(&self, p: &Problem, w: Winograd, dearer: f64, fits: impl Fn(&Winograd) -> bool) -> Winograd {
        if self.tuned.contains_key(p) || fits(&w) {
            return w;
        }
        let most = dearer * self.winograd_cycles(p, &w);
        let tiles = |w: &Winograd| w.images * w.band;
        let mut lower: Vec<Winograd> = self.winograd_candidates(p);
        lower.retain(|o| o.size == w.size && tiles(o) < tiles(&w) && self.winograd_cycles(p, o) <= most);
        lower.sort_by_key(|o| std::cmp::Reverse(tiles(o)));
        lower.iter().copied().find(fits).or(lower.last().copied()).unwrap_or(w)
    }

    /// The cut that the product should be computed with by the implicit GEMM.
    pub fn direct(&self, p: &Problem) -> Direct {
        if let Some(Choice::Direct(d)) = self.tuned.get(p) {
            return *d;
        }
        self.better(p, self.usual(p), self.direct_candidates(p))
    }

    /// The same among cuts with panels of `blocks` vectors.
    pub fn direct_of_width(&self, p: &Problem, blocks: usize) -> Direct {
        let mut all = self.direct_candidates(p);
        all.retain(|d| d.blocks == blocks);
        self.better(p, self.usual_of_width(p, blocks), all)
    }

    /// The cheapest of all, if it is cheaper than the usual one.
    fn better(&self, p: &Problem, usual: Direct, mut all: Vec<Direct>) -> Direct {
        let bound = MARGIN * self.direct_cycles(p, &usual);
        let units = self.units(p, &usual).min(SHARED);
        all.retain(|d| self.units(p, d) >= units);
        match cheapest(all, |d| self.direct_cycles(p, d)) {
            Some((d, cycles)) if cycles < bound => d,
            _ => usual,
        }
    }

    /// Units of the step that has most.
    fn units(&self, p: &Problem, d: &Direct) -> usize {
        let of = |c: &super::Class| p.images * c.panels * c.tiling.groups(p.out[0]);
        self.classes(p, d).iter().map(of).max().unwrap_or(0)
    }

    /// Every candidate with its cycles by the model, cheapest first.
    pub fn candidates(&self, p: &Problem) -> Vec<(Choice, f64)> {
        let direct = self.direct_candidates(p).into_iter().map(|d| (Choice::Direct(d), self.direct_cycles(p, &d)));
        let winograd = self.winograd_candidates(p).into_iter();
        let winograd = winograd.map(|w| (Choice::Winograd(w), self.winograd_cycles(p, &w)));
        let mut all: Vec<(Choice, f64)> = direct.chain(winograd).collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        all
    }

    /// Cycles of a schedule by the model.
    pub fn cycles(&self, p: &Problem, choice: &Choice) -> f64 {
        match choice {
            Choice::Direct(d) => self.direct_cycles(p, d),
            Choice::Winograd(w) => self.winograd_cycles(p, w),
        }
    }

    /// Most pixels of a tile: what the registers hold, and no more than L1 can hold at once. Elements a multiple of 4 KiB apart
    /// all fall into one set of 12 ways (measured: 14 rows of such a matrix run at half the speed of 12).
    pub(super) fn most_pixels(&self, p: &Problem, blocks: usize) -> usize {
        let ways = if p.apart > 0 && p.apart.is_multiple_of(4096) { 10 } else { usize::MAX };
        // Factors in registers leave fewer accumulators.
        let held = (self.target.vec_regs() - 2).saturating_sub(blocks * (1 + p.packing.registers())) / blocks;
        max_pixels_of(&self.target, p.number, blocks).min(held).clamp(1, ways)
    }

    /// The cut that measured best on most products.
    pub(super) fn usual(&self, p: &Problem) -> Direct {
        let blocks = p.outputs.div_ceil(self.target.lanes()).max(1);
        self.usual_of_width(p, usual_width(&self.target, p, blocks))
    }

    /// The same with panels of this width.
    pub(super) fn usual_of_width(&self, p: &Problem, width: usize) -> Direct {
        let [rows, cols] = p.out;
        let most = self.most_pixels(p, width);
        let high = tile_rows(cols, rows, most);
        // Few enough rows that the input of the unit stays in L2 while all panels pass over it; a small image is one unit, so that
        // each panel of weights is read once.
        let one = rows * cols <= 2 * UNIT || high > 1;
        let group_rows = if one { rows } else { (UNIT / cols).max(1) };
        Direct { blocks: width, tile: [high, (most / high).min(cols)], group_rows, panels_outside: false }
    }

    fn direct_candidates(&self, p: &Problem) -> Vec<Direct> {
        let [rows, cols] = p.out;
        let blocks = p.outputs.div_ceil(self.target.lanes()).max(1);
        let usual = usual_width(&self.target, p, blocks);
        let widest = if self.target.vec_regs() >= 32 { WIDEST } else { 3 };
        let mut out = vec![self.usual(p)];
        for width in (1..=blocks.min(widest)).chain((usual > widest).then_some(usual)) {
            let most = self.most_pixels(p, width);
            for high in 1..=rows.min(most).min(4) {
                let wide = (most / high).min(cols);
                // Tiles of even width have the width of the first.
                let even = split_evenly(cols, wide).first().map_or(1, |r| r.0);
                for group_rows in self.unit_heights(p, high) {
                    for panels_outside in [false, true] {
                        let d = Direct { blocks: width, tile: [high, even], group_rows, panels_outside };
                        let differs = !panels_outside || (p.images > 1 && !p.own_weights);
                        if differs && !out.contains(&d) {
                            out.push(d);
                        }
                    }
                }
            }
        }
        out
    }

    /// Rows of a unit that are worth trying with tiles of `high` rows: all, the usual number, and what L2 holds beside the weights.
    fn unit_heights(&self, p: &Problem, high: usize) -> Vec<usize> {
        let [rows, cols] = p.out;
        let row_bytes = 4 * p.elements() * cols * p.window.stride.iter().product::<usize>();
        let fitting = self.machine.l2 / 3 / row_bytes.max(1);
        let mut out = vec![rows];
        for n in [UNIT / cols, fitting] {
            let n = n.max(high) / high * high;
            if n < rows && !out.contains(&n) {
                out.push(n);
            }
        }
        out
    }

    fn winograd_candidates(&self, p: &Problem) -> Vec<Winograd> {
        if !p.is_winograd(&self.target) {
            return Vec::new();
        }
        let mut out = Vec::new();
        for size in Size::all(p.window.kernel) {
            if size.error(p.inputs) > self.error_budget {
                continue;
            }
            let phases = Phases::new(p, size);
            let ([rows, cols], all) = (phases.grid(), p.images * phases.count(0));
            let mut last = 0;
            for bands in 1..=rows {
                let band = rows.div_ceil(bands);
                if band != last && (band == 1 || band * cols <= MOST_TILES) {
                    out.push(Winograd { size, band, images: 1 });
                }
                last = band;
            }
            let most = (MOST_TILES / (rows * cols)).min(all);
            for n in 2..=most {
                let images = split_evenly(all, n).first().map_or(1, |r| r.0);
                let w = Winograd { size, band: rows, images };
                if images > 1 && out.last() != Some(&w) {
                    out.push(w);
                }
            }
        }
        out
    }
}

fn cheapest<T: Copy>(all: Vec<T>, cycles: impl Fn(&T) -> f64) -> Option<(T, f64)> {
    all.into_iter().map(|x| (x, cycles(&x))).min_by(|a, b| a.1.total_cmp(&b.1))
}
