//! Attributes of an ONNX node: typed access, and conversion to those of an IR op.

use super::tensor::dtype;
use mnnc_ir::{Attr, AttrKind, OpError};
use mnnc_schema::onnx::AttributeProto;
use mnnc_schema::onnx::attribute_proto::AttributeType;

/// The type of an attribute; files older than IR version 2 leave it out.
fn kind(a: &AttributeProto) -> AttributeType {
    match AttributeType::try_from(a.r#type) {
        Ok(AttributeType::Undefined) | Err(_) => match a {
            _ if a.i.is_some() => AttributeType::Int,
            _ if a.f.is_some() => AttributeType::Float,
            _ if a.s.is_some() => AttributeType::String,
            _ if a.t.is_some() => AttributeType::Tensor,
            _ if a.g.is_some() => AttributeType::Graph,
            _ if !a.ints.is_empty() => AttributeType::Ints,
            _ if !a.floats.is_empty() => AttributeType::Floats,
            _ if !a.strings.is_empty() => AttributeType::Strings,
            _ => AttributeType::Undefined,
        },
        Ok(t) => t,
    }
}

fn wrong(a: &AttributeProto, want: &str) -> OpError {
    let have = kind(a).as_str_name().to_lowercase();
    OpError::invalid(format!("attribute {} is of type {have}, expected {want}", a.name))
}

fn text(a: &AttributeProto, s: &[u8]) -> Result<String, OpError> {
    match std::str::from_utf8(s) {
        Ok(s) => Ok(s.to_string()),
        Err(_) => Err(OpError::invalid(format!("attribute {} is not UTF-8 text", a.name))),
    }
}

/// An integer.
pub(crate) fn int(a: &AttributeProto) -> Result<i64, OpError> {
    match kind(a) {
        AttributeType::Int => Ok(a.i.unwrap_or(0)),
        _ => Err(wrong(a, "int")),
    }
}

/// A float.
pub(crate) fn float(a: &AttributeProto) -> Result<f32, OpError> {
    match kind(a) {
        AttributeType::Float => Ok(a.f.unwrap_or(0.0)),
        _ => Err(wrong(a, "float")),
    }
}

/// Text.
pub(crate) fn string(a: &AttributeProto) -> Result<String, OpError> {
    match kind(a) {
        AttributeType::String => text(a, a.s.as_deref().unwrap_or(&[])),
        _ => Err(wrong(a, "string")),
    }
}

/// Integers; an empty list may have lost its type.
pub(crate) fn ints(a: &AttributeProto) -> Result<Vec<i64>, OpError> {
    match kind(a) {
        AttributeType::Ints | AttributeType::Undefined => Ok(a.ints.clone()),
        _ => Err(wrong(a, "ints")),
    }
}

/// Floats; an empty list may have lost its type.
pub(crate) fn floats(a: &AttributeProto) -> Result<Vec<f32>, OpError> {
    match kind(a) {
        AttributeType::Floats | AttributeType::Undefined => Ok(a.floats.clone()),
        _ => Err(wrong(a, "floats")),
    }
}

/// Texts.
pub(crate) fn strings(a: &AttributeProto) -> Result<Vec<String>, OpError> {
    match kind(a) {
        AttributeType::Strings | AttributeType::Undefined => a.strings.iter().map(|s| text(a, s)).collect(),
        _ => Err(wrong(a, "strings")),
    }
}

/// The attribute as an IR attribute of `want`.
pub(crate) fn convert(a: &AttributeProto, want: AttrKind) -> Result<Attr, OpError> {
    Ok(match want {
        AttrKind::Int => Attr::Int(int(a)?),
        AttrKind::Bool => Attr::Bool(int(a)? != 0),
        AttrKind::DType => {
            let number = i32::try_from(int(a)?).map_err(|_| wrong(a, "an element type"))?;
            Attr::DType(dtype(number)?)
        }
        AttrKind::Float => Attr::Float(float(a)?),
        AttrKind::Str => Attr::Str(string(a)?),
        AttrKind::Ints => Attr::Ints(ints(a)?),
        AttrKind::Floats => Attr::Floats(floats(a)?),
        AttrKind::Strs => Attr::Strs(strings(a)?),
    })
}
