//! Products of rows of unsigned bytes with a constant matrix of signed ones: sums in `i32`, and the chain behind them.

use crate::families::epilogue;
use crate::families::igemm::operand::{self, Bias};
use crate::families::igemm::spec::Number;
use crate::families::integer::{Sums, Weights, range, zero_point};
use crate::families::product::{Product, place_sides, sides_fit, wishes};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_ops::family::quant::MATMUL_INTEGER;
use mnnc_vector::Target;

/// The family.
pub struct MatmulInteger;

/// `y[m, n] = sum over k of (x[m, k] - zero) * w[k, n]`, everything known.
struct Integers {
    rows: usize,
    depth: usize,
    cols: usize,
    x: ValueId,
    zero: u8,
    weights: Weights,
}

impl Integers {
    fn read(view: &View) -> Option<Integers> {
        let g = view.graph;
        view.anchor.filter(|a| a.is(&MATMUL_INTEGER))?;
        let input = |i: usize| view.inputs.get(i).copied().flatten();
        let (x, w) = (input(0)?, input(1)?);
        let (xd, wd) = (g.ty(x).static_dims()?, g.ty(w).static_dims()?);
        let &[depth, cols] = &wd[..] else { return None };
        if g.ty(x).dtype != DType::U8 || xd.len() < 2 || *xd.last()? != depth || g.constant(x).is_some() {
            return None;
        }
        let rows: usize = xd[..xd.len() - 1].iter().product();
        let bytes = rows.checked_mul(depth.checked_add(3)?.max(cols))?.checked_mul(4)?;
        let dims = g.ty(view.outputs[0]).static_dims()?;
        // Four bytes are one element; rows of other lengths are left to the generic loops.
        let whole = depth > 0 && depth.is_multiple_of(4);
        let fits = (1..1 << 31).contains(&bytes) && whole && cols > 0 && sides_fit(view, &dims);
        let emitted = view.epilogue.as_ref().is_none_or(|e| epilogue::emits(&e.f));
        if !fits || !emitted {
            return None;
        }
        let weights = Weights::read(g, w, input(3), false, cols)?;
        Some(Integers { rows, depth, cols, x, zero: zero_point(view, 2)?, weights })
    }
}

impl Family for MatmulInteger {
    fn name(&self) -> &'static str {
        "matmul_integer"
    }

    fn take(&self, view: &View, _: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let p = Integers::read(view)?;
        Some(wishes(view).chain([(p.x, Wish::Plain)]).collect())
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let p = Integers::read(view).ok_or_else(|| OpError::unsupported("not a product of this family"))?;
        let input = lo.input(p.x, Wish::Plain)?;
        let column = |n: usize| (0..p.depth).map(move |k| k * p.cols + n);
        let sums: Vec<Sums> = (0..p.cols).map(|n| Sums::of(column(n).map(|i| p.weights.at(i)), p.zero)).collect();
        let bias: Vec<i32> = sums.iter().map(|s| s.bias).collect();
        let epilogue = place_sides(view, lo, p.rows, p.cols)?.behind(Some(range(&sums)));
        let output = lo.output(view.outputs[0], Forms::PLAIN)?;
        let at = |n: usize, [k, ..]: [usize; 3]| f32::from(p.weights.at(k * p.cols + n));
        let product = Product {
            family: "matmul_integer",
            number: Number::U8,
            rows: p.rows,
            depth: p.depth,
            cols: p.cols,
            input: &input,
            output: &output,
            weights: &operand::Weights::computed(Box::new(at)),
            bias: Bias::I32(bias),
            epilogue: &epilogue,
        };
        let name = lo.graph().node(view.node).name.clone();
        product.lower(lo, &name)
    }
}
