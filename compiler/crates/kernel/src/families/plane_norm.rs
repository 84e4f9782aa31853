//! Instance and group normalisation of images in channel blocks. A unit is what shares vectors: one block of channels, or the blocks of
//! one group. Statistics are summed row by row, then over the rows, so that large planes lose no digits.

use crate::families::conv::{compiled, weights};
use crate::families::fingerprint;
use crate::families::igemm::pack;
use crate::families::igemm::spec::Strides;
use crate::families::sides::{Side, fits_image, from_offset, image_strides, image_wishes, place_image};
use crate::families::walk::{Place, Results, advance, bump};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use crate::storage::Halo;
use mnnc_ir::scalar::ScalarFn;
use mnnc_ir::{DType, OpError, Tensor, ValueId};
use mnnc_vector::{CompileError, CompiledKernel, Gpr, KernelBuilder, Target, Var, Vector};

/// The family.
pub struct PlaneNorm;

/// Sums in flight at once.
const UNROLL: usize = 8;

#[derive(Clone, PartialEq, Debug)]
struct Spec {
    images: usize,
    /// Units of an image, and blocks of a unit.
    units: usize,
    blocks: usize,
    /// Neighbouring lanes that share their statistics, a power of two.
    lanes_together: usize,
    /// Elements of a group.
    count: usize,
    size: [usize; 2],
    epsilon: f32,
    input: Strides,
    output: Strides,
    f: Option<ScalarFn>,
    sides: Vec<Side>,
}

struct Node {
    x: ValueId,
    scale: ValueId,
    bias: ValueId,
    /// Channels of a group.
    together: usize,
    epsilon: f32,
}

fn read(view: &View, target: &Target) -> Option<Node> {
    let anchor = view.anchor?;
    let g = view.graph;
    let facts = g.facts(view.anchor_id?);
    let ctx = facts.of(anchor);
    let input = |i: usize| view.inputs.get(i).copied().flatten();
    let (x, scale, bias) = (input(0)?, input(1)?, input(2)?);
    let dims = g.ty(x).static_dims().filter(|d| g.ty(x).dtype == DType::F32 && d.len() == 4)?;
    let groups = match anchor.op.name {
        "instance_normalization" => dims[1],
        "group_normalization" => usize::try_from(ctx.int("num_groups")?).ok().filter(|&n| n > 0)?,
        _ => return None,
    };
    let together = dims[1].checked_div(groups)?;
    let lanes = target.lanes();
    let regular = together * groups == dims[1]
        && ((together.is_power_of_two() && together <= lanes) || (together > 0 && together.is_multiple_of(lanes)));
    let constant = |v: ValueId| g.constant(v).is_some_and(|t| t.dtype() == DType::F32 && t.len() == dims[1]);
    let bytes = dims.iter().try_fold(64usize, |a, &d| a.checked_mul(d))?;
    let fits = regular && constant(scale) && constant(bias) && bytes > 0 && bytes < 1 << 31 && fits_image(view, &dims);
    fits.then_some(Node { x, scale, bias, together, epsilon: ctx.float("epsilon")? })
}

impl Family for PlaneNorm {
    fn name(&self) -> &'static str {
        "plane_norm"
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let node = read(view, target)?;
        let mut wishes = vec![(node.x, Wish::Blocked(Halo::default()))];
        wishes.extend(image_wishes(view, target));
        Some(wishes)
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let missing = || OpError::unsupported("not a normalisation of this family");
        let node = read(view, lo.target()).ok_or_else(missing)?;
        let lanes = lo.target().lanes();
        let input = lo.input(node.x, Wish::Blocked(Halo::default()))?;
        let output = lo.output(view.outputs[0], Forms::BLOCKED)?;
        let dims = output.storage.dims.clone();
        let epilogue = place_image(view.epilogue.as_ref(), lo, &output.storage)?;
        let blocks = dims[1].div_ceil(lanes);
        let per_unit = (node.together / lanes).max(1);
        let spec = Spec {
            images: dims[0],
            units: blocks / per_unit,
            blocks: per_unit,
            lanes_together: node.together.min(lanes),
            count: node.together * dims[2] * dims[3],
            size: [dims[2], dims[3]],
            epsilon: node.epsilon,
            input: image_strides(&input.storage, &dims),
            output: image_strides(&output.storage, &dims),
            f: epilogue.f,
            sides: epilogue.sides,
        };
        let name = lo.graph().node(view.node).name.clone();
        let mut operands = vec![from_offset(&input.read(), input.storage.offset)];
        for (what, v) in [("scale", node.scale), ("bias", node.bias)] {
            let values: Vec<f32> = lo.constant(v).map(Tensor::to_vec).ok_or_else(missing)?;
            operands.push(weights(lo, &format!("{name}.{what}"), pack::pack_channels(&values, 0, blocks * lanes)));
        }
        operands.extend(epilogue.operands);
        operands.push(from_offset(&output.write(), output.storage.offset));
        let key = format!("plane_norm_{}x{}_{}_{}", dims[2], dims[3], lo.target(), fingerprint(&format!("{spec:?}")));
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(compile(&spec, t, &key)))?;
        lo.step(kernel, operands, spec.images * spec.units, (7 * dims.iter().product::<usize>()) as u64);
        Ok(())
    }
}

fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let bytes = 4 * b.lanes();
    let (input, scale, bias) = (b.arg(0), b.arg(1), b.arg(2));
    let sides: Vec<Gpr> = (0..spec.sides.len()).map(|i| b.arg(3 + i)).collect();
    let output = b.arg(3 + sides.len());
    let (begin, end) = (b.begin(), b.end());
    b.for_range(begin, end, 1, |b, unit| {
        let group = b.int_rem(unit, spec.units as u32);
        let image = b.int_div(unit, spec.units as u32);
        let row = b.int(0);
        let place = Place { image, panel: group, blocks: spec.blocks, row };
        let from = place.of(b, input, &spec.input);
        let share = 1.0 / spec.count as f32;
        let sum = statistic(b, spec, from, None);
        let mean = b.mul(sum, share);
        let squares = statistic(b, spec, from, Some(mean));
        let variance = b.mul(squares, share);
        let variance = b.add(variance, spec.epsilon);
        let deviation = b.sqrt(variance);
        let one = b.splat(1.0f32);
        let inverse = b.div(one, deviation);

        let first = b.int_mul(group, spec.blocks as i32);
        b.for_range(0, spec.blocks as i32, 1, |b, j| {
            let panel = b.int_add(first, j);
            let here = Place { image, panel, blocks: 1, row };
            let (scale, bias) = (advance(b, scale, panel, bytes), advance(b, bias, panel, bytes));
            let factor = b.load(scale.at(0));
            let factor = b.mul(factor, inverse);
            let shift = b.load(bias.at(0));
            let x = here.of(b, input, &spec.input);
            let at: Var<Gpr> = b.var(x);
            let y = here.of(b, output, &spec.output);
            let sides: Vec<Gpr> = sides.iter().zip(&spec.sides).map(|(&p, s)| here.of(b, p, &s.strides)).collect();
            let results = Results::new(b, y, &sides).behind(b, spec.f.as_ref(), false);
            let pixels = |b: &mut KernelBuilder, n: usize| {
                for c in 0..n {
                    let v = b.load(b.get(at).at((c * spec.input.pixel) as i32));
                    let v = b.sub(v, mean);
                    let v = b.fma(shift, v, factor);
                    results.store(b, &spec.output, &spec.sides, v, [0, c, 0], bytes / 4);
                }
            };
            let [rows, cols] = spec.size;
            let whole = cols - cols % 4;
            b.repeat(rows as u64, |b| {
                b.repeat((cols / 4) as u64, |b| {
                    pixels(b, 4);
                    bump(b, at, 4 * spec.input.pixel, 0);
                    results.bump(b, &spec.output, &spec.sides, 0, 4);
                });
                pixels(b, cols % 4);
                bump(b, at, spec.input.row, whole * spec.input.pixel);
                results.bump(b, &spec.output, &spec.sides, 1, -(whole as isize));
            });
        });
    });
    b.compile()
}

/// The sum of a unit's elements, or of their squared deviations, in all lanes that belong together.
fn statistic(b: &mut KernelBuilder, spec: &Spec, from: Gpr, mean: Option<Vector>) -> Vector {
    let zero = b.zero();
    let total: Var<Vector> = b.var(zero);
    let at: Var<Gpr> = b.var(from);
    let [rows, cols] = spec.size;
    b.repeat(spec.blocks as u64, |b| {
        b.repeat(rows as u64, |b| {
            let acc: Vec<Var<Vector>> = (0..UNROLL)
                .map(|_| {
                    let zero = b.zero();
                    b.var(zero)
                })
                .collect();
            let take = |b: &mut KernelBuilder, n: usize| {
                for (c, &var) in acc[..n].iter().enumerate() {
                    let mem = b.get(at).at((c * spec.input.pixel) as i32);
                    let old = b.get(var);
                    let new = match mean {
                        None => b.add(old, mem),
                        Some(mean) => {
                            let v = b.load(mem);
                            let v = b.sub(v, mean);
                            b.fma(old, v, v)
                        }
                    };
                    b.set(var, new);
                }
            };
            b.repeat((cols / UNROLL) as u64, |b| {
                take(b, UNROLL);
                bump(b, at, UNROLL * spec.input.pixel, 0);
            });
            take(b, cols % UNROLL);
            bump(b, at, spec.input.row, (cols - cols % UNROLL) * spec.input.pixel);
            let mut parts: Vec<Vector> = acc.iter().map(|&v| b.get(v)).collect();
            while parts.len() > 1 {
                parts = parts.chunks(2).map(|p| b.add(p[0], p[1])).collect();
            }
            let old = b.get(total);
            let new = b.add(old, parts[0]);
            b.set(total, new);
        });
        bump(b, at, spec.input.plane, rows * spec.input.row);
    });
    let mut sum = b.get(total);
    let lanes = b.lanes() as u32;
    let mut apart = 1;
    while apart < spec.lanes_together as u32 {
        // Each lane adds the lane across; after the last step all that belong together hold the sum.
        let across: Vec<u32> = (0..lanes).map(|i| i ^ apart).collect();
        let other = b.permute(sum, &across);
        sum = b.add(sum, other);
        apart *= 2;
    }
    sum
}
