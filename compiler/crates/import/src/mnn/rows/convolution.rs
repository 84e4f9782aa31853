//! Convolutions and transposed convolutions.

use crate::mnn::common::{Pads, at_least, pads, window};
use crate::mnn::op::{OpCx, Rows, lacks};
use crate::mnn::table::{Row, row};
use mnnc_ir::{Attrs, OpError, ValueId};
use mnnc_schema::mnn::{Convolution2DCommon, OpType, PadMode};

pub(super) static ROWS: &[Row] = &[
    row(OpType::Convolution, |cx| convolution(cx, false)),
    row(OpType::ConvolutionDepthwise, |cx| convolution(cx, true)),
    row(OpType::Deconvolution, |cx| deconvolution(cx, false)),
    row(OpType::DeconvolutionDepthwise, |cx| deconvolution(cx, true)),
    row(OpType::Convolution3D, |cx| convolution_3d(cx, false)),
    row(OpType::ConvTranspose3D, |cx| convolution_3d(cx, true)),
    row(OpType::InnerProduct, inner_product),
];

/// Weight and bias, from the op or from its inputs.
struct Operands {
    x: ValueId,
    w: ValueId,
    b: Option<ValueId>,
    group: i64,
}

/// Channels of the image that input 0 is.
fn channels(cx: &OpCx, x: ValueId) -> Result<i64, OpError> {
    let dims = &cx.ty(x).dims;
    if dims.len() != 4 {
        return Err(OpError::unsupported(format!("the input has rank {}; images have rank 4", dims.len())));
    }
    match dims.get(1).and_then(|d| d.known()).and_then(|c| i64::try_from(c).ok()) {
        Some(c) => Ok(c),
        None => Err(OpError::unsupported("the number of channels is open; fix shapes with --shape NAME=1x3x224x224")),
    }
}

fn sizes(list: [i64; 4]) -> Result<[usize; 4], OpError> {
    let size = |n: i64| usize::try_from(n).map_err(|_| OpError::invalid(format!("the weight has a size of {n}")));
    Ok([size(list[0])?, size(list[1])?, size(list[2])?, size(list[3])?])
}

/// The operands; `transposed` weights have input channels first.
fn operands(cx: &mut OpCx, depthwise: bool, transposed: bool) -> Result<Operands, OpError> {
    let (conv, c) = cx.convolution()?;
    let x = cx.image(0)?;
    let inputs = channels(cx, x)?;
    let shape_operands = usize::from(c.has_output_shape());
    if cx.num_inputs() > 1 + shape_operands {
        let w = cx.input(1)?;
        let b = if cx.num_inputs() > 2 + shape_operands { Some(cx.input(2)?) } else { None };
        let group = if depthwise { inputs } else { i64::from(c.group().max(1)) };
        let w = match (depthwise, cx.rank(w)) {
            (true, 4) if !transposed => depthwise_input(cx, w, inputs)?,
            _ => w,
        };
        let b = match b {
            Some(b) if cx.rank(b) != 1 => Some(cx.reshape(b, &[-1])?),
            b => b,
        };
        return Ok(Operands { x, w, b, group });
    }
    let win = window(&c)?;
    let outputs = at_least(c.output_count(), 1, "outputCount")?;
    let group = match (depthwise, i64::from(c.group())) {
        (true, _) => inputs,
        (false, g) if g > 1 => g,
        // Old files leave it out; the input has as many channels as there are weights for.
        (false, _) => 1,
    };
    if inputs % group != 0 || outputs % group != 0 {
        return Err(OpError::invalid(format!("{inputs} and {outputs} channels do not divide into {group} groups")));
    }
    let (first, second) = if transposed { (inputs, outputs / group) } else { (outputs, inputs / group) };
    let dims = sizes([first, second, win.kernel[0], win.kernel[1]])?;
    let w = cx.weight(&conv, &dims)?.ok_or_else(|| {
        OpError::invalid(format!(
            "the op has no weight of shape {dims:?}; weights beside the model lie in MODEL.weight"
        ))
    })?;
    let channels = usize::try_from(outputs).unwrap_or(0);
    let b = match depthwise && !transposed {
        true => cx.bias_of_depthwise(&conv, channels, dims.iter().product())?,
        false => cx.bias(&conv, channels)?,
    };
    Ok(Operands { x, w, b, group })
}

/// A depthwise weight as an operand, `[1, c, kh, kw]` or `[c, 1, kh, kw]`, channels first.
fn depthwise_input(cx: &mut OpCx, w: ValueId, channels: i64) -> Result<ValueId, OpError> {
    let dims: Vec<Option<u64>> = cx.ty(w).dims.iter().map(|d| d.known()).collect();
    match dims.as_slice() {
        [_, Some(1), ..] => Ok(w),
        &[Some(1), _, Some(h), Some(k)] => cx.reshape(w, &[channels, 1, h as i64, k as i64]),
        _ => Err(OpError::invalid("a depthwise weight has several input channels")),
    }
}

fn convolution(cx: &mut OpCx, depthwise: bool) -> Rows {
    let (_, c) = cx.convolution()?;
    let o = operands(cx, depthwise, false)?;
    let mut attrs = match cx.num_inputs() {
        1 => window(&c)?.attrs(),
        // Of a weight that is an operand, the kernel is its own.
        _ => {
            let mut attrs = window(&c)?.attrs();
            attrs.remove("kernel_shape");
            attrs
        }
    };
    attrs.set("group", o.group);
    pads(&c)?.put(&mut attrs);
    let inputs: Vec<ValueId> = [Some(o.x), Some(o.w), o.b].into_iter().flatten().collect();
    let y = cx.emit("conv", &inputs, attrs)?;
    finish(cx, y, &c)
}

fn finish(cx: &mut OpCx, y: ValueId, c: &Convolution2DCommon) -> Rows {
    let y = cx.activated(y, c.relu(), c.relu6())?;
    Ok(vec![cx.image_out(y)?])
}

fn deconvolution(cx: &mut OpCx, depthwise: bool) -> Rows {
    let (_, c) = cx.convolution()?;
    let o = operands(cx, depthwise, true)?;
    let win = window(&c)?;
    let mut attrs = win.attrs().with("group", o.group);
    let given: Option<Vec<i64>> = match c.has_output_shape() {
        // The last input: batch, height, width, channels.
        true => {
            let shape = cx.const_ints(cx.num_inputs() - 1, "the output's shape")?;
            Some(
                shape
                    .get(1..3)
                    .ok_or_else(|| OpError::invalid("the output's shape has fewer than 3 entries"))?
                    .to_vec(),
            )
        }
        false => None,
    };
    let given = given.filter(|g| g.iter().all(|&n| n > 0));
    match (given, pads(&c)?) {
        (None, p @ Pads::Explicit(_)) => {
            p.put(&mut attrs);
            let extra: Vec<i64> = c.out_pads().into_iter().flatten().map(i64::from).collect();
            match extra.as_slice() {
                [] => {}
                [h, w, ..] => attrs.set("output_padding", vec![*h, *w]),
                _ => return Err(OpError::invalid("outPads has one entry, not 2")),
            }
        }
        (given, p) => {
            let from = image_size(cx, o.x)?;
            let same = matches!(p, Pads::Auto("SAME_UPPER"));
            let to = match given {
                Some(to) => [to[0], to[1]],
                None if same => [from[0] * win.stride[0], from[1] * win.stride[1]],
                None => [0, 1].map(|i| (from[i] - 1) * win.stride[i] + win.extent(i)),
            };
            transposed_pads(&win, from, to, &p, &mut attrs);
        }
    }
    let inputs: Vec<ValueId> = [Some(o.x), Some(o.w), o.b].into_iter().flatten().collect();
    let y = cx.emit("conv_transpose", &inputs, attrs)?;
    finish(cx, y, &c)
}

fn image_size(cx: &OpCx, x: ValueId) -> Result<[i64; 2], OpError> {
    let known: Vec<i64> =
        cx.ty(x).dims.iter().skip(2).filter_map(|d| d.known()).filter_map(|d| i64::try_from(d).ok()).collect();
    <[i64; 2]>::try_from(known)
        .map_err(|_| OpError::unsupported("the size of the image is open; fix shapes with --shape NAME=1x3x224x224"))
}

/// Pads that give an output of size `to`: what is too much goes off in front by half, rounded down, or by the explicit pads.
fn transposed_pads(win: &crate::mnn::common::Window, from: [i64; 2], to: [i64; 2], p: &Pads, attrs: &mut Attrs) {
    let (mut front, mut back, mut extra) = ([0; 2], [0; 2], [0; 2]);
    for i in 0..2 {
        let total = (from[i] - 1) * win.stride[i] + win.extent(i) - to[i];
        front[i] = match p {
            Pads::Explicit(pads) => pads[i],
            Pads::Auto("VALID") => 0,
            Pads::Auto(_) => (total / 2).max(0),
        };
        back[i] = (total - front[i]).max(0);
        extra[i] = (front[i] - total).max(0);
    }
    attrs.set("pads", vec![front[0], front[1], back[0], back[1]]);
    if extra != [0; 2] {
        attrs.set("output_padding", extra.to_vec());
    }
}

/// Caffe's product: `[n, k]` times `[outputs, k]` transposed.
fn inner_product(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_inner_product().ok_or_else(|| lacks("InnerProduct"))?;
    if p.quan_parameter().is_some() && p.weight().is_none_or(|w| w.is_empty()) {
        return Err(OpError::unsupported("coded weights of InnerProduct are not supported"));
    }
    let x = cx.input(0)?;
    let x = if cx.rank(x) == 2 { x } else { cx.aside("flatten", &[x], Attrs::new().with("axis", 1i64))? };
    let outputs = usize::try_from(p.output_count()).ok().filter(|&n| n > 0);
    let outputs = outputs.ok_or_else(|| OpError::invalid(format!("outputCount is {}", p.output_count())))?;
    let n = p.weight().map_or(0, |w| w.len());
    let dims = if p.transpose() { [n / outputs, outputs] } else { [outputs, n / outputs] };
    let w = cx.imp.floats(p.weight(), &dims, "the weight")?.ok_or_else(|| lacks("InnerProduct.weight"))?;
    let w = cx.constant(w);
    let b = match p.bias_term() {
        0 => None,
        _ => cx.imp.floats(p.bias(), &[outputs], "the bias")?.map(|b| cx.constant(b)),
    };
    let attrs = Attrs::new().with("transB", !p.transpose());
    let inputs: Vec<ValueId> = [Some(x), Some(w), b].into_iter().flatten().collect();
    Ok(vec![cx.emit("gemm", &inputs, attrs)?])
}

/// A convolution over volumes, with a float weight.
fn convolution_3d(cx: &mut OpCx, transposed: bool) -> Rows {
    let conv = cx.op.main_as_convolution3_d().ok_or_else(|| lacks("Convolution3D"))?;
    let c = conv.common().ok_or_else(|| lacks("Convolution3D.common"))?;
    let x = cx.image(0)?;
    let inputs = cx.ty(x).dims.get(1).and_then(|d| d.known()).and_then(|n| i64::try_from(n).ok());
    let inputs = inputs.filter(|_| cx.rank(x) == 5).ok_or_else(|| {
        OpError::unsupported(format!("the input has rank {} or open channels; volumes have rank 5", cx.rank(x)))
    })?;
    let three = |v: Option<flatbuffers::Vector<'_, i32>>, what: &str| -> Result<Vec<i64>, OpError> {
        let list: Vec<i64> = v.into_iter().flatten().map(i64::from).collect();
        if list.len() == 3 {
            Ok(list)
        } else {
            Err(OpError::invalid(format!("{what} has {} entries, not 3", list.len())))
        }
    };
    let kernel = three(c.kernels(), "kernels")?;
    let outputs = at_least(c.output_count(), 1, "outputCount")?;
    let group = i64::from(c.group().max(1));
    let (first, second) = if transposed { (inputs, outputs / group) } else { (outputs, inputs / group) };
    let dims: Vec<usize> = [first, second].iter().chain(&kernel).map(|&n| usize::try_from(n).unwrap_or(0)).collect();
    let w = cx.imp.floats(conv.weight(), &dims, "the weight")?.ok_or_else(|| lacks("Convolution3D.weight"))?;
    let w = cx.constant(w);
    let b = cx.imp.floats(conv.bias(), &[usize::try_from(outputs).unwrap_or(0)], "the bias")?;
    let b = b.map(|b| cx.constant(b));
    let mut attrs = Attrs::new()
        .with("kernel_shape", kernel)
        .with("strides", three(c.strides(), "strides")?)
        .with("dilations", three(c.dilates(), "dilates")?)
        .with("group", group);
    match c.pad_mode() {
        PadMode::SAME => attrs.set("auto_pad", "SAME_UPPER"),
        PadMode::VALID => attrs.set("auto_pad", "VALID"),
        _ => {
            let pads: Vec<i64> = c.pads().into_iter().flatten().map(i64::from).collect();
            match pads.len() {
                // The same in front and behind.
                3 => attrs.set("pads", [&pads[..], &pads[..]].concat()),
                6 => attrs.set("pads", pads),
                n => return Err(OpError::invalid(format!("pads has {n} entries, not 3 or 6"))),
            }
        }
    }
    let extra: Vec<i64> = c.out_pads().into_iter().flatten().map(i64::from).collect();
    if transposed && extra.len() == 3 {
        attrs.set("output_padding", extra);
    }
    let inputs: Vec<ValueId> = [Some(x), Some(w), b].into_iter().flatten().collect();
    let y = cx.emit(if transposed { "conv_transpose" } else { "conv" }, &inputs, attrs)?;
    let y = cx.activated(y, c.relu(), c.relu6())?;
    Ok(vec![cx.image_out(y)?])
}
