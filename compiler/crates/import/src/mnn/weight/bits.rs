//! Streams of codes of one to eight bits, the first in the high bits of the first byte.

/// How many bytes `count` codes of `bits` bits take.
pub(super) fn packed_bytes(bits: u32, count: usize) -> Option<usize> {
    Some(count.checked_mul(bits as usize)?.div_ceil(8))
}

/// The codes, as many as `count`; `None` if the bytes do not hold them.
pub(super) fn unpack(bytes: &[u8], bits: u32, count: usize) -> Option<impl Iterator<Item = u8>> {
    debug_assert!((1..=8).contains(&bits));
    if packed_bytes(bits, count)? > bytes.len() {
        return None;
    }
    let mask = ((1u32 << bits) - 1) as u8;
    let code = move |i: usize| {
        let bit = i * bits as usize;
        let (at, shift) = (bit / 8, bit % 8);
        let high = u16::from(bytes.get(at).copied().unwrap_or(0)) << 8;
        let low = u16::from(bytes.get(at + 1).copied().unwrap_or(0));
        ((high | low) >> (16 - shift - bits as usize)) as u8 & mask
    };
    Some((0..count).map(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_out_of_the_high_bits_first() {
        let all = |bytes: &[u8], bits, n| unpack(bytes, bits, n).map(|c| c.collect::<Vec<u8>>());
        assert_eq!(all(&[0x0f, 0x8b], 4, 4), Some(vec![0, 15, 8, 11]));
        assert_eq!(all(&[0x1e, 0x50], 3, 4), Some(vec![0, 7, 4, 5]));
        assert_eq!(all(&[0xff, 0x01], 8, 2), Some(vec![255, 1]));
        assert_eq!(all(&[0b1011_0000], 1, 4), Some(vec![1, 0, 1, 1]));
        assert_eq!(all(&[0xff], 3, 3), None);
        assert_eq!(all(&[], 3, usize::MAX), None);
    }
}
