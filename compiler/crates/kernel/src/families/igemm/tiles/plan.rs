//! How an output is cut into tiles of at most 16 pixels.

use super::super::border::Border;
use super::super::spec::{Number, Spec};

/// Rows of a tile.
const ROWS: usize = 16;
/// Bytes of weights that L2 holds beside an image.
const WEIGHTS: usize = 1 << 20;
/// Channels of a vector of sums.
const LANES: usize = 16;
/// Most bytes of sums of a unit that is done in chunks.
const SUMS: usize = 32 << 10;
/// Most pixels of an image that is done at once: what its sums take in the frame stays in L1.
const MOST: usize = 128;

/// Output pixels of a unit of a large image, whose input L2 holds while all panels pass over it.
const UNIT: usize = 200;
/// As [`UNIT`], where the reduction is done in chunks: L1 holds the sums of all pixels, beside a chunk of weights and the input that it meets.
const CHUNKED: usize = 128;
/// Bytes of a panel of weights from which on that is done: L1 does not hold it.
const PANEL: usize = 40 << 10;

/// A tile: where its first pixel is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Tile {
    /// In the input, in bytes from the strip's first tap on.
    pub input: usize,
    /// In the scratch area, in pixels.
    pub scratch: usize,
}

/// Neighbouring pixels of an output row.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Row and column from the strip's first pixel on.
    pub at: [usize; 2],
    /// Pixels.
    pub count: usize,
    /// The first in the scratch area.
    pub scratch: usize,
}

/// One or two tiles done together, and the pixels that are finished then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// Tiles.
    pub tiles: Vec<Tile>,
    /// Pixels.
    pub runs: Vec<Run>,
}

/// Tiles of an output of `rows` by `cols` pixels.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Pixels of a tile.
    pub pixels: usize,
    /// Output rows of a strip.
    pub strip_rows: usize,
    /// Its tiles. Pairs of a single row that are equally far from each other are loops: [`Plan::regular`].
    pub strip: Vec<Pair>,
    /// Pairs at the beginning of a strip that are a constant number of pixels apart.
    pub regular: usize,
    /// The strip of an odd last row.
    pub last: Vec<Pair>,
    /// Output rows of a unit, whole strips but for the last.
    pub group_rows: usize,
    /// Pixels in the scratch area that a strip or pair needs.
    scratch: usize,
    /// Pixels in the scratch area from pair to pair, where the sums of all pairs of a unit wait there.
    pub apart: usize,
    /// Whether the reduction is done in chunks, each by all pairs of a unit before the next.
    pub chunked: bool,
    rows: usize,
    /// Bytes of a panel of weights, and their number.
    panel: usize,
    panels: usize,
}

impl Pair {
    /// Output rows and columns from the strip's first pixel on, as `[first, count]` along each dimension, of the pixels that are finished
    /// with this pair; none where it is not those that its tiles compute.
    pub fn extent(&self) -> [[usize; 2]; 2] {
        let along = |d: usize, size: fn(&Run) -> [usize; 2]| {
            let first = self.runs.iter().map(|r| r.at[d]).min().unwrap_or(0);
            let end = self.runs.iter().map(|r| r.at[d] + size(r)[d]).max().unwrap_or(0);
            [first, end - first]
        };
        [0, 1].map(|d| along(d, |r| [1, r.count]))
    }
}

impl Plan {
    /// The plan of a spec.
    pub fn new(spec: &Spec) -> Plan {
        let plan = Plan::whole(spec, UNIT);
        // Bytes that L2 does not hold are waited for longer than chunks save (measured: a tenth).
        let waits = spec.number == Number::U8 && !plan.stays();
        if plan.panel <= PANEL || plan.pairs() == 1 || waits {
            return plan;
        }
        // Larger units read weights that L2 does not hold less often.
        let unit = if plan.stays() { CHUNKED } else { UNIT };
        let chunked = Plan { chunked: true, ..Plan::whole(spec, unit) };
        if chunked.sums() * 4 * LANES * spec.blocks <= SUMS { chunked } else { plan }
    }
    /// With units of about so many pixels.
    fn whole(spec: &Spec, unit: usize) -> Plan {
        let cols = spec.out[1];
        let plan = flat(spec).or_else(|| two_by_two(spec, unit));
        let plan = plan.unwrap_or_else(|| if cols > ROWS { by_rows(spec, unit) } else { two_rows(spec, unit) });
        Plan { rows: spec.out[0], panel: spec.panel_bytes(LANES), panels: spec.panels, ..plan }
    }
    /// Whether L2 holds all weights.
    pub fn stays(&self) -> bool {
        self.panel * self.panels <= WEIGHTS
    }
    /// Units along the rows.
    pub fn groups(&self) -> usize {
        self.rows.div_ceil(self.group_rows)
    }
    /// Pixels of sums that the scratch area holds.
    pub fn sums(&self) -> usize {
        if self.chunked { self.scratch.max(self.pairs() * self.apart) } else { self.scratch }
    }
    /// Pairs of tiles that read one panel of weights in a unit.
    pub fn pairs(&self) -> usize {
        self.strip.len() * self.group_rows.div_ceil(self.strip_rows)
    }
}

/// Bytes from one output pixel's first tap to the next one's.
fn step(spec: &Spec) -> usize {
    spec.window.stride[1] * spec.input.pixel
}

/// Output rows of a unit. A small image is one unit, so that each panel of weights is read once.
fn group_rows([rows, cols]: [usize; 2], unit: usize) -> usize {
    if rows * cols <= 2 * unit { rows } else { (unit / cols).max(1) }
}

/// A small image as one row of pixels, the border between its rows included, where that takes fewer tiles.
fn flat(spec: &Spec) -> Option<Plan> {
    let [rows, cols] = spec.out;
    let pitch = spec.input.row.checked_div(spec.input.pixel).filter(|p| p * spec.input.pixel == spec.input.row)?;
    let len = (rows - 1) * pitch + cols;
    let count = len.div_ceil(ROWS);
    if spec.window.stride != [1, 1] || rows == 1 || cols > ROWS || len > MOST || count >= rows {
        return None;
    }
    let pixels = len.div_ceil(count);
    // The last tile ends with the image, so that some of its pixels are the tile's before it, too: each has its own sums.
    let (own, twice) = ((count - 1) * pixels, count * pixels - len);
    let tile = |i: usize| Tile { input: (i * pixels).min(len - pixels) * step(spec), scratch: i * pixels };
    let tiles: Vec<Tile> = (0..count).map(tile).collect();
    let mut strip: Vec<Pair> = tiles.chunks(2).map(|t| Pair { tiles: t.to_vec(), runs: Vec::new() }).collect();
    let runs = (0..rows).flat_map(|r| {
        let before = own.saturating_sub(r * pitch).min(cols);
        let first = Run { at: [r, 0], count: before, scratch: r * pitch };
        [first, Run { at: [r, before], count: cols - before, scratch: r * pitch + before + twice }]
    });
    strip.last_mut()?.runs = runs.filter(|r| r.count > 0).collect();
    Some(Plan { pixels, strip_rows: rows, strip, group_rows: rows, scratch: count * pixels, ..Plan::default() })
}

/// Pairs of tiles along each row. The last tile ends with the row, so that it may share pixels with the one before; those are finished
/// once only, for the result may lie over an operand.
fn by_rows(spec: &Spec, unit: usize) -> Plan {
    let cols = spec.out[1];
    let count = cols.div_ceil(ROWS).next_multiple_of(2);
    let pixels = cols.div_ceil(count);
    let start = |i: usize| (i * pixels).min(cols - pixels);
    // Long rows may leave nothing for the last tile.
    let tiles = |p: usize| (0..2).map(move |i| (i, 2 * p + i)).filter(move |(_, n)| n * pixels < cols);
    let pair = |p: usize| Pair {
        tiles: tiles(p).map(|(i, n)| Tile { input: start(n) * step(spec), scratch: i * ROWS }).collect(),
        runs: tiles(p)
            .map(|(i, n)| {
                let skipped = n * pixels - start(n);
                Run { at: [0, n * pixels], count: pixels - skipped, scratch: i * ROWS + skipped }
            })
            .collect(),
    };
    let regular = (0..count / 2).take_while(|p| start(2 * p + 1) == (2 * p + 1) * pixels).count();
    let strip = (0..count / 2).map(pair).collect();
    let group_rows = group_rows(spec.out, unit);
    Plan { pixels, strip_rows: 1, strip, regular, group_rows, scratch: 2 * ROWS, apart: 2 * ROWS, ..Plan::default() }
}

/// Most tiles of a row that are taken two rows at a time: each pair of the strip is code of its own.
const TWO_ROWS: usize = 7;

/// Rows of an odd number of tiles, two at a time, so that the last tile of one makes a pair with the first of the next. `None` where rows are better
/// taken one by one: there are few, or pairs within a row leave out taps.
fn two_by_two(spec: &Spec, unit: usize) -> Option<Plan> {
    let [rows, cols] = spec.out;
    let count = cols.div_ceil(ROWS);
    let pixels = cols.div_ceil(count);
    let narrow = |b: &Border| b.pays(&spec.window, spec.out, 1, 2 * cols.div_ceil(count + 1));
    if count.is_multiple_of(2)
        || !(3..=TWO_ROWS).contains(&count)
        || rows < 2
        || spec.border.as_ref().is_some_and(narrow)
    {
        return None;
    }
    let below = spec.window.stride[0] * spec.input.row;
    let pairs = |rows: usize| -> Vec<Pair> {
        let all: Vec<(Tile, Run)> = (0..rows * count)
            .map(|t| {
                let (row, first, place) = (t / count, t % count * pixels, t % 2 * ROWS);
                let start = first.min(cols - pixels);
                let skipped = first - start;
                let tile = Tile { input: row * below + start * step(spec), scratch: place };
                (tile, Run { at: [row, first], count: pixels - skipped, scratch: place + skipped })
            })
            .collect();
        let pair = |p: &[(Tile, Run)]| Pair {
            tiles: p.iter().map(|&(tile, _)| tile).collect(),
            runs: p.iter().map(|&(_, run)| run).filter(|run| run.count > 0).collect(),
        };
        all.chunks(2).map(pair).collect()
    };
    let last = if rows.is_multiple_of(2) { Vec::new() } else { pairs(1) };
    Some(Plan {
        pixels,
        strip_rows: 2,
        strip: pairs(2),
        last,
        group_rows: group_rows(spec.out, unit).next_multiple_of(2).min(rows),
        scratch: 2 * ROWS,
        apart: 2 * ROWS,
        ..Plan::default()
    })
}

/// Narrow rows, two at a time.
fn two_rows(spec: &Spec, unit: usize) -> Plan {
    let [rows, cols] = spec.out;
    let below = spec.window.stride[0] * spec.input.row;
    let of = |rows: usize| Pair {
        tiles: (0..rows).map(|r| Tile { input: r * below, scratch: r * ROWS }).collect(),
        runs: (0..rows).map(|r| Run { at: [r, 0], count: cols, scratch: r * ROWS }).collect(),
    };
    let (strip_rows, last) =
        if rows == 1 { (1, Vec::new()) } else { (2, (rows % 2 == 1).then(|| of(1)).into_iter().collect()) };
    let group_rows = group_rows(spec.out, unit).next_multiple_of(strip_rows).min(rows);
    Plan {
        pixels: cols,
        strip_rows,
        strip: vec![of(strip_rows)],
        last,
        group_rows,
        scratch: 2 * ROWS,
        apart: 2 * ROWS,
        ..Plan::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::spec::{Start, Strides, Window};
    use super::*;

    fn spec(out: [usize; 2], stride: usize, border: usize) -> Spec {
        let pixel = 64;
        let row = pixel * (out[1] * stride + border);
        Spec {
            images: 1,
            number: Number::Bf16,
            channels_in: 16,
            first_in: 0,
            block_in: 16,
            input: Strides { row, pixel, ..Strides::default() },
            window: Window { stride: [stride; 2], ..Window::POINT },
            border: None,
            out,
            output: Strides::default(),
            blocks: 2,
            panels: 1,
            tiling: crate::cost::Tiling::PIXEL,
            last_lanes: 16,
            channels_out: 32,
            weights_image: 0,
            packing: crate::families::igemm::packing::Packing::WHOLE,
            start: Start::Zero,
            bounded: false,
            epilogue: None,
            sides: Vec::new(),
        }
    }

    /// What waits between chunks has a place of its own, and all of it is small.
    #[test]
    fn deep_reductions_are_done_in_chunks() {
        let mut chunked = 0;
        for (rows, cols) in [(7, 7), (14, 14), (28, 28), (56, 56), (3, 100), (1, 197), (1, 5), (9, 16)] {
            for depth in [16, 400, 1600] {
                let plan = Plan::new(&Spec { channels_in: depth, ..spec([rows, cols], 1, 0) });
                assert!(!plan.chunked || plan.sums() * 4 * LANES * 2 <= SUMS);
                assert!(!plan.chunked || plan.sums() >= plan.group_rows * cols, "{rows}x{cols}: {plan:?}");
                assert!(!plan.chunked || depth > 16);
                chunked += usize::from(plan.chunked);
            }
        }
        assert!(chunked >= 8, "{chunked}");
    }

    /// Every pixel is finished, by the tile that holds it, and no tile reaches beyond the last pixel.
    #[test]
    fn tiles_cover_the_output() {
        let small = (1..40).flat_map(|rows| (1..70).map(move |cols| (rows, cols)));
        let long = (200..1200).map(|cols| (3, cols));
        for (rows, cols) in small.chain(long) {
            for (stride, border) in [(1, 0), (1, 2), (2, 1)] {
                let spec = spec([rows, cols], stride, border);
                let plan = Plan::new(&spec);
                assert!(plan.pixels <= 16 && plan.scratch < MOST + 16);
                let mut seen = vec![false; rows * cols];
                let mut strip = |first: usize, pairs: &[Pair]| {
                    let mut scratch = vec![None; plan.scratch];
                    for pair in pairs {
                        for t in &pair.tiles {
                            for p in 0..plan.pixels {
                                scratch[t.scratch + p] = Some(t.input + p * stride * 64);
                            }
                        }
                        for r in &pair.runs {
                            for c in 0..r.count {
                                let (y, x) = (first + r.at[0], r.at[1] + c);
                                let from = stride * (r.at[0] * spec.input.row + x * 64);
                                assert_eq!(scratch[r.scratch + c], Some(from), "{rows}x{cols} stride {stride}");
                                assert!(!seen[y * cols + x], "{rows}x{cols} stride {stride}: twice");
                                seen[y * cols + x] = true;
                            }
                        }
                        let end = stride * ((rows - 1 - first) * spec.input.row + (cols - 1) * 64);
                        assert!(pair.tiles.iter().all(|t| t.input + (plan.pixels - 1) * stride * 64 <= end));
                    }
                };
                let mut y = 0;
                while y < rows {
                    let is_last = !plan.last.is_empty() && y + plan.strip_rows > rows;
                    strip(y, if is_last { &plan.last } else { &plan.strip });
                    y += plan.strip_rows;
                }
                assert!(seen.iter().all(|s| *s), "{rows}x{cols} stride {stride}");
            }
        }
    }
}
