//! Products of rows with a constant matrix as implicit GEMMs: rows are the pixels, and their numbers the channels, which lie together.

use crate::cost::{Class, Problem};
use crate::families::conv::{compiled, weights};
use crate::families::epilogue;
use crate::families::igemm::operand::{Bias, Reader, Weights};
use crate::families::igemm::packing::Packing;
use crate::families::igemm::spec::{Number, Spec, Start, Strides, Window};
use crate::families::igemm::{self, tiles};
use crate::families::sides::{PlacedEpilogue, Side, from_offset, is_single};
use crate::family::{View, Wish};
use crate::lowering::{Lowering, Placed};
use mnnc_ir::{OpError, ValueId};

/// `y[m, n] = sum over k of x[m, k] * w[k, n] + bias[n]`, with its operands placed.
pub struct Product<'a> {
    /// First part of the kernels' names.
    pub family: &'static str,
    /// What is multiplied: floats, bf16 in whole pairs, or bytes in whole words.
    pub number: Number,
    /// Rows.
    pub rows: usize,
    /// Length of the sums.
    pub depth: usize,
    /// Columns.
    pub cols: usize,
    /// Rows, one behind the other.
    pub input: &'a Placed,
    /// Result, row-major.
    pub output: &'a Placed,
    /// Weights by column and `[row, 0, 0]`.
    pub weights: &'a Weights<'a>,
    /// What sums start at.
    pub bias: Bias,
    /// What follows, its sides as [`place_sides`] has them.
    pub epilogue: &'a PlacedEpilogue,
}

/// Least block of the reduction with factors of its own that is expanded in registers: what half bytes fill whole words with.
const BLOCK: usize = 8;

/// Whether the epilogue's operands are of the result's shape, one row, one column or one number, and of types that it can be emitted with.
pub fn sides_fit(view: &View, dims: &[usize]) -> bool {
    let cols = dims.last().copied().unwrap_or(1);
    view.epilogue.as_ref().is_none_or(|e| {
        e.sides.iter().all(|&v| {
            let ty = view.graph.ty(v);
            let fits = |d: &[usize]| d == dims || is_row(d, cols) || is_column(d, dims) || is_single(d);
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
        let splat = is_single(&dims) || (cols > 1 && dims.last() == Some(&1));
        let pixel = match rows {
            _ if is_single(&dims) => 0,
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

/// Panels of equal width whose last vectors are stored alike.
struct Run {
    /// First channel vector.
    first: usize,
    panels: usize,
    last_lanes: usize,
}

/// A class of panels over so many columns. The last panel may store part of its last vector only, and is a kernel of its own then.
fn runs(class: &Class, cols: usize, lanes: usize) -> impl Iterator<Item = Run> {
    let (blocks, tail) = (cols.div_ceil(lanes), cols % lanes);
    let ends_here = tail > 0 && class.first + class.blocks * class.panels == blocks;
    let whole = class.panels - usize::from(ends_here);
    let all = [
        Run { first: class.first, panels: whole, last_lanes: lanes },
        Run { first: class.first + whole * class.blocks, panels: class.panels - whole, last_lanes: tail },
    ];
    all.into_iter().filter(|r| r.panels > 0)
}

impl Product<'_> {
    /// Elements of a row.
    fn elements(&self) -> usize {
        self.depth / self.number.element()
    }

    /// How weights lie, and how many elements of a row are a plane: all, but where factors of blocks want planes.
    fn packing(&self) -> (Packing, usize) {
        let reader =
            |block_in| Reader { inputs: self.elements(), block_in, columns: 1, number: self.number, shared: false };
        let block_in = self.weights.packing(reader(BLOCK)).block().unwrap_or(self.elements().max(2));
        (self.weights.packing(reader(block_in)), block_in)
    }

    /// How the columns are cut.
    fn classes(&self, lo: &mut Lowering, packing: Packing, block_in: usize) -> Vec<Class> {
        let target = *lo.target();
        if tiles::fits(&target, self.number, block_in, [1, self.rows]) {
            return lo.planner().pairs(self.cols.div_ceil(target.lanes()));
        }
        let problem = Problem::matrices(1, self.rows, self.depth, self.cols);
        let problem = if self.number == Number::U8 { problem.of_bytes() } else { problem };
        lo.panels(&Problem { packing, ..problem })
    }

    /// Adds the steps.
    ///
    /// # Errors
    /// If a kernel does not compile.
    pub fn lower(&self, lo: &mut Lowering, name: &str) -> Result<(), OpError> {
        let lanes = lo.target().lanes();
        let (packing, block_in) = self.packing();
        let classes = self.classes(lo, packing, block_in);
        // They write columns of their own.
        lo.in_parts(|lo| {
            for class in classes {
                for run in runs(&class, self.cols, lanes) {
                    self.panels(lo, name, &class, &run, packing, block_in)?;
                }
            }
            Ok(())
        })
    }

    fn panels(
        &self,
        lo: &mut Lowering,
        name: &str,
        class: &Class,
        run: &Run,
        packing: Packing,
        block_in: usize,
    ) -> Result<(), OpError> {
        let target = *lo.target();
        let lanes = target.lanes();
        let (from, to) = (self.number, Number::of(&self.output.storage));
        let (first, vector) = (run.first * lanes, to.bytes() * lanes);
        let spec = Spec {
            images: 1,
            number: from,
            channels_in: self.elements(),
            first_in: 0,
            block_in,
            input: Strides {
                plane: 4 * block_in,
                pixel: from.bytes() * self.depth,
                number: from,
                ..Strides::default()
            },
            window: Window::POINT,
            border: None,
            out: [1, self.rows],
            output: Strides { plane: vector, pixel: to.bytes() * self.cols, number: to, ..Strides::default() },
            blocks: class.blocks,
            panels: run.panels,
            tiling: class.tiling,
            last_lanes: run.last_lanes,
            channels_out: self.cols - first,
            weights_image: 0,
            packing,
            start: Start::Bias,
            bounded: self.epilogue.bounded,
            epilogue: self.epilogue.f.clone(),
            sides: self.epilogue.sides.clone(),
        };
        let packed = self.weights.pack(&spec, lanes, first, self.cols, &|_, k| Some(k));
        let packed = weights(lo, &format!("{name}.weight"), packed);
        let bias = self.weights.pack_bias(&spec, lanes, first, self.cols, &self.bias);
        let bias = weights(lo, &format!("{name}.bias"), bias);
        let key = igemm::name(self.family, &spec, &target);
        let units = igemm::units(&spec, &target);
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(igemm::compile(&spec, t, &key)))?;
        let mut operands = vec![self.input.read(), packed, bias];
        let sides = self.epilogue.sides.iter().zip(&self.epilogue.operands);
        operands.extend(sides.map(|(s, o)| from_offset(o, run.first * s.strides.plane)));
        let width = run.panels * class.blocks * lanes;
        operands.push(from_offset(&self.output.write(), run.first * vector));
        let flops = 2 * self.rows * self.depth * width.min(self.cols - first);
        lo.step(kernel, operands, units, flops as u64);
        Ok(())
    }
}
