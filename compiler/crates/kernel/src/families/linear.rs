//! Products with a constant matrix: fully connected layers, `matmul` and `gemm`. Rows of the left operand are the pixels of an
//! implicit GEMM whose channels lie together.

use crate::compressed;
use crate::cost::Problem;
use crate::families::conv::{compiled, weights};
use crate::families::epilogue;
use crate::families::igemm::operand::{Reader, Weights};
use crate::families::igemm::spec::{Number, Spec, Strides, Window};
use crate::families::igemm::{self, tiles};
use crate::families::sides::{Side, from_offset};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_vector::Target;

/// The family.
pub struct Linear;

/// `y[m, n] = sum over k of x[m, k] * w[k, n] + bias[n]`, everything known.
struct Product {
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

impl Product {
    fn read(view: &View) -> Option<Product> {
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
            "matmul" => Product { rows: 0, depth: wd[0], cols: wd[1], x, w, transposed: false, alpha: 1.0, bias: None },
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
                Product { rows: 0, depth, cols, x, w, transposed, alpha: ctx.float("alpha")?, bias }
            }
            _ => return None,
        };
        p.rows = xd[..xd.len() - 1].iter().product();
        let bytes = p.rows.checked_mul(p.depth.max(p.cols))?.checked_mul(4)?;
        let fits = (1..1 << 31).contains(&bytes) && p.depth > 0 && p.cols > 0 && *xd.last()? == p.depth;
        let dims = g.ty(view.outputs[0]).static_dims()?;
        (fits && p.sides_fit(view, &dims)).then_some(p)
    }

    /// bf16 where the rows are whole pairs, or whole rows of tiles.
    fn number(&self, target: &Target) -> Number {
        let whole = if target.has_tiles() { 2 * tiles::ELEMENTS } else { 2 };
        if target.has_bf16() && self.depth.is_multiple_of(whole) { Number::Bf16 } else { Number::F32 }
    }

    /// Side operands are of the result's shape, or one row.
    fn sides_fit(&self, view: &View, dims: &[usize]) -> bool {
        view.epilogue.as_ref().is_none_or(|e| {
            epilogue::is_supported(&e.f)
                && e.sides.iter().all(|&v| {
                    let ty = view.graph.ty(v);
                    ty.dtype == DType::F32 && ty.static_dims().is_some_and(|d| d == dims || is_row(&d, self.cols))
                })
        })
    }
}

/// Least block of the reduction with factors of its own that is expanded in registers: what half bytes fill whole words with.
const BLOCK: usize = 8;

/// A single row of `cols` elements.
fn is_row(dims: &[usize], cols: usize) -> bool {
    dims.last() == Some(&cols) && dims.iter().rev().skip(1).all(|&d| d == 1)
}

impl Family for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let p = Product::read(view)?;
        let sides = view.epilogue.as_ref().map_or(&[][..], |e| &e.sides);
        let x = (p.x, if p.number(target) == Number::Bf16 { Wish::PlainReduced } else { Wish::Plain });
        Some(sides.iter().map(|&v| (v, Wish::Plain)).chain([x]).collect())
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let missing = || OpError::unsupported("not a product of this family");
        let p = Product::read(view).ok_or_else(missing)?;
        let target = *lo.target();
        let lanes = target.lanes();
        let (axes, [over_n, over_k]) = if p.transposed { ([0, 1], [p.depth, 1]) } else { ([1, 0], [1, p.cols]) };
        let at = move |n: usize, [k, ..]: [usize; 3]| Some(n * over_n + k * over_k);
        let w = Weights::new(lo.graph(), p.w, axes, Box::new(at)).ok_or_else(missing)?.times(p.alpha);
        let bias: Vec<f32> = match p.bias.and_then(|(c, beta)| lo.constant(c).map(|t| (t.view::<f32>(), beta))) {
            Some((values, beta)) => (0..p.cols).map(|n| beta * values[n % values.len()]).collect(),
            None => vec![0.0; p.cols],
        };
        let number = p.number(&target);
        let wish = if number == Number::Bf16 { Wish::PlainReduced } else { Wish::Plain };
        let element = number.element();
        let input = lo.input(p.x, wish)?;
        let mut sides = Vec::new();
        let mut side_operands = Vec::new();
        for &v in view.epilogue.as_ref().map_or(&[][..], |e| &e.sides) {
            let row = is_row(&lo.graph().ty(v).static_dims().unwrap_or_default(), p.cols) && p.rows > 1;
            let pixel = if row { 0 } else { 4 * p.cols };
            sides.push(Side { strides: Strides { plane: 4 * lanes, pixel, ..Strides::default() }, splat: false });
            side_operands.push(lo.input(v, Wish::Plain)?.read());
        }
        let output = lo.output(view.outputs[0], Forms::PLAIN)?;
        let name = lo.graph().node(view.node).name.clone();
        let blocks = p.cols.div_ceil(lanes);
        let tail = p.cols % lanes;
        let reader = |block_in| Reader { inputs: p.depth / element, block_in, columns: 1, number, shared: false };
        // A row has no planes but those that factors of blocks want.
        let size = w.packing(reader(BLOCK)).block();
        let block_in = size.unwrap_or((p.depth / element).max(2));
        let packing = w.packing(reader(block_in));
        let classes = match number {
            Number::Bf16 if target.has_tiles() => lo.planner().pairs(blocks),
            _ => lo.panels(&Problem { packing, ..Problem::matrices(1, p.rows, p.depth, p.cols) }),
        };
        for class in classes {
            // The last panel stores part of its last vector only: a kernel of its own.
            let ends_here = tail > 0 && class.first + class.blocks * class.panels == blocks;
            let whole = class.panels - usize::from(ends_here);
            for (first, count, last_lanes) in
                [(class.first, whole, lanes), (class.first + whole * class.blocks, class.panels - whole, tail)]
            {
                if count == 0 {
                    continue;
                }
                let spec = Spec {
                    images: 1,
                    number,
                    channels_in: p.depth / element,
                    first_in: 0,
                    block_in,
                    input: Strides { plane: 4 * block_in, pixel: 4 * p.depth / element, number, ..Strides::default() },
                    window: Window::POINT,
                    out: [1, p.rows],
                    output: Strides { plane: 4 * lanes, pixel: 4 * p.cols, ..Strides::default() },
                    blocks: class.blocks,
                    panels: count,
                    tiling: class.tiling,
                    last_lanes,
                    channels_out: p.cols - first * lanes,
                    weights_image: 0,
                    packing,
                    has_bias: true,
                    bounded: false,
                    epilogue: view.epilogue.as_ref().map(|e| e.f.clone()),
                    sides: sides.clone(),
                };
                let packed = w.pack(&spec, lanes, first * lanes, p.cols, &|_, k| Some(k));
                let packed = weights(lo, &format!("{name}.weight"), packed);
                let width = count * class.blocks * lanes;
                let bias = w.pack_bias(&spec, lanes, first * lanes, p.cols, &bias);
                let packed_bias = weights(lo, &format!("{name}.bias"), bias);
                let key = igemm::name("linear", &spec, &target);
                let units = igemm::units(&spec, &target);
                let kernel = lo.cached_kernel(key.clone(), |t| compiled(igemm::compile(&spec, t, &key)))?;
                let skip = first * 4 * lanes;
                let mut operands = vec![input.read(), packed, packed_bias];
                operands.extend(side_operands.iter().map(|o| from_offset(o, skip)));
                let mut result = from_offset(&output.write(), skip);
                if p.rows == 1 {
                    // Classes of panels write columns of their own, and may run at the same time.
                    result.bytes = result.bytes.min(4 * width);
                }
                operands.push(result);
                let flops = 2 * p.rows * p.depth * width.min(p.cols - first * lanes);
                lo.step(kernel, operands, units, flops as u64);
            }
        }
        Ok(())
    }
}
