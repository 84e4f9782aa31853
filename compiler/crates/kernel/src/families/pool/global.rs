//! Average and maximum of whole planes.

use crate::families::conv::compiled;
use crate::families::epilogue;
use crate::families::fingerprint;
use crate::families::igemm::spec::{Number, Strides};
use crate::families::sides::{byte_image_wish, from_offset, image_strides, image_wish, vectors};
use crate::families::walk::{Place, Results, bump, load};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering, Placed};
use crate::prologue::Affine;
use crate::schedule::{KernelId, Operand};
use crate::storage::Halo;
use mnnc_ir::scalar::ScalarFn;
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_vector::{CompileError, CompiledKernel, KernelBuilder, Target, Var, Vector};

/// The family.
pub struct GlobalPool;

/// Bytes whose sum fits an `i32`.
const MOST_BYTES: usize = 1 << 23;
/// Sums in flight at once.
const UNROLL: usize = 8;

#[derive(Clone, PartialEq, Debug)]
struct Spec {
    average: bool,
    images: usize,
    channels: usize,
    size: [usize; 2],
    input: Strides,
    /// Vectors of channels.
    vectors: usize,
    output: Strides,
    /// What stands for 0 in the input, and what each sum or maximum is multiplied by after that.
    zero: u8,
    factor: f32,
    /// The last vector of an image may only be stored in part.
    exact: bool,
    f: Option<ScalarFn>,
}

/// What is pooled, and how.
struct Pooled {
    x: ValueId,
    average: bool,
    /// If bytes are pooled, what they stand for.
    bytes: Option<Affine>,
}

impl Pooled {
    fn wish(&self, target: &Target) -> Wish {
        if self.bytes.is_some() {
            byte_image_wish(target, Halo::default())
        } else {
            image_wish(target, Halo::default())
        }
    }
    fn zero(&self) -> u8 {
        self.bytes.map_or(0, |a| a.zero)
    }
    /// What the sum or maximum of so many elements is multiplied by.
    fn factor(&self, elements: usize) -> f32 {
        self.bytes.map_or(1.0, |a| a.scale) / if self.average { elements as f32 } else { 1.0 }
    }
}

/// The input, if the node pools whole planes: `global_*_pool`, or a mean over the last two dimensions that keeps them.
fn pooled(view: &View) -> Option<Pooled> {
    let anchor = view.anchor?;
    let x = view.inputs.first().copied().flatten()?;
    let ty = view.graph.ty(x);
    let dims = ty.static_dims().filter(|d| d.len() == 4)?;
    let bytes = match (&view.prologue, ty.dtype) {
        (None, DType::F32) => None,
        (Some(f), DType::U8) if dims[2].checked_mul(dims[3])? <= MOST_BYTES => Some(Affine::of(f)?),
        _ => return None,
    };
    let average = match anchor.op.name {
        "global_average_pool" => true,
        "global_max_pool" => false,
        "reduce_mean" => {
            let facts = view.graph.facts(view.anchor_id?);
            let ctx = facts.of(anchor);
            let mut axes: Vec<i64> =
                ctx.const_ints(1).ok()?.into_iter().map(|a| if a < 0 { a + 4 } else { a }).collect();
            axes.sort_unstable();
            (axes == [2, 3] && view.graph.ty(view.outputs[0]).rank() == 4).then_some(true)?
        }
        _ => return None,
    };
    let scalar = view.epilogue.as_ref().is_none_or(|e| e.sides.is_empty() && epilogue::emits(&e.f));
    let size = dims.iter().try_fold(64usize, |a, &d| a.checked_mul(d))?;
    (scalar && !dims.contains(&0) && size < 1 << 31).then_some(Pooled { x, average, bytes })
}

impl Family for GlobalPool {
    fn name(&self) -> &'static str {
        "global_pool"
    }

    fn reads_prologue(&self) -> bool {
        true
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let pooled = pooled(view)?;
        Some(vec![(pooled.x, pooled.wish(target))])
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let pooled = pooled(view).ok_or_else(|| OpError::unsupported("not a global pooling"))?;
        let lanes = lo.target().lanes();
        let target = *lo.target();
        let input = lo.input(pooled.x, pooled.wish(&target))?;
        let dims = input.storage.dims.clone();
        let float = view.graph.ty(view.outputs[0]).dtype == DType::F32;
        // Only floats are stored under masks.
        let can =
            Forms { plain: float || dims[1].is_multiple_of(lanes), blocked: true, reduced: float && target.has_bf16() };
        let output = lo.output(view.outputs[0], can)?;
        let out = &output.storage;
        let blocked = out.block.is_some();
        let spec = Spec {
            average: pooled.average,
            zero: pooled.zero(),
            factor: pooled.factor(dims[2] * dims[3]),
            images: dims[0],
            channels: dims[1],
            size: [dims[2], dims[3]],
            input: image_strides(&input.storage, &dims),
            vectors: if blocked { vectors(out, &target) } else { dims[1].div_ceil(lanes) },
            output: if blocked {
                Strides { row: 0, pixel: 0, ..image_strides(out, &out.dims) }
            } else {
                let number = Number::of(out);
                Strides { image: out.strides[0], plane: number.bytes() * lanes, number, ..Strides::default() }
            },
            exact: !blocked && !dims[1].is_multiple_of(lanes),
            f: view.epilogue.as_ref().map(|e| e.f.clone()),
        };
        let key = format!("global_pool_{}_{}", lo.target(), fingerprint(&format!("{spec:?}")));
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(compile(&spec, t, &key)))?;
        let operands = vec![from_offset(&input.read(), input.storage.offset), from_offset(&output.write(), out.offset)];
        let flops = dims.iter().product::<usize>();
        lo.step(kernel, operands, dims[0] * spec.vectors, flops as u64);
        Ok(())
    }
}

/// A pooling that runs with the step that makes its input, a panel of channel blocks at a time.
pub(in crate::families) struct PoolTail {
    /// Kernel for one panel of one image. Arguments: the panel's first element, its results; units are its blocks.
    pub kernel: KernelId,
    /// Bytes that it reads from there on.
    pub read: usize,
    /// Bytes of results of a panel.
    pub bytes: usize,
    /// All results.
    pub operand: Operand,
    /// Bytes of results from image to image and from panel to panel.
    pub strides: [usize; 2],
    /// Useful operations, all images and panels.
    pub flops: usize,
}

impl GlobalPool {
    /// The pooling `view` of the blocked image `input` in panels of `blocks` blocks.
    ///
    /// # Errors
    /// If the kernel does not compile, or a size overflows.
    pub(in crate::families) fn tail(
        view: &View,
        input: &Placed,
        blocks: usize,
        lo: &mut Lowering,
    ) -> Result<PoolTail, OpError> {
        let pooled = pooled(view).ok_or_else(|| OpError::unsupported("not a global pooling"))?;
        let lanes = lo.target().lanes();
        let output = lo.output(view.outputs[0], Forms::BLOCKED)?;
        let (dims, out) = (&input.storage.dims, &output.storage);
        let from = image_strides(&input.storage, dims);
        let spec = Spec {
            average: pooled.average,
            zero: pooled.zero(),
            factor: pooled.factor(dims[2] * dims[3]),
            images: 1,
            channels: blocks * lanes,
            size: [dims[2], dims[3]],
            input: from,
            vectors: blocks,
            output: Strides {
                image: out.strides[0],
                plane: out.strides[1],
                number: Number::of(out),
                ..Strides::default()
            },
            exact: false,
            f: view.epilogue.as_ref().map(|e| e.f.clone()),
        };
        let key = format!("global_pool_{}_{}", lo.target(), fingerprint(&format!("{spec:?}")));
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(compile(&spec, t, &key)))?;
        Ok(PoolTail {
            kernel,
            read: (blocks - 1) * from.plane + (dims[2] - 1) * from.row + dims[3] * from.pixel,
            bytes: (blocks - 1) * out.strides[1] + Number::of(out).bytes() * lanes,
            operand: from_offset(&output.write(), out.offset),
            strides: [out.strides[0], blocks * out.strides[1]],
            flops: dims.iter().product(),
        })
    }
}

fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let lanes = b.lanes();
    let blocks = spec.vectors;
    let (input, output) = (b.arg(0), b.arg(1));
    let (begin, end) = (b.begin(), b.end());
    b.for_range(begin, end, 1, |b, unit| {
        let panel = b.int_rem(unit, blocks as u32);
        let image = b.int_div(unit, blocks as u32);
        let row = b.int(0);
        let place = Place { image, panel, blocks: 1, row };
        let from = place.within(b, &spec.input, spec.channels, blocks).of(b, input, &spec.input);
        let to = place.of(b, output, &spec.output);
        let [rows, cols] = spec.size;
        let at = b.var(from);
        let acc: Vec<Var<Vector>> = (0..UNROLL)
            .map(|_| {
                let zero = spec.average || spec.input.number == Number::U8;
                let start = if zero { b.zero() } else { b.splat(f32::NEG_INFINITY) };
                b.var(start)
            })
            .collect();
        let take = |b: &mut KernelBuilder, n: usize| {
            for (i, &var) in acc[..n].iter().enumerate() {
                let mem = b.get(at).at((i * spec.input.pixel) as i32);
                let old = b.get(var);
                let new = match (spec.average, spec.input.number) {
                    (average, Number::U8) => {
                        let v = load(b, Number::U8, mem);
                        if average { b.add_i32(old, v) } else { b.max_i32(old, v) }
                    }
                    (true, Number::F32) => b.add(old, mem),
                    (false, Number::F32) => b.max(old, mem),
                    (average, number) => {
                        let v = load(b, number, mem);
                        if average { b.add(old, v) } else { b.max(old, v) }
                    }
                };
                b.set(var, new);
            }
        };
        b.repeat(rows as u64, |b| {
            b.repeat((cols / UNROLL) as u64, |b| {
                take(b, UNROLL);
                bump(b, at, UNROLL * spec.input.pixel, 0);
            });
            take(b, cols % UNROLL);
            bump(b, at, spec.input.row, (cols - cols % UNROLL) * spec.input.pixel);
        });
        let mut parts: Vec<Vector> = acc.iter().map(|&v| b.get(v)).collect();
        let bytes = spec.input.number == Number::U8;
        while parts.len() > 1 {
            let join = |p: &[Vector]| match (spec.average, bytes) {
                (true, false) => b.add(p[0], p[1]),
                (false, false) => b.max(p[0], p[1]),
                (true, true) => b.add_i32(p[0], p[1]),
                (false, true) => b.max_i32(p[0], p[1]),
            };
            parts = parts.chunks(2).map(join).collect();
        }
        let mut value = parts[0];
        if bytes {
            let zero = usize::from(spec.zero) * if spec.average { rows * cols } else { 1 };
            value = b.sub_i32(value, zero as i32);
            value = b.i32_to_f32(value);
        }
        if spec.factor != 1.0 {
            value = b.mul(value, spec.factor);
        }
        if let Some(f) = &spec.f {
            value = epilogue::emit(b, f, &mut |_, _| value);
        }
        if spec.exact {
            let done = b.int_mul(panel, lanes as i32);
            let total = b.int(spec.channels as i64);
            let left = b.int_sub(total, done);
            let mask = b.tail_mask_dyn(left);
            b.store_masked(value, to.at(0), mask);
        } else {
            let results = Results::new(b, to, &[]).zero_behind(b, &spec.output, spec.channels, place);
            results.store(b, &spec.output, &[], value, [0, 0, 0], lanes);
        }
    });
    b.compile()
}
