//! Addresses of elements: index expressions as linear forms, so that what is constant goes into the instruction and what
//! an outer loop determines is computed there.

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::FunctionBuilder;
use mnnc_ir::scalar::{Binary, Expr, ScalarFn, ScalarNode};
use mnnc_kernel::Storage;

/// `constant + Σ factor * value`.
#[derive(Clone, Default, Debug)]
pub(super) struct Linear {
    pub terms: Vec<(Value, i64)>,
    pub constant: i64,
}

impl Linear {
    pub fn value(v: Value) -> Linear {
        Linear { terms: vec![(v, 1)], constant: 0 }
    }
    fn add(&mut self, o: &Linear, factor: i64) {
        self.constant = self.constant.wrapping_add(o.constant.wrapping_mul(factor));
        for &(v, f) in &o.terms {
            let f = f.wrapping_mul(factor);
            match self.terms.iter_mut().find(|(w, _)| *w == v) {
                Some((_, g)) => *g = g.wrapping_add(f),
                None => self.terms.push((v, f)),
            }
        }
        self.terms.retain(|(_, f)| *f != 0);
    }
    /// The value of the form.
    pub fn emit(&self, b: &mut FunctionBuilder) -> Value {
        let sum = self.emit_terms(b, None);
        match sum {
            None => b.ins().iconst(I64, self.constant),
            Some(s) if self.constant == 0 => s,
            Some(s) => b.ins().iadd_imm_s(s, self.constant),
        }
    }
    /// `start + Σ factor * value`, terms in their order: outer loops first, so that partial sums can be hoisted.
    fn emit_terms(&self, b: &mut FunctionBuilder, start: Option<Value>) -> Option<Value> {
        let mut sum = start;
        for &(v, f) in &self.terms {
            let t = match f {
                1 => v,
                f if f > 0 && f & (f - 1) == 0 => b.ins().ishl_imm_u(v, i64::from(f.trailing_zeros())),
                f => b.ins().imul_imm_s(v, f),
            };
            sum = Some(match sum {
                None => t,
                Some(s) => b.ins().iadd(s, t),
            });
        }
        sum
    }
    /// `base` plus the form, as an address and a constant displacement.
    pub fn address(&self, b: &mut FunctionBuilder, base: Value) -> (Value, i32) {
        let at = self.emit_terms(b, Some(base)).unwrap_or(base);
        match i32::try_from(self.constant) {
            Ok(c) => (at, c),
            Err(_) => (b.ins().iadd_imm_s(at, self.constant), 0),
        }
    }
}

/// An index expression as a linear form over loop indices and opaque values.
pub(super) fn linear(f: &ScalarFn, e: Expr, axes: &[Linear], opaque: &mut dyn FnMut(Expr) -> Value) -> Linear {
    let literal = |e: Expr| match f.node(e) {
        ScalarNode::Const(c) => Some(*c as i64),
        _ => None,
    };
    match f.node(e) {
        ScalarNode::Const(c) => Linear { terms: Vec::new(), constant: *c as i64 },
        ScalarNode::Axis(i) => axes[*i].clone(),
        ScalarNode::Binary(op @ (Binary::Add | Binary::Sub), x, y) => {
            let mut sum = linear(f, *x, axes, opaque);
            let y = linear(f, *y, axes, opaque);
            sum.add(&y, if *op == Binary::Add { 1 } else { -1 });
            sum
        }
        ScalarNode::Binary(Binary::Mul, x, y) => match (literal(*x), literal(*y)) {
            (_, Some(c)) => scaled(&linear(f, *x, axes, opaque), c),
            (Some(c), _) => scaled(&linear(f, *y, axes, opaque), c),
            _ => Linear::value(opaque(e)),
        },
        _ => Linear::value(opaque(e)),
    }
}

fn scaled(x: &Linear, c: i64) -> Linear {
    let mut out = Linear::default();
    out.add(x, c);
    out
}

/// Byte offset of an element from the start of its buffer.
pub(super) fn offset(b: &mut FunctionBuilder, storage: &Storage, index: &[Linear]) -> Linear {
    let mut at = Linear { terms: Vec::new(), constant: storage.offset as i64 };
    for (d, (i, &stride)) in index.iter().zip(&storage.strides).enumerate() {
        match storage.block {
            Some(block) if d == 1 => {
                let (outer, inner) = split(b, i, block as i64);
                at.add(&outer, stride as i64);
                at.add(&inner, storage.dtype.size() as i64);
            }
            _ => at.add(i, stride as i64),
        }
    }
    at
}

/// `(i / block, i % block)` for `i >= 0` and a power of two.
fn split(b: &mut FunctionBuilder, i: &Linear, block: i64) -> (Linear, Linear) {
    if i.terms.is_empty() {
        let part = |c| Linear { terms: Vec::new(), constant: c };
        return (part(i.constant.div_euclid(block)), part(i.constant.rem_euclid(block)));
    }
    let v = i.emit(b);
    let outer = b.ins().sshr_imm_u(v, i64::from(block.trailing_zeros()));
    let inner = b.ins().band_imm_s(v, block - 1);
    (Linear::value(outer), Linear::value(inner))
}
