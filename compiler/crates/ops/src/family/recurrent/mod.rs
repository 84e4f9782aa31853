//! Recurrent networks.

mod activation;
mod cell;

use crate::define::BASE;
use crate::real::{Evaluated, narrowed};
use crate::sample::{Gen, draft};
use activation::Activation;
use cell::{Cell, Kind, Weights};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::{
    AttrDecl, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType,
};

const X: Operand = Operand::required("x", DTypeSet::FLOAT);
const W: Operand = Operand::required("w", DTypeSet::FLOAT);
const R: Operand = Operand::required("r", DTypeSet::FLOAT);
const B: Operand = Operand::optional("b", DTypeSet::FLOAT);
const LENGTHS: Operand = Operand::optional("sequence_lens", DTypeSet::only(DType::I32));
const H0: Operand = Operand::optional("initial_h", DTypeSet::FLOAT);
const Y: Operand = Operand::optional("y", DTypeSet::FLOAT);
const Y_H: Operand = Operand::optional("y_h", DTypeSet::FLOAT);

const HIDDEN: AttrDecl =
    AttrDecl::optional("hidden_size", AttrKind::Int, "number of hidden units; that of the weights when unset");
const DIRECTION: AttrDecl = AttrDecl::with_default(
    "direction",
    AttrKind::Str,
    AttrDefault::Str("forward"),
    "forward, reverse or bidirectional",
);
const ACTIVATIONS: AttrDecl = AttrDecl::optional(
    "activations",
    AttrKind::Strs,
    "activation functions, for each direction in turn; the usual ones when unset",
);
const CLIP: AttrDecl =
    AttrDecl::optional("clip", AttrKind::Float, "bound of what goes into an activation; none when unset");
const LAYOUT: AttrDecl = AttrDecl::with_default(
    "layout",
    AttrKind::Int,
    AttrDefault::Int(0),
    "0: sequence before batch; 1 is not supported",
);

/// Simple recurrent network.
pub static RNN: OpDecl = OpDecl {
    name: "rnn",
    doc: "h = f(x w' + h r' + wb + rb) along the sequence. x: [S,N,I], w: [D,H,I], r: [D,H,H], b: [D,2H], initial_h: \
          [D,N,H], y: [S,D,N,H], y_h: [D,N,H]; D is 2 for bidirectional. ONNX RNN.",
    inputs: &[X, W, R, B, LENGTHS, H0],
    outputs: &[Y, Y_H],
    attrs: &[HIDDEN, DIRECTION, ACTIVATIONS, CLIP, LAYOUT],
    infer: |ctx, syms| infer(ctx, syms, Kind::Rnn),
    eval: |ctx| eval(ctx, Kind::Rnn),
    flops: |ctx| flops(ctx, Kind::Rnn),
    samples: |seed| samples(seed, Kind::Rnn),
    ..RECURRENT
};

/// Gated recurrent unit.
pub static GRU: OpDecl = OpDecl {
    name: "gru",
    doc: "Gated recurrent unit, gates in the order update, reset, hidden. x: [S,N,I], w: [D,3H,I], r: [D,3H,H], b: [D,6H], \
          initial_h: [D,N,H], y: [S,D,N,H], y_h: [D,N,H]; D is 2 for bidirectional. ONNX GRU.",
    inputs: &[X, W, R, B, LENGTHS, H0],
    outputs: &[Y, Y_H],
    attrs: &[
        HIDDEN,
        DIRECTION,
        ACTIVATIONS,
        CLIP,
        LAYOUT,
        AttrDecl::with_default(
            "linear_before_reset",
            AttrKind::Bool,
            AttrDefault::Bool(false),
            "the reset gate is applied behind the recurrent product, not before it",
        ),
    ],
    infer: |ctx, syms| infer(ctx, syms, Kind::Gru),
    eval: |ctx| eval(ctx, Kind::Gru),
    flops: |ctx| flops(ctx, Kind::Gru),
    samples: |seed| samples(seed, Kind::Gru),
    ..RECURRENT
};

/// Long short-term memory.
pub static LSTM: OpDecl = OpDecl {
    name: "lstm",
    doc: "Long short-term memory, gates in the order input, output, forget, cell. x: [S,N,I], w: [D,4H,I], r: [D,4H,H], \
          b: [D,8H], initial_h and initial_c: [D,N,H], p (peepholes: input, output, forget): [D,3H], y: [S,D,N,H], y_h and \
          y_c: [D,N,H]; D is 2 for bidirectional. ONNX LSTM.",
    inputs: &[
        X,
        W,
        R,
        B,
        LENGTHS,
        H0,
        Operand::optional("initial_c", DTypeSet::FLOAT),
        Operand::optional("p", DTypeSet::FLOAT),
    ],
    outputs: &[Y, Y_H, Operand::optional("y_c", DTypeSet::FLOAT)],
    attrs: &[
        HIDDEN,
        DIRECTION,
        ACTIVATIONS,
        CLIP,
        LAYOUT,
        AttrDecl::with_default(
            "input_forget",
            AttrKind::Bool,
            AttrDefault::Bool(false),
            "the forget gate is 1 - input gate",
        ),
    ],
    infer: |ctx, syms| infer(ctx, syms, Kind::Lstm),
    eval: |ctx| eval(ctx, Kind::Lstm),
    flops: |ctx| flops(ctx, Kind::Lstm),
    samples: |seed| samples(seed, Kind::Lstm),
    ..RECURRENT
};

const RECURRENT: OpDecl = OpDecl { family: "recurrent", ..BASE };

/// Whether each direction runs from the end.
fn directions(ctx: &OpCtx) -> Result<&'static [bool], OpError> {
    Ok(match ctx.string("direction").unwrap_or_default().as_str() {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Err(OpError::invalid(format!("direction is '{other}'"))),
    })
}

fn activations(ctx: &OpCtx, kind: Kind, directions: usize) -> Result<Vec<Activation>, OpError> {
    let usual = kind.activations();
    match ctx.attr("activations") {
        Some(mnnc_ir::Attr::Strs(names)) => {
            if names.len() != usual.len() * directions {
                return Err(OpError::invalid(format!(
                    "{} activations given, {} are needed",
                    names.len(),
                    usual.len() * directions
                )));
            }
            names.iter().map(|n| Activation::parse(n)).collect()
        }
        _ => Ok(usual.repeat(directions)),
    }
}

/// Checks that input `i`, if there, has these dims.
fn expect(ctx: &OpCtx, i: usize, want: &[Dim]) -> Result<(), OpError> {
    let Some(t) = ctx.opt_input(i) else { return Ok(()) };
    let differ = |(a, b): (&Dim, &Dim)| matches!((a, b), (Dim::Const(x), Dim::Const(y)) if x != y);
    if t.rank() != want.len() || t.dims.iter().zip(want).any(differ) {
        let shown: Vec<String> = want.iter().map(|d| d.known().map_or("?".into(), |n| n.to_string())).collect();
        return Err(OpError::invalid(format!("{} must be [{}]", ctx.op.inputs[i].name, shown.join(","))));
    }
    Ok(())
}

fn hidden(ctx: &OpCtx) -> Result<u64, OpError> {
    let h = match ctx.int("hidden_size") {
        Some(h) => u64::try_from(h).ok(),
        None => ctx.input(2)?.dims.get(2).and_then(|d| d.known()),
    };
    h.filter(|h| (1..1 << 31).contains(h)).ok_or_else(|| OpError::invalid("hidden_size is missing or out of range"))
}

fn infer(ctx: &OpCtx, _: &mut SymTable, kind: Kind) -> Result<Vec<TensorType>, OpError> {
    let x = ctx.input(0)?;
    let &[s, n, input] = x.dims.as_slice() else {
        return Err(OpError::invalid(format!("x has rank {}; [sequence, batch, input] is needed", x.rank())));
    };
    if ctx.int("layout") == Some(1) {
        return Err(OpError::unsupported("layout 1 is not supported; transpose x and y"));
    }
    let count = directions(ctx)?.len();
    activations(ctx, kind, count)?;
    let (d, h, gates) = (Dim::from(count), hidden(ctx)?, kind.gates() as u64);
    expect(ctx, 1, &[d, Dim::Const(gates * h), input])?;
    expect(ctx, 2, &[d, Dim::Const(gates * h), Dim::Const(h)])?;
    expect(ctx, 3, &[d, Dim::Const(2 * gates * h)])?;
    expect(ctx, 4, &[n])?;
    expect(ctx, 5, &[d, n, Dim::Const(h)])?;
    expect(ctx, 6, &[d, n, Dim::Const(h)])?;
    expect(ctx, 7, &[d, Dim::Const(3 * h)])?;
    let last = TensorType::new(x.dtype, [d, n, Dim::Const(h)]);
    let mut out = vec![TensorType::new(x.dtype, [s, d, n, Dim::Const(h)]), last.clone()];
    if kind == Kind::Lstm {
        out.push(last);
    }
    Ok(out)
}

fn eval(ctx: &EvalCtx, kind: Kind) -> Evaluated {
    let op = &ctx.op;
    let x = ctx.input(0)?;
    let &[steps, batch, input] = x.dims() else { return Err(OpError::invalid("x must be [sequence, batch, input]")) };
    let directions = directions(op)?;
    let (h, gates, d) = (hidden(op)? as usize, kind.gates(), directions.len());
    let functions = activations(op, kind, d)?;
    let values = |i: usize| ctx.opt_input(i).map(Tensor::to_f64s);
    let (w, r) = (ctx.input(1)?.to_f64s(), ctx.input(2)?.to_f64s());
    let (bias, peephole) = (values(3), values(7));
    let zero = || vec![0.0; d * batch * h];
    let mut hs = values(5).unwrap_or_else(zero);
    let mut cs = values(6).unwrap_or_else(zero);
    let lengths = match ctx.opt_input(4).and_then(Tensor::to_i64s) {
        Some(l) => l.into_iter().map(|n| n.clamp(0, steps as i64) as usize).collect(),
        None => vec![steps; batch],
    };
    let data = x.to_f64s();
    let mut y = vec![0.0; steps * d * batch * h];
    for (dir, &reverse) in directions.iter().enumerate() {
        let part = |v: &'_ [f64], n: usize| v[dir * n..(dir + 1) * n].to_vec();
        let per = kind.activations().len();
        let cell = Cell {
            kind,
            hidden: h,
            functions: functions[dir * per..(dir + 1) * per].to_vec(),
            clip: op.float("clip").map_or(f64::INFINITY, f64::from),
            linear_before_reset: kind == Kind::Gru && op.flag("linear_before_reset"),
            input_forget: kind == Kind::Lstm && op.flag("input_forget"),
            weights: Weights {
                w: part(&w, gates * h * input),
                r: part(&r, gates * h * h),
                bias: bias.as_ref().map_or(vec![0.0; 2 * gates * h], |b| part(b, 2 * gates * h)),
                peephole: peephole.as_ref().map_or(vec![0.0; 3 * h], |p| part(p, 3 * h)),
            },
        };
        for n in 0..batch {
            let state = (dir * batch + n) * h;
            for i in 0..lengths[n] {
                let t = if reverse { lengths[n] - 1 - i } else { i };
                let at = &data[(t * batch + n) * input..][..input];
                cell.step(at, &mut hs[state..state + h], &mut cs[state..state + h]);
                y[((t * d + dir) * batch + n) * h..][..h].copy_from_slice(&hs[state..state + h]);
            }
        }
    }
    let dtype = x.dtype();
    let tensor = |dims: Vec<usize>, v: Vec<f64>| match dtype {
        DType::F64 => Tensor::new(dims, v),
        _ => narrowed(&Tensor::new(dims, v.into_iter().map(|x| x as f32).collect::<Vec<_>>()), dtype),
    };
    let mut out = vec![tensor(vec![steps, d, batch, h], y), tensor(vec![d, batch, h], hs)];
    if kind == Kind::Lstm {
        out.push(tensor(vec![d, batch, h], cs));
    }
    Ok(out)
}

fn flops(ctx: &OpCtx, kind: Kind) -> u64 {
    let (Ok(x), Ok(h), Ok(d)) = (ctx.static_dims(0), hidden(ctx), directions(ctx)) else { return 0 };
    let &[s, n, i] = x.as_slice() else { return 0 };
    let sizes = [s as u64, n as u64, d.len() as u64, kind.gates() as u64, h, i as u64 + h];
    sizes.into_iter().fold(2, u64::saturating_mul)
}

fn samples(seed: u64, kind: Kind) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..5)
        .map(|case| {
            let (s, n, i, h) = (1 + g.below(5), 1 + g.below(3), 1 + g.below(5), 1 + g.below(5));
            let direction = ["forward", "reverse", "bidirectional"][case % 3];
            let d = if direction == "bidirectional" { 2 } else { 1 };
            let gates = kind.gates();
            let mut f = |dims: &[usize]| g.tensor(DType::F32, dims, -1.0, 1.0);
            let mut draft = draft().data(f(&[s, n, i])).param(f(&[d, gates * h, i])).param(f(&[d, gates * h, h]));
            if case > 0 {
                draft = draft.param(f(&[d, 2 * gates * h]));
            }
            if case > 1 {
                draft = draft.absent().data(f(&[d, n, h]));
                if kind == Kind::Lstm {
                    draft = draft.data(f(&[d, n, h]));
                    if case == 3 {
                        draft = draft.param(f(&[d, 3 * h]));
                    }
                }
            }
            if kind == Kind::Gru {
                draft = draft.attr("linear_before_reset", case % 2 == 1);
            }
            if case == 4 {
                draft = draft.attr("clip", 0.6f32);
            }
            let outputs = if kind == Kind::Lstm { 3 } else { 2 };
            draft.attr("hidden_size", h as i64).attr("direction", direction).outputs(outputs).done()
        })
        .collect()
}
