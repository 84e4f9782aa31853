//! Peak of the multiply-add pipes: independent chains in registers, no memory.

use std::hint::black_box;
use std::time::Duration;

use mnnc_codegen::Level;

use super::{amx, rate};

/// Multiply-adds in flight: enough to cover the latency (4 to 6 cycles) on two ports.
const CHAINS: usize = 12;
/// Rounds between two looks at the clock: some tens of microseconds.
const ROUNDS: usize = 10_000;
/// Time for one peak.
const TIME: Duration = Duration::from_millis(50);

/// What does the multiplying and adding; sums are f32 everywhere.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Unit {
    /// Multiply-adds of f32.
    F32,
    /// Dot products of bf16 pairs in vector registers.
    Bf16Dot,
    /// Products of bf16 tiles.
    Bf16Tiles,
}

impl Unit {
    /// Type of the factors.
    pub fn element(self) -> &'static str {
        match self {
            Unit::F32 => "f32",
            Unit::Bf16Dot | Unit::Bf16Tiles => "bf16",
        }
    }

    /// The unit that a kernel uses, by its name, which states types and instruction set.
    pub fn of_kernel(name: &str) -> Unit {
        let says = |word| name.split('_').any(|part| part == word);
        match (says("bf16"), says("amx")) {
            (_, true) => Unit::Bf16Tiles,
            (true, false) => Unit::Bf16Dot,
            (false, false) => Unit::F32,
        }
    }
}

/// What one core reaches with one kind of instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Peak {
    /// Instruction set: `avx512`, `avx2`, `amx`, `neon` or `portable`.
    pub isa: &'static str,
    /// The lowest processor level whose code may use it.
    pub level: Level,
    /// What computes.
    pub unit: Unit,
    /// 10^9 operations a second; a multiply-add counts two.
    pub gflops: f64,
}

/// Runs a number of rounds; returns the operations of one round.
pub(super) type Kernel = fn(usize) -> usize;

/// Measures every kind of multiply-add that this core has. Takes 50 ms for each.
pub fn peaks() -> Vec<Peak> {
    let measured = |(isa, level, unit, kernel): (_, _, _, Kernel)| {
        let gflops = rate::best(TIME, || (kernel(black_box(ROUNDS)) * ROUNDS) as f64) / 1e9;
        Peak { isa, level, unit, gflops }
    };
    kernels().into_iter().map(measured).collect()
}

#[cfg(target_arch = "x86_64")]
fn kernels() -> Vec<(&'static str, Level, Unit, Kernel)> {
    let mut found: Vec<(_, _, _, Kernel)> = vec![("portable", Level::X64V1, Unit::F32, portable)];
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the features that the function is compiled for were found on this CPU.
        found.push(("avx2", Level::X64V3, Unit::F32, |rounds| unsafe { x86::avx2(rounds) }));
    }
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: as above.
        found.push(("avx512", Level::X64V4, Unit::F32, |rounds| unsafe { x86::avx512(rounds) }));
    }
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16") {
        // SAFETY: as above.
        found.push(("avx512", Level::X64V4, Unit::Bf16Dot, |rounds| unsafe { x86::avx512_bf16(rounds) }));
    }
    if let Some(kernel) = amx::bf16() {
        found.push(("amx", Level::X64V4, Unit::Bf16Tiles, kernel));
    }
    found
}

#[cfg(not(target_arch = "x86_64"))]
fn kernels() -> Vec<(&'static str, Level, Unit, Kernel)> {
    let _ = amx::bf16();
    let isa = if cfg!(target_arch = "aarch64") { "neon" } else { "portable" };
    vec![(isa, Level::A64, Unit::F32, portable)]
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::CHAINS;
    use std::arch::x86_64::*;
    use std::hint::black_box;

    #[target_feature(enable = "avx512f")]
    pub fn avx512(rounds: usize) -> usize {
        let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        let mut sums = [_mm512_set1_ps(black_box(1.0)); CHAINS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums.map(|sum| _mm512_reduce_add_ps(sum)));
        2 * 16 * CHAINS
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn avx2(rounds: usize) -> usize {
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        let mut sums = [_mm256_set1_ps(black_box(1.0)); CHAINS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums.map(|sum| _mm256_cvtss_f32(sum)));
        2 * 8 * CHAINS
    }

    /// Products of pairs: 32 multiply-adds an instruction.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn avx512_bf16(rounds: usize) -> usize {
        let half = |x: f32| _mm512_cvtne2ps_pbh(_mm512_set1_ps(x), _mm512_set1_ps(x));
        let (a, b) = (half(black_box(0.999)), half(black_box(0.001)));
        let mut sums = [_mm512_set1_ps(black_box(1.0)); CHAINS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, a, b);
            }
        }
        black_box(sums.map(|sum| _mm512_reduce_add_ps(sum)));
        2 * 32 * CHAINS
    }
}

/// Four lanes: what every 64-bit machine has.
fn portable(rounds: usize) -> usize {
    let (a, b) = (black_box(0.999f32), black_box(0.001f32));
    let mut sums = [[black_box(1.0f32); 4]; CHAINS];
    for _ in 0..rounds {
        for lane in sums.iter_mut().flatten() {
            // `mul_add` would call a library where the target has no such instruction.
            *lane = if cfg!(target_arch = "aarch64") { lane.mul_add(a, b) } else { *lane * a + b };
        }
    }
    black_box(sums);
    2 * 4 * CHAINS
}

#[cfg(test)]
mod tests {
    use super::{Unit, peaks};

    #[test]
    fn kernels_say_what_they_compute_with() {
        assert_eq!(Unit::of_kernel("conv_k1x1s1x1_c64_b2_56x56_avx512_6b8ecb517ce093e6"), Unit::F32);
        assert_eq!(Unit::of_kernel("conv_bf16_k1x1_avx512_6b8ecb517ce093e6"), Unit::Bf16Dot);
        assert_eq!(Unit::of_kernel("conv_bf16_k1x1_amx_6b8ecb517ce093e6"), Unit::Bf16Tiles);
    }

    #[test]
    fn peaks_are_those_of_a_real_core() {
        let peaks = peaks();
        // From an emulated core to beyond any core sold today.
        assert!(peaks.iter().all(|p| (0.01..20_000.0).contains(&p.gflops)), "{peaks:?}");
        assert!(peaks.iter().any(|p| p.unit == Unit::F32));
    }
}
