//! The loop form of convolution.

use super::{ConvShape, shape};
use crate::loops::{Stage, affine, compute as finished, div, load_wide, map, reduce, wide, window_index};
use mnnc_ir::compute::{Combine, Compute};
use mnnc_ir::scalar::{Expr, ScalarBuilder, Source};
use mnnc_ir::{OpCtx, OpError};

/// The sums over channels and taps. `x` loads the data at an index, under a condition where there is padding; `w` loads the
/// weight at an index, whose first element is the output channel.
pub fn sums(
    s: &ConvShape,
    x: impl FnOnce(&mut ScalarBuilder, Vec<Expr>, Option<Expr>) -> Expr,
    w: impl FnOnce(&mut ScalarBuilder, Vec<Expr>) -> Expr,
) -> Stage {
    let rank = s.axes.len();
    let mut b = ScalarBuilder::new();
    let (n, m, c) = (b.axis(0), b.axis(1), b.axis(2 + rank));
    let group = div(&mut b, m, s.outputs);
    let channel = if s.groups == 1 { c } else { affine(&mut b, &[(group, s.inputs as i64), (c, 1)], 0) };
    let (spatial, guard) = window_index(&mut b, &s.axes, 2, 3 + rank);
    let x = x(&mut b, [vec![n, channel], spatial].concat(), guard);
    let taps: Vec<_> = (0..rank).map(|i| b.axis(3 + rank + i)).collect();
    let w = w(&mut b, [vec![m, c], taps].concat());
    let product = b.mul(x, w);
    let over = std::iter::once(s.inputs).chain(s.axes.iter().map(|a| a.kernel)).collect();
    reduce(s.dims(), over, Combine::Sum, b, product)
}

pub fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let s = shape(ctx, 0, 1)?;
    let d = ctx.input(0)?.dtype;
    let rank = s.axes.len();
    let mut stages = vec![sums(
        &s,
        |b, index, guard| load_wide(b, Source::Input(0), index, d, guard, 0.0),
        |b, index| load_wide(b, Source::Input(1), index, d, None, 0.0),
    )];
    if ctx.opt_input(2).is_some() || wide(d) != d {
        let mut b = ScalarBuilder::new();
        let index: Vec<_> = (0..2 + rank).map(|i| b.axis(i)).collect();
        let m = index[1];
        let mut y = b.load(Source::Stage(0), index, wide(d));
        if ctx.opt_input(2).is_some() {
            let bias = load_wide(&mut b, Source::Input(2), vec![m], d, None, 0.0);
            y = b.add(y, bias);
        }
        let y = b.cast(y, d);
        stages.push(map(s.dims(), b, y));
    }
    Ok(finished(stages))
}
