//! Emits the expansion of packed weights in registers.

use super::packing::{Packing, Scaling, Stored, permutes_16};
use mnnc_vector::{Elem, Gpr, KernelBuilder, Var, Vector};

/// The factors of a block of the reduction in registers, one vector for each block of channels; empty where there are none.
#[derive(Clone, Default)]
pub(super) struct Factors {
    scale: Vec<Vector>,
    /// `-zero * scale`.
    shift: Vec<Vector>,
}

/// Expands the weights of panels of `blocks` vectors.
pub(super) struct Expander {
    packing: Packing,
    blocks: usize,
    lanes: usize,
    /// The numbers that half bytes stand for, where one instruction looks them up.
    table: Option<Vector>,
}

impl Expander {
    pub fn new(b: &mut KernelBuilder, packing: Packing, blocks: usize) -> Expander {
        let lookup = packing.stored == Stored::I4 && permutes_16(&b.target());
        let table = lookup.then(|| b.table_f32(&std::array::from_fn::<f32, 16, _>(|i| half_byte(i as i32) as f32)));
        Expander { packing, blocks, lanes: b.lanes(), table }
    }

    fn width(&self) -> usize {
        self.blocks * self.lanes
    }

    /// Loads the factors of a block, which begins at the pointer, and moves on to its weights.
    pub fn factors(&self, b: &mut KernelBuilder, at: Var<Gpr>) -> Factors {
        let Scaling::Blocks { zero, half, .. } = self.packing.scaling else { return Factors::default() };
        let p = b.get(at);
        let element = if half { 2 } else { 4 };
        let mut out = Factors::default();
        for j in 0..self.blocks {
            let mem = p.at((j * self.lanes * element) as i32);
            let scale = if half { b.load_convert(Elem::F16, mem) } else { b.load(mem) };
            out.scale.push(scale);
            if zero {
                let z = b.load_convert(Elem::I8, p.at((element * self.width() + j * self.lanes) as i32));
                let z = b.i32_to_f32(z);
                let shift = b.mul(z, scale);
                out.shift.push(b.neg(shift));
            }
        }
        let next = b.int_add(p, self.packing.scale_bytes(self.width()) as i32);
        b.set(at, next);
        out
    }

    /// The weights of step `step` of the run at `run`, channel block `j`. `bias` is the panel's bias operand.
    pub fn weight(&self, b: &mut KernelBuilder, run: Gpr, step: usize, j: usize, bias: Gpr, f: &Factors) -> Vector {
        let element = step * self.width() + j * self.lanes;
        let q = match self.packing.stored {
            Stored::Whole => return b.load(run.at((4 * element) as i32)),
            Stored::F16 => return b.load_convert(Elem::F16, run.at((2 * element) as i32)),
            Stored::I8 => {
                let q = b.load_convert(Elem::I8, run.at(element as i32));
                b.i32_to_f32(q)
            }
            Stored::I4 => {
                let words = step / 8 * self.width() + j * self.lanes;
                let word = b.load(run.at((4 * words) as i32));
                self.half_bytes(b, word, (4 * (step % 8)) as u8)
            }
        };
        match (self.packing.scaling, f.scale.get(j), f.shift.get(j)) {
            (Scaling::Channel { zero: true }, ..) => {
                b.sub(q, bias.at((4 * (2 * self.width() + j * self.lanes)) as i32))
            }
            (_, Some(&scale), Some(&shift)) => b.mul_add(q, scale, shift),
            (_, Some(&scale), None) => b.mul(q, scale),
            _ => q,
        }
    }

    /// The half bytes from bit `bit` of each lane on, as numbers.
    fn half_bytes(&self, b: &mut KernelBuilder, word: Vector, bit: u8) -> Vector {
        if let Some(table) = self.table {
            let index = if bit == 0 { word } else { b.shr_u32(word, bit) };
            return b.permute_by(table, index);
        }
        let high = if bit == 28 { word } else { b.shl_i32(word, 28 - bit) };
        let q = b.shr_i32(high, 28);
        b.i32_to_f32(q)
    }

    /// What a tile's sum starts with.
    pub fn start(&self, b: &mut KernelBuilder, bias: Gpr, has_bias: bool, j: usize) -> Vector {
        let late = matches!(self.packing.scaling, Scaling::Channel { .. });
        if has_bias && !late { b.load(bias.at((4 * j * self.lanes) as i32)) } else { b.zero() }
    }

    /// The finished sum.
    pub fn finish(&self, b: &mut KernelBuilder, sum: Vector, bias: Gpr, j: usize) -> Vector {
        if !matches!(self.packing.scaling, Scaling::Channel { .. }) {
            return sum;
        }
        let at = |n: usize| (4 * (n * self.width() + j * self.lanes)) as i32;
        let scale = b.load(bias.at(at(1)));
        b.mul_add(sum, scale, bias.at(at(0)))
    }
}

/// The number that four bits stand for.
pub(super) fn half_byte(bits: i32) -> i32 {
    bits << 28 >> 28
}
