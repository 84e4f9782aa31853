//! A dense host tensor: constants, evaluator inputs and results.

use crate::bytes::Bytes;
use crate::dtype::DType;
use crate::types::TensorType;
use half::{bf16, f16};
use std::borrow::Cow;

/// A Rust type that is the storage of a [`DType`].
pub trait Element: bytemuck::AnyBitPattern + bytemuck::NoUninit + Send + Sync + PartialEq + 'static {
    /// The element type it stores.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($t:ty => $d:ident),*) => { $(impl Element for $t { const DTYPE: DType = DType::$d; })* };
}
elements!(f32 => F32, f64 => F64, f16 => F16, bf16 => BF16, i8 => I8, i16 => I16, i32 => I32,
          i64 => I64, u8 => U8, u16 => U16, u32 => U32, u64 => U64);

/// Dense, row-major elements on the host. Clones share the data.
#[derive(Clone, Debug)]
pub struct Tensor {
    dtype: DType,
    dims: Vec<usize>,
    data: Bytes,
}

impl Tensor {
    /// A tensor over raw little-endian bytes. `None` if their number is not that of the shape.
    /// Bool bytes other than 0 count as true for every reader.
    pub fn from_bytes(dtype: DType, dims: impl Into<Vec<usize>>, data: Bytes) -> Option<Tensor> {
        let dims = dims.into();
        let n = dims.iter().try_fold(dtype.size(), |a, &d| a.checked_mul(d))?;
        (n == data.len()).then_some(Tensor { dtype, dims, data })
    }
    /// A tensor of `T`.
    ///
    /// # Panics
    /// If the number of elements is not that of the shape: a mistake of the caller, not of a model.
    pub fn new<T: Element>(dims: impl Into<Vec<usize>>, values: Vec<T>) -> Tensor {
        let dims = dims.into();
        assert_eq!(dims.iter().product::<usize>(), values.len(), "elements do not fill shape {dims:?}");
        Tensor { dtype: T::DTYPE, dims, data: Bytes::from_vec(values) }
    }
    /// A bool tensor.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn bools(dims: impl Into<Vec<usize>>, values: Vec<bool>) -> Tensor {
        let t = Tensor::new(dims, values.into_iter().map(u8::from).collect::<Vec<u8>>());
        Tensor { dtype: DType::Bool, ..t }
    }
    /// A rank-0 tensor.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor::new(Vec::new(), vec![value])
    }
    /// A rank-1 `i64` tensor, as shapes and axes are.
    pub fn ints(values: &[i64]) -> Tensor {
        Tensor::new(vec![values.len()], values.to_vec())
    }
    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    /// Shape.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }
    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The raw bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.data
    }
    /// The plain type of this tensor.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, self.dims.iter().copied())
    }
    /// The elements as `T`; borrowed where the bytes are aligned, copied where not (a mapped file gives no
    /// alignment). Bool reads as `u8`.
    ///
    /// # Panics
    /// If `T` is not the element type: check [`dtype`](Self::dtype) first.
    pub fn view<T: Element>(&self) -> Cow<'_, [T]> {
        assert!(
            T::DTYPE == self.dtype || (self.dtype == DType::Bool && T::DTYPE == DType::U8),
            "tensor of {} read as {}",
            self.dtype,
            T::DTYPE
        );
        match bytemuck::try_cast_slice(&self.data) {
            Ok(s) => Cow::Borrowed(s),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(&self.data)),
        }
    }
    /// The elements as owned `T`; see [`view`](Self::view).
    pub fn to_vec<T: Element>(&self) -> Vec<T> {
        self.view::<T>().into_owned()
    }
    /// All elements as `f64`, whatever the type (integers beyond 2^53 round).
    pub fn to_f64s(&self) -> Vec<f64> {
        macro_rules! conv {
            ($t:ty) => {
                self.view::<$t>().iter().map(|&x| x as f64).collect()
            };
        }
        match self.dtype {
            DType::F32 => conv!(f32),
            DType::F64 => self.to_vec(),
            DType::F16 => self.view::<f16>().iter().map(|x| x.to_f64()).collect(),
            DType::BF16 => self.view::<bf16>().iter().map(|x| x.to_f64()).collect(),
            DType::I8 => conv!(i8),
            DType::I16 => conv!(i16),
            DType::I32 => conv!(i32),
            DType::I64 => conv!(i64),
            DType::U8 => conv!(u8),
            DType::U16 => conv!(u16),
            DType::U32 => conv!(u32),
            DType::U64 => conv!(u64),
            DType::Bool => self.view::<u8>().iter().map(|&x| f64::from(u8::from(x != 0))).collect(),
        }
    }
    /// All elements as `i64` if this is an integer or bool tensor.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        macro_rules! conv {
            ($t:ty) => {
                Some(self.view::<$t>().iter().map(|&x| x as i64).collect())
            };
        }
        match self.dtype {
            DType::I8 => conv!(i8),
            DType::I16 => conv!(i16),
            DType::I32 => conv!(i32),
            DType::I64 => Some(self.to_vec()),
            DType::U8 => conv!(u8),
            DType::U16 => conv!(u16),
            DType::U32 => conv!(u32),
            DType::U64 => conv!(u64),
            DType::Bool => Some(self.view::<u8>().iter().map(|&x| i64::from(x != 0)).collect()),
            _ => None,
        }
    }
    /// The same elements under another shape, or `None` if their numbers differ.
    pub fn reshaped(&self, dims: impl Into<Vec<usize>>) -> Option<Tensor> {
        Tensor::from_bytes(self.dtype, dims, self.data.clone())
    }
}
