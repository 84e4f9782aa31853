//! A window that slides over some of its output.

use mnnc_ops::family::conv::Axis;
use std::ops::Range;

/// The window on a range of its output, and where in the input begins what it then reads. `None` if it reads nothing at all.
pub(super) fn part(a: &Axis, out: Range<usize>) -> Option<(Axis, usize)> {
    let start = out.start * a.stride;
    let end = (out.end - 1) * a.stride + reach(a);
    let (first, last) = (start.saturating_sub(a.begin), end.saturating_sub(a.begin).min(a.input));
    let part = Axis {
        input: last.checked_sub(first).filter(|&n| n > 0)?,
        output: out.len(),
        begin: a.begin.saturating_sub(start),
        end: end.saturating_sub(a.begin).saturating_sub(a.input),
        ..*a
    };
    Some((part, first))
}

/// From the first to the last element under a window.
pub(super) fn reach(a: &Axis) -> usize {
    (a.kernel - 1) * a.dilation + 1
}
