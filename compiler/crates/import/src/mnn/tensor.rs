//! Constants of the file as tensors: sizes are checked against the data, which stays a view of the mapped file where its
//! elements lie there as they are.

use super::model::Importer;
use flatbuffers::Vector;
use mnnc_ir::bytes::Bytes;
use mnnc_ir::tensor::Element;
use mnnc_ir::{DType, OpError, Tensor};
use mnnc_schema::mnn::{Blob, DataType};
use std::sync::Arc;

/// More dimensions than MNN has (9) by as much as does no harm.
pub(crate) const MAX_RANK: usize = 16;

/// What MNN holds a tensor of this type as at run time.
pub(crate) fn run_time_type(ty: DataType) -> Result<DType, OpError> {
    Ok(match ty {
        DataType::DT_FLOAT | DataType::DT_DOUBLE | DataType::DT_HALF => DType::F32,
        DataType::DT_INT32 | DataType::DT_INT64 | DataType::DT_BOOL | DataType::DT_QINT32 => DType::I32,
        DataType::DT_INT8 | DataType::DT_QINT8 => DType::I8,
        DataType::DT_UINT8 | DataType::DT_QUINT8 => DType::U8,
        DataType::DT_BFLOAT16 => DType::BF16,
        other => {
            let name = other.variant_name().map_or_else(|| other.0.to_string(), str::to_string);
            return Err(OpError::unsupported(format!("element type {name} is not supported")));
        }
    })
}

/// A shape of the file as sizes.
pub(crate) fn dims(list: impl Iterator<Item = i32>) -> Result<Vec<usize>, OpError> {
    let dims: Vec<i32> = list.take(MAX_RANK + 1).collect();
    if dims.len() > MAX_RANK {
        return Err(OpError::invalid(format!("a constant has more than {MAX_RANK} dims")));
    }
    // As in MNN, a size that is not positive makes the tensor empty.
    Ok(dims.into_iter().map(|d| usize::try_from(d).unwrap_or(0)).collect())
}

/// Number of elements, or an error if it is beyond counting.
pub(crate) fn volume(dims: &[usize]) -> Result<usize, OpError> {
    let product = dims.iter().filter(|&&d| d > 0).try_fold(1usize, |n, &d| n.checked_mul(d));
    match product {
        Some(_) if dims.contains(&0) => Ok(0),
        Some(n) => Ok(n),
        None => Err(OpError::invalid(format!("shape {dims:?} is larger than memory"))),
    }
}

/// A vector of the file as bytes that share the mapping.
pub(crate) fn view<T>(file: &mnnc_schema::onnx::Bytes, vector: &Vector<'_, T>) -> Bytes {
    Bytes::from_owner(Arc::new(file.slice_ref(vector.bytes())))
}

/// A tensor of exactly `dims` over a vector of the file.
pub(crate) fn over(dtype: DType, dims: &[usize], data: Bytes, what: &str) -> Result<Tensor, OpError> {
    let have = data.len() / dtype.size();
    Tensor::from_bytes(dtype, dims, data)
        .ok_or_else(|| OpError::invalid(format!("{what} of shape {dims:?} {dtype} has {have} element(s) in the file")))
}

impl Importer<'_> {
    /// Bytes of the file beside the model that holds its weights.
    pub(crate) fn external(&mut self, offset: i64, length: i64) -> Result<Bytes, OpError> {
        let (Ok(offset), Ok(length)) = (u64::try_from(offset), u64::try_from(length)) else {
            return Err(OpError::invalid(format!("external weights at {offset}, of {length} bytes")));
        };
        let name = self.source.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let location = format!("{name}.weight");
        let bytes = self.source.external(&location, offset, Some(length)).map_err(OpError::invalid)?;
        Ok(Bytes::from_owner(Arc::new(bytes)))
    }

    /// A float vector, or a tensor of another shape, that may be absent.
    pub(crate) fn floats(
        &self,
        vector: Option<Vector<'_, f32>>,
        dims: &[usize],
        what: &str,
    ) -> Result<Option<Tensor>, OpError> {
        match vector {
            Some(v) if !v.is_empty() => over(DType::F32, dims, view(&self.file, &v), what).map(Some),
            _ => Ok(None),
        }
    }

    /// The tensor that a constant's description holds, in the type that it is stored in.
    pub(crate) fn blob(&mut self, blob: &Blob) -> Result<Tensor, OpError> {
        let dims = dims(blob.dims().into_iter().flatten())?;
        let count = volume(&dims)?;
        let stored = blob.data_type();
        let dtype = match stored {
            DataType::DT_HALF => DType::F16,
            DataType::DT_INT64 => DType::I64,
            other => run_time_type(other)?,
        };
        if count == 0 {
            return Ok(
                Tensor::from_bytes(dtype, dims, Bytes::from_vec(Vec::<u8>::new())).unwrap_or_else(|| Tensor::ints(&[]))
            );
        }
        let external: Vec<i64> = blob.external().into_iter().flatten().collect();
        let data = match (external.as_slice(), dtype) {
            ([offset, length, ..], _) => Some(self.external(*offset, *length)?),
            (_, DType::F32) => blob.float32s().map(|v| view(&self.file, &v)),
            (_, DType::I32) => blob.int32s().map(|v| view(&self.file, &v)),
            (_, DType::I64) => blob.int64s().map(|v| view(&self.file, &v)),
            (_, DType::I8) => blob.int8s().map(|v| view(&self.file, &v)),
            _ => blob.uint8s().map(|v| view(&self.file, &v)),
        };
        let data = data.unwrap_or_else(|| Bytes::from_vec(Vec::<u8>::new()));
        // MNN reads as many elements as the shape says; a constant may have more in the file.
        let need = count.saturating_mul(dtype.size());
        let data = if data.len() > need { data.slice(0..need).unwrap_or(data) } else { data };
        over(dtype, &dims, data, "a constant")
    }
}

/// The elements as owned numbers, whatever the alignment.
pub(crate) fn elements<T: Element>(bytes: &[u8]) -> Vec<T> {
    bytemuck::pod_collect_to_vec(bytes)
}
