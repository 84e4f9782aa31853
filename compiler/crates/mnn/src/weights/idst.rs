//! The format's coded weights (`IDSTQuan`): half precision, and integers as a stream of bits behind the list of values that they stand for.

use super::Integers;
use half::f16;
use mnnc_schema::mnn::{IDSTQuanT, ScaleStorageType};

/// Kind of integers with a list of values.
const INTEGERS: i32 = 1;
/// Kind of half precision.
const HALVES: i32 = 3;

/// Weights in half precision.
pub(super) fn halves(weights: &[f16]) -> IDSTQuanT {
    let buffer = weights.iter().flat_map(|x| x.to_le_bytes()).map(u8::cast_signed).collect();
    IDSTQuanT { buffer: Some(buffer), type_: HALVES, quant_scale: 1.0, ..IDSTQuanT::default() }
}

/// Integers with their scales.
pub(super) fn integers(weights: &Integers) -> IDSTQuanT {
    let rows = weights.scales.len();
    let columns = weights.codes.len().checked_div(rows).unwrap_or(0);
    let wide = rows > usize::from(u16::MAX) || columns > usize::from(u16::MAX);
    let least = -(1i32 << (weights.bits - 1));
    let mut coded = IDSTQuanT {
        buffer: Some(buffer(weights, [rows, columns], wide)),
        type_: INTEGERS,
        quant_scale: 1.0,
        a_max_or_bits: weights.bits.cast_signed(),
        a_min: least,
        // How many pairs of offset and scale there are.
        read_type: weights.offsets.as_ref().map_or(0, |_| i32::try_from(rows).unwrap_or(i32::MAX)),
        shape_int32: wide,
        ..IDSTQuanT::default()
    };
    let alpha: Vec<f32> = match &weights.offsets {
        None => weights.scales.clone(),
        Some(offsets) => offsets.iter().zip(&weights.scales).flat_map(|(&offset, &scale)| [offset, scale]).collect(),
    };
    match super::halves(&alpha) {
        Some(exact) => {
            coded.alpha_fp16 = Some(exact.into_iter().map(f16::to_bits).collect());
            coded.scale_storage = ScaleStorageType::FP16;
        }
        None => coded.alpha = Some(alpha),
    }
    coded
}

fn buffer(weights: &Integers, shape: [usize; 2], wide: bool) -> Vec<i8> {
    let bits = weights.bits;
    let half = 1i32 << (bits - 1);
    let mut out = Vec::with_capacity(300 + (weights.codes.len() * bits as usize).div_ceil(8));
    out.push(2);
    for extent in shape {
        let bytes = u32::try_from(extent).unwrap_or(u32::MAX).to_le_bytes();
        out.extend_from_slice(if wide { &bytes } else { &bytes[..2] });
    }
    // Every value that the bits can hold, in order: only then the engine computes on the integers. 0 stands for 256.
    out.push(u8::try_from(2 * half).unwrap_or(0));
    out.extend((-half..half).map(|value| value.to_le_bytes()[0]));
    // The first weight in the highest bits.
    let (mut pending, mut count) = (0u32, 0);
    for &code in &weights.codes {
        pending = (pending << bits) | ((i32::from(code) + half).cast_unsigned() & ((1 << bits) - 1));
        count += bits;
        while count >= 8 {
            count -= 8;
            out.push((pending >> count).to_le_bytes()[0]);
        }
    }
    if count > 0 {
        out.push((pending << (8 - count)).to_le_bytes()[0]);
    }
    out.into_iter().map(u8::cast_signed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coded(bits: u32, codes: &[i8]) -> Vec<u8> {
        let weights = Integers { bits, codes: codes.to_vec(), scales: vec![1.0], offsets: None };
        integers(&weights).buffer.unwrap().into_iter().map(i8::cast_unsigned).collect()
    }

    #[test]
    fn bits_are_packed_from_the_highest_on() {
        let four = coded(4, &[-8, 7, 0, 3]);
        assert_eq!(four[..8], [2, 1, 0, 4, 0, 0x10, 0xf8, 0xf9]);
        assert_eq!(four[four.len() - 2..], [0x0f, 0x8b]);
        assert_eq!(coded(3, &[-4, 3, 0, 1])[14..], [0x1e, 0x50]);
        assert_eq!(coded(8, &[-128, 127, 0])[5..8], [0, 0x80, 0x81]);
        assert_eq!(coded(8, &[-128, 127, 0])[262..], [0, 255, 128]);
    }
}
