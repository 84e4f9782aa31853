//! The catalogue as a document.

use mnnc_ir::decl::Arity;
use mnnc_ir::{Attr, AttrDecl, DType, OpDecl, Operand};
use std::fmt::Write;

/// Every op with operands, attributes and definition, as Markdown, a section for each family.
pub fn markdown() -> String {
    let mut families: Vec<&str> = Vec::new();
    for op in crate::ALL {
        if !families.contains(&op.family) {
            families.push(op.family);
        }
    }
    let mut out = String::from("# Ops\n");
    for family in families {
        let _ = write!(out, "\n## {family}\n");
        for op in crate::ALL.iter().filter(|op| op.family == family) {
            one(&mut out, op);
        }
    }
    out
}

fn one(out: &mut String, op: &OpDecl) {
    let list = |operands: &[Operand]| operands.iter().map(operand).collect::<Vec<_>>().join(", ");
    let _ = write!(out, "\n### {}\n\n{}\n\n`({}) -> ({})`\n", op.name, op.doc, list(op.inputs), list(op.outputs));
    if !op.attrs.is_empty() {
        out.push_str("\n| attribute | kind | default | meaning |\n|---|---|---|---|\n");
        for a in op.attrs {
            let _ = writeln!(out, "| {} | {:?} | {} | {} |", a.name, a.kind, default(a), a.doc);
        }
    }
}

/// `name: types`, with `?` if optional and `...` if there may be any number.
fn operand(o: &Operand) -> String {
    let suffix = match o.arity {
        Arity::Required => "",
        Arity::Optional => "?",
        Arity::Variadic => "...",
    };
    let types: Vec<&str> = DType::ALL.into_iter().filter(|&d| o.dtypes.has(d)).map(DType::name).collect();
    let types = if types.len() == DType::ALL.len() { "any".to_string() } else { types.join("|") };
    format!("{}{suffix}: {types}", o.name)
}

fn default(a: &AttrDecl) -> String {
    match a.default.map(Attr::from) {
        None => String::new(),
        Some(Attr::Int(x)) => x.to_string(),
        Some(Attr::Float(x)) => x.to_string(),
        Some(Attr::Bool(x)) => x.to_string(),
        Some(Attr::Str(x)) => format!("`{x}`"),
        Some(Attr::DType(x)) => x.to_string(),
        Some(Attr::Ints(x)) => format!("{x:?}"),
        Some(Attr::Floats(x)) => format!("{x:?}"),
        Some(Attr::Strs(x)) => format!("{x:?}"),
    }
}
