//! Side operands of an epilogue: residuals, per-channel factors, per-image scales.

use crate::families::epilogue;
use crate::families::epilogue::bounds::{self, Range};
use crate::families::igemm::spec::{Number, Strides};
use crate::family::{Epilogue, View, Wish};
use crate::lowering::Lowering;
use crate::schedule::{Access, Operand};
use crate::storage::{Halo, Storage};
use mnnc_ir::scalar::ScalarFn;
use mnnc_ir::{DType, Graph, OpError, Tensor, ValueId};
use mnnc_vector::Target;

/// How an epilogue reads one further operand.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Side {
    /// Strides; 0 along the dimensions that the operand is broadcast over.
    pub strides: Strides,
    /// One element for all channels, instead of a vector of them.
    pub splat: bool,
}

impl Side {
    /// Bytes that are read at once.
    pub fn bytes(&self, lanes: usize) -> usize {
        self.strides.number.bytes() * if self.splat { 1 } else { lanes }
    }
}

/// The strides of a rank-4 tensor in channel blocks (or planes), 0 where its size is 1 but `like`'s is not.
pub fn image_strides(s: &Storage, like: &[usize]) -> Strides {
    let stride = |d: usize| if s.dims[d] == 1 && like[d] != 1 { 0 } else { s.strides[d] };
    let half = if stride(1) > 0 { s.half() } else { 0 };
    Strides { image: stride(0), plane: stride(1), row: stride(2), pixel: stride(3), half, number: Number::of(s) }
}

/// How a kernel that works channel by channel reads an image.
pub fn image_wish(target: &Target, halo: Halo) -> Wish {
    if target.has_bf16() { Wish::Image(halo) } else { Wish::Blocked(halo) }
}

/// How a kernel that works on vectors of channels reads an image of bytes: it does not matter whether the blocks of a pixel lie together.
pub fn byte_image_wish(target: &Target, halo: Halo) -> Wish {
    if target.has_int8_tiles() { Wish::Image(halo) } else { Wish::Blocked(halo) }
}

/// Whether a kernel may write its result in blocks of bf16: what it reads beside the anchor's operand has all vectors of the last block, too.
pub fn may_reduce(view: &View, target: &Target) -> bool {
    let sides = view.epilogue.as_ref().map_or(&[][..], |e| &e.sides);
    let whole = |&v: &ValueId| {
        let ty = view.graph.ty(v);
        let channels = ty.static_dims().and_then(|d| d.iter().rev().nth(2).copied()).unwrap_or(1);
        let filled = channels == 1 || channels.is_multiple_of(2 * target.lanes());
        ty.dtype == DType::F32 || view.graph.constant(v).is_some() || filled
    };
    target.has_bf16() && sides.iter().all(whole)
}

/// Vectors of channels of a blocked image, those that fill up the last block of bf16 included.
pub fn vectors(s: &Storage, target: &Target) -> usize {
    let blocks = s.dims[1].div_ceil(s.block.unwrap_or(target.lanes()));
    if s.half() > 0 { 2 * blocks } else { blocks }
}

/// An epilogue with its operands placed, for a kernel that works on blocked images.
#[derive(Clone, Default)]
pub struct PlacedEpilogue {
    /// The formula.
    pub f: Option<ScalarFn>,
    /// How the sides are read.
    pub sides: Vec<Side>,
    /// Where they are.
    pub operands: Vec<Operand>,
    /// Where their values lie.
    pub ranges: Vec<Range>,
    /// Whether what the formula converts to integers is known to be [in range](bounds::converts_in_range).
    pub bounded: bool,
}

impl PlacedEpilogue {
    /// Adds the next side operand, a value of the graph.
    pub fn push(&mut self, lo: &Lowering, v: ValueId, side: Side, operand: Operand) {
        self.sides.push(side);
        self.operands.push(operand);
        self.ranges.push(lo.constant(v).map_or(bounds::of_type(lo.graph().ty(v).dtype), bounds::of_constant));
    }

    /// The same of results that begin elsewhere, by so many bytes for a side with these strides.
    pub fn from(&self, bytes: impl Fn(&Strides) -> usize) -> PlacedEpilogue {
        let sides = self.sides.iter().zip(&self.operands);
        let operands = sides.map(|(side, operand)| from_offset(operand, bytes(&side.strides))).collect();
        PlacedEpilogue { operands, ..self.clone() }
    }

    /// With what is known of the results of the anchor, if there is one.
    pub fn behind(mut self, anchor: Option<Range>) -> PlacedEpilogue {
        let args: Vec<Range> = anchor.into_iter().chain(self.ranges.iter().copied()).collect();
        self.bounded = self.f.as_ref().is_none_or(|f| bounds::converts_in_range(f, &args));
        self
    }
}

/// Whether the epilogue of a node with a blocked result of shape `dims` can be emitted, its side operands included.
pub fn fits_image(view: &View, dims: &[usize]) -> bool {
    view.epilogue
        .as_ref()
        .is_none_or(|e| epilogue::is_supported(&e.f) && e.sides.iter().all(|&v| side_fits(view.graph, v, dims)))
}

/// As [`fits_image`], for an epilogue on numbers of [any type](epilogue::emits).
pub fn fits_typed_image(view: &View, dims: &[usize]) -> bool {
    view.epilogue
        .as_ref()
        .is_none_or(|e| epilogue::emits(&e.f) && e.sides.iter().all(|&v| side_fits(view.graph, v, dims)))
}

fn side_fits(g: &Graph, v: ValueId, dims: &[usize]) -> bool {
    let ty = g.ty(v);
    let Some(side) = ty.static_dims().filter(|_| epilogue::is_number(ty.dtype)) else { return false };
    if is_single(&side) {
        return true;
    }
    let aligned = side.len() <= dims.len() && side.iter().rev().zip(dims.iter().rev()).all(|(&s, &d)| s == 1 || s == d);
    aligned && (side.len() == dims.len() || g.constant(v).is_some())
}

/// Whether an operand of this shape is one number, which is read as it is.
pub fn is_single(dims: &[usize]) -> bool {
    dims.iter().all(|&d| d == 1)
}

/// Whether an operand is a computed number that is no image.
fn is_apart(g: &Graph, v: ValueId) -> bool {
    g.constant(v).is_none() && g.ty(v).static_dims().is_some_and(|d| d.len() != 4 && is_single(&d))
}

/// Wishes for the side operands of a blocked result.
pub fn image_wishes(view: &View, target: &Target) -> Vec<(ValueId, Wish)> {
    let sides = view.epilogue.as_ref().map_or(&[][..], |e| &e.sides);
    let wish = |v: ValueId| {
        let low = match view.graph.ty(v).dtype {
            DType::F32 => target.has_bf16(),
            d => d.size() == 1 && target.has_int8_tiles(),
        };
        if is_apart(view.graph, v) {
            return Wish::Plain;
        }
        // One number for all channels is read as it is.
        let splat = view.graph.ty(v).static_dims().is_some_and(|d| d.len() == 4 && d[1] == 1);
        if low && !splat { Wish::Image(Halo::default()) } else { Wish::Blocked(Halo::default()) }
    };
    sides.iter().map(|&v| (v, wish(v))).collect()
}

/// Places the side operands for a blocked result. They are stored as it is: in blocks of bf16 if it is, so that all have the same
/// blocks.
pub fn place_image(e: Option<&Epilogue>, lo: &mut Lowering, output: &Storage) -> Result<PlacedEpilogue, OpError> {
    place(e, lo, &output.dims, Number::of(output), output.half() > 0)
}

/// As [`place_image`], for a result of shape `dims` in blocks of one vector, of `f32` or bytes.
pub fn place_in_vectors(e: Option<&Epilogue>, lo: &mut Lowering, dims: &[usize]) -> Result<PlacedEpilogue, OpError> {
    place(e, lo, dims, Number::F32, false)
}

/// `pairs`: whether blocks of the result are two vectors.
fn place(
    e: Option<&Epilogue>,
    lo: &mut Lowering,
    dims: &[usize],
    number: Number,
    pairs: bool,
) -> Result<PlacedEpilogue, OpError> {
    let mut out = PlacedEpilogue::default();
    let Some(e) = e else { return Ok(out) };
    out.f = Some(e.f.clone());
    for &v in &e.sides {
        if is_apart(lo.graph(), v) {
            let strides = Strides { number: Number::of_type(lo.graph().ty(v).dtype), ..Strides::default() };
            let operand = lo.input(v, Wish::Plain)?.read();
            out.push(lo, v, Side { strides, splat: true }, operand);
            continue;
        }
        let (storage, operand) = match lo.constant(v) {
            Some(t) => constant_image(lo, v, t)?,
            None => {
                let splat = lo.graph().ty(v).static_dims().is_some_and(|d| d.get(1) == Some(&1) && dims[1] != 1);
                let dtype = lo.graph().ty(v).dtype;
                let wish = match dtype {
                    DType::F32 if number == Number::Bf16 && !splat => Wish::Reduced(Halo::default()),
                    d if d.size() == 1 && !splat => byte_image_wish(lo.target(), Halo::default()),
                    _ => Wish::Blocked(Halo::default()),
                };
                let mut p = lo.input(v, wish)?;
                if pairs && matches!(wish, Wish::Reduced(_)) && p.storage.half() == 0 {
                    // A kernel that writes both vectors of a block reads both.
                    let (narrow, block) = (p, 2 * lo.target().lanes());
                    p = lo.reduced_image(v, &narrow.storage.dims, block, Halo::default())?;
                    lo.copy(v, &narrow, &p);
                }
                let operand = from_offset(&p.read(), p.storage.offset);
                (p.storage, operand)
            }
        };
        let splat = storage.dims[1] == 1 && dims[1] != 1;
        out.push(lo, v, Side { strides: image_strides(&storage, dims), splat }, operand);
    }
    Ok(out)
}

/// A constant of rank 4 or less, packed in channel blocks.
fn constant_image(lo: &mut Lowering, v: ValueId, t: &Tensor) -> Result<(Storage, Operand), OpError> {
    let mut dims = vec![1; 4usize.saturating_sub(t.dims().len())];
    dims.extend_from_slice(t.dims());
    let lanes = lo.target().lanes();
    // Filled up to whole blocks of either kind.
    let channels = if dims[1] == 1 { 1 } else { dims[1].next_multiple_of(2 * lanes) };
    let padded = [dims[0], channels, dims[2], dims[3]];
    let storage = Storage::blocked(t.dtype(), &padded, lanes, Halo::default())
        .ok_or_else(|| OpError::unsupported("a side operand is too large"))?;
    let mut out = vec![0u8; storage.bytes];
    let size = t.dtype().size();
    let mut index = [0usize; 4];
    for x in t.bytes().chunks_exact(size) {
        let at = storage.address(&index);
        out[at..at + size].copy_from_slice(x);
        for d in (0..4).rev() {
            index[d] += 1;
            if index[d] < dims[d] {
                break;
            }
            index[d] = 0;
        }
    }
    let name = lo.graph().value(v).name.clone();
    let bytes = storage.bytes;
    let buffer = lo.weights(&name, out);
    Ok((storage, Operand { buffer, offset: 0, bytes, access: Access::Read }))
}

/// The operand from `offset` bytes further on.
pub fn from_offset(o: &Operand, offset: usize) -> Operand {
    Operand { buffer: o.buffer, offset: o.offset + offset, bytes: o.bytes - offset, access: o.access }
}
