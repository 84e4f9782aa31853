//! Planes of bytes to pixels of four channels: what a first layer on bytes reads.

use crate::families::walk::{advance, bump};
use crate::storage::Storage;
use mnnc_ir::DType;
use mnnc_vector::{CompileError, CompiledKernel, KernelBuilder, ShuffleOp, Target, Vector, Width};

/// Pixels that are done together: a vector of 128 bits of each channel.
const GROUP: usize = 16;

/// A copy of planes to pixels; its arguments are source and destination, both at their element 0. Units are rows of images.
#[derive(Clone, PartialEq, Debug)]
pub struct Pixels {
    /// Batch elements, channels, rows, columns.
    dims: [usize; 4],
    /// Bytes from image to image, channel to channel, row to row of the planes.
    from: [usize; 3],
    /// Bytes from image to image and from row to row of the pixels.
    to: [usize; 2],
}

impl Pixels {
    /// The copy from one storage to another, if it is one.
    pub fn new(from: &Storage, to: &Storage) -> Option<Pixels> {
        let &[n, c, h, w] = &to.dims[..] else { return None };
        let bytes = from.dtype == to.dtype && matches!(to.dtype, DType::U8 | DType::I8);
        let fits = bytes && from.is_plain() && to.block == Some(4) && (1..=4).contains(&c) && w >= GROUP;
        let small = from.bytes.max(to.bytes) < 1 << 31;
        (fits && small).then(|| Pixels {
            dims: [n, c, h, w],
            from: [0, 1, 2].map(|d| from.strides[d]),
            to: [to.strides[0], to.strides[2]],
        })
    }

    /// Number of units.
    pub fn units(&self) -> usize {
        self.dims[0] * self.dims[2]
    }

    /// Full name of the kernel.
    pub fn name(&self, target: &Target) -> String {
        format!("copy_pixels_{target}_{}", crate::families::fingerprint(&format!("{self:?}")))
    }

    /// The kernel.
    ///
    /// # Errors
    /// If it does not compile.
    pub fn compile(&self, target: &Target) -> Result<CompiledKernel, CompileError> {
        let mut b = KernelBuilder::new(target, &self.name(target));
        let [_, channels, rows, cols] = self.dims;
        let (planes, image) = (b.arg(0), b.arg(1));
        let (begin, end) = (b.begin(), b.end());
        b.for_range(begin, end, 1, |b, unit| {
            let row = b.int_rem(unit, rows as u32);
            let n = b.int_div(unit, rows as u32);
            let src = advance(b, planes, n, self.from[0]);
            let src = advance(b, src, row, self.from[2]);
            let dst = advance(b, image, n, self.to[0]);
            let dst = advance(b, dst, row, self.to[1]);
            let (src, dst) = (b.var(src), b.var(dst));
            // The pixels `skip` back from the pointers on: the last group of a row may begin in the one before.
            let group = |b: &mut KernelBuilder, skip: usize| {
                let (s, d) = (b.get(src), b.get(dst));
                b.with_width(Width::W128, |b| {
                    let of: Vec<Vector> = (0..4)
                        .map(|c| {
                            let at = (c * self.from[1]) as i32 - skip as i32;
                            if c < channels { b.load(s.at(at)) } else { b.zero() }
                        })
                        .collect();
                    for (half, bytes, words) in [
                        (0, ShuffleOp::UnpackLo8, [ShuffleOp::UnpackLo16, ShuffleOp::UnpackHi16]),
                        (1, ShuffleOp::UnpackHi8, [ShuffleOp::UnpackLo16, ShuffleOp::UnpackHi16]),
                    ] {
                        let (low, high) = (b.shuffle(bytes, of[0], of[1]), b.shuffle(bytes, of[2], of[3]));
                        for (quarter, op) in words.into_iter().enumerate() {
                            let v = b.shuffle(op, low, high);
                            b.store(v, d.at((32 * half + 16 * quarter) as i32 - 4 * skip as i32));
                        }
                    }
                });
            };
            b.repeat((cols / GROUP) as u64, |b| {
                group(b, 0);
                bump(b, src, GROUP, 0);
                bump(b, dst, 4 * GROUP, 0);
            });
            if !cols.is_multiple_of(GROUP) {
                group(b, GROUP - cols % GROUP);
            }
        });
        b.compile()
    }
}
