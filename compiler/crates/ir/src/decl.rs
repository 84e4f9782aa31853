//! The declaration of an op: everything the compiler knows about it, in one place.
//!
//! Crate `mnnc-ops` holds the declarations, one family a file; this crate only says what a declaration is, so that
//! graph, printer, parser and verifier need not know any op.

use crate::attr::{Attr, AttrDefault, AttrKind, Attrs};
use crate::compute::Compute;
use crate::dim::SymTable;
use crate::dtype::{DType, DTypeSet};
use crate::scalar::{Expr, ScalarBuilder};
use crate::tensor::Tensor;
use crate::types::TensorType;
use std::fmt;

/// Whether an operand must be there.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Arity {
    /// Always.
    Required,
    /// May be absent.
    Optional,
    /// Any number, at the end of the list.
    Variadic,
}

/// An input or output of an op.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Operand {
    /// Name in documentation and errors.
    pub name: &'static str,
    /// Whether it must be there.
    pub arity: Arity,
    /// Element types that it may have.
    pub dtypes: DTypeSet,
}

impl Operand {
    /// A required operand.
    pub const fn required(name: &'static str, dtypes: DTypeSet) -> Operand {
        Operand { name, arity: Arity::Required, dtypes }
    }
    /// An operand that may be absent.
    pub const fn optional(name: &'static str, dtypes: DTypeSet) -> Operand {
        Operand { name, arity: Arity::Optional, dtypes }
    }
    /// The tail of the list.
    pub const fn variadic(name: &'static str, dtypes: DTypeSet) -> Operand {
        Operand { name, arity: Arity::Variadic, dtypes }
    }
}

/// An attribute of an op. Without a default it is optional: reading it gives `None` when it is unset.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct AttrDecl {
    /// Name.
    pub name: &'static str,
    /// Kind of value.
    pub kind: AttrKind,
    /// Value when unset.
    pub default: Option<AttrDefault>,
    /// One line of documentation.
    pub doc: &'static str,
}

impl AttrDecl {
    /// An attribute that is `None` when unset.
    pub const fn optional(name: &'static str, kind: AttrKind, doc: &'static str) -> AttrDecl {
        AttrDecl { name, kind, default: None, doc }
    }
    /// An attribute with a default.
    pub const fn with_default(name: &'static str, kind: AttrKind, default: AttrDefault, doc: &'static str) -> AttrDecl {
        AttrDecl { name, kind, default: Some(default), doc }
    }
}

bitflags::bitflags! {
    /// Properties that passes rely on.
    #[derive(Copy, Clone, PartialEq, Eq, Debug)]
    pub struct Traits: u8 {
        /// `op(a, b) == op(b, a)` to the bit.
        const COMMUTATIVE = 1;
        /// The output holds the input's elements in the same order (reshape and its kin): no work in native code.
        const VIEW = 2;
        /// Not a function of its inputs (random numbers): never folded, merged or dropped as equal.
        const IMPURE = 4;
        /// Applying the op twice is applying it once (relu, floor).
        const IDEMPOTENT = 8;
        /// Element-wise only where the operands behind the first are single numbers, and then of the first one's shape
        /// (quantising by one scale): see [`Graph::is_elementwise`](crate::Graph::is_elementwise).
        const BY_NUMBERS = 16;
    }
}

/// Why an op cannot be typed or evaluated. The caller adds file, node name and shapes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpError {
    /// What kind of mistake it is.
    pub kind: OpErrorKind,
    /// What is wrong and, where one exists, the remedy. No trailing full stop.
    pub message: String,
}

/// The kinds of [`OpError`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum OpErrorKind {
    /// The model breaks the op's definition.
    Invalid,
    /// The model is right, but this compiler cannot do it yet.
    Unsupported,
}

impl OpError {
    /// The model breaks the op's definition.
    pub fn invalid(message: impl Into<String>) -> OpError {
        OpError { kind: OpErrorKind::Invalid, message: message.into() }
    }
    /// The model is right, but this compiler cannot do it yet.
    pub fn unsupported(message: impl Into<String>) -> OpError {
        OpError { kind: OpErrorKind::Unsupported, message: message.into() }
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for OpError {}

/// What a region of a node takes and yields.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RegionSig {
    /// Types of its parameters.
    pub params: Vec<TensorType>,
    /// Types of its results.
    pub results: Vec<TensorType>,
}

/// What an op's functions get to see of a node.
#[derive(Copy, Clone, Debug)]
pub struct OpCtx<'a> {
    /// The declaration.
    pub op: &'static OpDecl,
    /// The explicit attributes.
    pub attrs: &'a Attrs,
    /// Types of the inputs; absent optional ones are `None`.
    pub inputs: &'a [Option<TensorType>],
    /// Values of those inputs that are constants.
    pub consts: &'a [Option<Tensor>],
    /// Signatures of the node's regions.
    pub regions: &'a [RegionSig],
    /// Number of outputs that the node has.
    pub num_outputs: usize,
    /// Types of the outputs; empty while they are being inferred.
    pub outputs: &'a [TensorType],
}

impl<'a> OpCtx<'a> {
    /// Checks the node against the declaration (arity, element types, attributes), then types its outputs.
    pub fn infer(&self, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
        self.check_signature()?;
        (self.op.infer)(self, syms)
    }
    /// Checks number and element types of inputs, number of outputs, names and kinds of attributes.
    pub fn check_signature(&self) -> Result<(), OpError> {
        let op = self.op;
        for i in 0..self.inputs.len().max(op.inputs.len()) {
            let Some(decl) = OpDecl::operand(op.inputs, i) else {
                let (n, m) = (self.inputs.len(), op.inputs.len());
                return Err(OpError::invalid(format!("{n} inputs given, {} takes at most {m}", op.name)));
            };
            match self.opt_input(i) {
                Some(ty) if !decl.dtypes.has(ty.dtype) => {
                    let allowed: Vec<&str> =
                        DType::ALL.into_iter().filter(|&d| decl.dtypes.has(d)).map(DType::name).collect();
                    return Err(OpError::invalid(format!(
                        "input {i} ({}) is {}, allowed are {}",
                        decl.name,
                        ty.dtype,
                        allowed.join(" ")
                    )));
                }
                None if decl.arity == Arity::Required => {
                    return Err(OpError::invalid(format!("input {i} ({}) is missing", decl.name)));
                }
                _ => {}
            }
        }
        if self.num_outputs > 0 && OpDecl::operand(op.outputs, self.num_outputs - 1).is_none() {
            let (n, m) = (self.num_outputs, op.outputs.len());
            return Err(OpError::invalid(format!("{n} outputs asked for, {} has at most {m}", op.name)));
        }
        for (name, value) in self.attrs.iter() {
            match op.attr(name) {
                None => return Err(OpError::invalid(format!("{} has no attribute {name}", op.name))),
                Some(a) if a.kind != value.kind() => {
                    let (has, wants) = (value.kind(), a.kind);
                    return Err(OpError::invalid(format!("attribute {name} is of kind {has:?}, not {wants:?}")));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
    /// Type of a required input.
    pub fn input(&self, i: usize) -> Result<&'a TensorType, OpError> {
        self.opt_input(i).ok_or_else(|| {
            let name = self.op.inputs.get(i).map_or("?", |o| o.name);
            OpError::invalid(format!("input {i} ({name}) is missing"))
        })
    }
    /// Type of an input that may be absent.
    pub fn opt_input(&self, i: usize) -> Option<&'a TensorType> {
        self.inputs.get(i).and_then(Option::as_ref)
    }
    /// Fully known shape of a required input.
    pub fn static_dims(&self, i: usize) -> Result<Vec<usize>, OpError> {
        self.input(i)?.static_dims().ok_or_else(|| {
            OpError::unsupported(format!("input {i} has a dynamic shape; fix it with --shape NAME=1x3x224x224"))
        })
    }
    /// Value of a constant input.
    pub fn const_input(&self, i: usize) -> Option<&'a Tensor> {
        self.consts.get(i).and_then(Option::as_ref)
    }
    /// Value of an integer parameter input that has to be constant.
    pub fn const_ints(&self, i: usize) -> Result<Vec<i64>, OpError> {
        let name = self.op.inputs.get(i).map_or("?", |o| o.name);
        let t = self.const_input(i).ok_or_else(|| {
            OpError::unsupported(format!("input {i} ({name}) is computed at run time; it must be a constant"))
        })?;
        t.to_i64s().ok_or_else(|| OpError::invalid(format!("input {i} ({name}) is {}, not integer", t.dtype())))
    }
    /// The value of an attribute: explicit, else the declared default, else `None`.
    pub fn attr(&self, name: &str) -> Option<Attr> {
        self.attrs.get(name).cloned().or_else(|| {
            let decl = self.op.attrs.iter().find(|a| a.name == name);
            debug_assert!(decl.is_some(), "{} declares no attribute {name}", self.op.name);
            decl.and_then(|a| a.default).map(Attr::from)
        })
    }
    fn typed<T>(&self, name: &str, pick: fn(Attr) -> Option<T>) -> Option<T> {
        self.attr(name).and_then(pick)
    }
    /// Integer attribute.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.typed(name, |a| if let Attr::Int(x) = a { Some(x) } else { None })
    }
    /// Float attribute.
    pub fn float(&self, name: &str) -> Option<f32> {
        self.typed(name, |a| if let Attr::Float(x) = a { Some(x) } else { None })
    }
    /// Flag attribute; false when unset without default.
    pub fn flag(&self, name: &str) -> bool {
        self.typed(name, |a| if let Attr::Bool(x) = a { Some(x) } else { None }).unwrap_or(false)
    }
    /// String attribute.
    pub fn string(&self, name: &str) -> Option<String> {
        self.typed(name, |a| if let Attr::Str(x) = a { Some(x) } else { None })
    }
    /// Element-type attribute.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        self.typed(name, |a| if let Attr::DType(x) = a { Some(x) } else { None })
    }
    /// Integer-list attribute.
    pub fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.typed(name, |a| if let Attr::Ints(x) = a { Some(x) } else { None })
    }
    /// Float-list attribute.
    pub fn floats(&self, name: &str) -> Option<Vec<f32>> {
        self.typed(name, |a| if let Attr::Floats(x) = a { Some(x) } else { None })
    }
}

/// Runs region `index` of the node being evaluated on the given parameters.
pub type RunRegion<'a> = dyn Fn(usize, &[Tensor]) -> Result<Vec<Tensor>, OpError> + 'a;

/// What an evaluation gets.
pub struct EvalCtx<'a> {
    /// The node; output types are those inferred for the actual inputs.
    pub op: OpCtx<'a>,
    /// Input values, absent optional ones `None`.
    pub inputs: &'a [Option<Tensor>],
    /// How to run the node's regions.
    pub run_region: &'a RunRegion<'a>,
}

impl<'a> EvalCtx<'a> {
    /// Value of a required input.
    pub fn input(&self, i: usize) -> Result<&'a Tensor, OpError> {
        self.opt_input(i).ok_or_else(|| OpError::invalid(format!("input {i} is missing")))
    }
    /// Value of an input that may be absent.
    pub fn opt_input(&self, i: usize) -> Option<&'a Tensor> {
        self.inputs.get(i).and_then(Option::as_ref)
    }
}

/// A random but valid use of an op, for property tests on every engine.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Attributes.
    pub attrs: Attrs,
    /// Input values.
    pub inputs: Vec<Option<Tensor>>,
    /// Which inputs are constants of the model (parameters such as weights and shapes).
    pub constant: Vec<bool>,
    /// Number of outputs.
    pub num_outputs: usize,
}

/// Attributes, then type and shape of each input.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |t: &Tensor| format!("{}{:?}", t.dtype(), t.dims());
        let inputs: Vec<String> = self.inputs.iter().map(|t| t.as_ref().map_or("-".to_string(), of)).collect();
        write!(f, "{:?} on {}", self.attrs, inputs.join(", "))
    }
}

/// The formula of an element-wise op: gets one expression for each input (absent ones `None`), already of the
/// input's type, and returns the output element.
pub type ScalarFormula = fn(&OpCtx, &mut ScalarBuilder, &[Option<Expr>]) -> Result<Expr, OpError>;

/// An op, declared once.
pub struct OpDecl {
    /// Unique name, `snake_case`.
    pub name: &'static str,
    /// The family that it is documented with.
    pub family: &'static str,
    /// What it computes, and where that is defined.
    pub doc: &'static str,
    /// Inputs.
    pub inputs: &'static [Operand],
    /// Outputs.
    pub outputs: &'static [Operand],
    /// Attributes.
    pub attrs: &'static [AttrDecl],
    /// Number of regions.
    pub regions: usize,
    /// Properties.
    pub traits: Traits,
    /// Output types from input types. Checks everything that the definition demands: it is the verifier too.
    pub infer: fn(&OpCtx, &mut SymTable) -> Result<Vec<TensorType>, OpError>,
    /// Reference evaluation.
    pub eval: fn(&EvalCtx) -> Result<Vec<Tensor>, OpError>,
    /// The formula, if the op is element-wise with broadcasting. It is an error where [`Traits::BY_NUMBERS`] is not met.
    pub scalar: Option<ScalarFormula>,
    /// The loop form, if it has one (element-wise ops get theirs from the formula).
    pub compute: Option<fn(&OpCtx) -> Result<Compute, OpError>>,
    /// Floating-point operations, a multiply-add counting two. Shapes are static.
    pub flops: fn(&OpCtx) -> u64,
    /// Random valid uses for tests, a function of the seed. An element-wise op that gives none gets them from its
    /// operands.
    pub samples: fn(u64) -> Vec<Sample>,
}

impl OpDecl {
    /// Whether the op works element by element; of a node, [`Graph::is_elementwise`](crate::Graph::is_elementwise) tells.
    pub fn is_elementwise(&self) -> bool {
        self.scalar.is_some()
    }
    /// The declared operand for position `i` of `list`; a variadic one stands for all positions from its own on.
    pub fn operand(list: &'static [Operand], i: usize) -> Option<&'static Operand> {
        list.get(i).or_else(|| list.last().filter(|o| o.arity == Arity::Variadic))
    }
    /// The declared attribute of this name.
    pub fn attr(&self, name: &str) -> Option<&'static AttrDecl> {
        self.attrs.iter().find(|a| a.name == name)
    }
}

impl PartialEq for OpDecl {
    fn eq(&self, other: &OpDecl) -> bool {
        self.name == other.name
    }
}

impl Eq for OpDecl {}

impl fmt::Debug for OpDecl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
