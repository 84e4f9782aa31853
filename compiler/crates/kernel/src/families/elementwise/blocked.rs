//! A chain over images in channel blocks.

use crate::families::epilogue::Chain;
use crate::families::igemm::spec::{Number, Strides};
use crate::families::sides::Side;
use crate::families::walk::{Place, bump, load, splat, store_part};
use mnnc_ir::scalar::ScalarFn;
use mnnc_vector::{CompileError, CompiledKernel, Elem, Gpr, KernelBuilder, Mask, Target, Var, Vector};

/// Vectors done at once, so that their latencies overlap.
const UNROLL: usize = 4;

/// What the kernel computes. Arguments: side operands, output. Units are `images * blocks`.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    /// Batch elements.
    pub images: usize,
    /// Vectors of channels.
    pub blocks: usize,
    /// Channels; what lies beyond in a block of bf16 is stored as zero.
    pub channels: usize,
    /// Rows and columns.
    pub size: [usize; 2],
    /// Output strides.
    pub output: Strides,
    /// `Arg(i)` is `sides[i]`.
    pub f: ScalarFn,
    /// Operands.
    pub sides: Vec<Side>,
    /// Whether what is converted to integers is [in range](epilogue::bounds::converts_in_range).
    pub bounded: bool,
}

impl Spec {
    /// Number of units.
    pub fn units(&self) -> usize {
        self.images * self.blocks
    }
    /// Rows and columns to walk: all rows as one where they follow each other in every operand.
    fn rows(&self) -> [usize; 2] {
        let [rows, cols] = self.size;
        let touch = |s: &Strides| s.row == cols * s.pixel;
        let one = touch(&self.output) && self.sides.iter().all(|s| touch(&s.strides));
        if one { [1, rows * cols] } else { self.size }
    }
}

/// Compiles the kernel.
pub fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let chain = Chain::new(target, &spec.f, spec.bounded);
    let sides: Vec<Gpr> = (0..spec.sides.len()).map(|i| b.arg(i)).collect();
    let output = b.arg(spec.sides.len());
    let (begin, end) = (b.begin(), b.end());
    b.for_range(begin, end, 1, |b, unit| {
        let panel = b.int_rem(unit, spec.blocks as u32);
        let image = b.int_div(unit, spec.blocks as u32);
        let row = b.int(0);
        let place = Place { image, panel, blocks: 1, row };
        let live = spec.output.fills_up(spec.channels, b.lanes()).then(|| {
            let done = b.int_mul(panel, b.lanes() as i32);
            let total = b.int(spec.channels as i64);
            let left = b.int_sub(total, done);
            b.tail_mask_dyn(left)
        });
        let at = Pointers {
            chain: &chain,
            live,
            output: {
                let p = place.of(b, output, &spec.output);
                b.var(p)
            },
            sides: sides
                .iter()
                .zip(&spec.sides)
                .map(|(&p, s)| {
                    let place = place.within(b, &s.strides, spec.channels, spec.blocks);
                    let p = place.of(b, p, &s.strides);
                    b.var(p)
                })
                .collect(),
        };
        let [rows, cols] = spec.rows();
        b.repeat(rows as u64, |b| {
            b.repeat((cols / UNROLL) as u64, |b| {
                pixels(b, spec, &at, UNROLL);
                step(b, spec, &at, 0, UNROLL as isize);
            });
            if !cols.is_multiple_of(UNROLL) {
                pixels(b, spec, &at, cols % UNROLL);
            }
            step(b, spec, &at, 1, -((cols - cols % UNROLL) as isize));
        });
    });
    b.compile()
}

struct Pointers<'a> {
    chain: &'a Chain,
    /// Lanes that are channels, where the others are stored as zero.
    live: Option<Mask>,
    output: Var<Gpr>,
    sides: Vec<Var<Gpr>>,
}

fn step(b: &mut KernelBuilder, spec: &Spec, at: &Pointers<'_>, rows: usize, pixels: isize) {
    let mut go = |p: Var<Gpr>, s: &Strides| {
        let (forward, back) = if pixels >= 0 { (pixels as usize, 0) } else { (0, pixels.unsigned_abs()) };
        bump(b, p, rows * s.row + forward * s.pixel, back * s.pixel);
    };
    go(at.output, &spec.output);
    for (&p, s) in at.sides.iter().zip(&spec.sides) {
        go(p, &s.strides);
    }
}

fn pixels(b: &mut KernelBuilder, spec: &Spec, at: &Pointers<'_>, n: usize) {
    let argument = |b: &mut KernelBuilder, c: usize, i: usize| {
        let side = &spec.sides[i];
        let mem = b.get(at.sides[i]).at((c * side.strides.pixel) as i32);
        if side.splat { splat(b, side.strides.number, mem) } else { load(b, side.strides.number, mem) }
    };
    if spec.output.number == Number::U8 && spec.output.pixel == b.lanes() && n > 1 {
        let bytes = at.chain.emit_packed(b, n, &mut |b, c, i| argument(b, c, i));
        let mem = b.get(at.output).at(0);
        return b.store_bytes(bytes, mem, n * b.lanes());
    }
    let results: Vec<Vector> = (0..n).map(|c| at.chain.emit(b, &mut |b, i| argument(b, c, i))).collect();
    for (c, v) in results.into_iter().enumerate() {
        let mem = b.get(at.output).at((c * spec.output.pixel) as i32);
        match spec.output.number {
            Number::Bf16 => {
                let v = match at.live {
                    None => v,
                    Some(live) => {
                        let zero = b.zero();
                        b.select(live, v, zero)
                    }
                };
                b.store_convert(Elem::Bf16, v, mem);
            }
            number => store_part(b, number, v, mem, b.lanes()),
        }
    }
}
