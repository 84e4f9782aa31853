//! Linear interpolation of images in channel blocks: four vectors an output pixel, positions and weights from tables.
//!
//! Bytes are dequantised as they are read. Where each column of them is read more than once, the two rows under an output row are blended into one in the frame
//! first, which is the definition's order, too.

use crate::families::conv::{compiled, weights};
use crate::families::fingerprint;
use crate::families::igemm::spec::{Number, Strides};
use crate::families::sides::{
    Side, byte_image_wish, fits_typed_image, from_offset, image_strides, image_wish, image_wishes, may_reduce,
    place_image, vectors,
};
use crate::families::walk::{Place, Results, advance, bump, load};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use crate::prologue::Affine;
use crate::storage::Halo;
use mnnc_ir::scalar::ScalarFn;
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_ops::family::resize::{Samples, linear_samples};
use mnnc_vector::{CompileError, CompiledKernel, Gpr, IntType, Isa, KernelBuilder, Mem, Target, Vector};

/// The family.
pub struct LinearResize;

/// Bytes of a table entry: two positions in bytes, two weights.
const ENTRY: usize = 16;

#[derive(Clone, PartialEq, Debug)]
struct Spec {
    /// Vectors of channels.
    blocks: usize,
    channels: usize,
    /// Columns of the input.
    columns: usize,
    out: [usize; 2],
    /// What bytes stand for.
    bytes: Option<Affine>,
    input: Strides,
    output: Strides,
    f: Option<ScalarFn>,
    sides: Vec<Side>,
}

/// Most bytes of a blended row, beside what is read and written in L1.
const MOST_BYTES: usize = 16 << 10;

impl Spec {
    /// Whether rows are blended before pixels are: of bytes, whose dequantisation counts. (Floats wait for memory.)
    fn blends_rows(&self, target: &Target) -> bool {
        let fits = self.columns * 4 * target.lanes() <= MOST_BYTES;
        self.bytes.is_some() && target.isa != Isa::A64Neon && 2 * self.columns <= self.out[1] && fits
    }
}

/// What the family has to know of a node.
struct Resize {
    x: ValueId,
    /// What its bytes stand for, if it is bytes.
    bytes: Option<Affine>,
    /// Of rows and columns.
    samples: [Samples; 2],
}

impl Resize {
    /// `None` if the node is not for this family.
    fn read(view: &View) -> Option<Resize> {
        let anchor = view.anchor.filter(|a| a.op.name == "resize")?;
        let g = view.graph;
        let x = view.inputs.first().copied().flatten()?;
        let dims = g.ty(x).static_dims().filter(|d| d.len() == 4)?;
        let bytes = match (&view.prologue, g.ty(x).dtype) {
            (None, DType::F32) => None,
            (Some(f), DType::U8) => Some(Affine::of(f)?),
            _ => return None,
        };
        let out = g.ty(view.outputs[0]).static_dims().filter(|d| d.len() == 4 && !d.contains(&0))?;
        let facts = g.facts(view.anchor_id?);
        let changed = linear_samples(&facts.of(anchor)).ok()??;
        if changed.iter().any(|(axis, _)| *axis < 2) {
            return None;
        }
        let along = |axis: usize| match changed.iter().find(|(a, _)| *a == axis) {
            Some((_, samples)) => samples.clone(),
            None => (0..dims[axis]).map(|i| [(i, 1.0), (i, 0.0)]).collect(),
        };
        let small =
            |d: &[usize]| d.iter().try_fold(64usize, |a, &n| a.checked_mul(n)).is_some_and(|b| b > 0 && b < 1 << 31);
        let fits = small(&dims) && small(&out) && fits_typed_image(view, &out);
        fits.then(|| Resize { x, bytes, samples: [along(2), along(3)] })
    }

    fn wish(&self, target: &Target) -> Wish {
        if self.bytes.is_some() {
            byte_image_wish(target, Halo::default())
        } else {
            image_wish(target, Halo::default())
        }
    }
}

/// The table of one dimension, positions a stride apart.
fn table(samples: &Samples, stride: usize) -> Vec<u8> {
    samples
        .iter()
        .flat_map(|[(p, v), (q, w)]| {
            [((p * stride) as u32).to_ne_bytes(), ((q * stride) as u32).to_ne_bytes(), v.to_ne_bytes(), w.to_ne_bytes()]
        })
        .flatten()
        .collect()
}

impl Family for LinearResize {
    fn name(&self) -> &'static str {
        "linear_resize"
    }

    fn reads_prologue(&self) -> bool {
        true
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let resize = Resize::read(view)?;
        let mut wishes = vec![(resize.x, resize.wish(target))];
        wishes.extend(image_wishes(view, target));
        Some(wishes)
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let target = *lo.target();
        let resize = Resize::read(view).ok_or_else(|| OpError::unsupported("not a linear resize of images"))?;
        let input = lo.input(resize.x, resize.wish(&target))?;
        let float = view.graph.ty(view.outputs[0]).dtype == DType::F32;
        let reduced = float && may_reduce(view, &target);
        let output = lo.output(view.outputs[0], Forms { reduced, ..Forms::BLOCKED })?;
        let dims = output.storage.dims.clone();
        let epilogue = place_image(view.epilogue.as_ref(), lo, &output.storage)?;
        let spec = Spec {
            blocks: vectors(&output.storage, &target),
            channels: dims[1],
            columns: input.storage.dims[3],
            out: [dims[2], dims[3]],
            bytes: resize.bytes,
            input: image_strides(&input.storage, &input.storage.dims),
            output: image_strides(&output.storage, &dims),
            f: epilogue.f,
            sides: epilogue.sides,
        };
        let [rows, cols] = &resize.samples;
        let mut operands = vec![from_offset(&input.read(), input.storage.offset)];
        operands.push(weights(lo, "resize.rows", table(rows, spec.input.row)));
        let pixel = if spec.blends_rows(&target) { 4 * target.lanes() } else { spec.input.pixel };
        operands.push(weights(lo, "resize.columns", table(cols, pixel)));
        operands.extend(epilogue.operands);
        operands.push(from_offset(&output.write(), output.storage.offset));
        let key =
            format!("linear_resize_{}x{}_{}_{}", dims[2], dims[3], lo.target(), fingerprint(&format!("{spec:?}")));
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(compile(&spec, t, &key)))?;
        lo.step(kernel, operands, dims[0] * spec.blocks * dims[2], (8 * dims.iter().product::<usize>()) as u64);
        Ok(())
    }
}

/// A vector of the input as numbers.
fn sample(b: &mut KernelBuilder, spec: &Spec, mem: Mem) -> Vector {
    let v = load(b, spec.input.number, mem);
    let Some(Affine { zero, scale }) = spec.bytes else { return v };
    let v = b.i32_to_f32(v);
    let v = if zero == 0 { v } else { b.sub(v, f32::from(zero)) };
    b.mul(v, scale)
}

/// The weighted sum of two vectors. Before results that are rounded to bytes every operation is, too: ties are frequent there.
fn weighted(b: &mut KernelBuilder, spec: &Spec, [x, y]: [Vector; 2], [v, w]: [Vector; 2]) -> Vector {
    let x = b.mul(x, v);
    if spec.output.number == Number::U8 {
        let y = b.mul(y, w);
        return b.add(x, y);
    }
    b.fma(x, y, w)
}

/// Blends two rows of the input, from these addresses on, into one of numbers.
fn blend_rows(b: &mut KernelBuilder, spec: &Spec, lines: &[Gpr], weights: [Vector; 2], to: Gpr) {
    const UNROLL: usize = 4;
    let vector = 4 * b.lanes();
    let [above, below, to] = [lines[0], lines[1], to].map(|p| b.var(p));
    let columns = |b: &mut KernelBuilder, n: usize| {
        for i in 0..n {
            let rows = [above, below].map(|p| {
                let mem = b.get(p).at((i * spec.input.pixel) as i32);
                sample(b, spec, mem)
            });
            let v = weighted(b, spec, rows, weights);
            let mem = b.get(to).at((i * vector) as i32);
            b.store(v, mem);
        }
    };
    b.repeat((spec.columns / UNROLL) as u64, |b| {
        columns(b, UNROLL);
        bump(b, above, UNROLL * spec.input.pixel, 0);
        bump(b, below, UNROLL * spec.input.pixel, 0);
        bump(b, to, UNROLL * vector, 0);
    });
    columns(b, spec.columns % UNROLL);
}

/// Units are `images * blocks * rows`.
fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let lanes = b.lanes();
    let (input, rows, cols) = (b.arg(0), b.arg(1), b.arg(2));
    let sides: Vec<Gpr> = (0..spec.sides.len()).map(|i| b.arg(3 + i)).collect();
    let output = b.arg(3 + sides.len());
    let blended = spec.blends_rows(target).then(|| b.scratch((spec.columns * 4 * lanes) as u32));
    let (begin, end) = (b.begin(), b.end());
    b.for_range(begin, end, 1, |b, unit| {
        let row = b.int_rem(unit, spec.out[0] as u32);
        let rest = b.int_div(unit, spec.out[0] as u32);
        let panel = b.int_rem(rest, spec.blocks as u32);
        let image = b.int_div(rest, spec.blocks as u32);
        let place = Place { image, panel, blocks: 1, row };
        let from = place.within(b, &spec.input, spec.channels, spec.blocks);
        let plane = from.of(b, input, &Strides { row: 0, ..spec.input });
        let y = place.of(b, output, &spec.output);
        let sides: Vec<Gpr> = sides.iter().zip(&spec.sides).map(|(&p, s)| place.of(b, p, &s.strides)).collect();
        let results = Results::new(b, y, &sides).behind(b, spec.f.as_ref(), false).zero_behind(
            b,
            &spec.output,
            spec.channels,
            place,
        );
        let entry = advance(b, rows, row, ENTRY);
        let lines: Vec<Gpr> = [0, 4]
            .into_iter()
            .map(|d| {
                let offset = b.int_load(IntType::U32, entry.at(d));
                b.int_add(plane, offset)
            })
            .collect();
        let down = [b.broadcast(entry.at(8)), b.broadcast(entry.at(12))];
        if let Some(row) = blended {
            blend_rows(b, spec, &lines, down, row);
        }
        let entry = b.var(cols);
        let pixels = |b: &mut KernelBuilder, n: usize| {
            let values: Vec<Vector> = (0..n)
                .map(|c| {
                    let at = b.get(entry);
                    let d = (c * ENTRY) as i32;
                    let (p, q) = (b.int_load(IntType::U32, at.at(d)), b.int_load(IntType::U32, at.at(d + 4)));
                    let (left, right) = (b.broadcast(at.at(d + 8)), b.broadcast(at.at(d + 12)));
                    let [left_one, right_one] = [p, q].map(|at| {
                        if let Some(row) = blended {
                            return b.load(row.at_index(at, 1, 0));
                        }
                        let [above, below] = [0, 1].map(|i| sample(b, spec, lines[i].at_index(at, 1, 0)));
                        weighted(b, spec, [above, below], down)
                    });
                    weighted(b, spec, [left_one, right_one], [left, right])
                })
                .collect();
            if n > 0 {
                results.store_tile(b, &spec.output, &spec.sides, &values, [1, n, 1], lanes);
            }
        };
        let width = spec.out[1];
        b.repeat((width / 4) as u64, |b| {
            pixels(b, 4);
            bump(b, entry, 4 * ENTRY, 0);
            results.bump(b, &spec.output, &spec.sides, 0, 4);
        });
        pixels(b, width % 4);
    });
    b.compile()
}
