//! The reals that quantised activations stand for.

use crate::pattern::op;
use mnnc_ir::{Attrs, DType, Graph, NodeId, NodeSpec, Patch, Tensor, ValueId};

/// One scale and one zero point of a whole tensor, constants of a `dequantize_linear` or `quantize_linear`.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Steps {
    /// Distance of two neighbouring reals. Positive and normal.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero: i64,
    /// Type of the integers: u8 or i8.
    pub stored: DType,
}

impl Steps {
    /// Of a node, if it works on bytes and single-precision floats by one constant scale.
    pub fn of(g: &Graph, n: NodeId) -> Option<Steps> {
        let node = g.node(n);
        let (x, y) = (g.ty(node.input(0)?), g.ty(*node.outputs().first()?));
        let stored = match node.op.name {
            "quantize_linear" if x.dtype == DType::F32 => y.dtype,
            "dequantize_linear" if y.dtype == DType::F32 => x.dtype,
            _ => return None,
        };
        let scale = g.constant(node.input(1)?)?;
        let zero = match node.input(2) {
            None => 0,
            Some(v) => *one(g.constant(v)?)?.to_i64s()?.first()?,
        };
        let scale = *one(scale).filter(|s| s.dtype() == DType::F32)?.view::<f32>().first()?;
        let usable = scale.is_normal() && scale > 0.0 && (scale * 256.0).is_finite();
        (usable && matches!(stored, DType::U8 | DType::I8)).then_some(Steps { scale, zero, stored })
    }

    /// The least and the greatest integer.
    pub fn limits(&self) -> (i64, i64) {
        if self.stored == DType::I8 { (-128, 127) } else { (0, 255) }
    }

    /// Adds the constants of a node with these steps: scale and zero point.
    pub fn constants(&self, p: &mut Patch) -> [ValueId; 2] {
        let zero = match self.stored {
            DType::I8 => Tensor::scalar(self.zero as i8),
            _ => Tensor::scalar(self.zero as u8),
        };
        [p.constant("scale", Tensor::scalar(self.scale)), p.constant("zero_point", zero)]
    }

    /// Adds the reals of `q`.
    pub fn dequantise(&self, p: &mut Patch, q: ValueId) -> Option<ValueId> {
        let [scale, zero] = self.constants(p);
        p.node(NodeSpec::new(op("dequantize_linear")?, [q, scale, zero])).ok()
    }

    /// Adds the integers of `x`.
    pub fn quantise(&self, p: &mut Patch, x: ValueId) -> Option<ValueId> {
        let [scale, zero] = self.constants(p);
        p.node(NodeSpec::new(op("quantize_linear")?, [x, scale, zero])).ok()
    }
}

fn one(t: &Tensor) -> Option<&Tensor> {
    (t.len() == 1).then_some(t)
}

/// A quantised activation seen as reals.
#[derive(Copy, Clone, Debug)]
pub struct Real {
    /// The integers; no constant.
    pub stored: ValueId,
    /// What they stand for.
    pub steps: Steps,
}

/// The activation behind the reals `v`.
pub fn real(g: &Graph, v: ValueId) -> Option<Real> {
    let n = g.producer_of(v, "dequantize_linear")?;
    let stored = g.node(n).input(0)?;
    g.constant(stored).is_none().then(|| Some(Real { stored, steps: Steps::of(g, n)? }))?
}

/// Adds a node of one operand.
pub fn unary(p: &mut Patch, name: &str, x: ValueId, attrs: Attrs) -> Option<ValueId> {
    p.node(NodeSpec::new(op(name)?, [x]).attrs(attrs)).ok()
}

/// Adds a node of two operands.
pub fn binary(p: &mut Patch, name: &str, a: ValueId, b: ValueId) -> Option<ValueId> {
    p.node(NodeSpec::new(op(name)?, [a, b])).ok()
}

/// Adds a conversion.
pub fn cast(p: &mut Patch, x: ValueId, to: DType) -> Option<ValueId> {
    unary(p, "cast", x, Attrs::new().with("to", to))
}
