//! Operand kinds of each op; the verifier, the parser and register allocation read them.

use super::{Op, ReduceOp, Type};
use crate::target::Width;

/// Kind of an argument or result, relative to the instruction's vector width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgKind {
    /// General register.
    Gpr,
    /// Vector of the instruction's width.
    Vec,
    /// Mask of the instruction's width.
    Mask,
    /// Vector of half the instruction's width.
    HalfVec,
}

impl ArgKind {
    /// The type, at an instruction width. `None` if there is no such width.
    pub fn ty(self, width: Width) -> Option<Type> {
        Some(match self {
            ArgKind::Gpr => Type::Gpr,
            ArgKind::Vec => Type::Vec(width),
            ArgKind::Mask => Type::Mask(width),
            ArgKind::HalfVec => Type::Vec(width.half()?),
        })
    }

    /// The instruction width that an operand of this kind and type implies.
    pub fn width(self, ty: Type) -> Option<Width> {
        match (self, ty) {
            (ArgKind::Vec, Type::Vec(w)) | (ArgKind::Mask, Type::Mask(w)) => Some(w),
            (ArgKind::HalfVec, Type::Vec(w)) => w.double(),
            _ => None,
        }
    }
}

/// Whether an op has a memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemUse {
    /// None.
    No,
    /// Always, an address.
    Address,
    /// May stand for the last argument, which is a vector.
    LastArg,
}

/// Operands of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Arguments, all in registers.
    pub args: &'static [ArgKind],
    /// Results.
    pub results: &'static [ArgKind],
    /// Memory operand.
    pub mem: MemUse,
}

impl Op {
    /// Operand kinds of this op.
    pub fn signature(&self) -> Signature {
        use ArgKind::{Gpr as G, HalfVec as H, Mask as M, Vec as V};
        use MemUse::{Address, LastArg, No};
        let (args, results, mem): (&'static [ArgKind], &'static [ArgKind], MemUse) = match self {
            Op::Entry => (&[], &[G, G, G], No),
            Op::IntConst(_) | Op::TableAddr(_) => (&[], &[G], No),
            Op::Int(_) => (&[G, G], &[G], No),
            Op::IntImm(..) => (&[G], &[G], No),
            Op::IntSelect(_) => (&[G, G, G, G], &[G], No),
            Op::Lea | Op::IntLoad(_) => (&[], &[G], Address),
            Op::IntStore(_) => (&[G], &[], Address),
            Op::Prefetch(_) => (&[], &[], Address),
            Op::Splat(_) | Op::Table(_) => (&[], &[V], No),
            Op::SplatGpr => (&[G], &[V], No),
            Op::ToGpr => (&[V], &[G], No),
            Op::Load | Op::LoadLow(_) | Op::Broadcast | Op::BroadcastByte | Op::LoadConvert(_) => (&[], &[V], Address),
            Op::Store | Op::StoreLow(_) | Op::StoreConvert(_) => (&[V], &[], Address),
            Op::LoadMasked | Op::LoadConvertMasked(_) => (&[M], &[V], Address),
            Op::StoreMasked | Op::StoreConvertMasked(_) => (&[M, V], &[], Address),
            Op::Gather(_) => (&[V], &[V], Address),
            Op::Vec(_) => (&[V, V], &[V], LastArg),
            Op::Unary(_) | Op::Shift(..) => (&[V], &[V], No),
            Op::Fma(_) | Op::MulAdd | Op::DotBf16 | Op::DotU8S8 => (&[V, V, V], &[V], LastArg),
            Op::PackBf16 => (&[V, V], &[V], No),
            Op::FmaLane(..) => (&[V, V, V], &[V], No),
            Op::Compare(..) => (&[V, V], &[M], LastArg),
            Op::Select => (&[M, V, V], &[V], No),
            Op::Shuffle(_) | Op::Align(_) | Op::Permute | Op::PermuteBytes | Op::Parts(_) => (&[V, V], &[V], No),
            Op::PermuteConst(_) | Op::LookupBytes(_) | Op::BroadcastLane(_) => (&[V], &[V], No),
            Op::Reduce(ReduceOp::Add | ReduceOp::Min | ReduceOp::Max) => (&[V], &[V], No),
            Op::Half(_) => (&[V], &[H], No),
            Op::Concat => (&[H, H], &[V], No),
            Op::MaskConst(_) => (&[], &[M], No),
            Op::MaskFirst => (&[G], &[M], No),
            Op::Mask(_) => (&[M, M], &[M], No),
            Op::MaskNot => (&[M], &[M], No),
            Op::Scratch(_) => (&[], &[G], No),
            Op::TileConfig | Op::TileLoad(_) | Op::TileStore(_) => (&[], &[], Address),
            Op::TileRelease | Op::TileZero(_) | Op::TileDot(..) | Op::TileDotU8S8(..) => (&[], &[], No),
        };
        Signature { args, results, mem }
    }
}
