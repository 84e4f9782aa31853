//! Products of rows of bytes with a constant matrix as implicit GEMMs: rows are the pixels, and their numbers the channels, which lie together.

use crate::cost::Problem;
use crate::families::conv::{compiled, weights};
use crate::families::epilogue;
use crate::families::igemm::packing::Packing;
use crate::families::igemm::spec::{Number, Spec, Strides, Window};
use crate::families::igemm::{self, pack, tiles};
use crate::families::sides::{PlacedEpilogue, Side, from_offset};
use crate::family::{View, Wish};
use crate::lowering::{Lowering, Placed};
use mnnc_ir::{OpError, ValueId};

/// `y[m, n] = sum over k of x[m, k] * w[k, n] + bias[n]`, with its operands placed.
pub struct Product<'a> {
    /// First part of the kernels' names.
    pub family: &'static str,
    /// Rows.
    pub rows: usize,
    /// Length of the sums, in whole elements of four bytes.
    pub depth: usize,
    /// Columns.
    pub cols: usize,
    /// Rows, one behind the other.
    pub input: &'a Placed,
    /// Result, row-major.
    pub output: &'a Placed,
    /// A weight by column and row.
    pub weight: &'a (dyn Fn(usize, usize) -> f32 + Sync),
    /// One number a column.
    pub bias: &'a [i32],
    /// What follows, its sides as [`place_sides`] has them.
    pub epilogue: &'a PlacedEpilogue,
}

/// Whether the epilogue's operands are of the result's shape, one row or one column, and of types that it can be emitted with.
pub fn sides_fit(view: &View, dims: &[usize]) -> bool {
    let cols = dims.last().copied().unwrap_or(1);
    view.epilogue.as_ref().is_none_or(|e| {
        e.sides.iter().all(|&v| {
            let ty = view.graph.ty(v);
            let fits = |d: &[usize]| d == dims || is_row(d, cols) || is_column(d, dims);
            epilogue::is_number(ty.dtype) && ty.static_dims().is_some_and(|d| fits(&d))
        })
    })
}

/// One element for each row of a result of shape `like`.
fn is_column(dims: &[usize], like: &[usize]) -> bool {
    dims.len() == like.len() && dims.split_last().is_some_and(|(&last, rows)| last == 1 && *rows == like[..rows.len()])
}

/// A single row of `cols` elements.
fn is_row(dims: &[usize], cols: usize) -> bool {
    dims.last() == Some(&cols) && dims.iter().rev().skip(1).all(|&d| d == 1)
}

/// Wishes for those operands.
pub fn wishes(view: &View) -> impl Iterator<Item = (ValueId, Wish)> {
    view.epilogue.as_ref().map_or(&[][..], |e| &e.sides).iter().map(|&v| (v, Wish::Plain))
}

/// Places the operands of the epilogue of a result of so many rows and columns.
///
/// # Errors
/// If one cannot be placed.
pub fn place_sides(view: &View, lo: &mut Lowering, rows: usize, cols: usize) -> Result<PlacedEpilogue, OpError> {
    let mut out = PlacedEpilogue { f: view.epilogue.as_ref().map(|e| e.f.clone()), ..PlacedEpilogue::default() };
    let lanes = lo.target().lanes();
    for &v in view.epilogue.as_ref().map_or(&[][..], |e| &e.sides) {
        let dims = lo.graph().ty(v).static_dims().unwrap_or_default();
        let number = Number::of_type(lo.graph().ty(v).dtype);
        let splat = cols > 1 && dims.last() == Some(&1);
        let pixel = match rows {
            _ if splat => number.bytes(),
            2.. if is_row(&dims, cols) => 0,
            _ => number.bytes() * cols,
        };
        let plane = if splat { 0 } else { number.bytes() * lanes };
        let strides = Strides { plane, pixel, number, ..Strides::default() };
        let operand = lo.input(v, Wish::Plain)?.read();
        out.push(lo, v, Side { strides, splat }, operand);
    }
    Ok(out)
}

impl Product<'_> {
    /// Adds the steps.
    ///
    /// # Errors
    /// If a kernel does not compile.
    pub fn lower(&self, lo: &mut Lowering, name: &str) -> Result<(), OpError> {
        let target = *lo.target();
        let lanes = target.lanes();
        let element = Number::U8.element();
        let blocks = self.cols.div_ceil(lanes);
        let tail = self.cols % lanes;
        let number = Number::of(&self.output.storage);
        let vector = number.bytes() * lanes;
        let (block_in, out) = ((self.depth / element).max(2), [1, self.rows]);
        let classes = if tiles::fits(&target, Number::U8, block_in, out) {
            lo.planner().pairs(blocks)
        } else {
            lo.panels(&Problem::matrices(1, self.rows, self.depth, self.cols).of_bytes())
        };
        for class in classes {
            // The last panel stores part of its last vector only: a kernel of its own.
            let ends_here = tail > 0 && class.first + class.blocks * class.panels == blocks;
            let whole = class.panels - usize::from(ends_here);
            for (first, count, last_lanes) in
                [(class.first, whole, lanes), (class.first + whole * class.blocks, class.panels - whole, tail)]
            {
                if count == 0 {
                    continue;
                }
                let spec = Spec {
                    images: 1,
                    number: Number::U8,
                    channels_in: self.depth / element,
                    first_in: 0,
                    block_in,
                    input: Strides { pixel: self.depth, number: Number::U8, ..Strides::default() },
                    window: Window::POINT,
                    out,
                    output: Strides { plane: vector, pixel: number.bytes() * self.cols, number, ..Strides::default() },
                    blocks: class.blocks,
                    panels: count,
                    tiling: class.tiling,
                    last_lanes,
                    channels_out: self.cols - first * lanes,
                    weights_image: 0,
                    packing: Packing::WHOLE,
                    has_bias: true,
                    bounded: self.epilogue.bounded,
                    epilogue: self.epilogue.f.clone(),
                    sides: self.epilogue.sides.clone(),
                };
                let at = |n: usize, [k, ..]: [usize; 3]| (self.weight)(n, k);
                let packed = pack::pack(&spec, lanes, first * lanes, self.cols, &at);
                let packed = weights(lo, &format!("{name}.weight"), packed);
                let width = count * class.blocks * lanes;
                let bias = weights(lo, &format!("{name}.bias"), pack::pack_integers(self.bias, first * lanes, width));
                let key = igemm::name(self.family, &spec, &target);
                let units = igemm::units(&spec, &target);
                let kernel = lo.cached_kernel(key.clone(), |t| compiled(igemm::compile(&spec, t, &key)))?;
                let mut operands = vec![self.input.read(), packed, bias];
                let sides = self.epilogue.sides.iter().zip(&self.epilogue.operands);
                operands.extend(sides.map(|(s, o)| from_offset(o, first * s.strides.plane)));
                let mut result = from_offset(&self.output.write(), first * vector);
                if self.rows == 1 {
                    // Classes of panels write columns of their own, and may run at the same time.
                    result.bytes = result.bytes.min(number.bytes() * width);
                }
                operands.push(result);
                let flops = 2 * self.rows * self.depth * width.min(self.cols - first * lanes);
                lo.step(kernel, operands, units, flops as u64);
            }
        }
        Ok(())
    }
}
