//! Maximum over sliding windows.

use super::{AUTO_PAD, CEIL_MODE, DILATIONS, KERNEL_SHAPE, PADS, Pool, STRIDES, drafts, infer_dims};
use crate::define::BASE;
use crate::loops::{self, load_wide, lowest, map, reduce, window_index};
use crate::real::{Evaluated, Real, eval_real};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::compute::{Combine, Compute};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Cmp, Expr, ScalarBuilder, Source};
use mnnc_ir::{
    AttrDecl, AttrKind, DType, DTypeSet, Element, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType,
};

const TYPES: DTypeSet = DTypeSet::FLOAT.union(DTypeSet::only(DType::I8)).union(DTypeSet::only(DType::U8));

/// Max pooling.
pub static MAX_POOL: OpDecl = OpDecl {
    name: "max_pool",
    family: "pool",
    doc: "Maximum of each window; padding never wins. x: [N,C,D1..Dr], r in 1..=3. The second output holds the position \
          of each maximum in the flattened x, the first where there are several. ONNX MaxPool.",
    inputs: &[Operand::required("x", TYPES)],
    outputs: &[Operand::required("y", TYPES), Operand::optional("indices", DTypeSet::I64)],
    attrs: &[
        KERNEL_SHAPE,
        STRIDES,
        PADS,
        DILATIONS,
        AUTO_PAD,
        CEIL_MODE,
        AttrDecl::with_default(
            "storage_order",
            AttrKind::Int,
            AttrDefault::Int(0),
            "how indices count positions within a plane: 0 row-major, 1 column-major",
        ),
    ],
    infer,
    eval,
    compute: Some(compute),
    flops: |ctx| Pool::new(ctx).map_or(0, |p| p.flops()),
    samples,
    ..BASE
};

fn infer(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let dims = infer_dims(ctx, syms)?;
    let order = ctx.int("storage_order").unwrap_or(0);
    if !(0..=1).contains(&order) {
        return Err(OpError::invalid(format!("storage_order is {order}; 0 and 1 are defined")));
    }
    let y = TensorType { quant: ctx.input(0)?.quant.clone(), ..TensorType::new(ctx.input(0)?.dtype, dims) };
    let indices = TensorType::new(DType::I64, y.dims.clone());
    Ok(vec![y, indices])
}

fn eval(ctx: &EvalCtx) -> Evaluated {
    match ctx.input(0)?.dtype() {
        DType::I8 => eval_as::<i8>(ctx, i8::MIN),
        DType::U8 => eval_as::<u8>(ctx, u8::MIN),
        d => eval_real!(ctx, d, eval_float),
    }
}

fn eval_float<T: Real>(ctx: &EvalCtx) -> Evaluated {
    eval_as::<T>(ctx, T::LOWEST)
}

fn eval_as<T: Element + PartialOrd + Default>(ctx: &EvalCtx, lowest: T) -> Evaluated {
    let pool = Pool::new(&ctx.op)?;
    let x = ctx.input(0)?.view::<T>();
    let y = pool.evaluate(&x, |taps, _, x| {
        let mut best = lowest;
        taps.each(|i| {
            if x[i] > best {
                best = x[i];
            }
        });
        best
    })?;
    let mut out = vec![Tensor::new(pool.dims(), y)];
    if ctx.op.num_outputs > 1 {
        let plane: usize = pool.axes.iter().map(|a| a.input).product();
        let column_major = ctx.op.int("storage_order") == Some(1);
        let indices = pool.evaluate(&x, |taps, p, x| {
            let mut best: Option<usize> = None;
            taps.each(|i| {
                if best.is_none_or(|b| x[i] > x[b]) {
                    best = Some(i);
                }
            });
            let position = best.unwrap_or(0);
            let position = if column_major { transposed(position, taps.axes) } else { position };
            (p * plane + position) as i64
        })?;
        out.push(Tensor::new(pool.dims(), indices));
    }
    Ok(out)
}

/// A row-major position in a plane counted in column-major order.
fn transposed(position: usize, axes: &[crate::window::Axis; 3]) -> usize {
    let [z, y, x] = axes.map(|a| a.input);
    let (row, ix) = (position / x, position % x);
    let (iz, iy) = (row / y, row % y);
    iz + z * (iy + y * ix)
}

fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let pool = Pool::new(ctx)?;
    let d = ctx.input(0)?.dtype;
    let rank = pool.axes.len();
    let mut b = ScalarBuilder::new();
    let (x, _, _) = element(&mut b, &pool, d);
    // A maximum of 16-bit floats is exact, so that no wider type is needed.
    let x = b.cast(x, d);
    let mut stages = vec![reduce(pool.dims(), pool.taps(), Combine::Max, b, x)];
    let mut outputs = vec![0];
    if ctx.num_outputs > 1 {
        if ctx.int("storage_order") == Some(1) {
            return Err(OpError::unsupported("column-major indices have no loop form"));
        }
        let mut b = ScalarBuilder::new();
        let (x, index, guard) = element(&mut b, &pool, d);
        let head: Vec<Expr> = (0..2 + rank).map(|i| b.axis(i)).collect();
        let best = b.load(Source::Stage(0), head, d);
        let best = b.cast(best, b.dtype(x));
        let mut position = index[0];
        let sizes = [&pool.head[..], &pool.axes.iter().map(|a| a.input).collect::<Vec<_>>()].concat();
        for (&i, &n) in index[1..].iter().zip(&sizes[1..]) {
            position = loops::affine(&mut b, &[(position, n as i64), (i, 1)], 0);
        }
        let mut found = b.compare(Cmp::Eq, x, best);
        if let Some(g) = guard {
            found = loops::all(&mut b, &[found, g]).unwrap_or(found);
        }
        let far = b.constant(loops::highest(DType::I64), DType::I64);
        let body = b.select(found, position, far);
        stages.push(reduce(pool.dims(), pool.taps(), Combine::Min, b, body));
        outputs.push(1);
    }
    if stages.iter().any(|s: &mnnc_ir::compute::Stage| s.dtype != d && s.dtype != DType::I64) {
        let mut b = ScalarBuilder::new();
        let index = loops::axes(&mut b, 2 + rank);
        let y = b.load(Source::Stage(0), index, stages[0].dtype);
        let y = b.cast(y, d);
        stages.push(map(pool.dims(), b, y));
        outputs[0] = stages.len() - 1;
    }
    Ok(Compute { stages, outputs })
}

/// The element under the window, its index and the condition that it is not padding.
fn element(b: &mut ScalarBuilder, pool: &Pool, d: DType) -> (Expr, Vec<Expr>, Option<Expr>) {
    let rank = pool.axes.len();
    let head = [b.axis(0), b.axis(1)];
    let (spatial, guard) = window_index(b, &pool.axes, 2, 2 + rank);
    let index = [head.to_vec(), spatial].concat();
    (load_wide(b, Source::Input(0), index.clone(), d, guard, lowest(d)), index, guard)
}

fn samples(seed: u64) -> Vec<Sample> {
    let floats = drafts(seed, DType::F32).into_iter().enumerate();
    let mut out: Vec<Sample> = floats.map(|(i, d)| if i % 3 == 0 { d.outputs(2).done() } else { d.done() }).collect();
    out.extend(drafts(seed, DType::U8).into_iter().take(2).map(|d| d.done()));
    out
}
