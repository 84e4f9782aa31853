//! Rounded activations: in the file a property of a tensor, not ops.
//!
//! MNN keeps one description a tensor: `q = clamp(round(x / scale) + zero, min, max)` in `i8`. Its engine computes in integers what has it on all sides, and
//! converts where an op in float meets it. So a pair `quantize_linear`, `dequantize_linear` is the tensor it rounds.

use super::Family;
use crate::cx::{Cx, Reason};
use crate::net::{Quant, Tid, Ty};
use mnnc_ir::DType;

pub(super) const RULES: Family = &[("quantize_linear", quantize), ("dequantize_linear", dequantize)];

/// What operands 1 and 2 say, if they are constants for the whole tensor.
fn parameters(cx: &Cx, dtype: DType) -> Result<Quant, Reason> {
    let (scale, zero) = (cx.const_floats(1)?, cx.op.const_input(2).map(mnnc_ir::Tensor::to_f64s).unwrap_or_default());
    let &[scale] = scale.as_slice() else {
        return Err("MNN rounds activations with one scale for the whole tensor".into());
    };
    if !(scale > 0.0 && scale.is_finite()) {
        return Err(format!("the scale of the rounding is {scale}").into());
    }
    let zero = zero.first().copied().unwrap_or(0.0) as i32;
    match dtype {
        DType::I8 => Ok(Quant { scale, zero, min: i8::MIN }),
        // The same integers, 128 lower.
        DType::U8 => Ok(Quant { scale, zero: zero - 128, min: i8::MIN }),
        other => Err(format!("MNN rounds activations to 8 bits, not to {other}").into()),
    }
}

fn quantize(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let dtype = cx.op.outputs.first().map_or(DType::U8, |ty| ty.dtype);
    let quant = parameters(cx, dtype)?;
    if cx.node.outputs().iter().any(|v| cx.graph.outputs().contains(v)) {
        return Err("MNN gives its rounded tensors as floats; the integers are no output".into());
    }
    let x = cx.input(0)?;
    if cx.ty(x) != Ty::Float {
        return Err("MNN rounds float tensors only".into());
    }
    let only_read_rounded = cx.graph.outputs().iter().all(|v| cx.written.get(v) != Some(&x));
    let x = match cx.net.tensors[x].quant {
        Some(same) if same == quant => x,
        None if only_read_rounded => x,
        // Rounded twice, or wanted unrounded too: a tensor of its own.
        _ => cx.alias(x),
    };
    cx.net.tensors[x].quant = Some(quant);
    Ok(vec![x])
}

fn dequantize(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let dtype = cx.op.input(0)?.dtype;
    let quant = parameters(cx, dtype)?;
    let x = cx.input(0)?;
    if cx.net.tensors[x].quant != Some(quant) {
        return Err("MNN dequantises only what was quantised with the same scale and zero point".into());
    }
    Ok(vec![x])
}
