//! Kernels that work along dense rows: softmax, normalisations, reductions. A unit is a row.

pub mod arg_columns;
pub mod columns;
mod data;
pub mod normalize;
pub mod reduce;
pub mod short;
pub mod softmax;

pub use arg_columns::ArgColumns;
pub use columns::SoftmaxColumns;
pub use normalize::Normalize;
pub use reduce::Reduce;
pub use short::SoftmaxShort;
pub use softmax::Softmax;

use crate::families::epilogue;
use crate::families::igemm::spec::Number;
use crate::families::walk::advance;
use crate::family::{View, Wish};
use crate::lowering::Lowering;
use crate::schedule::Operand;
use mnnc_ir::scalar::ScalarFn;
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_vector::{Gpr, KernelBuilder, Mem, Var, Vector};

/// Vectors in flight at once.
pub const UNROLL: usize = 4;

/// A piece of a row, one vector or the beginning of one.
#[derive(Copy, Clone)]
pub struct Piece {
    /// The element that it begins with: a number known at run time, and so many more.
    index: Option<Gpr>,
    first: usize,
    /// Lanes that belong to the row.
    pub lanes: usize,
    /// Which of [`UNROLL`] independent chains it belongs to.
    pub slot: usize,
}

impl Piece {
    /// Its address in the row of floats that starts at `row`.
    pub fn of(self, row: Gpr) -> Mem {
        self.of_numbers(row, Number::F32)
    }
    /// Its address in the row of such numbers that starts at `row`.
    pub fn of_numbers(self, row: Gpr, number: Number) -> Mem {
        let (bytes, disp) = (number.bytes() as u8, (number.bytes() * self.first) as i32);
        match self.index {
            Some(i) => row.at_index(i, bytes, disp),
            None => row.at(disp),
        }
    }
    /// `v` with `other` in the lanes beyond the row's end.
    pub fn or(self, b: &mut KernelBuilder, v: Vector, other: f32) -> Vector {
        if self.lanes == b.lanes() {
            return v;
        }
        let (mask, other) = (b.tail_mask(self.lanes), b.splat(other));
        b.select(mask, v, other)
    }
}

/// Emits `body` for all of a row of `len` elements: in a loop of [`UNROLL`] vectors, then for what is left.
pub fn each(b: &mut KernelBuilder, len: usize, body: &mut dyn FnMut(&mut KernelBuilder, Piece)) {
    let lanes = b.lanes();
    let looped = len / lanes / UNROLL * UNROLL;
    b.for_range(0, (looped * lanes) as i32, (UNROLL * lanes) as i32, |b, i| {
        for slot in 0..UNROLL {
            body(b, Piece { index: Some(i), first: slot * lanes, lanes, slot });
        }
    });
    for piece in pieces(looped * lanes..len, lanes) {
        body(b, piece);
    }
}

/// These elements of a row, vector by vector.
fn pieces(elements: std::ops::Range<usize>, lanes: usize) -> impl Iterator<Item = Piece> {
    let vectors = elements.clone().step_by(lanes).enumerate();
    vectors.map(move |(i, first)| Piece {
        index: None,
        first,
        lanes: lanes.min(elements.end - first),
        slot: i % UNROLL,
    })
}

/// One accumulator a chain.
pub fn chains(b: &mut KernelBuilder, start: f32) -> Vec<Var<Vector>> {
    (0..UNROLL)
        .map(|_| {
            let v = b.splat(start);
            b.var(v)
        })
        .collect()
}

/// All chains and all lanes in one, broadcast.
pub fn total(b: &mut KernelBuilder, chains: &[Var<Vector>], max: bool) -> Vector {
    let chains: Vec<Vector> = chains.iter().map(|&c| b.get(c)).collect();
    total_of(b, &chains, max)
}

/// All vectors and all lanes in one, broadcast.
fn total_of(b: &mut KernelBuilder, vectors: &[Vector], max: bool) -> Vector {
    let mut all = vectors[0];
    for &c in &vectors[1..] {
        all = if max { b.max(all, c) } else { b.add(all, c) };
    }
    let lane0 = if max { b.reduce_max(all) } else { b.reduce_add(all) };
    b.broadcast_lane(lane0, 0)
}

/// Rows of a tensor: how many, and how long from dimension `axis` on. `None` if that is nothing, or too much for 32-bit
/// displacements.
pub fn rows_from(dims: &[usize], axis: usize) -> Option<(usize, usize)> {
    let (rows, len) = (dims[..axis].iter().product::<usize>(), dims[axis..].iter().product::<usize>());
    let bytes = rows.checked_mul(len)?.checked_mul(4)?;
    (bytes > 0 && bytes < 1 << 31).then_some((rows, len))
}

/// An epilogue over rows: side operands are of the result's shape, or one row for all.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RowEpilogue {
    /// The formula; `Arg(1 + i)` is side `i`.
    pub f: Option<ScalarFn>,
    /// For each side, whether it moves from row to row.
    pub moves: Vec<bool>,
}

impl RowEpilogue {
    /// The epilogue of a node whose rows have `len` elements. `None` if its operands are of another form, or its results no floats.
    pub fn read(view: &View, len: usize) -> Option<RowEpilogue> {
        let floats = view.graph.ty(view.outputs[0]).dtype == DType::F32;
        RowEpilogue::read_typed(view, len).filter(|_| floats)
    }
    /// As [`read`](Self::read), of floats, whose results may be bytes.
    pub fn read_typed(view: &View, len: usize) -> Option<RowEpilogue> {
        let Some(e) = &view.epilogue else { return Some(RowEpilogue::default()) };
        let g = view.graph;
        let out = g.ty(view.outputs[0]).static_dims()?;
        let moves = e.sides.iter().map(|&v| {
            let d = g.ty(v).static_dims().filter(|_| g.ty(v).dtype == DType::F32)?;
            let full = d == out;
            let tail: usize = d.iter().product();
            (full || (tail == len && out.ends_with(without_leading_ones(&d)))).then_some(full)
        });
        let moves = moves.collect::<Option<Vec<bool>>>()?;
        epilogue::takes_floats(&e.f).then(|| RowEpilogue { f: Some(e.f.clone()), moves })
    }
    /// Wishes for the operands.
    pub fn wishes<'v>(view: &'v View<'_>) -> impl Iterator<Item = (ValueId, Wish)> + use<'v> {
        let sides = view.epilogue.as_ref().map_or(&[][..], |e| &e.sides);
        sides.iter().map(|&v| (v, Wish::Plain))
    }
    /// The operands.
    pub fn operands(view: &View, lo: &mut Lowering) -> Result<Vec<Operand>, OpError> {
        let sides = view.epilogue.as_ref().map_or(&[][..], |e| &e.sides);
        sides.iter().map(|&v| Ok(lo.input(v, Wish::Plain)?.read())).collect()
    }
    /// Loads the pointers of the operands, arguments `first ..` of the kernel.
    pub fn args(&self, b: &mut KernelBuilder, first: usize) -> Vec<Gpr> {
        (0..self.moves.len()).map(|i| b.arg(first + i)).collect()
    }
    /// The rows of the operands that belong to row `row` of `len` elements.
    pub fn rows(&self, b: &mut KernelBuilder, args: &[Gpr], row: Gpr, len: usize) -> Vec<Gpr> {
        let stride = |moves: bool| if moves { 4 * len } else { 0 };
        args.iter().zip(&self.moves).map(|(&p, &moves)| advance(b, p, row, stride(moves))).collect()
    }
    /// Applies it to a piece; `sides` are the rows of the operands.
    pub fn emit(&self, b: &mut KernelBuilder, value: Vector, sides: &[Gpr], at: Piece) -> Vector {
        let Some(f) = &self.f else { return value };
        epilogue::emit(b, f, &mut |b, i| match i.checked_sub(1) {
            None => value,
            Some(i) => b.load_part(at.of(sides[i]), at.lanes),
        })
    }
}

/// The shape without leading ones.
fn without_leading_ones(dims: &[usize]) -> &[usize] {
    &dims[dims.iter().take_while(|&&d| d == 1).count()..]
}
