//! Scalar expressions: what an op computes for one element.
//!
//! An element-wise op states its formula once, in this language. The reference evaluator runs it, the native
//! code generators compile it (alone, or as the epilogue of a fused kernel), the `.mnn` writer decomposes an op
//! that MNN lacks by it. With [`ScalarNode::Axis`] and [`ScalarNode::Load`] the same language is the body of a loop
//! nest ([`crate::compute`]).
//!
//! Every node is typed. Arithmetic on `f16`/`bf16` is carried out in `f32` and rounded once, at the result.
//! Integer arithmetic wraps. A select evaluates only the arm it takes, as far as anyone can observe.

use crate::dtype::DType;

/// A node of a [`ScalarFn`].
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Expr(pub u32);

/// One-operand functions. Float unless said.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the standard functions of these names")]
pub enum Unary {
    /// Also on integers (wraps).
    Neg,
    /// Also on integers (wraps).
    Abs,
    /// -1, 0 or 1; NaN stays NaN. Also on integers.
    Sign,
    Sqrt,
    Exp,
    Log,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Erf,
    Floor,
    Ceil,
    Trunc,
    /// Half to even.
    Round,
    /// Float to bool.
    IsNan,
    /// Float to bool; both infinities.
    IsInf,
    /// Logical on bool, bitwise on integers.
    Not,
}

/// Two-operand functions on equal types.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Binary {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient; integers truncate, and give 0 for a zero divisor.
    Div,
    /// Remainder with the dividend's sign (C `fmod`, `%`); 0 for an integer divisor of zero.
    Rem,
    /// Power.
    Pow,
    /// The lesser; NaN if either is NaN.
    Min,
    /// The greater; NaN if either is NaN.
    Max,
    /// Logical on bool, bitwise on integers.
    And,
    /// Logical on bool, bitwise on integers.
    Or,
    /// Logical on bool, bitwise on integers.
    Xor,
    /// Left shift of integers; 0 for a distance of the width or more.
    Shl,
    /// Right shift of integers, arithmetic if signed.
    Shr,
}

/// Ordered comparisons to bool: false if an operand is NaN, but for `Ne`.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the standard relations")]
pub enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// Where a load reads.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// Operand of the op.
    Input(usize),
    /// Result of an earlier stage of the same [`crate::compute::Compute`].
    Stage(usize),
}

/// One typed node; operands come earlier in the function.
#[derive(Clone, PartialEq, Debug)]
pub enum ScalarNode {
    /// The element of an operand at the current position (element-wise form).
    Arg(usize),
    /// A float or integer literal in the node's type.
    Const(f64),
    /// The current index along a loop dimension, `i64` (loop form).
    Axis(usize),
    /// An element at computed indices (loop form). With a guard `(in_bounds, otherwise)`, the element is read only
    /// where `in_bounds` holds; without one the indices must be in bounds.
    Load {
        /// What is read.
        source: Source,
        /// One `i64` index for each dimension.
        index: Vec<Expr>,
        /// Condition and replacement.
        guard: Option<(Expr, Expr)>,
    },
    /// Function of one operand.
    Unary(Unary, Expr),
    /// Function of two operands.
    Binary(Binary, Expr, Expr),
    /// Comparison.
    Compare(Cmp, Expr, Expr),
    /// `if cond { a } else { b }`.
    Select(Expr, Expr, Expr),
    /// Conversion to the node's type: float to integer truncates and saturates, to bool is `!= 0`.
    Cast(Expr),
}

/// A scalar function: nodes in order of evaluation, the last use being `result`.
#[derive(Clone, PartialEq, Debug)]
pub struct ScalarFn {
    /// Nodes with their types.
    pub nodes: Vec<(ScalarNode, DType)>,
    /// What the function returns.
    pub result: Expr,
}

impl ScalarFn {
    /// The type of a node.
    pub fn dtype(&self, e: Expr) -> DType {
        self.nodes[e.0 as usize].1
    }
    /// A node.
    pub fn node(&self, e: Expr) -> &ScalarNode {
        &self.nodes[e.0 as usize].0
    }
}

/// Builds a [`ScalarFn`]. Equal nodes are shared.
///
/// # Panics
/// The methods panic when operand types do not fit: a declaration that is wrong, never a model.
#[derive(Clone, Debug, Default)]
pub struct ScalarBuilder {
    nodes: Vec<(ScalarNode, DType)>,
}

impl ScalarBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }
    fn push(&mut self, n: ScalarNode, d: DType) -> Expr {
        let key = (n, d);
        // NaN literals never compare equal; a second copy does no harm.
        if let Some(i) = self.nodes.iter().position(|x| *x == key) {
            return Expr(i as u32);
        }
        self.nodes.push(key);
        Expr((self.nodes.len() - 1) as u32)
    }
    /// The type of a node built so far.
    pub fn dtype(&self, e: Expr) -> DType {
        self.nodes[e.0 as usize].1
    }
    /// The current element of operand `i`.
    pub fn arg(&mut self, i: usize, d: DType) -> Expr {
        self.push(ScalarNode::Arg(i), d)
    }
    /// A literal of type `d`.
    pub fn constant(&mut self, x: f64, d: DType) -> Expr {
        self.push(ScalarNode::Const(x), d)
    }
    /// A literal of the type of `like`.
    pub fn lit(&mut self, x: f64, like: Expr) -> Expr {
        self.constant(x, self.dtype(like))
    }
    /// An index literal.
    pub fn int(&mut self, x: i64) -> Expr {
        self.constant(x as f64, DType::I64)
    }
    /// The index along loop dimension `i`.
    pub fn axis(&mut self, i: usize) -> Expr {
        self.push(ScalarNode::Axis(i), DType::I64)
    }
    /// An element that is known to be in bounds.
    pub fn load(&mut self, source: Source, index: Vec<Expr>, d: DType) -> Expr {
        self.push(ScalarNode::Load { source, index, guard: None }, d)
    }
    /// An element, or `otherwise` where `in_bounds` does not hold.
    pub fn load_or(&mut self, source: Source, index: Vec<Expr>, in_bounds: Expr, otherwise: Expr) -> Expr {
        let d = self.dtype(otherwise);
        assert_eq!(self.dtype(in_bounds), DType::Bool, "guard");
        self.push(ScalarNode::Load { source, index, guard: Some((in_bounds, otherwise)) }, d)
    }
    /// `f(a)`.
    pub fn unary(&mut self, f: Unary, a: Expr) -> Expr {
        let d = match f {
            Unary::IsNan | Unary::IsInf => DType::Bool,
            _ => self.dtype(a),
        };
        self.push(ScalarNode::Unary(f, a), d)
    }
    /// `f(a, b)`.
    pub fn binary(&mut self, f: Binary, a: Expr, b: Expr) -> Expr {
        assert_eq!(self.dtype(a), self.dtype(b), "{f:?}");
        let d = self.dtype(a);
        self.push(ScalarNode::Binary(f, a, b), d)
    }
    /// `a <rel> b`.
    pub fn compare(&mut self, rel: Cmp, a: Expr, b: Expr) -> Expr {
        assert_eq!(self.dtype(a), self.dtype(b), "{rel:?}");
        self.push(ScalarNode::Compare(rel, a, b), DType::Bool)
    }
    /// `if c { a } else { b }`.
    pub fn select(&mut self, c: Expr, a: Expr, b: Expr) -> Expr {
        assert_eq!(self.dtype(c), DType::Bool, "select");
        assert_eq!(self.dtype(a), self.dtype(b), "select");
        let d = self.dtype(a);
        self.push(ScalarNode::Select(c, a, b), d)
    }
    /// Conversion. A literal of an integer type that the other type holds for certain is one of that type.
    pub fn cast(&mut self, a: Expr, d: DType) -> Expr {
        let narrow = matches!(self.dtype(a), DType::I8 | DType::U8);
        match self.nodes[a.0 as usize].0 {
            _ if self.dtype(a) == d => a,
            ScalarNode::Const(x) if narrow && matches!(d, DType::F32 | DType::F64 | DType::I32) => self.constant(x, d),
            _ => self.push(ScalarNode::Cast(a), d),
        }
    }
    /// `a + b`.
    pub fn add(&mut self, a: Expr, b: Expr) -> Expr {
        self.binary(Binary::Add, a, b)
    }
    /// `a - b`.
    pub fn sub(&mut self, a: Expr, b: Expr) -> Expr {
        self.binary(Binary::Sub, a, b)
    }
    /// `a * b`.
    pub fn mul(&mut self, a: Expr, b: Expr) -> Expr {
        self.binary(Binary::Mul, a, b)
    }
    /// `a / b`.
    pub fn div(&mut self, a: Expr, b: Expr) -> Expr {
        self.binary(Binary::Div, a, b)
    }
    /// `min(a, b)`.
    pub fn min(&mut self, a: Expr, b: Expr) -> Expr {
        self.binary(Binary::Min, a, b)
    }
    /// `max(a, b)`.
    pub fn max(&mut self, a: Expr, b: Expr) -> Expr {
        self.binary(Binary::Max, a, b)
    }
    /// Copies the nodes of `f` in, its arguments replaced by `args`; returns its result. This is how chains of
    /// element-wise ops become one formula.
    pub fn inline(&mut self, f: &ScalarFn, args: &[Expr]) -> Expr {
        let mut map: Vec<Expr> = Vec::with_capacity(f.nodes.len());
        for (node, d) in &f.nodes {
            let at = |e: &Expr| map[e.0 as usize];
            let e = match node {
                ScalarNode::Arg(i) => args[*i],
                ScalarNode::Const(_) | ScalarNode::Axis(_) => self.push(node.clone(), *d),
                ScalarNode::Load { source, index, guard } => {
                    let n = ScalarNode::Load {
                        source: *source,
                        index: index.iter().map(at).collect(),
                        guard: guard.as_ref().map(|(c, o)| (at(c), at(o))),
                    };
                    self.push(n, *d)
                }
                ScalarNode::Unary(u, a) => self.push(ScalarNode::Unary(*u, at(a)), *d),
                ScalarNode::Binary(b, x, y) => self.push(ScalarNode::Binary(*b, at(x), at(y)), *d),
                ScalarNode::Compare(r, x, y) => self.push(ScalarNode::Compare(*r, at(x), at(y)), *d),
                ScalarNode::Select(c, x, y) => self.push(ScalarNode::Select(at(c), at(x), at(y)), *d),
                ScalarNode::Cast(a) => self.push(ScalarNode::Cast(at(a)), *d),
            };
            map.push(e);
        }
        map[f.result.0 as usize]
    }
    /// The finished function.
    pub fn finish(self, result: Expr) -> ScalarFn {
        ScalarFn { nodes: self.nodes, result }
    }
}
