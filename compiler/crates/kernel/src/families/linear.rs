//! Products with a constant matrix: fully connected layers, `matmul` and `gemm`. Rows of the left operand are the pixels of an
//! implicit GEMM whose channels lie together.

use crate::compressed;
use crate::families::epilogue;
use crate::families::igemm::operand::{Bias, Weights};
use crate::families::igemm::spec::Number;
use crate::families::igemm::tiles;
use crate::families::product::{Product, place_sides, sides_fit, wishes};
use crate::family::{Epilogue, Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_vector::Target;

/// The family.
pub struct Linear;

/// `y[m, n] = sum over k of x[m, k] * w[k, n] + bias[n]`, everything known.
struct Floats {
    rows: usize,
    depth: usize,
    cols: usize,
    x: ValueId,
    w: ValueId,
    /// `w` is stored as `[n, k]`.
    transposed: bool,
    /// Factor of the weights.
    alpha: f32,
    /// Constant addend and its factor.
    bias: Option<(ValueId, f32)>,
}

impl Floats {
    fn read(view: &View) -> Option<Floats> {
        let g = view.graph;
        let anchor = view.anchor?;
        let facts = g.facts(view.anchor_id?);
        let ctx = facts.of(anchor);
        let (x, w) = (view.inputs.first().copied().flatten()?, view.inputs.get(1).copied().flatten()?);
        let float = |v: ValueId| g.ty(v).dtype == DType::F32;
        let (xd, wd) = (g.ty(x).static_dims()?, g.ty(w).static_dims()?);
        let constant = compressed::is_constant(g, w) && g.constant(x).is_none();
        if !constant || !float(x) || !float(w) || wd.len() != 2 || xd.len() < 2 {
            return None;
        }
        let mut p = match anchor.op.name {
            "matmul" => Floats { rows: 0, depth: wd[0], cols: wd[1], x, w, transposed: false, alpha: 1.0, bias: None },
            "gemm" => {
                let transposed = ctx.flag("transB");
                if ctx.flag("transA") {
                    return None;
                }
                let (depth, cols) = if transposed { (wd[1], wd[0]) } else { (wd[0], wd[1]) };
                let bias = match view.inputs.get(2).copied().flatten() {
                    None => None,
                    Some(c) => {
                        let t = g.constant(c).filter(|t| t.dtype() == DType::F32)?;
                        // A row or a single number; a whole matrix is left to the generic code.
                        let row =
                            t.dims().last().is_none_or(|&n| n == cols || n == 1) && (t.len() == cols || t.len() == 1);
                        row.then_some(())?;
                        Some((c, ctx.float("beta")?))
                    }
                };
                Floats { rows: 0, depth, cols, x, w, transposed, alpha: ctx.float("alpha")?, bias }
            }
            _ => return None,
        };
        p.rows = xd[..xd.len() - 1].iter().product();
        let bytes = p.rows.checked_mul(p.depth.max(p.cols))?.checked_mul(4)?;
        let fits = (1..1 << 31).contains(&bytes) && p.depth > 0 && p.cols > 0 && *xd.last()? == p.depth;
        let dims = g.ty(view.outputs[0]).static_dims()?;
        let floats = |e: &Epilogue| epilogue::is_supported(&e.f) && e.sides.iter().all(|&v| float(v));
        let sides = sides_fit(view, &dims) && view.epilogue.as_ref().is_none_or(floats);
        (fits && sides).then_some(p)
    }

    /// bf16 where the rows are whole pairs, or whole rows of tiles.
    fn number(&self, target: &Target) -> Number {
        let whole = if target.has_tiles() { 2 * tiles::ELEMENTS } else { 2 };
        if target.has_bf16() && self.depth.is_multiple_of(whole) { Number::Bf16 } else { Number::F32 }
    }
}

impl Family for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let p = Floats::read(view)?;
        let x = (p.x, if p.number(target) == Number::Bf16 { Wish::PlainReduced } else { Wish::Plain });
        Some(wishes(view).chain([x]).collect())
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let missing = || OpError::unsupported("not a product of this family");
        let p = Floats::read(view).ok_or_else(missing)?;
        let target = *lo.target();
        let (axes, [over_n, over_k]) = if p.transposed { ([0, 1], [p.depth, 1]) } else { ([1, 0], [1, p.cols]) };
        let at = move |n: usize, [k, ..]: [usize; 3]| Some(n * over_n + k * over_k);
        let w = Weights::new(lo.graph(), p.w, axes, Box::new(at)).ok_or_else(missing)?.times(p.alpha);
        let bias: Vec<f32> = match p.bias.and_then(|(c, beta)| lo.constant(c).map(|t| (t.view::<f32>(), beta))) {
            Some((values, beta)) => (0..p.cols).map(|n| beta * values[n % values.len()]).collect(),
            None => vec![0.0; p.cols],
        };
        let number = p.number(&target);
        let input = lo.input(p.x, if number == Number::Bf16 { Wish::PlainReduced } else { Wish::Plain })?;
        let epilogue = place_sides(view, lo, p.rows, p.cols)?;
        let output = lo.output(view.outputs[0], Forms::PLAIN)?;
        let name = lo.graph().node(view.node).name.clone();
        let product = Product {
            family: "linear",
            number,
            rows: p.rows,
            depth: p.depth,
            cols: p.cols,
            input: &input,
            output: &output,
            weights: &w,
            bias: Bias::F32(bias),
            epilogue: &epilogue,
        };
        product.lower(lo, &name)
    }
}
