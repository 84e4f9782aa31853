//! Resampling of images.

use super::Family;
use crate::cx::{Cx, Reason, to_i32};
use crate::net::{Layouts, Tid, Ty};
use mnnc_ir::Attr;
use mnnc_schema::mnn::{
    BorderMode, CoordinateTransformationMode as Ctm, GridSampleT, InterpT, OpParameterT, OpType, SampleMode,
};

pub(super) const RULES: Family = &[("resize", resize), ("grid_sample", grid_sample)];

const NEAREST_FLOOR: i32 = 1;
const BILINEAR: i32 = 2;
const CUBIC: i32 = 3;

fn truth(cx: &Cx, name: &str) -> bool {
    match cx.op.op.attr(name).and_then(|_| cx.op.attr(name)) {
        Some(Attr::Int(n)) => n != 0,
        Some(Attr::Bool(b)) => b,
        _ => false,
    }
}

/// MNN scales by the ratio of the sizes; the definition by the given scale, which differs where a size was rounded.
fn check_scales(cx: &Cx, from: &[usize], to: &[usize]) -> Result<(), Reason> {
    if cx.op.opt_input(2).is_none() || cx.op.opt_input(3).is_some() {
        return Ok(());
    }
    let scales = cx.const_floats(2)?;
    let tail = scales.len().saturating_sub(2);
    for (i, &scale) in scales[tail..].iter().enumerate() {
        let ratio = to[i + 2] as f64 / from[i + 2] as f64;
        if (ratio - f64::from(scale)).abs() > 1e-6 * ratio {
            return Err(format!("scale {scale} gives no whole size: MNN would use {ratio} instead; give sizes in the model").into());
        }
    }
    Ok(())
}

fn resize(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = cx.input(0)?;
    let from = cx.static_shape(x)?;
    let to: Option<Vec<usize>> = cx.output_shape(0).into_iter().collect();
    let to = to.ok_or("the result's size is known only at run time; fix shapes with --shape NAME=1x3x224x224")?;
    if from == to {
        return Ok(vec![x]);
    }
    if cx.ty(x) != Ty::Float || from.len() != 4 || from[..2] != to[..2] {
        return Err("MNN resizes height and width of float images only".into());
    }
    if truth(cx, "antialias") || truth(cx, "exclude_outside") {
        return Err("MNN resizes without antialias and exclude_outside".into());
    }
    if cx.op.string("keep_aspect_ratio_policy").is_some_and(|policy| policy != "stretch") {
        return Err("MNN stretches; it keeps no aspect ratio".into());
    }
    check_scales(cx, &from, &to)?;
    let mode = cx.op.string("mode").unwrap_or_default();
    let coordinates = cx.op.string("coordinate_transformation_mode").unwrap_or_default();
    let ctm = match coordinates.as_str() {
        "" | "half_pixel" => Ctm::HalfPixels,
        "pytorch_half_pixel" => Ctm::PytorchHalfPixels,
        "align_corners" => Ctm::AlignCorners,
        "asymmetric" => Ctm::Asymmetric,
        other => return Err(format!("MNN has no coordinates '{other}'").into()),
    };
    let resize_type = match mode.as_str() {
        "linear" => BILINEAR,
        "cubic" => CUBIC,
        "" | "nearest" => return nearest(cx, x, &from, &to),
        other => return Err(format!("MNN resizes in no mode '{other}'").into()),
    };
    let coefficient = if mode == "cubic" { cx.op.float("cubic_coeff_a").unwrap_or(-0.75) } else { -0.75 };
    let main = InterpT {
        output_height: to_i32(to[2])?,
        output_width: to_i32(to[3])?,
        resize_type,
        ctm,
        align_corners: ctm == Ctm::AlignCorners,
        half_pixel_centers: ctm == Ctm::HalfPixels,
        cubic_coeff_a: coefficient,
        ..InterpT::default()
    };
    let shape = to.into_iter().map(Some).collect();
    Ok(vec![cx.emit(OpType::Interp, OpParameterT::Interp(Box::new(main)), vec![x], (shape, Ty::Float), Layouts::Packed)])
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
        to % from == 0 && picks.iter().enumerate().all(|(i, &p)| usize::try_from(p) == Ok(i / (to / from)))
    };
    if repeats(&rows, from[2], to[2]) && repeats(&columns, from[3], to[3]) {
        let main = InterpT {
            output_height: to_i32(to[2])?,
            output_width: to_i32(to[3])?,
            resize_type: NEAREST_FLOOR,
            ctm: Ctm::Asymmetric,
            ..InterpT::default()
        };
        let shape = to.iter().map(|&d| Some(d)).collect();
        let main = OpParameterT::Interp(Box::new(main));
        return Ok(vec![cx.emit(OpType::Interp, main, vec![x], (shape, Ty::Float), Layouts::Packed)]);
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
        Some("nearest") => SampleMode::NEAREST,
        Some(other) => return Err(format!("MNN samples in no mode '{other}'").into()),
    };
    let padding_mode = match cx.op.string("padding_mode").as_deref() {
        None | Some("zeros") => BorderMode::ZEROS,
        Some("border") => BorderMode::CLAMP,
        Some("reflection") => BorderMode::REFLECTION,
        Some(other) => return Err(format!("MNN has no border '{other}'").into()),
    };
    let main = GridSampleT { mode, padding_mode, align_corners: truth(cx, "align_corners"), backward: false };
    let shape = cx.output_shape(0);
    let main = OpParameterT::GridSample(Box::new(main));
    Ok(vec![cx.emit(OpType::GridSample, main, vec![x, grid], (shape, Ty::Float), Layouts::Packed)])
}
