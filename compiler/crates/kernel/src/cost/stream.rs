//! What reading costs.

use crate::machine::Machine;

/// Share of the time of a stream from L2 that shows beside arithmetic, although loads run ahead of it (measured: tiles of 7x4, which
/// read twice the weights that 14x2 do, lose 6 to 7 %).
const L2_SHOWS: f64 = 0.15;

/// Cycles to read bytes that lie in a set of `set` bytes which is read again and again, beside arithmetic that needs it.
pub(super) fn reread(m: &Machine, bytes: f64, set: f64) -> f64 {
    if set <= 0.7 * m.l1 as f64 {
        0.0
    } else if set <= 0.75 * m.l2 as f64 {
        L2_SHOWS * bytes / m.l2_rate
    } else {
        bytes / if set <= m.l3 as f64 { m.l3_rate } else { m.memory_rate }
    }
}

/// Cycles of arithmetic and of a stream that is fetched ahead of it: the longer one, and a part of the other where they are alike.
pub(super) fn beside(compute: f64, stream: f64) -> f64 {
    (compute.powi(3) + stream.powi(3)).cbrt()
}
