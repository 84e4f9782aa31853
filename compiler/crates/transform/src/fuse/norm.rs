//! `fuse-norm`: normalisations and softmax that were spelt out.

use crate::pass::{Pass, PassCx};
use crate::pattern::*;
use crate::rules::{self, Rule};
use mnnc_ir::{Attrs, DType, Graph, NodeId, NodeSpec, Patch, Plan, Tensor, ValueId};

/// The pass.
pub const PASS: Pass = Pass {
    name: "fuse-norm",
    doc: "recover layer, RMS and instance normalisation and softmax",
    options: &[],
    run: |g, cx| {
        rules::apply(g, RULES, cx);
        Ok(())
    },
};

const RULES: &[Rule] = &[
    Rule { name: "normalisation", roots: &["div", "mul"], rewrite: normalisation },
    Rule { name: "rms normalisation", roots: &["div", "mul"], rewrite: rms },
    Rule { name: "norm scale", roots: &["mul"], rewrite: norm_scale },
    Rule { name: "norm bias", roots: &["add"], rewrite: norm_bias },
    Rule { name: "softmax", roots: &["div"], rewrite: softmax },
    Rule { name: "log softmax", roots: &["log"], rewrite: log_softmax },
];

/// `d / √(v + ε)` in its spellings: returns d, v and ε.
fn divided_by_root(g: &Graph, n: NodeId) -> Option<(ValueId, ValueId, f32)> {
    let node = g.node(n);
    let [(a, b), (c, d)] = either(g, n)?;
    let (numerator, sum) = if node.op.name == "div" {
        (a, root(g, b)?)
    } else {
        [(a, b), (c, d)].into_iter().find_map(|(x, inverse)| Some((x, inverse_root(g, inverse)?)))?
    };
    let add = g.producer_of(sum, "add")?;
    let (variance, epsilon) = either(g, add)?.into_iter().find_map(|(v, e)| Some((v, scalar(g, e)?)))?;
    (0.0..1.0).contains(&epsilon).then_some((numerator, variance, epsilon as f32))
}

/// s for √s.
fn root(g: &Graph, v: ValueId) -> Option<ValueId> {
    let n = g.producer(v)?;
    let x = g.node(n).input(0)?;
    match g.node(n).op.name {
        "sqrt" => Some(x),
        "pow" if scalar(g, g.node(n).input(1)?) == Some(0.5) => Some(x),
        _ => None,
    }
}

/// s for 1/√s.
fn inverse_root(g: &Graph, v: ValueId) -> Option<ValueId> {
    let n = g.producer(v)?;
    let x = g.node(n).input(0)?;
    match g.node(n).op.name {
        "reciprocal" => root(g, x),
        "div" if is_all(g, x, 1.0) => root(g, g.node(n).input(1)?),
        "pow" if scalar(g, g.node(n).input(1)?) == Some(-0.5) => Some(x),
        _ => None,
    }
}

/// d for d².
fn squared(g: &Graph, v: ValueId) -> Option<ValueId> {
    let n = g.producer(v)?;
    let (a, b) = (g.node(n).input(0)?, g.node(n).input(1)?);
    match g.node(n).op.name {
        "mul" if a == b => Some(a),
        "pow" if scalar(g, b) == Some(2.0) => Some(a),
        _ => None,
    }
}

/// x and the dimensions, for a mean of x that keeps its dimensions.
fn mean(g: &Graph, v: ValueId) -> Option<(ValueId, Vec<usize>)> {
    let n = g.producer_of(v, "reduce_mean")?;
    let (axes, keep) = reduced(g, n)?;
    keep.then_some((g.node(n).input(0)?, axes))
}

/// A normalisation of `x` over dimensions, without scale and bias.
fn emit_norm(g: &Graph, n: NodeId, name: &str, x: ValueId, axes: &[usize], epsilon: f32) -> Option<Plan> {
    let dims = g.ty(x).dims.clone();
    let known = |d: &mnnc_ir::Dim| d.known().and_then(|k| usize::try_from(k).ok());
    let ones = |dims: Vec<usize>, x: f32| {
        let len = dims.iter().product();
        Tensor::new(dims, vec![x; len])
    };
    if g.ty(x).dtype != DType::F32 || axes.is_empty() {
        return None;
    }
    let mut p = Patch::at(g, n);
    let trailing = axes.iter().copied().eq(dims.len() - axes.len()..dims.len());
    let instance = name == "layer_normalization" && dims.len() > 3 && axes.iter().copied().eq(2..dims.len());
    // Over the plane of an image both norms would do; what scales it there is one number a channel.
    let spec = if instance {
        let channels = known(&dims[1])?;
        let scale = p.constant("scale", ones(vec![channels], 1.0));
        let bias = p.constant("bias", ones(vec![channels], 0.0));
        NodeSpec::new(op("instance_normalization")?, [x, scale, bias]).attrs(Attrs::new().with("epsilon", epsilon))
    } else if trailing {
        let shape: Vec<usize> = axes.iter().map(|&a| known(&dims[a])).collect::<Option<_>>()?;
        let scale = p.constant("scale", ones(shape, 1.0));
        let first = axes[0] as i64 - dims.len() as i64;
        NodeSpec::new(op(name)?, [x, scale]).attrs(Attrs::new().with("epsilon", epsilon).with("axis", first))
    } else {
        return None;
    };
    let y = p.node(spec).ok()?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}

/// (x - mean x) / √(mean (x - mean x)² + ε)
fn normalisation(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let (d, variance, epsilon) = divided_by_root(g, n)?;
    let (squares, axes) = mean(g, variance)?;
    // The difference may have been computed twice.
    let difference = |v: ValueId| -> Option<ValueId> {
        let sub = g.producer_of(v, "sub")?;
        let (x, m) = (g.node(sub).input(0)?, g.node(sub).input(1)?);
        (mean(g, m)? == (x, axes.clone())).then_some(x)
    };
    let x = difference(d)?;
    (difference(squared(g, squares)?)? == x).then(|| emit_norm(g, n, "layer_normalization", x, &axes, epsilon))?
}

/// x / √(mean x² + ε)
fn rms(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let (x, squares, epsilon) = divided_by_root(g, n)?;
    let (squares, axes) = mean(g, squares)?;
    (squared(g, squares)? == x).then(|| emit_norm(g, n, "rms_normalization", x, &axes, epsilon))?
}

/// A constant seen as the scale or bias of a norm: spread to the shape of its scale.
fn norm_operand(g: &Graph, norm: NodeId, v: ValueId) -> Option<Tensor> {
    let c = g.constant(v).filter(|c| c.dtype() == DType::F32)?;
    let shape = dims(g, g.node(norm).input(1)?)?;
    let rank = g.ty(g.node(norm).outputs()[0]).rank();
    if c.len() == 1 {
        let len = shape.iter().product();
        return Some(Tensor::new(shape, vec![c.view::<f32>()[0]; len]));
    }
    // Ones in front say nothing; an instance norm's constant stands along dimension 1.
    let mut full = vec![1; rank.checked_sub(c.dims().len())?];
    full.extend(c.dims());
    let mut want = vec![1; rank];
    if g.node(norm).op.name == "instance_normalization" {
        want[1] = *shape.first()?;
    } else {
        want[rank - shape.len()..].copy_from_slice(&shape);
    }
    (full == want).then(|| c.reshaped(shape))?
}

/// The norm behind `v` and the constant beside it.
fn norm_and_constant(g: &Graph, n: NodeId) -> Option<(NodeId, Tensor)> {
    const NORMS: &[&str] = &["layer_normalization", "rms_normalization", "instance_normalization"];
    either(g, n)?.into_iter().find_map(|(v, c)| {
        let norm = NORMS.iter().find_map(|name| sole(g, v, name))?;
        Some((norm, norm_operand(g, norm, c)?))
    })
}

fn with_params(g: &Graph, n: NodeId, norm: NodeId, scale: Option<Tensor>, bias: Option<Tensor>) -> Option<Plan> {
    let node = g.node(norm);
    let mut p = Patch::at(g, norm);
    let scale = scale.map_or(node.input(1), |t| Some(p.constant(&format!("{}.scale", node.name), t)))?;
    let mut inputs = vec![node.input(0)?, scale];
    inputs.extend(bias.map(|t| p.constant(&format!("{}.bias", node.name), t)));
    let y = p.node(NodeSpec::new(node.op, inputs).attrs(node.attrs.clone())).ok()?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}

fn product(a: &Tensor, b: &Tensor) -> Option<Tensor> {
    let v: Vec<f32> = a.view::<f32>().iter().zip(b.view::<f32>().iter()).map(|(x, y)| x * y).collect();
    (a.dims() == b.dims()).then(|| Tensor::new(a.dims().to_vec(), v))
}

/// (norm(x)·γ + β)·c = norm(x)·(γ·c) + β·c
fn norm_scale(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let (norm, c) = norm_and_constant(g, n)?;
    let node = g.node(norm);
    let scale = product(g.constant(node.input(1)?)?, &c)?;
    let bias = match node.input(2) {
        Some(b) => Some(product(g.constant(b)?, &c)?),
        None => None,
    };
    with_params(g, n, norm, Some(scale), bias)
}

/// (norm(x)·γ + β) + c = norm(x)·γ + (β + c)
fn norm_bias(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let (norm, c) = norm_and_constant(g, n)?;
    if g.node(norm).op.name == "rms_normalization" {
        return None;
    }
    let sum = match g.node(norm).input(2) {
        None => c,
        Some(b) => {
            let b = g.constant(b).filter(|b| b.dims() == c.dims())?;
            let v = b.view::<f32>().iter().zip(c.view::<f32>().iter()).map(|(x, y)| x + y).collect::<Vec<f32>>();
            Tensor::new(c.dims().to_vec(), v)
        }
    };
    with_params(g, n, norm, None, Some(sum))
}

/// exp(x - max x) / Σ exp(x - max x) = softmax(x), and so without the maximum
fn softmax(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (e, s) = (node.input(0)?, g.producer_of(node.input(1)?, "reduce_sum")?);
    let (axes, keep) = reduced(g, s)?;
    let exp = g.node(g.producer_of(e, "exp")?);
    if g.node(s).input(0)? != e || !keep || axes.len() != 1 {
        return None;
    }
    let x = exp.input(0)?;
    let shifted = g.producer_of(x, "sub").and_then(|sub| {
        let (source, m) = (g.node(sub).input(0)?, g.producer_of(g.node(sub).input(1)?, "reduce_max")?);
        (g.node(m).input(0)? == source && reduced(g, m)? == (axes.clone(), true)).then_some(source)
    });
    replace_by(g, n, "softmax", [shifted.unwrap_or(x)], Attrs::new().with("axis", axes[0] as i64))
}

/// log(softmax(x)) = log_softmax(x)
fn log_softmax(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let softmax = g.node(sole(g, g.node(n).input(0)?, "softmax")?);
    replace_by(g, n, "log_softmax", [softmax.input(0)?], softmax.attrs.clone())
}
