//! What reading costs.

use crate::machine::Machine;

/// Share of the time of a stream from L2 that shows beside arithmetic, although loads run ahead of it (measured: tiles of 7x4, which
/// read twice the weights that 14x2 do, lose 6 to 7 %).
const L2_SHOWS: f64 = 0.15;

/// Where a set begins to leave L2, and where nothing of it stays, in units of L2's size: replacement is not by age alone, and more
/// than the set lives there.
const LEAVES_L2: [f64; 2] = [0.4, 1.4];

/// The time to read bytes that lie in a set of `set` bytes which is read again and again.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Reread {
    /// Cycles that show beside any arithmetic.
    pub shown: f64,
    /// Cycles of a stream from beyond L2, which arithmetic may hide.
    pub far: f64,
}

impl Reread {
    pub(super) fn new(m: &Machine, bytes: f64, set: f64) -> Reread {
        if set <= 0.7 * m.l1 as f64 {
            return Reread::default();
        }
        let [from, to] = LEAVES_L2;
        let beyond = ((set / m.l2 as f64 - from) / (to - from)).clamp(0.0, 1.0);
        let rate = if set <= m.l3 as f64 { m.l3_rate } else { m.memory_rate };
        Reread { shown: (1.0 - beyond) * L2_SHOWS * bytes / m.l2_rate, far: beyond * bytes / rate }
    }

    /// Where nothing hides it.
    pub(super) fn cycles(self) -> f64 {
        self.shown + self.far
    }

    /// With arithmetic on what is read.
    pub(super) fn beside(self, compute: f64) -> f64 {
        self.shown + beside(compute, self.far)
    }
}

/// Cycles of arithmetic and of a stream that is fetched ahead of it: the longer one, and a part of the other where they are alike.
pub(super) fn beside(compute: f64, stream: f64) -> f64 {
    (compute.powi(3) + stream.powi(3)).cbrt()
}
