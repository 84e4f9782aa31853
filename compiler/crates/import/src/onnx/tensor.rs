//! `TensorProto` to [`Tensor`]: sizes are checked against the data before anything is allocated; raw data stays a
//! view of the mapped file.

use crate::limits::Limits;
use crate::source::Source;
use half::{bf16, f16};
use mnnc_ir::bytes::Bytes;
use mnnc_ir::{DType, OpError, Tensor};
use mnnc_schema::onnx::tensor_proto::{DataLocation, DataType};
use mnnc_schema::onnx::{self as pb, TensorProto};
use std::sync::Arc;

/// The element type of an ONNX type number, or why there is none.
pub(crate) fn dtype(number: i32) -> Result<DType, OpError> {
    Ok(match DataType::try_from(number) {
        Ok(DataType::Float) => DType::F32,
        Ok(DataType::Double) => DType::F64,
        Ok(DataType::Float16) => DType::F16,
        Ok(DataType::Bfloat16) => DType::BF16,
        Ok(DataType::Int8) => DType::I8,
        Ok(DataType::Int16) => DType::I16,
        Ok(DataType::Int32) => DType::I32,
        Ok(DataType::Int64) => DType::I64,
        Ok(DataType::Uint8) => DType::U8,
        Ok(DataType::Uint16) => DType::U16,
        Ok(DataType::Uint32) => DType::U32,
        Ok(DataType::Uint64) => DType::U64,
        Ok(DataType::Bool) => DType::Bool,
        Ok(DataType::Undefined) => return Err(OpError::invalid("the element type is undefined")),
        Ok(other) => {
            let name = other.as_str_name().to_lowercase();
            return Err(OpError::unsupported(format!("element type {name} is not supported")));
        }
        Err(_) => return Err(OpError::invalid(format!("element type {number} does not exist"))),
    })
}

/// The type and the number of bits of integers that are packed several to a byte, the first in the lowest bits. They become
/// bytes: [`convert`] unpacks them.
pub(crate) fn packed(number: i32) -> Option<(DType, u32)> {
    match DataType::try_from(number) {
        Ok(DataType::Int4) => Some((DType::I8, 4)),
        Ok(DataType::Uint4) => Some((DType::U8, 4)),
        Ok(DataType::Int2) => Some((DType::I8, 2)),
        Ok(DataType::Uint2) => Some((DType::U8, 2)),
        _ => None,
    }
}

fn text(bytes: pb::Bytes) -> Bytes {
    Bytes::from_owner(Arc::new(bytes))
}

/// Shape and size in bytes, within the limits.
fn shape(t: &TensorProto, dtype: DType, limits: &Limits) -> Result<(Vec<usize>, usize), OpError> {
    let shown = || t.dims.iter().map(i64::to_string).collect::<Vec<_>>().join("x");
    let mut dims = Vec::with_capacity(t.dims.len());
    for &d in &t.dims {
        dims.push(
            usize::try_from(d).map_err(|_| OpError::invalid(format!("shape [{}] has a negative size", shown())))?,
        );
    }
    if dims.len() > MAX_RANK {
        return Err(OpError::invalid(format!("rank {} is more than {MAX_RANK}", dims.len())));
    }
    // Zero extents do not excuse the others: their product must be a size as well.
    let volume = dims.iter().filter(|&&d| d > 0).try_fold(dtype.size(), |a, &d| a.checked_mul(d));
    match volume {
        Some(n) if n as u64 <= limits.max_tensor_bytes => Ok((dims.clone(), if dims.contains(&0) { 0 } else { n })),
        _ => Err(OpError::invalid(format!(
            "shape [{}] of {dtype} takes more than the limit of {} bytes; raise it with --max-tensor-bytes",
            shown(),
            limits.max_tensor_bytes
        ))),
    }
}

/// More dimensions than any operator has a use for.
pub(crate) const MAX_RANK: usize = 64;

/// The tensor. Its data is moved out of `t`.
pub(crate) fn convert(t: &mut TensorProto, source: &mut Source, limits: &Limits) -> Result<Tensor, OpError> {
    if let Some((dtype, bits)) = packed(t.data_type) {
        return convert_packed(t, dtype, bits, source, limits);
    }
    let dtype = dtype(t.data_type)?;
    if t.segment.is_some() {
        return Err(OpError::unsupported("tensors in segments are not supported"));
    }
    let (dims, size) = shape(t, dtype, limits)?;
    let data = if t.data_location == DataLocation::External as i32 {
        external(t, size, source)?
    } else if !t.raw_data.is_empty() {
        text(std::mem::take(&mut t.raw_data))
    } else {
        typed(t, dtype, size / dtype.size())?
    };
    let have = data.len();
    Tensor::from_bytes(dtype, dims, data).ok_or_else(|| {
        let shown = t.dims.iter().map(i64::to_string).collect::<Vec<_>>().join("x");
        OpError::invalid(format!("{dtype}[{shown}] needs {size} bytes of data, the model holds {have}"))
    })
}

fn convert_packed(
    t: &mut TensorProto,
    dtype: DType,
    bits: u32,
    source: &mut Source,
    limits: &Limits,
) -> Result<Tensor, OpError> {
    let (dims, count) = shape(t, dtype, limits)?;
    let size = count.div_ceil(8 / bits as usize);
    let data = if t.data_location == DataLocation::External as i32 {
        external(t, size, source)?
    } else if !t.raw_data.is_empty() {
        text(std::mem::take(&mut t.raw_data))
    } else {
        Bytes::from_vec(t.int32_data.iter().map(|&x| x as u8).collect::<Vec<u8>>())
    };
    if data.len() != size {
        return Err(OpError::invalid(format!(
            "{count} elements of {bits} bits need {size} bytes of data, the model holds {}",
            data.len()
        )));
    }
    let values = unpack(&data, bits, count, dtype == DType::I8);
    let bytes = Bytes::from_vec(values);
    Tensor::from_bytes(dtype, dims, bytes).ok_or_else(|| OpError::invalid("the data do not fill the shape"))
}

/// The first `count` integers of so many bits each, one to a byte, which must be there; signed ones are extended. The first
/// is in the lowest bits, and they may cross bytes.
pub(crate) fn unpack(data: &[u8], bits: u32, count: usize, signed: bool) -> Vec<u8> {
    let mask = (1u16 << bits) - 1;
    let spread = 16 - bits;
    let value = |i: usize| {
        let at = i * bits as usize;
        let low = u16::from(data.get(at / 8).copied().unwrap_or(0));
        let high = u16::from(data.get(at / 8 + 1).copied().unwrap_or(0));
        let x = ((high << 8 | low) >> (at % 8)) & mask;
        if signed { (((x << spread) as i16) >> spread) as u8 } else { x as u8 }
    };
    (0..count).map(value).collect()
}

/// A tensor from a serialised `TensorProto`, as in the `.pb` files beside ONNX's test models.
///
/// # Errors
/// If the bytes are no such message, or not a tensor that is supported.
pub fn read_tensor(bytes: Vec<u8>, limits: &Limits) -> Result<Tensor, OpError> {
    use mnnc_schema::onnx::Message;
    let mut source = Source::from_bytes("tensor", bytes, limits).map_err(|d| OpError::invalid(d.message))?;
    let mut t = TensorProto::decode(source.bytes().clone()).map_err(|e| OpError::invalid(e.to_string()))?;
    convert(&mut t, &mut source, limits)
}

fn external(t: &TensorProto, size: usize, source: &mut Source) -> Result<Bytes, OpError> {
    let entry = |key: &str| t.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let number = |key: &str| {
        entry(key)
            .map(|s| {
                s.trim()
                    .parse::<u64>()
                    .map_err(|_| OpError::invalid(format!("external data {key} \"{s}\" is not a size")))
            })
            .transpose()
    };
    let location = entry("location").ok_or_else(|| OpError::invalid("external data without a location"))?;
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?.unwrap_or(size as u64);
    if length != size as u64 {
        return Err(OpError::invalid(format!(
            "external data \"{location}\" gives {length} bytes, its shape needs {size}"
        )));
    }
    source.external(location, offset, Some(length)).map(text).map_err(OpError::invalid)
}

/// Data in the typed fields. The vectors are moved where their elements are already of the type.
fn typed(t: &mut TensorProto, dtype: DType, count: usize) -> Result<Bytes, OpError> {
    let have = match dtype {
        DType::F32 => t.float_data.len(),
        DType::F64 => t.double_data.len(),
        DType::I64 => t.int64_data.len(),
        DType::U32 | DType::U64 => t.uint64_data.len(),
        _ => t.int32_data.len(),
    };
    if have != count {
        return Err(OpError::invalid(format!("the shape needs {count} element(s) of {dtype}, the model holds {have}")));
    }
    let ints = || t.int32_data.iter();
    // Narrow elements are stored one in an i32; as elsewhere in ONNX, excess bits are cut off.
    Ok(match dtype {
        DType::F32 => Bytes::from_vec(std::mem::take(&mut t.float_data)),
        DType::F64 => Bytes::from_vec(std::mem::take(&mut t.double_data)),
        DType::I64 => Bytes::from_vec(std::mem::take(&mut t.int64_data)),
        DType::U64 => Bytes::from_vec(std::mem::take(&mut t.uint64_data)),
        DType::I32 => Bytes::from_vec(std::mem::take(&mut t.int32_data)),
        DType::U32 => Bytes::from_vec(t.uint64_data.iter().map(|&x| x as u32).collect()),
        DType::I16 => Bytes::from_vec(ints().map(|&x| x as i16).collect()),
        DType::U16 => Bytes::from_vec(ints().map(|&x| x as u16).collect()),
        DType::I8 => Bytes::from_vec(ints().map(|&x| x as i8).collect()),
        DType::U8 => Bytes::from_vec(ints().map(|&x| x as u8).collect()),
        DType::Bool => Bytes::from_vec(ints().map(|&x| u8::from(x != 0)).collect()),
        DType::F16 => Bytes::from_vec(ints().map(|&x| f16::from_bits(x as u16)).collect()),
        DType::BF16 => Bytes::from_vec(ints().map(|&x| bf16::from_bits(x as u16)).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mnnc_ir::decl::OpErrorKind;

    fn of(t: TensorProto) -> Result<Tensor, OpError> {
        let limits = Limits::default();
        let mut s = Source::from_bytes("test", vec![0], &limits).unwrap();
        convert(&mut t.clone(), &mut s, &limits)
    }

    fn proto(data_type: DataType, dims: &[i64]) -> TensorProto {
        TensorProto { data_type: data_type as i32, dims: dims.to_vec(), ..Default::default() }
    }

    #[test]
    fn every_storage_form_is_read() {
        let t = of(TensorProto { float_data: vec![1.0, 2.0], ..proto(DataType::Float, &[2]) }).unwrap();
        assert_eq!(t.to_vec::<f32>(), [1.0, 2.0]);
        let raw = pb::Bytes::from(vec![1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        let t = of(TensorProto { raw_data: raw, ..proto(DataType::Int32, &[1, 2]) }).unwrap();
        assert_eq!(t.to_vec::<i32>(), [1, -1]);
        let t = of(TensorProto { int32_data: vec![0x3c00], ..proto(DataType::Float16, &[]) }).unwrap();
        assert_eq!(t.to_f64s(), [1.0]);
        let t = of(TensorProto { int32_data: vec![-1, 255], ..proto(DataType::Int8, &[2]) }).unwrap();
        assert_eq!(t.to_vec::<i8>(), [-1, -1]);
        let t = of(TensorProto { uint64_data: vec![7], ..proto(DataType::Uint32, &[1]) }).unwrap();
        assert_eq!(t.to_vec::<u32>(), [7]);
        assert!(of(proto(DataType::Float, &[0, 4])).unwrap().is_empty());
    }

    #[test]
    fn packed_integers_become_bytes() {
        let four = |kind, bytes: &[u8]| TensorProto { raw_data: pb::Bytes::from(bytes.to_vec()), ..proto(kind, &[3]) };
        assert_eq!(of(four(DataType::Int4, &[0x8f, 0x07])).unwrap().to_vec::<i8>(), [-1, -8, 7]);
        assert_eq!(of(four(DataType::Uint4, &[0x8f, 0x07])).unwrap().to_vec::<u8>(), [15, 8, 7]);
        assert_eq!(of(four(DataType::Int2, &[0b11_10_01])).unwrap().to_vec::<i8>(), [1, -2, -1]);
        let listed = TensorProto { int32_data: vec![0x21, 0x03], ..proto(DataType::Uint4, &[3]) };
        assert_eq!(of(listed).unwrap().to_vec::<u8>(), [1, 2, 3]);
        assert!(of(four(DataType::Int4, &[0x8f])).unwrap_err().message.contains("need 2 bytes"));
        assert_eq!(unpack(&[0b1010_0111, 0b1], 3, 3, false), [7, 4, 6]);
        assert_eq!(unpack(&[0b1010_0111, 0b1], 3, 3, true), [0xff, 0xfc, 0xfe]);
    }

    #[test]
    fn wrong_sizes_are_errors_without_allocation() {
        let message = |t| of(t).unwrap_err().message;
        assert!(message(proto(DataType::Float, &[-1])).contains("negative"));
        assert!(message(proto(DataType::Float, &[1 << 40, 1 << 40])).contains("--max-tensor-bytes"));
        assert!(message(proto(DataType::Float, &[0, 1 << 40, 1 << 40])).contains("--max-tensor-bytes"));
        assert!(message(proto(DataType::Float, &[1000])).contains("holds 0"));
        assert!(
            message(TensorProto { raw_data: pb::Bytes::from(vec![0; 7]), ..proto(DataType::Float, &[2]) })
                .contains("needs 8 bytes")
        );
        assert_eq!(of(proto(DataType::String, &[1])).unwrap_err().kind, OpErrorKind::Unsupported);
        assert_eq!(of(TensorProto { data_type: 99, ..Default::default() }).unwrap_err().kind, OpErrorKind::Invalid);
    }
}
