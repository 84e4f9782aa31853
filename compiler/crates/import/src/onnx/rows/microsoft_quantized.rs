//! Operators on quantised tensors in ONNX Runtime's own domain: their float forms between `dequantize_linear` and
//! `quantize_linear`, or the integer products of the standard.

use super::quantize::linear;
use crate::onnx::node::{Converted, NodeCx, op};
use crate::onnx::table::{Row, microsoft};
use crate::onnx::tensor::unpack;
use mnnc_ir::{Attrs, DType, Element, OpError, Tensor, ValueId};

pub(super) static ROWS: &[Row] = &[
    microsoft("DequantizeLinear", |cx| linear(cx, "dequantize_linear")),
    microsoft("DynamicQuantizeMatMul", dynamic_product),
    microsoft("MatMulIntegerToFloat", integer_product),
    microsoft("MatMulNBits", packed_product),
    microsoft("QGemm", gemm),
    microsoft("QLinearAdd", |cx| pair(cx, "add")),
    microsoft("QLinearAveragePool", |cx| pool(cx, "average_pool")),
    microsoft("QLinearConcat", concat),
    microsoft("QLinearGlobalAveragePool", |cx| pool(cx, "global_average_pool")),
    microsoft("QLinearLeakyRelu", |cx| unary(cx, "leaky_relu")),
    microsoft("QLinearMul", |cx| pair(cx, "mul")),
    microsoft("QLinearSigmoid", |cx| unary(cx, "sigmoid")),
    microsoft("QLinearSoftmax", softmax),
    microsoft("QuantizeLinear", |cx| linear(cx, "quantize_linear")),
];

/// Real values of the quantised operand at inputs `at`, `at + 1` (scale) and `at + 2` (zero point).
fn real(cx: &mut NodeCx, at: usize) -> Result<ValueId, OpError> {
    real_along(cx, at, 1)
}

/// The same, with scales along a dimension if there are several.
fn real_along(cx: &mut NodeCx, at: usize, axis: i64) -> Result<ValueId, OpError> {
    let inputs: Vec<ValueId> =
        [Some(cx.input(at)?), Some(cx.input(at + 1)?), cx.opt(at + 2)].into_iter().flatten().collect();
    cx.emit("dequantize_linear", &inputs, Attrs::new().with("axis", axis))
}

/// The node's result: `y` quantised by the parameters at inputs `scale` and `scale + 1`.
fn requantized(cx: &mut NodeCx, y: ValueId, scale: usize) -> Converted {
    let inputs = vec![Some(y), Some(cx.input(scale)?), cx.opt(scale + 1)];
    cx.finish("quantize_linear", inputs, Attrs::new())
}

fn pair(cx: &mut NodeCx, name: &'static str) -> Converted {
    let (a, b) = (real(cx, 0)?, real(cx, 3)?);
    let y = cx.emit(name, &[a, b], Attrs::new())?;
    requantized(cx, y, 6)
}

fn unary(cx: &mut NodeCx, name: &'static str) -> Converted {
    let attrs = cx.attrs(op(name)?, &[])?;
    let x = real(cx, 0)?;
    let y = cx.emit(name, &[x], attrs)?;
    requantized(cx, y, 3)
}

/// Inputs: x, its scale and zero point, scale and zero point of the result.
fn pool(cx: &mut NodeCx, name: &'static str) -> Converted {
    if cx.int("channels_last")?.unwrap_or(0) != 0 {
        return Err(OpError::unsupported("channels_last is not supported"));
    }
    let attrs = cx.attrs(op(name)?, &["channels_last"])?;
    let x = real(cx, 0)?;
    let y = cx.emit(name, &[x], attrs)?;
    requantized(cx, y, 3)
}

/// `opset` is the version of Softmax that is meant: before 13 it ran over all dimensions from `axis` on.
fn softmax(cx: &mut NodeCx) -> Converted {
    let rank = cx.rank(0)? as i64;
    let legacy = cx.int("opset")?.unwrap_or(13) < 13;
    let axis = cx.int("axis")?.unwrap_or(-1);
    if !(-rank..rank).contains(&axis) {
        return Err(OpError::invalid(format!("axis {axis} is out of range for rank {rank}")));
    }
    let axis = if axis < 0 { axis + rank } else { axis };
    if legacy && axis != rank - 1 {
        return Err(OpError::unsupported("a softmax over several dimensions is not supported"));
    }
    let x = real(cx, 0)?;
    let y = cx.emit("softmax", &[x], Attrs::new().with("axis", axis))?;
    requantized(cx, y, 3)
}

/// Inputs: scale and zero point of the result, then each part with its own.
fn concat(cx: &mut NodeCx) -> Converted {
    let attrs = cx.attrs(op("concat")?, &[])?;
    let count = cx.inputs.len().saturating_sub(2).div_ceil(3);
    let parts = (0..count).map(|i| real(cx, 2 + 3 * i)).collect::<Result<Vec<_>, _>>()?;
    let y = cx.emit("concat", &parts, attrs)?;
    requantized(cx, y, 0)
}

/// `alpha * a_scale * b_scale * (A' x B' + C)` of integers; quantised if there is a scale for the result.
fn gemm(cx: &mut NodeCx) -> Converted {
    let alpha = f64::from(cx.float("alpha")?.unwrap_or(1.0));
    let attrs = cx.attrs(op("gemm")?, &[])?;
    let columns = i64::from(cx.int("transB")?.unwrap_or(0) == 0);
    let (a, b) = (real(cx, 0)?, real_along(cx, 3, columns)?);
    let mut inputs = vec![a, b];
    if let Some(c) = cx.opt(6) {
        let unit = cx.emit("mul", &[cx.input(1)?, cx.input(4)?], Attrs::new())?;
        let alpha = cx.add_scalar(alpha, unit)?;
        let unit = cx.emit("mul", &[unit, alpha], Attrs::new())?;
        let c = cx.emit("cast", &[c], Attrs::new().with("to", DType::F32))?;
        inputs.push(cx.emit("mul", &[c, unit], Attrs::new())?);
    }
    if cx.opt(7).is_none() {
        return cx.finish_all("gemm", &inputs, attrs);
    }
    let y = cx.emit("gemm", &inputs, attrs)?;
    requantized(cx, y, 7)
}

/// The product of quantised A and B as floats: the inputs' positions are those of A's and B's scales and zero points.
struct Product {
    a: ValueId,
    a_scale: ValueId,
    a_zero: Option<ValueId>,
    b_scale: usize,
    b_zero: usize,
    bias: usize,
}

impl Product {
    fn convert(self, cx: &mut NodeCx) -> Converted {
        let inputs = [Some(self.a), Some(cx.input(1)?), self.a_zero, cx.opt(self.b_zero)];
        let sums = cx.emit_some("matmul_integer", &inputs, Attrs::new())?;
        let sums = cx.emit("cast", &[sums], Attrs::new().with("to", DType::F32))?;
        let unit = cx.emit("mul", &[self.a_scale, cx.input(self.b_scale)?], Attrs::new())?;
        match cx.opt(self.bias) {
            None => cx.finish_all("mul", &[sums, unit], Attrs::new()),
            Some(bias) => {
                let y = cx.emit("mul", &[sums, unit], Attrs::new())?;
                cx.finish_all("add", &[y, bias], Attrs::new())
            }
        }
    }
}

/// Inputs: A, B, scale and zero point of B, bias. A is quantised by its own range.
fn dynamic_product(cx: &mut NodeCx) -> Converted {
    let a = cx.input(0)?;
    let outputs = cx.emit_all("dynamic_quantize_linear", &[a], 3)?;
    let &[a, a_scale, zero] = outputs.as_slice() else { return Err(OpError::invalid("three results were expected")) };
    Product { a, a_scale, a_zero: Some(zero), b_scale: 2, b_zero: 3, bias: 4 }.convert(cx)
}

/// Inputs: A, B, scales of A and B, zero points of A and B, bias.
fn integer_product(cx: &mut NodeCx) -> Converted {
    let (a, a_scale, a_zero) = (cx.input(0)?, cx.input(2)?, cx.opt(4));
    Product { a, a_scale, a_zero, b_scale: 3, b_zero: 5, bias: 6 }.convert(cx)
}

/// `A x W'` with weights `[N, K]` of 2 to 8 bits, in blocks along K that have a scale, and may have a zero point, each.
///
/// Inputs: A `[.., K]`, W packed as `[N, blocks, bytes of a block]`, scales `[N, blocks]`, zero points packed as `[N, bytes]`, an index
/// of groups, bias `[N]`.
fn packed_product(cx: &mut NodeCx) -> Converted {
    let size = |cx: &NodeCx, name: &str| match cx.int(name)? {
        Some(n @ 1..=0x7fff_ffff) => Ok(n as usize),
        Some(n) => Err(OpError::invalid(format!("{name} is {n}"))),
        None => Err(OpError::invalid(format!("attribute {name} is missing"))),
    };
    let (k, n, block) = (size(cx, "K")?, size(cx, "N")?, size(cx, "block_size")?);
    let bits = match cx.int("bits")?.unwrap_or(4) {
        b @ 2..=8 => b as u32,
        b => return Err(OpError::invalid(format!("bits is {b}; weights have 2 to 8"))),
    };
    if cx.opt(4).is_some() {
        return Err(OpError::unsupported("an index of groups (g_idx) is not supported"));
    }
    let blocks = k.div_ceil(block);
    let bytes = (block * bits as usize).div_ceil(8);
    let constant = |cx: &NodeCx, i: usize, what: &str, len: usize| match cx.constant(i) {
        Some(t) if t.len() == len => Ok(t.clone()),
        Some(t) => Err(OpError::invalid(format!("{what} have {} elements, not {len}", t.len()))),
        None => Err(OpError::unsupported(format!("{what} that are computed at run time are not supported"))),
    };
    let packed = constant(cx, 1, "weights", n * blocks * bytes)?;
    let scale = constant(cx, 2, "scales", n * blocks)?;
    if packed.dtype() != DType::U8 {
        return Err(OpError::invalid(format!("packed weights are {}, not u8", packed.dtype())));
    }
    let mut zero = vec![1u8 << (bits - 1); n * blocks];
    if let Some(given) = cx.opt(3) {
        if cx.ty(given).dtype != DType::U8 {
            return Err(OpError::unsupported("zero points that are no integers are not supported"));
        }
        let row = (blocks * bits as usize).div_ceil(8);
        let given = constant(cx, 3, "zero points", n * row)?;
        for (zero, row) in zero.chunks_mut(blocks).zip(given.view::<u8>().chunks(row)) {
            zero.copy_from_slice(&unpack(row, bits, blocks, false));
        }
    }
    // One row of W after the other, each block padded to whole bytes, the last one to a whole block.
    let mut w = vec![0u8; k * n];
    for (i, part) in packed.view::<u8>().chunks(bytes).enumerate() {
        let (column, first) = (i / blocks, i % blocks * block);
        for (j, x) in unpack(part, bits, block.min(k - first), false).into_iter().enumerate() {
            w[(first + j) * n + column] = x;
        }
    }
    let symmetric = cx.opt(3).is_none();
    let weights = Blocks { k, n, block, bits };
    let w = weights.dequantised(cx, w, scale, zero, symmetric)?;
    let a = cx.input(0)?;
    match cx.opt(5) {
        None => cx.finish_all("matmul", &[a, w], Attrs::new()),
        Some(bias) => {
            let y = cx.emit("matmul", &[a, w], Attrs::new())?;
            cx.finish_all("add", &[y, bias], Attrs::new())
        }
    }
}

/// Weights `[k, n]` with a scale for so many elements along k.
struct Blocks {
    k: usize,
    n: usize,
    block: usize,
    bits: u32,
}

impl Blocks {
    /// The floats of `w`, from scales and zero points `[n, blocks]`. Scales may have any sign here, and be 0 for a block of
    /// zeros: the integers take up the sign.
    fn dequantised(
        &self,
        cx: &mut NodeCx,
        mut w: Vec<u8>,
        scale: Tensor,
        mut zero: Vec<u8>,
        mut symmetric: bool,
    ) -> Result<ValueId, OpError> {
        let Blocks { k, n, block, bits } = *self;
        let blocks = k.div_ceil(block);
        let dtype = scale.dtype();
        let mut scale = scale.to_f64s();
        if let Some(i) = scale.iter().position(|s| !s.is_finite()) {
            return Err(OpError::invalid(format!("scale {i} is {}; scales must be finite", scale[i])));
        }
        let top = ((1u16 << bits) - 1) as u8;
        for (i, s) in scale.iter_mut().enumerate().filter(|(_, s)| **s <= 0.0) {
            let (column, rows) = (i / blocks, i % blocks * block..(i % blocks * block + block).min(k));
            let z = zero[i];
            for x in rows.map(|row| row * n + column) {
                w[x] = if *s == 0.0 { z } else { top - w[x] };
            }
            if *s == 0.0 {
                *s = 1.0;
            } else {
                (*s, zero[i], symmetric) = (-*s, top - z, false);
            }
        }
        let turned = |i: usize| i % n * blocks + i / n;
        let dims = vec![blocks, n];
        let scale: Vec<f64> = (0..n * blocks).map(|i| scale[turned(i)]).collect();
        let scale = match dtype {
            DType::F32 => narrowed(dims.clone(), &scale, |x| x as f32),
            DType::F16 => narrowed(dims.clone(), &scale, half::f16::from_f64),
            DType::BF16 => narrowed(dims.clone(), &scale, half::bf16::from_f64),
            other => return Err(OpError::invalid(format!("scales are {other}"))),
        };
        let scale = cx.add_const(scale);
        let mut inputs = Vec::new();
        if symmetric {
            let middle = 1i16 << (bits - 1);
            let w: Vec<i8> = w.into_iter().map(|x| (i16::from(x) - middle) as i8).collect();
            inputs.extend([cx.add_const(Tensor::new(vec![k, n], w)), scale]);
        } else {
            let zero: Vec<u8> = (0..n * blocks).map(|i| zero[turned(i)]).collect();
            inputs.extend([cx.add_const(Tensor::new(vec![k, n], w)), scale, cx.add_const(Tensor::new(dims, zero))]);
        }
        let attrs = Attrs::new().with("axis", 0i64).with("block_size", block as i64).with("bits", i64::from(bits));
        cx.emit("dequantize_linear", &inputs, attrs)
    }
}

fn narrowed<T: Element>(dims: Vec<usize>, values: &[f64], narrow: impl Fn(f64) -> T) -> Tensor {
    Tensor::new(dims, values.iter().map(|&x| narrow(x)).collect())
}
