//! Resampling of images.

use super::Family;
use super::matmul::product;
use crate::cx::{Cx, Reason, to_i32};
use crate::net::{Layouts, Tid, Ty};
use mnnc_ir::{Attr, Tensor};
use mnnc_schema::mnn::{
    BorderMode, CoordinateTransformationMode as Ctm, GridSampleT, InterpT, OpParameterT, OpType, SampleMode,
};

pub(super) const RULES: Family = &[("resize", resize), ("grid_sample", grid_sample)];

const NEAREST_FLOOR: i32 = 1;
const BILINEAR: i32 = 2;
/// A matrix of weights larger than this is not worth its place in a file.
const MAX_MATRIX_BYTES: usize = 64 << 20;

fn truth(cx: &Cx, name: &str) -> bool {
    match cx.op.op.attr(name).and_then(|_| cx.op.attr(name)) {
        Some(Attr::Int(n)) => n != 0,
        Some(Attr::Bool(b)) => b,
        _ => false,
    }
}

/// MNN scales by the ratio of the sizes; the definition by the given scale, which differs where a size was rounded.
fn ratio_is_scale(cx: &Cx, from: &[usize], to: &[usize]) -> bool {
    if cx.op.opt_input(2).is_none() || cx.op.opt_input(3).is_some() {
        return true;
    }
    let Some(scales) = cx.opt_const_floats(2) else { return false };
    let tail = scales.len().saturating_sub(2);
    scales[tail..].iter().zip(from[2..].iter().zip(&to[2..])).all(|(&scale, (&from, &to))| {
        let ratio = to as f64 / from as f64;
        (ratio - f64::from(scale)).abs() <= 1e-6 * ratio
    })
}

fn resize(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = cx.input(0)?;
    let from = cx.static_shape(x)?;
    let to: Option<Vec<usize>> = cx.output_shape(0).into_iter().collect();
    let to = to.ok_or("the result's size is known only at run time; fix shapes with --shape NAME=1x3x224x224")?;
    if cx.ty(x) != Ty::Float || from.len() != 4 || from[..2] != to[..2] {
        return Err("MNN resizes height and width of float images only".into());
    }
    let coordinates = cx.op.string("coordinate_transformation_mode").unwrap_or_default();
    if coordinates == "tf_crop_and_resize" {
        return Err("MNN has no coordinates 'tf_crop_and_resize'".into());
    }
    if cx.op.string("keep_aspect_ratio_policy").is_some_and(|policy| policy != "stretch") {
        return Err("MNN scales by the ratio of sizes, which keeping the aspect ratio rounds".into());
    }
    if cx.op.ints("axes").is_some_and(|axes| axes != [2, 3] && axes != [-2, -1] && axes != [0, 1, 2, 3]) {
        return Err("axes other than height and width, in this order".into());
    }
    let whole = ratio_is_scale(cx, &from, &to);
    match cx.op.string("mode").as_deref() {
        None | Some("" | "nearest") if whole => nearest(cx, x, &from, &to),
        Some("linear") if whole && !truth(cx, "antialias") && !truth(cx, "exclude_outside") => match coordinates
            .as_str()
        {
            "" | "half_pixel" => Ok(vec![interp(cx, x, &to, BILINEAR, Ctm::HalfPixels)?]),
            "pytorch_half_pixel" if to[2] > 1 && to[3] > 1 => Ok(vec![interp(cx, x, &to, BILINEAR, Ctm::HalfPixels)?]),
            "align_corners" => Ok(vec![interp(cx, x, &to, BILINEAR, Ctm::AlignCorners)?]),
            "asymmetric" => Ok(vec![interp(cx, x, &to, BILINEAR, Ctm::Asymmetric)?]),
            _ => by_products(cx, x, &from, &to),
        },
        _ => by_products(cx, x, &from, &to),
    }
}

fn interp(cx: &mut Cx, x: Tid, to: &[usize], resize_type: i32, ctm: Ctm) -> Result<Tid, Reason> {
    let main = InterpT {
        output_height: to_i32(to[2])?,
        output_width: to_i32(to[3])?,
        resize_type,
        ctm,
        align_corners: ctm == Ctm::AlignCorners,
        half_pixel_centers: ctm == Ctm::HalfPixels,
        ..InterpT::default()
    };
    let shape = to.iter().map(|&d| Some(d)).collect();
    let main = OpParameterT::Interp(Box::new(main));
    Ok(cx.emit(OpType::Interp, main, vec![x], (shape, Ty::Float), Layouts::Packed))
}

/// The weight of each input element in each output element along one dim, as the definition has it: what it makes of
/// the unit matrix.
fn weights(cx: &Cx, dim: usize, from: usize, to: usize) -> Result<Tensor, Reason> {
    let unit: Vec<f32> = (0..from * from).map(|i| f32::from(u8::from(i / from == i % from))).collect();
    let mut inputs = vec![Some(Tensor::new(vec![1, 1, from, from], unit)), None];
    if cx.op.opt_input(3).is_some() {
        inputs.extend([None, Some(Tensor::ints(&[1, 1, to as i64, from as i64]))]);
    } else {
        let scales = cx.const_floats(2)?;
        let scale = scales.len().checked_sub(4 - dim).and_then(|at| scales.get(at)).ok_or("scales are missing")?;
        inputs.push(Some(Tensor::new(vec![4], vec![1.0, 1.0, *scale, 1.0])));
    }
    let mut attrs = cx.op.attrs.clone();
    attrs.remove("axes");
    attrs.remove("keep_aspect_ratio_policy");
    let result = mnnc_ops::evaluate_op(cx.op.op, &attrs, &inputs, 1, MAX_MATRIX_BYTES)?;
    let matrix = result.into_iter().next().and_then(|matrix| matrix.reshaped(vec![to, from]));
    matrix.ok_or_else(|| "the interpolation's weights have another shape than expected".into())
}

/// Any separable interpolation as a product with its weights from the left (rows) and from the right (columns).
fn by_products(cx: &mut Cx, x: Tid, from: &[usize], to: &[usize]) -> Result<Vec<Tid>, Reason> {
    let mut x = x;
    let mut shape = from.to_vec();
    for dim in [2, 3] {
        let matrix = weights(cx, dim, from[dim], to[dim])?;
        shape[dim] = to[dim];
        let known = shape.iter().map(|&d| Some(d)).collect();
        let matrix = cx.constant(matrix);
        x = match dim {
            2 => product(cx, matrix, x, (false, false), known),
            _ => product(cx, x, matrix, (false, true), known),
        };
    }
    Ok(vec![x])
}

/// Where `nearest` reads along one dim, by the definition (ONNX Resize).
fn picks(cx: &Cx, from: usize, to: usize) -> Result<Vec<i32>, Reason> {
    let (a, b) = (from as f64, to as f64);
    let scale = b / a;
    let coordinates = cx.op.string("coordinate_transformation_mode").unwrap_or_default();
    let rounding = cx.op.string("nearest_mode").unwrap_or_default();
    (0..to)
        .map(|i| {
            let i = i as f64;
            let x = match coordinates.as_str() {
                "asymmetric" => i / scale,
                "align_corners" if to > 1 => i * (a - 1.0) / (b - 1.0),
                "align_corners" => 0.0,
                "pytorch_half_pixel" if to <= 1 => 0.0,
                _ => (i + 0.5) / scale - 0.5,
            };
            let x = match rounding.as_str() {
                "floor" => x.floor(),
                "ceil" => x.ceil(),
                "round_prefer_ceil" => (x + 0.5).floor(),
                _ => (x - 0.5).ceil(),
            };
            to_i32(x.clamp(0.0, a - 1.0) as usize)
        })
        .collect()
}

/// MNN's two nearest modes where they pick the same elements; else the elements by index.
fn nearest(cx: &mut Cx, x: Tid, from: &[usize], to: &[usize]) -> Result<Vec<Tid>, Reason> {
    let (rows, columns) = (picks(cx, from[2], to[2])?, picks(cx, from[3], to[3])?);
    // With whole factors every mode that does not shift repeats each element.
    let repeats = |picks: &[i32], from: usize, to: usize| {
        to.is_multiple_of(from) && picks.iter().enumerate().all(|(i, &p)| usize::try_from(p) == Ok(i / (to / from)))
    };
    if repeats(&rows, from[2], to[2]) && repeats(&columns, from[3], to[3]) {
        return Ok(vec![interp(cx, x, to, NEAREST_FLOOR, Ctm::Asymmetric)?]);
    }
    let x = super::gather::take(cx, x, &rows, 2)?;
    Ok(vec![super::gather::take(cx, x, &columns, 3)?])
}

fn grid_sample(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let (x, grid) = (cx.input(0)?, cx.input(1)?);
    if cx.rank(x) != 4 {
        return Err("MNN samples two-dimensional images only".into());
    }
    let mode = match cx.op.string("mode").as_deref() {
        None | Some("linear" | "bilinear") => SampleMode::BILINEAR,
        Some("nearest") => return Err("MNN rounds halves in another way when it samples the nearest".into()),
        Some(other) => return Err(format!("MNN samples in no mode '{other}'").into()),
    };
    let padding_mode = match cx.op.string("padding_mode").as_deref() {
        None | Some("zeros") => BorderMode::ZEROS,
        Some("border") => BorderMode::CLAMP,
        Some("reflection") => return Err("MNN reflects about another point than the definition".into()),
        Some(other) => return Err(format!("MNN has no border '{other}'").into()),
    };
    let main = GridSampleT { mode, padding_mode, align_corners: truth(cx, "align_corners"), backward: false };
    let shape = cx.output_shape(0);
    let main = OpParameterT::GridSample(Box::new(main));
    Ok(vec![cx.emit(OpType::GridSample, main, vec![x, grid], (shape, Ty::Float), Layouts::Packed)])
}
