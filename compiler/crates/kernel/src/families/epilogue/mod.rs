//! Vector code of a scalar formula: the chain behind an anchor, or a whole element-wise kernel.
//!
//! Formulas are typed: lanes of `f32`, of `i32`, and of 8-bit integers extended to 32 bits. A chain from `i32` sums to requantised bytes
//! is emitted operation by operation as the reference evaluates it, a product and a sum never contracted into one rounding, so that
//! the bytes are equal, bit for bit; but what depends on nothing but one byte is a [table](lookup) where that is cheaper. A result of 8 bits may be
//! left out of its range: stores of bytes saturate.

pub mod bounds;
mod integer;
mod known;
mod lookup;
mod quotient;
mod support;

pub use support::{emits, is_number, is_supported, takes_floats};

use known::{emit_known, known};
use lookup::Lookup;
use mnnc_ir::DType;
use mnnc_ir::scalar::{Binary, Cmp, Expr, ScalarFn, ScalarNode, Unary};
use mnnc_vector::{Cmp as Rel, CmpType, KernelBuilder, Mask, Src, Target, Vector};

/// A node's value: still a constant, so that it can be an operand in memory, or in a register.
#[derive(Copy, Clone)]
pub(super) enum Val {
    Float(f32),
    Int(i32),
    Vec(Vector),
    Mask(Mask),
    /// Integers, or whole numbers in `f32`, each less by this than the node's: a zero point that is taken off again is never added.
    Less(Vector, i32, DType),
}

/// A formula made ready for a target: emitted once for each vector of a kernel.
pub struct Chain {
    f: ScalarFn,
    bounded: bool,
    /// Nodes that are looked up in a table wherever they are needed.
    lookups: Vec<Option<Lookup>>,
    /// How the result is looked up where the bytes of several vectors are together: that costs a part of a lookup for each.
    packed: Option<Lookup>,
}

impl Chain {
    /// For a formula that is [emitted](emits); `bounded` says that what is converted to integers is [in range](bounds::converts_in_range).
    pub fn new(target: &Target, f: &ScalarFn, bounded: bool) -> Chain {
        let indices = lookup::indices(f);
        let pays = |e: Expr, cost: usize| {
            let index = indices[e.0 as usize]?;
            if lookup::cost(f, e, index) > cost { lookup::tabulate(f, e, index) } else { None }
        };
        let cost = lookup::cost_of_one(target);
        let lookups: Vec<Option<Lookup>> = (0..f.nodes.len()).map(|i| pays(Expr(i as u32), cost)).collect();
        // What pays for one vector pays for four.
        let one = || lookups[f.result.0 as usize].clone();
        let bytes = f.dtype(f.result) == DType::U8;
        let packed = if bytes { one().or_else(|| pays(f.result, cost / 4 + 1)) } else { None };
        Chain { f: f.clone(), bounded, lookups, packed }
    }

    /// Emits the formula on one vector of elements; `arg` gives the vector of an argument and is called once for each
    /// use, at the place of its use, so that loads stay close to where they are needed.
    pub fn emit(&self, b: &mut KernelBuilder, arg: &mut dyn FnMut(&mut KernelBuilder, usize) -> Vector) -> Vector {
        self.emit_node_of(b, self.f.result, false, arg)
    }

    /// Emits the formula on one to four vectors, and puts the bytes of all results into one, those of the first vector first. `arg` is told
    /// which vector it is for.
    pub fn emit_packed(
        &self,
        b: &mut KernelBuilder,
        vectors: usize,
        arg: &mut dyn FnMut(&mut KernelBuilder, usize, usize) -> Vector,
    ) -> Vector {
        let of = self.packed.as_ref().map_or(self.f.result, |l| l.index);
        // Narrowing saturates unsigned bytes; of signed ones it must get the bits.
        let signed = self.f.dtype(of) == DType::I8;
        let values: Vec<Vector> = (0..vectors)
            .map(|v| {
                let value = self.emit_node_of(b, of, signed, &mut |b, i| arg(b, v, i));
                if signed { b.and(value, 0xff) } else { value }
            })
            .collect();
        let bytes = b.narrow_in_order(&values);
        match &self.packed {
            Some(l) => b.lookup_bytes(bytes, &l.table),
            None => bytes,
        }
    }

    /// A node and what it needs; one of 8 bits may be left out of its range unless it is to be `saturated`.
    fn emit_node_of(
        &self,
        b: &mut KernelBuilder,
        node: Expr,
        saturated: bool,
        arg: &mut dyn FnMut(&mut KernelBuilder, usize) -> Vector,
    ) -> Vector {
        let f = &self.f;
        let live = self.needed(node);
        let mut vals: Vec<Option<Val>> = vec![None; f.nodes.len()];
        for i in (0..f.nodes.len()).filter(|i| live[*i]) {
            let e = Expr(i as u32);
            let range = integer::Range { bounded: self.bounded, saturated: saturated || e != node };
            vals[i] = Some(match (&self.lookups[i], integer::conversion(f, e)) {
                (Some(l), _) => look_up(b, l, f.dtype(e), &vals),
                (None, Some(c)) => c.emit(b, &vals, range),
                (None, None) => {
                    complete(b, f, e, &mut vals);
                    emit_node(b, f, e, &vals, arg)
                }
            });
        }
        let result = vals[node.0 as usize].expect("a node needs itself");
        vector(b, result)
    }

    /// Nodes that a node depends on, and itself.
    fn needed(&self, node: Expr) -> Vec<bool> {
        let mut live = vec![false; self.f.nodes.len()];
        live[node.0 as usize] = true;
        for i in (0..self.f.nodes.len()).rev().filter(|i| *i <= node.0 as usize) {
            if live[i] {
                let of = match &self.lookups[i] {
                    Some(l) => vec![l.index],
                    None => operands(&self.f, Expr(i as u32)),
                };
                of.iter().for_each(|e| live[e.0 as usize] = true);
            }
        }
        live
    }
}

/// Emits the formula on one vector of elements: [`Chain::emit`] of a formula of floats that is needed once.
///
/// # Panics
/// If the formula is not one that is [emitted](emits).
pub fn emit(b: &mut KernelBuilder, f: &ScalarFn, arg: &mut dyn FnMut(&mut KernelBuilder, usize) -> Vector) -> Vector {
    Chain::new(&b.target(), f, false).emit(b, arg)
}

/// The lanes of a byte by those of the byte that selects it.
fn look_up(b: &mut KernelBuilder, l: &Lookup, dtype: DType, vals: &[Option<Val>]) -> Val {
    let index = vals[l.index.0 as usize].expect("operands come first");
    let index = vector(b, index);
    let bytes = b.lookup_bytes(index, &l.table);
    if dtype == DType::I8 {
        let top = b.shl_i32(bytes, 24);
        Val::Vec(b.shr_i32(top, 24))
    } else {
        Val::Vec(b.and(bytes, 0xff))
    }
}

fn operands(f: &ScalarFn, e: Expr) -> Vec<Expr> {
    let node = f.node(e);
    if let Some((_, known)) = known(f, node) {
        return known;
    }
    if let Some(c) = integer::conversion(f, e) {
        return vec![c.of];
    }
    match node {
        ScalarNode::Unary(_, a) | ScalarNode::Cast(a) => vec![*a],
        ScalarNode::Binary(_, a, b) | ScalarNode::Compare(_, a, b) => vec![*a, *b],
        ScalarNode::Select(c, a, b) => vec![*c, *a, *b],
        _ => Vec::new(),
    }
}

fn vector(b: &mut KernelBuilder, v: Val) -> Vector {
    match v {
        Val::Vec(v) => v,
        Val::Less(v, by, DType::F32) => b.add(v, by as f32),
        Val::Less(v, by, _) => b.add_i32(v, by),
        v => b.splat(source(v)),
    }
}

fn source(v: Val) -> Src {
    match v {
        Val::Float(x) => x.into(),
        Val::Int(x) => x.into(),
        Val::Vec(v) => v.into(),
        Val::Mask(_) => panic!("a truth value is used as a number"),
        Val::Less(..) => panic!("numbers that are not made whole"),
    }
}

fn mask(v: Val) -> Mask {
    match v {
        Val::Mask(m) => m,
        _ => panic!("a number is used as a truth value"),
    }
}

fn emit_node(
    b: &mut KernelBuilder,
    f: &ScalarFn,
    e: Expr,
    vals: &[Option<Val>],
    arg: &mut dyn FnMut(&mut KernelBuilder, usize) -> Vector,
) -> Val {
    let (node, dtype) = (f.node(e), f.dtype(e));
    if let Some(whole) = less_by(f, node, vals) {
        return whole;
    }
    let at = |e: &Expr| vals[e.0 as usize].expect("operands come first");
    if let Some((what, args)) = known(f, node) {
        let args: Vec<Val> = args.iter().map(at).collect();
        return emit_known(b, what, &args);
    }
    match node {
        ScalarNode::Arg(i) => Val::Vec(arg(b, *i)),
        ScalarNode::Const(x) if dtype == DType::F32 => Val::Float(*x as f32),
        ScalarNode::Const(x) => Val::Int(*x as i32),
        ScalarNode::Unary(u, a) => emit_unary(b, *u, at(a)),
        ScalarNode::Binary(op, x, y) if dtype != DType::F32 && dtype != DType::Bool => {
            integer::binary(b, *op, at(x), at(y))
        }
        ScalarNode::Binary(op, x, y) => emit_binary(b, *op, at(x), at(y)),
        ScalarNode::Compare(rel, x, y) => {
            let ty = if f.dtype(*x) == DType::F32 { CmpType::F32 } else { CmpType::I32 };
            let x = vector(b, at(x));
            let rel = match rel {
                Cmp::Eq => Rel::Eq,
                Cmp::Ne => Rel::Ne,
                Cmp::Lt => Rel::Lt,
                Cmp::Le => Rel::Le,
                Cmp::Gt => Rel::Gt,
                Cmp::Ge => Rel::Ge,
            };
            Val::Mask(b.compare(ty, rel, x, source(at(y))))
        }
        ScalarNode::Select(c, x, y) => {
            let (m, x) = (mask(at(c)), vector(b, at(x)));
            let y = vector(b, at(y));
            Val::Vec(b.select(m, x, y))
        }
        ScalarNode::Cast(a) => integer::cast(b, at(a), f.dtype(*a), dtype),
        ScalarNode::Axis(_) | ScalarNode::Load { .. } => panic!("not element-wise"),
    }
}

/// What is left of numbers without their zero point when it is subtracted.
fn less_by(f: &ScalarFn, node: &ScalarNode, vals: &[Option<Val>]) -> Option<Val> {
    let ScalarNode::Binary(Binary::Sub, x, y) = *node else { return None };
    match (vals[x.0 as usize]?, f.node(y)) {
        (Val::Less(v, by, _), ScalarNode::Const(zero)) if *zero == f64::from(by) => Some(Val::Vec(v)),
        _ => None,
    }
}

/// Adds the zero points that the operands of a node are less by, unless it takes them off again, or hands them on.
fn complete(b: &mut KernelBuilder, f: &ScalarFn, e: Expr, vals: &mut [Option<Val>]) {
    let node = f.node(e);
    if matches!(node, ScalarNode::Cast(_)) || less_by(f, node, vals).is_some() {
        return;
    }
    for operand in operands(f, e) {
        let v = &mut vals[operand.0 as usize];
        if let Some(less @ Val::Less(..)) = *v {
            *v = Some(Val::Vec(vector(b, less)));
        }
    }
}

fn emit_unary(b: &mut KernelBuilder, u: Unary, a: Val) -> Val {
    if let (Unary::Not, Val::Mask(m)) = (u, a) {
        return Val::Mask(b.mask_not(m));
    }
    let x = vector(b, a);
    Val::Vec(match u {
        Unary::Neg => b.neg(x),
        Unary::Abs => b.abs(x),
        Unary::Sqrt => b.sqrt(x),
        Unary::Floor => b.floor(x),
        Unary::Ceil => b.ceil(x),
        Unary::Trunc => b.trunc(x),
        Unary::Round => b.round(x),
        Unary::Exp => b.exp(x),
        Unary::Log => b.log(x),
        Unary::Tanh => b.tanh(x),
        Unary::Erf => b.erf(x),
        Unary::Sign => {
            // ±1 with x's sign where x is neither 0 nor NaN; there x itself is the answer.
            let sign = b.and(x, 0x8000_0000u32);
            let one = b.or(sign, 1.0f32);
            let (lt, gt) = (b.lt(x, 0.0f32), b.gt(x, 0.0f32));
            let nonzero = b.mask_or(lt, gt);
            b.select(nonzero, one, x)
        }
        Unary::IsNan => return Val::Mask(b.ne(x, x)),
        Unary::IsInf => {
            let magnitude = b.abs(x);
            return Val::Mask(b.eq(magnitude, f32::INFINITY));
        }
        _ => panic!("{u:?} has no vector form"),
    })
}

fn emit_binary(b: &mut KernelBuilder, op: Binary, x: Val, y: Val) -> Val {
    if let (Val::Mask(p), Val::Mask(q)) = (x, y) {
        return Val::Mask(match op {
            Binary::And => b.mask_and(p, q),
            Binary::Or => b.mask_or(p, q),
            Binary::Xor => b.mask_xor(p, q),
            _ => panic!("{op:?} on truth values"),
        });
    }
    // A constant stands last, where it can be read from memory.
    let (x, y) = match (op, x, y) {
        (Binary::Add | Binary::Mul, Val::Float(_), Val::Vec(_)) => (y, x),
        _ => (x, y),
    };
    Val::Vec(match op {
        Binary::Add => {
            let x = vector(b, x);
            b.add(x, source(y))
        }
        // Only the positive zero changes nothing.
        Binary::Sub if matches!(y, Val::Float(zero) if zero.to_bits() == 0) => return x,
        Binary::Sub => {
            let x = vector(b, x);
            b.sub(x, source(y))
        }
        Binary::Mul if matches!(y, Val::Float(1.0)) => return x,
        Binary::Mul => {
            let x = vector(b, x);
            b.mul(x, source(y))
        }
        Binary::Div if matches!(y, Val::Float(1.0)) => return x,
        Binary::Div => {
            let x = vector(b, x);
            match y {
                // Rounds alike either way.
                Val::Float(d) if quotient::is_power_of_two(d) => b.mul(x, 1.0 / d),
                y => b.div(x, source(y)),
            }
        }
        Binary::Min => extremum(b, x, y, KernelBuilder::min),
        Binary::Max => extremum(b, x, y, KernelBuilder::max),
        _ => panic!("{op:?} has no vector form"),
    })
}

/// Minimum or maximum that is NaN if either operand is. The machine's gives its second operand where the first is NaN, so
/// a constant goes first, and of two variables the first is tested.
fn extremum(b: &mut KernelBuilder, x: Val, y: Val, op: fn(&mut KernelBuilder, Vector, Vector) -> Vector) -> Vector {
    match (x, y) {
        (Val::Vec(v), Val::Float(c)) | (Val::Float(c), Val::Vec(v)) => {
            let c = b.splat(c);
            op(b, c, v)
        }
        _ => {
            let (x, y) = (vector(b, x), vector(b, y));
            let m = op(b, x, y);
            let nan = b.ne(x, x);
            b.select(nan, x, m)
        }
    }
}
