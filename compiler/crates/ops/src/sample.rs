//! Random inputs and random valid uses of ops, for property tests. Everything is a function of the seed.

use half::{bf16, f16};
use mnnc_ir::decl::Sample;
use mnnc_ir::{Attrs, DType, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A seeded source of numbers, shapes and tensors.
pub struct Gen(ChaCha8Rng);

impl Gen {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Gen {
        Gen(ChaCha8Rng::seed_from_u64(seed))
    }
    /// A number below `n`, which must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n.max(1) as u64) as usize
    }
    /// An integer in `lo..=hi`.
    pub fn int(&mut self, lo: i64, hi: i64) -> i64 {
        lo + self.below((hi - lo + 1) as usize) as i64
    }
    /// A number in `lo..hi`, uniform, with 24 random bits.
    pub fn float(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * f64::from(self.0.next_u32() >> 8) / f64::from(1u32 << 24)
    }
    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.below(2) == 1
    }
    /// One of the items.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
    /// A shape of this rank with sizes in `1..=max`.
    pub fn dims(&mut self, rank: usize, max: usize) -> Vec<usize> {
        (0..rank).map(|_| 1 + self.below(max)).collect()
    }
    /// A permutation of `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut p: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            p.swap(i, self.below(i + 1));
        }
        p
    }
    /// A tensor with elements uniform in `lo..hi`; for integers the limits are included and clamped to the type.
    pub fn tensor(&mut self, dtype: DType, dims: &[usize], lo: f64, hi: f64) -> Tensor {
        let n = dims.iter().product();
        macro_rules! ints {
            ($t:ty) => {{
                let (a, b) = (lo.max(<$t>::MIN as f64) as i64, hi.min(<$t>::MAX as f64) as i64);
                Tensor::new(dims, (0..n).map(|_| self.int(a, b) as $t).collect::<Vec<_>>())
            }};
        }
        match dtype {
            DType::F32 => Tensor::new(dims, (0..n).map(|_| self.float(lo, hi) as f32).collect::<Vec<_>>()),
            DType::F64 => Tensor::new(dims, (0..n).map(|_| self.float(lo, hi)).collect::<Vec<_>>()),
            DType::F16 => Tensor::new(dims, (0..n).map(|_| f16::from_f64(self.float(lo, hi))).collect::<Vec<_>>()),
            DType::BF16 => Tensor::new(dims, (0..n).map(|_| bf16::from_f64(self.float(lo, hi))).collect::<Vec<_>>()),
            DType::I8 => ints!(i8),
            DType::I16 => ints!(i16),
            DType::I32 => ints!(i32),
            DType::I64 => ints!(i64),
            DType::U8 => ints!(u8),
            DType::U16 => ints!(u16),
            DType::U32 => ints!(u32),
            DType::U64 => ints!(u64),
            DType::Bool => Tensor::bools(dims, (0..n).map(|_| self.coin()).collect()),
        }
    }
    /// An `f32` tensor with elements in -2..2.
    pub fn f32s(&mut self, dims: &[usize]) -> Tensor {
        self.tensor(DType::F32, dims, -2.0, 2.0)
    }
}

/// A [`Sample`] being put together, operand by operand.
#[derive(Clone, Debug)]
pub struct Draft(Sample);

/// An empty draft of a node with one output.
pub fn draft() -> Draft {
    Draft(Sample { attrs: Attrs::new(), inputs: Vec::new(), constant: Vec::new(), num_outputs: 1 })
}

impl Draft {
    /// The next input, computed at run time.
    pub fn data(mut self, t: Tensor) -> Draft {
        self.0.inputs.push(Some(t));
        self.0.constant.push(false);
        self
    }
    /// The next input, a constant of the model: a weight or a parameter.
    pub fn param(mut self, t: Tensor) -> Draft {
        self.0.inputs.push(Some(t));
        self.0.constant.push(true);
        self
    }
    /// The next input, an integer list constant.
    pub fn ints(self, values: &[i64]) -> Draft {
        self.param(Tensor::ints(values))
    }
    /// The next input is absent.
    pub fn absent(mut self) -> Draft {
        self.0.inputs.push(None);
        self.0.constant.push(false);
        self
    }
    /// An attribute.
    pub fn attr(mut self, name: &'static str, value: impl Into<mnnc_ir::Attr>) -> Draft {
        self.0.attrs.set(name, value);
        self
    }
    /// The number of outputs, 1 if not said.
    pub fn outputs(mut self, n: usize) -> Draft {
        self.0.num_outputs = n;
        self
    }
    /// The finished sample.
    pub fn done(self) -> Sample {
        self.0
    }
}
