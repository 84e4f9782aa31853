//! Vector code of a scalar formula: the chain behind an anchor, or a whole element-wise kernel.

use mnnc_ir::DType;
use mnnc_ir::scalar::{Binary, Cmp, Expr, ScalarFn, ScalarNode, Unary};
use mnnc_vector::{KernelBuilder, Mask, Src, Vector};

/// Whether [`emit`] can do the formula: all of it on `f32`, truth values only inside.
pub fn is_supported(f: &ScalarFn) -> bool {
    f.dtype(f.result) == DType::F32
        && f.nodes.iter().all(|(node, dtype)| match node {
            ScalarNode::Arg(_) | ScalarNode::Const(_) => *dtype == DType::F32,
            ScalarNode::Unary(u, a) => match u {
                Unary::IsNan | Unary::IsInf => f.dtype(*a) == DType::F32,
                Unary::Not => *dtype == DType::Bool,
                Unary::Neg | Unary::Abs | Unary::Sqrt | Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Round => {
                    *dtype == DType::F32
                }
                Unary::Exp | Unary::Log | Unary::Tanh | Unary::Erf | Unary::Sign => *dtype == DType::F32,
                _ => false,
            },
            ScalarNode::Binary(op, ..) => match op {
                Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Min | Binary::Max => {
                    *dtype == DType::F32
                }
                Binary::And | Binary::Or | Binary::Xor => *dtype == DType::Bool,
                Binary::Pow | Binary::Rem | Binary::Shl | Binary::Shr => false,
            },
            ScalarNode::Compare(_, a, _) => f.dtype(*a) == DType::F32,
            ScalarNode::Select(..) => *dtype == DType::F32,
            ScalarNode::Cast(a) => *dtype == DType::F32 && f.dtype(*a) == DType::Bool,
            ScalarNode::Axis(_) | ScalarNode::Load { .. } => false,
        })
}

/// A node's value: still a constant, so that it can be an operand in memory, or in a register.
#[derive(Copy, Clone)]
enum Val {
    Const(f32),
    Vec(Vector),
    Mask(Mask),
}

/// Emits the formula on one vector of elements; `arg` gives the vector of an argument and is called once for each
/// use, at the place of its use, so that loads stay close to where they are needed.
///
/// # Panics
/// If the formula is not [`is_supported`].
pub fn emit(b: &mut KernelBuilder, f: &ScalarFn, arg: &mut dyn FnMut(&mut KernelBuilder, usize) -> Vector) -> Vector {
    let live = reachable(f);
    let mut vals: Vec<Option<Val>> = vec![None; f.nodes.len()];
    for (i, (node, _)) in f.nodes.iter().enumerate() {
        if live[i] {
            vals[i] = Some(emit_node(b, f, node, &vals, arg));
        }
    }
    let result = vals[f.result.0 as usize].expect("the result is reachable");
    vector(b, result)
}

/// Nodes that the result depends on.
fn reachable(f: &ScalarFn) -> Vec<bool> {
    let mut live = vec![false; f.nodes.len()];
    live[f.result.0 as usize] = true;
    for i in (0..f.nodes.len()).rev() {
        if live[i] {
            for e in operands(f, &f.nodes[i].0) {
                live[e.0 as usize] = true;
            }
        }
    }
    live
}

fn operands(f: &ScalarFn, node: &ScalarNode) -> Vec<Expr> {
    if let Some((_, known)) = known(f, node) {
        return known;
    }
    match node {
        ScalarNode::Unary(_, a) | ScalarNode::Cast(a) => vec![*a],
        ScalarNode::Binary(_, a, b) | ScalarNode::Compare(_, a, b) => vec![*a, *b],
        ScalarNode::Select(c, a, b) => vec![*c, *a, *b],
        _ => Vec::new(),
    }
}

/// What the vector level has a function of its own for.
#[derive(Copy, Clone)]
enum Known {
    /// `a / (1 + e^-z)`.
    LogisticTimes,
    /// `1 + tanh z = 2 / (1 + e^-2z)`.
    OnePlusTanh,
    /// `1 + erf z`.
    OnePlusErf,
}

/// Recognises such a function, and what it is of.
fn known(f: &ScalarFn, node: &ScalarNode) -> Option<(Known, Vec<Expr>)> {
    let is_one = |e: Expr| matches!(f.node(e), ScalarNode::Const(x) if *x == 1.0);
    let one_plus = |node: &ScalarNode| match *node {
        ScalarNode::Binary(Binary::Add, a, b) if is_one(a) => Some(b),
        ScalarNode::Binary(Binary::Add, a, b) if is_one(b) => Some(a),
        _ => None,
    };
    if let ScalarNode::Binary(Binary::Div, a, d) = *node {
        let ScalarNode::Unary(Unary::Exp, minus) = *f.node(one_plus(f.node(d))?) else { return None };
        let ScalarNode::Unary(Unary::Neg, z) = *f.node(minus) else { return None };
        return Some((Known::LogisticTimes, vec![a, z]));
    }
    match *f.node(one_plus(node)?) {
        ScalarNode::Unary(Unary::Tanh, z) => Some((Known::OnePlusTanh, vec![z])),
        ScalarNode::Unary(Unary::Erf, z) => Some((Known::OnePlusErf, vec![z])),
        _ => None,
    }
}

fn emit_known(b: &mut KernelBuilder, what: Known, args: &[Val]) -> Val {
    Val::Vec(match what {
        Known::LogisticTimes => {
            let z = vector(b, args[1]);
            let y = b.logistic(z);
            match args[0] {
                Val::Const(1.0) => y,
                a => b.mul(y, source(a)),
            }
        }
        Known::OnePlusTanh => {
            let z = vector(b, args[0]);
            let z = b.add(z, z);
            let y = b.logistic(z);
            b.add(y, y)
        }
        Known::OnePlusErf => {
            let z = vector(b, args[0]);
            b.one_plus_erf(z)
        }
    })
}

fn vector(b: &mut KernelBuilder, v: Val) -> Vector {
    match v {
        Val::Const(x) => b.splat(x),
        Val::Vec(v) => v,
        Val::Mask(_) => panic!("a truth value is used as a number"),
    }
}

fn source(v: Val) -> Src {
    match v {
        Val::Const(x) => x.into(),
        Val::Vec(v) => v.into(),
        Val::Mask(_) => panic!("a truth value is used as a number"),
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
    node: &ScalarNode,
    vals: &[Option<Val>],
    arg: &mut dyn FnMut(&mut KernelBuilder, usize) -> Vector,
) -> Val {
    let at = |e: &Expr| vals[e.0 as usize].expect("operands come first");
    if let Some((what, args)) = known(f, node) {
        let args: Vec<Val> = args.iter().map(at).collect();
        return emit_known(b, what, &args);
    }
    match node {
        ScalarNode::Arg(i) => Val::Vec(arg(b, *i)),
        ScalarNode::Const(x) => Val::Const(*x as f32),
        ScalarNode::Unary(u, a) => emit_unary(b, *u, at(a)),
        ScalarNode::Binary(op, x, y) => emit_binary(b, *op, at(x), at(y)),
        ScalarNode::Compare(rel, x, y) => {
            let x = vector(b, at(x));
            let y = source(at(y));
            Val::Mask(match rel {
                Cmp::Eq => b.eq(x, y),
                Cmp::Ne => b.ne(x, y),
                Cmp::Lt => b.lt(x, y),
                Cmp::Le => b.le(x, y),
                Cmp::Gt => b.gt(x, y),
                Cmp::Ge => b.ge(x, y),
            })
        }
        ScalarNode::Select(c, x, y) => {
            let (m, x) = (mask(at(c)), vector(b, at(x)));
            let y = vector(b, at(y));
            Val::Vec(b.select(m, x, y))
        }
        ScalarNode::Cast(a) => {
            debug_assert_eq!(f.dtype(*a), DType::Bool);
            let (one, zero) = (b.splat(1.0f32), b.zero());
            Val::Vec(b.select(mask(at(a)), one, zero))
        }
        ScalarNode::Axis(_) | ScalarNode::Load { .. } => panic!("not element-wise"),
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
        (Binary::Add | Binary::Mul, Val::Const(_), Val::Vec(_)) => (y, x),
        _ => (x, y),
    };
    Val::Vec(match op {
        Binary::Add => {
            let x = vector(b, x);
            b.add(x, source(y))
        }
        Binary::Sub => {
            let x = vector(b, x);
            b.sub(x, source(y))
        }
        Binary::Mul => {
            let x = vector(b, x);
            b.mul(x, source(y))
        }
        Binary::Div => {
            let x = vector(b, x);
            b.div(x, source(y))
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
        (Val::Vec(v), Val::Const(c)) | (Val::Const(c), Val::Vec(v)) => {
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
