//! Operators that ONNX Runtime's exporters and its optimiser write in their own domain, by standard ones.

use crate::onnx::node::{Converted, NodeCx, op};
use crate::onnx::table::{Row, microsoft};
use mnnc_ir::{Attrs, OpError, ValueId};

pub(super) static ROWS: &[Row] = &[
    microsoft("BiasGelu", |cx| gelu(cx, "none")),
    microsoft("FastGelu", |cx| gelu(cx, "tanh")),
    microsoft("FusedConv", fused_conv),
    microsoft("FusedMatMul", fused_matmul),
    microsoft("Gelu", |cx| gelu(cx, "none")),
    microsoft("QuickGelu", quick_gelu),
    microsoft("SkipLayerNormalization", |cx| skip_norm(cx, "layer_normalization", true)),
    microsoft("SkipSimplifiedLayerNormalization", |cx| skip_norm(cx, "rms_normalization", false)),
];

/// Gelu of the sum of the input and, if there is one, a bias.
fn gelu(cx: &mut NodeCx, approximate: &'static str) -> Converted {
    let mut x = cx.input(0)?;
    if let Some(bias) = cx.opt(1) {
        x = cx.emit("add", &[x, bias], Attrs::new())?;
    }
    cx.finish_all("gelu", &[x], Attrs::new().with("approximate", approximate))
}

/// `x * sigmoid(alpha * x)`.
fn quick_gelu(cx: &mut NodeCx) -> Converted {
    let x = cx.input(0)?;
    let alpha = f64::from(cx.float("alpha")?.unwrap_or(1.702));
    let alpha = cx.add_scalar(alpha, x)?;
    let scaled = cx.emit("mul", &[x, alpha], Attrs::new())?;
    let gate = cx.emit("sigmoid", &[scaled], Attrs::new())?;
    cx.finish_all("mul", &[x, gate], Attrs::new())
}

/// A convolution, a residual if there is a fourth input, then an activation.
fn fused_conv(cx: &mut NodeCx) -> Converted {
    let activation = cx.string("activation")?.unwrap_or_default();
    let params = cx.floats("activation_params")?.unwrap_or_default();
    let attrs = cx.attrs(op("conv")?, &["activation", "activation_params"])?;
    let inputs: Vec<ValueId> = (0..3).filter_map(|i| cx.opt(i)).collect();
    let mut y = cx.emit("conv", &inputs, attrs)?;
    if let Some(z) = cx.opt(3) {
        y = cx.emit("add", &[y, z], Attrs::new())?;
    }
    match (activation.as_str(), params.as_slice()) {
        ("", _) => cx.finish_all("identity", &[y], Attrs::new()),
        ("Relu", _) => cx.finish_all("relu", &[y], Attrs::new()),
        ("Sigmoid", _) => cx.finish_all("sigmoid", &[y], Attrs::new()),
        ("Tanh", _) => cx.finish_all("tanh", &[y], Attrs::new()),
        ("LeakyRelu", [alpha]) => cx.finish_all("leaky_relu", &[y], Attrs::new().with("alpha", *alpha)),
        ("HardSigmoid", [alpha, beta]) => {
            cx.finish_all("hard_sigmoid", &[y], Attrs::new().with("alpha", *alpha).with("beta", *beta))
        }
        ("Clip", [low, high]) => {
            let low = cx.add_scalar(f64::from(*low), y)?;
            let high = cx.add_scalar(f64::from(*high), y)?;
            cx.finish_all("clip", &[y, low, high], Attrs::new())
        }
        (other, _) => Err(OpError::unsupported(format!("activation {other} is not supported"))),
    }
}

/// `alpha * A' x B'`, each operand transposed in its last two dimensions if so asked.
fn fused_matmul(cx: &mut NodeCx) -> Converted {
    for batch in ["transBatchA", "transBatchB"] {
        if cx.int(batch)?.unwrap_or(0) != 0 {
            return Err(OpError::unsupported(format!("{batch} is not supported")));
        }
    }
    let mut operands = Vec::new();
    for (i, flag) in ["transA", "transB"].into_iter().enumerate() {
        let mut v = cx.input(i)?;
        let rank = cx.rank(i)?;
        if cx.int(flag)?.unwrap_or(0) != 0 && rank >= 2 {
            let mut perm: Vec<i64> = (0..rank as i64).collect();
            perm.swap(rank - 1, rank - 2);
            v = cx.emit("transpose", &[v], Attrs::new().with("perm", perm))?;
        }
        operands.push(v);
    }
    let alpha = cx.float("alpha")?.unwrap_or(1.0);
    if alpha == 1.0 {
        return cx.finish_all("matmul", &operands, Attrs::new());
    }
    let product = cx.emit("matmul", &operands, Attrs::new())?;
    let alpha = cx.add_scalar(f64::from(alpha), product)?;
    cx.finish_all("mul", &[product, alpha], Attrs::new())
}

/// Normalisation of the sum of input, skip and bias. Inputs: input, skip, gamma, beta (if `shifted`), bias.
fn skip_norm(cx: &mut NodeCx, name: &'static str, shifted: bool) -> Converted {
    let (x, skip, gamma) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (beta, bias) = if shifted { (cx.opt(3), cx.opt(4)) } else { (None, cx.opt(3)) };
    if cx.num_outputs() > 1 && cx.node.output.iter().skip(1).take(2).any(|n| !n.is_empty()) {
        return Err(OpError::unsupported("mean and deviation as outputs are not supported"));
    }
    let mut sum = cx.emit("add", &[x, skip], Attrs::new())?;
    if let Some(bias) = bias {
        sum = cx.emit("add", &[sum, bias], Attrs::new())?;
    }
    let epsilon = cx.float("epsilon")?.unwrap_or(1e-12);
    let attrs = Attrs::new().with("axis", -1i64).with("epsilon", epsilon);
    let inputs = [Some(sum), Some(gamma), beta].into_iter().filter(Option::is_some).collect();
    let mut out = cx.finish_with(op(name)?, inputs, attrs, 1, Vec::new())?;
    // The fourth output is the sum itself.
    out.resize(4, sum);
    Ok(out)
}
