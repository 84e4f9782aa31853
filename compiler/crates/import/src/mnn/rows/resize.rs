//! Resampling.

use crate::mnn::op::{OpCx, Rows, lacks};
use crate::mnn::table::{Row, row};
use mnnc_ir::{Attrs, DType, OpError, Tensor, ValueId};
use mnnc_schema::mnn::{BorderMode, CoordinateTransformationMode as Ctm, Interp, OpType, SampleMode};

pub(super) static ROWS: &[Row] = &[
    row(OpType::Interp, interp),
    row(OpType::Interp3D, interp),
    row(OpType::Resize, resize),
    row(OpType::GridSample, grid_sample),
];

/// Sizes of the result: all of them, from an operand, or height and width from the parameter. MNN's coordinates follow from
/// sizes, never from scales.
fn target(cx: &mut OpCx, p: &Interp, x: ValueId) -> Result<Vec<i64>, OpError> {
    let rank = cx.rank(x);
    let from: Option<Vec<i64>> = cx.ty(x).dims.iter().map(|d| d.known().and_then(|d| i64::try_from(d).ok())).collect();
    let from = from.ok_or_else(|| {
        OpError::unsupported("the size of the image is open; fix shapes with --shape NAME=1x3x224x224")
    })?;
    let scaled = |size: i64, scale: f32| (scale * size as f32) as i64;
    let spatial = rank - 2;
    if let Some(operand) = cx.opt(1) {
        let t = cx.imp.build.graph.constant(operand).cloned().ok_or_else(|| {
            OpError::unsupported(
                "the target size (input 1) depends on data or on an open shape; fix shapes with --shape",
            )
        })?;
        let given = t.to_f64s();
        if given.len() == rank {
            let is_scale = t.dtype() == DType::F32;
            let to: Vec<i64> = given
                .iter()
                .zip(&from)
                .map(|(&g, &size)| if is_scale { scaled(size, g as f32) } else { g as i64 })
                .collect();
            // The operand has the dims in the tensor's own order.
            return Ok(match crate::mnn::format::permutation(rank, cx.format, crate::mnn::format::Format::Nchw) {
                Some(perm) if !is_scale => perm.iter().filter_map(|&i| to.get(i as usize).copied()).collect(),
                Some(perm) => perm
                    .iter()
                    .zip(&from)
                    .filter_map(|(&i, &size)| given.get(i as usize).map(|&g| scaled(size, g as f32)))
                    .collect(),
                None => to,
            });
        }
        if given.len() == 2 && spatial == 2 {
            return Ok(vec![from[0], from[1], given[0] as i64, given[1] as i64]);
        }
        return Err(OpError::invalid(format!("{} target sizes for a tensor of rank {rank}", given.len())));
    }
    let sizes = [p.output_depth(), p.output_height(), p.output_width()].map(i64::from);
    let scales = [p.depth_scale(), p.height_scale(), p.width_scale()];
    let first = 3usize.checked_sub(spatial).ok_or_else(|| OpError::unsupported(format!("images of rank {rank}")))?;
    let by_scale = sizes[first..].contains(&0);
    let mut to = from.clone();
    for i in 0..spatial {
        to[2 + i] = if by_scale { scaled(from[2 + i], scales[first + i]) } else { sizes[first + i] };
    }
    Ok(to)
}

fn interp(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_interp().ok_or_else(|| lacks("Interp"))?;
    let x = cx.image(0)?;
    if !(3..=5).contains(&cx.rank(x)) {
        return Err(OpError::unsupported(format!("the input has rank {}; images have rank 4", cx.rank(x))));
    }
    let to = target(cx, &p, x)?;
    let mode = match p.resize_type() {
        1 | 4 => "nearest",
        2 => "linear",
        3 => "cubic",
        other => return Err(OpError::unsupported(format!("the interpolation {other} is not supported"))),
    };
    let ctm = match p.ctm() {
        Ctm::NotSet if p.align_corners() => Ctm::AlignCorners,
        Ctm::NotSet if p.half_pixel_centers() => Ctm::HalfPixels,
        Ctm::NotSet => Ctm::Asymmetric,
        other => other,
    };
    let coordinates = match ctm {
        Ctm::AlignCorners => "align_corners",
        Ctm::HalfPixels => "half_pixel",
        Ctm::PytorchHalfPixels => "pytorch_half_pixel",
        Ctm::Asymmetric => "asymmetric",
        other => {
            let name = other.variant_name().unwrap_or("unknown");
            return Err(OpError::unsupported(format!("the coordinates {name} are not supported")));
        }
    };
    let nearest = if p.resize_type() == 4 { "round_prefer_ceil" } else { "floor" };
    let mut attrs = Attrs::new().with("mode", mode).with("coordinate_transformation_mode", coordinates);
    match mode {
        "nearest" => attrs.set("nearest_mode", nearest),
        "cubic" => attrs.set("cubic_coeff_a", p.cubic_coeff_a()),
        _ => {}
    }
    sized(cx, x, &to, attrs)
}

fn sized(cx: &mut OpCx, x: ValueId, to: &[i64], attrs: Attrs) -> Rows {
    if to.iter().any(|&n| n <= 0) {
        return Err(OpError::invalid(format!("the result has shape {to:?}")));
    }
    let sizes = cx.constant(Tensor::ints(to));
    let y = cx.emit_many("resize", vec![Some(x), None, None, Some(sizes)], attrs, 1)?;
    let &y = y.first().ok_or_else(|| OpError::invalid("resize gives no output"))?;
    Ok(vec![cx.image_out(y)?])
}

/// Caffe's: linear, by scales.
fn resize(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_resize().ok_or_else(|| lacks("Resize"))?;
    let x = cx.image(0)?;
    let dims: Vec<i64> = cx.ty(x).dims.iter().filter_map(|d| d.known()).filter_map(|d| i64::try_from(d).ok()).collect();
    let [n, c, h, w] = dims[..] else {
        return Err(OpError::unsupported("the size of the image is open; fix shapes with --shape NAME=1x3x224x224"));
    };
    let to = [n, c, (h as f32 * p.y_scale()) as i64, (w as f32 * p.x_scale()) as i64];
    let attrs = Attrs::new().with("mode", "linear").with("coordinate_transformation_mode", "asymmetric");
    sized(cx, x, &to, attrs)
}

fn grid_sample(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_grid_sample().ok_or_else(|| lacks("GridSample"))?;
    if p.backward() {
        return Err(OpError::unsupported("the gradient of GridSample is not supported"));
    }
    let x = cx.image(0)?;
    let grid = cx.input(1)?;
    let mode = if p.mode() == SampleMode::NEAREST { "nearest" } else { "linear" };
    let border = match p.padding_mode() {
        BorderMode::CLAMP => "border",
        BorderMode::REFLECTION => "reflection",
        BorderMode::ZEROS => "zeros",
        _ => return Err(OpError::unsupported("cubes as borders are not supported")),
    };
    let attrs = Attrs::new().with("mode", mode).with("padding_mode", border).with("align_corners", p.align_corners());
    let y = cx.emit("grid_sample", &[x, grid], attrs)?;
    Ok(vec![cx.image_out(y)?])
}
