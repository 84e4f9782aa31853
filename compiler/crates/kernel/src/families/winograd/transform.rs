//! The kernels on both sides of the products: image to `[product][channel block][tile][lane]`, and back.

use super::points::Size;
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
    /// Channel blocks.
    pub blocks: usize,
    /// Rows and columns of tiles.
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
}

/// Arguments: image at the first tap of the band's first tile, products.
pub fn input(band: &Band, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let vector = b.lanes() * 4;
    let (image, products) = (b.arg(0), b.arg(1));
    let (begin, end) = (b.begin(), b.end());
    let (n, m) = (band.size.inputs(), band.size.outputs());
    b.for_range(begin, end, 1, |b, unit| {
        let row = b.int_rem(unit, band.tiles[0] as u32);
        let block = b.int_div(unit, band.tiles[0] as u32);
        let from = advance(b, image, block, band.image.plane);
        let from = advance(b, from, row, m * band.image.row);
        let to = advance(b, products, block, band.plane);
        let to = advance(b, to, row, band.tiles[1] * vector);
        let (from, to): (Var<Gpr>, Var<Gpr>) = (b.var(from), b.var(to));
        b.repeat(band.tiles[1] as u64, |b| {
            let (image, products) = (b.get(from), b.get(to));
            let half: Vec<Vec<Vector>> = (0..n)
                .map(|r| {
                    let d: Vec<Vector> =
                        (0..n).map(|c| b.load(image.at((r * band.image.row + c * band.image.pixel) as i32))).collect();
                    band.size.input(b, &d)
                })
                .collect();
            for c in 0..n {
                let column: Vec<Vector> = half.iter().map(|r| r[c]).collect();
                for (r, v) in band.size.input(b, &column).into_iter().enumerate() {
                    b.store(v, products.at(((r * n + c) * band.product) as i32));
                }
            }
            bump(b, from, m * band.image.pixel, 0);
            bump(b, to, vector, 0);
        });
    });
    b.compile()
}

/// What the way back needs besides the band.
#[derive(Clone, PartialEq, Debug)]
pub struct Finish {
    /// Rows and columns of the band's part of the image; the last tiles may reach beyond.
    pub extent: [usize; 2],
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
    let m = band.size.outputs();
    let whole_rows = finish.extent[0] / m;
    b.for_range(begin, end, 1, |b, unit| {
        let row = b.int_rem(unit, band.tiles[0] as u32);
        let block = b.int_div(unit, band.tiles[0] as u32);
        let from = advance(b, products, block, band.plane);
        let from = advance(b, from, row, band.tiles[1] * vector);
        let bias = advance(b, bias, block, vector);
        let bias = b.load(bias.at(0));
        let place = |b: &mut KernelBuilder, p: Gpr, s: &Strides| {
            let p = advance(b, p, block, s.plane);
            advance(b, p, row, m * s.row)
        };
        let image = place(b, image, &band.image);
        let sides: Vec<Gpr> = sides.iter().zip(&finish.sides).map(|(&p, s)| place(b, p, &s.strides)).collect();
        let results = Results::new(b, image, &sides).behind(b, finish.epilogue.as_ref(), false);
        let from: Var<Gpr> = b.var(from);
        let partial = finish.extent[0] % m;
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
        let m = self.band.size.outputs();
        let (whole, rest) = (self.finish.extent[1] / m, self.finish.extent[1] % m);
        b.repeat(whole as u64, |b| {
            self.tile(b, m);
            let vector = b.lanes() * 4;
            bump(b, self.from, vector, 0);
            self.results.bump(b, &self.band.image, &self.finish.sides, 0, m as isize);
        });
        if rest > 0 {
            self.tile(b, rest);
        }
    }

    fn tile(&self, b: &mut KernelBuilder, cols: usize) {
        let (size, n) = (self.band.size, self.band.size.inputs());
        let from = b.get(self.from);
        // One side first, column by column, so that few products are in registers at once.
        let half: Vec<Vec<Vector>> = (0..n)
            .map(|c| {
                let column: Vec<Vector> =
                    (0..n).map(|r| b.load(from.at(((r * n + c) * self.band.product) as i32))).collect();
                size.output(b, &column)
            })
            .collect();
        for r in 0..self.rows {
            let row: Vec<Vector> = half.iter().map(|c| c[r]).collect();
            for (c, y) in size.output(b, &row).into_iter().enumerate().take(cols) {
                let y = b.add(y, self.bias);
                let lanes = b.lanes();
                self.results.store(b, &self.band.image, &self.finish.sides, y, [r, c, 0], lanes);
            }
        }
    }
}
