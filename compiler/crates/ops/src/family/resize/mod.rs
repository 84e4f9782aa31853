//! Resampling.

mod coordinate;
mod eval;
mod grid_sample;
mod loops;

pub use grid_sample::GRID_SAMPLE;

use crate::axes::normalize_axes;
use crate::define::BASE;
use crate::real::eval_real;
use crate::sample::{Gen, draft};
use coordinate::{Mapping, NearestMode};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::decl::Sample;
use mnnc_ir::{
    AttrDecl, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType,
};

const TYPES: DTypeSet = DTypeSet::FLOAT.union(DTypeSet::only(DType::I8)).union(DTypeSet::only(DType::U8));

/// Resize.
pub static RESIZE: OpDecl = OpDecl {
    name: "resize",
    family: "resize",
    doc: "Resamples along each dimension by nearest, linear or cubic interpolation. Either `scales` or `sizes` is given, \
          with one entry for each dimension, or for each of `axes`. ONNX Resize; antialias is not supported.",
    inputs: &[
        Operand::required("x", TYPES),
        Operand::optional("roi", DTypeSet::FLOAT),
        Operand::optional("scales", DTypeSet::FLOAT),
        Operand::optional("sizes", DTypeSet::I64),
    ],
    outputs: &[Operand::required("y", TYPES)],
    attrs: &[
        AttrDecl::with_default("mode", AttrKind::Str, AttrDefault::Str("nearest"), "nearest, linear or cubic"),
        AttrDecl::with_default(
            "coordinate_transformation_mode",
            AttrKind::Str,
            AttrDefault::Str("half_pixel"),
            "half_pixel, half_pixel_symmetric, pytorch_half_pixel, align_corners, asymmetric or tf_crop_and_resize",
        ),
        AttrDecl::with_default(
            "nearest_mode",
            AttrKind::Str,
            AttrDefault::Str("round_prefer_floor"),
            "round_prefer_floor, round_prefer_ceil, floor or ceil",
        ),
        AttrDecl::with_default(
            "cubic_coeff_a",
            AttrKind::Float,
            AttrDefault::Float(-0.75),
            "coefficient of the cubic kernel",
        ),
        AttrDecl::with_default(
            "exclude_outside",
            AttrKind::Bool,
            AttrDefault::Bool(false),
            "cubic: samples outside the input weigh nothing, the others are renormalised",
        ),
        AttrDecl::with_default(
            "extrapolation_value",
            AttrKind::Float,
            AttrDefault::Float(0.0),
            "tf_crop_and_resize: the value outside the input",
        ),
        AttrDecl::with_default(
            "keep_aspect_ratio_policy",
            AttrKind::Str,
            AttrDefault::Str("stretch"),
            "what `sizes` mean: stretch, not_larger or not_smaller",
        ),
        AttrDecl::optional(
            "axes",
            AttrKind::Ints,
            "the dimensions that roi, scales and sizes speak of; all when unset",
        ),
        AttrDecl::with_default("antialias", AttrKind::Bool, AttrDefault::Bool(false), "not supported"),
    ],
    infer,
    eval: |ctx| eval::eval(ctx),
    compute: Some(loops::compute),
    flops: |ctx| {
        let taps = match ctx.string("mode").as_deref() {
            Some("linear") => 4,
            Some("cubic") => 16,
            _ => 0,
        };
        ctx.outputs.first().and_then(TensorType::num_elements).map_or(0, |n| 2 * taps * n as u64)
    },
    samples,
    ..BASE
};

/// The interpolation.
#[derive(Copy, Clone, PartialEq, Debug)]
enum Mode {
    Nearest(NearestMode),
    Linear,
    Cubic { a: f32, exclude_outside: bool },
}

/// The attributes of a node, checked.
#[derive(Clone, Debug)]
struct Resize {
    mode: Mode,
    transformation: coordinate::Transformation,
    axes: Vec<usize>,
    extrapolation: f32,
}

/// How one dimension changes.
#[derive(Copy, Clone, PartialEq, Debug)]
struct Change {
    output: Dim,
    scale: f32,
    roi: (f32, f32),
}

impl Resize {
    fn read(ctx: &OpCtx) -> Result<Resize, OpError> {
        if ctx.flag("antialias") {
            return Err(OpError::unsupported("antialias is not supported; resize without it"));
        }
        let mode = match ctx.string("mode").unwrap_or_default().as_str() {
            "nearest" => Mode::Nearest(NearestMode::parse(&ctx.string("nearest_mode").unwrap_or_default())?),
            "linear" => Mode::Linear,
            "cubic" => Mode::Cubic {
                a: ctx.float("cubic_coeff_a").unwrap_or(-0.75),
                exclude_outside: ctx.flag("exclude_outside"),
            },
            other => return Err(OpError::invalid(format!("mode is '{other}'"))),
        };
        let rank = ctx.input(0)?.rank();
        let axes = match ctx.ints("axes") {
            Some(a) => normalize_axes(&a, rank)?,
            None => (0..rank).collect(),
        };
        Ok(Resize {
            mode,
            transformation: coordinate::Transformation::parse(
                &ctx.string("coordinate_transformation_mode").unwrap_or_default(),
            )?,
            axes,
            extrapolation: ctx.float("extrapolation_value").unwrap_or(0.0),
        })
    }
    /// Float parameters in input `i`, one for each axis (`times` for roi).
    fn floats(&self, ctx: &OpCtx, i: usize, times: usize) -> Result<Option<Vec<f32>>, OpError> {
        let name = ctx.op.inputs[i].name;
        if ctx.opt_input(i).is_none_or(|t| t.dims.first() == Some(&Dim::Const(0))) {
            return Ok(None);
        }
        let t: &Tensor = ctx
            .const_input(i)
            .ok_or_else(|| OpError::unsupported(format!("{name} is computed at run time; it must be a constant")))?;
        if t.len() != times * self.axes.len() {
            return Err(OpError::invalid(format!(
                "{name} has {} entries, {} are needed",
                t.len(),
                times * self.axes.len()
            )));
        }
        Ok(Some(t.to_f64s().into_iter().map(|x| x as f32).collect()))
    }
    /// How each dimension changes.
    fn changes(&self, ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<Change>, OpError> {
        let x = ctx.input(0)?;
        let same = |&d: &Dim| Change { output: d, scale: 1.0, roi: (0.0, 1.0) };
        let mut out: Vec<Change> = x.dims.iter().map(same).collect();
        let sizes_given = ctx.opt_input(3).is_some_and(|t| t.dims.first() != Some(&Dim::Const(0)));
        let scales = self.floats(ctx, 2, 1)?;
        match (scales, sizes_given) {
            (Some(_), true) => return Err(OpError::invalid("scales and sizes are both given")),
            (None, false) => return Err(OpError::invalid("neither scales nor sizes are given")),
            (Some(scales), false) => {
                for (&axis, scale) in self.axes.iter().zip(scales) {
                    out[axis].scale = scale;
                    out[axis].output = scaled(x.dims[axis], scale, syms)?;
                }
            }
            (None, true) => self.to_sizes(ctx, &ctx.const_ints(3)?, &mut out)?,
        }
        if self.transformation.crops() {
            let roi = self.floats(ctx, 1, 2)?.ok_or_else(|| OpError::invalid("tf_crop_and_resize needs a roi"))?;
            for (i, &axis) in self.axes.iter().enumerate() {
                out[axis].roi = (roi[i], roi[self.axes.len() + i]);
            }
        }
        Ok(out)
    }
    fn to_sizes(&self, ctx: &OpCtx, sizes: &[i64], out: &mut [Change]) -> Result<(), OpError> {
        if sizes.len() != self.axes.len() {
            return Err(OpError::invalid(format!("sizes has {} entries, {} are needed", sizes.len(), self.axes.len())));
        }
        if let Some(s) = sizes.iter().find(|&&s| !(0..1 << 40).contains(&s)) {
            return Err(OpError::invalid(format!("sizes holds {s}, which is out of range")));
        }
        let policy = ctx.string("keep_aspect_ratio_policy").unwrap_or_default();
        let input = |axis: usize| {
            let d = ctx.input(0)?.dims[axis].known();
            d.ok_or_else(|| OpError::unsupported(format!("dimension {axis} is dynamic; fix it with --shape")))
        };
        if policy == "stretch" {
            for (&axis, &size) in self.axes.iter().zip(sizes) {
                out[axis].output = Dim::Const(size as u64);
                // A dynamic dimension gets its scale once it is known.
                out[axis].scale = input(axis).map_or(1.0, |n| size as f32 / n as f32);
            }
            return Ok(());
        }
        let mut ratios = Vec::new();
        for (&axis, &size) in self.axes.iter().zip(sizes) {
            ratios.push(size as f32 / input(axis)? as f32);
        }
        let scale = match policy.as_str() {
            "not_larger" => ratios.into_iter().fold(f32::INFINITY, f32::min),
            "not_smaller" => ratios.into_iter().fold(0.0, f32::max),
            other => return Err(OpError::invalid(format!("keep_aspect_ratio_policy is '{other}'"))),
        };
        for &axis in &self.axes {
            let n = input(axis)? as f32;
            out[axis].scale = scale;
            out[axis].output = Dim::Const((scale * n + 0.5).floor() as u64);
        }
        Ok(())
    }
    /// The mapping along each dimension that changes, once all sizes are known.
    fn mappings(&self, ctx: &OpCtx) -> Result<Vec<(usize, Mapping)>, OpError> {
        let input = ctx.static_dims(0)?;
        let changes = self.changes(ctx, &mut SymTable::default())?;
        let mut out = Vec::new();
        for (axis, (c, n)) in changes.iter().zip(input).enumerate() {
            let output = c.output.known().unwrap_or(0) as usize;
            if n == 0 && output > 0 {
                return Err(OpError::invalid(format!("dimension {axis} is empty and cannot become {output}")));
            }
            let crop = self.transformation.crops() && c.roi != (0.0, 1.0);
            if output != n || c.scale != 1.0 || crop {
                let transformation = self.transformation;
                out.push((axis, Mapping { transformation, input: n, output, scale: c.scale, roi: c.roi }));
            }
        }
        Ok(out)
    }
}

/// The two samples, with their weights, that each output position along a dimension is made of.
pub type Samples = Vec<[(usize, f32); 2]>;

/// The samples along each dimension that changes, if the node interpolates linearly and its sizes are known.
pub fn linear_samples(ctx: &OpCtx) -> Result<Option<Vec<(usize, Samples)>>, OpError> {
    let resize = Resize::read(ctx)?;
    if resize.mode != Mode::Linear || resize.transformation.crops() {
        return Ok(None);
    }
    let along = |m: &Mapping| (0..m.output).map(|o| eval::linear(m, o)).collect();
    Ok(Some(resize.mappings(ctx)?.iter().map(|(axis, m)| (*axis, along(m))).collect()))
}

/// `floor(d * scale)`, computed in single precision, as every implementation does.
fn scaled(d: Dim, scale: f32, syms: &mut SymTable) -> Result<Dim, OpError> {
    if !(scale > 0.0 && scale < 1e6) {
        return Err(OpError::invalid(format!("scale {scale} is out of range")));
    }
    Ok(match d {
        Dim::Const(n) => Dim::Const((n as f32 * scale).floor() as u64),
        d if scale.fract() == 0.0 => syms.mul(d, Dim::Const(scale as u64)),
        _ => syms.fresh(),
    })
}

fn infer(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let x = ctx.input(0)?;
    let resize = Resize::read(ctx)?;
    let changes = resize.changes(ctx, syms)?;
    if !x.dtype.is_float() && !matches!(resize.mode, Mode::Nearest(_)) {
        return Err(OpError::unsupported(format!("{} is resized by nearest only; cast to f32 first", x.dtype)));
    }
    let y = TensorType::new(x.dtype, changes.into_iter().map(|c| c.output));
    Ok(vec![TensorType { quant: x.quant.clone(), ..y }])
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let transformations = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"];
    let mut out = Vec::new();
    for (i, mode) in ["nearest", "linear", "cubic", "nearest", "linear", "cubic", "nearest"].into_iter().enumerate() {
        for (j, transformation) in transformations.into_iter().enumerate() {
            let dims = [g.dims(2, 3), vec![3 + g.below(6), 3 + g.below(6)]].concat();
            let mut d = draft().data(g.f32s(&dims));
            if (i + j) % 2 == 0 {
                let scales = vec![1.0f32, 1.0, g.pick(&[2.0, 1.5, 0.6, 3.0]), g.pick(&[2.0, 0.5, 1.25])];
                d = d.absent().param(Tensor::new(vec![4], scales));
            } else {
                let sizes = [dims[2], dims[3]].map(|n| g.int(2, 2 * n as i64 + 1));
                d = d.absent().absent().ints(&[dims[0] as i64, dims[1] as i64, sizes[0], sizes[1]]);
            }
            d = d.attr("mode", mode).attr("coordinate_transformation_mode", transformation);
            if mode == "nearest" {
                d = d.attr("nearest_mode", g.pick(&["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]));
            }
            if i == 5 {
                d = d.attr("exclude_outside", true).attr("cubic_coeff_a", -0.5f32);
            }
            out.push(d.done());
        }
    }
    out
}
