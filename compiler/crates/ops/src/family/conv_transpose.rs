//! Transposed convolution.

use crate::define::BASE;
use crate::family::conv::{ConvShape, GROUP, check_bias, groups, same_types};
use crate::loops::{self, Stage, affine, div, load_wide, map, reduce, wide};
use crate::product::{Matrix, product};
use crate::real::{Evaluated, Real, eval_real, zeros};
use crate::sample::{Gen, draft};
use crate::window::{AUTO_PAD, Axis, DILATIONS, KERNEL_SHAPE, PADS, STRIDES, lifted, list_attr};
use mnnc_ir::compute::{Combine, Compute};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Cmp, Expr, ScalarBuilder, Source};
use mnnc_ir::{AttrDecl, AttrKind, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType};
use rayon::prelude::*;

/// Where windows lie.
pub(super) const ATTRS: &[AttrDecl] = &[
    KERNEL_SHAPE,
    STRIDES,
    PADS,
    DILATIONS,
    GROUP,
    AUTO_PAD,
    AttrDecl::optional(
        "output_padding",
        AttrKind::Ints,
        "added to each spatial extent of the output, at its end; all 0 when unset",
    ),
    AttrDecl::optional("output_shape", AttrKind::Ints, "spatial extents of the output; pads follow from it when set"),
];

/// Transposed convolution over 1 to 3 spatial dimensions.
pub static CONV_TRANSPOSE: OpDecl = OpDecl {
    name: "conv_transpose",
    family: "conv",
    doc: "y[n,m,i*stride + k*dilation - pad] += x[n,c,i] * w[c,m,k], plus b[m]; channels in groups. x: [N,C,D1..Dr], \
          w: [C,M/group,k1..kr], b: [M], r in 1..=3. ONNX ConvTranspose.",
    inputs: &[
        Operand::required("x", DTypeSet::FLOAT),
        Operand::required("w", DTypeSet::FLOAT),
        Operand::optional("b", DTypeSet::FLOAT),
    ],
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    attrs: ATTRS,
    infer,
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval),
    compute: Some(compute),
    flops,
    samples,
    ..BASE
};

/// The spatial attributes, checked.
struct Geometry {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    extra: Vec<i64>,
    pads: Vec<i64>,
    shape: Option<Vec<i64>>,
    auto: String,
}

impl Geometry {
    fn read(ctx: &OpCtx) -> Result<Geometry, OpError> {
        let (x, w) = (ctx.input(0)?, ctx.input(1)?);
        if !(3..=5).contains(&x.rank()) {
            return Err(OpError::unsupported(format!(
                "the input has rank {}; 3 to 5 are supported (batch, channels, 1 to 3 spatial dimensions)",
                x.rank()
            )));
        }
        if w.rank() != x.rank() {
            return Err(OpError::invalid(format!(
                "the weights have rank {}, the input has rank {}",
                w.rank(),
                x.rank()
            )));
        }
        let n = x.rank() - 2;
        let from_weights: Option<Vec<i64>> =
            w.dims[2..].iter().map(|d| d.known().and_then(|d| i64::try_from(d).ok())).collect();
        let kernel = match (from_weights, ctx.ints("kernel_shape")) {
            (Some(k), Some(a)) if k != a => {
                return Err(OpError::invalid(format!("kernel_shape says {a:?}, the weights have extents {k:?}")));
            }
            (Some(k), _) => k,
            (None, Some(a)) if a.len() == n => a,
            _ => return Err(OpError::unsupported("the extent of the window is not known at compile time")),
        };
        if let Some(k) = kernel.iter().find(|k| !(1..1 << 31).contains(*k)) {
            return Err(OpError::invalid(format!("a window of extent {k} is out of range")));
        }
        let shape = match ctx.ints("output_shape") {
            Some(s) if s.len() == n + 2 => Some(s[2..].to_vec()), // Some exporters write batch and channels too.
            Some(_) => Some(list_attr(ctx, "output_shape", n, 1, 1)?),
            None => None,
        };
        if let Some(e) = shape.iter().flatten().find(|e| !(1..1 << 31).contains(*e)) {
            return Err(OpError::invalid(format!("output_shape holds {e}, which is out of range")));
        }
        let auto = ctx.string("auto_pad").unwrap_or_default();
        if !["", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"].contains(&auto.as_str()) {
            return Err(OpError::invalid(format!("auto_pad is '{auto}'")));
        }
        Ok(Geometry {
            kernel,
            strides: list_attr(ctx, "strides", n, 1, 1)?,
            dilations: list_attr(ctx, "dilations", n, 1, 1)?,
            extra: list_attr(ctx, "output_padding", n, 0, 0)?,
            pads: list_attr(ctx, "pads", 2 * n, 0, 0)?,
            shape,
            auto,
        })
    }
    /// Output extent and padding at the start of dimension `i`.
    fn extent(&self, i: usize, input: u64) -> Result<(u64, u64), OpError> {
        let n = self.kernel.len();
        let [s, k, d, e] = [self.strides[i], self.kernel[i], self.dilations[i], self.extra[i]].map(i128::from);
        let full = s * (i128::from(input) - 1) + e + (k - 1) * d + 1;
        let (out, begin) = match (&self.shape, self.auto.as_str()) {
            (Some(shape), auto) => self.fitted(full, shape[i].into(), auto),
            (None, auto @ ("SAME_UPPER" | "SAME_LOWER")) => self.fitted(full, s * i128::from(input), auto),
            (None, "VALID") => (full, 0),
            (None, _) => (full - i128::from(self.pads[i]) - i128::from(self.pads[n + i]), self.pads[i].into()),
        };
        match (u64::try_from(out), u64::try_from(begin)) {
            (Ok(out), Ok(begin)) if input > 0 => Ok((out, begin)),
            _ => Err(OpError::invalid(format!("spatial dimension {i} of {input} gives an output extent of {out}"))),
        }
    }
    /// The padding that leaves `want` of `full` elements.
    fn fitted(&self, full: i128, want: i128, auto: &str) -> (i128, i128) {
        let total = (full - want).max(0);
        (want, if auto == "SAME_UPPER" { total / 2 } else { total - total / 2 })
    }
}

fn infer(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    same_types(ctx, &[0, 1, 2])?;
    let dims = infer_dims(ctx, syms)?;
    check_bias(ctx, 2, dims[1])?;
    Ok(vec![TensorType::new(ctx.input(0)?.dtype, dims)])
}

/// The shape of the result.
pub(super) fn infer_dims(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<Dim>, OpError> {
    let geometry = Geometry::read(ctx)?;
    let (x, w) = (ctx.input(0)?, ctx.input(1)?);
    let g = groups(ctx)?;
    if let (Some(c), Some(n)) = (x.dims[1].known(), w.dims[0].known())
        && c != n
    {
        return Err(OpError::invalid(format!("the input has {c} channels, the weights have {n}")));
    }
    if let Some(c) = x.dims[1].known()
        && c % g != 0
    {
        return Err(OpError::invalid(format!("{c} input channels do not split into {g} groups")));
    }
    let m = syms.mul(w.dims[1], Dim::Const(g));
    let mut dims = vec![x.dims[0], m];
    for (i, d) in x.dims[2..].iter().enumerate() {
        dims.push(match (d, &geometry.shape) {
            (Dim::Const(n), _) => Dim::Const(geometry.extent(i, *n)?.0),
            (_, Some(s)) => Dim::Const(s[i] as u64),
            _ => syms.fresh(),
        });
    }
    Ok(dims)
}

/// All sizes of a transposed convolution whose input types are static. `outputs` are those of a group, and output `o` of an
/// axis gets input `i` through window element `o + begin - i * stride`.
pub fn shape(ctx: &OpCtx) -> Result<ConvShape, OpError> {
    let geometry = Geometry::read(ctx)?;
    let (x, w) = (ctx.static_dims(0)?, ctx.static_dims(1)?);
    let groups = groups(ctx)? as usize;
    let size = |n: u64| usize::try_from(n).map_err(|_| OpError::invalid("the output extent overflows"));
    let mut axes = Vec::new();
    for (i, &input) in x[2..].iter().enumerate() {
        let (output, begin) = geometry.extent(i, input as u64)?;
        axes.push(Axis {
            input,
            output: size(output)?,
            kernel: geometry.kernel[i] as usize,
            stride: geometry.strides[i] as usize,
            dilation: geometry.dilations[i] as usize,
            begin: size(begin)?,
            end: 0,
        });
    }
    Ok(ConvShape { batch: x[0], groups, inputs: x[1] / groups, outputs: w[1], axes })
}

fn eval<T: Real>(ctx: &EvalCtx) -> Evaluated {
    let s = shape(&ctx.op)?;
    let (x, w) = (ctx.input(0)?.view::<T>(), ctx.input(1)?.view::<T>());
    let bias = ctx.opt_input(2).map(Tensor::view::<T>);
    let y = convolve(&x, &w, bias.as_deref(), &s)?;
    Ok(vec![Tensor::new(s.dims(), y)])
}

/// The results, a bias of one number for each output channel added.
///
/// # Errors
/// If they do not fit the memory.
pub(super) fn convolve<T: Real>(x: &[T], w: &[T], bias: Option<&[T]>, s: &ConvShape) -> Result<Vec<T>, OpError> {
    let axes = lifted(&s.axes);
    let mut y = zeros::<T>(&s.dims())?;
    let pixels: usize = axes.iter().map(|a| a.output).product();
    let input: usize = axes.iter().map(|a| a.input).product();
    let taps: usize = axes.iter().map(|a| a.kernel).product();
    if y.is_empty() {
        return Ok(y);
    }
    if let Some(bias) = bias {
        y.chunks_mut(pixels).enumerate().for_each(|(i, p)| p.fill(bias[i % bias.len()]));
    }
    // The product of weights and input gives what every input adds to every window element; then these are added up.
    let mut parts = zeros::<T>(&[s.outputs, taps, input])?;
    for (i, y) in y.chunks_mut(s.outputs * pixels).enumerate() {
        let x = &x[i * s.inputs * input..(i + 1) * s.inputs * input];
        let w = &w[i % s.groups * s.inputs * s.outputs * taps..][..s.inputs * s.outputs * taps];
        parts.fill(T::ZERO);
        let (left, right) = (Matrix::dense(w, s.outputs * taps).t(), Matrix::dense(x, input));
        product((s.outputs * taps, input, s.inputs), left, |p, j, out| right.read_row(p, j, out), &mut parts);
        y.par_chunks_mut(pixels).zip(parts.par_chunks(taps * input)).for_each(|(y, parts)| spread(parts, &axes, y));
    }
    Ok(y)
}

/// Adds the parts of one output channel, `[taps][input]`, to its plane.
fn spread<T: Real>(parts: &[T], axes: &[Axis; 3], y: &mut [T]) {
    let [az, ay, ax] = axes;
    let at =
        |a: &Axis, i: usize, k: usize| (i * a.stride + k * a.dilation).checked_sub(a.begin).filter(|&o| o < a.output);
    let input = az.input * ay.input * ax.input;
    for (tap, part) in parts.chunks(input).enumerate() {
        let (kz, ky, kx) = (tap / (ay.kernel * ax.kernel), tap / ax.kernel % ay.kernel, tap % ax.kernel);
        for (row, line) in part.chunks(ax.input).enumerate() {
            let (Some(oz), Some(oy)) = (at(az, row / ay.input, kz), at(ay, row % ay.input, ky)) else { continue };
            let out = &mut y[(oz * ay.output + oy) * ax.output..][..ax.output];
            for (i, &v) in line.iter().enumerate() {
                if let Some(ox) = at(ax, i, kx) {
                    out[ox] += v;
                }
            }
        }
    }
}

/// The loop form of the sums over channels and taps. `x` loads the data at an index under a condition, `w` the weight at an index, whose
/// second element is the output channel of its group.
pub(super) fn sums(
    s: &ConvShape,
    x: impl FnOnce(&mut ScalarBuilder, Vec<Expr>, Option<Expr>) -> Expr,
    w: impl FnOnce(&mut ScalarBuilder, Vec<Expr>) -> Expr,
) -> Stage {
    let rank = s.axes.len();
    let mut b = ScalarBuilder::new();
    let (n, m, c) = (b.axis(0), b.axis(1), b.axis(2 + rank));
    let group = div(&mut b, m, s.outputs);
    let channel = affine(&mut b, &[(group, s.inputs as i64), (c, 1)], 0);
    let first = affine(&mut b, &[(m, 1), (group, -(s.outputs as i64))], 0);
    let mut conditions: Vec<Expr> = Vec::new();
    let mut spatial = Vec::new();
    for (i, a) in s.axes.iter().enumerate() {
        let (o, k) = (b.axis(2 + i), b.axis(3 + rank + i));
        // The input whose window element k falls on output o: (o + begin - k * dilation) / stride, where that is whole.
        let position = affine(&mut b, &[(o, 1), (k, -(a.dilation as i64))], a.begin as i64);
        let zero = b.int(0);
        conditions.push(b.compare(Cmp::Ge, position, zero));
        let at = div(&mut b, position, a.stride);
        if a.stride > 1 {
            let rest = loops::rem(&mut b, position, a.stride);
            conditions.push(b.compare(Cmp::Eq, rest, zero));
        }
        let end = b.int(a.input as i64);
        conditions.push(b.compare(Cmp::Lt, at, end));
        spatial.push(at);
    }
    let guard = loops::all(&mut b, &conditions);
    let x = x(&mut b, [vec![n, channel], spatial].concat(), guard);
    let taps: Vec<Expr> = (0..rank).map(|i| b.axis(3 + rank + i)).collect();
    let w = w(&mut b, [vec![channel, first], taps].concat());
    let product = b.mul(x, w);
    let over = std::iter::once(s.inputs).chain(s.axes.iter().map(|a| a.kernel)).collect();
    reduce(s.dims(), over, Combine::Sum, b, product)
}

fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let s = shape(ctx)?;
    let d = ctx.input(0)?.dtype;
    let rank = s.axes.len();
    let mut stages = vec![sums(
        &s,
        |b, index, guard| load_wide(b, Source::Input(0), index, d, guard, 0.0),
        |b, index| load_wide(b, Source::Input(1), index, d, None, 0.0),
    )];
    if ctx.opt_input(2).is_some() || wide(d) != d {
        let mut b = ScalarBuilder::new();
        let index = loops::axes(&mut b, 2 + rank);
        let m = index[1];
        let mut y = b.load(Source::Stage(0), index, wide(d));
        if ctx.opt_input(2).is_some() {
            let bias = load_wide(&mut b, Source::Input(2), vec![m], d, None, 0.0);
            y = b.add(y, bias);
        }
        let y = b.cast(y, d);
        stages.push(map(s.dims(), b, y));
    }
    Ok(loops::compute(stages))
}

/// Multiplications and additions of the definition.
pub(super) fn flops(ctx: &OpCtx) -> u64 {
    let Ok(s) = shape(ctx) else { return 0 };
    let factors = [s.batch, s.groups, s.inputs, s.outputs];
    let spatial = s.axes.iter().flat_map(|a| [a.input, a.kernel]);
    factors.into_iter().chain(spatial).fold(2, |a: u64, n| a.saturating_mul(n as u64))
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..9)
        .map(|case| {
            let rank = [2, 2, 2, 1, 3][case % 5];
            let groups = g.pick(&[1, 1, 2, 3]);
            let (cg, mg) = (1 + g.below(4), 1 + g.below(4));
            let (kernel, strides) = (g.dims(rank, 4), g.dims(rank, 3));
            let dilations = g.dims(rank, if case % 3 == 1 { 2 } else { 1 });
            let spatial: Vec<usize> = g.dims(rank, 5).iter().map(|d| d + 1).collect();
            let ints = |v: &[usize]| v.iter().map(|&x| x as i64).collect::<Vec<i64>>();
            let x = [vec![1 + g.below(2), groups * cg], spatial.clone()].concat();
            let w = [vec![groups * cg, mg], kernel.clone()].concat();
            let mut d = draft().data(g.f32s(&x)).param(g.f32s(&w)).attr("group", groups as i64);
            if g.coin() {
                d = d.param(g.f32s(&[groups * mg]));
            }
            d = d
                .attr("kernel_shape", ints(&kernel))
                .attr("strides", ints(&strides))
                .attr("dilations", ints(&dilations));
            match case {
                2 => d.attr("output_padding", strides.iter().map(|&s| s as i64 - 1).collect::<Vec<_>>()),
                6 => d.attr("auto_pad", "VALID"),
                _ => {
                    let pads: Vec<i64> = (0..2 * rank).map(|i| g.int(0, (kernel[i % rank] as i64 - 1) / 2)).collect();
                    d.attr("pads", pads)
                }
            }
            .done()
        })
        .collect()
}
