//! What a core of this machine can do at most, measured: arithmetic and memory.
//!
//! The roofline model (Williams, Waterman and Patterson, 2009): a step that does `f` operations on `b` bytes takes at least
//! `max(f / peak, b / bandwidth)`. Here each byte is charged to the level of memory that it must come from, see [`Traffic`].

mod amx;
mod bandwidth;
mod bound;
mod cache;
mod fma;
mod rate;

use mnnc_codegen::Level;

pub use bandwidth::Memory;
pub use bound::{Bound, Limit, Traffic};
pub use fma::{Peak, Unit, peaks};

/// Peaks and bandwidths of one core.
#[derive(Clone, Debug, PartialEq)]
pub struct Roofline {
    /// Peaks of arithmetic, one for each instruction set and element type that the core has.
    pub peaks: Vec<Peak>,
    /// Levels of memory, nearest first; the last holds everything.
    pub memory: Vec<Memory>,
}

impl Roofline {
    /// Measures this machine, on one thread. Takes about a second.
    pub fn measure() -> Roofline {
        Roofline { peaks: peaks(), memory: bandwidth::measure() }
    }

    /// GFLOP/s of one core that runs code for `level`.
    pub fn gflops(&self, level: Level, unit: Unit) -> f64 {
        best(&self.peaks, level, unit)
    }
}

/// The highest of the peaks that code for `level` can reach with `unit`, or with a lesser one where the core lacks it.
pub fn best(peaks: &[Peak], level: Level, unit: Unit) -> f64 {
    let usable = peaks.iter().filter(|p| p.unit <= unit && p.level <= level);
    let strongest = usable.clone().map(|p| p.unit).max();
    usable.filter(|p| Some(p.unit) == strongest).map(|p| p.gflops).fold(f64::MIN_POSITIVE, f64::max)
}

/// GFLOP/s in f32 of one core that runs code for `level`, measured now; takes a fifth of a second.
pub fn gflops(level: Level) -> f64 {
    best(&peaks(), level, Unit::F32)
}

#[cfg(test)]
mod tests {
    use super::{Peak, Unit, best};
    use mnnc_codegen::Level;

    #[test]
    fn a_level_is_held_to_its_own_peak() {
        let peak = |isa, level, unit, gflops| Peak { isa, level, unit, gflops };
        let peaks = [
            peak("avx2", Level::X64V3, Unit::F32, 100.0),
            peak("avx512", Level::X64V4, Unit::F32, 200.0),
            peak("avx512", Level::X64V4, Unit::Bf16Dot, 150.0),
        ];
        assert_eq!(best(&peaks, Level::X64V3, Unit::F32), 100.0);
        assert_eq!(best(&peaks, Level::X64V4, Unit::F32), 200.0);
        assert_eq!(best(&peaks, Level::X64V4, Unit::Bf16Tiles), 150.0, "no tiles here, but dot products");
        assert_eq!(best(&peaks, Level::X64V3, Unit::Bf16Dot), 100.0, "products of f32 there");
    }
}
