//! Pointers that walk over images, in kernels.

use crate::families::epilogue::Chain;
use crate::families::igemm::spec::{Number, Strides};
use crate::families::sides::Side;
use mnnc_ir::scalar::ScalarFn;
use mnnc_vector::{Elem, Gpr, IntType, KernelBuilder, Mask, Mem, Var, Vector};
use std::rc::Rc;

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
    /// Lanes of each vector that are channels, where the others are to be stored as zero.
    live: Vec<Mask>,
    /// The epilogue.
    chain: Option<Rc<Chain>>,
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
        if s.half == 0 || self.blocks.is_multiple_of(2) {
            return advance(b, at, self.panel, s.vector(self.blocks));
        }
        let vector = self.vector(b);
        let block = b.int_shr(vector, 1);
        let odd = b.int_and(vector, 1);
        let at = advance(b, at, block, s.plane);
        advance(b, at, odd, s.half)
    }
    /// The place of a single vector in an operand of `channels` channels, of which the kernel does `vectors`. The last block of a result in blocks of two
    /// may have one vector more than there are channels for: what it is made of does not matter, but an operand in blocks of one has none there.
    pub fn within(self, b: &mut KernelBuilder, s: &Strides, channels: usize, vectors: usize) -> Place {
        let own = channels.div_ceil(b.lanes());
        if s.half > 0 || vectors <= own {
            return self;
        }
        Place { panel: b.int_min(self.panel, own as i32 - 1), ..self }
    }
    /// The first vector of channels.
    fn vector(self, b: &mut KernelBuilder) -> Gpr {
        if self.blocks == 1 { self.panel } else { b.int_mul(self.panel, self.blocks as i32) }
    }
}

impl Results {
    /// From these places on, behind no epilogue.
    pub fn new(b: &mut KernelBuilder, output: Gpr, sides: &[Gpr]) -> Results {
        let sides = sides.iter().map(|&s| b.var(s)).collect();
        Results { output: b.var(output), sides, live: Vec::new(), chain: None }
    }
    /// Behind an epilogue, if there is one, whose conversions to integers are [in range](crate::families::epilogue::bounds::converts_in_range), or are not.
    pub fn behind(self, b: &KernelBuilder, f: Option<&ScalarFn>, bounded: bool) -> Results {
        Results { chain: f.map(|f| Rc::new(Chain::new(&b.target(), f, bounded))), ..self }
    }
    /// Has lanes that are no channel stored as zero, as blocks of bf16 promise. There are `channels` from the first place of
    /// the operand on.
    pub fn zero_behind(mut self, b: &mut KernelBuilder, output: &Strides, channels: usize, place: Place) -> Results {
        let lanes = b.lanes();
        if output.fills_up(channels, lanes) {
            let first = place.vector(b);
            let done = b.int_mul(first, lanes as i32);
            let total = b.int(channels as i64);
            let left = b.int_sub(total, done);
            self.live = (0..place.blocks)
                .map(|j| {
                    let left = b.int_add(left, -((j * lanes) as i32));
                    b.tail_mask_dyn(left)
                })
                .collect();
        }
        self
    }
    /// Pointers of their own, at the same place.
    pub fn fork(&self, b: &mut KernelBuilder) -> Results {
        let mut copy = |v: Var<Gpr>| {
            let now = b.get(v);
            b.var(now)
        };
        Results {
            output: copy(self.output),
            sides: self.sides.iter().map(|&s| copy(s)).collect(),
            live: self.live.clone(),
            chain: self.chain.clone(),
        }
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
        output: &Strides,
        sides: &[Side],
        value: Vector,
        [row, col, block]: [usize; 3],
        lanes: usize,
    ) {
        let result = self.finished(b, sides, value, [row, col, block], lanes);
        let mem = self.mem(b, output, [row, col, block]);
        store_part(b, output.number, result, mem, lanes);
    }

    /// The place of a vector of channels of a pixel in the output.
    pub fn mem(&self, b: &KernelBuilder, output: &Strides, [row, col, block]: [usize; 3]) -> Mem {
        b.get(self.output).at((row * output.row + col * output.pixel + output.vector(block)) as i32)
    }

    /// As [`store`](Self::store), for a tile of `[rows, columns, blocks]` vectors, the blocks of a pixel side by side; of the last block
    /// its first `last_lanes` lanes. Bytes that lie one behind the other are stored together.
    #[allow(clippy::too_many_arguments, reason = "the extent of a tile")]
    pub fn store_tile(
        &self,
        b: &mut KernelBuilder,
        output: &Strides,
        sides: &[Side],
        values: &[Vector],
        [rows, cols, blocks]: [usize; 3],
        last_lanes: usize,
    ) {
        let lanes = b.lanes();
        let lanes_of = |block: usize| if block + 1 == blocks { last_lanes } else { lanes };
        // Vectors that lie one behind the other: pixels of a block, or blocks of a pixel.
        let bytes = output.number == Number::U8;
        let vectors = if bytes && output.plane == lanes { 4 } else { 1 };
        let pixels = if bytes && vectors == 1 && output.pixel == lanes && last_lanes == lanes { 4 } else { 1 };
        for row in 0..rows {
            for first in (0..cols).step_by(pixels) {
                for block in (0..blocks).step_by(vectors) {
                    let run: Vec<[usize; 3]> = if pixels > 1 {
                        (first..cols.min(first + pixels)).map(|c| [row, c, block]).collect()
                    } else {
                        (block..blocks.min(block + vectors)).map(|j| [row, first, j]).collect()
                    };
                    let value = |[r, c, j]: [usize; 3]| values[(r * cols + c) * blocks + j];
                    if let [at] = run[..] {
                        self.store(b, output, sides, value(at), at, lanes_of(at[2]));
                        continue;
                    }
                    let bytes = run.iter().map(|at| lanes_of(at[2])).sum();
                    let packed = match &self.chain {
                        None => b.narrow_in_order(&run.iter().map(|&at| value(at)).collect::<Vec<_>>()),
                        Some(chain) => chain.emit_packed(b, run.len(), &mut |b, v, i| {
                            self.argument(b, i, sides, value(run[v]), run[v], lanes_of(run[v][2]))
                        }),
                    };
                    let mem = self.mem(b, output, [row, first, block]);
                    b.store_bytes(packed, mem, bytes);
                }
            }
        }
    }

    /// As [`store`](Self::store), for the two vectors of a block.
    #[allow(clippy::too_many_arguments, reason = "the position of one block")]
    pub fn store_block(
        &self,
        b: &mut KernelBuilder,
        output: &Strides,
        sides: &[Side],
        values: [Vector; 2],
        [row, col]: [usize; 2],
    ) {
        let lanes = b.lanes();
        if output.number != Number::Bf16 {
            for (j, v) in values.into_iter().enumerate() {
                self.store(b, output, sides, v, [row, col, j], lanes);
            }
            return;
        }
        let [low, high] = [0, 1].map(|j| self.finished(b, sides, values[j], [row, col, j], lanes));
        let packed = b.pack_bf16(low, high);
        let mem = b.get(self.output).at((row * output.row + col * output.pixel) as i32);
        b.store(packed, mem);
    }

    /// The value after the epilogue.
    fn finished(
        &self,
        b: &mut KernelBuilder,
        sides: &[Side],
        value: Vector,
        [row, col, block]: [usize; 3],
        lanes: usize,
    ) -> Vector {
        let result = match &self.chain {
            None => value,
            Some(chain) => chain.emit(b, &mut |b, i| self.argument(b, i, sides, value, [row, col, block], lanes)),
        };
        match self.live.get(block) {
            None => result,
            Some(&live) => {
                let zero = b.zero();
                b.select(live, result, zero)
            }
        }
    }

    /// An argument of the epilogue: the value, or a side operand.
    fn argument(
        &self,
        b: &mut KernelBuilder,
        i: usize,
        sides: &[Side],
        value: Vector,
        [row, col, block]: [usize; 3],
        lanes: usize,
    ) -> Vector {
        let Some(i) = i.checked_sub(1) else { return value };
        let s = &sides[i].strides;
        let mem = b.get(self.sides[i]).at((row * s.row + col * s.pixel + s.vector(block)) as i32);
        if sides[i].splat { splat(b, s.number, mem) } else { load_part(b, s.number, mem, lanes) }
    }
}

/// A vector of numbers: floats as `f32`, integers as `i32`.
pub fn load(b: &mut KernelBuilder, number: Number, mem: Mem) -> Vector {
    match number.converted() {
        None => b.load(mem),
        Some(elem) => b.load_convert(elem, mem),
    }
}

/// As [`load`], of the first `lanes` lanes; bf16 lies in whole blocks.
pub fn load_part(b: &mut KernelBuilder, number: Number, mem: Mem, lanes: usize) -> Vector {
    match number.converted() {
        None => b.load_part(mem, lanes),
        Some(Elem::Bf16) => b.load_convert(Elem::Bf16, mem),
        Some(elem) => b.load_convert_part(elem, mem, lanes),
    }
}

/// One number in all lanes.
pub fn splat(b: &mut KernelBuilder, number: Number, mem: Mem) -> Vector {
    let ty = match number {
        Number::F32 | Number::I32 => return b.broadcast(mem),
        Number::Bf16 => IntType::U16,
        Number::U8 => IntType::U8,
        Number::I8 => IntType::I8,
    };
    let bits = b.int_load(ty, mem);
    let v = b.splat_gpr(bits);
    if number == Number::Bf16 { b.shl_i32(v, 16) } else { v }
}

/// Stores the first `lanes` lanes as numbers; bytes saturate, and bf16 lies in whole blocks.
pub fn store_part(b: &mut KernelBuilder, number: Number, v: Vector, mem: Mem, lanes: usize) {
    match number.converted() {
        None => b.store_part(v, mem, lanes),
        Some(Elem::Bf16) => b.store_convert(Elem::Bf16, v, mem),
        Some(elem) => b.store_convert_part(elem, v, mem, lanes),
    }
}
