//! One evaluation of a scalar function, without branches.

use super::address::{Linear, linear, offset};
use super::convert::{cast, class, literal, load, wrap};
use crate::CodegenError;
use crate::math::{Helper, Helpers};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F64, I8, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::Module;
use mnnc_ir::DType;
use mnnc_ir::scalar::{Binary, Cmp, Expr, ScalarFn, ScalarNode, Source, Unary};
use mnnc_kernel::Storage;

/// Where an evaluation stands.
pub(super) struct Eval<'a, 'f> {
    pub b: &'a mut FunctionBuilder<'f>,
    pub module: &'a mut dyn Module,
    pub helpers: &'a mut Helpers,
    pub f: &'a ScalarFn,
    /// Address and storage of each input.
    pub inputs: &'a [(Value, Storage)],
    /// The current index along each loop.
    pub axes: &'a [Linear],
}

impl Eval<'_, '_> {
    /// Emits the function and returns its result.
    pub fn run(&mut self) -> Result<Value, CodegenError> {
        let needed = needed(self.f);
        let certain = certain(self.f);
        let data = data_dependent(self.f);
        let mut values: Vec<Option<Value>> = vec![None; self.f.nodes.len()];
        for i in (0..values.len()).filter(|&i| needed[i]) {
            let v = self.node(i, &values, certain[i], &data)?;
            values[i] = Some(v);
        }
        values[self.f.result.0 as usize].ok_or_else(|| CodegenError::Internal("a formula lacks its result".into()))
    }

    fn node(
        &mut self,
        i: usize,
        values: &[Option<Value>],
        certain: bool,
        data: &[bool],
    ) -> Result<Value, CodegenError> {
        let (node, d) = &self.f.nodes[i];
        let d = *d;
        let at =
            |e: &Expr| values[e.0 as usize].ok_or_else(|| CodegenError::Internal("a formula uses a later node".into()));
        match node {
            ScalarNode::Arg(_) => Err(CodegenError::Internal("an argument stands in a loop body".into())),
            ScalarNode::Const(x) => Ok(literal(self.b, *x, d)),
            ScalarNode::Axis(a) => Ok(self.axes[*a].emit(self.b)),
            ScalarNode::Load { source, index, guard } => {
                let Source::Input(input) = *source else {
                    return Err(CodegenError::Internal("a loop body reads a stage".into()));
                };
                let guard = match guard {
                    None => None,
                    Some((c, o)) => Some((at(c)?, at(o)?)),
                };
                let risky = !certain && guard.is_none() || index.iter().any(|e| data[e.0 as usize]);
                self.load(input, index, guard, risky, values)
            }
            ScalarNode::Unary(f, a) => {
                let (x, from) = (at(a)?, self.f.dtype(*a));
                if from.is_float() { self.float_unary(*f, x, from) } else { Ok(self.int_unary(*f, x, from)) }
            }
            ScalarNode::Binary(f, x, y) => {
                let divisor = match self.f.node(*y) {
                    ScalarNode::Const(c) => Some(*c as i64),
                    _ => None,
                };
                let (x, y) = (at(x)?, at(y)?);
                if d.is_float() { self.float_binary(*f, x, y, d) } else { self.int_binary(*f, x, y, d, divisor) }
            }
            ScalarNode::Compare(r, x, y) => {
                let from = self.f.dtype(*x);
                let (x, y) = (at(x)?, at(y)?);
                Ok(if from.is_float() {
                    self.b.ins().fcmp(float_cc(*r), x, y)
                } else {
                    self.b.ins().icmp(int_cc(*r, from), x, y)
                })
            }
            ScalarNode::Select(c, x, y) => {
                let (c, x, y) = (at(c)?, at(x)?, at(y)?);
                Ok(self.b.ins().select(c, x, y))
            }
            ScalarNode::Cast(a) => {
                let x = at(a)?;
                Ok(cast(self.b, x, self.f.dtype(*a), d))
            }
        }
    }

    /// Reads an element. Where it might lie outside the buffer (a guard that fails, an index that was itself
    /// read, an arm that a select does not take) the address is moved inside.
    fn load(
        &mut self,
        input: usize,
        index: &[Expr],
        guard: Option<(Value, Value)>,
        risky: bool,
        values: &[Option<Value>],
    ) -> Result<Value, CodegenError> {
        let (base, storage) =
            self.inputs.get(input).ok_or_else(|| CodegenError::Internal("a loop body reads no input".into()))?;
        let size = storage.dtype.size();
        if storage.bytes < size {
            return Ok(match guard {
                Some((_, otherwise)) => otherwise,
                None => literal(self.b, 0.0, storage.dtype),
            });
        }
        let forms: Vec<Linear> = {
            let mut opaque = |e: Expr| values[e.0 as usize].unwrap_or(*base);
            index.iter().map(|&e| linear(self.f, e, self.axes, &mut opaque)).collect()
        };
        let at = offset(self.b, storage, &forms);
        let d = storage.dtype;
        if !risky && guard.is_none() {
            let (address, displacement) = at.address(self.b, *base);
            return Ok(load(self.b, d, address, displacement));
        }
        let mut bytes = at.emit(self.b);
        if risky {
            let last = self.b.ins().iconst(I64, (storage.bytes - size) as i64);
            bytes = self.b.ins().umin(bytes, last);
        }
        if let Some((inside, otherwise)) = guard {
            let zero = self.b.ins().iconst(I64, 0);
            let bytes = self.b.ins().select(inside, bytes, zero);
            let address = self.b.ins().iadd(*base, bytes);
            let x = load(self.b, d, address, 0);
            return Ok(self.b.ins().select(inside, x, otherwise));
        }
        let address = self.b.ins().iadd(*base, bytes);
        Ok(load(self.b, d, address, 0))
    }

    fn call(&mut self, h: Helper, args: &[Value]) -> Result<Value, CodegenError> {
        let id = self.helpers.get(self.module, h)?;
        let f = self.module.declare_func_in_func(id, self.b.func);
        let call = self.b.ins().call(f, args);
        Ok(self.b.inst_results(call)[0])
    }

    /// A function on `f64`; a value of class `f32` is promoted for it.
    fn call_wide(&mut self, h: Helper, args: &[Value], d: DType) -> Result<Value, CodegenError> {
        if class(d) == F64 {
            return self.call(h, args);
        }
        let wide: Vec<Value> = args.iter().map(|&x| self.b.ins().fpromote(F64, x)).collect();
        let y = self.call(h, &wide)?;
        Ok(self.b.ins().fdemote(F32, y))
    }

    fn float_literal(&mut self, x: f64, d: DType) -> Value {
        literal(self.b, x, d)
    }

    fn float_unary(&mut self, f: Unary, x: Value, d: DType) -> Result<Value, CodegenError> {
        let wide = class(d) == F64;
        let own = |own: Helper, libm: &'static str| if wide { Helper::Libm1(libm) } else { own };
        let helper = match f {
            Unary::Exp => own(Helper::Exp, "exp"),
            Unary::Log => own(Helper::Log, "log"),
            Unary::Tanh => own(Helper::Tanh, "tanh"),
            Unary::Erf => own(Helper::Erf, "erf"),
            Unary::Sin => Helper::Libm1("sin"),
            Unary::Cos => Helper::Libm1("cos"),
            Unary::Tan => Helper::Libm1("tan"),
            Unary::Asin => Helper::Libm1("asin"),
            Unary::Acos => Helper::Libm1("acos"),
            Unary::Atan => Helper::Libm1("atan"),
            Unary::Sinh => Helper::Libm1("sinh"),
            Unary::Cosh => Helper::Libm1("cosh"),
            Unary::Asinh => Helper::Libm1("asinh"),
            Unary::Acosh => Helper::Libm1("acosh"),
            Unary::Atanh => Helper::Libm1("atanh"),
            _ => return Ok(self.simple_float_unary(f, x, d)),
        };
        self.call_wide(helper, &[x], d)
    }

    fn simple_float_unary(&mut self, f: Unary, x: Value, d: DType) -> Value {
        match f {
            Unary::Neg => self.b.ins().fneg(x),
            Unary::Abs => self.b.ins().fabs(x),
            Unary::Sqrt => self.b.ins().sqrt(x),
            Unary::Floor => self.b.ins().floor(x),
            Unary::Ceil => self.b.ins().ceil(x),
            Unary::Trunc => self.b.ins().trunc(x),
            Unary::Round => self.b.ins().nearest(x),
            Unary::IsNan => self.b.ins().fcmp(FloatCC::Unordered, x, x),
            Unary::IsInf => {
                let size = self.b.ins().fabs(x);
                let inf = self.float_literal(f64::INFINITY, d);
                self.b.ins().fcmp(FloatCC::Equal, size, inf)
            }
            // Sign; zero and NaN are their own.
            _ => {
                let (zero, one) = (self.float_literal(0.0, d), self.float_literal(1.0, d));
                let minus = self.float_literal(-1.0, d);
                let below = self.b.ins().fcmp(FloatCC::LessThan, x, zero);
                let y = self.b.ins().select(below, minus, x);
                let above = self.b.ins().fcmp(FloatCC::GreaterThan, x, zero);
                self.b.ins().select(above, one, y)
            }
        }
    }

    fn int_unary(&mut self, f: Unary, x: Value, d: DType) -> Value {
        let unsigned = !d.is_signed_int();
        match f {
            Unary::Not if d == DType::Bool => self.b.ins().bxor_imm_s(x, 1),
            Unary::Not => {
                let y = self.b.ins().bnot(x);
                wrap(self.b, d, y)
            }
            Unary::Neg => {
                let y = self.b.ins().ineg(x);
                wrap(self.b, d, y)
            }
            Unary::Abs if unsigned => x,
            Unary::Abs => {
                let y = self.b.ins().iabs(x);
                wrap(self.b, d, y)
            }
            _ => {
                let ty = self.b.func.dfg.value_type(x);
                let positive =
                    self.b.ins().icmp_imm_s(if unsigned { IntCC::NotEqual } else { IntCC::SignedGreaterThan }, x, 0);
                let (one, zero) = (self.b.ins().iconst(ty, 1), self.b.ins().iconst(ty, 0));
                let y = self.b.ins().select(positive, one, zero);
                if unsigned {
                    return y;
                }
                let minus = self.b.ins().iconst(ty, -1);
                let negative = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, x, 0);
                self.b.ins().select(negative, minus, y)
            }
        }
    }

    /// See [`mnnc_ir::scalar::Binary`]. Also how reductions combine.
    pub fn float_binary(&mut self, f: Binary, x: Value, y: Value, d: DType) -> Result<Value, CodegenError> {
        Ok(match f {
            Binary::Add => self.b.ins().fadd(x, y),
            Binary::Sub => self.b.ins().fsub(x, y),
            Binary::Mul => self.b.ins().fmul(x, y),
            Binary::Div => self.b.ins().fdiv(x, y),
            Binary::Min => self.b.ins().fmin(x, y),
            Binary::Max => self.b.ins().fmax(x, y),
            Binary::Rem => return self.call_wide(Helper::Libm2("fmod"), &[x, y], d),
            Binary::Pow => return self.call_wide(Helper::Libm2("pow"), &[x, y], d),
            _ => return Err(CodegenError::Internal(format!("{f:?} is not for floats"))),
        })
    }

    fn int_binary(
        &mut self,
        f: Binary,
        x: Value,
        y: Value,
        d: DType,
        constant: Option<i64>,
    ) -> Result<Value, CodegenError> {
        if d == DType::Bool {
            return Ok(self.bool_binary(f, x, y));
        }
        let wide = d == DType::U64;
        Ok(match f {
            Binary::Add => {
                let t = self.b.ins().iadd(x, y);
                wrap(self.b, d, t)
            }
            Binary::Sub => {
                let t = self.b.ins().isub(x, y);
                wrap(self.b, d, t)
            }
            Binary::Mul => {
                let t = self.b.ins().imul(x, y);
                wrap(self.b, d, t)
            }
            Binary::Div | Binary::Rem => self.divide(f == Binary::Div, x, y, d, constant),
            Binary::Pow => return self.int_power(x, y, d),
            Binary::Min if wide => self.b.ins().umin(x, y),
            Binary::Min => self.b.ins().smin(x, y),
            Binary::Max if wide => self.b.ins().umax(x, y),
            Binary::Max => self.b.ins().smax(x, y),
            Binary::And => self.b.ins().band(x, y),
            Binary::Or => self.b.ins().bor(x, y),
            Binary::Xor => self.b.ins().bxor(x, y),
            Binary::Shl | Binary::Shr => {
                let bits = 8 * d.size() as i64;
                let inside = self.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, y, bits);
                let zero = self.b.ins().iconst(I64, 0);
                match (f, wide) {
                    (Binary::Shl, _) => {
                        let t = self.b.ins().ishl(x, y);
                        let t = wrap(self.b, d, t);
                        self.b.ins().select(inside, t, zero)
                    }
                    (_, true) => {
                        let t = self.b.ins().ushr(x, y);
                        self.b.ins().select(inside, t, zero)
                    }
                    _ => {
                        let all = self.b.ins().iconst(I64, 63);
                        let y = self.b.ins().select(inside, y, all);
                        self.b.ins().sshr(x, y)
                    }
                }
            }
        })
    }

    fn bool_binary(&mut self, f: Binary, x: Value, y: Value) -> Value {
        match f {
            Binary::Or | Binary::Max | Binary::Add => self.b.ins().bor(x, y),
            Binary::Xor | Binary::Sub => self.b.ins().bxor(x, y),
            _ => self.b.ins().band(x, y),
        }
    }

    /// Quotient or remainder; 0 for a divisor of zero, and no trap for the one quotient that overflows.
    fn divide(&mut self, quotient: bool, x: Value, y: Value, d: DType, constant: Option<i64>) -> Value {
        if d == DType::U64 {
            let zero = self.b.ins().icmp_imm_s(IntCC::Equal, y, 0);
            let (one, none) = (self.b.ins().iconst(I64, 1), self.b.ins().iconst(I64, 0));
            let safe = self.b.ins().select(zero, one, y);
            let r = if quotient { self.b.ins().udiv(x, safe) } else { self.b.ins().urem(x, safe) };
            return self.b.ins().select(zero, none, r);
        }
        if constant.is_some_and(|c| c > 0) {
            return if quotient { self.b.ins().sdiv(x, y) } else { self.b.ins().srem(x, y) };
        }
        let next = self.b.ins().iadd_imm_s(y, 1);
        // y is 0 or -1.
        let special = self.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, next, 2);
        let (one, none) = (self.b.ins().iconst(I64, 1), self.b.ins().iconst(I64, 0));
        let safe = self.b.ins().select(special, one, y);
        if !quotient {
            let r = self.b.ins().srem(x, safe);
            return self.b.ins().select(special, none, r);
        }
        let q = self.b.ins().sdiv(x, safe);
        // -x * (y == -1): x * y is both -x and 0.
        let by_special = self.b.ins().imul(x, y);
        let q = self.b.ins().select(special, by_special, q);
        wrap(self.b, d, q)
    }

    fn int_power(&mut self, x: Value, n: Value, d: DType) -> Result<Value, CodegenError> {
        if d == DType::U64 {
            return self.call(Helper::IntPow, &[x, n]);
        }
        // A negative exponent leaves 0, but for |x| = 1: then the exponent's parity is all that counts.
        let negative = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, n, 0);
        let parity = self.b.ins().band_imm_s(n, 1);
        let exponent = self.b.ins().select(negative, parity, n);
        let y = self.call(Helper::IntPow, &[x, exponent])?;
        let y = wrap(self.b, d, y);
        let next = self.b.ins().iadd_imm_s(x, 1);
        let unit = self.b.ins().band_imm_s(next, !2);
        let not_unit = self.b.ins().icmp_imm_s(IntCC::NotEqual, unit, 0);
        let vanishes = self.b.ins().band(negative, not_unit);
        let zero = self.b.ins().iconst(I64, 0);
        let inverse_even = self.b.ins().select(vanishes, zero, y);
        Ok(inverse_even)
    }

    /// Combines two values of type `d` as a reduction does.
    pub fn combine(&mut self, f: Binary, x: Value, y: Value, d: DType) -> Result<Value, CodegenError> {
        if d.is_float() { self.float_binary(f, x, y, d) } else { self.int_binary(f, x, y, d, None) }
    }
}

fn float_cc(r: Cmp) -> FloatCC {
    match r {
        Cmp::Eq => FloatCC::Equal,
        Cmp::Ne => FloatCC::NotEqual,
        Cmp::Lt => FloatCC::LessThan,
        Cmp::Le => FloatCC::LessThanOrEqual,
        Cmp::Gt => FloatCC::GreaterThan,
        Cmp::Ge => FloatCC::GreaterThanOrEqual,
    }
}

fn int_cc(r: Cmp, d: DType) -> IntCC {
    let unsigned = d == DType::U64 || class(d) == I8;
    match (r, unsigned) {
        (Cmp::Eq, _) => IntCC::Equal,
        (Cmp::Ne, _) => IntCC::NotEqual,
        (Cmp::Lt, false) => IntCC::SignedLessThan,
        (Cmp::Le, false) => IntCC::SignedLessThanOrEqual,
        (Cmp::Gt, false) => IntCC::SignedGreaterThan,
        (Cmp::Ge, false) => IntCC::SignedGreaterThanOrEqual,
        (Cmp::Lt, true) => IntCC::UnsignedLessThan,
        (Cmp::Le, true) => IntCC::UnsignedLessThanOrEqual,
        (Cmp::Gt, true) => IntCC::UnsignedGreaterThan,
        (Cmp::Ge, true) => IntCC::UnsignedGreaterThanOrEqual,
    }
}

/// Operands of a node, with whether each is evaluated whenever the node is.
fn operands(node: &ScalarNode, visit: &mut dyn FnMut(Expr, bool)) {
    match node {
        ScalarNode::Arg(_) | ScalarNode::Const(_) | ScalarNode::Axis(_) => {}
        ScalarNode::Load { index, guard, .. } => {
            index.iter().for_each(|&e| visit(e, guard.is_none()));
            if let Some((c, o)) = guard {
                visit(*c, true);
                visit(*o, false);
            }
        }
        ScalarNode::Unary(_, a) | ScalarNode::Cast(a) => visit(*a, true),
        ScalarNode::Binary(_, x, y) | ScalarNode::Compare(_, x, y) => {
            visit(*x, true);
            visit(*y, true);
        }
        ScalarNode::Select(c, x, y) => {
            visit(*c, true);
            visit(*x, false);
            visit(*y, false);
        }
    }
}

/// The nodes that the result depends on.
fn needed(f: &ScalarFn) -> Vec<bool> {
    reach(f, false)
}

/// The nodes that are evaluated whatever the data: not those that only an arm of a select or a guarded load leads to.
fn certain(f: &ScalarFn) -> Vec<bool> {
    reach(f, true)
}

fn reach(f: &ScalarFn, certain: bool) -> Vec<bool> {
    let mut seen = vec![false; f.nodes.len()];
    seen[f.result.0 as usize] = true;
    for i in (0..f.nodes.len()).rev().filter(|&i| i <= f.result.0 as usize) {
        if seen[i] {
            operands(&f.nodes[i].0, &mut |e, always| seen[e.0 as usize] |= always || !certain);
        }
    }
    seen
}

/// The nodes whose value depends on an element read.
fn data_dependent(f: &ScalarFn) -> Vec<bool> {
    let mut out = vec![false; f.nodes.len()];
    for (i, (node, _)) in f.nodes.iter().enumerate() {
        let mut any = matches!(node, ScalarNode::Load { .. } | ScalarNode::Arg(_));
        operands(node, &mut |e, _| any |= out[e.0 as usize]);
        out[i] = any;
    }
    out
}
