//! Normalisations. MNN's LayerNorm normalises trailing dims; the others are it, reshaped, and a scale for each channel.

use super::Family;
use crate::cx::{Cx, Reason, to_i32};
use crate::net::{Layouts, Shape, Tid, Ty};
use mnnc_ir::Tensor;
use mnnc_ops::axes::{normalize_axes, normalize_axis};
use mnnc_schema::mnn::{
    BinaryOpOperation, LRNT, LayerNormT, OpParameterT, OpType, ReductionType, ScaleT, UnaryOpOperation as U,
};

pub(super) const RULES: Family = &[
    ("batch_normalization", batch_norm),
    ("instance_normalization", instance_norm),
    ("group_normalization", group_norm),
    ("layer_normalization", layer_norm),
    ("rms_normalization", rms_norm),
    ("lp_normalization", lp_norm),
    ("lrn", lrn),
    ("mean_variance_normalization", mean_variance_norm),
];

const DEFAULT_EPSILON: f32 = 1e-5;

fn float_input(cx: &mut Cx) -> Result<Tid, Reason> {
    let x = cx.input(0)?;
    match cx.ty(x) {
        Ty::Float => Ok(x),
        _ => Err("MNN normalises float tensors only".into()),
    }
}

/// `x * scale[c] + bias[c]` along dim 1.
pub(super) fn scale_channels(cx: &mut Cx, x: Tid, scale: Vec<f32>, bias: Vec<f32>) -> Result<Tid, Reason> {
    let shape = cx.shape(x);
    if shape.len() == 4 {
        let main = ScaleT {
            channels: to_i32(scale.len())?,
            scale_data: Some(scale),
            bias_data: Some(bias),
            ..ScaleT::default()
        };
        let main = OpParameterT::Scale(Box::new(main));
        return Ok(cx.emit(OpType::Scale, main, vec![x], (shape, Ty::Float), Layouts::Packed));
    }
    let mut dims = vec![1; shape.len().saturating_sub(1)];
    if let Some(first) = dims.first_mut() {
        *first = scale.len();
    }
    let scale = cx.constant(Tensor::new(dims.clone(), scale));
    let bias = cx.constant(Tensor::new(dims, bias));
    let x = cx.mul(x, scale);
    Ok(cx.add(x, bias))
}

fn batch_norm(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = float_input(cx)?;
    let epsilon = f64::from(cx.op.float("epsilon").unwrap_or(DEFAULT_EPSILON));
    let parameters = (cx.opt_const_floats(1), cx.opt_const_floats(2), cx.opt_const_floats(3), cx.opt_const_floats(4));
    let (Some(gamma), Some(beta), Some(mean), Some(variance)) = parameters else {
        return Err("the statistics are computed at run time; MNN needs them in the file".into());
    };
    let scale: Vec<f64> =
        gamma.iter().zip(&variance).map(|(&g, &v)| f64::from(g) / (f64::from(v) + epsilon).sqrt()).collect();
    let bias =
        beta.iter().zip(&mean).zip(&scale).map(|((&b, &m), s)| (f64::from(b) - f64::from(m) * s) as f32).collect();
    let scale = scale.into_iter().map(|s| s as f32).collect();
    if cx.rank(x) < 2 {
        return Err("a batch norm of a vector".into());
    }
    Ok(vec![scale_channels(cx, x, scale, bias)?])
}

/// Normalises the last `count` dims. `affine` holds gamma and beta, one for each of their elements.
fn trailing(
    cx: &mut Cx,
    x: Tid,
    count: usize,
    epsilon: f32,
    affine: Option<(Vec<f32>, Vec<f32>)>,
    rms: bool,
) -> Result<Tid, Reason> {
    let shape = cx.shape(x);
    let rank = to_i32(shape.len())?;
    let (gamma, beta) = affine.unzip();
    let main = LayerNormT {
        axis: Some((rank - to_i32(count)?..rank).collect()),
        epsilon,
        gamma,
        beta,
        use_rmsnorm: rms,
        ..LayerNormT::default()
    };
    let main = OpParameterT::LayerNorm(Box::new(main));
    Ok(cx.emit(OpType::LayerNorm, main, vec![x], (shape, Ty::Float), Layouts::Plain))
}

/// Normalises each of `groups` groups of channels, then scales and shifts each channel.
fn grouped(cx: &mut Cx, groups: Option<usize>, epsilon: f32) -> Result<Vec<Tid>, Reason> {
    let x = float_input(cx)?;
    let shape = cx.shape(x);
    let channels = shape.get(1).copied().flatten().ok_or("the number of channels is known only at run time")?;
    let (gamma, beta) = (cx.const_floats(1)?, cx.const_floats(2)?);
    let groups = groups.unwrap_or(channels);
    if groups == 0 || channels % groups != 0 || gamma.len() != beta.len() {
        return Err(format!("{groups} groups of {channels} channels").into());
    }
    let per_group: Option<usize> =
        shape[2..].iter().try_fold(channels / groups, |n, d| d.and_then(|d| n.checked_mul(d)));
    let flat: Shape = vec![shape[0], Some(groups), per_group];
    let y = cx.reshape(x, flat)?;
    let y = trailing(cx, y, 1, epsilon, None, false)?;
    let y = cx.reshape(y, shape)?;
    // Older definitions scale each group, newer ones each channel.
    let spread = |v: Vec<f32>| -> Vec<f32> {
        let each = channels / v.len().max(1);
        v.into_iter().flat_map(|x| std::iter::repeat_n(x, each)).collect()
    };
    Ok(vec![scale_channels(cx, y, spread(gamma), spread(beta))?])
}

fn instance_norm(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let epsilon = cx.op.float("epsilon").unwrap_or(DEFAULT_EPSILON);
    grouped(cx, None, epsilon)
}

fn group_norm(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let epsilon = cx.op.float("epsilon").unwrap_or(DEFAULT_EPSILON);
    let groups = cx.op.int("num_groups").and_then(|n| usize::try_from(n).ok());
    grouped(cx, Some(groups.ok_or("num_groups is missing")?), epsilon)
}

fn layer_norm(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    norm_trailing(cx, false)
}

fn rms_norm(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    norm_trailing(cx, true)
}

fn norm_trailing(cx: &mut Cx, rms: bool) -> Result<Vec<Tid>, Reason> {
    if cx.node.outputs().len() > 1 {
        return Err("mean and deviation are read, which MNN does not give out".into());
    }
    let x = float_input(cx)?;
    let shape = cx.shape(x);
    let axis = normalize_axis(cx.op.int("axis").unwrap_or(-1), shape.len())?;
    let epsilon = cx.op.float("epsilon").unwrap_or(DEFAULT_EPSILON);
    let count = shape.len() - axis;
    let size: Option<usize> = shape[axis..].iter().try_fold(1usize, |n, d| d.and_then(|d| n.checked_mul(d)));
    let size = size.ok_or("the normalised extent is known only at run time")?;
    let has_gamma = cx.op.opt_input(1).is_some();
    let has_beta = !rms && cx.op.opt_input(2).is_some();
    let gamma = cx.opt_const_floats(1).filter(|g| g.len() == size);
    let beta = if has_beta { cx.opt_const_floats(2).filter(|b| b.len() == size) } else { Some(vec![0.0; size]) };
    match (gamma, beta) {
        _ if !has_gamma && !has_beta => Ok(vec![trailing(cx, x, count, epsilon, None, rms)?]),
        (Some(gamma), Some(beta)) => Ok(vec![trailing(cx, x, count, epsilon, Some((gamma, beta)), rms)?]),
        _ => {
            let mut y = trailing(cx, x, count, epsilon, None, rms)?;
            if let Some(gamma) = cx.opt_input(1)? {
                y = cx.mul(y, gamma);
            }
            if has_beta {
                let beta = cx.input(2)?;
                y = cx.add(y, beta);
            }
            Ok(vec![y])
        }
    }
}

fn lp_norm(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = float_input(cx)?;
    let axis = normalize_axis(cx.op.int("axis").unwrap_or(-1), cx.rank(x))?;
    let norm = match cx.op.int("p") {
        Some(1) => {
            let size = cx.unary(U::ABS, x);
            cx.reduce(ReductionType::SUM, size, &[axis], true)?
        }
        _ => {
            let square = cx.unary(U::SQUARE, x);
            let sum = cx.reduce(ReductionType::SUM, square, &[axis], true)?;
            cx.unary(U::SQRT, sum)
        }
    };
    // 0 / 0 is 0 by definition: a norm of 0 divides like 1.
    let zero = cx.float(0.0);
    let is_zero = cx.binary(BinaryOpOperation::EQUAL, norm, zero);
    let is_zero = cx.cast(is_zero, Ty::Float);
    let norm = cx.add(norm, is_zero);
    Ok(vec![cx.binary(BinaryOpOperation::REALDIV, x, norm)])
}

fn lrn(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = float_input(cx)?;
    let shape = cx.shape(x);
    if shape.len() != 4 {
        return Err("MNN's LRN takes four dims".into());
    }
    let size = cx.op.int("size").ok_or("size is missing")?;
    if size % 2 == 0 {
        return Err("MNN's LRN has a centre: an even size has none".into());
    }
    let main = LRNT {
        region_type: 0,
        local_size: to_i32(size)?,
        alpha: cx.op.float("alpha").unwrap_or(0.0001),
        beta: cx.op.float("beta").unwrap_or(0.75),
        bias: cx.op.float("bias").unwrap_or(1.0),
    };
    Ok(vec![cx.emit(OpType::LRN, OpParameterT::LRN(Box::new(main)), vec![x], (shape, Ty::Float), Layouts::Packed)])
}

/// `(x - mean) / (deviation + 1e-9)` over the given axes, as ONNX defines it.
fn mean_variance_norm(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = float_input(cx)?;
    let mut axes = normalize_axes(&cx.op.ints("axes").unwrap_or_default(), cx.rank(x))?;
    axes.sort_unstable();
    let mean = cx.reduce(ReductionType::MEAN, x, &axes, true)?;
    let centred = cx.sub(x, mean);
    let square = cx.unary(U::SQUARE, centred);
    let variance = cx.reduce(ReductionType::MEAN, square, &axes, true)?;
    let deviation = cx.unary(U::SQRT, variance);
    let least = cx.float(1e-9);
    let deviation = cx.add(deviation, least);
    Ok(vec![cx.binary(BinaryOpOperation::REALDIV, centred, deviation)])
}
