//! Floating-point evaluation, generic over `f32` and `f64`; the 16-bit floats are computed in `f32`.

use half::{bf16, f16};
use mnnc_ir::decl::EvalCtx;
use mnnc_ir::{DType, Element, OpError, Tensor};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// The float that an evaluation computes in.
pub trait Real:
    Element
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Sum
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Below every number.
    const LOWEST: Self;
    /// The nearest value.
    fn of(x: f64) -> Self;
    /// The exact value.
    fn wide(self) -> f64;
    /// `e^self`.
    fn exp(self) -> Self;
}

macro_rules! real {
    ($($t:ident),*) => {$(
        impl Real for $t {
            const ZERO: $t = 0.0;
            const ONE: $t = 1.0;
            const LOWEST: $t = $t::NEG_INFINITY;
            #[inline]
            fn of(x: f64) -> $t { x as $t }
            #[inline]
            fn wide(self) -> f64 { self as f64 }
            #[inline]
            fn exp(self) -> $t { self.exp() }
        }
    )*};
}
real!(f32, f64);

/// What an evaluation returns.
pub type Evaluated = Result<Vec<Tensor>, OpError>;

/// Evaluates in the float that fits element type `dtype`: 16-bit inputs are widened to `f32`, and those outputs that
/// the node types as 16-bit are rounded once, at the end.
pub fn in_real(
    ctx: &EvalCtx,
    dtype: DType,
    single: impl Fn(&EvalCtx) -> Evaluated,
    double: impl Fn(&EvalCtx) -> Evaluated,
) -> Evaluated {
    match dtype {
        DType::F32 => single(ctx),
        DType::F64 => double(ctx),
        DType::F16 | DType::BF16 => {
            let inputs: Vec<Option<Tensor>> = ctx.inputs.iter().map(|t| t.as_ref().map(widened)).collect();
            let wide = EvalCtx { op: ctx.op, inputs: &inputs, run_region: ctx.run_region };
            let narrow = |t: Tensor| if t.dtype() == DType::F32 { narrowed(&t, dtype) } else { t };
            Ok(single(&wide)?.into_iter().map(narrow).collect())
        }
        _ => Err(OpError::invalid(format!("{} is evaluated on floats, not on {dtype}", ctx.op.op.name))),
    }
}

/// `eval_real!(ctx, dtype, f)` runs the generic evaluation `f::<T>(ctx)` through [`in_real`].
macro_rules! eval_real {
    ($ctx:expr, $dtype:expr, $f:ident) => {
        $crate::real::in_real($ctx, $dtype, $f::<f32>, $f::<f64>)
    };
}
pub(crate) use eval_real;

/// A 16-bit float tensor in `f32`; any other as it is.
pub fn widened(t: &Tensor) -> Tensor {
    match t.dtype() {
        DType::F16 => Tensor::new(t.dims(), t.view::<f16>().iter().map(|x| x.to_f32()).collect::<Vec<_>>()),
        DType::BF16 => Tensor::new(t.dims(), t.view::<bf16>().iter().map(|x| x.to_f32()).collect::<Vec<_>>()),
        _ => t.clone(),
    }
}

/// An `f32` tensor rounded to a 16-bit float type; unchanged for any other type.
pub fn narrowed(t: &Tensor, dtype: DType) -> Tensor {
    match dtype {
        DType::F16 => Tensor::new(t.dims(), t.view::<f32>().iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>()),
        DType::BF16 => Tensor::new(t.dims(), t.view::<f32>().iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>()),
        _ => t.clone(),
    }
}

/// Elements of a tensor in `T`, whatever float or integer they are stored as.
pub fn reals<T: Real>(t: &Tensor) -> std::borrow::Cow<'_, [T]> {
    if t.dtype() == T::DTYPE {
        return t.view::<T>();
    }
    std::borrow::Cow::Owned(t.to_f64s().into_iter().map(T::of).collect())
}

/// The most bytes that one evaluated tensor may take.
const MAX_BYTES: usize = 1 << 36;

/// A buffer of zeros for a shape, refused if it overflows or is absurdly large: shapes may come from a hostile model.
pub fn zeros<T: Element + Default>(dims: &[usize]) -> Result<Vec<T>, OpError> {
    let bytes = dims.iter().try_fold(size_of::<T>(), |a, &d| a.checked_mul(d));
    match bytes {
        Some(b) if b <= MAX_BYTES => Ok(vec![T::default(); b / size_of::<T>()]),
        _ => Err(OpError::unsupported(format!("a tensor of shape {dims:?} is too large to evaluate"))),
    }
}
