//! A chain over dense, row-major tensors with broadcasting.

use crate::families::epilogue;
use crate::families::walk::advance;
use mnnc_ir::scalar::ScalarFn;
use mnnc_vector::{CompileError, CompiledKernel, Gpr, KernelBuilder, Target};

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
}

/// The loops over an output of shape `dims` with operands of shapes that broadcast to it.
pub fn parts(dims: &[usize], operands: &[Vec<usize>]) -> Vec<Part> {
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
            let mut bytes = if pattern[o] { 4 * row } else { 4 };
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
    let chunk = |p: bool| if p { 4 * CHUNK } else { 0 };
    let mut out = vec![Part {
        outer: vec![chunks],
        row: CHUNK,
        strides: pattern.iter().map(|&p| (vec![chunk(p)], p)).collect(),
        starts: vec![0; count],
    }];
    if rest > 0 {
        out.push(Part {
            outer: Vec::new(),
            row: rest,
            strides: pattern.iter().map(|&p| (Vec::new(), p)).collect(),
            starts: pattern.iter().map(|&p| chunk(p) * chunks).collect(),
        });
    }
    out
}

/// Compiles the kernel.
pub fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let part = &spec.part;
    let args: Vec<Gpr> = (0..part.strides.len()).map(|i| b.arg(i)).collect();
    let lanes = b.lanes();
    let tail = part.row % lanes;
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
        row(b, spec, &at, tail);
    });
    b.compile()
}

fn row(b: &mut KernelBuilder, spec: &Spec, at: &[Gpr], tail: usize) {
    let lanes = b.lanes();
    let bytes = lanes * 4;
    // Two vectors an iteration, so that their latencies overlap.
    let vectors = spec.part.row / lanes;
    let (pairs, odd) = (vectors / 2, vectors % 2);
    b.for_range(0, (pairs * 2 * bytes) as i32, (2 * bytes) as i32, |b, i| {
        for half in 0..2 {
            element(b, spec, at, Some(i), half * bytes, lanes);
        }
    });
    let done = pairs * 2 * bytes;
    if odd == 1 {
        element(b, spec, at, None, done, lanes);
    }
    if tail > 0 {
        element(b, spec, at, None, done + odd * bytes, tail);
    }
}

/// One vector (its first `lanes` lanes) `disp` bytes behind the pointers.
fn element(b: &mut KernelBuilder, spec: &Spec, at: &[Gpr], index: Option<Gpr>, disp: usize, lanes: usize) {
    let mem = |p: Gpr| match index {
        Some(i) => p.at_index(i, 1, disp as i32),
        None => p.at(disp as i32),
    };
    let value = epilogue::emit(b, &spec.f, &mut |b, i| {
        let moves = spec.part.strides[i].1;
        if moves { b.load_part(mem(at[i]), lanes) } else { b.broadcast(at[i].at(0)) }
    });
    let output = at[at.len() - 1];
    b.store_part(value, mem(output), lanes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_merge_where_all_operands_agree() {
        let same = parts(&[2, 3, 4], &[vec![2, 3, 4]]);
        assert_eq!((same.len(), same[0].row, same[0].units()), (1, 24, 1));
        let bias = parts(&[2, 3, 4], &[vec![2, 3, 4], vec![4]]);
        assert_eq!((bias[0].outer.clone(), bias[0].row), (vec![6], 4));
        assert_eq!(bias[0].strides, vec![(vec![16], true), (vec![0], true), (vec![16], true)]);
        let channel = parts(&[2, 3, 4], &[vec![3, 1]]);
        assert_eq!(channel[0].outer, vec![2, 3]);
        assert_eq!(channel[0].strides, vec![(vec![0, 4], false), (vec![48, 16], true)]);
        let long = parts(&[5000], &[vec![5000]]);
        assert_eq!(long.iter().map(Part::elements).sum::<usize>(), 5000);
    }
}
