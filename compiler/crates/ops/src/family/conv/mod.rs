//! Convolution.

pub(crate) mod direct;
pub(crate) mod loops;

use crate::define::BASE;
use crate::real::{Evaluated, Real, eval_real};
use crate::sample::{Gen, draft};
pub use crate::window::Axis;
use crate::window::{AUTO_PAD, DILATIONS, KERNEL_SHAPE, PADS, STRIDES, Window};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::{AttrDecl, AttrKind, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType};

/// `group`.
pub(crate) const GROUP: AttrDecl = AttrDecl::with_default(
    "group",
    AttrKind::Int,
    AttrDefault::Int(1),
    "input and output channels are split into this many independent groups",
);

/// Convolution over 1 to 3 spatial dimensions.
pub static CONV: OpDecl = OpDecl {
    name: "conv",
    family: "conv",
    doc: "y[n,m,o] = b[m] + sum over c, k of x[n,c,o*stride + k*dilation - pad] * w[m,c,k], channels in groups. \
          x: [N,C,D1..Dr], w: [M,C/group,k1..kr], b: [M], r in 1..=3. ONNX Conv.",
    inputs: &[
        Operand::required("x", DTypeSet::FLOAT),
        Operand::required("w", DTypeSet::FLOAT),
        Operand::optional("b", DTypeSet::FLOAT),
    ],
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    attrs: &[KERNEL_SHAPE, STRIDES, PADS, DILATIONS, GROUP, AUTO_PAD],
    infer,
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval),
    compute: Some(loops::compute),
    flops,
    samples,
    ..BASE
};

/// A convolution with every size known.
#[derive(Clone, Debug)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Groups.
    pub groups: usize,
    /// Input channels of a group.
    pub inputs: usize,
    /// Output channels of a group.
    pub outputs: usize,
    /// Spatial dimensions.
    pub axes: Vec<Axis>,
}

impl ConvShape {
    /// Shape of the result.
    pub fn dims(&self) -> Vec<usize> {
        let head = [self.batch, self.groups * self.outputs];
        head.into_iter().chain(self.axes.iter().map(|a| a.output)).collect()
    }
}

/// The checked `group` attribute.
pub(crate) fn groups(ctx: &OpCtx) -> Result<u64, OpError> {
    let g = ctx.int("group").unwrap_or(1);
    u64::try_from(g)
        .ok()
        .filter(|&g| g > 0)
        .ok_or_else(|| OpError::invalid(format!("group is {g}; it must be positive")))
}

/// The window of a node with data in input `x` and weights in input `w`.
pub(crate) fn window(ctx: &OpCtx, x: usize, w: usize) -> Result<Window, OpError> {
    let (xt, wt) = (ctx.input(x)?, ctx.input(w)?);
    if xt.rank() < 3 || xt.rank() > 5 {
        return Err(OpError::unsupported(format!(
            "the input has rank {}; 3 to 5 are supported (batch, channels, 1 to 3 spatial dimensions)",
            xt.rank()
        )));
    }
    if wt.rank() != xt.rank() {
        return Err(OpError::invalid(format!("the weights have rank {}, the input has rank {}", wt.rank(), xt.rank())));
    }
    let mut kernel = Vec::new();
    let given = ctx.ints("kernel_shape");
    if given.as_ref().is_some_and(|g| g.len() != wt.rank() - 2) {
        return Err(OpError::invalid(format!("kernel_shape needs {} entries", wt.rank() - 2)));
    }
    for (i, d) in wt.dims[2..].iter().enumerate() {
        let attr = given.as_ref().map(|g| g[i]);
        let k = match (d.known().and_then(|d| i64::try_from(d).ok()), attr) {
            (Some(d), Some(a)) if d != a => {
                return Err(OpError::invalid(format!("kernel_shape says {a}, the weights have extent {d}")));
            }
            (Some(d), _) => d,
            (None, Some(a)) => a,
            (None, None) => return Err(OpError::unsupported("the extent of the window is not known at compile time")),
        };
        kernel.push(k);
    }
    Window::read(ctx, &kernel, true, false)
}

/// Type checks and output dims of a convolution with data in input `x` and weights in input `w`.
pub(crate) fn infer_dims(ctx: &OpCtx, x: usize, w: usize, syms: &mut SymTable) -> Result<Vec<Dim>, OpError> {
    let window = window(ctx, x, w)?;
    let (xt, wt) = (ctx.input(x)?, ctx.input(w)?);
    let g = groups(ctx)?;
    if let (Some(c), Some(cg)) = (xt.dims[1].known(), wt.dims[1].known())
        && cg.checked_mul(g) != Some(c)
    {
        return Err(OpError::invalid(format!(
            "the input has {c} channels; weights for {cg} channels in {g} group(s) need {}",
            u128::from(cg) * u128::from(g)
        )));
    }
    if let Some(m) = wt.dims[0].known()
        && m % g != 0
    {
        return Err(OpError::invalid(format!("{m} output channels do not split into {g} groups")));
    }
    let mut dims = vec![xt.dims[0], wt.dims[0]];
    for (i, &d) in xt.dims[2..].iter().enumerate() {
        dims.push(window.output(i, d, syms)?);
    }
    Ok(dims)
}

/// A bias vector has one element for each output channel.
pub(crate) fn check_bias(ctx: &OpCtx, i: usize, channels: Dim) -> Result<(), OpError> {
    let Some(b) = ctx.opt_input(i) else { return Ok(()) };
    match (b.dims.as_slice(), channels) {
        ([Dim::Const(n)], Dim::Const(m)) if *n != m => {
            Err(OpError::invalid(format!("the bias has {n} elements for {m} output channels")))
        }
        ([_], _) => Ok(()),
        _ => Err(OpError::invalid(format!("the bias has rank {}; a vector is needed", b.rank()))),
    }
}

/// All present float inputs are of one type.
pub(crate) fn same_types(ctx: &OpCtx, inputs: &[usize]) -> Result<(), OpError> {
    let first = ctx.input(inputs[0])?.dtype;
    for &i in inputs {
        if let Some(t) = ctx.opt_input(i)
            && t.dtype != first
        {
            let name = ctx.op.inputs.get(i).map_or("?", |o| o.name);
            return Err(OpError::invalid(format!(
                "{name} is {}, the first operand is {first}; cast one of them",
                t.dtype
            )));
        }
    }
    Ok(())
}

/// All sizes of a convolution whose input types are static.
pub fn shape(ctx: &OpCtx, x: usize, w: usize) -> Result<ConvShape, OpError> {
    let (xd, wd) = (ctx.static_dims(x)?, ctx.static_dims(w)?);
    let groups = groups(ctx)? as usize;
    infer_dims(ctx, x, w, &mut SymTable::default())?;
    let axes = window(ctx, x, w)?.axes(&xd[2..])?;
    Ok(ConvShape { batch: xd[0], groups, inputs: wd[1], outputs: wd[0] / groups, axes })
}

fn infer(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    same_types(ctx, &[0, 1, 2])?;
    let dims = infer_dims(ctx, 0, 1, syms)?;
    check_bias(ctx, 2, dims[1])?;
    Ok(vec![TensorType::new(ctx.input(0)?.dtype, dims)])
}

fn eval<T: Real>(ctx: &EvalCtx) -> Evaluated {
    let shape = shape(&ctx.op, 0, 1)?;
    let (x, w) = (ctx.input(0)?.view::<T>(), ctx.input(1)?.view::<T>());
    let bias = ctx.opt_input(2).map(|b| b.view::<T>());
    let y = direct::convolve(&x, &w, bias.as_deref(), &shape)?;
    Ok(vec![Tensor::new(shape.dims(), y)])
}

/// Two operations for each multiply-add, one for each bias addition.
pub(crate) fn conv_flops(shape: &ConvShape) -> u64 {
    let out: u64 = shape.dims().iter().map(|&d| d as u64).product();
    let taps: u64 = shape.axes.iter().map(|a| a.kernel as u64).product();
    out.saturating_mul(taps).saturating_mul(shape.inputs as u64).saturating_mul(2)
}

fn flops(ctx: &OpCtx) -> u64 {
    shape(ctx, 0, 1).map_or(0, |s| conv_flops(&s))
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut out = Vec::new();
    for case in 0..10 {
        let rank = [2, 2, 2, 2, 1, 3][case % 6];
        let groups = g.pick(&[1, 1, 2, 3]);
        let depthwise = case == 3;
        let cg = if depthwise { 1 } else { 1 + g.below(5) };
        let mg = 1 + g.below(if depthwise { 2 } else { 6 });
        let groups = if depthwise { 5 } else { groups };
        let kernel = g.dims(rank, 4);
        // With a step beyond the window, SAME would need negative padding, which authorities treat differently.
        let same = matches!(case % 5, 1 | 2);
        let strides: Vec<usize> = kernel.iter().map(|&k| 1 + g.below(if same { k.min(3) } else { 3 })).collect();
        let dilations = g.dims(rank, if case % 2 == 0 { 1 } else { 2 });
        let spatial: Vec<usize> = (0..rank).map(|i| (kernel[i] - 1) * dilations[i] + 1 + g.below(9)).collect();
        let ints = |v: &[usize]| v.iter().map(|&x| x as i64).collect::<Vec<i64>>();
        let x = [vec![1 + g.below(2), groups * cg], spatial].concat();
        let w = [vec![groups * mg, cg], kernel.clone()].concat();
        let mut d = draft().data(g.f32s(&x)).param(g.f32s(&w)).attr("group", groups as i64);
        if g.coin() {
            d = d.param(g.f32s(&[groups * mg]));
        }
        d = d.attr("kernel_shape", ints(&kernel)).attr("strides", ints(&strides));
        d = match case % 5 {
            1 => d.attr("auto_pad", "SAME_UPPER"),
            2 => d.attr("auto_pad", "SAME_LOWER"),
            4 => d.attr("auto_pad", "VALID").attr("dilations", ints(&dilations)),
            _ => {
                let pads: Vec<i64> = (0..2 * rank).map(|i| g.int(0, kernel[i % rank] as i64 - 1)).collect();
                d.attr("pads", pads).attr("dilations", ints(&dilations))
            }
        };
        out.push(d.done());
    }
    out
}
