//! The vectorised interpreter of scalar functions: each node of the function runs over a chunk of elements at a time, so
//! that its cost is that of the arithmetic, not of the walk.
//!
//! Registers hold `f32` (for `f32`, `f16` and `bf16`), `f64`, or `i64` (for all integers and bool; `u64` by its bits).

mod float;
mod int;

use crate::broadcast::broadcast_strides;
use crate::num::{Num, for_dtype};
use mnnc_ir::scalar::{ScalarFn, ScalarNode};
use mnnc_ir::{DType, OpError, Tensor};
use rayon::prelude::*;
use std::borrow::Cow;

/// Elements a step.
const CHUNK: usize = 1024;

/// The values of one node over a chunk.
pub(crate) enum Lane {
    /// `f32`, `f16`, `bf16`.
    F32(Vec<f32>),
    /// `f64`.
    F64(Vec<f64>),
    /// Integers, wrapped to their width, and bool as 0 or 1.
    Int(Vec<i64>),
}

impl Lane {
    fn new(d: DType) -> Lane {
        match d {
            DType::F32 | DType::F16 | DType::BF16 => Lane::F32(vec![0.0; CHUNK]),
            DType::F64 => Lane::F64(vec![0.0; CHUNK]),
            _ => Lane::Int(vec![0; CHUNK]),
        }
    }
    fn fill(&mut self, x: f64) {
        match self {
            Lane::F32(v) => v.fill(x as f32),
            Lane::F64(v) => v.fill(x),
            Lane::Int(v) => v.fill(x as i64),
        }
    }
}

/// Evaluates `f`, whose arguments are broadcast to `dims`, at each element of `dims`.
pub fn map(f: &ScalarFn, inputs: &[Option<Tensor>], dims: &[usize]) -> Result<Tensor, OpError> {
    let args: Vec<Option<Arg>> = inputs.iter().map(|t| t.as_ref().map(|t| Arg::new(t, dims))).collect();
    let dtype = f.dtype(f.result);
    let n: usize = dims.iter().product();
    if let Some((node, _)) = f.nodes.iter().find(|(n, _)| matches!(n, ScalarNode::Axis(_) | ScalarNode::Load { .. })) {
        return Err(OpError::unsupported(format!("{node:?} stands in an element-wise formula")));
    }
    let out = for_dtype!(dtype, T => {
        let mut out: Vec<T> = Vec::new();
        out.try_reserve_exact(n).map_err(|_| OpError::unsupported(format!("no memory for {n} elements")))?;
        out.resize(n, T::default());
        let work = |regs: &mut Vec<Lane>, (i, chunk): (usize, &mut [T])| {
            run(f, &args, regs, i * CHUNK, chunk.len());
            T::from_lane(&regs[f.result.0 as usize], chunk);
        };
        if n <= CHUNK {
            let mut regs = registers(f);
            if n > 0 {
                work(&mut regs, (0, &mut out));
            }
        } else {
            out.par_chunks_mut(CHUNK).enumerate().for_each_init(|| registers(f), work);
        }
        let t = Tensor::new(dims, out);
        if dtype == DType::Bool { Tensor::from_bytes(dtype, dims, t.bytes().clone()) } else { Some(t) }
    });
    out.ok_or_else(|| OpError::invalid("element-wise result does not fill its shape"))
}

fn registers(f: &ScalarFn) -> Vec<Lane> {
    let fill = |(node, d): &(ScalarNode, DType)| {
        let mut lane = Lane::new(*d);
        if let ScalarNode::Const(x) = node {
            lane.fill(*x);
        }
        lane
    };
    f.nodes.iter().map(fill).collect()
}

/// Computes all nodes for elements `start .. start + n` of the output.
fn run(f: &ScalarFn, args: &[Option<Arg>], regs: &mut [Lane], start: usize, n: usize) {
    for (i, (node, d)) in f.nodes.iter().enumerate() {
        let (before, rest) = regs.split_at_mut(i);
        let out = &mut rest[0];
        let at = |e: &mnnc_ir::scalar::Expr| &before[e.0 as usize];
        match node {
            ScalarNode::Const(_) | ScalarNode::Axis(_) | ScalarNode::Load { .. } => {}
            ScalarNode::Arg(a) => {
                if let Some(arg) = args.get(*a).and_then(Option::as_ref) {
                    arg.read(start, n, out);
                }
            }
            ScalarNode::Unary(u, a) => match (at(a), out) {
                (Lane::F32(x), Lane::F32(o)) => float::unary_f32(*u, &x[..n], &mut o[..n]),
                (Lane::F64(x), Lane::F64(o)) => float::unary_f64(*u, &x[..n], &mut o[..n]),
                (Lane::F32(x), Lane::Int(o)) => float::classify(*u, &x[..n], &mut o[..n]),
                (Lane::F64(x), Lane::Int(o)) => float::classify(*u, &x[..n], &mut o[..n]),
                (Lane::Int(x), Lane::Int(o)) => int::unary(*u, *d, &x[..n], &mut o[..n]),
                _ => unreachable!("the builder types unary nodes"),
            },
            ScalarNode::Binary(op, a, b) => match (at(a), at(b), out) {
                (Lane::F32(x), Lane::F32(y), Lane::F32(o)) => float::binary_f32(*op, &x[..n], &y[..n], &mut o[..n]),
                (Lane::F64(x), Lane::F64(y), Lane::F64(o)) => float::binary_f64(*op, &x[..n], &y[..n], &mut o[..n]),
                (Lane::Int(x), Lane::Int(y), Lane::Int(o)) => int::binary(*op, *d, &x[..n], &y[..n], &mut o[..n]),
                _ => unreachable!("the builder types binary nodes"),
            },
            ScalarNode::Compare(r, a, b) => {
                let Lane::Int(o) = out else { unreachable!("comparisons are bool") };
                match (at(a), at(b)) {
                    (Lane::F32(x), Lane::F32(y)) => float::compare(*r, &x[..n], &y[..n], &mut o[..n]),
                    (Lane::F64(x), Lane::F64(y)) => float::compare(*r, &x[..n], &y[..n], &mut o[..n]),
                    (Lane::Int(x), Lane::Int(y)) => int::compare(*r, f.dtype(*a), &x[..n], &y[..n], &mut o[..n]),
                    _ => unreachable!("the builder types comparisons"),
                }
            }
            ScalarNode::Select(c, a, b) => {
                let Lane::Int(c) = at(c) else { unreachable!("conditions are bool") };
                match (at(a), at(b), out) {
                    (Lane::F32(x), Lane::F32(y), Lane::F32(o)) => select(&c[..n], x, y, o),
                    (Lane::F64(x), Lane::F64(y), Lane::F64(o)) => select(&c[..n], x, y, o),
                    (Lane::Int(x), Lane::Int(y), Lane::Int(o)) => select(&c[..n], x, y, o),
                    _ => unreachable!("the builder types selects"),
                }
            }
            ScalarNode::Cast(a) => cast(at(a), f.dtype(*a), out, *d, n),
        }
    }
}

fn select<T: Copy>(c: &[i64], x: &[T], y: &[T], o: &mut [T]) {
    for (((o, &c), &x), &y) in o.iter_mut().zip(c).zip(x).zip(y) {
        *o = if c != 0 { x } else { y };
    }
}

fn cast(x: &Lane, from: DType, out: &mut Lane, to: DType, n: usize) {
    match (x, out) {
        (Lane::F32(x), Lane::F32(o)) => float::round_to(to, &x[..n], &mut o[..n]),
        (Lane::F32(x), Lane::F64(o)) => o.iter_mut().zip(&x[..n]).for_each(|(o, &x)| *o = f64::from(x)),
        (Lane::F64(x), Lane::F64(o)) => o[..n].copy_from_slice(&x[..n]),
        (Lane::F64(x), Lane::F32(o)) => float::narrow(to, &x[..n], &mut o[..n]),
        (Lane::F32(x), Lane::Int(o)) => float::to_int(to, &x[..n], &mut o[..n]),
        (Lane::F64(x), Lane::Int(o)) => float::to_int(to, &x[..n], &mut o[..n]),
        (Lane::Int(x), Lane::F32(o)) => int::to_f32(from, to, &x[..n], &mut o[..n]),
        (Lane::Int(x), Lane::F64(o)) => int::to_f64(from, &x[..n], &mut o[..n]),
        (Lane::Int(x), Lane::Int(o)) => int::convert(to, &x[..n], &mut o[..n]),
    }
}

/// A broadcast operand: its elements, and how they spread over the output, neighbouring dims merged where one step
/// serves both.
struct Arg<'a> {
    tensor: &'a Tensor,
    dims: Vec<usize>,
    strides: Vec<usize>,
    /// The bytes, aligned.
    data: Elements<'a>,
}

/// The elements of a tensor by type; a mapped file gives no alignment, so they may be copies.
macro_rules! elements {
    ($($d:ident $t:ty),*) => {
        enum Elements<'a> { $($d(Cow<'a, [$t]>)),* }
        impl<'a> Elements<'a> {
            fn of(t: &'a Tensor) -> Elements<'a> {
                match t.dtype() {
                    DType::Bool => Elements::U8(t.view()),
                    $(DType::$d => Elements::$d(t.view())),*
                }
            }
            fn read(&self, is_bool: bool, runs: impl Iterator<Item = (usize, usize, usize)>, lane: &mut Lane) {
                match self {
                    $(Elements::$d(x) => gather(x, is_bool, runs, lane)),*
                }
            }
        }
    };
}
elements!(F32 f32, F64 f64, F16 half::f16, BF16 half::bf16, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16,
          U32 u32, U64 u64);

/// Reads runs of `(offset, step, length)` one after another into a lane.
fn gather<T: Num>(x: &[T], is_bool: bool, runs: impl Iterator<Item = (usize, usize, usize)>, lane: &mut Lane) {
    let mut at = 0;
    for (offset, step, len) in runs {
        match step {
            0 => T::splat(x[offset], lane, at, len),
            1 => T::copy(&x[offset..offset + len], lane, at),
            _ => {
                for k in 0..len {
                    T::splat(x[offset + k * step], lane, at + k, 1);
                }
            }
        }
        at += len;
    }
    if is_bool && let Lane::Int(v) = lane {
        v[..at].iter_mut().for_each(|b| *b = i64::from(*b != 0));
    }
}

impl<'a> Arg<'a> {
    fn new(t: &'a Tensor, out: &[usize]) -> Arg<'a> {
        let full = broadcast_strides(t.dims(), out);
        let (mut dims, mut strides): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
        for (&d, &s) in out.iter().zip(&full) {
            match (dims.last_mut(), strides.last_mut()) {
                _ if d == 1 => {}
                (Some(pd), Some(ps)) if *ps == s * d => {
                    *pd *= d;
                    *ps = s;
                }
                _ => {
                    dims.push(d);
                    strides.push(s);
                }
            }
        }
        if dims.is_empty() {
            dims.push(1);
            strides.push(0);
        }
        Arg { tensor: t, dims, strides, data: Elements::of(t) }
    }
    /// Fills `lane` with the elements at output positions `start .. start + n`.
    fn read(&self, start: usize, n: usize, lane: &mut Lane) {
        let last = self.dims.len() - 1;
        let (inner, step) = (self.dims[last], self.strides[last]);
        let mut position = start;
        let runs = std::iter::from_fn(|| {
            if position == start + n {
                return None;
            }
            let (mut row, column) = (position / inner, position % inner);
            let mut offset = column * step;
            for k in (0..last).rev() {
                offset += row % self.dims[k] * self.strides[k];
                row /= self.dims[k];
            }
            let len = (inner - column).min(start + n - position);
            position += len;
            Some((offset, step, len))
        });
        self.data.read(self.tensor.dtype() == DType::Bool, runs, lane);
    }
}
