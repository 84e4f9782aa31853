//! The Rust types behind element types, for code that is generic over them.

use crate::lanes::Lane;
use half::{bf16, f16};
use mnnc_ir::Element;

/// Runs `$body` with `$T` standing for the storage type of a [`mnnc_ir::DType`] (`u8` for bool).
macro_rules! for_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {{
        use mnnc_ir::DType as D;
        match $dtype {
            D::F32 => {
                type $T = f32;
                $body
            }
            D::F64 => {
                type $T = f64;
                $body
            }
            D::F16 => {
                type $T = half::f16;
                $body
            }
            D::BF16 => {
                type $T = half::bf16;
                $body
            }
            D::I8 => {
                type $T = i8;
                $body
            }
            D::I16 => {
                type $T = i16;
                $body
            }
            D::I32 => {
                type $T = i32;
                $body
            }
            D::I64 => {
                type $T = i64;
                $body
            }
            D::U8 | D::Bool => {
                type $T = u8;
                $body
            }
            D::U16 => {
                type $T = u16;
                $body
            }
            D::U32 => {
                type $T = u32;
                $body
            }
            D::U64 => {
                type $T = u64;
                $body
            }
        }
    }};
}
pub(crate) use for_dtype;

/// An element that goes in and out of interpreter lanes.
pub(crate) trait Num: Element + Copy + Default {
    /// Copies elements into a lane from position `at` on.
    fn copy(x: &[Self], lane: &mut Lane, at: usize);
    /// Repeats an element `n` times in a lane from position `at` on.
    fn splat(x: Self, lane: &mut Lane, at: usize, n: usize);
    /// Reads a lane, rounding where the lane is wider.
    fn from_lane(lane: &Lane, out: &mut [Self]);
}

macro_rules! num {
    ($t:ty, $variant:ident, $in:expr, $out:expr) => {
        impl Num for $t {
            fn copy(x: &[$t], lane: &mut Lane, at: usize) {
                let Lane::$variant(v) = lane else { unreachable!("lane of another type") };
                for (v, &x) in v[at..].iter_mut().zip(x) {
                    *v = $in(x);
                }
            }
            fn splat(x: $t, lane: &mut Lane, at: usize, n: usize) {
                let Lane::$variant(v) = lane else { unreachable!("lane of another type") };
                v[at..at + n].fill($in(x));
            }
            fn from_lane(lane: &Lane, out: &mut [$t]) {
                let Lane::$variant(v) = lane else { unreachable!("lane of another type") };
                for (o, &v) in out.iter_mut().zip(v) {
                    *o = $out(v);
                }
            }
        }
    };
}
num!(f32, F32, std::convert::identity, std::convert::identity);
num!(f64, F64, std::convert::identity, std::convert::identity);
num!(f16, F32, f16::to_f32, f16::from_f32);
num!(bf16, F32, bf16::to_f32, bf16::from_f32);
num!(i8, Int, i64::from, |v| v as i8);
num!(i16, Int, i64::from, |v| v as i16);
num!(i32, Int, i64::from, |v| v as i32);
num!(i64, Int, std::convert::identity, std::convert::identity);
num!(u8, Int, i64::from, |v| v as u8);
num!(u16, Int, i64::from, |v| v as u16);
num!(u32, Int, i64::from, |v| v as u32);
num!(u64, Int, |x| x as i64, |v| v as u64);
