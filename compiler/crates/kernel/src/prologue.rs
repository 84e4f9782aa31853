//! What happens to each element of an anchor's data operand before the anchor reads it: it is dequantised.

use mnnc_ir::DType;
use mnnc_ir::scalar::{Binary, Expr, ScalarFn, ScalarNode};

/// `(x - zero) * scale` of a byte.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Affine {
    /// The byte that stands for 0.
    pub zero: u8,
    /// What a step stands for.
    pub scale: f32,
}

impl Affine {
    /// Of a formula, if it is one.
    pub fn of(f: &ScalarFn) -> Option<Affine> {
        let number = |e: Expr| match *f.node(e) {
            ScalarNode::Const(c) => Some(c),
            _ => None,
        };
        let (inner, scale) = match *f.node(f.result) {
            ScalarNode::Binary(Binary::Mul, a, b) => match (number(a), number(b)) {
                (None, Some(s)) => (a, s as f32),
                (Some(s), None) => (b, s as f32),
                _ => return None,
            },
            _ => (f.result, 1.0),
        };
        // Integers that are exact in every type on the way.
        let (mut at, mut zero) = (inner, 0.0);
        loop {
            at = match *f.node(at) {
                ScalarNode::Cast(a) => a,
                ScalarNode::Binary(Binary::Sub, a, z) if zero == 0.0 && f.dtype(at) != DType::U8 => {
                    zero = number(z)?;
                    a
                }
                ScalarNode::Arg(0) => break,
                _ => return None,
            };
        }
        let byte = (0.0..=255.0).contains(&zero) && zero.fract() == 0.0;
        (byte && f.dtype(at) == DType::U8).then_some(Affine { zero: zero as u8, scale })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mnnc_ir::scalar::ScalarBuilder;

    #[test]
    fn both_spellings_are_recognised() {
        for wide in [DType::F32, DType::I32] {
            let mut b = ScalarBuilder::new();
            let x = b.arg(0, DType::U8);
            let x = b.cast(x, wide);
            let zero = b.constant(7.0, wide);
            let x = b.sub(x, zero);
            let x = b.cast(x, DType::F32);
            let scale = b.constant(0.5, DType::F32);
            let y = b.mul(x, scale);
            assert_eq!(Affine::of(&b.finish(y)), Some(Affine { zero: 7, scale: 0.5 }));
        }
    }

    #[test]
    fn wrapping_differences_are_not() {
        let mut b = ScalarBuilder::new();
        let x = b.arg(0, DType::U8);
        let zero = b.constant(7.0, DType::U8);
        let x = b.sub(x, zero);
        let y = b.cast(x, DType::F32);
        assert_eq!(Affine::of(&b.finish(y)), None);
    }
}
