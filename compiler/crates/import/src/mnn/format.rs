//! In which order a tensor's dims stand.
//!
//! A packed tensor (NC4HW4) has the dims of an NCHW one: packing is how MNN lays it in memory, and means nothing here. An
//! NHWC tensor keeps its dims in that order; ops that compute on images see it through transposes.

use mnnc_schema::mnn::MNN_DATA_FORMAT;

/// The data format that MNN labels a tensor with.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// Row-major, channels second where there are channels.
    Nchw,
    /// Row-major, channels last.
    Nhwc,
    /// Dims as [`Nchw`](Format::Nchw); some legacy ops mean something else by it.
    Packed,
}

impl Format {
    /// The label of the file; anything unknown is row-major.
    pub(crate) fn of(label: MNN_DATA_FORMAT) -> Format {
        match label {
            MNN_DATA_FORMAT::NHWC | MNN_DATA_FORMAT::NHWC4 => Format::Nhwc,
            MNN_DATA_FORMAT::NC4HW4 => Format::Packed,
            _ => Format::Nchw,
        }
    }
    /// Whether dims stand in another order.
    pub(crate) fn differs(self, other: Format) -> bool {
        (self == Format::Nhwc) != (other == Format::Nhwc)
    }
}

/// The permutation that takes a tensor of this rank from one order to the other, or `None` if it keeps its dims: MNN moves
/// the channels of tensors of three dims and more.
pub(crate) fn permutation(rank: usize, from: Format, to: Format) -> Option<Vec<i64>> {
    if rank < 3 || !from.differs(to) {
        return None;
    }
    let r = rank as i64;
    Some(match to {
        Format::Nhwc => std::iter::once(0).chain(2..r).chain([1]).collect(),
        _ => [0, r - 1].into_iter().chain(1..r - 1).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_move_between_the_second_and_the_last_place() {
        assert_eq!(permutation(4, Format::Nchw, Format::Nhwc), Some(vec![0, 2, 3, 1]));
        assert_eq!(permutation(4, Format::Nhwc, Format::Packed), Some(vec![0, 3, 1, 2]));
        assert_eq!(permutation(3, Format::Nhwc, Format::Nchw), Some(vec![0, 2, 1]));
        assert_eq!(permutation(4, Format::Packed, Format::Nchw), None);
        assert_eq!(permutation(2, Format::Nchw, Format::Nhwc), None);
    }
}
