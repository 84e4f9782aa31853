//! What is compiled for: system, processor, and the levels of it that one artefact serves.

#[cfg(target_arch = "x86_64")]
mod host;

use crate::{CodegenError, cpu_name};
use mnnc_kernel::{Core, Planner};
use mnnc_vector::{Features, Isa};
use std::fmt;
use target_lexicon::{Architecture, Triple};

/// Processor family.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Arch {
    /// x86-64, System V ABI.
    X64,
    /// AArch64, AAPCS64.
    A64,
}

/// A step of the processor families' ladders of instruction sets.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Level {
    /// x86-64 with SSE2 only: every kernel is scalar code from Cranelift.
    X64V1,
    /// x86-64-v2 (SSE4.2, POPCNT): as v1, with the newer scalar instructions.
    X64V2,
    /// x86-64-v3 (AVX2, FMA, F16C, BMI2).
    X64V3,
    /// x86-64-v4 (AVX-512 F, BW, DQ, VL).
    X64V4,
    /// Armv8-A with Advanced SIMD.
    A64,
}

impl Level {
    /// Every level.
    pub const ALL: [Level; 5] = [Level::X64V1, Level::X64V2, Level::X64V3, Level::X64V4, Level::A64];

    /// The psABI's name, or the architecture's.
    pub const fn name(self) -> &'static str {
        match self {
            Level::X64V1 => "x86-64-v1",
            Level::X64V2 => "x86-64-v2",
            Level::X64V3 => "x86-64-v3",
            Level::X64V4 => "x86-64-v4",
            Level::A64 => "armv8-a",
        }
    }
    /// Family.
    pub const fn arch(self) -> Arch {
        match self {
            Level::A64 => Arch::A64,
            _ => Arch::X64,
        }
    }
    /// What the vector level generates kernels for; `None` where it has no encoder.
    pub const fn isa(self) -> Option<Isa> {
        match self {
            Level::X64V1 | Level::X64V2 => None,
            Level::X64V3 => Some(Isa::X64Avx2),
            Level::X64V4 => Some(Isa::X64Avx512),
            Level::A64 => Some(Isa::A64Neon),
        }
    }
    /// Features that code for the level may use beyond it.
    pub const fn optional(self) -> Features {
        match self {
            Level::X64V1 | Level::X64V2 => Features::empty(),
            Level::X64V3 => VNNI,
            Level::X64V4 => VNNI.union(BF16).union(AMX).union(VBMI),
            Level::A64 => DOT.union(Features::I8MM).union(Features::FP16),
        }
    }
    pub(crate) fn cranelift_flags(self) -> &'static [&'static str] {
        const V2: &[&str] = &["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"];
        const V3: &[&str] = &[
            "has_sse3",
            "has_ssse3",
            "has_sse41",
            "has_sse42",
            "has_popcnt",
            "has_avx",
            "has_avx2",
            "has_fma",
            "has_bmi1",
            "has_bmi2",
            "has_lzcnt",
        ];
        match self {
            Level::X64V1 | Level::A64 => &[],
            Level::X64V2 => V2,
            Level::X64V3 | Level::X64V4 => V3,
        }
    }
}

/// A level with the optional features that code may use beyond it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cpu {
    /// The level.
    pub level: Level,
    /// Beyond it.
    pub features: Features,
    /// The core that the code should be fast on; it may run on others.
    pub core: Core,
}

impl Cpu {
    /// A level without extras.
    pub const fn new(level: Level) -> Cpu {
        Cpu { level, features: Features::empty(), core: any(level) }
    }
    /// What the vector level generates kernels for; `None` where it has no encoder and all code is scalar.
    pub fn vector(&self) -> Option<mnnc_vector::Target> {
        self.level.isa().map(|isa| mnnc_vector::Target { isa, features: self.features })
    }
    /// What schedules its code; `None` where all code is scalar.
    pub fn planner(&self) -> Option<Planner> {
        self.vector().map(|target| Planner::for_core(target, self.core))
    }
    /// The processor without some of its features.
    pub const fn without(self, features: Features) -> Cpu {
        Cpu { level: self.level, features: self.features.difference(features), core: self.core }
    }
    /// The processor that this program runs on.
    pub fn host() -> Cpu {
        host()
    }
    /// Whether this machine can run code for it.
    pub fn runs_here(&self) -> bool {
        let host = host();
        // The same feature is other instructions below AVX-512.
        let narrow = self.level == Level::X64V3 && self.features.contains(VNNI);
        let fits = self.level <= host.level && host.features.contains(self.features);
        self.level.arch() == host.level.arch() && if narrow { has_avx_vnni() } else { fits }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.level.name())?;
        for (name, _) in self.features.iter_names() {
            write!(f, "+{}", name.to_lowercase())?;
        }
        Ok(())
    }
}

/// Any core of a level.
const fn any(level: Level) -> Core {
    match level.isa() {
        Some(isa) => Core::any(isa),
        None => Core::Avx2,
    }
}

/// A target: family, and the processors that one artefact serves, weakest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Family.
    pub arch: Arch,
    /// At least one, all of the family, none twice.
    pub cpus: Vec<Cpu>,
}

const VNNI: Features = Features::VNNI;
const BF16: Features = Features::BF16;
const VBMI: Features = Features::VBMI;
const AMX: Features = Features::AMX_BF16.union(Features::AMX_INT8);
const DOT: Features = Features::DOTPROD;

/// Names for `--cpu`, with what they mean.
#[rustfmt::skip]
const NAMES: &[(&str, Level, Features, Core)] = &[
    ("x86-64-v1", Level::X64V1, Features::empty(), Core::Avx2),
    ("x86-64-v2", Level::X64V2, Features::empty(), Core::Avx2),
    ("x86-64-v3", Level::X64V3, Features::empty(), Core::Avx2),
    ("x86-64-v4", Level::X64V4, Features::empty(), Core::Avx512),
    ("x86-64", Level::X64V1, Features::empty(), Core::Avx2),
    ("v1", Level::X64V1, Features::empty(), Core::Avx2),
    ("v2", Level::X64V2, Features::empty(), Core::Avx2),
    ("v3", Level::X64V3, Features::empty(), Core::Avx2),
    ("v4", Level::X64V4, Features::empty(), Core::Avx512),
    ("sse2", Level::X64V1, Features::empty(), Core::Avx2),
    ("avx2", Level::X64V3, Features::empty(), Core::Avx2),
    ("avx512", Level::X64V4, Features::empty(), Core::Avx512),
    ("haswell", Level::X64V3, Features::empty(), Core::Avx2),
    ("skylake", Level::X64V3, Features::empty(), Core::Avx2),
    ("alderlake", Level::X64V3, VNNI, Core::Avx2),
    ("znver2", Level::X64V3, Features::empty(), Core::Zen3),
    ("znver3", Level::X64V3, Features::empty(), Core::Zen3),
    ("znver4", Level::X64V4, VNNI.union(VBMI).union(BF16), Core::Zen4),
    ("znver5", Level::X64V4, VNNI.union(VBMI).union(BF16), Core::Zen5),
    ("skylake-avx512", Level::X64V4, Features::empty(), Core::SkylakeServer),
    ("cascadelake", Level::X64V4, VNNI, Core::SkylakeServer),
    ("icelake-server", Level::X64V4, VNNI.union(VBMI), Core::IceLakeServer),
    ("cooperlake", Level::X64V4, VNNI.union(BF16), Core::SkylakeServer),
    ("sapphirerapids", Level::X64V4, VNNI.union(VBMI).union(BF16).union(AMX), Core::SapphireRapids),
    ("graniterapids", Level::X64V4, VNNI.union(VBMI).union(BF16).union(AMX), Core::SapphireRapids),
    ("armv8-a", Level::A64, Features::empty(), Core::Neon),
    ("neon", Level::A64, Features::empty(), Core::Neon),
    ("cortex-a53", Level::A64, Features::empty(), Core::Neon),
    ("cortex-a72", Level::A64, Features::empty(), Core::Neon),
    ("cortex-a76", Level::A64, DOT.union(Features::FP16), Core::Neon),
    ("neoverse-n1", Level::A64, DOT.union(Features::FP16), Core::Neon),
];

/// Spellings of the supported systems.
const TRIPLES: &[(&str, Arch)] = &[
    ("x86_64-linux", Arch::X64),
    ("x86_64-linux-gnu", Arch::X64),
    ("x86_64-unknown-linux-gnu", Arch::X64),
    ("aarch64-linux", Arch::A64),
    ("aarch64-linux-gnu", Arch::A64),
    ("aarch64-unknown-linux-gnu", Arch::A64),
];

impl Target {
    /// The machine that this program runs on.
    pub fn host() -> Target {
        let cpu = host();
        Target { arch: cpu.level.arch(), cpus: vec![cpu] }
    }

    /// From the texts of `--target` (`None` or `native`: this machine's system) and `--cpu` (`native`, a name or a level, with `+feature` or `-feature` behind it, or
    /// several joined by commas, for an artefact that chooses at run time). Without `--cpu`, the machine's own
    /// processor for its own system, else the family's common base.
    ///
    /// # Errors
    /// Unknown names, with the list of the known ones; a processor of another family.
    pub fn parse(triple: Option<&str>, cpu: Option<&str>) -> Result<Target, CodegenError> {
        let host = host();
        let arch = match triple {
            None | Some("native") => host.level.arch(),
            Some(t) => TRIPLES.iter().find(|(n, _)| *n == t).map(|(_, a)| *a).ok_or_else(|| {
                let known: Vec<&str> = TRIPLES.iter().map(|(n, _)| *n).collect();
                CodegenError::Usage(format!("unknown target {t}; known: native, {}", known.join(", ")))
            })?,
        };
        let base = match arch {
            _ if arch == host.level.arch() => host,
            Arch::X64 => Cpu::new(Level::X64V3),
            Arch::A64 => Cpu::new(Level::A64),
        };
        let mut cpus: Vec<Cpu> = match cpu {
            None => vec![base],
            Some(list) => list.split(',').map(|n| cpu_name::parse(n.trim(), arch, host)).collect::<Result<_, _>>()?,
        };
        cpus.sort_by_key(|c| (c.level, c.features.bits(), c.core));
        // Code is chosen at run time by what a processor can do: one of several cores that can do the same cannot be told.
        cpus.dedup_by(|next, kept| {
            let same = (next.level, next.features) == (kept.level, kept.features);
            if same && next.core != kept.core {
                kept.core = any(kept.level);
            }
            same
        });
        Ok(Target { arch, cpus })
    }

    /// The system's name as compilers spell it.
    pub fn triple_name(&self) -> &'static str {
        match self.arch {
            Arch::X64 => "x86_64-unknown-linux-gnu",
            Arch::A64 => "aarch64-unknown-linux-gnu",
        }
    }
    pub(crate) fn triple(&self) -> Triple {
        let mut t = Triple::unknown();
        t.architecture = match self.arch {
            Arch::X64 => Architecture::X86_64,
            Arch::A64 => Architecture::Aarch64(target_lexicon::Aarch64Architecture::Aarch64),
        };
        t.vendor = target_lexicon::Vendor::Unknown;
        t.operating_system = target_lexicon::OperatingSystem::Linux;
        t.environment = target_lexicon::Environment::Gnu;
        t.binary_format = target_lexicon::BinaryFormat::Elf;
        t
    }
    /// The target without the instructions that compute in bf16.
    pub fn in_f32(mut self) -> Target {
        self.cpus.iter_mut().for_each(|cpu| *cpu = cpu.without(BF16 | Features::AMX_BF16));
        self.cpus.dedup();
        self
    }
    /// Whether this machine can run the code.
    pub fn runs_here(&self) -> bool {
        self.cpus.iter().any(Cpu::runs_here)
    }
    /// The names that [`parse`](Self::parse) knows for `--target`.
    pub fn triples() -> impl Iterator<Item = &'static str> {
        TRIPLES.iter().map(|(n, _)| *n)
    }
    /// The names that [`parse`](Self::parse) knows for `--cpu`, with what they stand for.
    pub fn cpu_names() -> impl Iterator<Item = (&'static str, Cpu)> {
        NAMES.iter().map(|&(n, level, features, core)| (n, Cpu { level, features, core }))
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx_vnni() -> bool {
    std::arch::is_x86_feature_detected!("avxvnni")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx_vnni() -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
fn host() -> Cpu {
    use std::arch::is_x86_feature_detected as has;
    let mut features = Features::empty();
    let level = if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") && has!("bmi2") {
        features.set(VNNI, has!("avx512vnni"));
        features.set(BF16, has!("avx512bf16"));
        features.set(VBMI, has!("avx512vbmi"));
        let [bf16, int8] = tiles();
        features.set(Features::AMX_BF16, has!("avx512bf16") && bf16);
        features.set(Features::AMX_INT8, has!("avx512vnni") && int8);
        Level::X64V4
    } else if has!("avx2") && has!("fma") && has!("f16c") && has!("bmi2") && has!("lzcnt") {
        features.set(VNNI, has!("avxvnni"));
        Level::X64V3
    } else if has!("sse4.2") && has!("popcnt") && has!("ssse3") {
        Level::X64V2
    } else {
        Level::X64V1
    };
    Cpu { level, features, core: host::core(level) }
}

/// Whether the processor has AMX-TILE with AMX-BF16, and with AMX-INT8, and the system lets this process use the tiles' state.
#[cfg(target_arch = "x86_64")]
fn tiles() -> [bool; 2] {
    // Bits 24, 22 and 25 of edx. Leaf 7 is there: AVX-512 is.
    let edx = std::arch::x86_64::__cpuid_count(7, 0).edx;
    let has = |bit: u32| edx >> bit & 1 == 1;
    let there = has(24) && (has(22) || has(25)) && tiles_are_granted();
    [22, 25].map(|bit| there && has(bit))
}

/// Asks the system for the tiles' state, which it keeps for the whole process once it has agreed.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn tiles_are_granted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and changes nothing but which registers this process may use.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn tiles_are_granted() -> bool {
    false
}

#[cfg(target_arch = "aarch64")]
fn host() -> Cpu {
    use std::arch::is_aarch64_feature_detected as has;
    let mut features = Features::empty();
    features.set(DOT, has!("dotprod"));
    features.set(Features::I8MM, has!("i8mm"));
    features.set(Features::FP16, has!("fp16"));
    Cpu { level: Level::A64, features, core: any(Level::A64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lists_parse() {
        let t = Target::parse(Some("x86_64-linux-gnu"), Some("v4,x86-64-v1, avx2")).unwrap();
        assert_eq!(t.cpus.iter().map(|c| c.level).collect::<Vec<_>>(), [Level::X64V1, Level::X64V3, Level::X64V4]);
        assert_eq!(Target::parse(Some("aarch64-linux-gnu"), None).unwrap().cpus, [Cpu::new(Level::A64)]);
        assert_eq!(Target::parse(None, Some("native")).unwrap(), Target::host());
        assert!(Target::host().runs_here());
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let e = Target::parse(Some("sparc"), None).unwrap_err().to_string();
        assert!(e.contains("aarch64-linux-gnu"), "{e}");
        let e = Target::parse(Some("x86_64-linux"), Some("pentium")).unwrap_err().to_string();
        assert!(e.contains("x86-64-v3") && !e.contains("neon"), "{e}");
        let e = Target::parse(Some("aarch64-linux"), Some("avx2")).unwrap_err().to_string();
        assert!(e.contains("neon"), "{e}");
    }
}
