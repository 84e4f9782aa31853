//! Reductions, arg-reductions, scans along an axis.

use crate::onnx::node::{Converted, NodeCx, op};
use crate::onnx::table::{Row, plain, with};
use mnnc_ir::{Attrs, DType, ValueId};

pub(super) static ROWS: &[Row] = &[
    plain("ArgMax", "arg_max"),
    plain("ArgMin", "arg_min"),
    plain("CumProd", "cum_prod"),
    plain("CumSum", "cum_sum"),
    with("ReduceL1", |cx| reduce(cx, "reduce_l1", 18)),
    with("ReduceL2", |cx| reduce(cx, "reduce_l2", 18)),
    with("ReduceLogSum", |cx| reduce(cx, "reduce_log_sum", 18)),
    with("ReduceLogSumExp", |cx| reduce(cx, "reduce_log_sum_exp", 18)),
    with("ReduceMax", |cx| extreme(cx, "reduce_max")),
    with("ReduceMean", |cx| reduce(cx, "reduce_mean", 18)),
    with("ReduceMin", |cx| extreme(cx, "reduce_min")),
    with("ReduceProd", |cx| reduce(cx, "reduce_prod", 18)),
    with("ReduceSum", |cx| reduce(cx, "reduce_sum", 13)),
    with("ReduceSumSquare", |cx| reduce(cx, "reduce_sum_square", 18)),
];

/// The greatest or least of flags: of them as integers.
fn extreme(cx: &mut NodeCx, name: &'static str) -> Converted {
    if cx.dtype(0)? != DType::Bool {
        return reduce(cx, name, 18);
    }
    let attrs = cx.attrs(op(name)?, &["axes"])?;
    let x = cx.input(0)?;
    let x = cx.emit("cast", &[x], Attrs::new().with("to", DType::U8))?;
    let inputs: Vec<ValueId> = [Some(x), cx.opt(1)].into_iter().flatten().collect();
    let y = cx.emit(name, &inputs, attrs)?;
    cx.finish_all("cast", &[y], Attrs::new().with("to", DType::Bool))
}

/// The axes were an attribute before opset `since`, and are an input from then on.
fn reduce(cx: &mut NodeCx, name: &'static str, since: i64) -> Converted {
    let attrs = cx.attrs(op(name)?, &["axes"])?;
    let mut inputs = vec![Some(cx.input(0)?)];
    if cx.opset < since {
        inputs.extend(cx.ints("axes")?.map(|axes| Some(cx.add_ints(&axes))));
    } else {
        inputs.extend(cx.opt(1).map(Some));
    }
    cx.finish(name, inputs, attrs)
}
