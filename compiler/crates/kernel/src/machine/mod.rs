//! What the compiler knows of the processors that it compiles for: widths, sizes and bandwidths, by kind of core.
//!
//! An instruction set says which code is right, a machine which of the right codes is fast. The table is part of the
//! compiler, so that output stays a function of model, options and version.

mod table;

use mnnc_vector::{Isa, Target};
use std::fmt;

/// A kind of processor core.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Core {
    /// Any core with AVX-512.
    Avx512,
    /// Any core with AVX2 and FMA.
    Avx2,
    /// Any core with Advanced SIMD.
    Neon,
    /// AMD Zen 2 and Zen 3.
    Zen3,
    /// AMD Zen 4.
    Zen4,
    /// AMD Zen 5 with 512-bit units.
    Zen5,
    /// Intel Skylake to Cascade Lake servers.
    SkylakeServer,
    /// Intel Ice Lake servers.
    IceLakeServer,
    /// Intel Sapphire, Emerald and Granite Rapids.
    SapphireRapids,
}

impl Core {
    /// Every kind.
    pub const ALL: [Core; 9] = [
        Core::Avx512,
        Core::Avx2,
        Core::Neon,
        Core::Zen3,
        Core::Zen4,
        Core::Zen5,
        Core::SkylakeServer,
        Core::IceLakeServer,
        Core::SapphireRapids,
    ];

    /// What stands for any core of an instruction set.
    pub const fn any(isa: Isa) -> Core {
        match isa {
            Isa::X64Avx512 => Core::Avx512,
            Isa::X64Avx2 => Core::Avx2,
            Isa::A64Neon => Core::Neon,
        }
    }

    /// A name for people and files.
    pub const fn name(self) -> &'static str {
        match self {
            Core::Avx512 => "any AVX-512",
            Core::Avx2 => "any AVX2",
            Core::Neon => "any NEON",
            Core::Zen3 => "Zen 3",
            Core::Zen4 => "Zen 4",
            Core::Zen5 => "Zen 5",
            Core::SkylakeServer => "Skylake server",
            Core::IceLakeServer => "Ice Lake server",
            Core::SapphireRapids => "Sapphire Rapids",
        }
    }
}

impl fmt::Display for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A core as the cost model sees it. Rates are per cycle of one core that runs alone.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Machine {
    /// Vector multiply-adds a cycle, at the width that the code uses.
    pub fmas: f64,
    /// Vector products of bf16 pairs a cycle, where there are any.
    pub bf16: f64,
    /// Vector loads a cycle.
    pub loads: f64,
    /// Cycles until the result of a multiply-add can be added to.
    pub latency: f64,
    /// Bytes of the first-level data cache.
    pub l1: usize,
    /// Bytes of the second-level cache.
    pub l2: usize,
    /// Bytes of the last-level cache that one core can count on.
    pub l3: usize,
    /// Bytes a cycle from L2, read in a row.
    pub l2_rate: f64,
    /// Bytes a cycle from the last-level cache.
    pub l3_rate: f64,
    /// Bytes a cycle from memory.
    pub memory_rate: f64,
}

impl Machine {
    /// The core, running code for this target.
    pub fn of(core: Core, target: &Target) -> Machine {
        table::machine(core, target)
    }

    /// Floating-point operations a cycle at most, for vectors of so many lanes.
    pub fn peak(&self, lanes: usize) -> f64 {
        2.0 * self.fmas * lanes as f64
    }
}
