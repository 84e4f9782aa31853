//! Padding.

use crate::axes::normalize_axes;
use crate::broadcast::strides;
use crate::define::BASE;
use crate::dims::const_list;
use crate::loops;
use crate::sample::{Gen, draft};
use crate::separable::{offsets, separable};
use mnnc_ir::compute::Compute;
use mnnc_ir::decl::Sample;
use mnnc_ir::scalar::{Binary, Expr, ScalarBuilder, Source, Unary};
use mnnc_ir::{
    AttrDecl, AttrDefault, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor,
    TensorType,
};

/// `pad`.
pub static PAD: OpDecl = OpDecl {
    name: "pad",
    family: "pad",
    doc: "Puts `pads` (all starts, then all ends; for `axes` if given) elements around the input: a constant (0 if not \
          given), or by `mode` elements of the input: `edge`, `reflect` (without repeating the edge), `wrap`. Negative \
          pads crop.",
    inputs: &[
        Operand::required("data", DTypeSet::ANY),
        Operand::required("pads", DTypeSet::I64),
        Operand::optional("constant_value", DTypeSet::ANY),
        Operand::optional("axes", DTypeSet::INDEX),
    ],
    attrs: &[AttrDecl::with_default(
        "mode",
        AttrKind::Str,
        AttrDefault::Str("constant"),
        "`constant`, `edge`, `reflect` or `wrap`.",
    )],
    infer: infer_pad,
    eval: |ctx| {
        let x = ctx.input(0)?;
        let (mode, spans) = (mode(&ctx.op)?, spans(&ctx.op, x.dims())?);
        let dims: Vec<usize> = spans.iter().map(|s| s.len).collect();
        let step = strides(x.dims());
        let along = |i: usize| offsets(dims[i], step[i], |k| spans[i].source(mode, k));
        Ok(vec![separable(x, &dims, along, ctx.opt_input(2))?])
    },
    compute: Some(pad_loops),
    samples: pad_samples,
    ..BASE
};

#[derive(Copy, Clone, PartialEq, Debug)]
enum Mode {
    Constant,
    Edge,
    Reflect,
    Wrap,
}

/// One padded dimension. Cropping comes first: pads then show elements of what is left.
#[derive(Copy, Clone, PartialEq, Debug)]
struct Span {
    /// First element that is kept.
    first: i64,
    /// Number of elements kept.
    kept: i64,
    /// Elements before the kept ones.
    before: i64,
    /// Size of the result.
    len: usize,
}

/// Pads beyond this are no sizes of anything real; below it sums stay within `i64`.
const LIMIT: i64 = 1 << 40;

impl Span {
    fn new(n: usize, begin: i64, end: i64) -> Result<Span, OpError> {
        let n = i64::try_from(n).ok().filter(|n| *n < LIMIT);
        let n = n.ok_or_else(|| OpError::invalid("the padded size is too large"))?;
        if !(-LIMIT..=LIMIT).contains(&begin) || !(-LIMIT..=LIMIT).contains(&end) {
            return Err(OpError::invalid(format!("pads {begin} and {end} are too large")));
        }
        let (first, last) = ((-begin).max(0), n + end.min(0));
        let len = n + begin + end;
        if len < 0 || last < first {
            return Err(OpError::invalid(format!("pads {begin} and {end} crop more than the {n} elements there are")));
        }
        Ok(Span { first, kept: last - first, before: begin.max(0), len: len as usize })
    }
    /// The input position that position `k` of the result shows; `None` for the constant.
    fn source(&self, mode: Mode, k: usize) -> Option<usize> {
        let (i, n) = (k as i64 - self.before, self.kept);
        let inner = match mode {
            Mode::Constant => (0..n).contains(&i).then_some(i)?,
            Mode::Edge => i.clamp(0, n - 1),
            Mode::Wrap => i.rem_euclid(n),
            Mode::Reflect if n == 1 => 0,
            Mode::Reflect => {
                let period = 2 * (n - 1);
                let m = i.rem_euclid(period);
                m.min(period - m)
            }
        };
        usize::try_from(self.first + inner).ok()
    }
    /// Whether nothing changes.
    fn is_plain(&self) -> bool {
        self.before == 0 && self.len as i64 == self.kept
    }
}

fn mode(ctx: &OpCtx) -> Result<Mode, OpError> {
    match ctx.string("mode").as_deref() {
        Some("constant") | None => Ok(Mode::Constant),
        Some("edge") => Ok(Mode::Edge),
        Some("reflect") => Ok(Mode::Reflect),
        Some("wrap") => Ok(Mode::Wrap),
        Some(other) => Err(OpError::invalid(format!("mode is \"{other}\", known are constant, edge, reflect, wrap"))),
    }
}

/// Axis, start and end of each padded dimension, or `None` if they are not known.
fn pads(ctx: &OpCtx) -> Result<Option<Vec<(usize, i64, i64)>>, OpError> {
    let rank = ctx.input(0)?.rank();
    let axes = match ctx.opt_input(3) {
        Some(_) => match const_list(ctx, 3)? {
            Some(axes) => normalize_axes(&axes, rank)?,
            None => return Ok(None),
        },
        None => (0..rank).collect(),
    };
    let Some(pads) = const_list(ctx, 1)? else { return Ok(None) };
    let n = axes.len();
    if pads.len() != 2 * n {
        return Err(OpError::invalid(format!(
            "pads has {} entries for {n} dimensions, it needs {}",
            pads.len(),
            2 * n
        )));
    }
    Ok(Some(axes.iter().enumerate().map(|(i, &a)| (a, pads[i], pads[n + i])).collect()))
}

fn spans(ctx: &OpCtx, dims: &[usize]) -> Result<Vec<Span>, OpError> {
    let pads = pads(ctx)?
        .ok_or_else(|| OpError::unsupported("pads and axes must be constants, they are computed at run time"))?;
    let mode = mode(ctx)?;
    let mut out: Vec<Span> = dims.iter().map(|&n| Span::new(n, 0, 0)).collect::<Result<_, _>>()?;
    for (axis, begin, end) in pads {
        let span = Span::new(dims[axis], begin, end)?;
        if mode != Mode::Constant && span.kept == 0 && span.len > 0 {
            return Err(OpError::invalid(format!("dimension {axis} has no elements to pad with")));
        }
        out[axis] = span;
    }
    Ok(out)
}

fn infer_pad(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let x = ctx.input(0)?;
    mode(ctx)?;
    if let Some(c) = ctx.opt_input(2) {
        if c.dtype != x.dtype {
            return Err(OpError::invalid(format!("constant_value is {}, the data are {}", c.dtype, x.dtype)));
        }
        if c.rank() > 1 || c.num_elements().is_some_and(|n| n != 1) {
            return Err(OpError::invalid(format!("constant_value must be one element, it is {}", c.show(syms))));
        }
    }
    if let Some(dims) = x.static_dims()
        && pads(ctx)?.is_some()
    {
        return Ok(vec![x.with_dims(spans(ctx, &dims)?.iter().map(|s| s.len))]);
    }
    let mut dims = x.dims.clone();
    match pads(ctx)? {
        Some(pads) => {
            for (axis, begin, end) in pads {
                dims[axis] = match (dims[axis], begin.checked_add(end)) {
                    (d, Some(0)) => d,
                    (Dim::Const(n), _) => Span::new(usize::try_from(n).unwrap_or(usize::MAX), begin, end)?.len.into(),
                    (d, Some(grow @ 1..)) => syms.add(d, Dim::Const(grow as u64)),
                    _ => syms.fresh(),
                };
            }
        }
        None => dims.iter_mut().for_each(|d| *d = syms.fresh()),
    }
    Ok(vec![x.with_dims(dims)])
}

fn pad_loops(ctx: &OpCtx) -> Result<Compute, OpError> {
    let (mode, spans) = (mode(ctx)?, spans(ctx, &ctx.static_dims(0)?)?);
    let mut b = ScalarBuilder::new();
    let mut inside = Vec::new();
    let mut index = Vec::with_capacity(spans.len());
    for (i, s) in spans.iter().enumerate() {
        let at = b.axis(i);
        let k = loops::affine(&mut b, &[(at, 1)], -s.before);
        let inner = if s.is_plain() {
            k
        } else if mode == Mode::Constant {
            let ends = s.len as i64 - s.before;
            let [low, high] = loops::within(&mut b, k, 0, s.kept);
            inside.extend((s.before > 0).then_some(low));
            inside.extend((ends > s.kept).then_some(high));
            k
        } else {
            mirrored(&mut b, mode, k, s)
        };
        index.push(loops::affine(&mut b, &[(inner, 1)], s.first));
    }
    let dtype = ctx.input(0)?.dtype;
    let body = match loops::all(&mut b, &inside) {
        None => b.load(Source::Input(0), index, dtype),
        Some(guard) => {
            let fill = match ctx.opt_input(2) {
                Some(ty) => {
                    let at = vec![b.int(0); ty.rank()];
                    b.load(Source::Input(2), at, dtype)
                }
                None => b.constant(0.0, dtype),
            };
            b.load_or(Source::Input(0), index, guard, fill)
        }
    };
    Ok(loops::compute(vec![loops::map(spans.iter().map(|s| s.len).collect(), b, body)]))
}

/// The kept position that position `k`, relative to the first kept one, shows.
fn mirrored(b: &mut ScalarBuilder, mode: Mode, k: Expr, s: &Span) -> Expr {
    let last = b.int(s.kept - 1);
    match mode {
        Mode::Constant => k,
        Mode::Edge => {
            let zero = b.int(0);
            let k = b.max(k, zero);
            b.min(k, last)
        }
        Mode::Wrap => modulo(b, k, s.kept),
        Mode::Reflect if s.kept == 1 => b.int(0),
        Mode::Reflect => {
            let period = 2 * (s.kept - 1);
            let folds_once = s.before < s.kept && s.len as i64 - s.before <= period;
            let m = if folds_once { b.unary(Unary::Abs, k) } else { modulo(b, k, period) };
            let p = b.int(period);
            let back = b.sub(p, m);
            b.min(m, back)
        }
    }
}

/// `k mod n`, not negative.
fn modulo(b: &mut ScalarBuilder, k: Expr, n: i64) -> Expr {
    let n = b.int(n);
    let r = b.binary(Binary::Rem, k, n);
    let r = b.add(r, n);
    b.binary(Binary::Rem, r, n)
}

fn pad_samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut out = Vec::new();
    for mode in ["constant", "edge", "reflect", "wrap"] {
        let d = draft().attr("mode", mode);
        out.push(d.clone().data(g.f32s(&[2, 3, 4, 5])).ints(&[0, 0, 1, 2, 0, 0, 3, 4]).done());
        out.push(d.clone().data(g.f32s(&[4, 5])).ints(&[1, 0, 0, 2]).done());
        out.push(d.data(g.f32s(&[2, 3, 4])).ints(&[1, 2]).absent().ints(&[-1]).done());
    }
    let c = Tensor::scalar(7.5f32);
    out.push(draft().data(g.f32s(&[3, 4])).ints(&[1, -1, 0, 2]).param(c).done());
    out.push(draft().data(g.f32s(&[3, 4])).ints(&[0, -2, 0, 0]).done());
    out.push(draft().data(g.tensor(DType::I64, &[3], -9.0, 9.0)).ints(&[2, 1]).param(Tensor::scalar(-1i64)).done());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_show_the_right_elements() {
        let show = |mode, n, a, b| {
            let s = Span::new(n, a, b).ok()?;
            Some((0..s.len).map(|k| s.source(mode, k).map_or(-1, |i| i as i64)).collect::<Vec<_>>())
        };
        assert_eq!(show(Mode::Constant, 3, 1, 2), Some(vec![-1, 0, 1, 2, -1, -1]));
        assert_eq!(show(Mode::Edge, 3, 2, 1), Some(vec![0, 0, 0, 1, 2, 2]));
        assert_eq!(show(Mode::Reflect, 3, 3, 3), Some(vec![1, 2, 1, 0, 1, 2, 1, 0, 1]));
        assert_eq!(show(Mode::Wrap, 3, 2, 1), Some(vec![1, 2, 0, 1, 2, 0]));
        assert_eq!(show(Mode::Edge, 4, -1, 1), Some(vec![1, 2, 3, 3]));
        assert_eq!(show(Mode::Constant, 3, -2, -2), None);
        assert_eq!(show(Mode::Constant, 3, i64::MIN, i64::MAX), None);
    }
}
