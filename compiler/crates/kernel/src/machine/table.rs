//! The table of cores. Where a figure was measured, the comment says so; the others are vendors' and are rounded down.

use super::{Core, Machine};
use mnnc_vector::{Isa, Target};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Between the measured ones: what is chosen for it must not be bad on any.
const AVX512: Machine = Machine {
    fmas: 2.0,
    bf16: 1.0,
    loads: 2.0,
    latency: 4.0,
    l1: 32 * KIB,
    l2: MIB,
    l3: 16 * MIB,
    l2_rate: 45.0,
    l3_rate: 14.0,
    memory_rate: 6.0,
};

/// Measured at 3.9 GHz: L1 440 to 460 GB/s, L2 200 to 240, L3 100 to 118 (32 MB), memory 35 to 42.
const ZEN5: Machine = Machine {
    bf16: 2.0,
    l1: 48 * KIB,
    l2: MIB,
    l3: 32 * MIB,
    l2_rate: 52.0,
    l3_rate: 26.0,
    memory_rate: 9.5,
    ..AVX512
};

/// Measured at 3.7 GHz on a shared machine: L1 270 to 290 GB/s, L2 178, L3 28, memory 16.
const SAPPHIRE_RAPIDS: Machine =
    Machine { l1: 48 * KIB, l2: 2 * MIB, l3: 24 * MIB, l2_rate: 47.0, l3_rate: 7.5, memory_rate: 4.2, ..AVX512 };

const AVX2: Machine = Machine {
    fmas: 2.0,
    bf16: 1.0,
    loads: 2.0,
    latency: 5.0,
    l1: 32 * KIB,
    l2: 512 * KIB,
    l3: 8 * MIB,
    l2_rate: 28.0,
    l3_rate: 12.0,
    memory_rate: 6.0,
};

const NEON: Machine = Machine {
    fmas: 2.0,
    bf16: 1.0,
    loads: 2.0,
    latency: 4.0,
    l1: 64 * KIB,
    l2: 512 * KIB,
    l3: 4 * MIB,
    l2_rate: 20.0,
    l3_rate: 10.0,
    memory_rate: 5.0,
};

pub(super) fn machine(core: Core, target: &Target) -> Machine {
    let machine = match core {
        Core::Avx512 => AVX512,
        Core::Avx2 => AVX2,
        Core::Neon => NEON,
        Core::Zen3 => Machine { latency: 4.0, l3: 16 * MIB, l3_rate: 22.0, memory_rate: 7.0, ..AVX2 },
        // One multiply-add and one load of 512 bits a cycle; L2 and L3 as wide as in Zen 5.
        Core::Zen4 => Machine { fmas: 1.0, bf16: 1.0, loads: 1.0, l1: 32 * KIB, l2_rate: 30.0, ..ZEN5 },
        Core::Zen5 => ZEN5,
        Core::SkylakeServer => Machine { l3_rate: 8.0, memory_rate: 4.0, ..AVX512 },
        Core::IceLakeServer => Machine { l1: 48 * KIB, l2: MIB + MIB / 4, l3_rate: 8.0, memory_rate: 4.0, ..AVX512 },
        Core::SapphireRapids => SAPPHIRE_RAPIDS,
    };
    if core != Core::any(target.isa) && target.isa == Isa::X64Avx2 {
        // Narrower vectors: the same caches, at most 64 bytes a cycle from L1.
        return Machine { fmas: 2.0, loads: 2.0, l2_rate: machine.l2_rate.min(32.0), ..machine };
    }
    machine
}
