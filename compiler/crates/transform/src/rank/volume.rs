//! `lower-volume`: windows over three dimensions are windows over images, which native code has kernels and the file format ops for.
//!
//! A volume `[N, C, D, H, W]` becomes its frames: images `[N·D, C, H, W]`. A convolution reads, for each frame of its result, a few frames
//! of its input: their channels are joined, and it is one over images with as many times the channels; where channels are in groups, it is the
//! sum of one over images for each frame of its window. Pools are taken over images first, over frames then. What is element-wise works on
//! frames, so that the views between layers meet and vanish.

use crate::fuse::pool::pooling;
use crate::pass::{Pass, PassCx};
use crate::pattern::*;
use crate::rules::{self, Rule};
use mnnc_ir::{Attrs, DType, Graph, NodeId, NodeSpec, Patch, Plan, Tensor, ValueId};
use mnnc_ops::family::conv::Axis;
use mnnc_ops::family::{conv, pool};
use std::ops::Range;

/// The pass.
pub const PASS: Pass = Pass {
    name: "lower-volume",
    doc: "turn convolutions and pools over three dimensions into those of images",
    options: &[],
    run: |g, cx| {
        rules::apply(g, RULES, cx);
        Ok(())
    },
};

const RULES: &[Rule] = &[
    Rule { name: "convolution over frames", roots: &["conv"], rewrite: convolution },
    Rule { name: "pool over frames", roots: &["max_pool", "average_pool"], rewrite: sliding },
    Rule { name: "global pool over frames", roots: &["global_average_pool", "global_max_pool"], rewrite: global },
    Rule { name: "element-wise on frames", roots: &[], rewrite: elementwise },
    Rule { name: "concat of frames", roots: &["concat"], rewrite: concat },
];

/// Between a volume and its frames, either way: batch, channels and depth.
const TURN: [i64; 5] = [0, 2, 1, 3, 4];
/// Most frames of a window: each is a slice of its own.
const MOST: usize = 16;

/// Sizes of a volume.
fn volume(g: &Graph, v: ValueId) -> Option<[usize; 5]> {
    <[usize; 5]>::try_from(dims(g, v)?).ok().filter(|d| !d.contains(&0))
}

fn turned(p: &mut Patch, v: ValueId) -> Option<ValueId> {
    p.node(NodeSpec::new(op("transpose")?, [v]).attrs(Attrs::new().with("perm", TURN.to_vec()))).ok()
}

/// The frames of a volume.
fn frames(p: &mut Patch, v: ValueId) -> Option<ValueId> {
    let [n, c, d, h, w] = volume(p.graph(), v)?;
    if let Some(x) = behind(p.graph(), v) {
        return Some(x);
    }
    let t = turned(p, v)?;
    reshaped(p, t, &[n * d, c, h, w])
}

/// The frames that `v` is the volume of.
fn behind(g: &Graph, v: ValueId) -> Option<ValueId> {
    let [n, c, d, h, w] = volume(g, v)?;
    let turn = g.producer_of(v, "transpose")?;
    let view = g.producer_of(g.node(turn).input(0)?, "reshape")?;
    let x = g.node(view).input(0)?;
    (int_list(g.node(turn), "perm")? == TURN && dims(g, x)? == [n * d, c, h, w]).then_some(x)
}

/// The volume of these frames, in place of the result of node `n`.
fn finish(mut p: Patch, n: NodeId, frames: ValueId) -> Option<Plan> {
    let y = output(p.graph(), n)?;
    let [images, c, d, h, w] = volume(p.graph(), y)?;
    if p.ty(frames).static_dims()? != [images * d, c, h, w] {
        return None;
    }
    let view = reshaped(&mut p, frames, &[images, d, c, h, w])?;
    let whole = turned(&mut p, view)?;
    p.replace(y, whole);
    Some(p.finish())
}

/// Frames that windows reach behind the last one.
fn behind_last(depth: &Axis) -> usize {
    let reach = (depth.output - 1) * depth.stride + (depth.kernel - 1) * depth.dilation;
    reach.saturating_sub(depth.begin + depth.input - 1)
}

/// The window without its first and last frames that are outside the volume for every result, and how many those first ones are.
fn without_dead(depth: Axis) -> (usize, Axis) {
    let reads = |&k: &usize| matches!(depth.outputs_of(k), (first, end) if first < end);
    let live = (0..depth.kernel).find(reads).zip((0..depth.kernel).rfind(reads));
    let narrowed = live.and_then(|(first, last)| {
        let begin = depth.begin.checked_sub(first * depth.dilation)?;
        let end = depth.end.saturating_sub((depth.kernel - 1 - last) * depth.dilation);
        Some((first, Axis { kernel: last - first + 1, begin, end, ..depth }))
    });
    narrowed.unwrap_or((0, depth))
}

/// For each frame of a window, the frames of `x` that fall on it, in the order of the results; what is outside is `fill`.
fn taps(p: &mut Patch, x: ValueId, images: usize, depth: &Axis, fill: f32) -> Option<Vec<ValueId>> {
    let &[frames, c, h, w] = &p.ty(x).static_dims().filter(|_| p.ty(x).dtype == DType::F32)?[..] else { return None };
    let (last, behind) = ((depth.output - 1) * depth.stride, behind_last(depth));
    // Frames of one volume are images as they are; those of several have a dimension of their own.
    let along = usize::from(images > 1);
    let shape = |frames: usize| if images > 1 { vec![images, frames, c * h * w] } else { vec![frames, c, h, w] };
    let mut x = reshaped(p, x, &shape(frames / images))?;
    if depth.begin + behind > 0 {
        let rank = shape(1).len();
        let mut pads = vec![0; 2 * rank];
        (pads[along], pads[rank + along]) = (depth.begin as i64, behind as i64);
        let [pads, fill] =
            [("pads", Tensor::ints(&pads)), ("fill", Tensor::scalar(fill))].map(|(n, t)| p.constant(n, t));
        x = p.node(NodeSpec::new(op("pad")?, [x, pads, fill])).ok()?;
    }
    if depth.kernel == 1 && depth.stride == 1 && last + 1 == depth.begin + depth.input + behind {
        return Some(vec![reshaped(p, x, &[images * depth.output, c, h, w])?]);
    }
    (0..depth.kernel)
        .map(|k| {
            let start = k * depth.dilation;
            let cut = cut(p, x, along, start..start + last + 1, depth.stride)?;
            reshaped(p, cut, &[images * depth.output, c, h, w])
        })
        .collect()
}

/// The attributes of a window over images.
fn window(rows: &Axis, cols: &Axis) -> Attrs {
    let both = |f: fn(&Axis) -> usize| vec![f(rows) as i64, f(cols) as i64];
    let pads = [both(|a| a.begin), both(|a| a.end)].concat();
    let attrs = Attrs::new().with("kernel_shape", both(|a| a.kernel)).with("strides", both(|a| a.stride));
    attrs.with("dilations", both(|a| a.dilation)).with("pads", pads)
}

fn convolution(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (x, w) = (node.input(0)?, node.input(1)?);
    volume(g, x)?;
    let s = conv::shape(&g.facts(n).of(node), 0, 1).ok()?;
    let [depth, rows, cols] = s.axes[..] else { return None };
    if depth.kernel > MOST || s.dims().contains(&0) {
        return None;
    }
    let attrs = window(&rows, &cols).with("group", s.groups as i64);
    let outputs = s.groups * s.outputs;
    let (dead, depth) = without_dead(depth);
    let mut p = Patch::at(g, n);
    let x = frames(&mut p, x)?;
    let taps = taps(&mut p, x, s.batch, &depth, 0.0)?;
    let conv = |p: &mut Patch, x: ValueId, w: ValueId, bias: Option<ValueId>| {
        let inputs = [Some(x), Some(w), bias].into_iter().flatten();
        p.node(NodeSpec::new(op("conv")?, inputs).attrs(attrs.clone()).named(node.name.clone())).ok()
    };
    if s.groups == 1 {
        let joined = match taps[..] {
            [one] => one,
            _ => p.node(NodeSpec::new(op("concat")?, taps).attrs(Attrs::new().with("axis", 1i64))).ok()?,
        };
        let w = if depth.kernel < dims(g, w)?[2] { cut(&mut p, w, 2, dead..dead + depth.kernel, 1)? } else { w };
        let w = turned(&mut p, w)?;
        let w = reshaped(&mut p, w, &[outputs, depth.kernel * s.inputs, rows.kernel, cols.kernel])?;
        let y = conv(&mut p, joined, w, node.input(2))?;
        return finish(p, n, y);
    }
    let mut parts = Vec::new();
    for (k, x) in taps.into_iter().enumerate() {
        let w = cut(&mut p, w, 2, dead + k..dead + k + 1, 1)?;
        let w = reshaped(&mut p, w, &[outputs, s.inputs, rows.kernel, cols.kernel])?;
        parts.push(conv(&mut p, x, w, node.input(2).filter(|_| k == 0))?);
    }
    let sum = combined(&mut p, "add", parts)?;
    finish(p, n, sum)
}

/// Every `step`-th index of a range of a dimension.
fn cut(p: &mut Patch, v: ValueId, axis: usize, range: Range<usize>, step: usize) -> Option<ValueId> {
    let [start, end, axis, step] =
        [range.start, range.end, axis, step].map(|i| p.constant("range", Tensor::ints(&[i as i64])));
    p.node(NodeSpec::new(op("slice")?, [v, start, end, axis, step])).ok()
}

/// The greatest, or the sum, of values of one shape.
fn combined(p: &mut Patch, name: &str, values: Vec<ValueId>) -> Option<ValueId> {
    let mut values = values.into_iter();
    let first = values.next()?;
    values.try_fold(first, |a, b| p.node(NodeSpec::new(op(name)?, [a, b])).ok())
}

/// The greatest, or the mean, of a window is that of those of its frames.
fn sliding(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let x = node.input(0)?;
    let [images, ..] = volume(g, x)?;
    output(g, n)?;
    let axes = pool::axes(&g.facts(n).of(node)).ok()?;
    let [depth, rows, cols] = axes[..] else { return None };
    let max = node.op.name == "max_pool";
    let mut attrs = window(&rows, &cols).with("ceil_mode", flag(node, "ceil_mode")?);
    let padded = depth.begin + behind_last(&depth) > 0;
    if !max {
        attrs.set("count_include_pad", flag(node, "count_include_pad")?);
    }
    // Means over what is there only would have divisors of their own at both ends.
    if depth.kernel > MOST || (padded && !max) {
        return None;
    }
    let mut p = Patch::at(g, n);
    let x = frames(&mut p, x)?;
    let pooled = p.node(NodeSpec::new(node.op, [x]).attrs(attrs).named(node.name.clone())).ok()?;
    let taps = taps(&mut p, pooled, images, &depth, f32::NEG_INFINITY)?;
    let mut y = combined(&mut p, if max { "max" } else { "add" }, taps)?;
    if !max && depth.kernel > 1 {
        let share = p.constant("share", Tensor::scalar(1.0 / depth.kernel as f32));
        y = p.node(NodeSpec::new(op("mul")?, [y, share])).ok()?;
    }
    finish(p, n, y)
}

fn global(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (x, y) = (node.input(0)?, output(g, n)?);
    let [images, c, d, ..] = volume(g, x)?;
    let frames = behind(g, x)?;
    let reduce = ["reduce_mean", "reduce_max"].into_iter().find(|r| pooling(r) == Some(node.op.name))?;
    let mut p = Patch::at(g, n);
    let pooled = p.node(NodeSpec::new(node.op, [frames]).named(node.name.clone())).ok()?;
    let rows = reshaped(&mut p, pooled, &[images, d, c])?;
    let axes = p.constant("axes", Tensor::ints(&[1]));
    let all = p.node(NodeSpec::new(op(reduce)?, [rows, axes])).ok()?;
    let back = reshaped(&mut p, all, &dims(g, y)?)?;
    p.replace(y, back);
    Some(p.finish())
}

/// f(volume(x), y) = volume(f(x, frames of y))
fn elementwise(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    if !g.is_elementwise(n) || !node.regions.is_empty() {
        return None;
    }
    let whole = volume(g, output(g, n)?)?;
    let from_frames = |&&v: &&ValueId| volume(g, v) == Some(whole) && behind(g, v).is_some();
    node.inputs().iter().flatten().find(from_frames)?;
    let mut p = Patch::at(g, n);
    let inputs = operands(&mut p, n, |p, v| operand(p, v, whole))?;
    let spec = NodeSpec { inputs, ..NodeSpec::new(node.op, []).attrs(node.attrs.clone()).named(node.name.clone()) };
    let z = p.node(spec).ok()?;
    finish(p, n, z)
}

/// An operand of an element-wise op on volumes, for their frames.
fn operand(p: &mut Patch, v: ValueId, whole: [usize; 5]) -> Option<ValueId> {
    match dims(p.graph(), v)?[..] {
        [] | [_] => Some(v),
        [c, 1, 1, 1] | [1, c, 1, 1, 1] => reshaped(p, v, &[c, 1, 1]),
        [n, c, d, h, w] if [n, c, d, h, w] == whole => frames(p, v),
        _ => None,
    }
}

/// concat(volume(x), y) = volume(concat(x, frames of y)) along channels
fn concat(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    volume(g, output(g, n)?)?;
    if axis(int(node, "axis")?, 5)? != 1 {
        return None;
    }
    node.inputs().iter().flatten().find(|&&v| behind(g, v).is_some())?;
    let mut p = Patch::at(g, n);
    let inputs = operands(&mut p, n, frames)?;
    let attrs = Attrs::new().with("axis", 1i64);
    let z = p.node(NodeSpec { inputs, ..NodeSpec::new(node.op, []).attrs(attrs).named(node.name.clone()) }).ok()?;
    finish(p, n, z)
}
