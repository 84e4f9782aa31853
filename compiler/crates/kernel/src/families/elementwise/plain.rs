//! A chain over dense, row-major tensors with broadcasting.

use crate::families::epilogue::Chain;
use crate::families::igemm::spec::Number;
use crate::families::walk::{advance, load_part, splat, store_part};
use mnnc_ir::scalar::ScalarFn;
use mnnc_vector::{CompileError, CompiledKernel, Gpr, KernelBuilder, Mem, Target, Vector};

/// Elements of a unit where a tensor is one long row: a few microseconds of work.
const CHUNK: usize = 2048;

/// A part of the work with constant extents: outer loops around a row. Adjacent dimensions that every operand walks
/// through in the same way are one.
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    /// Extents of the outer loops; their iterations are the units.
    pub outer: Vec<usize>,
    /// Elements of the row.
    pub row: usize,
    /// For each operand, the output last: bytes moved by each outer loop, and whether the row moves too.
    pub strides: Vec<(Vec<usize>, bool)>,
    /// For each operand, bytes before the part.
    pub starts: Vec<usize>,
}

impl Part {
    /// Number of units.
    pub fn units(&self) -> usize {
        self.outer.iter().product()
    }
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.units() * self.row
    }
}

/// What the kernel computes. Arguments: operands, output.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    /// `Arg(i)` is operand `i`.
    pub f: ScalarFn,
    /// The loops.
    pub part: Part,
    /// What each operand holds, the output last.
    pub numbers: Vec<Number>,
    /// Whether what is converted to integers is [in range](epilogue::bounds::converts_in_range).
    pub bounded: bool,
}

impl Spec {
    fn output(&self) -> Number {
        self.numbers[self.numbers.len() - 1]
    }
}

/// The loops over an output of shape `dims` with operands of shapes that broadcast to it; `sizes` are the bytes of an element of each,
/// the output's last.
pub fn parts(dims: &[usize], operands: &[Vec<usize>], sizes: &[usize]) -> Vec<Part> {
    // Whether operand o moves along dimension d; the output always does.
    let moves = |o: usize, d: usize| match operands.get(o) {
        None => true,
        Some(s) => (d + s.len()).checked_sub(dims.len()).is_some_and(|i| s[i] != 1),
    };
    let count = operands.len() + 1;
    let mut merged: Vec<(usize, Vec<bool>)> = Vec::new();
    for (d, &extent) in dims.iter().enumerate().filter(|(_, e)| **e != 1) {
        let pattern: Vec<bool> = (0..count).map(|o| moves(o, d)).collect();
        match merged.last_mut() {
            Some((e, p)) if *p == pattern => *e *= extent,
            _ => merged.push((extent, pattern)),
        }
    }
    let (row, pattern) = merged.pop().unwrap_or((1, vec![true; count]));
    let strides: Vec<(Vec<usize>, bool)> = (0..count)
        .map(|o| {
            let mut bytes = if pattern[o] { sizes[o] * row } else { sizes[o] };
            let mut outer: Vec<usize> = merged
                .iter()
                .rev()
                .map(|(e, p)| {
                    let stride = if p[o] { bytes } else { 0 };
                    bytes *= if p[o] { *e } else { 1 };
                    stride
                })
                .collect();
            outer.reverse();
            (outer, pattern[o])
        })
        .collect();
    let outer: Vec<usize> = merged.iter().map(|(e, _)| *e).collect();
    if !outer.is_empty() || row <= CHUNK {
        return vec![Part { outer, row, strides, starts: vec![0; count] }];
    }
    // One long row: chunks, and what is left.
    let (chunks, rest) = (row / CHUNK, row % CHUNK);
    let chunk = |o: usize| if pattern[o] { sizes[o] * CHUNK } else { 0 };
    let mut out = vec![Part {
        outer: vec![chunks],
        row: CHUNK,
        strides: (0..count).map(|o| (vec![chunk(o)], pattern[o])).collect(),
        starts: vec![0; count],
    }];
    if rest > 0 {
        out.push(Part {
            outer: Vec::new(),
            row: rest,
            strides: pattern.iter().map(|&p| (Vec::new(), p)).collect(),
            starts: (0..count).map(|o| chunk(o) * chunks).collect(),
        });
    }
    out
}

/// Compiles the kernel.
pub fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let chain = Chain::new(target, &spec.f, spec.bounded);
    let part = &spec.part;
    let args: Vec<Gpr> = (0..part.strides.len()).map(|i| b.arg(i)).collect();
    let tail = part.row % b.lanes();
    if tail > 0 {
        b.tail_mask(tail);
    }
    let (begin, end) = (b.begin(), b.end());
    b.for_range(begin, end, 1, |b, unit| {
        let mut at = args.clone();
        let mut rest = unit;
        for (d, &extent) in part.outer.iter().enumerate().rev() {
            let index = if d == 0 { rest } else { b.int_rem(rest, extent as u32) };
            for (p, (strides, _)) in at.iter_mut().zip(&part.strides) {
                *p = advance(b, *p, index, strides[d]);
            }
            if d > 0 {
                rest = b.int_div(rest, extent as u32);
            }
        }
        Row { spec, chain: &chain, at: &at }.emit(b, tail);
    });
    b.compile()
}

/// One row of elements.
struct Row<'a> {
    spec: &'a Spec,
    chain: &'a Chain,
    at: &'a [Gpr],
}

/// Elements of a row: `first` behind an index that moves, or from its start.
#[derive(Copy, Clone)]
struct Place {
    index: Option<Gpr>,
    first: usize,
}

impl Row<'_> {
    fn emit(&self, b: &mut KernelBuilder, tail: usize) {
        let lanes = b.lanes();
        // Several vectors an iteration, so that their latencies overlap; of bytes as many as are stored at once.
        let together = if self.spec.output() == Number::U8 { 4 } else { 2 };
        let vectors = self.spec.part.row / lanes;
        let looped = vectors / together * together;
        b.for_range(0, (looped * lanes) as i32, (together * lanes) as i32, |b, i| {
            self.vectors(b, Place { index: Some(i), first: 0 }, together);
        });
        if vectors > looped {
            self.vectors(b, Place { index: None, first: looped * lanes }, vectors - looped);
        }
        if tail > 0 {
            let place = Place { index: None, first: vectors * lanes };
            let value = self.value(b, place, tail);
            let mem = self.mem(self.at.len() - 1, place);
            store_part(b, self.spec.output(), value, mem, tail);
        }
    }

    /// So many whole vectors.
    fn vectors(&self, b: &mut KernelBuilder, place: Place, count: usize) {
        let lanes = b.lanes();
        let at = |j: usize| Place { first: place.first + j * lanes, ..place };
        let output = self.at.len() - 1;
        if self.spec.output() == Number::U8 && count > 1 {
            let bytes = self.chain.emit_packed(b, count, &mut |b, j, i| self.argument(b, i, at(j), lanes));
            return b.store_bytes(bytes, self.mem(output, place), count * lanes);
        }
        let values: Vec<Vector> = (0..count).map(|j| self.value(b, at(j), lanes)).collect();
        for (j, value) in values.into_iter().enumerate() {
            store_part(b, self.spec.output(), value, self.mem(output, at(j)), lanes);
        }
    }

    fn mem(&self, operand: usize, place: Place) -> Mem {
        let bytes = self.spec.numbers[operand].bytes();
        let (p, disp) = (self.at[operand], (place.first * bytes) as i32);
        match place.index {
            Some(i) => p.at_index(i, bytes as u8, disp),
            None => p.at(disp),
        }
    }

    /// The formula of the first `lanes` elements of a vector.
    fn value(&self, b: &mut KernelBuilder, place: Place, lanes: usize) -> Vector {
        self.chain.emit(b, &mut |b, i| self.argument(b, i, place, lanes))
    }

    /// An argument of the formula.
    fn argument(&self, b: &mut KernelBuilder, i: usize, place: Place, lanes: usize) -> Vector {
        let number = self.spec.numbers[i];
        if self.spec.part.strides[i].1 {
            load_part(b, number, self.mem(i, place), lanes)
        } else {
            splat(b, number, self.at[i].at(0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_merge_where_all_operands_agree() {
        let same = parts(&[2, 3, 4], &[vec![2, 3, 4]], &[4, 4]);
        assert_eq!((same.len(), same[0].row, same[0].units()), (1, 24, 1));
        let bias = parts(&[2, 3, 4], &[vec![2, 3, 4], vec![4]], &[4, 4, 4]);
        assert_eq!((bias[0].outer.clone(), bias[0].row), (vec![6], 4));
        assert_eq!(bias[0].strides, vec![(vec![16], true), (vec![0], true), (vec![16], true)]);
        let channel = parts(&[2, 3, 4], &[vec![3, 1]], &[4, 4]);
        assert_eq!(channel[0].outer, vec![2, 3]);
        assert_eq!(channel[0].strides, vec![(vec![0, 4], false), (vec![48, 16], true)]);
        let long = parts(&[5000], &[vec![5000]], &[1, 4]);
        assert_eq!(long.iter().map(Part::elements).sum::<usize>(), 5000);
        assert_eq!(long[1].starts, vec![2 * CHUNK, 8 * CHUNK]);
    }
}
