//! Pooling over sliding windows and over whole planes.

mod average;
mod global;
mod lp;
mod max;

pub use average::AVERAGE_POOL;
pub use global::{GLOBAL_AVERAGE_POOL, GLOBAL_LP_POOL, GLOBAL_MAX_POOL};
pub use lp::LP_POOL;
pub use max::MAX_POOL;

use crate::real::zeros;
use crate::sample::{Draft, Gen, draft};
use crate::window::{AUTO_PAD, Axis, DILATIONS, KERNEL_SHAPE, PADS, STRIDES, Window, lifted};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::{AttrDecl, AttrKind, DType, Dim, Element, OpCtx, OpError, SymTable};
use rayon::prelude::*;

const CEIL_MODE: AttrDecl = AttrDecl::with_default(
    "ceil_mode",
    AttrKind::Bool,
    AttrDefault::Bool(false),
    "output extents are rounded up; a window must still start before the end padding",
);
const P: AttrDecl = AttrDecl::with_default("p", AttrKind::Int, AttrDefault::Int(2), "exponent of the norm, at least 1");

/// The window of a pooling node and its spatial extents.
fn window(ctx: &OpCtx) -> Result<Window, OpError> {
    let rank = ctx.input(0)?.rank();
    if !(3..=5).contains(&rank) {
        return Err(OpError::unsupported(format!(
            "the input has rank {rank}; 3 to 5 are supported (batch, channels, 1 to 3 spatial dimensions)"
        )));
    }
    let kernel = ctx.ints("kernel_shape").ok_or_else(|| OpError::invalid("kernel_shape is missing"))?;
    if kernel.len() != rank - 2 {
        return Err(OpError::invalid(format!(
            "kernel_shape has {} entries for {} spatial dimensions",
            kernel.len(),
            rank - 2
        )));
    }
    Window::read(ctx, &kernel, true, ctx.flag("ceil_mode"))
}

/// The spatial dimensions of a sliding pooling node whose input is static.
pub fn axes(ctx: &OpCtx) -> Result<Vec<Axis>, OpError> {
    Pool::new(ctx).map(|p| p.axes)
}

fn infer_dims(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<Dim>, OpError> {
    let window = window(ctx)?;
    let x = ctx.input(0)?;
    let mut dims = x.dims[..2].to_vec();
    for (i, &d) in x.dims[2..].iter().enumerate() {
        dims.push(window.output(i, d, syms)?);
    }
    Ok(dims)
}

/// A pooling with every size known.
struct Pool {
    /// Batch, channels.
    head: [usize; 2],
    axes: Vec<Axis>,
}

impl Pool {
    fn new(ctx: &OpCtx) -> Result<Pool, OpError> {
        let x = ctx.static_dims(0)?;
        let axes = window(ctx)?.axes(&x[2..])?;
        Ok(Pool { head: [x[0], x[1]], axes })
    }
    /// The whole plane as one window.
    fn global(ctx: &OpCtx) -> Result<Pool, OpError> {
        let x = ctx.static_dims(0)?;
        let axis = |&n: &usize| Axis { input: n, kernel: n, ..Axis::UNIT };
        Ok(Pool { head: [x[0], x[1]], axes: x[2..].iter().map(axis).collect() })
    }
    fn dims(&self) -> Vec<usize> {
        self.head.into_iter().chain(self.axes.iter().map(|a| a.output)).collect()
    }
    fn taps(&self) -> Vec<usize> {
        self.axes.iter().map(|a| a.kernel).collect()
    }
    fn flops(&self) -> u64 {
        self.dims().into_iter().chain(self.taps()).fold(1, |a, n| a.saturating_mul(n as u64))
    }
    /// Evaluates: `f(window, axes, plane)` gives an output from the input plane number `plane` under a window.
    fn evaluate<T: Element, U: Element + Default>(
        &self,
        x: &[T],
        f: impl Fn(Taps, usize, &[T]) -> U + Sync,
    ) -> Result<Vec<U>, OpError> {
        let mut y = zeros::<U>(&self.dims())?;
        if y.is_empty() {
            return Ok(y);
        }
        // Planes have any number of dimensions when global, three otherwise.
        let flat: Vec<Axis>;
        let axes = if self.axes.len() <= 3 {
            lifted(&self.axes)
        } else {
            let n = self.axes.iter().map(|a| a.input).product();
            flat = vec![Axis { input: n, kernel: n, ..Axis::UNIT }];
            lifted(&flat)
        };
        let input: usize = axes.iter().map(|a| a.input).product();
        let pixels: usize = axes.iter().map(|a| a.output).product();
        y.par_chunks_mut(pixels).enumerate().for_each(|(plane, y)| {
            let x = &x[plane * input..(plane + 1) * input];
            for (i, y) in y.iter_mut().enumerate() {
                let (row, ox) = (i / axes[2].output, i % axes[2].output);
                let at = [row / axes[1].output, row % axes[1].output, ox];
                *y = f(Taps { axes: &axes, at }, plane, x);
            }
        });
        Ok(y)
    }
}

/// One window over a plane.
#[derive(Copy, Clone)]
struct Taps<'a> {
    axes: &'a [Axis; 3],
    at: [usize; 3],
}

impl Taps<'_> {
    /// Calls `f` with the position in the plane of every element that is not padding.
    #[inline]
    fn each(&self, mut f: impl FnMut(usize)) {
        let [az, ay, ax] = self.axes;
        for kz in 0..az.kernel {
            let Some(iz) = az.at(self.at[0], kz) else { continue };
            for ky in 0..ay.kernel {
                let Some(iy) = ay.at(self.at[1], ky) else { continue };
                let line = (iz * ay.input + iy) * ax.input;
                for kx in 0..ax.kernel {
                    if let Some(ix) = ax.at(self.at[2], kx) {
                        f(line + ix);
                    }
                }
            }
        }
    }
    /// Number of elements in the input or its padding.
    fn padded_count(&self) -> usize {
        let along = |(a, &o): (&Axis, &usize)| (0..a.kernel).filter(|&k| a.in_padded(o, k)).count();
        self.axes.iter().zip(&self.at).map(along).product()
    }
}

/// Drafts of pooling samples of every kind of geometry.
fn drafts(seed: u64, dtype: DType) -> Vec<Draft> {
    let mut g = Gen::new(seed);
    (0..8)
        .map(|case| {
            let rank = [2, 2, 1, 3][case % 4];
            let kernel = g.dims(rank, 4);
            // With a step beyond the window, SAME would need negative padding, which authorities treat differently.
            let strides: Vec<usize> = kernel.iter().map(|&k| 1 + g.below(k.min(3))).collect();
            let dilations = g.dims(rank, if case % 3 == 2 { 2 } else { 1 });
            let spatial: Vec<usize> = (0..rank).map(|i| (kernel[i] - 1) * dilations[i] + 1 + g.below(8)).collect();
            let ints = |v: &[usize]| v.iter().map(|&x| x as i64).collect::<Vec<i64>>();
            let x = [vec![1 + g.below(2), 1 + g.below(4)], spatial].concat();
            let mut d = draft()
                .data(g.tensor(dtype, &x, -8.0, 8.0))
                .attr("kernel_shape", ints(&kernel))
                .attr("strides", ints(&strides));
            d = match case {
                1 => d.attr("auto_pad", "SAME_UPPER"),
                5 => d.attr("auto_pad", "SAME_LOWER"),
                6 => d.attr("auto_pad", "VALID"),
                _ => {
                    let pads: Vec<i64> =
                        (0..2 * rank).map(|i| g.int(0, (kernel[i % rank] as i64 - 1).min(2))).collect();
                    d.attr("pads", pads).attr("dilations", ints(&dilations))
                }
            };
            if matches!(case, 0 | 4 | 7) { d.attr("ceil_mode", true) } else { d }
        })
        .collect()
}
