//! Compressed weights: constants that are stored in fewer bits than they are computed in.
//!
//! A weight in integers is a constant behind `dequantize_linear`, one in half precision a constant behind `cast`. Passes keep
//! them so: whoever stores weights (a file format, a kernel that reads them packed) finds them as they were made, and
//! [`expand-weights`](super::expand) writes out what is left in the end.

use crate::pattern::{axis, int, output};
use mnnc_ir::{DType, Graph, Node, NodeId, NodeSpec, Patch, Tensor, ValueId};

/// A cast constant of fewer elements is no weight: tables of a few numbers are worth more as constants that rules can read.
const SMALLEST_HALF: usize = 256;

/// Whether a node gives the numbers that a compressed weight stands for. A vector is never one: biases and scales are few,
/// and are folded into other constants.
pub fn is_compressed(g: &Graph, n: NodeId) -> bool {
    let node = g.node(n);
    let Some(stored) = node.input(0).and_then(|v| g.constant(v)) else { return false };
    let (Some(y), true) = (output(g, n), node.inputs().iter().skip(1).flatten().all(|&v| g.constant(v).is_some()))
    else {
        return false;
    };
    let kind = match node.op.name {
        "dequantize_linear" => true,
        "cast" => stored.dtype().is_float() && stored.len() >= SMALLEST_HALF,
        _ => false,
    };
    let matrix = stored.dims().iter().filter(|&&d| d > 1).count() >= 2;
    kind && matrix && stored.dtype().size() < g.ty(y).dtype.size()
}

/// The node that gives the compressed weight `v`.
pub fn compressed(g: &Graph, v: ValueId) -> Option<NodeId> {
    g.producer(v).filter(|&n| is_compressed(g, n))
}

/// How the scales of a quantised constant lie over it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Scales {
    /// One for all.
    Tensor,
    /// One for each index of a dimension.
    Axis(usize),
    /// One for so many elements along a dimension.
    Blocks(usize, usize),
}

impl Scales {
    /// Of a `dequantize_linear` or `quantize_linear` node of a value of this rank.
    pub fn of(node: &Node, scale_dims: &[usize], rank: usize) -> Option<Scales> {
        let along = || axis(int(node, "axis")?, rank);
        match (scale_dims, int(node, "block_size")?) {
            ([] | [1], 0) => Some(Scales::Tensor),
            ([_], 0) => Some(Scales::Axis(along()?)),
            (_, b) if b > 0 => Some(Scales::Blocks(along()?, usize::try_from(b).ok()?)),
            _ => None,
        }
    }
}

/// A constant behind `dequantize_linear`.
pub struct Quantised<'g> {
    /// The node.
    pub node: &'g Node,
    /// The integers.
    pub stored: &'g Tensor,
    /// The scales.
    pub scale: &'g Tensor,
    /// The zero points, in the shape of the scales or one for all; absent ones are 0.
    pub zero: Option<&'g Tensor>,
    /// How scales lie.
    pub scales: Scales,
}

impl<'g> Quantised<'g> {
    /// Reads a node.
    pub fn of(g: &'g Graph, n: NodeId) -> Option<Quantised<'g>> {
        let node = g.node(n);
        let stored = g.constant(node.input(0)?)?;
        let scale = g.constant(node.input(1)?)?;
        let zero = match node.input(2) {
            None => None,
            Some(v) => Some(g.constant(v)?),
        };
        if node.op.name != "dequantize_linear" {
            return None;
        }
        let scales = Scales::of(node, scale.dims(), stored.dims().len())?;
        Some(Quantised { node, stored, scale, zero, scales })
    }

    /// Scale and zero point for each index of dimension `along`, if they are constant in every other.
    pub fn per_index(&self, along: usize) -> Option<(Vec<f64>, Vec<i64>)> {
        let n = *self.stored.dims().get(along)?;
        let spread = |values: Vec<f64>| if values.len() == 1 { vec![values[0]; n] } else { values };
        match self.scales {
            Scales::Tensor => {}
            Scales::Axis(a) if a == along => {}
            _ => return None,
        }
        let scale = spread(self.scale.to_f64s());
        let zero = spread(self.zero.map_or(vec![0.0], Tensor::to_f64s)).into_iter().map(|z| z as i64).collect();
        (scale.len() == n).then_some((scale, zero))
    }

    /// The least and the greatest integer that may be stored.
    fn limits(&self) -> (i64, i64) {
        let bits = match int(self.node, "bits") {
            Some(b @ 2..=8) => b as u32,
            _ => 8 * self.stored.dtype().size() as u32,
        };
        let all = 1i64 << bits;
        if self.stored.dtype().is_signed_int() { (-all / 2, all / 2 - 1) } else { (0, all - 1) }
    }
}

/// Integers as a tensor of type `d`, if they fit it.
pub fn ints(d: DType, dims: &[usize], values: &[i64]) -> Option<Tensor> {
    macro_rules! of {
        ($($v:ident => $t:ty),*) => {
            match d {
                $(DType::$v => Tensor::new(
                    dims.to_vec(),
                    values.iter().map(|&x| <$t>::try_from(x).ok()).collect::<Option<Vec<$t>>>()?,
                ),)*
                _ => return None,
            }
        };
    }
    Some(of!(I8 => i8, U8 => u8, I16 => i16, U16 => u16, I32 => i32))
}

/// The weight `v` with index `i` of dimension `along` multiplied by `factor[i]`, as a new value of the patch. A quantised one
/// keeps its integers and gets other scales; where a factor is negative, the integers change sign. `name` is for a new constant
/// in f32.
pub fn scaled(g: &Graph, p: &mut Patch, v: ValueId, along: usize, factor: &[f64], name: &str) -> Option<ValueId> {
    if factor.iter().all(|&f| f == 1.0) {
        return Some(v);
    }
    if let Some(t) = g.constant(v) {
        let n = *t.dims().get(along)?;
        let inner = t.dims()[along + 1..].iter().product::<usize>().max(1);
        if t.dtype() != DType::F32 || g.ty(v).quant.is_some() || n != factor.len() {
            return None;
        }
        let scaled = |(i, &x): (usize, &f32)| (f64::from(x) * factor[i / inner % n]) as f32;
        let values: Vec<f32> = t.view::<f32>().iter().enumerate().map(scaled).collect();
        return finite(t.dims(), values).map(|t| p.constant(name, t));
    }
    let n = compressed(g, v)?;
    let w = Quantised::of(g, n)?;
    let (mut scale, mut zero) = w.per_index(along)?;
    if w.scale.dtype() != DType::F32 || factor.len() != scale.len() {
        return None;
    }
    let turned = turn_signs(&w, along, factor, &mut zero)?;
    for (s, f) in scale.iter_mut().zip(factor) {
        // A channel of zeros keeps its scale: its integers are all the zero point.
        *s *= if *f == 0.0 { 1.0 } else { f.abs() };
    }
    let scale: Vec<f32> = scale.into_iter().map(|s| s as f32).collect();
    if !scale.iter().all(|s| s.is_normal()) {
        return None;
    }
    let own = |i: usize, hint: &str| {
        w.node.input(i).map_or_else(|| format!("{}.{hint}", g.value(v).name), |v| g.value(v).name.clone())
    };
    let stored = match turned {
        None => w.node.input(0)?,
        Some(t) => p.constant(&own(0, "stored"), t),
    };
    let mut inputs = vec![stored, p.constant(&own(1, "scale"), Tensor::new(vec![scale.len()], scale))];
    if w.zero.is_some() || zero.iter().any(|&z| z != 0) {
        let t = ints(w.stored.dtype(), &[zero.len()], &zero)?;
        inputs.push(p.constant(&own(2, "zero_point"), t));
    }
    let attrs = w.node.attrs.clone().with("axis", along as i64);
    let spec = NodeSpec::new(w.node.op, inputs).attrs(attrs).named(w.node.name.clone());
    p.node(spec.outputs([g.value(v).name.clone()])).ok()
}

fn finite(dims: &[usize], values: Vec<f32>) -> Option<Tensor> {
    values.iter().all(|x| x.is_finite()).then(|| Tensor::new(dims.to_vec(), values))
}

/// The integers where a factor is negative or zero; `None` inside if none is. The negative of `x - z` is `-x - (-z)`; where
/// that does not fit it is the difference of the complements, which always does.
#[expect(clippy::option_option, reason = "failure, and nothing to do")]
fn turn_signs(w: &Quantised, along: usize, factor: &[f64], zero: &mut [i64]) -> Option<Option<Tensor>> {
    if factor.iter().all(|&f| f > 0.0) {
        return Some(None);
    }
    let mut values = w.stored.to_i64s()?;
    let (n, inner) = (factor.len(), w.stored.dims()[along + 1..].iter().product::<usize>().max(1));
    let (lowest, highest) = w.limits();
    let signed = w.stored.dtype().is_signed_int();
    let mut negates: Vec<bool> = zero.iter().map(|&z| signed && z > lowest).collect();
    for (i, &x) in values.iter().enumerate() {
        negates[i / inner % n] &= x > lowest;
    }
    let turned = |x: i64, c: usize| if negates[c] { -x } else { lowest + highest - x };
    for (i, x) in values.iter_mut().enumerate() {
        let c = i / inner % n;
        match factor[c] {
            f if f > 0.0 => {}
            f if f < 0.0 => *x = turned(*x, c),
            0.0 => *x = zero[c],
            _ => return None,
        }
    }
    for (c, z) in zero.iter_mut().enumerate().filter(|(c, _)| factor[*c] < 0.0) {
        *z = turned(*z, c);
    }
    ints(w.stored.dtype(), w.stored.dims(), &values).map(Some)
}
