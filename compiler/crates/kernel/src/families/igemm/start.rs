//! What the sums of a tile start at where taps are left out that read a border of other than zeros: of the border, and of the
//! zero point that is subtracted, only what the other taps read counts.

use super::border::Taps;
use super::spec::Spec;
use crate::families::walk::{add, advance};
use mnnc_vector::{Gpr, KernelBuilder, Vector};

/// For each block of channels the sum of what the taps in a rectangle add, from prefix sums at `sums`: as in a summed-area table
/// (Crow 1984), that at its last corner less those before its first row and column.
pub(super) fn of_taps(
    b: &mut KernelBuilder,
    spec: &Spec,
    lanes: usize,
    sums: Gpr,
    taps: [Option<Taps>; 2],
) -> Vec<Vector> {
    let column = 4 * spec.blocks * lanes;
    let pitch = [(spec.window.kernel[1] + 1) * column, column];
    let begin = |b: &mut KernelBuilder, d: usize, from: Gpr| taps[d].map(|t| advance(b, from, t.first, pitch[d]));
    let end = |b: &mut KernelBuilder, d: usize, from: Gpr| match taps[d] {
        Some(t) => {
            let end = b.int_add(t.first, t.count);
            advance(b, from, end, pitch[d])
        }
        None => add(b, from, spec.window.kernel[d] * pitch[d]),
    };
    let rows = [Some(end(b, 0, sums)), begin(b, 0, sums)];
    // Where no row or column is left out before the first, the sum before it is zero.
    let corners = rows.map(|row| row.map(|row| (end(b, 1, row), begin(b, 1, row))));
    let of_row = |b: &mut KernelBuilder, (last, before): (Gpr, Option<Gpr>), at: i32| {
        let all = b.load(last.at(at));
        before.map_or(all, |before| {
            let before = b.load(before.at(at));
            b.sub_i32(all, before)
        })
    };
    (0..spec.blocks)
        .map(|j| {
            let at = (4 * j * lanes) as i32;
            let [below, above] = corners.map(|row| row.map(|row| of_row(b, row, at)));
            match (below, above) {
                (Some(below), Some(above)) => b.sub_i32(below, above),
                (Some(sum), None) | (None, Some(sum)) => sum,
                (None, None) => b.zero(),
            }
        })
        .collect()
}
