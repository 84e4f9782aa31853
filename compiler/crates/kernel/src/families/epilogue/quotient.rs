//! Division by a constant before rounding to a byte, without a division where that gives the same bytes.
//!
//! Both `x / d` and what replaces it are monotone in `x`, and so are the integers that they are rounded to: such a function is known by the
//! least `x` that reaches each integer. Where all those thresholds agree, the two give the same byte for every number.

/// How `round(x / divisor)` is computed, for results in a range.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum Quotient {
    /// `round(x * factor)`.
    Product(f32),
    /// `round(fma(x, factor, x * rest))` of `x` no greater than `largest`: the reciprocal with twice the bits
    /// (Brisebarre, Muller and Raina, "Accelerating correctly rounded floating-point division when the divisor is known in advance", 2004).
    Fused {
        /// The reciprocal, rounded.
        factor: f32,
        /// What that leaves of it.
        rest: f32,
        /// The least number whose result is the greatest.
        largest: f32,
    },
    /// By a division.
    Divide,
}

/// Whether multiplying by the reciprocal rounds as dividing does.
pub fn is_power_of_two(x: f32) -> bool {
    let bits = x.to_bits();
    x.is_normal() && bits & 0x007f_ffff == 0 && (1.0 / x).is_normal()
}

impl Quotient {
    /// For results from `low` to `high`: what lies beyond may become anything beyond.
    pub fn new(divisor: f32, low: i32, high: i32) -> Quotient {
        if is_power_of_two(divisor) {
            return Quotient::Product(1.0 / divisor);
        }
        let factor = 1.0 / divisor;
        // Far from where a product of the smallest numbers loses bits.
        if !(1e-30..1e30).contains(&divisor) || low >= high {
            return Quotient::Divide;
        }
        let exact: Vec<i32> = thresholds(divisor, low, high, |x| x / divisor).collect();
        let agrees = |q: &dyn Fn(f32) -> f32| thresholds(divisor, low, high, q).eq(exact.iter().copied());
        if agrees(&|x| x * factor) {
            return Quotient::Product(factor);
        }
        let rest = (1.0 - f64::from(factor) * f64::from(divisor)) / f64::from(divisor);
        let rest = rest as f32;
        if let Some(&last) = exact.last()
            && agrees(&|x| x.mul_add(factor, x * rest))
        {
            return Quotient::Fused { factor, rest, largest: from_order(last) };
        }
        Quotient::Divide
    }
}

/// For each integer above `low` up to `high` the least number, by its place in the order of all, whose quotient is rounded to it or more.
fn thresholds<'a>(
    divisor: f32,
    low: i32,
    high: i32,
    quotient: impl Fn(f32) -> f32 + 'a,
) -> impl Iterator<Item = i32> + 'a {
    let (first, last) = (order(-f32::MAX), order(f32::MAX));
    (low + 1..=high).map(move |k| {
        let reaches = |at: i32| quotient(from_order(at)).round_ties_even() >= k as f32;
        let guess = order((k as f32 - 0.5) * divisor);
        // Bounds around the guess, further apart until the threshold is between them.
        let mut radius = 2;
        let (mut below, mut above) = loop {
            let (below, above) = (guess.saturating_sub(radius).max(first), guess.saturating_add(radius).min(last));
            let all = below == first && above == last;
            if all || (!reaches(below) && reaches(above)) {
                break (below, above);
            }
            radius = radius.saturating_mul(64);
        };
        while below < above {
            let middle = below + (above.abs_diff(below) / 2).cast_signed();
            if reaches(middle) { above = middle } else { below = middle + 1 }
        }
        above
    })
}

/// The place of a finite number among all.
fn order(x: f32) -> i32 {
    let bits = x.to_bits().cast_signed();
    if bits < 0 { i32::MIN - bits } else { bits }
}

fn from_order(i: i32) -> f32 {
    f32::from_bits(if i < 0 { i32::MIN - i } else { i }.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_the_numbers() {
        for pair in [-f32::MAX, -1.0, -1e-45, 0.0, 1e-45, 1.0, f32::MAX].windows(2) {
            assert!(order(pair[0]) < order(pair[1]));
            assert_eq!(from_order(order(pair[0])).to_bits(), pair[0].to_bits());
        }
    }

    /// Every quotient that needs no division gives the bytes of the definition, around the ties and far from them.
    #[test]
    fn quotients_equal_divisions() {
        let (mut products, mut fused) = (0, 0);
        for i in 0..300u32 {
            let divisor = f32::from_bits(0x3c00_0000 + i * 77_773 + i * i * 11);
            let zero = (i * 37 % 256) as i32;
            let how = Quotient::new(divisor, -zero, 255 - zero);
            let byte = |q: f32| (q.round_ties_even() as i32 + zero).clamp(0, 255);
            let by = |x: f32| match how {
                Quotient::Product(f) => x * f,
                Quotient::Fused { factor, rest, largest } => {
                    let x = x.min(largest);
                    x.mul_add(factor, x * rest)
                }
                Quotient::Divide => x / divisor,
            };
            products += usize::from(matches!(how, Quotient::Product(_)));
            fused += usize::from(matches!(how, Quotient::Fused { .. }));
            for k in -300..300 {
                let tie = (k as f32 + 0.5) * divisor;
                for ulps in -3..=3 {
                    let x = from_order(order(tie) + ulps);
                    assert_eq!(byte(by(x)), byte(x / divisor), "{x} / {divisor}");
                }
            }
        }
        assert!(fused > 250, "{fused} fused, {products} products");
    }
}
