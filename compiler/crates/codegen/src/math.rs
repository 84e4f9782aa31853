//! Helper functions that scalar code calls: our own where common networks need them, the C library's for the rest.
//!
//! They work in `f64`, so that for `f32` plain series with a few terms more than needed are correctly rounded in all but
//! rare cases. On `f64` operands the C library's functions are called.

use crate::CodegenError;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F64, I64};
use cranelift_codegen::ir::{AbiParam, InstBuilder, Signature, Type, Value};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Linkage, Module};
use std::collections::BTreeMap;

/// A function that scalar code may call.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Helper {
    /// `e^x` of a promoted `f32`.
    Exp,
    /// `ln x` of a promoted `f32`.
    Log,
    /// `tanh x` of a promoted `f32`.
    Tanh,
    /// `erf x` of a promoted `f32`.
    Erf,
    /// `x^n` on `i64` by squaring, wrapping; `n` is not negative.
    IntPow,
    /// The C library's function of this name on one `f64`.
    Libm1(&'static str),
    /// The C library's function of this name on two `f64`.
    Libm2(&'static str),
}

/// The helpers that a module has so far.
pub(crate) struct Helpers {
    ids: BTreeMap<Helper, FuncId>,
    /// Prefix of the local symbols.
    prefix: String,
}

impl Helpers {
    /// None yet; local symbols begin with `prefix`.
    pub(crate) fn new(prefix: &str) -> Helpers {
        Helpers { ids: BTreeMap::new(), prefix: prefix.to_owned() }
    }
    pub(crate) fn get(&mut self, module: &mut dyn Module, h: Helper) -> Result<FuncId, CodegenError> {
        if let Some(&id) = self.ids.get(&h) {
            return Ok(id);
        }
        let mut sig = module.make_signature();
        let (params, ty): (usize, Type) = match h {
            Helper::IntPow => (2, I64),
            Helper::Libm2(_) => (2, F64),
            _ => (1, F64),
        };
        sig.params.extend((0..params).map(|_| AbiParam::new(ty)));
        sig.returns.push(AbiParam::new(ty));
        let id = match h {
            Helper::Libm1(name) | Helper::Libm2(name) => module.declare_function(name, Linkage::Import, &sig)?,
            _ => {
                let name = format!("{}.math.{h:?}", self.prefix);
                let id = module.declare_function(&name, Linkage::Local, &sig)?;
                self.define(module, id, sig, h)?;
                id
            }
        };
        self.ids.insert(h, id);
        Ok(id)
    }

    fn define(&mut self, module: &mut dyn Module, id: FuncId, sig: Signature, h: Helper) -> Result<(), CodegenError> {
        let exp = if h == Helper::Tanh { Some(self.get(module, Helper::Exp)?) } else { None };
        let mut ctx = module.make_context();
        ctx.func.signature = sig;
        let exp = exp.map(|e| module.declare_func_in_func(e, &mut ctx.func));
        let mut fctx = FunctionBuilderContext::new();
        let mut b = FunctionBuilder::new(&mut ctx.func, &mut fctx);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let p: Vec<Value> = b.block_params(entry).to_vec();
        let result = match (h, exp) {
            (Helper::Exp, _) => exponential(&mut b, p[0]),
            (Helper::Log, _) => logarithm(&mut b, p[0]),
            (Helper::Erf, _) => error_function(&mut b, p[0]),
            (Helper::Tanh, Some(exp)) => {
                let a = b.ins().fabs(p[0]);
                let minus_two = b.ins().f64const(-2.0);
                let x = b.ins().fmul(a, minus_two);
                let call = b.ins().call(exp, &[x]);
                let t = b.inst_results(call)[0];
                hyperbolic_tangent(&mut b, p[0], a, t)
            }
            _ => int_power(&mut b, p[0], p[1]),
        };
        b.ins().return_(&[result]);
        b.seal_all_blocks();
        b.finalize(module.target_config());
        module.define_function(id, &mut ctx)?;
        Ok(())
    }
}

/// `c[0] + c[1] x + …` by Horner's rule.
fn polynomial(b: &mut FunctionBuilder, x: Value, c: &[f64]) -> Value {
    let mut sum = b.ins().f64const(c[c.len() - 1]);
    for &c in c[..c.len() - 1].iter().rev() {
        let c = b.ins().f64const(c);
        sum = b.ins().fmul(sum, x);
        sum = b.ins().fadd(sum, c);
    }
    sum
}

/// `2^k` for an integer `k` in the range of normal exponents.
fn power_of_two(b: &mut FunctionBuilder, k: Value) -> Value {
    let biased = b.ins().iadd_imm_s(k, 1023);
    let bits = b.ins().ishl_imm_u(biased, 52);
    b.ins().bitcast(F64, cranelift_codegen::ir::MemFlagsData::new(), bits)
}

/// `x = n ln 2 + r`, `e^x = 2^n e^r` with the Taylor series of `e^r` on `|r| <= ln 2 / 2`.
fn exponential(b: &mut FunctionBuilder, x: Value) -> Value {
    // Beyond these the result is infinite or zero. NaN passes both comparisons by.
    let (top, bottom) = (b.ins().f64const(710.0), b.ins().f64const(-746.0));
    let above = b.ins().fcmp(FloatCC::GreaterThan, x, top);
    let x = b.ins().select(above, top, x);
    let below = b.ins().fcmp(FloatCC::LessThan, x, bottom);
    let x = b.ins().select(below, bottom, x);
    // Adding 1.5 * 2^52 rounds to an integer and leaves it in the low bits.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    let magic = b.ins().f64const(MAGIC);
    let log2e = b.ins().f64const(std::f64::consts::LOG2_E);
    let scaled = b.ins().fmul(x, log2e);
    let shifted = b.ins().fadd(scaled, magic);
    let rounded = b.ins().fsub(shifted, magic);
    let bits = b.ins().bitcast(I64, cranelift_codegen::ir::MemFlagsData::new(), shifted);
    let n = b.ins().iadd_imm_s(bits, (MAGIC.to_bits() as i64).wrapping_neg());
    // ln 2 in two parts, the first with enough trailing zeros for an exact product.
    let high = f64::from_bits(std::f64::consts::LN_2.to_bits() & !0x7ff_ffff);
    let low = ln2_remainder(high);
    let (high, low) = (b.ins().f64const(high), b.ins().f64const(low));
    let t = b.ins().fmul(rounded, high);
    let r = b.ins().fsub(x, t);
    let t = b.ins().fmul(rounded, low);
    let r = b.ins().fsub(r, t);
    let mut c = [1.0; 14];
    for i in 1..c.len() {
        c[i] = c[i - 1] / i as f64;
    }
    let e = polynomial(b, r, &c);
    let half = b.ins().sshr_imm_u(n, 1);
    let other = b.ins().isub(n, half);
    let (p, q) = (power_of_two(b, half), power_of_two(b, other));
    let e = b.ins().fmul(e, p);
    b.ins().fmul(e, q)
}

/// `ln 2 - high`, with the digits of ln 2 that `f64` cannot hold.
fn ln2_remainder(high: f64) -> f64 {
    // ln 2 = LN_2 + 2.3190468138462996e-17 to 33 digits.
    (std::f64::consts::LN_2 - high) + 2.319_046_813_846_299_6e-17
}

/// `x = 2^e m` with `m` around 1, `ln m = 2 artanh((m - 1) / (m + 1))`.
fn logarithm(b: &mut FunctionBuilder, x: Value) -> Value {
    let flags = cranelift_codegen::ir::MemFlagsData::new();
    let bits = b.ins().bitcast(I64, flags, x);
    let e = b.ins().ushr_imm_u(bits, 52);
    let e = b.ins().iadd_imm_s(e, -1023);
    let m = b.ins().band_imm_s(bits, (1i64 << 52) - 1);
    let m = b.ins().bor_imm_s(m, 0x3ff0_0000_0000_0000);
    let m = b.ins().bitcast(F64, flags, m);
    let root = b.ins().f64const(std::f64::consts::SQRT_2);
    let big = b.ins().fcmp(FloatCC::GreaterThan, m, root);
    let half = b.ins().f64const(0.5);
    let halved = b.ins().fmul(m, half);
    let m = b.ins().select(big, halved, m);
    let next = b.ins().iadd_imm_s(e, 1);
    let e = b.ins().select(big, next, e);
    let e = b.ins().fcvt_from_sint(F64, e);
    let one = b.ins().f64const(1.0);
    let (num, den) = (b.ins().fsub(m, one), b.ins().fadd(m, one));
    let s = b.ins().fdiv(num, den);
    let z = b.ins().fmul(s, s);
    let c: Vec<f64> = (0..12).map(|k| 2.0 / f64::from(2 * k + 1)).collect();
    let p = polynomial(b, z, &c);
    let ln_m = b.ins().fmul(s, p);
    let ln2 = b.ins().f64const(std::f64::consts::LN_2);
    let t = b.ins().fmul(e, ln2);
    let y = b.ins().fadd(t, ln_m);
    // ln of infinity and of NaN is the same, of zero minus infinity, of negative numbers NaN.
    let zero = b.ins().f64const(0.0);
    let (inf, minus_inf, nan) =
        (b.ins().f64const(f64::INFINITY), b.ins().f64const(f64::NEG_INFINITY), b.ins().f64const(f64::NAN));
    let finite = b.ins().fcmp(FloatCC::LessThan, x, inf);
    let y = b.ins().select(finite, y, x);
    let negative = b.ins().fcmp(FloatCC::LessThan, x, zero);
    let y = b.ins().select(negative, nan, y);
    let null = b.ins().fcmp(FloatCC::Equal, x, zero);
    b.ins().select(null, minus_inf, y)
}

/// From `a = |x|` and `t = e^(-2a)`; near zero, where `1 - t` cancels, by the series.
fn hyperbolic_tangent(b: &mut FunctionBuilder, x: Value, a: Value, t: Value) -> Value {
    let one = b.ins().f64const(1.0);
    let (num, den) = (b.ins().fsub(one, t), b.ins().fadd(one, t));
    let y = b.ins().fdiv(num, den);
    let z = b.ins().fmul(a, a);
    let p = polynomial(b, z, &[1.0, -1.0 / 3.0, 2.0 / 15.0]);
    let series = b.ins().fmul(a, p);
    let limit = b.ins().f64const(1e-3);
    let small = b.ins().fcmp(FloatCC::LessThan, a, limit);
    let y = b.ins().select(small, series, y);
    b.ins().fcopysign(y, x)
}

/// `erf(x) / x` on `0 ..= 4` as a polynomial in `x^2/8 - 1`: a Chebyshev fit, relative error 2e-14. Beyond 4 it is 1 in
/// `f32`.
#[rustfmt::skip]
const ERF: [f64; 25] = [
    0.3535309956434055, -0.1765762333013042, 0.13167511689457034, -0.10771044253545112, 0.09020899411960243,
    -0.0747278655340484, 0.059886904819773955, -0.045765113425650206, 0.033060634484371805, -0.022473544503683933,
    0.014349586891358344, -0.008606338715869303, 0.004853603293234032, -0.002577844803978123, 0.001292460231326002,
    -0.0006137639520773341, 0.0002758433357191599, -0.00011653265401781011, 4.74380066783447e-05, -1.9634475694182547e-05,
    7.228925382189808e-06, -1.7836328146942093e-06, 6.248270291740053e-07, -4.879403213834464e-07, 1.5014814782006012e-07,
];

fn error_function(b: &mut FunctionBuilder, x: Value) -> Value {
    let a = b.ins().fabs(x);
    let four = b.ins().f64const(4.0);
    let far = b.ins().fcmp(FloatCC::GreaterThan, a, four);
    let a = b.ins().select(far, four, a);
    let z = b.ins().fmul(a, a);
    let eighth = b.ins().f64const(0.125);
    let z = b.ins().fmul(z, eighth);
    let one = b.ins().f64const(1.0);
    let t = b.ins().fsub(z, one);
    let p = polynomial(b, t, &ERF);
    let y = b.ins().fmul(a, p);
    b.ins().fcopysign(y, x)
}

fn int_power(b: &mut FunctionBuilder, x: Value, n: Value) -> Value {
    let (head, done) = (b.create_block(), b.create_block());
    for _ in 0..3 {
        b.append_block_param(head, I64);
    }
    b.append_block_param(done, I64);
    let one = b.ins().iconst(I64, 1);
    b.ins().jump(head, &[x.into(), n.into(), one.into()]);
    b.switch_to_block(head);
    let p: Vec<Value> = b.block_params(head).to_vec();
    let (x, n, r) = (p[0], p[1], p[2]);
    let odd = b.ins().band_imm_s(n, 1);
    let product = b.ins().imul(r, x);
    let r = b.ins().select(odd, product, r);
    let x = b.ins().imul(x, x);
    let n = b.ins().ushr_imm_u(n, 1);
    let more = b.ins().icmp_imm_s(IntCC::NotEqual, n, 0);
    b.ins().brif(more, head, &[x.into(), n.into(), r.into()], done, &[r.into()]);
    b.switch_to_block(done);
    b.block_params(done)[0]
}
