//! Copies that round to bf16, and back: what lies between a value's two kinds of forms.

use crate::families::elementwise::blocked;
use crate::families::igemm::spec::Number;
use crate::families::sides::{Side, image_strides, vectors};
use crate::families::walk::{advance, bump};
use crate::storage::Storage;
use mnnc_ir::scalar::ScalarBuilder;
use mnnc_ir::{DType, OpError};
use mnnc_vector::{CompileError, CompiledKernel, Elem, KernelBuilder, Target, Vector};

/// Elements of a unit of a row-major tensor.
const CHUNK: usize = 2048;

/// A kernel that rounds or widens; its arguments are source and destination, both at their element 0.
#[derive(Clone, PartialEq, Debug)]
pub enum Convert {
    /// Between blocks of one vector of `f32` and of two of bf16.
    Blocks(blocked::Spec),
    /// Row-major to row-major, so many elements: a multiple of the lanes.
    Rows(usize),
    /// Planes of few channels to pixels of four.
    Pixels {
        /// Batch elements, channels, rows, columns.
        dims: [usize; 4],
        /// Bytes from image to image, channel to channel, row to row of the planes.
        from: [usize; 3],
        /// Bytes from image to image and row to row of the pixels.
        to: [usize; 2],
    },
}

impl Convert {
    /// The kernel for a copy from one storage to another, if one fits.
    pub fn new(from: &Storage, to: &Storage, target: &Target) -> Option<Convert> {
        let lanes = target.lanes();
        if !target.has_bf16() || from.bytes.max(to.bytes) >= 1 << 31 {
            return None;
        }
        let in_blocks = |s: &Storage| s.block == Some(lanes) || s.half() > 0;
        let elements = from.dims.iter().product::<usize>();
        match (from.is_plain(), to.is_plain()) {
            _ if in_blocks(from) && in_blocks(to) => {
                let dims = to.dims.clone();
                let strides = image_strides(from, &dims);
                let mut b = ScalarBuilder::new();
                let same = b.arg(0, DType::F32);
                Some(Convert::Blocks(blocked::Spec {
                    images: dims[0],
                    blocks: vectors(to, target),
                    channels: dims[1],
                    size: [dims[2], dims[3]],
                    output: image_strides(to, &dims),
                    f: b.finish(same),
                    sides: vec![Side { strides, splat: false }],
                    bounded: true,
                }))
            }
            (true, true) if from.dtype == DType::F32 && to.dtype == DType::BF16 && elements.is_multiple_of(lanes) => {
                Some(Convert::Rows(elements))
            }
            (true, false)
                if from.dtype == DType::F32 && to.block == Some(4) && to.dtype == DType::BF16 && to.dims[1] <= 4 =>
            {
                Some(Convert::Pixels {
                    dims: [0, 1, 2, 3].map(|d| to.dims[d]),
                    from: [0, 1, 2].map(|d| from.strides[d]),
                    to: [to.strides[0], to.strides[2]],
                })
            }
            _ => None,
        }
    }

    /// Number of units.
    pub fn units(&self) -> usize {
        match self {
            Convert::Blocks(spec) => spec.units(),
            Convert::Rows(n) => n.div_ceil(CHUNK),
            Convert::Pixels { dims, .. } => dims[0] * dims[2],
        }
    }

    /// Full name of the kernel.
    pub fn name(&self, target: &Target) -> String {
        let kind = match self {
            Convert::Blocks(_) => "blocks",
            Convert::Rows(_) => "rows",
            Convert::Pixels { .. } => "pixels",
        };
        format!("convert_{kind}_{target}_{}", crate::families::fingerprint(&format!("{self:?}")))
    }

    /// The kernel.
    ///
    /// # Errors
    /// If it does not compile.
    pub fn compile(&self, target: &Target) -> Result<CompiledKernel, OpError> {
        let name = self.name(target);
        let compiled = match self {
            Convert::Blocks(spec) => blocked::compile(spec, target, &name),
            Convert::Rows(n) => rows(*n, target, &name),
            Convert::Pixels { dims, from, to } => pixels(*dims, *from, *to, target, &name),
        };
        crate::families::conv::compiled(compiled)
    }
}

fn rows(elements: usize, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let lanes = b.lanes();
    let (from, to) = (b.arg(0), b.arg(1));
    let (begin, end) = (b.begin(), b.end());
    b.for_range(begin, end, 1, |b, unit| {
        let first = b.int_mul(unit, CHUNK as i32);
        let total = b.int(elements as i64);
        let left = b.int_sub(total, first);
        let here = b.int_min(left, CHUNK as i32);
        let here = b.int_div(here, lanes as u32);
        let (from, to) = (advance(b, from, unit, 4 * CHUNK), advance(b, to, unit, 2 * CHUNK));
        let (from, to) = (b.var(from), b.var(to));
        b.repeat_dyn(here, |b| {
            let v = b.get(from).at(0);
            let v = b.load(v);
            let mem = b.get(to).at(0);
            b.store_convert(Elem::Bf16, v, mem);
            bump(b, from, 4 * lanes, 0);
            bump(b, to, 2 * lanes, 0);
        });
    });
    b.compile()
}

/// Units are rows of images.
fn pixels(
    [_, channels, rows, cols]: [usize; 4],
    from: [usize; 3],
    to: [usize; 2],
    target: &Target,
    name: &str,
) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let lanes = b.lanes();
    let (planes, image) = (b.arg(0), b.arg(1));
    let tail = cols % lanes;
    if tail > 0 {
        b.tail_mask(tail);
    }
    let (begin, end) = (b.begin(), b.end());
    b.for_range(begin, end, 1, |b, unit| {
        let row = b.int_rem(unit, rows as u32);
        let n = b.int_div(unit, rows as u32);
        let src = advance(b, planes, n, from[0]);
        let src = advance(b, src, row, from[2]);
        let dst = advance(b, image, n, to[0]);
        let dst = advance(b, dst, row, to[1]);
        let (src, dst) = (b.var(src), b.var(dst));
        let group = |b: &mut KernelBuilder, n: usize| {
            let (s, d) = (b.get(src), b.get(dst));
            let bits: Vec<Vector> = (0..channels)
                .map(|c| {
                    let v = b.load_part(s.at((c * from[1]) as i32), n);
                    round(b, v)
                })
                .collect();
            let pair = |b: &mut KernelBuilder, c: usize| match (bits.get(c), bits.get(c + 1)) {
                (None, _) => b.zero(),
                (Some(&low), None) => b.shr_u32(low, 16),
                (Some(&low), Some(&high)) => {
                    let low = b.shr_u32(low, 16);
                    let high = b.and(high, 0xffff_0000u32);
                    b.or(low, high)
                }
            };
            let (low, high) = (pair(b, 0), pair(b, 2));
            let (first, second) = b.interleave(low, high);
            b.store_part(first, d.at(0), lanes.min(2 * n));
            if 2 * n > lanes {
                b.store_part(second, d.at(4 * lanes as i32), 2 * n - lanes);
            }
        };
        b.repeat((cols / lanes) as u64, |b| {
            group(b, lanes);
            bump(b, src, 4 * lanes, 0);
            bump(b, dst, 8 * lanes, 0);
        });
        if tail > 0 {
            group(b, tail);
        }
    });
    b.compile()
}

/// Bits whose upper half is the nearest bf16, ties to even; NaN stays NaN.
fn round(b: &mut KernelBuilder, v: Vector) -> Vector {
    let odd = b.shr_u32(v, 16);
    let odd = b.and(odd, 1);
    let sum = b.add_i32(v, 0x7fff);
    let sum = b.add_i32(sum, odd);
    let nan = b.ne(v, v);
    let quiet = b.or(v, 0x0040_0000u32);
    b.select(nan, quiet, sum)
}

/// Whether a copy has to do with bf16.
pub fn converts(from: &Storage, to: &Storage) -> bool {
    [from, to].map(Number::of).contains(&Number::Bf16)
}
