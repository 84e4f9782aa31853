//! Pointers that walk over images, in kernels.

use crate::families::epilogue;
use crate::families::igemm::spec::Strides;
use crate::families::sides::Side;
use mnnc_ir::scalar::ScalarFn;
use mnnc_vector::{Gpr, KernelBuilder, Mem, Var, Vector};

/// `base + index * stride`.
pub fn advance(b: &mut KernelBuilder, base: Gpr, index: Gpr, stride: usize) -> Gpr {
    if stride == 0 {
        return base;
    }
    let bytes = b.int_mul(index, stride as i32);
    b.int_add(base, bytes)
}

/// `base + bytes`.
pub fn add(b: &mut KernelBuilder, base: Gpr, bytes: usize) -> Gpr {
    if bytes == 0 { base } else { b.int_add(base, bytes as i32) }
}

/// Moves a pointer by `forward - back` bytes.
pub fn bump(b: &mut KernelBuilder, p: Var<Gpr>, forward: usize, back: usize) {
    let delta = forward as i64 - back as i64;
    if delta != 0 {
        let now = b.get(p);
        let next = b.int_add(now, delta as i32);
        b.set(p, next);
    }
}

/// The output and the side operands of a kernel, at one pixel.
#[derive(Clone)]
pub struct Results {
    output: Var<Gpr>,
    sides: Vec<Var<Gpr>>,
}

/// Where an image-like operand starts for the current unit.
#[derive(Copy, Clone)]
pub struct Place {
    /// Batch element.
    pub image: Gpr,
    /// First channel block, counted in steps of `blocks`.
    pub panel: Gpr,
    /// Blocks a step.
    pub blocks: usize,
    /// First output row.
    pub row: Gpr,
}

impl Place {
    /// Address of the place in an operand.
    pub fn of(self, b: &mut KernelBuilder, base: Gpr, s: &Strides) -> Gpr {
        let at = advance(b, base, self.image, s.image);
        let at = advance(b, at, self.row, s.row);
        advance(b, at, self.panel, s.plane * self.blocks)
    }
}

impl Results {
    /// Loads the pointers: side operands from argument `first` on, then the output.
    pub fn new(b: &mut KernelBuilder, output: Gpr, sides: &[Gpr]) -> Results {
        Results { output: b.var(output), sides: sides.iter().map(|&s| b.var(s)).collect() }
    }
    /// Moves by rows and pixels.
    pub fn bump(&self, b: &mut KernelBuilder, output: &Strides, sides: &[Side], rows: usize, pixels: isize) {
        let move_by = |b: &mut KernelBuilder, p: Var<Gpr>, s: &Strides| {
            let (forward, back) = if pixels >= 0 { (pixels as usize, 0) } else { (0, pixels.unsigned_abs()) };
            bump(b, p, rows * s.row + forward * s.pixel, back * s.pixel);
        };
        move_by(b, self.output, output);
        for (&p, s) in self.sides.iter().zip(sides) {
            move_by(b, p, &s.strides);
        }
    }
    /// Applies the epilogue to a vector of channels of a pixel (row, column, block relative to the pointers) and stores
    /// its first `lanes` lanes.
    #[allow(clippy::too_many_arguments, reason = "the position of one vector")]
    pub fn store(
        &self,
        b: &mut KernelBuilder,
        f: Option<&ScalarFn>,
        output: &Strides,
        sides: &[Side],
        value: Vector,
        [row, col, block]: [usize; 3],
        lanes: usize,
    ) {
        let at = |p: Gpr, s: &Strides| -> Mem { p.at((row * s.row + col * s.pixel + block * s.plane) as i32) };
        let result = match f {
            None => value,
            Some(f) => epilogue::emit(b, f, &mut |b, i| match i.checked_sub(1) {
                None => value,
                Some(i) => {
                    let mem = at(b.get(self.sides[i]), &sides[i].strides);
                    if sides[i].splat { b.broadcast(mem) } else { b.load_part(mem, lanes) }
                }
            }),
        };
        let mem = at(b.get(self.output), output);
        b.store_part(result, mem, lanes);
    }
}
