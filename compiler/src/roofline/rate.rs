//! The highest rate at which something can be done.

use std::time::{Duration, Instant};

/// Calls `work`, which returns how much it did, for `time`; gives the most that was done in a second.
///
/// The best of many short tries: whatever else runs on the core makes a try slower, nothing makes it faster.
pub(super) fn best(time: Duration, mut work: impl FnMut() -> f64) -> f64 {
    let end = Instant::now() + time;
    let mut best = 0.0f64;
    loop {
        let start = Instant::now();
        let done = work();
        best = best.max(done / start.elapsed().as_secs_f64().max(1e-9));
        if Instant::now() >= end {
            return best;
        }
    }
}
