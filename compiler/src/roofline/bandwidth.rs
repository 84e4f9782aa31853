//! Read bandwidth of every level of memory: sums over a block that fits that level and no nearer one.

use std::hint::black_box;
use std::time::Duration;

use super::{cache, rate};

/// Time for one level.
const TIME: Duration = Duration::from_millis(100);
/// Bytes that one try reads: well below a millisecond's worth.
const TRY: usize = 1 << 20;
/// Largest block: caches shared by a whole server are not ours alone, and memory is not either.
const LARGEST: usize = 1 << 30;

/// A level of memory as one core sees it, or part of a large one: far in, bandwidth falls long before the cache is full, as
/// neighbours fill it too and fewer pages are in reach.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// `L1`, `L2`, `L3` or `DRAM`.
    pub name: &'static str,
    /// Most bytes that can be touched before a byte comes from further away; `None` for main memory.
    pub holds: Option<u64>,
    /// Read bandwidth, 10^9 bytes a second.
    pub gbytes: f64,
    /// Bytes that were read over and over to measure it.
    pub block: u64,
}

/// Measures all levels.
pub(super) fn measure() -> Vec<Memory> {
    let caches = cache::sizes();
    let levels = levels(&caches, available() / 4);
    let largest = levels.iter().map(|level| level.2).max().unwrap_or(0);
    let block = block(largest);
    let one = |(name, holds, wanted): (_, Option<usize>, usize)| {
        let part = &block[..(wanted / LINE).clamp(1, block.len())];
        let bytes = part.len() * LINE;
        // A large block is read a window at a time, so that a try is short whatever the level.
        let windows: Vec<&[Line]> = part.chunks((TRY / LINE).min(part.len())).collect();
        let passes = TRY.div_ceil(size_of_val(windows[0]));
        black_box(sum(part));
        let mut turn = windows.iter().cycle();
        let rate = rate::best(TIME, || {
            let window = turn.next().copied().unwrap_or_default();
            for _ in 0..passes {
                black_box(sum(black_box(window)));
            }
            (passes * size_of_val(window)) as f64
        });
        Memory { name, holds: holds.map(|bytes| bytes as u64), gbytes: rate / 1e9, block: bytes as u64 }
    };
    levels.into_iter().map(one).collect()
}

/// Name, what it holds and the block to measure it over, for each part of each level; no block is larger than `most`.
fn levels(caches: &[usize], most: usize) -> Vec<(&'static str, Option<usize>, usize)> {
    let mut levels = Vec::new();
    let mut nearer = 0;
    for (name, &capacity) in ["L1", "L2", "L3", "L4"].into_iter().zip(caches) {
        // Well beyond the nearer level, well within this one.
        let mut block = if nearer == 0 { capacity / 2 } else { (capacity / 2).min(4 * nearer) };
        while 4 * block <= (capacity / 2).min(most) {
            levels.push((name, Some(2 * block), block));
            block *= 4;
        }
        levels.push((name, Some(capacity), block));
        nearer = capacity;
    }
    levels.push(("DRAM", None, (2 * nearer).clamp(64 << 20, LARGEST).min(most)));
    levels
}

/// Bytes of a [`Line`].
const LINE: usize = size_of::<Line>();

/// Eight cache lines: one turn of the reading loop.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u64; 64]);

/// Bytes of memory that the system could give; a guess where it does not say.
fn available() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<usize>().ok());
    kilobytes.map_or(1 << 30, |k| k << 10)
}

/// A block of this size, every page of it written; a smaller one if memory is short.
fn block(bytes: usize) -> Vec<Line> {
    let mut lines = bytes / LINE;
    loop {
        let mut block: Vec<Line> = Vec::new();
        if lines < 2 || block.try_reserve_exact(lines).is_ok() {
            block.resize(lines.max(1), Line([1; 64]));
            return block;
        }
        lines /= 2;
    }
}

#[cfg(target_arch = "x86_64")]
fn sum(block: &[Line]) -> u64 {
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature that the function is compiled for was found on this CPU.
        return unsafe { avx512(block) };
    }
    if is_x86_feature_detected!("avx2") {
        // SAFETY: as above.
        return unsafe { avx2(block) };
    }
    portable(block)
}

#[cfg(not(target_arch = "x86_64"))]
fn sum(block: &[Line]) -> u64 {
    portable(block)
}

/// A load and an addition for each 64 bytes, in eight chains.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(block: &[Line]) -> u64 {
    use std::arch::x86_64::*;
    let mut sums = [_mm512_setzero_si512(); 8];
    for line in block {
        let at = line.0.as_ptr().cast::<__m512i>();
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: a line is eight vectors long, and aligned to one.
            *sum = _mm512_add_epi64(*sum, unsafe { _mm512_load_si512(at.add(i)) });
        }
    }
    sums.map(|sum| _mm512_reduce_add_epi64(sum)).iter().fold(0, |a, &b| a.wrapping_add(b as u64))
}

/// As [`avx512`], with 32 bytes at a time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(block: &[Line]) -> u64 {
    use std::arch::x86_64::*;
    let mut sums = [_mm256_setzero_si256(); 8];
    for line in block {
        let at = line.0.as_ptr().cast::<__m256i>();
        for i in 0..16 {
            // SAFETY: a line is sixteen vectors long, and aligned to one.
            sums[i % 8] = _mm256_add_epi64(sums[i % 8], unsafe { _mm256_load_si256(at.add(i)) });
        }
    }
    let mut lanes = [[0u64; 4]; 8];
    for (sum, lanes) in sums.into_iter().zip(&mut lanes) {
        // SAFETY: four lanes are as long as the vector.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) };
    }
    lanes.as_flattened().iter().fold(0, |a, &b| a.wrapping_add(b))
}

fn portable(block: &[Line]) -> u64 {
    let mut sums = [0u64; 8];
    for line in block {
        for (i, &word) in line.0.iter().enumerate() {
            sums[i % 8] = sums[i % 8].wrapping_add(word);
        }
    }
    sums.iter().fold(0, |a, &b| a.wrapping_add(b))
}

#[cfg(test)]
mod tests {
    use super::{Line, block, levels, portable, sum};

    #[test]
    fn every_way_of_reading_reads_everything() {
        let lines: Vec<Line> = (0..5u64).map(|i| Line(std::array::from_fn(|j| i * 1000 + j as u64))).collect();
        let expected: u64 = lines.iter().flat_map(|line| line.0).sum();
        assert_eq!(portable(&lines), expected);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was found.
            assert_eq!(unsafe { super::avx512(&lines) }, expected);
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was found.
            assert_eq!(unsafe { super::avx2(&lines) }, expected);
        }
        assert_eq!(sum(&lines), expected);
    }

    #[test]
    fn a_large_cache_is_measured_in_parts() {
        let found = levels(&[48 << 10, 2 << 20, 480 << 20], 4 << 30);
        let names: Vec<&str> = found.iter().map(|level| level.0).collect();
        assert_eq!(names, ["L1", "L2", "L2", "L3", "L3", "L3", "DRAM"]);
        let held: Vec<usize> = found.iter().filter_map(|level| level.1).collect();
        assert!(held.is_sorted() && held.last() == Some(&(480 << 20)), "{held:?}");
        assert!(found.iter().all(|&(_, holds, block)| holds.is_none_or(|holds| block <= holds)), "{found:?}");
        assert_eq!(levels(&[32 << 10], 1 << 20).last(), Some(&("DRAM", None, 1 << 20)));
    }

    #[test]
    fn blocks_are_as_large_as_asked_for() {
        assert_eq!(block(1 << 16).len() * super::LINE, 1 << 16);
        assert_eq!(block(1).len(), 1);
    }
}
