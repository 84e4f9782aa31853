//! The int8 ops of older quantised files, whose tensors are int8 in the file itself. Newer files keep float ops and give
//! scales beside them ([`crate::mnn::activation`]).

use crate::mnn::common::{pads, window};
use crate::mnn::op::{OpCx, Rows, lacks};
use crate::mnn::table::{Row, row};
use crate::mnn::tensor::{elements, over, view};
use mnnc_ir::{Attrs, DType, OpError, Tensor, ValueId};
use mnnc_schema::mnn::{DataType, OpType, QuantizedFloatParam};

pub(super) static ROWS: &[Row] = &[
    row(OpType::FloatToInt8, quantise),
    row(OpType::Int8ToFloat, dequantise),
    row(OpType::ConvInt8, |cx| convolution(cx, false)),
    row(OpType::DepthwiseConvInt8, |cx| convolution(cx, true)),
    row(OpType::EltwiseInt8, sum),
];

fn boundary<'f>(cx: &OpCx<'_, '_, 'f>) -> Result<QuantizedFloatParam<'f>, OpError> {
    cx.op.main_as_quantized_float_param().ok_or_else(|| lacks("QuantizedFloatParam"))
}

/// The scales of a boundary: one, or one a channel where they differ.
fn scales(p: &QuantizedFloatParam, invert: bool) -> Result<Vec<f32>, OpError> {
    let mut list: Vec<f32> = p.tensor_scale().map_or_else(Vec::new, |v| elements(v.bytes()));
    if invert {
        list.iter_mut().for_each(|s| *s = 1.0 / *s);
    }
    match list.first() {
        Some(&first) if list.iter().all(|&s| s == first) => list.truncate(1),
        Some(_) => {}
        None => return Err(lacks("QuantizedFloatParam.tensorScale")),
    }
    match list.iter().find(|s| !s.is_finite()) {
        Some(s) => Err(OpError::invalid(format!("a scale of the tensor is {s}"))),
        None => Ok(list),
    }
}

fn operands(cx: &mut OpCx, list: Vec<f32>, zero: i8) -> (ValueId, ValueId) {
    match list.as_slice() {
        &[one] => (cx.constant(Tensor::scalar(one)), cx.constant(Tensor::scalar(zero))),
        _ => {
            let n = list.len();
            (cx.constant(Tensor::new(vec![n], list)), cx.constant(Tensor::new(vec![n], vec![zero; n])))
        }
    }
}

/// `x` without what would be beyond the steps from `low` to `high`.
fn clamped(cx: &mut OpCx, x: ValueId, (low, high): (i8, i8), zero: i8, scale: f32) -> Result<ValueId, OpError> {
    // Saturation does the whole range of int8, but perhaps for -128.
    if low <= -127 && high == 127 {
        return Ok(x);
    }
    let real = |bound: i8| (f64::from(bound) - f64::from(zero)) * f64::from(scale);
    let (low, high) = (cx.scalar(real(low), x)?, cx.scalar(real(high), x)?);
    cx.aside("clip", &[x, low, high], Attrs::new())
}

fn quantise(cx: &mut OpCx) -> Rows {
    let x = cx.image(0)?;
    let p = boundary(cx)?;
    let list = scales(&p, true)?;
    let (bounds, zero) = ((p.clamp_min(), p.clamp_max()), p.zero_point());
    let x = match list.as_slice() {
        &[one] => clamped(cx, x, bounds, zero, one)?,
        _ => x,
    };
    let (scale, zero) = operands(cx, list, zero);
    let y = cx.emit("quantize_linear", &[x, scale, zero], Attrs::new().with("axis", 1i64))?;
    Ok(vec![cx.image_out(y)?])
}

fn dequantise(cx: &mut OpCx) -> Rows {
    let x = cx.image(0)?;
    let p = boundary(cx)?;
    let list = scales(&p, false)?;
    let zero = p.zero_point();
    let (scale, zero) = operands(cx, list, zero);
    let y = cx.emit("dequantize_linear", &[x, scale, zero], Attrs::new().with("axis", 1i64))?;
    Ok(vec![cx.image_out(y)?])
}

/// `clamp(round((sum of products + bias) * scale))` on steps: a float convolution between a dequantisation and a
/// quantisation of scale 1, whose weights have the scale.
fn convolution(cx: &mut OpCx, depthwise: bool) -> Rows {
    let (conv, c) = cx.convolution()?;
    let p = conv.symmetric_quan().ok_or_else(|| lacks("Convolution2D.symmetricQuan"))?;
    let x = cx.image(0)?;
    let channels = cx.ty(x).dims.get(1).and_then(|d| d.known()).and_then(|n| usize::try_from(n).ok());
    let channels = channels
        .filter(|_| cx.rank(x) == 4)
        .ok_or_else(|| OpError::unsupported("the image has open channels, or another rank than 4"))?;
    let win = window(&c)?;
    let outputs = usize::try_from(c.output_count()).unwrap_or(0);
    let group = if depthwise { channels } else { usize::try_from(c.group()).unwrap_or(1).max(1) };
    let size = |n: i64| usize::try_from(n).unwrap_or(0);
    let dims = [outputs, channels / group, size(win.kernel[0]), size(win.kernel[1])];
    let w = match p.weight() {
        Some(w) => over(DType::I8, &dims, view(&cx.imp.file, &w), "the weight")?,
        None => cx.weight_codes(&conv, &dims)?,
    };
    let scale: Vec<f32> = p.scale().map_or_else(Vec::new, |v| elements(v.bytes()));
    let bias: Vec<i32> = p.bias().map_or_else(Vec::new, |v| elements(v.bytes()));
    if scale.len() != outputs || (!bias.is_empty() && bias.len() != outputs) {
        return Err(OpError::invalid(format!(
            "{} scales and {} biases for {outputs} channels",
            scale.len(),
            bias.len()
        )));
    }
    let real: Vec<f32> = bias.iter().zip(&scale).map(|(&b, s)| b as f32 * s).collect();
    let one = cx.constant(Tensor::scalar(1f32));
    let zero = cx.constant(Tensor::scalar(p.zero_point()));
    let x = cx.aside("dequantize_linear", &[x, one, zero], Attrs::new())?;
    let (w, scale) = (cx.constant(w), cx.constant(Tensor::new(vec![outputs], scale)));
    let w = cx.aside("dequantize_linear", &[w, scale], Attrs::new().with("axis", 0i64))?;
    let mut inputs = vec![x, w];
    if !real.is_empty() {
        inputs.push(cx.constant(Tensor::new(vec![outputs], real)));
    }
    let mut attrs = win.attrs().with("group", group as i64);
    pads(&c)?.put(&mut attrs);
    let y = cx.emit("conv", &inputs, attrs)?;
    let mut y = cx.activated(y, c.relu(), c.relu6())?;
    if p.output_data_type() != DataType::DT_FLOAT {
        let zero = p.output_zero_point();
        y = clamped(cx, y, (p.clamp_min(), p.clamp_max()), zero, 1.0)?;
        let zero = cx.constant(Tensor::scalar(zero));
        y = cx.aside("quantize_linear", &[y, one, zero], Attrs::new())?;
    }
    Ok(vec![cx.image_out(y)?])
}

/// The sum of two tensors of steps, in steps of a third scale.
fn sum(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_eltwise_int8().ok_or_else(|| lacks("EltwiseInt8"))?;
    let quans = [p.input_quan0(), p.input_quan1()];
    let mut real = Vec::new();
    for (i, quan) in quans.into_iter().enumerate() {
        let quan = quan.ok_or_else(|| lacks("EltwiseInt8.inputQuan"))?;
        let x = cx.image(i)?;
        let (scale, zero) = operands(cx, scales(&quan, false)?, 0);
        real.push(cx.aside("dequantize_linear", &[x, scale, zero], Attrs::new().with("axis", 1i64))?);
    }
    let quan = p.output_quan().ok_or_else(|| lacks("EltwiseInt8.outputQuan"))?;
    let y = cx.emit("add", &real, Attrs::new())?;
    let (scale, zero) = operands(cx, scales(&quan, true)?, 0);
    let y = cx.aside("quantize_linear", &[y, scale, zero], Attrs::new().with("axis", 1i64))?;
    Ok(vec![cx.image_out(y)?])
}
