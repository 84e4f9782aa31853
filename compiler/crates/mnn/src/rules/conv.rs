//! Convolutions and transposed convolutions.

use super::Family;
use super::norm::scale_channels;
use super::window::{Window2d, spatial, window_2d, with_height};
use crate::cx::{Cx, Reason, to_i32};
use crate::net::{Layouts, Shape, Tid, Ty};
use crate::weights::{Decoded, Order, Runs, Weights};
use mnnc_schema::mnn::{Convolution2DCommonT, Convolution2DT, NetSource, OpParameterT, OpType, SliceT};
use std::ops::Range;

pub(super) const RULES: Family = &[("conv", conv), ("conv_transpose", conv_transpose)];

struct Parts<'g> {
    x: Tid,
    /// Dims of the weight as the graph has it.
    weight_dims: Vec<usize>,
    weight: Decoded<'g>,
    bias: Option<Vec<f32>>,
    groups: usize,
    channels: usize,
}

impl Parts<'_> {
    /// Positions of the window.
    fn taps(&self) -> usize {
        self.weight_dims.iter().skip(2).product()
    }
}

fn parts<'g>(cx: &mut Cx<'g>) -> Result<Parts<'g>, Reason> {
    let x = cx.input(0)?;
    if cx.ty(x) != Ty::Float {
        return Err("MNN convolves float tensors only".into());
    }
    let weight_dims = cx.op.static_dims(1)?;
    let weight = cx.weight(1)?;
    let bias = match cx.op.opt_input(2) {
        Some(_) => Some(cx.const_floats(2)?),
        None => None,
    };
    let groups = cx.op.int("group").unwrap_or(1);
    let groups = usize::try_from(groups).ok().filter(|&g| g > 0).ok_or("group is not positive")?;
    let channels = cx.input_shape(0)?.get(1).copied().flatten();
    // The weight knows the channels where the input does not.
    let channels = channels.unwrap_or(weight_dims.get(1).copied().unwrap_or(1) * groups);
    let rank = cx.rank(x);
    if rank != 3 && rank != 4 {
        return Err(format!("{} spatial dims; the writer knows 1 and 2", rank.saturating_sub(2)).into());
    }
    Ok(Parts { x, weight_dims, weight, bias, groups, channels })
}

fn common(window: &Window2d, groups: usize, inputs: usize, outputs: usize) -> Result<Convolution2DCommonT, Reason> {
    let [top, left, bottom, right] = window.pads;
    let symmetric = top == bottom && left == right;
    Ok(Convolution2DCommonT {
        pad_x: if symmetric { left } else { 0 },
        pad_y: if symmetric { top } else { 0 },
        pads: if symmetric { None } else { window.pads() },
        kernel_x: window.kernel[1],
        kernel_y: window.kernel[0],
        stride_x: window.stride[1],
        stride_y: window.stride[0],
        dilate_x: window.dilation[1],
        dilate_y: window.dilation[0],
        group: to_i32(groups)?,
        input_count: to_i32(inputs)?,
        output_count: to_i32(outputs)?,
        ..Convolution2DCommonT::default()
    })
}

fn conv(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let parts = parts(cx)?;
    let shape = cx.input_shape(0)?;
    let window = window_2d(cx, parts.weight_dims.get(2..).unwrap_or_default(), spatial(&shape))?;
    let outputs = parts.weight_dims.first().copied().unwrap_or(0);
    let depthwise = parts.groups > 1 && parts.groups == parts.channels && outputs == parts.channels;
    let x = cx.reshape(parts.x, with_height(&shape))?;
    let inputs = parts.weight_dims.get(1).copied().unwrap_or(1);
    let order = Order::plain(outputs, inputs, parts.taps());
    let runs = Runs::channels(inputs, parts.taps());
    let weights = cx.weights(&parts.weight, order, runs);
    let bias = parts.bias.clone().unwrap_or_else(|| vec![0.0; outputs]);
    let result = cx.output_shape(0);
    let lifted = with_height(&result);
    let y = if parts.groups > 1 && !depthwise && matches!(weights, Weights::Integers(_)) {
        // Where the engine computes on integers it gives each group those of all: one convolution a group instead.
        let each = outputs / parts.groups;
        by_group(cx, x, parts.groups, parts.channels / parts.groups, lifted, |cx, g| {
            let mut main = Convolution2DT {
                common: Some(Box::new(common(&window, 1, inputs, each)?)),
                bias: Some(bias[g * each..(g + 1) * each].to_vec()),
                ..Convolution2DT::default()
            };
            cx.weights(&parts.weight, order.rows(g * each..(g + 1) * each), runs).store(&mut main);
            Ok((OpType::Convolution, main))
        })?
    } else {
        let mut main = Convolution2DT {
            common: Some(Box::new(common(&window, parts.groups, parts.channels, outputs)?)),
            bias: Some(bias),
            ..Convolution2DT::default()
        };
        weights.store(&mut main);
        let op = if depthwise { OpType::ConvolutionDepthwise } else { OpType::Convolution };
        let main = OpParameterT::Convolution2D(Box::new(main));
        cx.emit(op, main, vec![x], (lifted, Ty::Float), Layouts::Packed)
    };
    Ok(vec![cx.reshape(y, result)?])
}

/// One op for each group of `inputs` channels of `x`, their results joined to `shape`.
fn by_group(
    cx: &mut Cx,
    x: Tid,
    groups: usize,
    inputs: usize,
    shape: Shape,
    main: impl Fn(&mut Cx, usize) -> Result<(OpType, Convolution2DT), Reason>,
) -> Result<Tid, Reason> {
    let slices = split_channels(cx, x, groups, inputs)?;
    let mut results = Vec::with_capacity(slices.len());
    for (g, slice) in slices.into_iter().enumerate() {
        let (op, main) = main(cx, g)?;
        let mut one = shape.clone();
        one[1] = main.common.as_ref().and_then(|common| usize::try_from(common.output_count).ok());
        let main = OpParameterT::Convolution2D(Box::new(main));
        results.push(cx.emit(op, main, vec![slice], (one, Ty::Float), Layouts::Packed));
    }
    super::join::concat_tensors(cx, results, 1, shape)
}

fn conv_transpose(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let parts = parts(cx)?;
    let shape = cx.input_shape(0)?;
    let result = cx.output_shape(0);
    let kernel = parts.weight_dims.get(2..).unwrap_or_default().to_vec();
    let n = kernel.len();
    let (window, extra) = transposed_window(cx, &kernel, spatial(&shape), spatial(&result), n)?;
    let per_group = parts.weight_dims.get(1).copied().unwrap_or(0);
    let outputs = per_group * parts.groups;
    let bias = parts.bias.clone().unwrap_or_else(|| vec![0.0; outputs]);
    let x = cx.reshape(parts.x, with_height(&shape))?;
    let order = Order::plain(parts.channels, per_group, parts.taps());
    let runs = Runs::any(per_group * parts.taps());
    // Scales of output channels would take one number for each pair of an input and an output channel: they multiply the result instead.
    let factors = cx.weights(&parts.weight, order, runs).split_columns(parts.channels, per_group).1;
    let (bias, added) = match factors {
        Some(_) => (vec![0.0; outputs], bias),
        None => (bias, Vec::new()),
    };
    let make = |cx: &mut Cx, groups: usize, rows: Range<usize>, bias: &[f32]| -> Result<Convolution2DT, Reason> {
        let mut common = common(&window, groups, rows.len(), bias.len())?;
        common.out_pads = extra.iter().any(|&e| e != 0).then(|| extra.to_vec());
        let mut main =
            Convolution2DT { common: Some(Box::new(common)), bias: Some(bias.to_vec()), ..Convolution2DT::default() };
        let inputs = rows.len();
        let weights = cx.weights(&parts.weight, order.rows(rows), runs);
        // A group's scales may go by columns where those of all groups do not.
        let weights = if factors.is_some() { weights.split_columns(inputs, per_group).0 } else { weights };
        weights.store(&mut main);
        Ok(main)
    };
    let lifted = with_height(&result);
    let depthwise = parts.groups == parts.channels && per_group == 1;
    let y = if parts.groups == 1 || depthwise {
        let main = OpParameterT::Convolution2D(Box::new(make(cx, parts.groups, 0..parts.channels, &bias)?));
        let op = if parts.groups == 1 { OpType::Deconvolution } else { OpType::DeconvolutionDepthwise };
        cx.emit(op, main, vec![x], (lifted, Ty::Float), Layouts::Packed)
    } else {
        // MNN's grouped deconvolution gives garbage: one deconvolution a group instead.
        let inputs = parts.channels / parts.groups;
        by_group(cx, x, parts.groups, inputs, lifted, |cx, g| {
            let bias = &bias[g * per_group..(g + 1) * per_group];
            Ok((OpType::Deconvolution, make(cx, 1, g * inputs..(g + 1) * inputs, bias)?))
        })?
    };
    let y = match factors {
        Some(factors) => scale_channels(cx, y, factors.repeat(parts.groups), added)?,
        None => y,
    };
    Ok(vec![cx.reshape(y, result)?])
}

fn split_channels(cx: &mut Cx, x: Tid, parts: usize, each: usize) -> Result<Vec<Tid>, Reason> {
    let mut shape = cx.shape(x);
    shape[1] = Some(each);
    let main = SliceT { axis: 1, slice_points: Some(vec![to_i32(each)?; parts]), source_type: NetSource::TENSORFLOW };
    let results = vec![(shape, Ty::Float); parts];
    Ok(cx.emit_many(OpType::Slice, OpParameterT::Slice(Box::new(main)), vec![x], results, Layouts::Follow))
}

/// The window of a transposed convolution, with padding that gives the output size of the graph, and the extra
/// extent at the end of height and width.
fn transposed_window(
    cx: &Cx,
    kernel: &[usize],
    input: &[Option<usize>],
    output: &[Option<usize>],
    n: usize,
) -> Result<(Window2d, [i32; 2]), Reason> {
    let ints = |name: &str, default: i64| -> Result<Vec<i32>, Reason> {
        let list = cx.op.ints(name).unwrap_or_else(|| vec![default; n]);
        if list.len() != n {
            return Err(format!("{name} has {} entries; {n} are needed", list.len()).into());
        }
        list.into_iter().map(to_i32).collect()
    };
    let (stride, dilation, mut extra) = (ints("strides", 1)?, ints("dilations", 1)?, ints("output_padding", 0)?);
    let auto = cx.op.string("auto_pad").unwrap_or_default();
    let explicit = matches!(auto.as_str(), "" | "NOTSET" | "VALID") && cx.op.ints("output_shape").is_none();
    let mut pads = vec![0; 2 * n];
    for i in 0..n {
        let extent = (to_i32(*kernel.get(i).ok_or("the weight has too few dims")?)? - 1) * dilation[i] + 1;
        if explicit {
            let given = if auto == "VALID" { None } else { cx.op.ints("pads") };
            let given = given.unwrap_or_else(|| vec![0; 2 * n]);
            if given.len() != 2 * n {
                return Err(format!("pads has {} entries; {} are needed", given.len(), 2 * n).into());
            }
            (pads[i], pads[n + i]) = (to_i32(given[i])?, to_i32(given[n + i])?);
        } else {
            let missing = "the output size is given, but the input's is known only at run time; fix it with --shape";
            let (Some(Some(input)), Some(Some(output))) = (input.get(i), output.get(i)) else {
                return Err(missing.into());
            };
            let total = stride[i] * (to_i32(*input)? - 1) + extent + extra[i] - to_i32(*output)?;
            // A result larger than the window reaches grows at its end.
            extra[i] += (-total).max(0);
            let total = total.max(0);
            let (less, more) = (total / 2, total - total / 2);
            (pads[i], pads[n + i]) = if auto == "SAME_UPPER" { (less, more) } else { (more, less) };
        }
    }
    let kernel = kernel.iter().map(|&k| to_i32(k)).collect::<Result<Vec<_>, _>>()?;
    let one = n == 1;
    let pair = |v: &[i32], fill: i32| if one { [fill, v[0]] } else { [v[0], v[1]] };
    let window = Window2d {
        kernel: pair(&kernel, 1),
        stride: pair(&stride, 1),
        dilation: pair(&dilation, 1),
        pads: if one { [0, pads[0], 0, pads[1]] } else { [pads[0], pads[1], pads[2], pads[3]] },
        ceil: false,
    };
    Ok((window, pair(&extra, 0)))
}
