//! Sums of products, compiled for the widest vectors that the processor has.
//!
//! The order of the sums is fixed and nothing is contracted to fused multiply-adds, so results are the same on all of them.

/// Rows of weights that are worked on together, one a vector lane.
pub const LANES: usize = 16;

macro_rules! widest {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) -> $out:ty $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) -> $out {
            #[inline(always)]
            fn body($($arg: $ty),*) -> $out $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn avx512($($arg: $ty),*) -> $out { body($($arg),*) }
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $ty),*) -> $out { body($($arg),*) }
                if std::arch::is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor has the feature.
                    return unsafe { avx512($($arg),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has the feature.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}

widest! {
    /// Sum over `k` of `a[k] * b[k]`, lane by lane.
    pub fn lanes_dot(a: &[f32], b: &[[f32; LANES]]) -> [f32; LANES] {
        let mut sums = [0.0f32; LANES];
        for (&a, b) in a.iter().zip(b) {
            for lane in 0..LANES {
                sums[lane] += a * b[lane];
            }
        }
        sums
    }
}

widest! {
    /// Sum of products, in 64 chains.
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        const CHAINS: usize = 64;
        let mut sums = [0.0f32; CHAINS];
        let (whole_a, whole_b) = (a.chunks_exact(CHAINS), b.chunks_exact(CHAINS));
        let rest: f32 = whole_a.remainder().iter().zip(whole_b.remainder()).map(|(x, y)| x * y).sum();
        for (x, y) in whole_a.zip(whole_b) {
            for i in 0..CHAINS {
                sums[i] += x[i] * y[i];
            }
        }
        // By halves: one behind the other they would take as long as a thousand products.
        let mut half = CHAINS / 2;
        while half > 0 {
            for i in 0..half {
                sums[i] += sums[i + half];
            }
            half /= 2;
        }
        sums[0] + rest
    }
}

#[cfg(test)]
mod tests {
    use super::{LANES, dot, lanes_dot};

    #[test]
    fn sums_are_right() {
        let a: Vec<f32> = (0..133).map(|i| (i % 7) as f32 - 3.0).collect();
        let b: Vec<f32> = (0..133).map(|i| (i % 5) as f32 - 1.0).collect();
        let want: f32 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
        assert_eq!(dot(&a, &b), want);
        let lanes: Vec<[f32; LANES]> = b.iter().map(|&x| std::array::from_fn(|l| x * l as f32)).collect();
        let sums = lanes_dot(&a, &lanes);
        assert!((0..LANES).all(|l| sums[l] == want * l as f32));
    }
}
