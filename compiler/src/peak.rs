//! What this machine's core can do at most, in single-precision operations.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Multiply-adds in flight: enough to cover the latency (4 to 5 cycles) on two ports.
const CHAINS: usize = 12;
/// Rounds between two looks at the clock.
const ROUNDS: usize = 20_000;

/// Measures the f32 multiply-add rate of one core with the widest instructions it has, in GFLOP/s (a multiply-add
/// counts two). Takes a tenth of a second.
pub fn gflops() -> f64 {
    let kernel = kernel();
    let end = Instant::now() + Duration::from_millis(100);
    let mut best = 0.0f64;
    while Instant::now() < end {
        let start = Instant::now();
        let lanes = kernel(black_box(ROUNDS));
        let flops = (2 * lanes * CHAINS * ROUNDS) as f64;
        best = best.max(flops / start.elapsed().as_secs_f64() / 1e9);
    }
    best
}

/// Runs a number of rounds of independent multiply-adds; returns the vector's lanes.
type Kernel = fn(usize) -> usize;

#[cfg(target_arch = "x86_64")]
fn kernel() -> Kernel {
    // SAFETY (both): the feature that the function is compiled for was found on this CPU.
    if is_x86_feature_detected!("avx512f") {
        return |rounds| unsafe { avx512(rounds) };
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        return |rounds| unsafe { avx2(rounds) };
    }
    portable
}

#[cfg(not(target_arch = "x86_64"))]
fn kernel() -> Kernel {
    portable
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(rounds: usize) -> usize {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
    let mut sums = [_mm512_set1_ps(black_box(1.0)); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, a, b);
        }
    }
    black_box(sums.map(|sum| _mm512_reduce_add_ps(sum)));
    16
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(rounds: usize) -> usize {
    use std::arch::x86_64::{_mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps};
    let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
    let mut sums = [_mm256_set1_ps(black_box(1.0)); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, a, b);
        }
    }
    black_box(sums.map(|sum| _mm256_cvtss_f32(sum)));
    8
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
    4
}

#[cfg(test)]
mod tests {
    #[test]
    fn peak_is_that_of_a_real_core() {
        let gflops = super::gflops();
        // From an emulated core to beyond any core sold today.
        assert!((0.01..2000.0).contains(&gflops), "{gflops}");
    }
}
