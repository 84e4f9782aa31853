//! Seeded inputs for models: for the closing check, benchmarks, and what `run` is not given.

use mnnc_ir::{DType, Graph, Tensor, TensorType, ValueId};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::error::Result;
use mnnc_ir::diag::Diagnostic;

/// Largest input that is made up, in bytes.
const MAX_BYTES: usize = 4 << 30;

/// A tensor for every input of `graph`, in the model's order.
///
/// # Errors
/// An input's shape is not fully known, or it is absurdly large.
pub fn all(graph: &Graph, seed: u64) -> Result<Vec<Tensor>> {
    graph.inputs().iter().map(|&v| one(graph, v, seed)).collect()
}

/// A tensor for the input `v`, a function of the seed, the input's name and its type: normal floats, small
/// non-negative integers (valid as most models' indices), coin flips.
///
/// # Errors
/// As [`all`].
pub fn one(graph: &Graph, v: ValueId, seed: u64) -> Result<Tensor> {
    let value = graph.value(v);
    let shown = || format!("input {} {}", value.name, value.ty.show(&graph.syms));
    let dims = value.ty.static_dims().ok_or_else(|| {
        Diagnostic::usage(format!("{} has no fixed shape", shown())).remedy(format!(
            "fix it with --shape {}={}",
            value.name,
            example(&value.ty)
        ))
    })?;
    if value.ty.num_bytes().is_none_or(|bytes| bytes > MAX_BYTES) {
        return Err(Diagnostic::usage(format!("{} is too large to be made up", shown())).into());
    }
    Ok(sample(&value.ty, dims, &mut stream(seed, &value.name)))
}

/// The type's shape with its open sizes made up.
fn example(ty: &TensorType) -> String {
    let sizes: Vec<String> = ty.dims.iter().map(|d| d.known().unwrap_or(1).to_string()).collect();
    sizes.join("x")
}

fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    let mut hash = blake3::Hasher::new();
    hash.update(&seed.to_le_bytes());
    hash.update(name.as_bytes());
    ChaCha8Rng::from_seed(*hash.finalize().as_bytes())
}

fn sample(ty: &TensorType, dims: Vec<usize>, random: &mut ChaCha8Rng) -> Tensor {
    let count = dims.iter().product();
    let mut make = |convert: fn(u64) -> f64| -> Vec<f64> { (0..count).map(|_| convert(random.next_u64())).collect() };
    /// The sum of four uniforms, near-normal with mean 0 and variance 1.
    fn normal(bits: u64) -> f64 {
        let sum: u64 = (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum();
        (sum as f64 - 131_070.0) / 37_837.226_703_8
    }
    macro_rules! of {
        ($t:ty, $convert:expr) => {
            Tensor::new(dims, make($convert).into_iter().map(|x| x as $t).collect())
        };
    }
    let small: fn(u64) -> f64 = |bits| (bits % 8) as f64;
    match ty.dtype {
        DType::F32 => of!(f32, normal),
        DType::F64 => of!(f64, normal),
        DType::F16 => Tensor::new(dims, make(normal).into_iter().map(half::f16::from_f64).collect::<Vec<_>>()),
        DType::BF16 => Tensor::new(dims, make(normal).into_iter().map(half::bf16::from_f64).collect::<Vec<_>>()),
        DType::I8 => of!(i8, small),
        DType::I16 => of!(i16, small),
        DType::I32 => of!(i32, small),
        DType::I64 => of!(i64, small),
        DType::U8 => of!(u8, small),
        DType::U16 => of!(u16, small),
        DType::U32 => of!(u32, small),
        DType::U64 => of!(u64, small),
        DType::Bool => Tensor::bools(dims, make(|bits| (bits % 2) as f64).iter().map(|&x| x > 0.5).collect()),
    }
}

#[cfg(test)]
mod tests {
    use mnnc_ir::{DType, Dim, Graph, TensorType};

    #[test]
    fn inputs_depend_on_seed_name_and_type() {
        let mut graph = Graph::new("g");
        graph.add_input("a", TensorType::new(DType::F32, [2usize, 500]));
        graph.add_input("b", TensorType::new(DType::F32, [2usize, 500]));
        graph.add_input("i", TensorType::new(DType::I64, [100usize]));
        let first = super::all(&graph, 1).unwrap();
        let again = super::all(&graph, 1).unwrap();
        assert_eq!(&first[0].bytes()[..], &again[0].bytes()[..]);
        assert_ne!(&first[0].bytes()[..], &first[1].bytes()[..]);
        let other = super::all(&graph, 2).unwrap();
        assert_ne!(&first[0].bytes()[..], &other[0].bytes()[..]);
        let values = first[0].to_f64s();
        let mean = values.iter().sum::<f64>() / 1000.0;
        assert!(mean.abs() < 0.1, "{mean}");
        assert!(first[2].to_i64s().unwrap().iter().all(|i| (0..8).contains(i)));
    }

    #[test]
    fn an_open_shape_is_explained() {
        let mut graph = Graph::new("g");
        let batch = graph.syms.named("batch");
        graph.add_input("x", TensorType::new(DType::F32, [batch, Dim::Const(3)]));
        let error = super::all(&graph, 0).unwrap_err();
        assert!(error.to_string().contains("--shape x=1x3"), "{error}");
    }
}
