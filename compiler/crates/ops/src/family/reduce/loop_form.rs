//! Loop form of reductions: prepare each element, combine, finish.

use super::{Kind, known_reduced, left};
use crate::loops;
use mnnc_ir::compute::{Combine, Compute, Stage};
use mnnc_ir::scalar::{Expr, ScalarBuilder, Source, Unary};
use mnnc_ir::{DType, OpCtx, OpError};

/// The reduced elements, as loops.
pub(super) struct Nest {
    /// Loops over the result.
    pub dims: Vec<usize>,
    /// Loops over what is combined.
    pub over: Vec<usize>,
    /// For each dimension of the input, the loop that runs along it.
    loops: Vec<usize>,
}

impl Nest {
    pub fn new(x: &[usize], reduced: &[bool], keep: bool) -> Nest {
        let dims = left(x, reduced, keep, 1);
        let (mut kept, mut inner) = (0, dims.len());
        let mut loops = Vec::new();
        for &r in reduced {
            loops.push(if r { inner } else { kept });
            inner += usize::from(r);
            kept += usize::from(keep || !r);
        }
        let over = x.iter().zip(reduced).filter(|(_, r)| **r).map(|(&d, _)| d).collect();
        Nest { dims, over, loops }
    }
    /// The input's element, in type `wide`.
    pub fn element(&self, b: &mut ScalarBuilder, d: DType, wide: DType) -> Expr {
        let index = self.loops.iter().map(|&l| b.axis(l)).collect();
        let e = b.load(Source::Input(0), index, d);
        b.cast(e, wide)
    }
    /// The element of an earlier stage with the result's shape.
    pub fn result_of(&self, b: &mut ScalarBuilder, stage: usize, d: DType) -> Expr {
        let index = loops::axes(b, self.dims.len());
        b.load(Source::Stage(stage), index, d)
    }
    /// A stage that combines.
    pub fn combine(&self, combine: Combine, b: ScalarBuilder, body: Expr) -> Stage {
        if self.over.is_empty() {
            return loops::map(self.dims.clone(), b, body);
        }
        loops::reduce(self.dims.clone(), self.over.clone(), combine, b, body)
    }
}

pub(super) fn compute(ctx: &OpCtx, kind: Kind) -> Result<Compute, OpError> {
    let d = ctx.input(0)?.dtype;
    let wide = match d {
        DType::Bool => DType::U8,
        _ if d.is_float() || !kind.in_float() => loops::wide(d),
        _ => DType::F64,
    };
    let nest = Nest::new(&ctx.static_dims(0)?, &known_reduced(ctx)?, ctx.flag("keepdims"));
    let mut stages = Vec::new();
    if kind == Kind::LogSumExp {
        let mut b = ScalarBuilder::new();
        let x = nest.element(&mut b, d, wide);
        stages.push(nest.combine(Combine::Max, b, x));
    }
    let mut b = ScalarBuilder::new();
    let x = nest.element(&mut b, d, wide);
    let prepared = match kind {
        Kind::Sum | Kind::Mean | Kind::Max | Kind::Min | Kind::Prod | Kind::LogSum => x,
        Kind::L1 => b.unary(Unary::Abs, x),
        Kind::L2 | Kind::SumSquare => b.mul(x, x),
        Kind::LogSumExp => {
            let top = shift(&mut b, &nest, wide);
            let e = b.sub(x, top);
            b.unary(Unary::Exp, e)
        }
    };
    stages.push(nest.combine(
        match kind {
            Kind::Max => Combine::Max,
            Kind::Min => Combine::Min,
            Kind::Prod => Combine::Product,
            _ => Combine::Sum,
        },
        b,
        prepared,
    ));
    let finishes = !matches!(kind, Kind::Sum | Kind::Max | Kind::Min | Kind::Prod | Kind::L1 | Kind::SumSquare);
    if finishes || wide != d {
        let mut b = ScalarBuilder::new();
        let s = nest.result_of(&mut b, stages.len() - 1, wide);
        let y = match kind {
            Kind::Mean => {
                let n = b.lit(nest.over.iter().product::<usize>() as f64, s);
                b.div(s, n)
            }
            Kind::L2 => b.unary(Unary::Sqrt, s),
            Kind::LogSum => b.unary(Unary::Log, s),
            Kind::LogSumExp => {
                let l = b.unary(Unary::Log, s);
                let top = shift(&mut b, &nest, wide);
                b.add(l, top)
            }
            _ => s,
        };
        let y = b.cast(y, d);
        stages.push(loops::map(nest.dims.clone(), b, y));
    }
    Ok(loops::compute(stages))
}

/// The greatest element, which stage 0 found, or 0 if it is infinite.
fn shift(b: &mut ScalarBuilder, nest: &Nest, wide: DType) -> Expr {
    let top = nest.result_of(b, 0, wide);
    let infinite = b.unary(Unary::IsInf, top);
    let zero = b.lit(0.0, top);
    b.select(infinite, zero, top)
}
