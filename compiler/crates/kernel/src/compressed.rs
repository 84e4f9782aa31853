//! Constants that a graph stores compressed: `dequantize_linear` of constant integers, or `cast` of constant half floats.
//!
//! Kernels read such weights as they are stored and expand them in registers (`families::igemm::packing`). Who needs numbers at compile
//! time, such as a kernel whose few weights are not worth packing, asks for [`Compressed::value`].

use mnnc_ir::{DType, Graph, Tensor, ValueId};
use std::borrow::Cow;

/// The elements as they are stored.
#[derive(Clone, Debug)]
enum Codes<'g> {
    Half(Cow<'g, [half::f16]>),
    Signed(Cow<'g, [i8]>),
    Unsigned(Cow<'g, [u8]>),
}

/// How scales lie over the elements.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Granularity {
    /// One for all.
    Tensor,
    /// One for each index of a dimension.
    Axis(usize),
    /// One for so many elements along a dimension, and each index of the others.
    Blocks(usize, usize),
}

/// A compressed constant.
#[derive(Clone, Debug)]
pub struct Compressed<'g> {
    codes: Codes<'g>,
    dims: &'g [usize],
    scale: Option<Cow<'g, [f32]>>,
    zero: Option<Vec<i32>>,
    granularity: Granularity,
    /// What is taken off each integer and zero point, so that they fit signed ones.
    shift: i32,
    /// Largest and smallest integer.
    range: [i32; 2],
}

impl<'g> Compressed<'g> {
    /// The constant behind a value, if it is a compressed one: of half floats, or of 8-bit integers with scales in `f32`.
    pub fn of(g: &'g Graph, v: ValueId) -> Option<Compressed<'g>> {
        let n = g.producer(v)?;
        let node = g.node(n);
        let stored = g.constant(node.input(0)?)?;
        match node.op.name {
            "cast" if stored.dtype() == DType::F16 && g.ty(v).dtype == DType::F32 => Some(Compressed {
                codes: Codes::Half(stored.view()),
                dims: stored.dims(),
                scale: None,
                zero: None,
                granularity: Granularity::Tensor,
                shift: 0,
                range: [0; 2],
            }),
            "dequantize_linear" => {
                let facts = g.facts(n);
                let ctx = facts.of(node);
                let scale = g.constant(node.input(1)?).filter(|t| t.dtype() == DType::F32)?;
                let zero = match node.input(2) {
                    None => None,
                    Some(z) => Some(integers(g.constant(z)?)?).filter(|z| z.iter().any(|&z| z != 0)),
                };
                let block = usize::try_from(ctx.int("block_size").unwrap_or(0)).ok()?;
                let rank = stored.dims().len();
                let axis = ctx.int("axis").unwrap_or(1);
                let axis = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok();
                let granularity = match (scale.dims().len(), block) {
                    (0, 0) => Granularity::Tensor,
                    (1, 0) if scale.len() == 1 => Granularity::Tensor,
                    (1, 0) => Granularity::Axis(axis.filter(|&a| a < rank)?),
                    (_, b) if b > 0 => Granularity::Blocks(axis.filter(|&a| a < rank)?, b),
                    _ => return None,
                };
                Compressed::integers(stored, scale, zero, granularity)
            }
            _ => None,
        }
    }

    fn integers(
        stored: &'g Tensor,
        scale: &'g Tensor,
        zero: Option<Vec<i32>>,
        granularity: Granularity,
    ) -> Option<Compressed<'g>> {
        let (codes, bounds) = match stored.dtype() {
            DType::I8 => {
                let all = stored.view::<i8>();
                let bounds = bounds(all.iter().map(|&q| i32::from(q)));
                (Codes::Signed(all), bounds)
            }
            DType::U8 => {
                let all = stored.view::<u8>();
                let bounds = bounds(all.iter().map(|&q| i32::from(q)));
                (Codes::Unsigned(all), bounds)
            }
            _ => return None,
        };
        let shift = match (stored.dtype(), bounds[1]) {
            (DType::U8, ..16) => 8,
            (DType::U8, _) => 128,
            _ => 0,
        };
        let zero = match (zero, shift) {
            (None, 0) => None,
            (None, _) => Some(vec![-shift; scale.len()]),
            (Some(z), _) => {
                let z: Vec<i32> = z.into_iter().map(|z| z - shift).collect();
                // A single zero point stands for as many as there are scales.
                let z = if z.len() == 1 { vec![z[0]; scale.len()] } else { z };
                (z.iter().any(|&z| z != 0)).then_some(z)
            }
        };
        let fits = zero.as_ref().is_none_or(|z| z.len() == scale.len());
        let range = [bounds[0] - shift, bounds[1] - shift];
        let dims = stored.dims();
        fits.then(|| Compressed { codes, dims, scale: Some(scale.view()), zero, granularity, shift, range })
    }

    /// Shape.
    pub fn dims(&self) -> &'g [usize] {
        self.dims
    }
    /// Elements.
    pub fn len(&self) -> usize {
        match &self.codes {
            Codes::Half(x) => x.len(),
            Codes::Signed(x) => x.len(),
            Codes::Unsigned(x) => x.len(),
        }
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// How scales lie.
    pub fn granularity(&self) -> Granularity {
        self.granularity
    }
    /// Whether the elements are half floats: then there are no scales.
    pub fn is_half(&self) -> bool {
        matches!(self.codes, Codes::Half(_))
    }
    /// Whether any zero point differs from 0.
    pub fn has_zero(&self) -> bool {
        self.zero.is_some()
    }
    /// Whether every integer fits four bits.
    pub fn fits_4_bits(&self) -> bool {
        !self.is_half() && self.range[0] >= -8 && self.range[1] <= 7
    }
    /// Whether every zero point fits eight bits.
    pub fn zeros_fit(&self) -> bool {
        self.zero.iter().flatten().all(|&z| i8::try_from(z).is_ok())
    }
    /// Whether half floats hold every scale exactly.
    pub fn scales_are_half(&self) -> bool {
        self.scale.iter().flat_map(|s| s.iter()).all(|&s| half::f16::from_f32(s).to_f32() == s)
    }

    /// The bits of a half float.
    pub fn half(&self, i: usize) -> u16 {
        match &self.codes {
            Codes::Half(x) => x[i].to_bits(),
            _ => 0,
        }
    }
    /// A signed integer; [`zero`](Self::zero) is shifted alike.
    pub fn code(&self, i: usize) -> i32 {
        match &self.codes {
            Codes::Half(_) => 0,
            Codes::Signed(x) => i32::from(x[i]),
            Codes::Unsigned(x) => i32::from(x[i]) - self.shift,
        }
    }
    /// The scale of an element.
    pub fn scale(&self, i: usize) -> f32 {
        self.scale.as_ref().map_or(1.0, |s| s[self.position(i)])
    }
    /// The zero point of an element.
    pub fn zero(&self, i: usize) -> i32 {
        self.zero.as_ref().map_or(0, |z| z[self.position(i)])
    }
    /// An element.
    pub fn value(&self, i: usize) -> f32 {
        match &self.codes {
            Codes::Half(x) => x[i].to_f32(),
            _ => (self.code(i) - self.zero(i)) as f32 * self.scale(i),
        }
    }
    /// All elements.
    pub fn values(&self) -> Vec<f32> {
        (0..self.len()).map(|i| self.value(i)).collect()
    }

    fn position(&self, i: usize) -> usize {
        let inner = |a: usize| self.dims[a + 1..].iter().product::<usize>();
        match self.granularity {
            Granularity::Tensor => 0,
            Granularity::Axis(a) => i / inner(a) % self.dims[a],
            Granularity::Blocks(a, b) => {
                let (inner, blocks) = (inner(a), self.dims[a].div_ceil(b));
                (i / (inner * self.dims[a]) * blocks + i / inner % self.dims[a] / b) * inner + i % inner
            }
        }
    }
}

fn bounds(all: impl Iterator<Item = i32>) -> [i32; 2] {
    all.fold([0, 0], |[low, high], x| [low.min(x), high.max(x)])
}

fn integers(t: &Tensor) -> Option<Vec<i32>> {
    match t.dtype() {
        DType::I8 => Some(t.view::<i8>().iter().map(|&x| i32::from(x)).collect()),
        DType::U8 => Some(t.view::<u8>().iter().map(|&x| i32::from(x)).collect()),
        _ => None,
    }
}

/// The `f32` numbers of a constant, plain or compressed.
pub fn numbers(g: &Graph, v: ValueId) -> Option<Cow<'_, [f32]>> {
    match g.constant(v) {
        Some(t) => (t.dtype() == DType::F32).then(|| t.view()),
        None => Compressed::of(g, v).map(|c| Cow::Owned(c.values())),
    }
}

/// Whether the value is a constant of `f32`, plain or compressed. Does not look at the elements.
pub fn is_constant(g: &Graph, v: ValueId) -> bool {
    match g.constant(v) {
        Some(t) => t.dtype() == DType::F32,
        None => is_compressed(g, v),
    }
}

/// Whether the value is a compressed constant. Does not look at the elements.
pub fn is_compressed(g: &Graph, v: ValueId) -> bool {
    let Some(node) = g.producer(v).map(|n| g.node(n)) else { return false };
    let constant = |i: usize| node.input(i).and_then(|v| g.constant(v)).map(Tensor::dtype);
    let single = |d: Option<DType>| matches!(d, Some(DType::I8 | DType::U8));
    match node.op.name {
        "cast" => constant(0) == Some(DType::F16) && g.ty(v).dtype == DType::F32,
        "dequantize_linear" => {
            let zero = node.input(2).is_none() || single(constant(2));
            single(constant(0)) && constant(1) == Some(DType::F32) && zero
        }
        _ => false,
    }
}
