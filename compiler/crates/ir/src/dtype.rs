//! Element types.

use std::fmt;

/// The type of one tensor element.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names are the standard ones")]
pub enum DType {
    F32,
    F64,
    F16,
    BF16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    /// One byte, 0 or 1.
    Bool,
}

impl DType {
    /// Every element type.
    pub const ALL: [DType; 13] = [
        DType::F32,
        DType::F64,
        DType::F16,
        DType::BF16,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::Bool,
    ];

    /// Size of one element in bytes.
    pub const fn size(self) -> usize {
        match self {
            DType::I8 | DType::U8 | DType::Bool => 1,
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 | DType::I64 | DType::U64 => 8,
        }
    }

    /// Whether this is a floating-point type.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
    }

    /// Whether this is a signed or unsigned integer type (`Bool` is neither).
    pub const fn is_int(self) -> bool {
        !self.is_float() && !matches!(self, DType::Bool)
    }

    /// Whether this is a signed integer type.
    pub const fn is_signed_int(self) -> bool {
        matches!(self, DType::I8 | DType::I16 | DType::I32 | DType::I64)
    }

    /// The name used in printed IR, reports and headers: `f32`, `i64`, `bool`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I8 => "i8",
            DType::I16 => "i16",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::U8 => "u8",
            DType::U16 => "u16",
            DType::U32 => "u32",
            DType::U64 => "u64",
            DType::Bool => "bool",
        }
    }

    /// The type with this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

bitflags::bitflags! {
    /// A set of element types, for operand constraints.
    #[derive(Copy, Clone, PartialEq, Eq, Debug)]
    pub struct DTypeSet: u16 {
        /// f32 f64 f16 bf16
        const FLOAT = 0b0000_0000_0000_1111;
        /// i8 i16 i32 i64
        const SIGNED = 0b0000_0000_1111_0000;
        /// u8 u16 u32 u64
        const UNSIGNED = 0b0000_1111_0000_0000;
        /// bool
        const BOOL = 0b0001_0000_0000_0000;
        /// i64 only
        const I64 = 0b0000_0000_1000_0000;
        /// i32 or i64
        const INDEX = 0b0000_0000_1100_0000;
        /// Any integer.
        const INT = Self::SIGNED.bits() | Self::UNSIGNED.bits();
        /// Any number.
        const NUMERIC = Self::FLOAT.bits() | Self::INT.bits();
        /// Anything.
        const ANY = Self::NUMERIC.bits() | Self::BOOL.bits();
    }
}

impl DTypeSet {
    /// The set with one member.
    pub const fn only(d: DType) -> DTypeSet {
        DTypeSet::from_bits_retain(1 << d as u16)
    }
    /// Membership.
    pub fn has(self, d: DType) -> bool {
        self.contains(DTypeSet::only(d))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_follow_the_enum_order() {
        for d in DType::ALL {
            assert_eq!(DTypeSet::FLOAT.has(d), d.is_float(), "{d}");
            assert_eq!(DTypeSet::INT.has(d), d.is_int(), "{d}");
            assert_eq!(DTypeSet::SIGNED.has(d), d.is_signed_int(), "{d}");
            assert!(DTypeSet::ANY.has(d));
            assert_eq!(DType::from_name(d.name()), Some(d));
        }
        assert!(DTypeSet::I64.has(DType::I64) && !DTypeSet::I64.has(DType::I32));
        assert!(DTypeSet::INDEX.has(DType::I32) && !DTypeSet::INDEX.has(DType::I16));
    }
}
