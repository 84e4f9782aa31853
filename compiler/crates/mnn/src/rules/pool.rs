//! Pooling.

use super::Family;
use super::pad::pad_constant;
use super::window::{Window2d, spatial, window_2d, with_height};
use crate::cx::{Cx, Reason};
use crate::net::{Layouts, Shape, Tid, Ty};
use mnnc_ir::Attr;
use mnnc_schema::mnn::{
    AvgPoolCountType, BinaryOpOperation, OpParameterT, OpType, PoolPadType, PoolT, PoolType, ReductionType,
    UnaryOpOperation as U,
};

pub(super) const RULES: Family = &[
    ("max_pool", max_pool),
    ("average_pool", average_pool),
    ("global_average_pool", global_average_pool),
    ("global_max_pool", global_max_pool),
    ("lp_pool", lp_pool),
    ("global_lp_pool", global_lp_pool),
];

fn kernel(cx: &Cx) -> Result<Vec<usize>, Reason> {
    let kernel = cx.op.ints("kernel_shape").ok_or("kernel_shape is missing")?;
    kernel.into_iter().map(|k| usize::try_from(k).map_err(|_| Reason(format!("kernel extent {k}")))).collect()
}

/// What the format's formula gives for one dimension, to be compared with the graph's own.
fn output_extent(window: &Window2d, i: usize, input: usize) -> Option<usize> {
    let room = (i64::try_from(input).ok()? + i64::from(window.pads[i] + window.pads[i + 2])
        - i64::from(window.kernel[i]))
    .max(0);
    let stride = i64::from(window.stride[i]);
    let steps = if window.ceil { (room + stride - 1) / stride } else { room / stride };
    usize::try_from(steps + 1).ok()
}

fn pool(cx: &mut Cx, x: Tid, kind: PoolType, window: &Window2d) -> Result<Tid, Reason> {
    if window.dilation != [1, 1] {
        return Err("MNN's pooling has no dilation".into());
    }
    let shape = with_height(&cx.shape(x));
    let result = cx.output_shape(0);
    let lifted = with_height(&result);
    for i in 0..2 {
        if let (Some(input), Some(output)) = (shape[i + 2], lifted[i + 2])
            && output_extent(window, i, input) != Some(output)
        {
            return Err("MNN counts a last window that lies in the padding, which the definition leaves out".into());
        }
    }
    let x = cx.reshape(x, shape)?;
    let main = PoolT {
        kernel_x: window.kernel[1],
        kernel_y: window.kernel[0],
        stride_x: window.stride[1],
        stride_y: window.stride[0],
        type_: kind,
        pad_type: PoolPadType::CAFFE,
        ceil_model: window.ceil,
        pads: window.pads(),
        count_type: AvgPoolCountType::EXCLUDE_PADDING,
        ..PoolT::default()
    };
    let y = cx.emit(OpType::Pooling, OpParameterT::Pool(Box::new(main)), vec![x], (lifted, Ty::Float), Layouts::Packed);
    cx.reshape(y, result)
}

fn float_input(cx: &mut Cx) -> Result<Tid, Reason> {
    let x = cx.input(0)?;
    match cx.ty(x) {
        Ty::Float => Ok(x),
        _ => Err("MNN pools float tensors only".into()),
    }
}

fn max_pool(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    if cx.node.outputs().len() > 1 {
        return Err("the positions of the maxima are read, which MNN counts in another way".into());
    }
    let x = float_input(cx)?;
    let kernel = kernel(cx)?;
    let window = window_2d(cx, &kernel, spatial(&cx.input_shape(0)?))?;
    Ok(vec![pool(cx, x, PoolType::MAXPOOL, &window)?])
}

fn average_pool(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = float_input(cx)?;
    let kernel = kernel(cx)?;
    let shape = cx.input_shape(0)?;
    let mut window = window_2d(cx, &kernel, spatial(&shape))?;
    let counts_padding = matches!(cx.op.attr("count_include_pad"), Some(Attr::Int(1) | Attr::Bool(true)));
    let [top, left, bottom, right] = window.pads;
    if !counts_padding || window.pads == [0; 4] {
        return Ok(vec![pool(cx, x, PoolType::AVEPOOL, &window)?]);
    }
    // MNN averages uneven padding wrongly: zeros of our own are elements like others.
    let x = cx.reshape(x, with_height(&shape))?;
    let pads = [0, 0, 0, 0, top, bottom, left, right];
    let x = pad_constant(cx, x, &pads)?;
    window.pads = [0; 4];
    Ok(vec![pool(cx, x, PoolType::AVEPOOL, &window)?])
}

/// One window over all of height and width: a packed op, so that it follows a convolution without a conversion.
pub(super) fn pool_all(cx: &mut Cx, x: Tid, kind: PoolType) -> Tid {
    let shape: Shape = cx.shape(x).iter().enumerate().map(|(i, &d)| if i < 2 { d } else { Some(1) }).collect();
    let main = PoolT { is_global: true, type_: kind, ceil_model: false, ..PoolT::default() };
    cx.emit(OpType::Pooling, OpParameterT::Pool(Box::new(main)), vec![x], (shape, Ty::Float), Layouts::Packed)
}

fn global(cx: &mut Cx, kind: PoolType, reduction: ReductionType) -> Result<Vec<Tid>, Reason> {
    let x = float_input(cx)?;
    let rank = cx.rank(x);
    if rank == 4 {
        return Ok(vec![pool_all(cx, x, kind)]);
    }
    let axes: Vec<usize> = (2..rank).collect();
    Ok(vec![cx.reduce(reduction, x, &axes, true)?])
}

fn global_average_pool(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    global(cx, PoolType::AVEPOOL, ReductionType::MEAN)
}

fn global_max_pool(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    global(cx, PoolType::MAXPOOL, ReductionType::MAXIMUM)
}

/// `|x|^p`.
fn to_power(cx: &mut Cx, x: Tid, p: i64) -> Tid {
    match p {
        1 => cx.unary(U::ABS, x),
        2 => cx.unary(U::SQUARE, x),
        _ => {
            let (size, exponent) = (cx.unary(U::ABS, x), cx.float(p as f32));
            cx.binary(BinaryOpOperation::POW, size, exponent)
        }
    }
}

/// The `p`-th root.
fn root(cx: &mut Cx, x: Tid, p: i64) -> Tid {
    match p {
        1 => x,
        2 => cx.unary(U::SQRT, x),
        _ => {
            let exponent = cx.float(1.0 / p as f32);
            cx.binary(BinaryOpOperation::POW, x, exponent)
        }
    }
}

/// The norm over a window is the mean of powers, times the window's size, and the root of that.
fn lp_pool(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = float_input(cx)?;
    let p = cx.op.int("p").unwrap_or(2);
    let kernel = kernel(cx)?;
    let shape = cx.input_shape(0)?;
    let mut window = window_2d(cx, &kernel, spatial(&shape))?;
    if window.ceil {
        return Err("MNN averages a last window that reaches beyond the input over less than all of it".into());
    }
    let x = cx.reshape(x, with_height(&shape))?;
    let mut x = to_power(cx, x, p);
    if window.pads != [0; 4] {
        let [top, left, bottom, right] = window.pads;
        x = pad_constant(cx, x, &[0, 0, 0, 0, top, bottom, left, right])?;
        window.pads = [0; 4];
    }
    let y = pool(cx, x, PoolType::AVEPOOL, &window)?;
    let size = cx.float(kernel.iter().product::<usize>() as f32);
    let y = cx.mul(y, size);
    Ok(vec![root(cx, y, p)])
}

fn global_lp_pool(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = float_input(cx)?;
    let p = cx.op.int("p").unwrap_or(2);
    let axes: Vec<usize> = (2..cx.rank(x)).collect();
    let x = to_power(cx, x, p);
    let sum = cx.reduce(ReductionType::SUM, x, &axes, true)?;
    Ok(vec![root(cx, sum, p)])
}
