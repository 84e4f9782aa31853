//! Quantisation at run time: the largest magnitude of a row, of a pixel or of an image, and the bytes that it scales.
//!
//! Pixels of an image in channel blocks are done `lanes` at a time: the maxima over blocks, lane by lane, are transposed, and one vector then
//! holds the maximum of each pixel. An image takes three steps, so that threads share it: the maxima of planes, of all of them, the bytes.

use crate::families::conv::compiled;
use crate::families::fingerprint;
use crate::families::igemm::spec::Strides;
use crate::families::sides::image_strides;
use crate::families::tile::split_evenly;
use crate::families::walk::{advance, bump};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use crate::schedule::{Access, Operand};
use crate::storage::Halo;
use mnnc_ir::{OpError, ValueId};
use mnnc_ops::family::quant::rows::{LEAST, SIGNED};
use mnnc_vector::{CompileError, CompiledKernel, Elem, Gpr, KernelBuilder, Mask, Target, Var, Vector};

/// The family.
pub struct QuantizeRows;

/// What shares a scale.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Shared {
    /// The elements of a row: the last dimension.
    Row,
    /// The channels of a pixel.
    Pixel,
    /// An image.
    Image,
}

/// A node that the family takes.
struct Node {
    x: ValueId,
    dims: Vec<usize>,
    shared: Shared,
    /// The zero point: 128, or 0 where no element is negative.
    zero: i32,
}

impl Node {
    fn read(view: &View, target: &Target) -> Option<Node> {
        let anchor = view.anchor.filter(|a| a.op.name == "dynamic_quantize_rows")?;
        let facts = view.graph.facts(view.anchor_id?);
        let ctx = facts.of(anchor);
        let x = view.inputs.first().copied().flatten()?;
        let dims = view.graph.ty(x).static_dims()?;
        let rank = dims.len() as i64;
        let mut axes: Vec<i64> = ctx.ints("axes")?.into_iter().map(|a| if a < 0 { a + rank } else { a }).collect();
        axes.sort_unstable();
        let shared = match axes[..] {
            [a] if a + 1 == rank && dims.last()?.is_multiple_of(target.lanes()) => Shared::Row,
            [1] if rank == 4 => Shared::Pixel,
            [1, 2, 3] if rank == 4 => Shared::Image,
            _ => return None,
        };
        // Addresses inside an image are 32-bit displacements.
        let bytes = dims.iter().try_fold(64usize, |n, &d| n.checked_mul(d.max(1)))?.checked_mul(2)?;
        let fits = bytes < 1 << 31 && !dims.contains(&0);
        let zero = ctx.int("zero_point").unwrap_or(SIGNED) as i32;
        fits.then_some(Node { x, dims, shared, zero })
    }

    fn wish(&self) -> Wish {
        if self.shared == Shared::Row { Wish::Plain } else { Wish::Blocked(Halo::default()) }
    }
}

impl Family for QuantizeRows {
    fn name(&self) -> &'static str {
        "quantize_rows"
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let node = Node::read(view, target)?;
        Some(vec![(node.x, node.wish())])
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let target = *lo.target();
        let node =
            Node::read(view, &target).ok_or_else(|| OpError::unsupported("not a quantisation of this family"))?;
        let x = lo.input(node.x, node.wish())?;
        let forms = if node.shared == Shared::Row { Forms::PLAIN } else { Forms::BLOCKED };
        let [y, scale] = [0, 1].map(|i| lo.output(view.outputs[i], forms));
        let (y, scale) = (y?, scale?);
        let from = |o: Operand, offset: usize| Operand { offset: o.offset + offset, bytes: o.bytes - offset, ..o };
        let operands = vec![
            from(x.read(), x.storage.offset),
            from(y.write(), y.storage.offset),
            from(scale.write(), scale.storage.offset),
        ];
        let elements: usize = node.dims.iter().product();
        let flops = 3 * elements as u64;
        if node.shared == Shared::Row {
            let depth = node.dims[node.dims.len() - 1];
            let key = format!("quantize_rows_{depth}z{}_{target}", node.zero);
            let kernel = lo.cached_kernel(key.clone(), |t| compiled(rows(depth, node.zero, t, &key)))?;
            lo.step(kernel, operands, elements / depth, flops);
            return Ok(());
        }
        let spec = Spec {
            channels: node.dims[1],
            size: [node.dims[2], node.dims[3]],
            input: image_strides(&x.storage, &node.dims),
            output: image_strides(&y.storage, &node.dims),
            scale: image_strides(&scale.storage, &scale.storage.dims),
            zero: node.zero,
        };
        let key = |what: &str| format!("quantize_{what}_{target}_{}", fingerprint(&format!("{spec:?}")));
        let images = node.dims[0];
        if node.shared == Shared::Pixel {
            let key = key("pixels");
            let kernel = lo.cached_kernel(key.clone(), |t| compiled(spec.pixels(t, &key)))?;
            lo.step(kernel, operands, images * spec.size[0], flops);
            return Ok(());
        }
        let [x, y, scale] = &operands[..] else { return Err(OpError::invalid("three operands expected")) };
        let blocks = spec.channels.div_ceil(target.lanes());
        let vector = 4 * target.lanes();
        let bytes = images * (blocks + 1) * vector;
        let maxima = lo.temp("maxima", bytes);
        let maxima = |access| Operand { buffer: maxima, offset: 0, bytes, access };
        let key_of = key("planes");
        let kernel = lo.cached_kernel(key_of.clone(), |t| compiled(spec.planes(t, &key_of)))?;
        lo.step(kernel, vec![x.clone(), maxima(Access::Write)], images * blocks, 2 * elements as u64);
        let key_of = key("maximum");
        let kernel = lo.cached_kernel(key_of.clone(), |t| compiled(spec.maximum(t, &key_of)))?;
        lo.step(kernel, vec![maxima(Access::Update), scale.clone()], images, 0);
        let key_of = key("image");
        let kernel = lo.cached_kernel(key_of.clone(), |t| compiled(spec.image(t, &key_of)))?;
        lo.step(kernel, vec![x.clone(), maxima(Access::Read), y.clone()], images * blocks, elements as u64);
        Ok(())
    }
}

/// The arithmetic that all kernels share.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Rule {
    zero: i32,
}

impl Rule {
    /// The greater of `m` and the magnitude of `x`.
    fn greater(self, b: &mut KernelBuilder, m: Vector, x: Vector) -> Vector {
        let x = if self.zero == 0 { x } else { b.abs(x) };
        b.max(x, m)
    }
    /// What elements are multiplied with, and the scale, by the largest magnitude.
    fn scales(self, b: &mut KernelBuilder, m: Vector) -> [Vector; 2] {
        let n = b.splat(if self.zero == 0 { 255f32 } else { 127f32 });
        let some = b.ge(m, LEAST);
        let none = b.zero();
        let (factor, scale) = (b.div(n, m), b.div(m, n));
        [b.select(some, factor, none), b.select(some, scale, none)]
    }
    /// The bytes of a vector, stored.
    fn store(self, b: &mut KernelBuilder, x: Vector, factor: Vector, mem: mnnc_vector::Mem) {
        let q = b.mul(x, factor);
        let q = b.f32_to_i32_nearest(q);
        let q = if self.zero == 0 { q } else { b.add_i32(q, self.zero) };
        let q = b.max_i32(q, 0);
        b.store_convert(Elem::U8, q, mem);
    }
}

/// Vectors that are maximised side by side, because each waits for the one before.
const CHAINS: usize = 4;

/// Rows of `depth` elements, whole vectors. Arguments: input, output, scales. Units are rows.
fn rows(depth: usize, zero: i32, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let rule = Rule { zero };
    let (x, y, scale) = (b.arg(0), b.arg(1), b.arg(2));
    let (begin, end) = (b.begin(), b.end());
    let lanes = b.lanes();
    let vectors = depth / lanes;
    b.for_range(begin, end, 1, |b, row| {
        let x = advance(b, x, row, 4 * depth);
        let y = advance(b, y, row, depth);
        let m = largest(b, rule, x, vectors, 4 * lanes);
        let m = b.reduce_max(m);
        let m = b.broadcast_lane(m, 0);
        let [factor, s] = rule.scales(b, m);
        let at = advance(b, scale, row, 4);
        b.store_part(s, at.at(0), 1);
        let (from, to): (Var<Gpr>, Var<Gpr>) = (b.var(x), b.var(y));
        b.repeat(vectors as u64, |b| {
            let (p, q) = (b.get(from), b.get(to));
            let v = b.load(p.at(0));
            rule.store(b, v, factor, q.at(0));
            bump(b, from, 4 * lanes, 0);
            bump(b, to, lanes, 0);
        });
    });
    b.compile()
}

/// The greatest magnitudes, lane by lane, of `count` vectors that lie `apart` bytes from each other.
fn largest(b: &mut KernelBuilder, rule: Rule, from: Gpr, count: usize, apart: usize) -> Vector {
    let chains = CHAINS.min(count);
    let zero = b.zero();
    let m: Vec<Var<Vector>> = (0..chains).map(|_| b.var(zero)).collect();
    let at = b.var(from);
    let take = |b: &mut KernelBuilder, n: usize| {
        let p = b.get(at);
        for (i, &m) in m.iter().enumerate().take(n) {
            let x = b.load(p.at((i * apart) as i32));
            let now = b.get(m);
            let next = rule.greater(b, now, x);
            b.set(m, next);
        }
        bump(b, at, n * apart, 0);
    };
    b.repeat((count / chains) as u64, |b| take(b, chains));
    take(b, count % chains);
    let all: Vec<Vector> = m.iter().map(|&m| b.get(m)).collect();
    all.into_iter().reduce(|x, y| b.max(x, y)).expect("one chain at least")
}

/// An image in blocks of channels.
#[derive(Clone, PartialEq, Debug)]
struct Spec {
    channels: usize,
    size: [usize; 2],
    input: Strides,
    output: Strides,
    scale: Strides,
    zero: i32,
}

impl Spec {
    fn rule(&self) -> Rule {
        Rule { zero: self.zero }
    }

    /// Channels of the last block, where it is not whole.
    fn rest(&self, lanes: usize) -> Option<usize> {
        Some(self.channels % lanes).filter(|&n| n > 0)
    }

    /// A scale for each pixel. Arguments: input, output, scales. Units are `images * rows`.
    fn pixels(&self, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
        let mut b = KernelBuilder::new(target, name);
        let (x, y, scale) = (b.arg(0), b.arg(1), b.arg(2));
        let (begin, end) = (b.begin(), b.end());
        let lanes = b.lanes();
        let [height, width] = self.size;
        b.for_range(begin, end, 1, |b, unit| {
            let (image, row) = (b.int_div(unit, height as u32), b.int_rem(unit, height as u32));
            let [x, y, scale] = [(x, &self.input), (y, &self.output), (scale, &self.scale)].map(|(p, s)| {
                let p = advance(b, p, image, s.image);
                let p = advance(b, p, row, s.row);
                b.var(p)
            });
            for (n, count) in split_evenly(width, lanes) {
                b.repeat(count as u64, |b| {
                    self.run_of_pixels(b, [x, y, scale], n);
                    bump(b, x, n * self.input.pixel, 0);
                    bump(b, y, n * self.output.pixel, 0);
                    bump(b, scale, n * self.scale.pixel, 0);
                });
            }
        });
        b.compile()
    }

    /// `n` pixels of a row.
    fn run_of_pixels(&self, b: &mut KernelBuilder, [x, y, scale]: [Var<Gpr>; 3], n: usize) {
        let (rule, lanes) = (self.rule(), b.lanes());
        let whole = self.channels / lanes;
        let zero = b.zero();
        let m: Vec<Var<Vector>> = (0..n).map(|_| b.var(zero)).collect();
        let start = b.get(x);
        let plane = b.var(start);
        let live = self.rest(lanes).map(|rest| b.tail_mask(rest));
        let take = |b: &mut KernelBuilder, live: Option<Mask>| {
            let p = b.get(plane);
            for (i, &m) in m.iter().enumerate() {
                let mut x = b.load(p.at((i * self.input.pixel) as i32));
                if let Some(live) = live {
                    x = b.select(live, x, zero);
                }
                let now = b.get(m);
                let next = rule.greater(b, now, x);
                b.set(m, next);
            }
            bump(b, plane, self.input.plane, 0);
        };
        b.repeat(whole as u64, |b| take(b, None));
        if live.is_some() {
            take(b, live);
        }
        let mut all: Vec<Vector> = m.iter().map(|&m| b.get(m)).collect();
        all.resize(lanes, zero);
        // Lane by lane the maximum over the vectors of lanes is that of a pixel.
        let m = b.transpose(&all).into_iter().reduce(|p, q| b.max(p, q)).expect("lanes");
        let [factor, scales] = rule.scales(b, m);
        let to = b.get(scale);
        for i in 0..n {
            let s = b.broadcast_lane(scales, i);
            b.store(s, to.at((i * self.scale.pixel) as i32));
        }
        let factors: Vec<Vector> = (0..n).map(|i| b.broadcast_lane(factor, i)).collect();
        let to = b.get(y);
        let (from, to) = (b.var(start), b.var(to));
        b.repeat(self.channels.div_ceil(lanes) as u64, |b| {
            let (p, q) = (b.get(from), b.get(to));
            for (i, &factor) in factors.iter().enumerate() {
                let x = b.load(p.at((i * self.input.pixel) as i32));
                rule.store(b, x, factor, q.at((i * self.output.pixel) as i32));
            }
            bump(b, from, self.input.plane, 0);
            bump(b, to, self.output.plane, 0);
        });
    }

    /// The vector of a unit's plane in the scratch memory: each image has one a block, then that of all.
    fn slot(&self, b: &mut KernelBuilder, base: Gpr, image: Gpr, block: Gpr) -> Gpr {
        let vector = 4 * b.lanes();
        let each = (self.blocks(b) + 1) * vector;
        let at = advance(b, base, image, each);
        advance(b, at, block, vector)
    }

    fn blocks(&self, b: &KernelBuilder) -> usize {
        self.channels.div_ceil(b.lanes())
    }

    /// The maxima of planes, lane by lane. Arguments: input, maxima. Units are `images * blocks`.
    fn planes(&self, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
        let mut b = KernelBuilder::new(target, name);
        let (x, maxima) = (b.arg(0), b.arg(1));
        let (begin, end) = (b.begin(), b.end());
        let (rule, lanes, blocks) = (self.rule(), b.lanes(), self.blocks(&b));
        let [height, width] = self.size;
        b.for_range(begin, end, 1, |b, unit| {
            let (image, block) = (b.int_div(unit, blocks as u32), b.int_rem(unit, blocks as u32));
            let from = advance(b, x, image, self.input.image);
            let from = advance(b, from, block, self.input.plane);
            let zero = b.zero();
            let (from, m) = (b.var(from), b.var(zero));
            b.repeat(height as u64, |b| {
                let p = b.get(from);
                let here = largest(b, rule, p, width, self.input.pixel);
                let now = b.get(m);
                let next = b.max(here, now);
                b.set(m, next);
                bump(b, from, self.input.row, 0);
            });
            let mut m = b.get(m);
            if self.rest(lanes).is_some() {
                let done = b.int_mul(block, lanes as i32);
                let total = b.int(self.channels as i64);
                let left = b.int_sub(total, done);
                let live = b.tail_mask_dyn(left);
                m = b.select(live, m, zero);
            }
            let to = self.slot(b, maxima, image, block);
            b.store(m, to.at(0));
        });
        b.compile()
    }

    /// The factor of each image, behind its maxima, and its scale. Arguments: maxima, scales. Units are images.
    fn maximum(&self, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
        let mut b = KernelBuilder::new(target, name);
        let (maxima, scale) = (b.arg(0), b.arg(1));
        let (begin, end) = (b.begin(), b.end());
        let (rule, vector, blocks) = (self.rule(), 4 * b.lanes(), self.blocks(&b));
        b.for_range(begin, end, 1, |b, image| {
            let from = advance(b, maxima, image, (blocks + 1) * vector);
            let m = largest(b, rule, from, blocks, vector);
            let m = b.reduce_max(m);
            let m = b.broadcast_lane(m, 0);
            let [factor, s] = rule.scales(b, m);
            b.store(factor, from.at((blocks * vector) as i32));
            let to = advance(b, scale, image, self.scale.image);
            b.store(s, to.at(0));
        });
        b.compile()
    }

    /// The bytes of an image. Arguments: input, maxima, output. Units are `images * blocks`.
    fn image(&self, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
        let mut b = KernelBuilder::new(target, name);
        let (x, maxima, y) = (b.arg(0), b.arg(1), b.arg(2));
        let (begin, end) = (b.begin(), b.end());
        let (rule, blocks) = (self.rule(), self.blocks(&b));
        let [height, width] = self.size;
        b.for_range(begin, end, 1, |b, unit| {
            let (image, block) = (b.int_div(unit, blocks as u32), b.int_rem(unit, blocks as u32));
            let last = b.int(blocks as i64);
            let at = self.slot(b, maxima, image, last);
            let factor = b.load(at.at(0));
            let [from, to] = [(x, &self.input), (y, &self.output)].map(|(p, s)| {
                let p = advance(b, p, image, s.image);
                let p = advance(b, p, block, s.plane);
                b.var(p)
            });
            b.repeat(height as u64, |b| {
                b.repeat(width as u64, |b| {
                    let (p, q) = (b.get(from), b.get(to));
                    let v = b.load(p.at(0));
                    rule.store(b, v, factor, q.at(0));
                    bump(b, from, self.input.pixel, 0);
                    bump(b, to, self.output.pixel, 0);
                });
                bump(b, from, self.input.row, width * self.input.pixel);
                bump(b, to, self.output.row, width * self.output.pixel);
            });
        });
        b.compile()
    }
}
