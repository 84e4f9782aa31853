//! Linear interpolation of images in channel blocks: four vectors an output pixel, positions and weights from tables.

use crate::families::conv::{compiled, weights};
use crate::families::fingerprint;
use crate::families::igemm::spec::Strides;
use crate::families::sides::{Side, fits_image, from_offset, image_strides, image_wishes, place_image};
use crate::families::walk::{Place, Results, advance, bump};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use crate::storage::Halo;
use mnnc_ir::scalar::ScalarFn;
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_ops::family::resize::{Samples, linear_samples};
use mnnc_vector::{CompileError, CompiledKernel, Gpr, IntType, KernelBuilder, Target};

/// The family.
pub struct LinearResize;

/// Bytes of a table entry: two positions in bytes, two weights.
const ENTRY: usize = 16;

#[derive(Clone, PartialEq, Debug)]
struct Spec {
    blocks: usize,
    out: [usize; 2],
    input: Strides,
    output: Strides,
    f: Option<ScalarFn>,
    sides: Vec<Side>,
}

fn read(view: &View) -> Option<(ValueId, [Samples; 2])> {
    let anchor = view.anchor.filter(|a| a.op.name == "resize")?;
    let g = view.graph;
    let x = view.inputs.first().copied().flatten()?;
    let dims = g.ty(x).static_dims().filter(|d| g.ty(x).dtype == DType::F32 && d.len() == 4)?;
    let out = g.ty(view.outputs[0]).static_dims().filter(|d| d.len() == 4 && !d.contains(&0))?;
    let facts = g.facts(view.anchor_id?);
    let samples = linear_samples(&facts.of(anchor)).ok()??;
    let [(2, rows), (3, cols)] = &samples[..] else { return None };
    let small =
        |d: &[usize]| d.iter().try_fold(64usize, |a, &n| a.checked_mul(n)).is_some_and(|b| b > 0 && b < 1 << 31);
    (small(&dims) && small(&out) && fits_image(view, &out)).then(|| (x, [rows.clone(), cols.clone()]))
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

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let mut wishes = vec![(read(view)?.0, Wish::Blocked(Halo::default()))];
        wishes.extend(image_wishes(view, target));
        Some(wishes)
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let (x, [rows, cols]) = read(view).ok_or_else(|| OpError::unsupported("not a linear resize of images"))?;
        let input = lo.input(x, Wish::Blocked(Halo::default()))?;
        let output = lo.output(view.outputs[0], Forms::BLOCKED)?;
        let dims = output.storage.dims.clone();
        let epilogue = place_image(view.epilogue.as_ref(), lo, &output.storage)?;
        let spec = Spec {
            blocks: dims[1].div_ceil(lo.target().lanes()),
            out: [dims[2], dims[3]],
            input: image_strides(&input.storage, &input.storage.dims),
            output: image_strides(&output.storage, &dims),
            f: epilogue.f,
            sides: epilogue.sides,
        };
        let mut operands = vec![from_offset(&input.read(), input.storage.offset)];
        operands.push(weights(lo, "resize.rows", table(&rows, spec.input.row)));
        operands.push(weights(lo, "resize.columns", table(&cols, spec.input.pixel)));
        operands.extend(epilogue.operands);
        operands.push(from_offset(&output.write(), output.storage.offset));
        let key =
            format!("linear_resize_{}x{}_{}_{}", dims[2], dims[3], lo.target(), fingerprint(&format!("{spec:?}")));
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(compile(&spec, t, &key)))?;
        lo.step(kernel, operands, dims[0] * spec.blocks * dims[2], (8 * dims.iter().product::<usize>()) as u64);
        Ok(())
    }
}

/// Units are `images * blocks * rows`.
fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let lanes = b.lanes();
    let (input, rows, cols) = (b.arg(0), b.arg(1), b.arg(2));
    let sides: Vec<Gpr> = (0..spec.sides.len()).map(|i| b.arg(3 + i)).collect();
    let output = b.arg(3 + sides.len());
    let (begin, end) = (b.begin(), b.end());
    b.for_range(begin, end, 1, |b, unit| {
        let row = b.int_rem(unit, spec.out[0] as u32);
        let rest = b.int_div(unit, spec.out[0] as u32);
        let panel = b.int_rem(rest, spec.blocks as u32);
        let image = b.int_div(rest, spec.blocks as u32);
        let place = Place { image, panel, blocks: 1, row };
        let plane = place.of(b, input, &Strides { row: 0, ..spec.input });
        let y = place.of(b, output, &spec.output);
        let sides: Vec<Gpr> = sides.iter().zip(&spec.sides).map(|(&p, s)| place.of(b, p, &s.strides)).collect();
        let results = Results::new(b, y, &sides).behind(b, spec.f.as_ref(), false);
        let entry = advance(b, rows, row, ENTRY);
        let lines: Vec<Gpr> = [0, 4]
            .into_iter()
            .map(|d| {
                let offset = b.int_load(IntType::U32, entry.at(d));
                b.int_add(plane, offset)
            })
            .collect();
        let (upper, lower) = (b.broadcast(entry.at(8)), b.broadcast(entry.at(12)));
        let entry = b.var(cols);
        let pixels = |b: &mut KernelBuilder, n: usize| {
            for c in 0..n {
                let at = b.get(entry);
                let d = (c * ENTRY) as i32;
                let (p, q) = (b.int_load(IntType::U32, at.at(d)), b.int_load(IntType::U32, at.at(d + 4)));
                let (left, right) = (b.broadcast(at.at(d + 8)), b.broadcast(at.at(d + 12)));
                let along: Vec<_> = lines
                    .iter()
                    .map(|line| {
                        let v = b.load(line.at_index(p, 1, 0));
                        let v = b.mul(v, left);
                        let w = b.load(line.at_index(q, 1, 0));
                        b.fma(v, w, right)
                    })
                    .collect();
                let v = b.mul(along[0], upper);
                let v = b.fma(v, along[1], lower);
                results.store(b, &spec.output, &spec.sides, v, [0, c, 0], lanes);
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
