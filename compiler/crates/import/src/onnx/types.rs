//! `ValueInfoProto` to [`TensorType`], and the overrides of `--shape`.

use super::tensor::{MAX_RANK, dtype};
use mnnc_ir::{Dim, OpError, SymTable, TensorType, types::Dims};
use mnnc_schema::onnx::tensor_shape_proto::dimension::Value as DimValue;
use mnnc_schema::onnx::type_proto::{Tensor as TensorTypeProto, Value};
use mnnc_schema::onnx::{TensorShapeProto, TypeProto};
use std::collections::HashMap;

/// The tensor type in `t`; other kinds of types are not supported.
pub(crate) fn tensor_type(t: &TypeProto) -> Result<&TensorTypeProto, OpError> {
    let kind = match &t.value {
        Some(Value::TensorType(t)) => return Ok(t),
        Some(Value::SequenceType(_)) => "a sequence",
        Some(Value::MapType(_)) => "a map",
        Some(Value::OptionalType(_)) => "an optional",
        Some(Value::SparseTensorType(_)) => "a sparse tensor",
        Some(Value::OpaqueType(_)) => "of an opaque type",
        None => return Err(OpError::invalid("it has no type")),
    };
    Err(OpError::unsupported(format!("it is {kind}; only tensors are supported")))
}

/// Names that exporters write for a size that they know nothing about; two of them need not be equal.
fn means_unknown(param: &str) -> bool {
    matches!(param, "" | "?" | "None" | "-1")
}

/// One dimension. `sizes` holds the values that overrides have given to named ones.
fn dim(value: Option<&DimValue>, syms: &mut SymTable, sizes: &HashMap<String, u64>) -> Dim {
    match value {
        // Negative sizes are how some exporters write "any".
        Some(DimValue::DimValue(n)) => u64::try_from(*n).map_or_else(|_| syms.fresh(), Dim::Const),
        Some(DimValue::DimParam(p)) if !means_unknown(p) => match sizes.get(p) {
            Some(&n) => Dim::Const(n),
            None => syms.named(p),
        },
        _ => syms.fresh(),
    }
}

/// The stated shape.
pub(crate) fn dims(s: &TensorShapeProto, syms: &mut SymTable, sizes: &HashMap<String, u64>) -> Result<Dims, OpError> {
    if s.dim.len() > MAX_RANK {
        return Err(OpError::invalid(format!("rank {} is more than {MAX_RANK}", s.dim.len())));
    }
    Ok(s.dim.iter().map(|d| dim(d.value.as_ref(), syms, sizes)).collect())
}

/// Notes which named sizes an override of this input's shape gives.
///
/// # Errors
/// If the override does not fit the stated shape, or gives two sizes to one name.
pub(crate) fn bind_sizes(t: &TypeProto, given: &[u64], sizes: &mut HashMap<String, u64>) -> Result<(), OpError> {
    let Some(shape) = &tensor_type(t)?.shape else { return Ok(()) };
    if shape.dim.len() != given.len() {
        return Err(OpError::invalid(format!(
            "--shape gives {} dimensions, the model has {}",
            given.len(),
            shape.dim.len()
        )));
    }
    for (i, (d, &n)) in shape.dim.iter().zip(given).enumerate() {
        match &d.value {
            Some(DimValue::DimValue(m)) if *m >= 0 && *m as u64 != n => {
                return Err(OpError::invalid(format!(
                    "--shape gives {n} for dimension {i}, which the model fixes at {m}"
                )));
            }
            Some(DimValue::DimParam(p)) if !means_unknown(p) => {
                if let Some(old) = sizes.insert(p.clone(), n)
                    && old != n
                {
                    return Err(OpError::invalid(format!("--shape gives both {old} and {n} to dimension \"{p}\"")));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The type of a graph input.
pub(crate) fn input_type(
    t: Option<&TypeProto>,
    given: Option<&[u64]>,
    syms: &mut SymTable,
    sizes: &HashMap<String, u64>,
) -> Result<TensorType, OpError> {
    let t = tensor_type(t.ok_or_else(|| OpError::invalid("it has no type"))?)?;
    let dtype = dtype(t.elem_type)?;
    let dims = match (given, &t.shape) {
        (Some(g), _) => g.iter().map(|&n| Dim::Const(n)).collect(),
        (None, Some(s)) => dims(s, syms, sizes)?,
        (None, None) => {
            return Err(OpError::unsupported("its rank is unknown; give its shape with --shape NAME=1x3x224x224"));
        }
    };
    Ok(TensorType::new(dtype, dims))
}
