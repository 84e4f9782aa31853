//! What the rows of a softmax hold: floats, or bytes that stand for floats.

use crate::families::igemm::spec::Number;
use crate::families::walk::load_part;
use crate::family::View;
use crate::prologue::Affine;
use mnnc_ir::{DType, ValueId};
use mnnc_vector::{KernelBuilder, Mem, Vector};

/// What is read. Of bytes only their distance matters: what stands for zero is taken off again with the maximum.
#[derive(Copy, Clone, PartialEq, Debug)]
pub(super) enum Data {
    /// Floats.
    Floats,
    /// Bytes, a step of which stands for so much, more than nothing.
    Steps(f32),
}

impl Data {
    /// Of an operand and what dequantises it. `None` for anything else.
    pub fn read(view: &View, x: ValueId) -> Option<Data> {
        match (&view.prologue, view.graph.ty(x).dtype) {
            (None, DType::F32) => Some(Data::Floats),
            (Some(f), DType::U8) => {
                Affine::of(f).map(|a| a.scale).filter(|s| s.is_finite() && *s > 0.0).map(Data::Steps)
            }
            _ => None,
        }
    }

    /// How it lies.
    pub fn number(self) -> Number {
        match self {
            Data::Floats => Number::F32,
            Data::Steps(_) => Number::U8,
        }
    }

    /// The first `lanes` lanes, in steps if they are bytes.
    pub fn load(self, b: &mut KernelBuilder, mem: Mem, lanes: usize) -> Vector {
        let v = load_part(b, self.number(), mem, lanes);
        match self {
            Data::Floats => v,
            Data::Steps(_) => b.i32_to_f32(v),
        }
    }

    /// How far what was loaded lies below the maximum.
    pub fn below(self, b: &mut KernelBuilder, v: Vector, max: Vector) -> Vector {
        let v = b.sub(v, max);
        match self {
            Data::Floats => v,
            Data::Steps(scale) => b.mul(v, scale),
        }
    }
}
