//! `fuse-conv`: affine maps around convolutions and matrix products go into their weights.

use super::affine::{Affine, affine};
use crate::pass::{Pass, PassCx, PassOption};
use crate::pattern::{int, int_list, op, output, sole};
use crate::quant::weight::{compressed, scaled};
use crate::rules::{self, Rule};
use mnnc_ir::{DType, Graph, NodeId, NodeSpec, Patch, Plan, Tensor, ValueId};

/// The pass.
pub const PASS: Pass = Pass {
    name: "fuse-conv",
    doc: "fold batch normalisation, bias, and products with constants into convolutions, gemm and matmul",
    options: &[PassOption {
        name: "max-sharers",
        default: 4,
        doc: "weights that more nodes share are not copied into each of them",
    }],
    run: |g, cx| {
        rules::apply(g, RULES, cx);
        Ok(())
    },
};

const MAPS: &[&str] = &["batch_normalization", "add", "sub", "mul", "div"];

const RULES: &[Rule] = &[
    Rule { name: "affine behind conv", roots: MAPS, rewrite: behind_conv },
    Rule { name: "affine before conv", roots: &["conv"], rewrite: before_conv },
    Rule { name: "affine behind gemm", roots: MAPS, rewrite: behind_gemm },
    Rule { name: "matmul+bias to gemm", roots: &["add"], rewrite: bias_to_gemm },
    Rule { name: "scale into matmul", roots: &["mul", "div"], rewrite: scale_into_matmul },
];

/// The weights of a node, constant or compressed, if they may be copied.
fn weights(g: &Graph, n: NodeId, cx: &PassCx) -> Option<ValueId> {
    let v = g.node(n).input(1)?;
    let fixed = g.constant(v).is_some() || compressed(g, v).is_some();
    (fixed && g.use_count(v) <= cx.size("max-sharers")).then_some(v)
}

/// The same, if they are numbers in f32.
fn numbers(g: &Graph, n: NodeId, cx: &PassCx) -> Option<Tensor> {
    let v = weights(g, n, cx)?;
    g.constant(v).filter(|t| t.dtype() == DType::F32 && g.ty(v).quant.is_none()).cloned()
}

/// The constant bias of a node in f64; zeros if it has none. `None` if it is computed.
fn bias(g: &Graph, n: NodeId, len: usize) -> Option<Vec<f64>> {
    match g.node(n).input(2) {
        None => Some(vec![0.0; len]),
        Some(v) => g.constant(v).filter(|t| t.dims() == [len]).map(Tensor::to_f64s),
    }
}

fn f32s(values: Vec<f64>) -> Option<Tensor> {
    let v: Vec<f32> = values.iter().map(|&x| x as f32).collect();
    v.iter().all(|x| x.is_finite()).then(|| Tensor::new(vec![v.len()], v))
}

/// Multiplies element `i` of `t` by `factor(i)`; nothing if that overflows.
fn multiplied(t: &Tensor, factor: impl Fn(usize) -> f64) -> Option<Tensor> {
    let v: Vec<f32> = t.view::<f32>().iter().enumerate().map(|(i, &x)| (f64::from(x) * factor(i)) as f32).collect();
    v.iter().all(|x| x.is_finite()).then(|| Tensor::new(t.dims().to_vec(), v))
}

/// A name for operand `i` of a copy of a node: that of the operand.
fn name(g: &Graph, n: NodeId, i: usize, hint: &str) -> String {
    g.node(n).input(i).map_or_else(|| format!("{}.{hint}", g.node(n).name), |v| g.value(v).name.clone())
}

/// A copy of `n` on other operands, its result standing for the result of `old`.
fn rebuilt(mut p: Patch, n: NodeId, old: NodeId, x: ValueId, w: ValueId, b: Option<Tensor>) -> Option<Plan> {
    let g = p.graph();
    let node = g.node(n);
    let mut inputs = vec![x, w];
    if let Some(b) = b {
        inputs.push(p.constant(&name(g, n, 2, "bias"), b));
    }
    let spec = NodeSpec::new(node.op, inputs).attrs(node.attrs.clone()).named(node.name.clone());
    let y = p.node(spec).ok()?;
    p.replace(output(g, old)?, y);
    Some(p.finish())
}

/// s·(w∗x + b) + t = (s·w)∗x + (s·b + t)
fn behind_conv(g: &Graph, n: NodeId, cx: &PassCx) -> Option<Plan> {
    let Affine { x, scale, shift } = affine(g, n, 1)?;
    let conv = sole(g, x, "conv").or_else(|| sole(g, x, "conv_transpose"))?;
    let node = g.node(conv);
    let w = weights(g, conv, cx)?;
    let b = bias(g, conv, scale.len())?;
    let b = f32s(b.iter().zip(&scale).zip(&shift).map(|((b, s), t)| b * s + t).collect())?;
    let mut p = Patch::at(g, conv);
    let hint = name(g, conv, 1, "weight");
    let groups = usize::try_from(int(node, "group")?).ok().filter(|&k| k > 0)?;
    let w = if node.op.name == "conv" {
        // [out][in / group][kernel…]
        scaled(g, &mut p, w, 0, &scale, &hint)?
    } else if groups == 1 || scale.iter().all(|&s| s == 1.0) {
        // [in][out][kernel…]
        scaled(g, &mut p, w, 1, &scale, &hint)?
    } else {
        // [in][out / group][kernel…]: output channel = group · (out / group) + position.
        let w = numbers(g, conv, cx)?;
        let (ins, per_group) = (*w.dims().first()?, *w.dims().get(1)?);
        let area = w.dims()[2..].iter().product::<usize>().max(1);
        let channel = |i: usize| (i / (area * per_group)) / (ins / groups).max(1) * per_group + (i / area) % per_group;
        p.constant(&hint, multiplied(&w, |i| scale[channel(i)])?)
    };
    rebuilt(p, conv, n, node.input(0)?, w, Some(b))
}

/// w∗(s·x + t) + b = (w·s)∗x + (b + Σ w·t), where no padding adds zeros in place of t
fn before_conv(g: &Graph, n: NodeId, cx: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let x = node.input(0)?;
    let map = g.producer(x).filter(|&p| g.use_count(x) == 1 && MAPS.contains(&g.node(p).op.name))?;
    let Affine { x, scale, shift } = affine(g, map, 1)?;
    let explicit = matches!(crate::pattern::string(node, "auto_pad").as_deref(), None | Some("NOTSET" | "VALID" | ""));
    let padded = !explicit || int_list(node, "pads").is_some_and(|p| p.iter().any(|&p| p != 0));
    if padded && shift.iter().any(|&t| t != 0.0) {
        return None;
    }
    let w = numbers(g, n, cx)?;
    let &[outs, per_group, ..] = w.dims() else { return None };
    let groups = usize::try_from(int(node, "group")?).ok().filter(|&k| k > 0)?;
    let area = w.dims()[2..].iter().product::<usize>().max(1);
    let channel = |i: usize| {
        let (o, k) = (i / (area * per_group), (i / area) % per_group);
        o / (outs / groups).max(1) * per_group + k
    };
    if per_group * groups != scale.len() || outs % groups != 0 {
        return None;
    }
    let mut b = bias(g, n, outs)?;
    for (i, &e) in w.view::<f32>().iter().enumerate() {
        b[i / (area * per_group)] += f64::from(e) * shift[channel(i)];
    }
    let mut p = Patch::at(g, n);
    let w = p.constant(&name(g, n, 1, "weight"), multiplied(&w, |i| scale[channel(i)])?);
    rebuilt(p, n, n, x, w, Some(f32s(b)?))
}

/// s·(x·W + c) + t = x·(W·s) + (s·c + t)
fn behind_gemm(g: &Graph, n: NodeId, cx: &PassCx) -> Option<Plan> {
    let Affine { x, scale, shift } = affine(g, n, 1)?;
    let gemm = sole(g, x, "gemm")?;
    let node = g.node(gemm);
    let beta = f64::from(crate::pattern::float(node, "beta")?);
    let w = weights(g, gemm, cx)?;
    // A bias that broadcasts otherwise than along the columns stays as it is.
    let c = match node.input(2) {
        None => vec![0.0; scale.len()],
        Some(v) => {
            let t = g.constant(v)?;
            let row = matches!(t.dims(), [k] | [1, k] if *k == scale.len());
            row.then(|| t.to_f64s().iter().map(|c| c * beta).collect())?
        }
    };
    let c: Vec<f64> = c.iter().zip(&scale).zip(&shift).map(|((c, s), t)| c * s + t).collect();
    let &[rows, columns] = crate::pattern::dims(g, w)?.as_slice() else { return None };
    let along = match crate::pattern::flag(node, "transB")? {
        true if rows == scale.len() => 0,
        false if columns == scale.len() => 1,
        _ => return None,
    };
    let mut p = Patch::at(g, gemm);
    let inputs = [
        node.input(0)?,
        scaled(g, &mut p, w, along, &scale, &format!("{}.weight", node.name))?,
        p.constant(&format!("{}.bias", node.name), f32s(c)?),
    ];
    let mut attrs = node.attrs.clone();
    attrs.remove("beta");
    let y = p.node(NodeSpec::new(node.op, inputs).attrs(attrs).named(node.name.clone())).ok()?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}

/// a·b + c = gemm(a, b, c) for matrices
fn bias_to_gemm(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let [(a, b), (c, d)] = crate::pattern::either(g, n)?;
    let (product, c) = [(a, b), (c, d)].into_iter().find_map(|(p, c)| Some((sole(g, p, "matmul")?, c)))?;
    let node = g.node(product);
    let (a, b) = (node.input(0)?, node.input(1)?);
    let y = output(g, n)?;
    // gemm broadcasts c to the result, never the product to c.
    let matrices = g.ty(a).rank() == 2 && g.ty(b).rank() == 2 && g.ty(node.outputs()[0]).dims == g.ty(y).dims;
    let row = g.ty(c).rank() <= 1 || g.constant(c).is_some();
    let mut p = Patch::at(g, product);
    let gemm = p.node(NodeSpec::new(op("gemm")?, [a, b, c]).named(node.name.clone())).ok()?;
    p.replace(y, gemm);
    (matrices && row).then(|| p.finish())
}

/// (x·W)·s = x·(W·s)
fn scale_into_matmul(g: &Graph, n: NodeId, cx: &PassCx) -> Option<Plan> {
    let rank = g.ty(output(g, n)?).rank();
    let Affine { x, scale, shift } = affine(g, n, rank.checked_sub(1)?)?;
    let product = sole(g, x, "matmul")?;
    let w = weights(g, product, cx)?;
    let matrix = crate::pattern::dims(g, w)?;
    let plain = matrix.len() == 2 && matrix[1] == scale.len() && shift.iter().all(|&t| t == 0.0);
    let mut p = Patch::at(g, product);
    let w = plain.then(|| scaled(g, &mut p, w, 1, &scale, &name(g, product, 1, "weight")))??;
    rebuilt(p, product, n, g.node(product).input(0)?, w, None)
}
