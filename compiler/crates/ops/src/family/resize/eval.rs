//! Evaluation of resize: one dimension after the other.

use super::coordinate::{Mapping, cubic};
use super::{Mode, Resize};
use crate::real::{Evaluated, Real, zeros};
use mnnc_ir::decl::EvalCtx;
use mnnc_ir::{DType, Element, OpError, Tensor};
use rayon::prelude::*;

pub fn eval(ctx: &EvalCtx) -> Evaluated {
    match ctx.input(0)?.dtype() {
        DType::I8 => nearest::<i8>(ctx),
        DType::U8 => nearest::<u8>(ctx),
        d => super::eval_real!(ctx, d, eval_float),
    }
}

fn eval_float<T: Real>(ctx: &EvalCtx) -> Evaluated {
    if matches!(Resize::read(&ctx.op)?.mode, Mode::Nearest(_)) { nearest::<T>(ctx) } else { weighted::<T>(ctx) }
}

/// The samples that an output position is made of.
struct Taps {
    /// Positions in the input, within it.
    positions: Vec<usize>,
    weights: Vec<f64>,
    /// Whether the coordinate lies in the input.
    inside: bool,
}

fn taps(mode: Mode, m: &Mapping, o: usize) -> Taps {
    let x = m.coordinate(o);
    let last = m.input as f32 - 1.0;
    let inside = x >= 0.0 && x <= last;
    let clamp = |p: f32| p.clamp(0.0, last) as usize;
    let (positions, weights) = match mode {
        Mode::Nearest(n) => (vec![clamp(n.position(x))], vec![1.0]),
        Mode::Linear => {
            let x = x.clamp(0.0, last);
            let low = x.floor();
            let t = f64::from(x - low);
            (vec![clamp(low), clamp(low + 1.0)], vec![1.0 - t, t])
        }
        Mode::Cubic { a, exclude_outside } => {
            let low = x.floor();
            let near = [-1.0, 0.0, 1.0, 2.0].map(|k| low + k);
            let mut weights = near.map(|p| {
                let out = exclude_outside && !(0.0..=last).contains(&p);
                if out { 0.0 } else { f64::from(cubic(x - p, a)) }
            });
            if exclude_outside {
                let sum: f64 = weights.iter().sum();
                weights = weights.map(|w| w / sum);
            }
            (near.map(clamp).to_vec(), weights.to_vec())
        }
    };
    Taps { positions, weights, inside }
}

/// The samples of linear interpolation.
pub(super) fn linear(m: &Mapping, o: usize) -> [(usize, f32); 2] {
    let t = taps(Mode::Linear, m, o);
    std::array::from_fn(|i| (t.positions[i], t.weights[i] as f32))
}

/// Splits a shape about a dimension: product before, extent, product behind.
fn around(dims: &[usize], axis: usize) -> (usize, usize, usize) {
    (dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product())
}

/// Applies `f(taps, column of input, out)` along each changed dimension in turn.
fn separable<T: Element + Default>(
    ctx: &EvalCtx,
    extrapolation: T,
    f: impl Fn(&Taps, &[T], usize, &mut [T]) + Sync,
) -> Evaluated {
    let resize = Resize::read(&ctx.op)?;
    let mut dims = ctx.input(0)?.dims().to_vec();
    let mut data = ctx.input(0)?.to_vec::<T>();
    let mut outside = Vec::new();
    for (axis, m) in resize.mappings(&ctx.op)? {
        let table: Vec<Taps> = (0..m.output).map(|o| taps(resize.mode, &m, o)).collect();
        let (_, n, inner) = around(&dims, axis);
        dims[axis] = m.output;
        let mut out = zeros::<T>(&dims)?;
        if inner * n > 0 && !out.is_empty() {
            out.par_chunks_mut(m.output * inner).zip(data.par_chunks(n * inner)).for_each(|(out, data)| {
                for (taps, out) in table.iter().zip(out.chunks_mut(inner)) {
                    f(taps, data, inner, out);
                }
            });
        }
        data = out;
        if resize.transformation.crops() {
            outside.push((axis, table.iter().map(|t| !t.inside).collect::<Vec<bool>>()));
        }
    }
    for (axis, out) in outside {
        let (_, n, inner) = around(&dims, axis);
        for (i, line) in data.chunks_mut(inner.max(1)).enumerate() {
            if out[i % n] {
                line.fill(extrapolation);
            }
        }
    }
    Ok(vec![Tensor::new(dims, data)])
}

fn nearest<T: Element + Default>(ctx: &EvalCtx) -> Evaluated {
    let value = f64::from(Resize::read(&ctx.op)?.extrapolation);
    let extrapolation = from_f64::<T>(value)?;
    separable::<T>(ctx, extrapolation, |taps, data, inner, out| {
        out.copy_from_slice(&data[taps.positions[0] * inner..][..inner]);
    })
}

fn weighted<T: Real>(ctx: &EvalCtx) -> Evaluated {
    let extrapolation = T::of(f64::from(Resize::read(&ctx.op)?.extrapolation));
    separable::<T>(ctx, extrapolation, |taps, data, inner, out| {
        for (&p, &w) in taps.positions.iter().zip(&taps.weights) {
            let w = T::of(w);
            out.iter_mut().zip(&data[p * inner..]).for_each(|(o, &x)| *o += w * x);
        }
    })
}

/// A number as an element of any of the types that are resized.
fn from_f64<T: Element>(x: f64) -> Result<T, OpError> {
    let bytes: Vec<u8> = match T::DTYPE {
        DType::F32 => (x as f32).to_le_bytes().to_vec(),
        DType::F64 => x.to_le_bytes().to_vec(),
        DType::I8 => (x as i8).to_le_bytes().to_vec(),
        DType::U8 => vec![x as u8],
        d => return Err(OpError::unsupported(format!("{d} is not resized"))),
    };
    Ok(bytemuck::pod_read_unaligned(&bytes))
}
