//! Depthwise convolution of bytes by dot products of four.
//!
//! A vector holds four neighbouring pixels of a block of channels. Transposed, each lane has the four pixels of its channel, and one dot
//! product with four weights of a filter row adds up to four taps for a vector of channels. Such a *window* serves all output rows and
//! columns whose taps lie in it: each with weights that stand where its taps are, and zeros elsewhere.

use super::input::Input;
use super::{Source, Spec};
use crate::families::igemm::spec::Strides;
use crate::families::tile::split_evenly;
use crate::families::walk::{Results, advance};
use mnnc_vector::{CompileError, CompiledKernel, Gpr, KernelBuilder, Target, Vector};

/// Pixels of a window.
const WINDOW: usize = 4;
/// Output columns of a tile: as many as are stored at once.
const COLUMNS: usize = 4;

/// Where the taps of a filter row lie in windows, for each phase of an output column: its first tap's distance from the window that it is in.
#[derive(Clone, PartialEq, Debug)]
pub struct Taps {
    /// Pixels from window to window.
    step: usize,
    stride: usize,
    /// For each phase that occurs, the windows that an output reads: distance from its first one, in steps, and the tap under each pixel.
    phases: Vec<(usize, Vec<(usize, [Option<usize>; WINDOW])>)>,
}

impl Taps {
    /// The cheapest distance of windows for a filter row of so many taps, for tiles of `rows` rows of a filter of `kernel` rows.
    pub fn new(taps: usize, stride: usize, dilation: usize, kernel: usize, rows: usize) -> Taps {
        let input_rows = rows + kernel - 1;
        let cost = |t: &Taps| {
            let windows: std::collections::BTreeSet<usize> =
                (0..COLUMNS).flat_map(|o| t.windows(o).map(|(w, _, _)| w).collect::<Vec<_>>()).collect();
            let dots: usize = (0..COLUMNS).map(|o| t.windows(o).count()).sum();
            // A window is a load and two shuffles.
            3 * windows.len() * input_rows + dots * kernel * rows
        };
        let all = [1, 2, 4].map(|step| Taps::with_step(step, taps, stride, dilation));
        all.into_iter().min_by_key(cost).expect("there are steps to choose from")
    }

    fn with_step(step: usize, taps: usize, stride: usize, dilation: usize) -> Taps {
        let mut phases: Vec<(usize, Vec<(usize, [Option<usize>; WINDOW])>)> = Vec::new();
        for o in 0..step {
            let phase = o * stride % step;
            if phases.iter().any(|(p, _)| *p == phase) {
                continue;
            }
            let mut windows: Vec<(usize, [Option<usize>; WINDOW])> = Vec::new();
            for k in 0..taps {
                let at = phase + k * dilation;
                match windows.last_mut() {
                    Some((w, under)) if at < *w * step + WINDOW => under[at - *w * step] = Some(k),
                    _ => {
                        let mut under = [None; WINDOW];
                        under[at % step] = Some(k);
                        windows.push((at / step, under));
                    }
                }
            }
            phases.push((phase, windows));
        }
        Taps { step, stride, phases }
    }

    /// The windows that output column `o` of a tile reads: number of the window, number of its weights, tap under each pixel.
    fn windows(&self, o: usize) -> impl Iterator<Item = (usize, usize, [Option<usize>; WINDOW])> + '_ {
        let first = o * self.stride;
        let at = self.phases.iter().position(|(p, _)| *p == first % self.step).expect("every phase is there");
        let before: usize = self.phases[..at].iter().map(|(_, w)| w.len()).sum();
        let numbered = self.phases[at].1.iter().enumerate();
        numbered.map(move |(i, &(w, under))| (first / self.step + w, before + i, under))
    }

    /// Pixels from window to window, which decides the rest for a filter and its stride.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Vectors of weights for a filter row.
    pub fn vectors(&self) -> usize {
        self.phases.iter().map(|(_, w)| w.len()).sum()
    }

    /// Packs weights of `[channel][row][tap]` as `[block][row][vector][lane]` dwords, zero beyond the last channel.
    pub fn pack(&self, values: &[i8], [rows, taps]: [usize; 2], blocks: usize, lanes: usize) -> Vec<u8> {
        let vectors: Vec<[Option<usize>; WINDOW]> =
            self.phases.iter().flat_map(|(_, w)| w.iter().map(|(_, under)| *under)).collect();
        let mut out = Vec::with_capacity(blocks * rows * vectors.len() * lanes * WINDOW);
        for block in 0..blocks {
            for row in 0..rows {
                for under in &vectors {
                    for channel in block * lanes..(block + 1) * lanes {
                        let tap = |t: usize| values.get((channel * rows + row) * taps + t).copied().unwrap_or(0);
                        out.extend(under.map(|t| t.map_or(0, tap).cast_unsigned()));
                    }
                }
            }
        }
        out
    }
}

/// Rows of a tile: accumulators leave room for the tables of the transposition and a window.
pub fn tile_rows(target: &Target, rows: usize) -> usize {
    let most = if target.vec_regs() == 32 { 5 } else { 2 };
    rows.min(most)
}

/// Compiles the kernel. Arguments: input (at the first tap of the first output pixel; by rows, one for each), weights ([`Taps::pack`]), what the sums start from
/// (a vector of `i32` a block), side operands, output.
pub fn compile(spec: &Spec, taps: &Taps, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let lanes = b.lanes();
    Emitter { spec, taps, lanes, tile_rows: tile_rows(target, spec.group_rows()) }.emit(&mut b);
    b.compile()
}

struct Emitter<'a> {
    spec: &'a Spec,
    taps: &'a Taps,
    lanes: usize,
    tile_rows: usize,
}

/// Equal tiles of a row: first output column, columns each, number; and input pixels from the first tap to the end of the row, if a window
/// of theirs would reach beyond.
struct Run {
    cols: usize,
    count: usize,
    left: Option<usize>,
}

/// What the tiles of a unit have in common.
struct Unit {
    input: Input,
    weights: Gpr,
    start: Gpr,
    results: Results,
    tables: Tables,
}

/// Tables of the transposition of pixels and channels.
#[derive(Copy, Clone)]
struct Tables {
    words: Option<Vector>,
    bytes: Vector,
}

impl Tables {
    fn new(b: &mut KernelBuilder) -> Tables {
        let lanes = b.lanes() as u32;
        let quads = lanes / 4;
        // Each 128-bit part takes the same four channels of all pixels, then its square of bytes is transposed.
        let words: Vec<u32> = (0..lanes).map(|i| i % 4 * quads + i / 4).collect();
        let bytes: Vec<u32> = (0..lanes).map(|i| i % 4 * 0x0101_0101 + 0x0c08_0400).collect();
        Tables { words: (quads > 1).then(|| b.table(&words)), bytes: b.table(&bytes) }
    }
    fn transpose(self, b: &mut KernelBuilder, v: Vector) -> Vector {
        let v = match self.words {
            Some(words) => b.permute_by(v, words),
            None => v,
        };
        b.permute_bytes(v, self.bytes)
    }
}

impl Emitter<'_> {
    /// Pixels of a row of taps from the first to the last.
    fn reach(&self, cols: usize) -> usize {
        let w = &self.spec.window;
        (cols - 1) * w.stride[1] + (w.kernel[1] - 1) * w.dilation[1] + 1
    }

    fn runs(&self) -> Vec<Run> {
        let (total, stride) = (self.spec.out[1], self.spec.window.stride[1]);
        let mut runs: Vec<Run> = Vec::new();
        let mut first = 0;
        for (cols, count) in split_evenly(total, COLUMNS) {
            let last = (0..cols).flat_map(|o| self.taps.windows(o).map(|w| w.0).collect::<Vec<_>>()).max().unwrap_or(0);
            for _ in 0..count {
                let left = self.reach(total) - first * stride;
                let beyond = last * self.taps.step + WINDOW > left;
                match runs.last_mut() {
                    Some(r) if !beyond && r.cols == cols && r.left.is_none() => r.count += 1,
                    _ => runs.push(Run { cols, count: 1, left: beyond.then_some(left) }),
                }
                first += cols;
            }
        }
        runs
    }

    fn emit(&self, b: &mut KernelBuilder) {
        let (spec, vector) = (self.spec, 4 * self.lanes);
        let first = spec.inputs();
        let inputs: Vec<Gpr> = (0..first).map(|i| b.arg(i)).collect();
        let (weights, start) = (b.arg(first), b.arg(first + 1));
        let sides: Vec<Gpr> = (0..spec.sides.len()).map(|i| b.arg(first + 2 + i)).collect();
        let output = b.arg(first + 2 + spec.sides.len());
        let tables = Tables::new(b);
        let (begin, end) = (b.begin(), b.end());
        let group_rows = spec.group_rows();
        b.for_range(begin, end, 1, |b, unit| {
            let place = spec.place(b, unit);
            let per_row = Strides { row: spec.input.row * spec.window.stride[0], ..spec.input };
            let inputs = inputs.iter().map(|&i| place.of(b, i, &per_row)).collect();
            let to = place.of(b, output, &spec.output);
            let sides: Vec<Gpr> = sides.iter().zip(&spec.sides).map(|(&p, s)| place.of(b, p, &s.strides)).collect();
            let at = Unit {
                input: Input::new(b, spec.source, inputs),
                weights: advance(b, weights, place.panel, spec.window.kernel[0] * self.taps.vectors() * vector),
                start: advance(b, start, place.panel, vector),
                results: Results::new(b, to, &sides).behind(b, spec.epilogue.as_ref(), spec.bounded),
                tables,
            };
            if spec.groups == 1 {
                // Rows of a ring are one tile.
                debug_assert!(spec.source == Source::Image || spec.out[0] <= self.tile_rows);
                for (rows, count) in split_evenly(spec.out[0], self.tile_rows) {
                    b.repeat(count as u64, |b| self.tile_row(b, &at, rows));
                }
                return;
            }
            let total = b.int(spec.out[0] as i64);
            let left = b.int_sub(total, place.row);
            let here = b.int_min(left, group_rows as i32);
            let whole = b.int_div(here, self.tile_rows as u32);
            b.repeat_dyn(whole, |b| self.tile_row(b, &at, self.tile_rows));
            let rest = b.int_rem(here, self.tile_rows as u32);
            b.repeat_dyn(rest, |b| self.tile_row(b, &at, 1));
        });
    }

    fn tile_row(&self, b: &mut KernelBuilder, at: &Unit, rows: usize) {
        let spec = self.spec;
        let [sh, sw] = spec.window.stride;
        for run in self.runs() {
            b.repeat(run.count as u64, |b| {
                self.tile(b, at, rows, &run);
                at.input.forward(b, &spec.input, run.cols * sw);
                at.results.bump(b, &spec.output, &spec.sides, 0, run.cols as isize);
            });
        }
        let cols = spec.out[1];
        at.input.next_rows(b, &spec.input, rows * sh, cols * sw);
        at.results.bump(b, &spec.output, &spec.sides, rows, -(cols as isize));
    }

    fn tile(&self, b: &mut KernelBuilder, at: &Unit, rows: usize, run: &Run) {
        let spec = self.spec;
        let ([kh, _], [sh, _], [dh, _]) = (spec.window.kernel, spec.window.stride, spec.window.dilation);
        let mut sums: Vec<Vector> = (0..rows * run.cols).map(|_| b.load(at.start.at(0))).collect();
        // For each window the outputs that read it, with the number of their weights.
        let mut windows: std::collections::BTreeMap<usize, Vec<(usize, usize)>> = std::collections::BTreeMap::new();
        for o in 0..run.cols {
            for (window, weights, _) in self.taps.windows(o) {
                windows.entry(window).or_default().push((o, weights));
            }
        }
        for y in 0..(rows - 1) * sh + (kh - 1) * dh + 1 {
            let taps: Vec<(usize, usize)> =
                (0..rows).flat_map(|r| (0..kh).map(move |k| (r, k))).filter(|(r, k)| r * sh + k * dh == y).collect();
            if taps.is_empty() {
                continue;
            }
            for (&window, readers) in &windows {
                let first = window * self.taps.step;
                let pixels = run.left.map_or(WINDOW, |left| WINDOW.min(left - first));
                let mem = at.input.at(b, &spec.input, y, first);
                let v = b.load_part(mem, pixels * self.lanes / 4);
                let v = at.tables.transpose(b, v);
                for &(r, k) in &taps {
                    for &(o, weights) in readers {
                        let w = at.weights.at(((k * self.taps.vectors() + weights) * 4 * self.lanes) as i32);
                        let sum = &mut sums[r * run.cols + o];
                        *sum = b.dot_u8s8(*sum, v, w);
                    }
                }
            }
        }
        at.results.store_tile(b, &spec.output, &spec.sides, &sums, [rows, run.cols, 1], self.lanes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every tap of every output lies under exactly one pixel of its windows, where the tap's pixel is.
    #[test]
    fn windows_cover_the_taps() {
        for (taps, stride, dilation) in
            [(3, 1, 1), (3, 2, 1), (5, 1, 1), (5, 2, 1), (7, 1, 1), (3, 1, 2), (3, 3, 5), (1, 1, 1)]
        {
            for step in [1, 2, 4] {
                let t = Taps::with_step(step, taps, stride, dilation);
                for o in 0..9 {
                    let mut seen = Vec::new();
                    for (w, _, under) in t.windows(o) {
                        for (i, tap) in under.iter().enumerate() {
                            if let Some(k) = tap {
                                assert_eq!(w * step + i, o * stride + k * dilation);
                                seen.push(*k);
                            }
                        }
                    }
                    seen.sort_unstable();
                    assert_eq!(seen, (0..taps).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn small_filters_take_one_dot_product_a_row() {
        for stride in [1, 2] {
            let t = Taps::new(3, stride, 1, 3, 5);
            assert!((0..COLUMNS).all(|o| t.windows(o).count() <= 2), "{t:?}");
        }
        assert_eq!(Taps::new(3, 1, 1, 3, 5).step, 2);
    }
}
