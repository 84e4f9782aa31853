//! Blocks of channels of bytes to planes: what leaves the images of a quantised network.

use crate::families::walk::{advance, bump};
use crate::storage::Storage;
use mnnc_ir::DType;
use mnnc_vector::{CompileError, CompiledKernel, Gpr, KernelBuilder, ShuffleOp, Target, Var, Vector, Width};
use std::collections::HashMap;

/// Pixels that are done together: a square of bytes with as many channels.
const GROUP: usize = 16;

/// A copy of an image in blocks to planes; its arguments are source and destination, both at their element 0. Units are rows of images.
#[derive(Clone, PartialEq, Debug)]
pub struct Planes {
    /// Batch elements, channels, rows, columns.
    dims: [usize; 4],
    /// Channels of a block.
    block: usize,
    /// Bytes from image to image, block to block, row to row, pixel to pixel.
    from: [usize; 4],
    /// Bytes from image to image, channel to channel, row to row of the planes.
    to: [usize; 3],
}

impl Planes {
    /// The copy from one storage to another, if it is one.
    pub fn new(from: &Storage, to: &Storage) -> Option<Planes> {
        let &[n, c, h, w] = &to.dims[..] else { return None };
        let bytes = from.dtype == to.dtype && matches!(to.dtype, DType::U8 | DType::I8);
        let block = from.block.filter(|b| matches!(b, 4 | 8 | 16))?;
        let fits = bytes && to.is_plain() && w >= GROUP && c > 0;
        let small = from.bytes.max(to.bytes) < 1 << 31;
        (fits && small).then(|| Planes {
            dims: [n, c, h, w],
            block,
            from: [0, 1, 2, 3].map(|d| from.strides[d]),
            to: [0, 1, 2].map(|d| to.strides[d]),
        })
    }

    /// Number of units.
    pub fn units(&self) -> usize {
        self.dims[0] * self.dims[2]
    }

    /// Full name of the kernel.
    pub fn name(&self, target: &Target) -> String {
        format!("copy_planes_{target}_{}", crate::families::fingerprint(&format!("{self:?}")))
    }

    /// The kernel.
    ///
    /// # Errors
    /// If it does not compile.
    pub fn compile(&self, target: &Target) -> Result<CompiledKernel, CompileError> {
        let mut b = KernelBuilder::new(target, &self.name(target));
        let [_, channels, rows, _] = self.dims;
        let (image, planes) = (b.arg(0), b.arg(1));
        let (begin, end) = (b.begin(), b.end());
        b.for_range(begin, end, 1, |b, unit| {
            let row = b.int_rem(unit, rows as u32);
            let n = b.int_div(unit, rows as u32);
            let place = |b: &mut KernelBuilder, p: Gpr, [image, line]: [usize; 2]| {
                let p = advance(b, p, n, image);
                let p = advance(b, p, row, line);
                b.var(p)
            };
            let src = place(b, image, [self.from[0], self.from[2]]);
            let dst = place(b, planes, [self.to[0], self.to[2]]);
            b.repeat((channels / self.block) as u64, |b| {
                self.line(b, src, dst, self.block);
                bump(b, src, self.from[1], 0);
                bump(b, dst, self.block * self.to[1], 0);
            });
            if !channels.is_multiple_of(self.block) {
                self.line(b, src, dst, channels % self.block);
            }
        });
        b.compile()
    }

    /// A row of the first `channels` channels of a block. The last group of pixels may begin in the one before.
    fn line(&self, b: &mut KernelBuilder, src: Var<Gpr>, dst: Var<Gpr>, channels: usize) {
        let cols = self.dims[3];
        let (s, d) = (b.get(src), b.get(dst));
        let (from, to) = (b.var(s), b.var(d));
        b.repeat((cols / GROUP) as u64, |b| {
            self.group(b, from, to, channels, 0);
            bump(b, from, GROUP * self.from[3], 0);
            bump(b, to, GROUP, 0);
        });
        if !cols.is_multiple_of(GROUP) {
            self.group(b, from, to, channels, GROUP - cols % GROUP);
        }
    }

    /// The pixels `skip` back from the pointers on.
    fn group(&self, b: &mut KernelBuilder, src: Var<Gpr>, dst: Var<Gpr>, channels: usize, skip: usize) {
        let (s, d) = (b.get(src), b.get(dst));
        b.with_width(Width::W128, |b| {
            let pixels: Vec<Vector> = (0..GROUP)
                .map(|p| {
                    let at = p as i32 - skip as i32;
                    b.load_part(s.at(at * self.from[3] as i32), self.block / 4)
                })
                .collect();
            let mut made = HashMap::new();
            for c in 0..channels {
                let v = riffled(b, &pixels, &mut made, 4, c);
                b.store(v, d.at((c * self.to[1]) as i32 - skip as i32));
            }
        });
    }
}

/// Vector `index` of what so many riffles make of 16 vectors of 16 bytes: each interleaves the first half of all bytes with the second, and four of them
/// transpose. Only what is asked for is made.
fn riffled(
    b: &mut KernelBuilder,
    pixels: &[Vector],
    made: &mut HashMap<(usize, usize), Vector>,
    riffles: usize,
    index: usize,
) -> Vector {
    if riffles == 0 {
        return pixels[index];
    }
    if let Some(&v) = made.get(&(riffles, index)) {
        return v;
    }
    let first = riffled(b, pixels, made, riffles - 1, index / 2);
    let second = riffled(b, pixels, made, riffles - 1, index / 2 + GROUP / 2);
    let op = if index.is_multiple_of(2) { ShuffleOp::UnpackLo8 } else { ShuffleOp::UnpackHi8 };
    let v = b.shuffle(op, first, second);
    made.insert((riffles, index), v);
    v
}
