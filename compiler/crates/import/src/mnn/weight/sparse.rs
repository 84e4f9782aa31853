//! Weights of which only those that are not zero are stored.

use super::bits::unpack;
use super::idst::{Cursor, Parts, check_count, index_bits, look_up, needed_bits};
use mnnc_ir::{OpError, Tensor};

/// Floats by position (type 0): `alpha[i]` at `index[i]`.
pub(super) fn floats(parts: &Parts, count: usize) -> Result<Tensor, OpError> {
    if parts.alpha.len() != parts.index.len() {
        let (a, b) = (parts.alpha.len(), parts.index.len());
        return Err(OpError::invalid(format!("a sparse weight has {a} values for {b} positions")));
    }
    let mut dense = vec![0f32; count];
    for (&at, &value) in parts.index.iter().zip(&parts.alpha) {
        match dense.get_mut(at as usize) {
            Some(slot) => *slot = value,
            None => return Err(OpError::invalid(format!("a sparse weight has a value at {at} of {count}"))),
        }
    }
    Ok(Tensor::new(vec![count], dense))
}

/// Codes by steps from one to the next (type 2), and the bits that they need. `zero_codes` gives, for a number of rows and
/// the least code, what fills each row, if that is not 0.
pub(super) fn codes(
    buffer: &[u8],
    wide: bool,
    count: usize,
    zero_codes: impl Fn((usize, i32)) -> Option<Vec<i8>>,
) -> Result<(Vec<i8>, u32), OpError> {
    let short = || OpError::invalid("the sparse weight is too short for the codes that it announces");
    let mut cursor = Cursor { rest: buffer };
    let shape = cursor.shape(wide)?;
    check_count(&shape, count)?;
    let stored = cursor.u32()? as usize;
    let step_bits = u32::from(cursor.byte()?);
    if !(1..=8).contains(&step_bits) {
        return Err(OpError::invalid(format!("a sparse weight has steps of {step_bits} bits, 1 to 8 are defined")));
    }
    let steps_len = super::bits::packed_bytes(step_bits, stored).ok_or_else(short)?;
    let steps = unpack(cursor.take(steps_len)?, step_bits, stored).ok_or_else(short)?;
    // Its values may repeat; they are counted in the width of the codes, but listed once.
    let mut book = cursor.codebook()?;
    let bits = index_bits(book.len());
    book.dedup();
    let indices = unpack(cursor.rest, bits, stored).ok_or_else(short)?;
    let values = look_up(indices, &book)?;
    let rows = shape.first().copied().unwrap_or(0);
    let mut dense = match zero_codes((rows, -(1 << (bits - 1)))) {
        Some(fill) if rows > 0 => fill.iter().flat_map(|&z| std::iter::repeat_n(z, count / rows)).collect(),
        _ => vec![0i8; count],
    };
    let mut bits = needed_bits(&book);
    bits = bits.max(needed_bits(&dense));
    let mut at = 0usize;
    for (step, value) in steps.zip(values) {
        at += usize::from(step);
        match dense.get_mut(at) {
            Some(slot) => *slot = value,
            None => return Err(OpError::invalid(format!("a sparse weight has a value at {at} of {count}"))),
        }
    }
    Ok((dense, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_lead_from_value_to_value() {
        // One row of eight; values 3 and -1 at positions 1 and 5, steps of 4 bits, a codebook of two.
        let mut bytes = vec![2, 1, 0, 8, 0, 2, 0, 0, 0, 4, 0x14, 2, 3, 255];
        bytes.push(0b1000_0000);
        let (codes, bits) = codes(&bytes, false, 8, |_| None).unwrap();
        assert_eq!((codes, bits), (vec![0, 3, 0, 0, 0, -1, 0, 0], 3));
        bytes[8] = 255;
        assert!(super::codes(&bytes, false, 8, |_| None).is_err());
    }
}
