//! Integer vectors of which not everything is known: shapes of which one size is symbolic, and what exporters
//! compute from them.
//!
//! `Shape(x)[2]` is a constant when only the batch of `x` is open, and a `Reshape` to `[batch, 12, -1]` is clear although
//! `batch` is not. Elements are followed through the few operators that shape computations are made of.

use super::Builder;
use mnnc_ir::attr::Attr;
use mnnc_ir::{DType, Dim, NodeSpec, Tensor, TensorType, ValueId};

/// One element of an integer value.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Element {
    /// Known.
    Int(i64),
    /// A size of the model, not negative.
    Size(Dim),
    /// Anything.
    Open,
}

use Element::{Int, Open, Size};

/// Longer values are no shapes.
const MAX_ELEMENTS: usize = 64;

fn of_dim(d: Dim) -> Element {
    d.known().and_then(|n| i64::try_from(n).ok()).map_or(Size(d), Int)
}

impl Builder {
    /// What is known of an integer value of rank 0 or 1.
    pub(crate) fn elements(&self, v: ValueId) -> Option<Vec<Element>> {
        if let Some(e) = self.partial.get(&v) {
            return Some(e.clone());
        }
        let t = self.graph.constant(v)?;
        if t.dims().len() > 1 || t.len() > MAX_ELEMENTS {
            return None;
        }
        Some(t.to_i64s()?.into_iter().map(Int).collect())
    }

    /// What is known of the first output of a node.
    pub(crate) fn follow(&mut self, spec: &NodeSpec) -> Option<Vec<Element>> {
        let arg = |i: usize| spec.inputs.get(i).copied().flatten();
        let known = |i: usize| self.elements(arg(i)?);
        let ints = |i: usize| match arg(i) {
            None => Some(None),
            Some(v) => self.graph.constant(v)?.to_i64s().map(Some),
        };
        let int_attr = |name: &str| match spec.attrs.get(name) {
            Some(Attr::Int(x)) => Some(*x),
            _ => None,
        };
        let rank = |i: usize| arg(i).map(|v| self.graph.ty(v).rank());
        let out = match spec.op.name {
            "shape" => {
                let dims = &self.graph.ty(arg(0)?).dims;
                let n = dims.len() as i64;
                let at = |x: i64| (if x < 0 { x + n } else { x }).clamp(0, n) as usize;
                let (start, end) = (at(int_attr("start").unwrap_or(0)), at(int_attr("end").unwrap_or(n)));
                dims.get(start..end.max(start))?.iter().map(|&d| of_dim(d)).collect()
            }
            "size" => {
                let dims = self.graph.ty(arg(0)?).dims.clone();
                let product = dims.iter().fold(Dim::Const(1), |a, &d| self.graph.syms.mul(a, d));
                vec![of_dim(product)]
            }
            "identity" | "unsqueeze" | "squeeze" | "reshape" => known(0)?,
            "cast" => match spec.attrs.get("to") {
                Some(Attr::DType(d)) if d.is_int() => known(0)?,
                _ => return None,
            },
            "gather" if rank(0)? == 1 => {
                let from = known(0)?;
                let n = from.len() as i64;
                let indices = ints(1)??;
                indices
                    .iter()
                    .map(|&i| from.get((if i < 0 { i + n } else { i }) as usize).copied())
                    .collect::<Option<_>>()?
            }
            "concat" if rank(0)? == 1 => {
                let mut all = Vec::new();
                for i in 0..spec.inputs.len() {
                    // A part that nothing is known of still has a length.
                    let n = self.graph.ty(arg(i)?).num_elements()?;
                    all.extend(known(i).unwrap_or_else(|| vec![Open; n.min(MAX_ELEMENTS + 1)]));
                    if all.len() > MAX_ELEMENTS {
                        return None;
                    }
                }
                all
            }
            "slice" if rank(0)? == 1 => {
                let from = known(0)?;
                let one = |i: usize| ints(i).map(|v| v.and_then(|v| v.first().copied()));
                let (start, end, step) = (one(1)??, one(2)??, one(4)?.unwrap_or(1));
                let n = from.len() as i64;
                let at = |x: i64| (if x < 0 { x.saturating_add(n) } else { x }).clamp(0, n) as usize;
                if step != 1 {
                    return None;
                }
                from.get(at(start)..at(end).max(at(start)))?.to_vec()
            }
            "add" | "sub" | "mul" | "div" | "equal" => {
                let (a, b) = (known(0)?, known(1)?);
                self.pairwise(spec.op.name, &a, &b)?
            }
            "where" => {
                let (c, a, b) = (known(0)?, known(1)?, known(2)?);
                let n = c.len().max(a.len()).max(b.len());
                let pick = |v: &[Element], i: usize| if v.len() == 1 { Some(v[0]) } else { v.get(i).copied() };
                let one = |i: usize| {
                    Some(match pick(&c, i)? {
                        Int(0) => pick(&b, i)?,
                        Int(_) => pick(&a, i)?,
                        _ if pick(&a, i)? == pick(&b, i)? => pick(&a, i)?,
                        _ => Open,
                    })
                };
                (0..n).map(one).collect::<Option<_>>()?
            }
            _ => return None,
        };
        (out.len() <= MAX_ELEMENTS && out.iter().any(|e| *e != Open)).then_some(out)
    }

    fn pairwise(&mut self, op: &str, a: &[Element], b: &[Element]) -> Option<Vec<Element>> {
        let n = match (a.len(), b.len()) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => return None,
        };
        let at = |v: &[Element], i: usize| v.get(if v.len() == 1 { 0 } else { i }).copied().unwrap_or(Open);
        Some((0..n).map(|i| self.combine(op, at(a, i), at(b, i))).collect())
    }

    fn combine(&mut self, op: &str, a: Element, b: Element) -> Element {
        let syms = &mut self.graph.syms;
        let size = |e: Element| match e {
            Int(n) => u64::try_from(n).ok().map(Dim::Const),
            Size(d) => Some(d),
            Open => None,
        };
        match (op, a, b) {
            ("equal", Int(x), Int(y)) => Int(i64::from(x == y)),
            // A size is never negative, and one that is symbolic equals itself.
            ("equal", Size(_), Int(x)) | ("equal", Int(x), Size(_)) if x < 0 => Int(0),
            ("equal", Size(x), Size(y)) if x == y => Int(1),
            ("equal", ..) => Open,
            // Integer arithmetic wraps, as everywhere.
            ("add", Int(x), Int(y)) => Int(x.wrapping_add(y)),
            ("sub", Int(x), Int(y)) => Int(x.wrapping_sub(y)),
            ("mul", Int(x), Int(y)) => Int(x.wrapping_mul(y)),
            ("div", Int(x), Int(y)) => x.checked_div(y).map_or(Open, Int),
            ("sub", Size(x), Size(y)) if x == y => Int(0),
            ("sub", x, Int(0)) => x,
            _ => match (size(a), size(b)) {
                (Some(x), Some(y)) => match op {
                    "add" => of_dim(syms.add(x, y)),
                    "mul" => of_dim(syms.mul(x, y)),
                    "div" if y != Dim::Const(0) => of_dim(syms.div(x, y)),
                    _ => Open,
                },
                _ => Open,
            },
        }
    }

    /// The value, if every element is known and the type is that of integers or flags.
    pub(crate) fn known_tensor(&self, elements: &[Element], ty: &TensorType) -> Option<Tensor> {
        let dims = ty.static_dims()?;
        if dims.len() > 1 || dims.iter().product::<usize>() != elements.len() {
            return None;
        }
        let ints: Vec<i64> =
            elements.iter().map(|e| if let Int(n) = e { Some(*n) } else { None }).collect::<Option<_>>()?;
        Some(match ty.dtype {
            DType::I64 => Tensor::new(dims, ints),
            DType::I32 => Tensor::new(dims, ints.iter().map(|&x| i32::try_from(x).ok()).collect::<Option<Vec<_>>>()?),
            DType::Bool => Tensor::bools(dims, ints.iter().map(|&x| x != 0).collect()),
            _ => return None,
        })
    }

    /// Sizes that inference left open but that the shape operand gives by name.
    pub(crate) fn name_sizes(&self, spec: &NodeSpec, types: &mut [TensorType]) {
        let arg = |i: usize| spec.inputs.get(i).copied().flatten();
        let (shape, data) = match spec.op.name {
            "expand" => (arg(1), arg(0)),
            "constant_of_shape" => (arg(0), None),
            _ => return,
        };
        let (Some(elements), [ty]) = (shape.and_then(|v| self.elements(v)), types) else { return };
        let from = data.map_or(&[][..], |v| &self.graph.ty(v).dims);
        let rank = ty.rank();
        if elements.len() > rank {
            return;
        }
        let skip = rank - elements.len();
        for (i, e) in elements.iter().enumerate() {
            let own = (skip + i + from.len()).checked_sub(rank).and_then(|k| from.get(k)).copied();
            let own = own.unwrap_or(Dim::Const(1));
            let Some(dim) = ty.dims.get_mut(skip + i).filter(|d| matches!(d, Dim::Sym(_))) else { continue };
            // Broadcasting: of two sizes one is 1, or they are equal.
            *dim = match (*e, own) {
                (Int(1), own) => own,
                (Int(n), _) => u64::try_from(n).map_or(*dim, Dim::Const),
                (Size(d), Dim::Const(1)) => d,
                (Size(d), own) if d == own => d,
                (Size(_) | Open, Dim::Const(n)) if n > 1 => Dim::Const(n),
                _ => *dim,
            };
        }
    }

    /// A target shape for `reshape` of `data` in which at most one size is open: that one is written as -1, or as 0
    /// where it is the size that `data` has at this place.
    pub(crate) fn reshape_target(&self, data: ValueId, shape: ValueId) -> Option<Vec<i64>> {
        let elements = self.elements(shape)?;
        let from = &self.graph.ty(data).dims;
        let mut open = 0;
        let mut minus = elements.contains(&Int(-1));
        let out = elements
            .iter()
            .enumerate()
            .map(|(i, e)| match e {
                Int(n) => *n,
                Size(d) if from.get(i) == Some(d) => 0,
                _ if !minus => {
                    minus = true;
                    -1
                }
                _ => {
                    open += 1;
                    -1
                }
            })
            .collect();
        (open == 0).then_some(out)
    }
}
