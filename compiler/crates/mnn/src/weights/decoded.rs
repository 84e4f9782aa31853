//! Constants behind ops that decode them: `dequantize_linear` of integers, perhaps with a constant added to what shares a scale,
//! `cast` of half precision. To the rules they are constants like others; what the format can store coded stays coded.

use crate::cx::Reason;
use mnnc_ir::{DType, Graph, Node, Tensor, TensorType, ValueId};

/// A constant of floats, as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Decoded<'g> {
    /// The stored elements, in the order of the value's.
    pub(super) stored: &'g Tensor,
    pub(super) coding: Coding<'g>,
}

/// How the stored elements stand for floats.
#[derive(Clone, Debug)]
pub(super) enum Coding<'g> {
    /// They are the floats.
    Floats,
    /// `(code - zero) * scale`.
    Integers(Integers<'g>),
}

#[derive(Clone, Debug)]
pub(super) struct Integers<'g> {
    scales: &'g Tensor,
    /// In the shape of the scales, or one for all. Where a constant is added behind, they are no whole numbers.
    zeros: Vec<f64>,
    spread: Spread,
    /// How many bits the codes need, as the graph says.
    pub(super) bits: u32,
}

/// Which scale an element has.
#[derive(Copy, Clone, Debug)]
enum Spread {
    /// All the same.
    Whole,
    /// One for each index of a dim: extent of the dim, elements behind it.
    Axis { extent: usize, inner: usize },
    /// One for so many indices of a dim.
    Blocks { extent: usize, inner: usize, block: usize },
}

/// Scales and zero points by element.
pub(super) struct Parameters {
    scales: Vec<f64>,
    zeros: Vec<f64>,
    spread: Spread,
}

impl Parameters {
    /// Scale and zero point of the element at `position` in the stored order.
    pub(super) fn at(&self, position: usize) -> (f64, f64) {
        let index = self.spread.index(position);
        let of = |list: &[f64]| list.get(if list.len() == 1 { 0 } else { index }).copied().unwrap_or(0.0);
        (of(&self.scales), of(&self.zeros))
    }
}

impl Spread {
    /// Which scale the element at `position` in the stored order has.
    fn index(self, position: usize) -> usize {
        match self {
            Spread::Whole => 0,
            Spread::Axis { extent, inner } => position / inner % extent,
            Spread::Blocks { extent, inner, block } => {
                let blocks = extent.div_ceil(block);
                (position / (inner * extent) * blocks + position / inner % extent / block) * inner + position % inner
            }
        }
    }
}

impl Integers<'_> {
    pub(super) fn parameters(&self) -> Parameters {
        Parameters { scales: self.scales.to_f64s(), zeros: self.zeros.clone(), spread: self.spread }
    }
}

impl Decoded<'_> {
    /// Whether it is stored in integers.
    pub(crate) fn is_coded(&self) -> bool {
        matches!(self.coding, Coding::Integers(_))
    }

    /// The floats that it stands for.
    pub(crate) fn floats(&self) -> Vec<f32> {
        match &self.coding {
            Coding::Floats => crate::cx::floats(self.stored),
            Coding::Integers(integers) => {
                let parameters = integers.parameters();
                let value = |(i, code): (usize, f64)| {
                    let (scale, zero) = parameters.at(i);
                    ((code - zero) * scale) as f32
                };
                self.stored.to_f64s().into_iter().enumerate().map(value).collect()
            }
        }
    }
}

impl Decoded<'_> {
    /// A constant of the given type with these elements, in an element type that the format has; half precision stays.
    pub(crate) fn tensor(&self, ty: &TensorType) -> Result<Tensor, Reason> {
        let dims = ty.static_dims().ok_or("a constant's shape is not known")?;
        match self.coding {
            Coding::Floats => {
                let stored = self.stored.reshaped(dims).ok_or("a constant does not fill its shape")?;
                // Of type f16 throughout, or widened in the graph: the engine widens it when it loads the file.
                if stored.dtype() == DType::F16 { Ok(stored) } else { crate::cx::runtime_form(&stored) }
            }
            Coding::Integers(_) => Ok(Tensor::new(dims, self.floats())),
        }
    }
}

/// The constant that `value` is, or decodes. A reshape on the way changes no element.
pub(crate) fn decoded(graph: &Graph, value: ValueId) -> Option<Decoded<'_>> {
    if let Some(stored) = graph.constant(value) {
        return Some(Decoded { stored, coding: Coding::Floats });
    }
    let node = graph.node(graph.producer(value)?);
    match node.op.name {
        "reshape" => decoded(graph, node.input(0)?).filter(|_| graph.ty(value).static_dims().is_some()),
        "cast" => {
            let within = decoded(graph, node.input(0)?)?;
            let narrow = |d: DType| matches!(d, DType::F16 | DType::BF16);
            let widens = graph.ty(value).dtype == DType::F32 && narrow(graph.ty(node.input(0)?).dtype);
            widens.then_some(within)
        }
        "dequantize_linear" => integers(graph, node),
        "add" => shifted(graph, node, value),
        _ => None,
    }
}

/// Integers with a constant added that is the same wherever the scale is: zero points that are no whole numbers.
fn shifted<'g>(graph: &'g Graph, node: &Node, value: ValueId) -> Option<Decoded<'g>> {
    let Decoded { stored, coding: Coding::Integers(mut within) } = decoded(graph, node.input(0)?)? else { return None };
    let summand = graph.constant(node.input(1)?).filter(|t| t.dtype() == DType::F32)?;
    let dims = graph.ty(value).static_dims()?;
    if summand.dims().len() > dims.len() || dims.iter().product::<usize>() != stored.len() {
        return None;
    }
    let scales = within.scales.to_f64s();
    let mut shifts: Vec<Option<f64>> = vec![None; scales.len()];
    let values = summand.to_f64s();
    for position in 0..stored.len() {
        // Where it stands in the summand, whose dims are the last ones, or 1.
        let (mut rest, mut at, mut stride) = (position, 0, 1);
        for (i, &extent) in dims.iter().enumerate().rev() {
            let own = (i + summand.dims().len()).checked_sub(dims.len()).map_or(1, |k| summand.dims()[k]);
            at += if own == 1 { 0 } else { rest % extent * stride };
            stride *= own;
            rest /= extent;
        }
        let shift = *values.get(at)?;
        if *shifts.get_mut(within.spread.index(position))?.get_or_insert(shift) != shift {
            return None;
        }
    }
    let zero = |(i, &scale): (usize, &f64)| {
        let own = within.zeros.get(if within.zeros.len() == 1 { 0 } else { i }).copied().unwrap_or(0.0);
        match shifts[i] {
            None | Some(0.0) => Some(own),
            Some(shift) => Some(own - shift / scale).filter(|zero| zero.is_finite()),
        }
    };
    within.zeros = scales.iter().enumerate().map(zero).collect::<Option<_>>()?;
    Some(Decoded { stored, coding: Coding::Integers(within) })
}

/// Whether an op only decodes a constant, so that nothing of it is left in the file.
pub(crate) fn is_decoder(graph: &Graph, node: &Node) -> bool {
    let decodes = matches!(node.op.name, "reshape" | "cast" | "dequantize_linear" | "add");
    decodes && node.outputs().first().is_some_and(|&value| decoded(graph, value).is_some())
}

fn integers<'g>(graph: &'g Graph, node: &'g Node) -> Option<Decoded<'g>> {
    // Half-precision scales may be widened before use.
    let floats = |value: ValueId| match decoded(graph, value)? {
        Decoded { stored, coding: Coding::Floats } => Some(stored),
        Decoded { .. } => None,
    };
    let stored = graph.constant(node.input(0)?)?;
    let scales = floats(node.input(1)?)?;
    let zeros = match node.input(2) {
        Some(value) => graph.constant(value)?.to_f64s(),
        None => vec![0.0],
    };
    let facts = graph.facts(graph.producer(*node.outputs().first()?)?);
    let op = facts.of(node);
    let int = |name: &str, default: i64| op.int(name).unwrap_or(default);
    let dims = stored.dims();
    let axis = || {
        let axis = int("axis", 1);
        let axis = if axis < 0 { axis + i64::try_from(dims.len()).ok()? } else { axis };
        let axis = usize::try_from(axis).ok().filter(|&axis| axis < dims.len())?;
        Some((dims[axis], dims[axis + 1..].iter().product::<usize>()))
    };
    let spread = match (scales.dims(), int("block_size", 0)) {
        ([] | [1], 0) => Spread::Whole,
        ([_], 0) => {
            let (extent, inner) = axis()?;
            Spread::Axis { extent, inner }
        }
        (_, block) => {
            let (extent, inner) = axis()?;
            Spread::Blocks { extent, inner, block: usize::try_from(block).ok().filter(|&b| b > 0)? }
        }
    };
    let bits = match (u32::try_from(int("bits", 0)).ok()?, stored.dtype()) {
        (0, DType::I8 | DType::U8) => 8,
        (0, _) => 32,
        (bits, _) => bits,
    };
    Some(Decoded { stored, coding: Coding::Integers(Integers { scales, zeros, spread, bits }) })
}
