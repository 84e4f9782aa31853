//! The operations. One op is one machine instruction, or a short fixed sequence where a target lacks it.

use std::sync::Arc;

/// Declares a field-less enum whose variants have a name in the text form.
macro_rules! named {
    ($(#[$doc:meta])* $ty:ident { $($(#[$vdoc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $ty { $($(#[$vdoc])* $variant,)* }

        impl $ty {
            /// Every variant.
            pub const ALL: &'static [$ty] = &[$($ty::$variant),*];

            /// Name in the text form.
            pub const fn name(self) -> &'static str {
                match self { $($ty::$variant => $name),* }
            }

            /// Inverse of `name`.
            pub fn from_name(name: &str) -> Option<$ty> {
                Self::ALL.iter().copied().find(|v| v.name() == name)
            }
        }
    };
}

named! {
    /// Condition of an integer comparison; the orderings are signed.
    Cond {
        /// Equal.
        Eq = "eq",
        /// Not equal.
        Ne = "ne",
        /// Less.
        Lt = "lt",
        /// Less or equal.
        Le = "le",
        /// Greater.
        Gt = "gt",
        /// Greater or equal.
        Ge = "ge",
    }
}

impl Cond {
    /// The opposite condition.
    pub const fn negate(self) -> Cond {
        match self {
            Cond::Eq => Cond::Ne,
            Cond::Ne => Cond::Eq,
            Cond::Lt => Cond::Ge,
            Cond::Le => Cond::Gt,
            Cond::Gt => Cond::Le,
            Cond::Ge => Cond::Lt,
        }
    }

    /// Whether `a cond b` holds.
    pub const fn holds(self, a: i64, b: i64) -> bool {
        match self {
            Cond::Eq => a == b,
            Cond::Ne => a != b,
            Cond::Lt => a < b,
            Cond::Le => a <= b,
            Cond::Gt => a > b,
            Cond::Ge => a >= b,
        }
    }
}

named! {
    /// Integer arithmetic on 64-bit registers, wrapping.
    IntOp {
        /// Sum.
        Add = "add",
        /// Difference.
        Sub = "sub",
        /// Product, low 64 bits.
        Mul = "mul",
        /// Bitwise and.
        And = "and",
        /// Bitwise or.
        Or = "or",
        /// Bitwise exclusive or.
        Xor = "xor",
        /// Signed minimum.
        Min = "min",
        /// Signed maximum.
        Max = "max",
    }
}

named! {
    /// Integer operations with a constant.
    IntImmOp {
        /// Sum.
        Add = "addi",
        /// Product, low 64 bits.
        Mul = "muli",
        /// Bitwise and.
        And = "andi",
        /// Shift left; the constant is 0 to 63.
        Shl = "shli",
        /// Shift right, filling with zeros; the constant is 0 to 63.
        Shr = "shri",
        /// Shift right, filling with the sign; the constant is 0 to 63.
        Sar = "sari",
    }
}

named! {
    /// Type of an integer in memory; loads extend to 64 bits by sign (`I`) or zero (`U`).
    IntType {
        /// Signed 8 bits.
        I8 = "i8",
        /// Unsigned 8 bits.
        U8 = "u8",
        /// Signed 16 bits.
        I16 = "i16",
        /// Unsigned 16 bits.
        U16 = "u16",
        /// Signed 32 bits.
        I32 = "i32",
        /// Unsigned 32 bits.
        U32 = "u32",
        /// 64 bits.
        I64 = "i64",
    }
}

impl IntType {
    /// Size in memory.
    pub const fn bytes(self) -> usize {
        match self {
            IntType::I8 | IntType::U8 => 1,
            IntType::I16 | IntType::U16 => 2,
            IntType::I32 | IntType::U32 => 4,
            IntType::I64 => 8,
        }
    }
}

named! {
    /// Cache level of a prefetch.
    Hint {
        /// Into L1.
        L1 = "l1",
        /// Into L2.
        L2 = "l2",
    }
}

named! {
    /// Element type of a load or store that converts.
    Elem {
        /// IEEE half precision, to or from f32, rounding to nearest even.
        F16 = "f16",
        /// The upper half of f32, rounding to nearest even; stores need [`Features::BF16`](crate::Features).
        Bf16 = "bf16",
        /// Signed bytes, to or from i32; stores saturate.
        I8 = "i8",
        /// Unsigned bytes, to or from i32; stores saturate the signed i32.
        U8 = "u8",
    }
}

impl Elem {
    /// Size in memory.
    pub const fn bytes(self) -> usize {
        match self {
            Elem::F16 | Elem::Bf16 => 2,
            Elem::I8 | Elem::U8 => 1,
        }
    }
}

named! {
    /// Lane-wise operations of two vectors. `F` reads f32, `I` reads i32 (wrapping), names with a type read its lanes, the others bits.
    VecOp {
        /// f32 sum.
        FAdd = "fadd",
        /// f32 difference.
        FSub = "fsub",
        /// f32 product.
        FMul = "fmul",
        /// f32 quotient.
        FDiv = "fdiv",
        /// f32 minimum. x64 returns the second operand if either is NaN or both are zeros; NEON returns NaN if either is.
        FMin = "fmin",
        /// f32 maximum, NaN as for the minimum.
        FMax = "fmax",
        /// `a * 2^floor(b)`, rounded once, also into overflow and denormals. AVX-512 only.
        FScale = "fscale",
        /// i32 sum.
        IAdd = "iadd",
        /// i32 difference.
        ISub = "isub",
        /// i32 product, low 32 bits.
        IMul = "imul",
        /// i32 minimum, signed.
        IMin = "imin",
        /// i32 maximum, signed.
        IMax = "imax",
        /// `a & b`.
        And = "vand",
        /// `a | b`.
        Or = "vor",
        /// `a ^ b`.
        Xor = "vxor",
        /// `!a & b`.
        AndNot = "vandnot",
        /// Sum of 8-bit lanes, wrapping.
        AddI8 = "add_i8",
        /// Sum of unsigned bytes, saturating.
        AddSatU8 = "add_sat_u8",
        /// Difference of unsigned bytes, saturating at 0.
        SubSatU8 = "sub_sat_u8",
        /// Minimum of unsigned bytes.
        MinU8 = "min_u8",
        /// Maximum of unsigned bytes.
        MaxU8 = "max_u8",
        /// `(a + b + 1) >> 1` of unsigned bytes.
        AvgU8 = "avg_u8",
        /// Sum of 16-bit lanes, wrapping.
        AddI16 = "add_i16",
        /// In each 32-bit lane `a.hi * b.hi + a.lo * b.lo` of the two i16 halves; wraps only where all four are `i16::MIN`.
        DotI16 = "dot_i16",
    }
}

impl VecOp {
    /// Whether the lanes have 8 or 16 bits.
    pub const fn is_narrow(self) -> bool {
        use VecOp::*;
        matches!(self, AddI8 | AddSatU8 | SubSatU8 | MinU8 | MaxU8 | AvgU8 | AddI16 | DotI16)
    }
}

named! {
    /// Lane-wise operations of one vector.
    UnaryOp {
        /// Flips the sign of f32.
        FNeg = "fneg",
        /// Clears the sign of f32.
        FAbs = "fabs",
        /// f32 square root, correctly rounded.
        FSqrt = "fsqrt",
        /// Estimate of the f32 reciprocal, right to at least 8 bits; of a finite number neither too large nor too small.
        FRecip = "frecip",
        /// Nearest integer, ties to even.
        RoundNearest = "fround",
        /// Largest integer not above.
        Floor = "ffloor",
        /// Smallest integer not below.
        Ceil = "fceil",
        /// Towards zero.
        Trunc = "ftrunc",
        /// i32 to f32, nearest even.
        I32ToF32 = "i32_to_f32",
        /// f32 to i32, towards zero. Out of range or NaN: x64 gives `i32::MIN`, NEON saturates and gives 0 for NaN.
        F32ToI32Trunc = "f32_to_i32_trunc",
        /// f32 to i32, nearest even; out of range as above.
        F32ToI32Nearest = "f32_to_i32_nearest",
        /// Bitwise complement.
        Not = "vnot",
    }
}

named! {
    /// Forms of the fused multiply-add that accumulate: the first argument is the accumulator.
    FmaOp {
        /// `acc + a * b`.
        Add = "fma",
        /// `acc - a * b`.
        Sub = "fnma",
    }
}

named! {
    /// Shifts of lanes by a constant below their number of bits.
    ShiftOp {
        /// 32 bits, left.
        Shl = "vshl",
        /// 32 bits, right, filling with zeros.
        Shr = "vshr",
        /// 32 bits, right, filling with the sign.
        Sar = "vsar",
        /// 16 bits, left.
        Shl16 = "vshl16",
        /// 16 bits, right, filling with zeros.
        Shr16 = "vshr16",
        /// 16 bits, right, filling with the sign.
        Sar16 = "vsar16",
    }
}

impl ShiftOp {
    /// Number of bits of a lane.
    pub const fn bits(self) -> u8 {
        match self {
            ShiftOp::Shl | ShiftOp::Shr | ShiftOp::Sar => 32,
            ShiftOp::Shl16 | ShiftOp::Shr16 | ShiftOp::Sar16 => 16,
        }
    }
}

named! {
    /// Lane-wise comparison.
    Cmp {
        /// Equal; false for NaN.
        Eq = "eq",
        /// Not equal; true if either is NaN.
        Ne = "ne",
        /// Less; false for NaN.
        Lt = "lt",
        /// Less or equal; false for NaN.
        Le = "le",
        /// Greater; false for NaN.
        Gt = "gt",
        /// Greater or equal; false for NaN.
        Ge = "ge",
    }
}

named! {
    /// What the lanes of a comparison are.
    CmpType {
        /// f32.
        F32 = "f32",
        /// Signed i32.
        I32 = "i32",
    }
}

named! {
    /// Operations on masks.
    MaskOp {
        /// Both.
        And = "mand",
        /// Either.
        Or = "mor",
        /// Exactly one.
        Xor = "mxor",
    }
}

named! {
    /// Rearrangements of two vectors `a`, `b`.
    ShuffleOp {
        /// In each 128-bit part: `a0 b0 a1 b1` (32-bit lanes).
        UnpackLo32 = "unpack_lo32",
        /// In each 128-bit part: `a2 b2 a3 b3`.
        UnpackHi32 = "unpack_hi32",
        /// In each 128-bit part: `a0 a1 b0 b1`.
        UnpackLo64 = "unpack_lo64",
        /// In each 128-bit part: `a2 a3 b2 b3`.
        UnpackHi64 = "unpack_hi64",
        /// In each 128-bit part: `a0 b0 a1 b1 …` of the low 8 bytes of each.
        UnpackLo8 = "unpack_lo8",
        /// In each 128-bit part: the same of the high 8 bytes.
        UnpackHi8 = "unpack_hi8",
        /// In each 128-bit part: `a0 b0 a1 b1 …` of the low four 16-bit lanes of each.
        UnpackLo16 = "unpack_lo16",
        /// In each 128-bit part: the same of the high four.
        UnpackHi16 = "unpack_hi16",
        /// In each 128-bit part: the i32 lanes of `a`, then of `b`, saturated to i16.
        NarrowI32 = "narrow_i32",
        /// In each 128-bit part: the i16 lanes of `a`, then of `b`, saturated to u8.
        NarrowI16 = "narrow_i16",
        /// Even lanes of `a`, then even lanes of `b`.
        Even = "even",
        /// Odd lanes of `a`, then odd lanes of `b`.
        Odd = "odd",
        /// Low halves interleaved over the whole width: `a0 b0 a1 b1 …`.
        ZipLo = "zip_lo",
        /// High halves interleaved over the whole width.
        ZipHi = "zip_hi",
    }
}

named! {
    /// Horizontal reductions of f32 lanes.
    ReduceOp {
        /// Sum, as a tree: the upper half of the lanes is added to the lower half until one is left.
        Add = "reduce_add",
        /// Minimum, NaN as for [`VecOp::FMin`].
        Min = "reduce_min",
        /// Maximum, NaN as for [`VecOp::FMax`].
        Max = "reduce_max",
    }
}

/// An operation with its immediates.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// First instruction: defines the three parameters of the function.
    Entry,

    /// 64-bit constant.
    IntConst(i64),
    /// Address of 32-bit words in the constant pool, aligned to 4 bytes.
    TableAddr(Arc<[u32]>),
    /// `a op b`.
    Int(IntOp),
    /// `a op constant`.
    IntImm(IntImmOp, i64),
    /// `if a cond b { x } else { y }` of four registers.
    IntSelect(Cond),
    /// The address of the memory operand.
    Lea,
    /// Integer load.
    IntLoad(IntType),
    /// Integer store of the low bits.
    IntStore(IntType),
    /// Prefetch for reading.
    Prefetch(Hint),

    /// A 32-bit word in all lanes.
    Splat(u32),
    /// A constant vector, one word a lane.
    Table(Arc<[u32]>),
    /// Low 32 bits of a general register in all lanes.
    SplatGpr,
    /// Lane 0, zero-extended, in a general register.
    ToGpr,
    /// All lanes from memory, any alignment.
    Load,
    /// All lanes to memory, any alignment.
    Store,
    /// The first lanes from memory, the rest zero; reads no byte beyond. 1, 2, 4 or 8 lanes and fewer than the width has; NEON also 3.
    LoadLow(u8),
    /// The first lanes to memory; lane counts as for [`Op::LoadLow`], or all.
    StoreLow(u8),
    /// Lanes under the mask from memory, the rest zero; reads no byte of the others.
    LoadMasked,
    /// Lanes under the mask to memory; writes no byte of the others.
    StoreMasked,
    /// One 32-bit word from memory in all lanes.
    Broadcast,
    /// One byte from memory in all bytes.
    BroadcastByte,
    /// Widening load of one element a lane.
    LoadConvert(Elem),
    /// Narrowing store of one element a lane.
    StoreConvert(Elem),
    /// Widening load of one byte for each lane under the mask, zero in the others; reads no byte of those. AVX-512.
    LoadConvertMasked(Elem),
    /// Narrowing store of one byte for each lane under the mask; writes no byte of the others. AVX-512.
    StoreConvertMasked(Elem),
    /// Lane `i` from `[base + idx_i * scale + disp]`, `idx` signed 32 bits; scale 1, 2, 4 or 8. The address has no index register.
    Gather(u8),

    /// `a op b`.
    Vec(VecOp),
    /// `op a`.
    Unary(UnaryOp),
    /// `acc ± a * b`, rounded once; the result wants the accumulator's register.
    Fma(FmaOp),
    /// `acc ± a * b[lane]`, lane below 4.
    FmaLane(FmaOp, u8),
    /// `a * b + c`, rounded once; the result wants the register of `a` (x64) or `c` (NEON).
    MulAdd,
    /// `acc + a.hi * b.hi + a.lo * b.lo` of the two bf16 halves of each lane, denormals taken as zero; the result wants the
    /// accumulator's register. Needs BF16.
    DotBf16,
    /// `acc` plus, in each i32 lane, the four products of an unsigned byte of the second argument and a signed byte of the third, wrapping
    /// and never saturating; the result wants the accumulator's register. Needs [`Target::has_dot_u8s8`](crate::Target::has_dot_u8s8).
    DotU8S8,
    /// Both vectors rounded to bf16: those of `a` in the low half of the bits, those of `b` in the high half. Needs BF16.
    PackBf16,
    /// Shift of lanes by less than their number of bits.
    Shift(ShiftOp, u8),
    /// Comparison to a mask.
    Compare(CmpType, Cmp),
    /// `mask ? a : b` for each lane.
    Select,

    /// Two-vector rearrangement.
    Shuffle(ShuffleOp),
    /// Lanes `n..` of `a` followed by the first `n` lanes of `b`; `n` below the number of lanes.
    Align(u8),
    /// Lane `i` is `a[idx_i]`, the index taken modulo the number of lanes. Arguments `a`, `idx`. Not on NEON.
    Permute,
    /// In each 128-bit part, byte `i` is byte `idx_i mod 16` of `a`, or 0 where `idx_i` has its high bit. Arguments `a`, `idx`.
    PermuteBytes,
    /// Lane `i` is `a[table_i]`.
    PermuteConst(Arc<[u32]>),
    /// Every byte `x` becomes byte `x` of a table of 256, given as 64 words, the lowest byte first.
    LookupBytes(Arc<[u32]>),
    /// One lane in all lanes.
    BroadcastLane(u8),
    /// 128-bit parts `[a[x], a[y], b[z], b[w]]` for 512 bits (`x | y<<2 | z<<4 | w<<6`), `[a[x], b[y]]` for 256 bits (`x | y<<1`).
    Parts(u8),
    /// Low (`false`) or high (`true`) half of the lanes.
    Half(bool),
    /// `a` as the low half, `b` as the high half of a vector of twice the width.
    Concat,
    /// Lane 0 of the result is the reduction of all lanes; the other lanes are unspecified.
    Reduce(ReduceOp),

    /// True in the first lanes.
    MaskConst(u8),
    /// True in lane `i` if `i < n` for a signed register `n`.
    MaskFirst,
    /// `a op b` of masks.
    Mask(MaskOp),
    /// Complement of a mask.
    MaskNot,

    /// Address of so many bytes of the function's own frame, aligned to 64; at most once in a kernel. x64 only.
    Scratch(u32),
    /// Shapes of the tiles, from the 64 bytes of the memory operand in the processor's own form; all tiles become zero. A kernel that
    /// configures tiles releases them before it returns.
    TileConfig,
    /// The tiles go out of use.
    TileRelease,
    /// Tile `.0` of 8 becomes zero.
    TileZero(u8),
    /// Rows of a tile from memory: base and displacement are the first, the index (of scale 1) is the stride in bytes.
    TileLoad(u8),
    /// Rows of a tile to memory; the address is as for [`Op::TileLoad`].
    TileStore(u8),
    /// Tile `.0 += .1 * .2`: rows of bf16 pairs times rows of pairs, each accumulated in f32 as for [`Op::DotBf16`].
    TileDot(u8, u8, u8),
    /// Tile `.0 += .1 * .2`: rows of four unsigned bytes times rows of four signed ones, as for [`Op::DotU8S8`].
    TileDotU8S8(u8, u8, u8),
}
