//! Text of types, sizes and literals.

use super::ParseError;
use super::cursor::Cursor;
use crate::attr::{Attr, AttrKind};
use crate::dim::{Dim, SymTable};
use crate::dtype::DType;
use crate::tensor::Tensor;
use crate::text;
use crate::types::{Dims, Layout, Quant, TensorType};
use std::sync::Arc;

type Result<T> = std::result::Result<T, ParseError>;

/// Literals are for tests: no more elements than this.
const MAX_LITERAL: usize = 1 << 24;
/// Parentheses in a size may nest no deeper than this.
const MAX_DEPTH: usize = 64;

pub(super) fn dtype(c: &mut Cursor) -> Result<DType> {
    let start = c.offset();
    let name = c.ident()?;
    DType::from_name(name).ok_or_else(|| c.error_at(start, format!("`{name}` is no element type")))
}

/// `f32[1x3x8x8]`, `f32[batch, 10; c16; scale [0.5], zero [3], axis 1, block 32]`.
pub(super) fn tensor_type(c: &mut Cursor, syms: &mut SymTable) -> Result<TensorType> {
    let dtype = dtype(c)?;
    c.expect("[")?;
    let mut dims = Dims::new();
    while !matches!(c.peek(), Some(']' | ';')) {
        dims.push(dim(c, syms, 0)?);
        if !c.eat_x() && !c.eat(",") {
            break;
        }
    }
    let mut ty = TensorType { dtype, dims, layout: Layout::Plain, quant: None };
    while c.eat(";") {
        if c.eat("scale") {
            ty.quant = Some(Arc::new(quant(c)?));
        } else {
            let start = c.offset();
            let block = c.ident()?.strip_prefix('c').and_then(|b| b.parse().ok());
            let block = block.ok_or_else(|| c.error_at(start, "expected a layout such as `c16`, or `scale`"))?;
            ty.layout = Layout::Blocked { block };
        }
    }
    c.expect("]")?;
    Ok(ty)
}

fn quant(c: &mut Cursor) -> Result<Quant> {
    let mut q = Quant { scales: c.list("[", "]", |c| c.number())?, zero_points: Vec::new(), axis: None, block: None };
    while c.eat(",") {
        if c.eat("zero") {
            q.zero_points = c.list("[", "]", |c| c.number())?;
        } else if c.eat("axis") {
            q.axis = Some(c.number()?);
        } else if c.eat("block") {
            q.block = Some(c.number()?);
        } else {
            return Err(c.error("expected `zero`, `axis` or `block`"));
        }
    }
    Ok(q)
}

/// `4`, `batch`, `"2 N"`, `?3`, `(batch*4)`.
fn dim(c: &mut Cursor, syms: &mut SymTable, depth: usize) -> Result<Dim> {
    if depth > MAX_DEPTH {
        return Err(c.error("size nested too deeply"));
    }
    match c.peek() {
        Some('0'..='9') => Ok(Dim::Const(c.digits()?)),
        Some('"') => Ok(syms.named(&c.string()?)),
        Some('?') => {
            c.expect("?")?;
            let start = c.offset();
            let i = u32::try_from(c.digits()?).map_err(|_| c.error_at(start, "number too large"))?;
            Ok(syms.unknown(i))
        }
        Some('(') => {
            c.expect("(")?;
            let a = dim(c, syms, depth + 1)?;
            let op = c.peek();
            if !["+", "*", "/"].iter().any(|o| c.eat(o)) {
                return Err(c.error("expected `+`, `*` or `/`"));
            }
            let b = dim(c, syms, depth + 1)?;
            c.expect(")")?;
            Ok(match op {
                Some('+') => syms.add(a, b),
                Some('*') => syms.mul(a, b),
                _ => syms.div(a, b),
            })
        }
        _ => Ok(syms.named(c.ident()?)),
    }
}

/// A literal of a constant: `zeros`, `splat(0.5)`, `dense[1, 2]`, `iota`, or `random(7)`, which is uniform in [-1, 1) (integers:
/// 0 to 9) and a function of the seed.
pub(super) fn literal(c: &mut Cursor, ty: &TensorType) -> Result<Tensor> {
    let start = c.offset();
    let dims = ty.static_dims().ok_or_else(|| c.error_at(start, "a constant needs known sizes"))?;
    let len = ty.num_elements().filter(|&n| n <= MAX_LITERAL);
    let len = len.ok_or_else(|| c.error_at(start, "literal too large"))?;
    let repeat = |c: &mut Cursor, word: &str| {
        text::tensor(ty.dtype, vec![1], &[word]).map(|one| one.bytes().repeat(len)).map_err(|m| c.error_at(start, m))
    };
    let bytes = if c.eat("zeros") {
        vec![0; len * ty.dtype.size()]
    } else if c.eat("splat") {
        c.expect("(")?;
        let word = c.word()?;
        c.expect(")")?;
        repeat(c, word)?
    } else if c.eat("dense") {
        let items = c.list("[", "]", |c| c.word())?;
        return text::tensor(ty.dtype, dims, &items).map_err(|m| c.error_at(start, m));
    } else if c.eat("iota") {
        return generated(ty.dtype, dims, (0..len).map(|i| i as f64))
            .ok_or_else(|| c.error_at(start, "not for this type"));
    } else if c.eat("random") {
        c.expect("(")?;
        let seed: u64 = c.number()?;
        c.expect(")")?;
        let float = ty.dtype.is_float();
        let items = noise(seed).take(len).map(|x| if float { 2.0 * x - 1.0 } else { (10.0 * x).floor() });
        return generated(ty.dtype, dims, items).ok_or_else(|| c.error_at(start, "not for this type"));
    } else {
        return Err(c.error("expected `#hash`, `zeros`, `splat(x)`, `dense[…]`, `iota` or `random(seed)`"));
    };
    Tensor::from_bytes(ty.dtype, dims, crate::bytes::Bytes::from_vec(bytes))
        .ok_or_else(|| c.error_at(start, "literal does not fill its shape"))
}

fn generated(dtype: DType, dims: Vec<usize>, items: impl Iterator<Item = f64>) -> Option<Tensor> {
    Some(match dtype {
        DType::F32 => Tensor::new(dims, items.map(|x| x as f32).collect()),
        DType::F64 => Tensor::new(dims, items.collect::<Vec<f64>>()),
        DType::I64 => Tensor::new(dims, items.map(|x| x as i64).collect()),
        DType::I32 => Tensor::new(dims, items.map(|x| x as i32).collect()),
        DType::I8 => Tensor::new(dims, items.map(|x| x as i8).collect()),
        DType::U8 => Tensor::new(dims, items.map(|x| x as u8).collect()),
        _ => return None,
    })
}

/// Uniform numbers in [0, 1) with 24 bits, by SplitMix64 (Steele, Lea, Flood 2014).
fn noise(seed: u64) -> impl Iterator<Item = f64> {
    let mut state = seed;
    std::iter::from_fn(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 24))
    })
}

fn float(c: &mut Cursor) -> Result<f32> {
    let start = c.offset();
    let word = c.word()?;
    let t = text::tensor(DType::F32, vec![1], &[word]).map_err(|m| c.error_at(start, m))?;
    Ok(t.view::<f32>()[0])
}

/// An attribute value of a kind.
pub(super) fn attr(c: &mut Cursor, kind: AttrKind) -> Result<Attr> {
    Ok(match kind {
        AttrKind::Int => Attr::Int(c.number()?),
        AttrKind::Float => Attr::Float(float(c)?),
        AttrKind::Bool => Attr::Bool(c.number()?),
        AttrKind::Str => Attr::Str(c.string()?),
        AttrKind::DType => Attr::DType(dtype(c)?),
        AttrKind::Ints => Attr::Ints(c.list("[", "]", |c| c.number())?),
        AttrKind::Floats => Attr::Floats(c.list("[", "]", float)?),
        AttrKind::Strs => Attr::Strs(c.list("[", "]", |c| c.string())?),
    })
}
