//! The kernels on both sides of the products: image to `[product][channel block][tile][lane]`, and back.

use super::{Phases, Size};
use crate::families::igemm::spec::Strides;
use crate::families::sides::Side;
use crate::families::walk::{Results, advance, bump};
use mnnc_ir::scalar::ScalarFn;
use mnnc_vector::{CompileError, CompiledKernel, Gpr, KernelBuilder, Target, Var, Vector};

/// A band of tiles, whole rows of them, and where their products lie.
#[derive(Clone, PartialEq, Debug)]
pub struct Band {
    /// Outputs of a tile.
    pub size: Size,
    /// Which pixels are one image for a tile.
    pub phases: Phases,
    /// Channel blocks.
    pub blocks: usize,
    /// Rows of tiles, and tiles of a row, those of all phases.
    pub tiles: [usize; 2],
    /// Strides of the image.
    pub image: Strides,
    /// Bytes from one channel block of products to the next: the tiles of all images that share the band.
    pub plane: usize,
    /// Bytes from one product to the next.
    pub product: usize,
}

impl Band {
    /// Units: channel blocks times rows of tiles.
    pub fn units(&self) -> usize {
        self.blocks * self.tiles[0]
    }

    /// Strides from row to row and from pixel to pixel of a phase.
    fn apart(&self) -> [usize; 2] {
        [self.phases.step[0] * self.image.row, self.phases.step[1] * self.image.pixel]
    }
}

/// Arguments: image at the first tap of the band's first tile, products.
pub fn input(band: &Band, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let vector = b.lanes() * 4;
    let (image, products) = (b.arg(0), b.arg(1));
    let (begin, end) = (b.begin(), b.end());
    let ([rows, cols], [m, across]) = ([0, 1].map(|d| band.size.inputs(d)), [0, 1].map(|d| band.size.outputs(d)));
    let [down, right] = band.apart();
    b.for_range(begin, end, 1, |b, unit| {
        let row = b.int_rem(unit, band.tiles[0] as u32);
        let block = b.int_div(unit, band.tiles[0] as u32);
        let from = advance(b, image, block, band.image.plane);
        let from = advance(b, from, row, m * down);
        let to = advance(b, products, block, band.plane);
        let to = advance(b, to, row, band.tiles[1] * vector);
        let (from, to): (Var<Gpr>, Var<Gpr>) = (b.var(from), b.var(to));
        let tiles = band.phases.tiles(1);
        b.repeat(band.phases.count(1) as u64, |b| {
            b.repeat(tiles as u64, |b| {
                let (image, products) = (b.get(from), b.get(to));
                let half: Vec<Vec<Vector>> = (0..rows)
                    .map(|r| {
                        let d: Vec<Vector> =
                            (0..cols).map(|c| b.load(image.at((r * down + c * right) as i32))).collect();
                        band.size.line(1).input(b, &d)
                    })
                    .collect();
                for c in 0..cols {
                    let column: Vec<Vector> = half.iter().map(|r| r[c]).collect();
                    for (r, v) in band.size.line(0).input(b, &column).into_iter().enumerate() {
                        b.store(v, products.at(((r * cols + c) * band.product) as i32));
                    }
                }
                bump(b, from, across * right, 0);
                bump(b, to, vector, 0);
            });
            bump(b, from, band.image.pixel, tiles * across * right);
        });
    });
    b.compile()
}

/// What the way back needs besides the band.
#[derive(Clone, PartialEq, Debug)]
pub struct Finish {
    /// Rows of the phase that the band has; the last tiles may reach beyond.
    pub rows: usize,
    /// What happens to every sum, bias added: `Arg(0)`; `Arg(1 + i)` is `sides[i]`.
    pub epilogue: Option<ScalarFn>,
    /// Further operands of the epilogue.
    pub sides: Vec<Side>,
}

/// Arguments: products, bias by channel block, side operands, image at the band's first pixel.
pub fn output(band: &Band, finish: &Finish, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let lanes = b.lanes();
    let vector = lanes * 4;
    let (products, bias) = (b.arg(0), b.arg(1));
    let sides: Vec<Gpr> = (0..finish.sides.len()).map(|i| b.arg(2 + i)).collect();
    let image = b.arg(2 + sides.len());
    let (begin, end) = (b.begin(), b.end());
    let m = band.size.outputs(0);
    let whole_rows = finish.rows / m;
    b.for_range(begin, end, 1, |b, unit| {
        let row = b.int_rem(unit, band.tiles[0] as u32);
        let block = b.int_div(unit, band.tiles[0] as u32);
        let from = advance(b, products, block, band.plane);
        let from = advance(b, from, row, band.tiles[1] * vector);
        let bias = advance(b, bias, block, vector);
        let bias = b.load(bias.at(0));
        let place = |b: &mut KernelBuilder, p: Gpr, s: &Strides| {
            let p = advance(b, p, block, s.plane);
            advance(b, p, row, m * band.phases.step[0] * s.row)
        };
        let image = place(b, image, &band.image);
        let sides: Vec<Gpr> = sides.iter().zip(&finish.sides).map(|(&p, s)| place(b, p, &s.strides)).collect();
        let results = Results::new(b, image, &sides).behind(b, finish.epilogue.as_ref(), false);
        let from: Var<Gpr> = b.var(from);
        let partial = finish.rows % m;
        let row_of_tiles = |b: &mut KernelBuilder, rows: usize| {
            let emitter = Back { band, finish, bias, results: &results, from, rows };
            emitter.row(b);
        };
        if whole_rows == band.tiles[0] {
            row_of_tiles(b, m);
        } else if whole_rows == 0 {
            row_of_tiles(b, partial);
        } else {
            let cond = mnnc_vector::Cond::Lt;
            b.if_else(cond, row, whole_rows as i32, |b| row_of_tiles(b, m), |b| row_of_tiles(b, partial));
        }
    });
    b.compile()
}

/// The way back of one row of tiles.
struct Back<'a> {
    band: &'a Band,
    finish: &'a Finish,
    bias: Vector,
    results: &'a Results,
    from: Var<Gpr>,
    /// Rows of the tiles that are in the image.
    rows: usize,
}

impl Back<'_> {
    fn row(&self, b: &mut KernelBuilder) {
        let Band { size, phases, .. } = self.band;
        let (m, vector) = (size.outputs(1), b.lanes() * 4);
        let go = |b: &mut KernelBuilder, pixels: isize| {
            self.results.bump(b, &self.band.image, &self.finish.sides, 0, pixels);
        };
        for (outputs, count) in phases.runs(1) {
            let (whole, rest) = (outputs / m, outputs % m);
            b.repeat(count as u64, |b| {
                b.repeat(whole as u64, |b| {
                    self.tile(b, m);
                    bump(b, self.from, vector, 0);
                    go(b, (m * phases.step[1]) as isize);
                });
                if rest > 0 {
                    self.tile(b, rest);
                }
                bump(b, self.from, (phases.tiles(1) - whole) * vector, 0);
                go(b, 1 - (whole * m * phases.step[1]) as isize);
            });
        }
    }

    fn tile(&self, b: &mut KernelBuilder, cols: usize) {
        let size = self.band.size;
        let [rows, columns] = [0, 1].map(|d| size.inputs(d));
        let [down, right] = self.band.phases.step;
        let from = b.get(self.from);
        // One side first, column by column, so that few products are in registers at once.
        let half: Vec<Vec<Vector>> = (0..columns)
            .map(|c| {
                let column: Vec<Vector> =
                    (0..rows).map(|r| b.load(from.at(((r * columns + c) * self.band.product) as i32))).collect();
                size.line(0).output(b, &column)
            })
            .collect();
        for r in 0..self.rows {
            let row: Vec<Vector> = half.iter().map(|c| c[r]).collect();
            for (c, y) in size.line(1).output(b, &row).into_iter().enumerate().take(cols) {
                let y = b.add(y, self.bias);
                let lanes = b.lanes();
                self.results.store(b, &self.band.image, &self.finish.sides, y, [r * down, c * right, 0], lanes);
            }
        }
    }
}
