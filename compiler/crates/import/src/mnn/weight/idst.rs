//! `IDSTQuan`: the format's coded weights. Types: 0 sparse floats, 1 dense codes, 2 sparse codes, 3 halves, 4 bytes.

use super::bits::unpack;
use super::{Coded, Codes, sparse};
use mnnc_ir::bytes::Bytes;
use mnnc_ir::{DType, OpError, Tensor};
use mnnc_schema::mnn::IDSTQuan;

/// The data, wherever it lies.
pub(super) struct Parts {
    pub(super) buffer: Bytes,
    pub(super) alpha: Vec<f32>,
    pub(super) index: Vec<u32>,
}

/// A coded weight of `count` elements.
pub(super) struct Idst<'f> {
    pub(super) quan: IDSTQuan<'f>,
    pub(super) parts: Parts,
    pub(super) count: usize,
}

/// Reads forward through a buffer.
pub(super) struct Cursor<'b> {
    pub(super) rest: &'b [u8],
}

impl<'b> Cursor<'b> {
    pub(super) fn take(&mut self, n: usize) -> Result<&'b [u8], OpError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or_else(|| {
            OpError::invalid(format!(
                "the coded weight is too short: {n} bytes are needed where {} are left",
                self.rest.len()
            ))
        })?;
        self.rest = rest;
        Ok(head)
    }
    pub(super) fn byte(&mut self) -> Result<u8, OpError> {
        self.take(1).map(|b| b[0])
    }
    pub(super) fn u32(&mut self) -> Result<u32, OpError> {
        self.take(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }
    /// The shape in front of the codes; its product is the number of weights.
    pub(super) fn shape(&mut self, wide: bool) -> Result<Vec<usize>, OpError> {
        let n = self.byte()?;
        if n > 4 {
            return Err(OpError::invalid(format!("the coded weight has {n} dims, at most 4 are defined")));
        }
        let size = if wide { 4 } else { 2 };
        let bytes = self.take(usize::from(n) * size)?;
        Ok(bytes.chunks(size).map(|c| c.iter().rev().fold(0usize, |n, &b| n << 8 | usize::from(b))).collect())
    }
    /// The values that codes index, in ascending order; a count of 0 means 256.
    pub(super) fn codebook(&mut self) -> Result<Vec<i8>, OpError> {
        let count = match self.byte()? {
            0 => 256,
            n => usize::from(n),
        };
        let mut book: Vec<i8> = self.take(count)?.iter().map(|&b| b as i8).collect();
        book.sort_unstable();
        Ok(book)
    }
}

/// Bits of an index into `count` values.
pub(super) fn index_bits(count: usize) -> u32 {
    count.next_power_of_two().trailing_zeros().max(1)
}

impl Idst<'_> {
    /// Whether decoding makes more bytes than there are.
    pub(super) fn expands(&self) -> bool {
        matches!(self.quan.type_(), 0..=2)
    }

    pub(super) fn decode(self) -> Result<Coded, OpError> {
        let count = self.count;
        match self.quan.type_() {
            _ if !self.parts.index.is_empty() => sparse::floats(&self.parts, count).map(Coded::Float),
            1 => {
                let (codes, bits) = self.dense()?;
                self.rows(codes, bits).map(Coded::Integer)
            }
            2 => {
                let zero_codes = |min_code| self.zero_codes(min_code);
                let (codes, bits) = sparse::codes(&self.parts.buffer, self.quan.shape_int32(), count, zero_codes)?;
                self.rows(Tensor::new(vec![count], codes), bits).map(Coded::Integer)
            }
            3 => super::over(DType::F16, &[count], self.parts.buffer, "the weight").map(Coded::Float),
            4 => {
                let codes = super::over(DType::I8, &[count], self.parts.buffer.clone(), "the weight")?;
                self.rows(codes, 8).map(Coded::Integer)
            }
            other => Err(OpError::unsupported(format!("weights coded by type {other} are not supported, 0 to 4 are"))),
        }
    }

    fn dense(&self) -> Result<(Tensor, u32), OpError> {
        let mut cursor = Cursor { rest: &self.parts.buffer };
        let shape = cursor.shape(self.quan.shape_int32())?;
        check_count(&shape, self.count)?;
        let book = cursor.codebook()?;
        let bits = index_bits(book.len());
        let indices = unpack(cursor.rest, bits, self.count).ok_or_else(|| {
            OpError::invalid(format!(
                "the coded weight is too short: {} codes of {bits} bits do not fit its {} bytes",
                self.count,
                cursor.rest.len()
            ))
        })?;
        let codes: Vec<i8> = look_up(indices, &book)?;
        Ok((Tensor::new(vec![self.count], codes), needed_bits(&book)))
    }

    /// Codes with their factors and summands.
    fn rows(&self, codes: Tensor, bits: u32) -> Result<Codes, OpError> {
        let quan = &self.quan;
        let alpha = &self.parts.alpha;
        let old = quan.type_() == 4 && quan.a_min() == 0 && quan.quant_scale().abs() < 1e-6;
        let factor = if quan.has_scale_int() || old { 1.0 } else { quan.quant_scale() };
        if quan.read_type() == 0 && !old {
            let scales = alpha.iter().map(|s| s * factor).collect();
            return Ok(Codes { codes, bits, scales, offsets: None });
        }
        // As the loader has it: 0 stands for -128, and a positive least code shifts nothing.
        let least = match quan.a_min() {
            0 => -128.0,
            n => (n as f32).min(0.0),
        };
        let pairs = alpha.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err(OpError::invalid(
                "an asymmetric weight has an odd number of scales; minimum and scale come in pairs",
            ));
        }
        let scales = pairs.clone().map(|p| p[1] * factor).collect();
        let offsets = pairs.map(|p| (p[0] - least * p[1]) * factor).collect();
        Ok(Codes { codes, bits, scales, offsets: Some(offsets) })
    }

    /// What the codes that a sparse weight leaves out are, for each of `rows` rows.
    fn zero_codes(&self, (rows, least): (usize, i32)) -> Option<Vec<i8>> {
        (self.parts.alpha.len() == 2 * rows).then(|| {
            let zero = |p: &[f32]| match p[1] > 1e-6 {
                true => (-p[0] / p[1]).round() as i32 + least,
                false => least,
            };
            self.parts.alpha.chunks_exact(2).map(|p| zero(p).clamp(-128, 127) as i8).collect()
        })
    }
}

/// The shape in the buffer against the number of weights that the op has.
pub(super) fn check_count(shape: &[usize], count: usize) -> Result<(), OpError> {
    let have = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    if have != Some(count) || shape.is_empty() {
        return Err(OpError::invalid(format!("the coded weight has shape {shape:?}, the op has {count} weights")));
    }
    Ok(())
}

/// The values that `indices` stand for.
pub(super) fn look_up(indices: impl Iterator<Item = u8>, book: &[i8]) -> Result<Vec<i8>, OpError> {
    let mut out = Vec::new();
    for i in indices {
        match book.get(usize::from(i)) {
            Some(&value) => out.push(value),
            None => return Err(OpError::invalid(format!("code {i} is beyond the weight's {} values", book.len()))),
        }
    }
    Ok(out)
}

/// The least width, 2 to 8 bits, that holds every value of a codebook.
pub(super) fn needed_bits(book: &[i8]) -> u32 {
    let fits = |bits: u32| book.iter().all(|&v| (-(1i32 << (bits - 1))..1 << (bits - 1)).contains(&i32::from(v)));
    (2..8).find(|&bits| fits(bits)).unwrap_or(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_written() {
        let bytes = [2, 1, 0, 4, 0, 0x10, 0xf8];
        let mut cursor = Cursor { rest: &bytes };
        assert_eq!(cursor.shape(false), Ok(vec![1, 4]));
        assert!(cursor.codebook().is_err_and(|e| e.message.contains("16 bytes are needed where 1 are left")));
        let mut cursor = Cursor { rest: &[1, 0, 0, 1, 0] };
        assert_eq!(cursor.shape(true), Ok(vec![65536]));
        assert!(Cursor { rest: &[9] }.shape(false).is_err());
    }

    #[test]
    fn widths_follow_from_the_values() {
        assert_eq!((index_bits(1), index_bits(2), index_bits(3), index_bits(16), index_bits(256)), (1, 1, 2, 4, 8));
        assert_eq!(
            (needed_bits(&[-2, 1]), needed_bits(&[-8, 7]), needed_bits(&[8]), needed_bits(&[-128])),
            (2, 4, 5, 8)
        );
        assert!(check_count(&[2, 3], 6).is_ok() && check_count(&[], 1).is_err());
        assert!(check_count(&[usize::MAX, 2], 6).is_err());
    }
}
