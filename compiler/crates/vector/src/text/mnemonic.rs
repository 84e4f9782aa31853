//! Ops as a name and a list of numbers.

use crate::ir::*;
use std::borrow::Cow;
use std::sync::Arc;

impl Op {
    /// Name and immediates of the text form.
    pub fn to_parts(&self) -> (Cow<'static, str>, Vec<i64>) {
        let words = |t: &[u32]| t.iter().map(|w| i64::from(*w)).collect();
        let name: Cow<'static, str>;
        let mut imm: Vec<i64> = Vec::new();
        match self {
            Op::Entry => name = "entry".into(),
            Op::IntConst(v) => (name, imm) = ("const".into(), vec![*v]),
            Op::TableAddr(t) => (name, imm) = ("table_addr".into(), words(t)),
            Op::Int(op) => name = op.name().into(),
            Op::IntImm(op, v) => (name, imm) = (op.name().into(), vec![*v]),
            Op::IntSelect(c) => name = format!("select.{}", c.name()).into(),
            Op::Lea => name = "lea".into(),
            Op::IntLoad(t) => name = format!("load.{}", t.name()).into(),
            Op::IntStore(t) => name = format!("store.{}", t.name()).into(),
            Op::Prefetch(h) => name = format!("prefetch.{}", h.name()).into(),
            Op::Splat(w) => (name, imm) = ("splat".into(), vec![(*w).into()]),
            Op::Table(t) => (name, imm) = ("table".into(), words(t)),
            Op::SplatGpr => name = "splat_gpr".into(),
            Op::ToGpr => name = "to_gpr".into(),
            Op::Load => name = "vload".into(),
            Op::Store => name = "vstore".into(),
            Op::LoadLow(n) => (name, imm) = ("vload_low".into(), vec![(*n).into()]),
            Op::StoreLow(n) => (name, imm) = ("vstore_low".into(), vec![(*n).into()]),
            Op::LoadMasked => name = "vload_masked".into(),
            Op::StoreMasked => name = "vstore_masked".into(),
            Op::Broadcast => name = "broadcast".into(),
            Op::BroadcastByte => name = "broadcast_byte".into(),
            Op::LoadConvert(e) => name = format!("vload.{}", e.name()).into(),
            Op::StoreConvert(e) => name = format!("vstore.{}", e.name()).into(),
            Op::LoadConvertMasked(e) => name = format!("vload_masked.{}", e.name()).into(),
            Op::StoreConvertMasked(e) => name = format!("vstore_masked.{}", e.name()).into(),
            Op::Gather(s) => (name, imm) = ("gather".into(), vec![(*s).into()]),
            Op::Vec(op) => name = op.name().into(),
            Op::Unary(op) => name = op.name().into(),
            Op::Fma(op) => name = op.name().into(),
            Op::FmaLane(op, n) => (name, imm) = (format!("{}_lane", op.name()).into(), vec![(*n).into()]),
            Op::MulAdd => name = "mul_add".into(),
            Op::Shift(op, n) => (name, imm) = (op.name().into(), vec![(*n).into()]),
            Op::Compare(t, c) => name = format!("cmp.{}.{}", t.name(), c.name()).into(),
            Op::Select => name = "vselect".into(),
            Op::Shuffle(op) => name = op.name().into(),
            Op::Align(n) => (name, imm) = ("align".into(), vec![(*n).into()]),
            Op::Permute => name = "permute".into(),
            Op::PermuteBytes => name = "permute_bytes".into(),
            Op::PermuteConst(t) => (name, imm) = ("permute_const".into(), words(t)),
            Op::LookupBytes(t) => (name, imm) = ("lookup_bytes".into(), words(t)),
            Op::BroadcastLane(n) => (name, imm) = ("broadcast_lane".into(), vec![(*n).into()]),
            Op::Parts(s) => (name, imm) = ("parts".into(), vec![(*s).into()]),
            Op::Half(false) => name = "low_half".into(),
            Op::Half(true) => name = "high_half".into(),
            Op::Concat => name = "concat".into(),
            Op::Reduce(op) => name = op.name().into(),
            Op::MaskConst(n) => (name, imm) = ("mask_const".into(), vec![(*n).into()]),
            Op::MaskFirst => name = "mask_first".into(),
            Op::Mask(op) => name = op.name().into(),
            Op::MaskNot => name = "mask_not".into(),
            Op::DotBf16 => name = "dot_bf16".into(),
            Op::DotU8S8 => name = "dot_u8s8".into(),
            Op::PackBf16 => name = "pack_bf16".into(),
            Op::Scratch(n) => (name, imm) = ("scratch".into(), vec![(*n).into()]),
            Op::TileConfig => name = "tile_config".into(),
            Op::TileRelease => name = "tile_release".into(),
            Op::TileZero(t) => (name, imm) = ("tile_zero".into(), vec![(*t).into()]),
            Op::TileLoad(t) => (name, imm) = ("tile_load".into(), vec![(*t).into()]),
            Op::TileStore(t) => (name, imm) = ("tile_store".into(), vec![(*t).into()]),
            Op::TileDot(c, a, b) => (name, imm) = ("tile_dot".into(), [*c, *a, *b].map(i64::from).to_vec()),
            Op::TileDotU8S8(c, a, b) => (name, imm) = ("tile_dot_u8s8".into(), [*c, *a, *b].map(i64::from).to_vec()),
        }
        (name, imm)
    }

    /// The op of a name and immediates; `None` if there is no such op or the immediates do not fit it.
    pub fn from_parts(name: &str, imm: &[i64]) -> Option<Op> {
        let words = || imm.iter().map(|v| u32::try_from(*v).ok()).collect::<Option<Vec<u32>>>().map(Arc::from);
        match *imm {
            [] => match plain(name) {
                Some(op) => Some(op),
                None => table(name, words()?),
            },
            [v] => match with_number(name, v) {
                Some(op) => Some(op),
                None => table(name, words()?),
            },
            [c, a, b] if name == "tile_dot" || name == "tile_dot_u8s8" => {
                let dot = if name == "tile_dot" { Op::TileDot } else { Op::TileDotU8S8 };
                Some(dot(u8::try_from(c).ok()?, u8::try_from(a).ok()?, u8::try_from(b).ok()?))
            }
            _ => table(name, words()?),
        }
    }
}

fn table(name: &str, words: Arc<[u32]>) -> Option<Op> {
    Some(match name {
        "table_addr" => Op::TableAddr(words),
        "table" => Op::Table(words),
        "permute_const" => Op::PermuteConst(words),
        "lookup_bytes" => Op::LookupBytes(words),
        _ => return None,
    })
}

fn with_number(name: &str, v: i64) -> Option<Op> {
    let byte = || u8::try_from(v).ok();
    Some(match name {
        "const" => Op::IntConst(v),
        "splat" => Op::Splat(u32::try_from(v).ok()?),
        "vload_low" => Op::LoadLow(byte()?),
        "vstore_low" => Op::StoreLow(byte()?),
        "gather" => Op::Gather(byte()?),
        "align" => Op::Align(byte()?),
        "broadcast_lane" => Op::BroadcastLane(byte()?),
        "parts" => Op::Parts(byte()?),
        "mask_const" => Op::MaskConst(byte()?),
        "scratch" => Op::Scratch(u32::try_from(v).ok()?),
        "tile_zero" => Op::TileZero(byte()?),
        "tile_load" => Op::TileLoad(byte()?),
        "tile_store" => Op::TileStore(byte()?),
        _ => {
            if let Some(op) = IntImmOp::from_name(name) {
                Op::IntImm(op, v)
            } else if let Some(op) = ShiftOp::from_name(name) {
                Op::Shift(op, byte()?)
            } else {
                Op::FmaLane(FmaOp::from_name(name.strip_suffix("_lane")?)?, byte()?)
            }
        }
    })
}

fn plain(name: &str) -> Option<Op> {
    let fixed = match name {
        "entry" => Op::Entry,
        "lea" => Op::Lea,
        "splat_gpr" => Op::SplatGpr,
        "to_gpr" => Op::ToGpr,
        "vload" => Op::Load,
        "vstore" => Op::Store,
        "vload_masked" => Op::LoadMasked,
        "vstore_masked" => Op::StoreMasked,
        "broadcast" => Op::Broadcast,
        "broadcast_byte" => Op::BroadcastByte,
        "mul_add" => Op::MulAdd,
        "vselect" => Op::Select,
        "permute" => Op::Permute,
        "permute_bytes" => Op::PermuteBytes,
        "low_half" => Op::Half(false),
        "high_half" => Op::Half(true),
        "concat" => Op::Concat,
        "mask_first" => Op::MaskFirst,
        "mask_not" => Op::MaskNot,
        "dot_bf16" => Op::DotBf16,
        "dot_u8s8" => Op::DotU8S8,
        "pack_bf16" => Op::PackBf16,
        "tile_config" => Op::TileConfig,
        "tile_release" => Op::TileRelease,
        _ => return named(name).or_else(|| dotted(name)),
    };
    Some(fixed)
}

fn named(name: &str) -> Option<Op> {
    IntOp::from_name(name)
        .map(Op::Int)
        .or_else(|| VecOp::from_name(name).map(Op::Vec))
        .or_else(|| UnaryOp::from_name(name).map(Op::Unary))
        .or_else(|| FmaOp::from_name(name).map(Op::Fma))
        .or_else(|| ShuffleOp::from_name(name).map(Op::Shuffle))
        .or_else(|| ReduceOp::from_name(name).map(Op::Reduce))
        .or_else(|| MaskOp::from_name(name).map(Op::Mask))
}

fn dotted(name: &str) -> Option<Op> {
    let (head, tail) = name.split_once('.')?;
    Some(match head {
        "select" => Op::IntSelect(Cond::from_name(tail)?),
        "load" => Op::IntLoad(IntType::from_name(tail)?),
        "store" => Op::IntStore(IntType::from_name(tail)?),
        "prefetch" => Op::Prefetch(Hint::from_name(tail)?),
        "vload" => Op::LoadConvert(Elem::from_name(tail)?),
        "vstore" => Op::StoreConvert(Elem::from_name(tail)?),
        "vload_masked" => Op::LoadConvertMasked(Elem::from_name(tail)?),
        "vstore_masked" => Op::StoreConvertMasked(Elem::from_name(tail)?),
        "cmp" => {
            let (ty, cmp) = tail.split_once('.')?;
            Op::Compare(CmpType::from_name(ty)?, Cmp::from_name(cmp)?)
        }
        _ => return None,
    })
}
