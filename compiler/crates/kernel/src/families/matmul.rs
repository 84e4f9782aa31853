//! Products of two computed matrices, batched: the right one is packed into panels, then it is an implicit GEMM.

use crate::cost::Problem;
use crate::families::conv::compiled;
use crate::families::igemm;
use crate::families::igemm::packing::Packing;
use crate::families::igemm::spec::{Number, Spec, Start, Strides, Window};
use crate::families::sides::{Side, from_offset};
use crate::families::walk::{advance, bump};
use crate::families::{epilogue, fingerprint};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use crate::schedule::{Access, Operand};
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_vector::{CompileError, CompiledKernel, Gpr, KernelBuilder, Target, Var};

/// The family.
pub struct Matmul;

/// `y[b] = x[b] * w[b]`, all static.
struct Product {
    batch: usize,
    rows: usize,
    depth: usize,
    cols: usize,
    x: ValueId,
    w: ValueId,
    /// The left matrix is the same for all of the batch.
    shared_x: bool,
}

impl Product {
    fn read(view: &View) -> Option<Product> {
        let anchor = view.anchor.filter(|a| a.op.name == "matmul")?;
        let g = view.graph;
        let (x, w) = (anchor_input(view, 0)?, anchor_input(view, 1)?);
        let float = |v: ValueId| g.ty(v).static_dims().filter(|d| g.ty(v).dtype == DType::F32 && d.len() >= 2);
        let (xd, wd, out) = (float(x)?, float(w)?, g.ty(view.outputs[0]).static_dims()?);
        debug_assert!(anchor.inputs().len() == 2);
        let batch_of = |d: &[usize]| d[..d.len() - 2].iter().product::<usize>();
        let (bx, bw) = (batch_of(&xd), batch_of(&wd));
        let (rows, depth, cols) = (xd[xd.len() - 2], xd[xd.len() - 1], wd[wd.len() - 1]);
        let trimmed = |d: &[usize]| d[..d.len() - 2].iter().copied().skip_while(|&n| n == 1).collect::<Vec<_>>();
        let shared_x = bx == 1 && bw > 1;
        let same = trimmed(&xd) == trimmed(&wd) || shared_x;
        let bytes = bw.checked_mul(rows.max(1))?.checked_mul(depth.max(cols))?.checked_mul(64)?;
        let packed = bw.checked_mul(depth)?.checked_mul(cols + 256)?.checked_mul(4)?;
        let fits = same && bytes > 0 && bytes.max(packed) < 1 << 31 && depth > 0 && cols > 0;
        let sides_fit = view.epilogue.as_ref().is_none_or(|e| {
            epilogue::is_supported(&e.f) && e.sides.iter().all(|&v| float(v).is_some_and(|d| d == out))
        });
        (fits && sides_fit).then_some(Product { batch: bw, rows, depth, cols, x, w, shared_x })
    }
}

fn anchor_input(view: &View, i: usize) -> Option<ValueId> {
    view.inputs.get(i).copied().flatten()
}

impl Family for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn take(&self, view: &View, _: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let p = Product::read(view)?;
        let sides = view.epilogue.as_ref().map_or(&[][..], |e| &e.sides);
        Some(sides.iter().copied().chain([p.x, p.w]).map(|v| (v, Wish::Plain)).collect())
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let p = Product::read(view).ok_or_else(|| OpError::unsupported("not a product of this family"))?;
        let target = *lo.target();
        let lanes = target.lanes();
        let x = lo.input(p.x, Wish::Plain)?.read();
        let w = lo.input(p.w, Wish::Plain)?.read();
        let strides = Strides { image: 4 * p.rows * p.cols, plane: 4 * lanes, pixel: 4 * p.cols, ..Strides::default() };
        let (mut sides, mut side_operands) = (Vec::new(), Vec::new());
        for &v in view.epilogue.as_ref().map_or(&[][..], |e| &e.sides) {
            sides.push(Side { strides, splat: false });
            side_operands.push(lo.input(v, Wish::Plain)?.read());
        }
        let output = lo.output(view.outputs[0], Forms::PLAIN)?.write();
        let blocks = p.cols.div_ceil(lanes);
        let tail = p.cols % lanes;
        for class in lo.panels(&Problem::matrices(p.batch, p.rows, p.depth, p.cols)) {
            let ends_here = tail > 0 && class.first + class.blocks * class.panels == blocks;
            let whole = class.panels - usize::from(ends_here);
            let runs = [(class.first, whole, lanes), (class.first + whole * class.blocks, class.panels - whole, tail)];
            for (first, count, last_lanes) in runs.into_iter().filter(|r| r.1 > 0) {
                let width = class.blocks * lanes;
                let image = count * p.depth * width * 4;
                let pack = Pack { depth: p.depth, cols: p.cols, panels: count, blocks: class.blocks, last_lanes };
                let packed = lo.temp("packed", p.batch * image);
                let packed = |access| Operand { buffer: packed, offset: 0, bytes: p.batch * image, access };
                let key = format!("pack_{target}_{}", fingerprint(&format!("{pack:?}")));
                let kernel = lo.cached_kernel(key.clone(), |t| compiled(pack.compile(t, &key)))?;
                let skip = first * 4 * lanes;
                lo.step(kernel, vec![from_offset(&w, skip), packed(Access::Write)], p.batch * count, 0);

                let spec = Spec {
                    images: p.batch,
                    number: Number::F32,
                    channels_in: p.depth,
                    first_in: 0,
                    block_in: p.depth.max(2),
                    input: Strides {
                        image: if p.shared_x { 0 } else { 4 * p.rows * p.depth },
                        pixel: 4 * p.depth,
                        ..Strides::default()
                    },
                    window: Window::POINT,
                    border: None,
                    out: [1, p.rows],
                    output: strides,
                    blocks: class.blocks,
                    panels: count,
                    tiling: class.tiling,
                    last_lanes,
                    channels_out: 0,
                    weights_image: image,
                    packing: Packing::WHOLE,
                    start: Start::Zero,
                    bounded: false,
                    epilogue: view.epilogue.as_ref().map(|e| e.f.clone()),
                    sides: sides.clone(),
                };
                let key = igemm::name("matmul", &spec, &target);
                let units = spec.units();
                let kernel = lo.cached_kernel(key.clone(), |t| compiled(igemm::emit::compile(&spec, t, &key)))?;
                let mut operands = vec![x.clone(), packed(Access::Read), packed(Access::Read)];
                operands.extend(side_operands.iter().map(|o| from_offset(o, skip)));
                operands.push(from_offset(&output, skip));
                let cols = (count * width).min(p.cols - first * lanes);
                lo.step(kernel, operands, units, (2 * p.batch * p.rows * p.depth * cols) as u64);
            }
        }
        Ok(())
    }
}

/// Packs `[batch][depth][cols]` into `[batch][panel][depth][blocks * lanes]`. Units are `batch * panels`.
#[derive(Clone, Debug)]
struct Pack {
    depth: usize,
    cols: usize,
    panels: usize,
    blocks: usize,
    /// Lanes of the last vector of a panel that exist; the others become zero.
    last_lanes: usize,
}

impl Pack {
    fn compile(&self, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
        let mut b = KernelBuilder::new(target, name);
        let (src, dst) = (b.arg(0), b.arg(1));
        let (begin, end) = (b.begin(), b.end());
        let lanes = b.lanes();
        let width = 4 * self.blocks * lanes;
        if !self.last_lanes.is_power_of_two() {
            b.tail_mask(self.last_lanes);
        }
        b.for_range(begin, end, 1, |b, unit| {
            let panel = b.int_rem(unit, self.panels as u32);
            let image = b.int_div(unit, self.panels as u32);
            let s = advance(b, src, image, 4 * self.depth * self.cols);
            let s = advance(b, s, panel, width);
            let d = advance(b, dst, unit, self.depth * width);
            let (s, d): (Var<Gpr>, Var<Gpr>) = (b.var(s), b.var(d));
            b.repeat(self.depth as u64, |b| {
                let (from, to) = (b.get(s), b.get(d));
                for j in 0..self.blocks {
                    let n = if j + 1 == self.blocks { self.last_lanes } else { lanes };
                    let v = b.load_part(from.at((4 * j * lanes) as i32), n);
                    b.store(v, to.at((4 * j * lanes) as i32));
                }
                bump(b, s, 4 * self.cols, 0);
                bump(b, d, width, 0);
            });
        });
        b.compile()
    }
}
