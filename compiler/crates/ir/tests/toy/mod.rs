//! A few ops to build graphs from, so that this crate's tests need no other.
use mnnc_ir::decl::{AttrDecl, EvalCtx, Operand, Traits};
use mnnc_ir::*;

fn same(c: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    Ok(vec![c.input(0)?.clone()])
}
fn halves(c: &OpCtx, s: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let t = c.input(0)?;
    let first = *t.dims.first().ok_or_else(|| OpError::invalid("scalar"))?;
    let half = s.div(first, Dim::Const(2));
    let ty = t.with_dims(std::iter::once(half).chain(t.dims.iter().skip(1).copied()));
    Ok(vec![ty.clone(), ty])
}
fn body(c: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    Ok(c.regions[0].results.clone())
}
fn no_eval(_: &EvalCtx) -> Result<Vec<Tensor>, OpError> {
    Err(OpError::unsupported("toy"))
}

const BASE: OpDecl = OpDecl {
    name: "",
    family: "toy",
    doc: "",
    inputs: &[Operand::required("x", DTypeSet::ANY)],
    outputs: &[Operand::required("y", DTypeSet::ANY)],
    attrs: &[],
    regions: 0,
    traits: Traits::empty(),
    infer: same,
    eval: no_eval,
    scalar: None,
    compute: None,
    flops: |_| 0,
    samples: |_| Vec::new(),
};

pub static NEG: OpDecl = OpDecl { name: "neg", ..BASE };
pub static ADD: OpDecl = OpDecl {
    name: "add",
    inputs: &[
        Operand::required("a", DTypeSet::NUMERIC),
        Operand::required("b", DTypeSet::NUMERIC),
        Operand::optional("c", DTypeSet::NUMERIC),
    ],
    ..BASE
};
pub static SPLIT: OpDecl = OpDecl {
    name: "halve",
    outputs: &[Operand::required("a", DTypeSet::ANY), Operand::required("b", DTypeSet::ANY)],
    infer: halves,
    ..BASE
};
pub static TUNED: OpDecl = OpDecl {
    name: "tuned",
    attrs: &[
        AttrDecl::with_default("i", AttrKind::Int, AttrDefault::Int(0), ""),
        AttrDecl::optional("f", AttrKind::Float, ""),
        AttrDecl::optional("b", AttrKind::Bool, ""),
        AttrDecl::optional("s", AttrKind::Str, ""),
        AttrDecl::optional("d", AttrKind::DType, ""),
        AttrDecl::optional("ints", AttrKind::Ints, ""),
        AttrDecl::optional("floats", AttrKind::Floats, ""),
        AttrDecl::optional("strs", AttrKind::Strs, ""),
    ],
    ..BASE
};
pub static WRAP: OpDecl = OpDecl {
    name: "wrap",
    inputs: &[Operand::variadic("xs", DTypeSet::ANY)],
    outputs: &[Operand::variadic("ys", DTypeSet::ANY)],
    regions: 1,
    infer: body,
    ..BASE
};

pub fn lookup(name: &str) -> Option<&'static OpDecl> {
    [&NEG, &ADD, &SPLIT, &TUNED, &WRAP].into_iter().find(|o| o.name == name)
}

/// A small deterministic generator.
pub struct Rng(pub u64);
impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}
