//! Element types in scalar code. Values are held in four classes: `f32` (also for the 16-bit floats), `f64`, `i64` (for all
//! integers, wrapped to their width; `u64` by its bits), and `i8` (bool, 0 or 1).

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F64, I8, I16, I32, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::FunctionBuilder;
use mnnc_ir::DType;

/// The Cranelift type that holds an element of type `d`.
pub(super) fn class(d: DType) -> Type {
    match d {
        DType::F32 | DType::F16 | DType::BF16 => F32,
        DType::F64 => F64,
        DType::Bool => I8,
        _ => I64,
    }
}

/// A literal.
pub(super) fn literal(b: &mut FunctionBuilder, x: f64, d: DType) -> Value {
    match d {
        DType::F32 | DType::F16 | DType::BF16 => b.ins().f32const(x as f32),
        DType::F64 => b.ins().f64const(x),
        DType::Bool => b.ins().iconst(I8, i64::from(x != 0.0)),
        DType::U64 if x > i64::MAX as f64 => b.ins().iconst(I64, x as u64 as i64),
        _ => b.ins().iconst(I64, x as i64),
    }
}

/// Reads an element. The address is valid and aligned to the element.
pub(super) fn load(b: &mut FunctionBuilder, d: DType, at: Value, offset: i32) -> Value {
    // Nothing that a step reads does it write, so a load may move and be shared.
    let flags = MemFlagsData::trusted().with_readonly().with_can_move();
    match d {
        DType::F32 => b.ins().load(F32, flags, at, offset),
        DType::F64 => b.ins().load(F64, flags, at, offset),
        DType::F16 => {
            let h = b.ins().uload16(I32, flags, at, offset);
            half_to_float(b, h)
        }
        DType::BF16 => {
            let h = b.ins().uload16(I32, flags, at, offset);
            let bits = b.ins().ishl_imm_u(h, 16);
            b.ins().bitcast(F32, MemFlagsData::new(), bits)
        }
        DType::I8 => b.ins().sload8(I64, flags, at, offset),
        DType::U8 => b.ins().uload8(I64, flags, at, offset),
        DType::I16 => b.ins().sload16(I64, flags, at, offset),
        DType::U16 => b.ins().uload16(I64, flags, at, offset),
        DType::I32 => b.ins().sload32(flags, at, offset),
        DType::U32 => b.ins().uload32(flags, at, offset),
        DType::I64 | DType::U64 => b.ins().load(I64, flags, at, offset),
        DType::Bool => {
            let x = b.ins().load(I8, flags, at, offset);
            b.ins().icmp_imm_s(IntCC::NotEqual, x, 0)
        }
    }
}

/// Writes an element, rounding once for 16-bit floats.
pub(super) fn store(b: &mut FunctionBuilder, d: DType, x: Value, at: Value, offset: i32) {
    let flags = MemFlagsData::trusted();
    match d {
        DType::F16 => {
            let h = float_to_half(b, x);
            b.ins().istore16(flags, h, at, offset);
        }
        DType::BF16 => {
            let h = float_to_bfloat(b, x);
            b.ins().istore16(flags, h, at, offset);
        }
        DType::I8 | DType::U8 => {
            b.ins().istore8(flags, x, at, offset);
        }
        DType::I16 | DType::U16 => {
            b.ins().istore16(flags, x, at, offset);
        }
        DType::I32 | DType::U32 => {
            b.ins().istore32(flags, x, at, offset);
        }
        DType::F32 | DType::F64 | DType::I64 | DType::U64 | DType::Bool => {
            b.ins().store(flags, x, at, offset);
        }
    }
}

/// What an integer type of `d`'s width keeps of `x`.
pub(super) fn wrap(b: &mut FunctionBuilder, d: DType, x: Value) -> Value {
    let narrow = match d.size() {
        1 => I8,
        2 => I16,
        4 => I32,
        _ => return x,
    };
    let t = b.ins().ireduce(narrow, x);
    if d.is_signed_int() { b.ins().sextend(I64, t) } else { b.ins().uextend(I64, t) }
}

/// Conversion between element types: float to integer truncates and saturates, to bool is `!= 0`.
pub(super) fn cast(b: &mut FunctionBuilder, x: Value, from: DType, to: DType) -> Value {
    match (class(from), class(to)) {
        (I8, I8) => x,
        (I8, I64) => b.ins().uextend(I64, x),
        (I8, float) => {
            let wide = b.ins().uextend(I64, x);
            b.ins().fcvt_from_sint(float, wide)
        }
        (I64, I8) => b.ins().icmp_imm_s(IntCC::NotEqual, x, 0),
        (F32 | F64, I8) => {
            let zero = if class(from) == F32 { b.ins().f32const(0.0) } else { b.ins().f64const(0.0) };
            // NaN is not equal to zero: it counts as true.
            b.ins().fcmp(FloatCC::NotEqual, x, zero)
        }
        (I64, I64) => wrap(b, to, x),
        (I64, F64) => int_to_float(b, x, from, F64),
        (I64, F32) if to == DType::F32 => int_to_float(b, x, from, F32),
        (I64, F32) => {
            let wide = int_to_float(b, x, from, F64);
            narrow(b, wide, to)
        }
        (F32 | F64, I64) => float_to_int(b, x, to),
        (F32, F64) => b.ins().fpromote(F64, x),
        (F64, F32) => narrow(b, x, to),
        (F32, F32) => round_to(b, x, to),
        _ => x,
    }
}

fn int_to_float(b: &mut FunctionBuilder, x: Value, from: DType, to: Type) -> Value {
    if from == DType::U64 { b.ins().fcvt_from_uint(to, x) } else { b.ins().fcvt_from_sint(to, x) }
}

fn float_to_int(b: &mut FunctionBuilder, x: Value, to: DType) -> Value {
    if to == DType::U64 {
        return b.ins().fcvt_to_uint_sat(I64, x);
    }
    let wide = b.ins().fcvt_to_sint_sat(I64, x);
    let bits = 8 * to.size() as u32;
    let (low, high) = match (to.is_signed_int(), bits) {
        (_, 64) => return wide,
        (true, n) => (-(1i64 << (n - 1)), (1i64 << (n - 1)) - 1),
        (false, n) => (0, (1i64 << n) - 1),
    };
    let (low, high) = (b.ins().iconst(I64, low), b.ins().iconst(I64, high));
    let t = b.ins().smax(wide, low);
    b.ins().smin(t, high)
}

/// `f64` to a type of class `f32`, rounded once.
fn narrow(b: &mut FunctionBuilder, x: Value, to: DType) -> Value {
    let near = b.ins().fdemote(F32, x);
    if to == DType::F32 {
        return near;
    }
    // Round to odd: towards zero, with the last bit set if that lost anything. Rounding the result again is then
    // the same as rounding once (Boldo and Melquiond, 2008).
    let back = b.ins().fpromote(F64, near);
    let (size, back_size) = (b.ins().fabs(x), b.ins().fabs(back));
    let over = b.ins().fcmp(FloatCC::GreaterThan, back_size, size);
    let under = b.ins().fcmp(FloatCC::LessThan, back_size, size);
    let bits = b.ins().bitcast(I32, MemFlagsData::new(), near);
    let less = b.ins().iadd_imm_s(bits, -1);
    let bits = b.ins().select(over, less, bits);
    let inexact = b.ins().bor(over, under);
    let odd = b.ins().bor_imm_s(bits, 1);
    let bits = b.ins().select(inexact, odd, bits);
    let y = b.ins().bitcast(F32, MemFlagsData::new(), bits);
    round_to(b, y, to)
}

/// Rounds to the precision of a type of class `f32`.
fn round_to(b: &mut FunctionBuilder, x: Value, to: DType) -> Value {
    match to {
        DType::F16 => {
            let h = float_to_half(b, x);
            half_to_float(b, h)
        }
        DType::BF16 => {
            let h = float_to_bfloat(b, x);
            let bits = b.ins().ishl_imm_u(h, 16);
            b.ins().bitcast(F32, MemFlagsData::new(), bits)
        }
        _ => x,
    }
}

/// IEEE binary16 in the low bits of an `i32`, to `f32`: the exponent is rebiased by an exact multiplication, which also
/// normalises subnormals.
fn half_to_float(b: &mut FunctionBuilder, h: Value) -> Value {
    let magnitude = b.ins().band_imm_s(h, 0x7fff);
    let shifted = b.ins().ishl_imm_u(magnitude, 13);
    let f = b.ins().bitcast(F32, MemFlagsData::new(), shifted);
    let scale = b.ins().f32const(f32::from_bits((127 + 112) << 23));
    let scaled = b.ins().fmul(f, scale);
    let bits = b.ins().bitcast(I32, MemFlagsData::new(), scaled);
    // Infinities and NaNs get the exponent of all ones.
    let special = b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, magnitude, 0x7c00);
    let full = b.ins().bor_imm_s(shifted, 0x7f80_0000);
    let bits = b.ins().select(special, full, bits);
    let sign = b.ins().band_imm_s(h, 0x8000);
    let sign = b.ins().ishl_imm_u(sign, 16);
    let bits = b.ins().bor(bits, sign);
    b.ins().bitcast(F32, MemFlagsData::new(), bits)
}

/// `f32` to IEEE binary16 in an `i32`, half to even.
fn float_to_half(b: &mut FunctionBuilder, x: Value) -> Value {
    let bits = b.ins().bitcast(I32, MemFlagsData::new(), x);
    let magnitude = b.ins().band_imm_s(bits, 0x7fff_ffff);
    // Normal results: rebias, add half of the last place (less one unless odd), cut.
    let odd = b.ins().ushr_imm_u(magnitude, 13);
    let odd = b.ins().band_imm_s(odd, 1);
    let t = b.ins().iadd_imm_s(magnitude, 0xfff - (112 << 23));
    let t = b.ins().iadd(t, odd);
    let normal = b.ins().ushr_imm_u(t, 13);
    // Subnormal results: adding 0.5 aligns the last place of binary16 with that of f32.
    let f = b.ins().bitcast(F32, MemFlagsData::new(), magnitude);
    let half = b.ins().f32const(0.5);
    let sum = b.ins().fadd(f, half);
    let sum = b.ins().bitcast(I32, MemFlagsData::new(), sum);
    let subnormal = b.ins().iadd_imm_s(sum, -i64::from(0.5f32.to_bits()));
    let small = b.ins().icmp_imm_s(IntCC::SignedLessThan, magnitude, i64::from(2f32.powi(-14).to_bits()));
    let y = b.ins().select(small, subnormal, normal);
    let infinity = b.ins().iconst(I32, 0x7c00);
    let large = b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, magnitude, i64::from(65520f32.to_bits()));
    let y = b.ins().select(large, infinity, y);
    let quiet = b.ins().iconst(I32, 0x7e00);
    let nan = b.ins().icmp_imm_s(IntCC::SignedGreaterThan, magnitude, 0x7f80_0000);
    let y = b.ins().select(nan, quiet, y);
    let sign = b.ins().ushr_imm_u(bits, 16);
    let sign = b.ins().band_imm_s(sign, 0x8000);
    b.ins().bor(y, sign)
}

/// `f32` to bfloat16 in an `i32`, half to even.
fn float_to_bfloat(b: &mut FunctionBuilder, x: Value) -> Value {
    let bits = b.ins().bitcast(I32, MemFlagsData::new(), x);
    let odd = b.ins().ushr_imm_u(bits, 16);
    let odd = b.ins().band_imm_s(odd, 1);
    let t = b.ins().iadd_imm_s(bits, 0x7fff);
    let t = b.ins().iadd(t, odd);
    let y = b.ins().ushr_imm_u(t, 16);
    let top = b.ins().ushr_imm_u(bits, 16);
    let quiet = b.ins().bor_imm_s(top, 0x40);
    let nan = b.ins().fcmp(FloatCC::Unordered, x, x);
    b.ins().select(nan, quiet, y)
}
