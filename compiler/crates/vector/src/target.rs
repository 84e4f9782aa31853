//! What a kernel is compiled for: instruction set, register file, optional features.

use std::fmt;

/// Instruction set of the generated code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// x86-64 with AVX-512 F, BW, DQ, VL and BMI2 (32 vector registers of 512 bits, opmasks).
    X64Avx512,
    /// x86-64 with AVX2, FMA, F16C and BMI2 (16 vector registers of 256 bits).
    X64Avx2,
    /// AArch64 with Advanced SIMD (32 vector registers of 128 bits).
    A64Neon,
}

bitflags::bitflags! {
    /// Optional instructions beyond the base level of an [`Isa`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Features: u32 {
        /// x86: AVX-512 VNNI or AVX-VNNI (`vpdpbusd`).
        const VNNI = 1 << 0;
        /// x86: AVX-512 BF16 (`vdpbf16ps`).
        const BF16 = 1 << 1;
        /// AArch64: `sdot`, `udot`.
        const DOTPROD = 1 << 2;
        /// AArch64: `smmla`, `usdot`.
        const I8MM = 1 << 3;
        /// AArch64: arithmetic on 16-bit floats.
        const FP16 = 1 << 4;
        /// x86: AMX tiles with products of bf16 pairs (`tdpbf16ps`). The system must have granted their state to the process.
        const AMX_BF16 = 1 << 5;
        /// x86: AMX tiles with products of bytes (`tdpbusd`); granted as for [`Features::AMX_BF16`].
        const AMX_INT8 = 1 << 6;
        /// x86: AVX-512 VBMI (`vpermt2b`).
        const VBMI = 1 << 7;
    }
}

/// Number of bits in a vector register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Width {
    /// 128 bits, 4 lanes of 32 bits.
    W128,
    /// 256 bits, 8 lanes of 32 bits.
    W256,
    /// 512 bits, 16 lanes of 32 bits.
    W512,
}

impl Width {
    /// All widths, narrowest first.
    pub const ALL: [Width; 3] = [Width::W128, Width::W256, Width::W512];

    /// Number of 32-bit lanes.
    pub const fn lanes(self) -> usize {
        match self {
            Width::W128 => 4,
            Width::W256 => 8,
            Width::W512 => 16,
        }
    }

    /// Size in bytes.
    pub const fn bytes(self) -> usize {
        self.lanes() * 4
    }

    /// The width of half the lanes, if there is one.
    pub const fn half(self) -> Option<Width> {
        match self {
            Width::W128 => None,
            Width::W256 => Some(Width::W128),
            Width::W512 => Some(Width::W256),
        }
    }

    /// The width of twice the lanes, if there is one.
    pub const fn double(self) -> Option<Width> {
        match self {
            Width::W128 => Some(Width::W256),
            Width::W256 => Some(Width::W512),
            Width::W512 => None,
        }
    }

    /// The width with this number of 32-bit lanes.
    pub const fn from_lanes(lanes: usize) -> Option<Width> {
        match lanes {
            4 => Some(Width::W128),
            8 => Some(Width::W256),
            16 => Some(Width::W512),
            _ => None,
        }
    }
}

/// The machine that a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Instruction set.
    pub isa: Isa,
    /// Optional instructions that may be used.
    pub features: Features,
}

impl Target {
    /// AVX-512 without optional features.
    pub const AVX512: Target = Target::new(Isa::X64Avx512);
    /// AVX2 + FMA without optional features.
    pub const AVX2: Target = Target::new(Isa::X64Avx2);
    /// Base AArch64 NEON.
    pub const NEON: Target = Target::new(Isa::A64Neon);

    /// A target without optional features.
    pub const fn new(isa: Isa) -> Target {
        Target { isa, features: Features::empty() }
    }

    /// Widest vector of this target.
    pub const fn width(&self) -> Width {
        match self.isa {
            Isa::X64Avx512 => Width::W512,
            Isa::X64Avx2 => Width::W256,
            Isa::A64Neon => Width::W128,
        }
    }

    /// Number of f32 lanes in the widest vector: 16, 8 or 4.
    pub const fn lanes(&self) -> usize {
        self.width().lanes()
    }

    /// Number of allocatable vector registers: 32, 16 or 32.
    pub const fn vec_regs(&self) -> usize {
        match self.isa {
            Isa::X64Avx512 | Isa::A64Neon => 32,
            Isa::X64Avx2 => 16,
        }
    }

    /// Whether the machine multiplies by one lane of a register in the FMA itself (`fmla v, v, v.s[i]`), so that
    /// [`crate::KernelBuilder::fma_lane`] costs one instruction. Elsewhere, broadcast from memory.
    pub const fn has_fma_lane(&self) -> bool {
        matches!(self.isa, Isa::A64Neon)
    }

    /// Whether masks live in registers of their own (opmasks) and not in vector registers.
    pub const fn has_mask_regs(&self) -> bool {
        matches!(self.isa, Isa::X64Avx512)
    }

    /// Whether this is an x86-64 target.
    pub const fn is_x64(&self) -> bool {
        matches!(self.isa, Isa::X64Avx512 | Isa::X64Avx2)
    }

    /// Short name, as used in the text form: `avx512`, `avx2`, `neon`.
    pub const fn name(&self) -> &'static str {
        match self.isa {
            Isa::X64Avx512 => "avx512",
            Isa::X64Avx2 => "avx2",
            Isa::A64Neon => "neon",
        }
    }

    /// The target without some of its optional features.
    pub const fn without(&self, features: Features) -> Target {
        Target { isa: self.isa, features: self.features.difference(features) }
    }

    /// Whether products of bf16 pairs may be used.
    pub const fn has_bf16(&self) -> bool {
        matches!(self.isa, Isa::X64Avx512) && self.features.contains(Features::BF16)
    }

    /// Whether AMX tiles may be used.
    pub const fn has_tiles(&self) -> bool {
        self.has_bf16() && self.features.contains(Features::AMX_BF16)
    }

    /// Whether four products of bytes and their sum are one instruction: see [`crate::KernelBuilder::dot_u8s8`].
    pub const fn has_dot_u8s8(&self) -> bool {
        self.features.contains(if self.is_x64() { Features::VNNI } else { Features::I8MM })
    }

    /// Whether AMX tiles may be used for products of bytes.
    pub const fn has_int8_tiles(&self) -> bool {
        matches!(self.isa, Isa::X64Avx512) && self.features.contains(Features::VNNI.union(Features::AMX_INT8))
    }

    /// Whether bytes of a vector may be looked up in tables of 128 bytes.
    pub const fn has_wide_byte_tables(&self) -> bool {
        matches!(self.isa, Isa::X64Avx512) && self.features.contains(Features::VBMI)
    }

    /// Name with the optional features, as at the head of the text form: `avx512+bf16`.
    pub fn full_name(&self) -> String {
        let features = self.features.iter_names().map(|(n, _)| format!("+{}", n.to_lowercase()));
        std::iter::once(self.name().to_owned()).chain(features).collect()
    }

    /// The feature of this name in [`Target::full_name`].
    pub(crate) fn feature(name: &str) -> Option<Features> {
        Features::all().iter_names().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, f)| f)
    }

    /// Inverse of [`Target::name`].
    pub fn from_name(name: &str) -> Option<Target> {
        [Target::AVX512, Target::AVX2, Target::NEON].into_iter().find(|t| t.name() == name)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
