//! The range of a row decides.

use super::row::{Grid, Row, range};

/// The codes just reach the largest magnitude, or both ends of the range.
pub fn row(w: &[f32], grid: &Grid) -> Row {
    let (low, high) = range(w);
    if grid.symmetric {
        Row { scale: grid.stored(high.max(-low) / grid.max as f32), zero: 0 }
    } else {
        grid.asymmetric(low, high)
    }
}
