//! Kernels of copies: along a common contiguous loop, through squares transposed in registers, or element by element.

use super::loops::{Loop, Piece};
use crate::families::walk::{advance, bump};
use mnnc_vector::{CompileError, CompiledKernel, Gpr, IntType, KernelBuilder, Target, Var, Vector};

/// Bytes of a row that one unit copies.
const CHUNK: usize = 16 * 1024;

/// Elements up to which a row is short: several of them are one unit.
const SHORT: usize = 64;

/// Iterations from which on a loop over rows within a unit need not be longer.
const LONG: usize = 16;

/// What is done at once.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// So many elements that lie together on both sides.
    Row(usize),
    /// One element that is repeated so many times.
    Splat(usize),
    /// So many elements that lie together in the destination; every other one of the source.
    Even(usize),
    /// A single element.
    Element,
    /// So many bytes that lie together on both sides.
    Bytes(usize),
    /// One byte that is repeated so many times.
    SplatByte(usize),
    /// A single byte.
    Byte,
    /// A matrix whose rows lie together in the source and whose columns do in the destination.
    Transpose {
        /// The loop that is contiguous in the source.
        along_src: Loop,
        /// The loop that is contiguous in the destination.
        along_dst: Loop,
    },
}

/// How a simplified piece is vectorised. Units are the iterations of the outer loops.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Loops over units.
    outer: Vec<Loop>,
    /// A loop within a unit.
    inner: Option<Loop>,
    body: Body,
}

impl Plan {
    /// The plan of a piece without loops of one iteration.
    pub fn of(piece: &Piece) -> Plan {
        let mut outer = piece.loops.clone();
        let body = Plan::take_body(&mut outer);
        Plan::around(body, outer)
    }

    /// As [`of`](Self::of), for single bytes.
    pub fn of_bytes(piece: &Piece) -> Plan {
        let mut outer = piece.loops.clone();
        let mut take = |f: &dyn Fn(&Loop) -> bool| outer.iter().position(f).map(|i| outer.remove(i));
        let body = if let Some(l) = take(&|l| l.src == 1 && l.dst == 1) {
            Body::Bytes(l.extent)
        } else if let Some(l) = take(&|l| l.src == 0 && l.dst == 1) {
            Body::SplatByte(l.extent)
        } else {
            Body::Byte
        };
        Plan::around(body, outer)
    }

    fn around(body: Body, mut outer: Vec<Loop>) -> Plan {
        let short = match body {
            Body::Row(len) | Body::Splat(len) | Body::Even(len) => len <= SHORT,
            Body::Bytes(len) | Body::SplatByte(len) => len <= 4 * SHORT,
            Body::Element | Body::Byte => true,
            Body::Transpose { .. } => false,
        };
        // Rows: of the loops that are long enough the one with the smallest steps, for rows of an image a power of two apart fall into one
        // set of a cache. Single elements: the longest.
        let enough = if matches!(body, Body::Element | Body::Byte) { usize::MAX } else { LONG };
        let key = |l: &Loop| (l.extent.min(enough), std::cmp::Reverse(l.dst));
        let chosen = (0..outer.len()).max_by_key(|&i| key(&outer[i])).filter(|_| short);
        let mut inner = chosen.map(|i| outer.remove(i));
        // Work for several threads.
        if let Some(l) = &mut inner
            && outer.iter().map(|l| l.extent).product::<usize>() < 8
            && let Some(parts) = [8, 4, 2].into_iter().find(|n| l.extent.is_multiple_of(*n) && l.extent / n >= 64)
        {
            let extent = l.extent / parts;
            outer.push(Loop { extent: parts, src: l.src * extent, dst: l.dst * extent });
            l.extent = extent;
        }
        Plan { outer, inner, body }
    }

    /// Takes the loops that are done at once out of all.
    fn take_body(loops: &mut Vec<Loop>) -> Body {
        let mut take = |f: &dyn Fn(&Loop) -> bool| loops.iter().position(f).map(|i| loops.remove(i));
        if let Some(l) = take(&|l| l.src == 4 && l.dst == 4) {
            let bytes = 4 * l.extent;
            // A long row is several units, if it divides.
            let cut = (CHUNK / 4..=l.extent / 2).find(|c| l.extent.is_multiple_of(*c)).filter(|_| bytes > 2 * CHUNK);
            let len = cut.unwrap_or(l.extent);
            if len < l.extent {
                loops.push(Loop { extent: l.extent / len, src: 4 * len, dst: 4 * len });
            }
            return Body::Row(len);
        }
        if let Some(l) = take(&|l| l.dst == 4 && l.src == 0) {
            return Body::Splat(l.extent);
        }
        let transposes = loops.iter().any(|l| l.dst == 4) && loops.iter().any(|l| l.src == 4);
        let mut take = |f: &dyn Fn(&Loop) -> bool| loops.iter().position(f).map(|i| loops.remove(i));
        if transposes && let (Some(along_dst), Some(along_src)) = (take(&|l| l.dst == 4), take(&|l| l.src == 4)) {
            return Body::Transpose { along_src, along_dst };
        }
        match take(&|l| l.dst == 4 && l.src == 8) {
            Some(l) => Body::Even(l.extent),
            None => Body::Element,
        }
    }

    /// Number of units.
    pub fn units(&self) -> usize {
        self.outer.iter().map(|l| l.extent).product()
    }

    /// What it does, for the kernel's name.
    pub fn kind(&self) -> &'static str {
        match self.body {
            Body::Row(_) => "rows",
            Body::Splat(_) => "fill",
            Body::Even(_) => "even",
            Body::Element => "elements",
            Body::Bytes(_) => "bytes",
            Body::SplatByte(_) => "fill_bytes",
            Body::Byte => "byte",
            Body::Transpose { .. } => "squares",
        }
    }
}

/// Compiles the kernel. Arguments: source, destination, both at the piece's start.
pub fn compile(plan: &Plan, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let (src, dst) = (b.arg(0), b.arg(1));
    let (begin, end) = (b.begin(), b.end());
    b.for_range(begin, end, 1, |b, unit| {
        let (mut src, mut dst, mut rest) = (src, dst, unit);
        for (d, l) in plan.outer.iter().enumerate().rev() {
            let index = if d == 0 { rest } else { b.int_rem(rest, l.extent as u32) };
            src = advance(b, src, index, l.src);
            dst = advance(b, dst, index, l.dst);
            if d > 0 {
                rest = b.int_div(rest, l.extent as u32);
            }
        }
        let Some(l) = plan.inner else { return body(b, plan.body, src, dst, [0, 0]) };
        let words = match plan.body {
            Body::Row(len) | Body::Splat(len) => len,
            Body::Bytes(len) => len / 4,
            _ => 0,
        };
        if !words.is_multiple_of(b.lanes()) {
            b.tail_mask(words % b.lanes());
        }
        let unroll = if matches!(plan.body, Body::Element | Body::Byte) { 8 } else { 4 };
        let (s, d): (Var<Gpr>, Var<Gpr>) = (b.var(src), b.var(dst));
        let several = |b: &mut KernelBuilder, n: usize| {
            let (src, dst) = (b.get(s), b.get(d));
            for j in 0..n {
                body(b, plan.body, src, dst, [j * l.src, j * l.dst]);
            }
        };
        b.repeat((l.extent / unroll) as u64, |b| {
            several(b, unroll);
            bump(b, s, unroll * l.src, 0);
            bump(b, d, unroll * l.dst, 0);
        });
        several(b, l.extent % unroll);
    });
    b.compile()
}

/// The body `at` bytes behind the pointers.
fn body(b: &mut KernelBuilder, body: Body, src: Gpr, dst: Gpr, at: [usize; 2]) {
    match body {
        Body::Row(len) => row(b, src, dst, at, len),
        Body::Splat(len) => splat(b, src, dst, at, len),
        Body::Even(len) => even(b, src, dst, at, len),
        Body::Element => {
            let v = b.load_part(src.at(at[0] as i32), 1);
            b.store_part(v, dst.at(at[1] as i32), 1);
        }
        Body::Bytes(len) => {
            row(b, src, dst, at, len / 4);
            bytes(b, src, dst, at.map(|at| at + len / 4 * 4), len % 4);
        }
        Body::SplatByte(len) => {
            let bytes = 4 * b.lanes();
            let v = b.broadcast_byte(src.at(at[0] as i32));
            let whole = len / bytes;
            b.for_range(0, (whole * bytes) as i32, bytes as i32, |b, i| b.store(v, dst.at_index(i, 1, at[1] as i32)));
            if !len.is_multiple_of(bytes) {
                b.store_bytes(v, dst.at((at[1] + whole * bytes) as i32), len % bytes);
            }
        }
        Body::Byte => bytes(b, src, dst, at, 1),
        Body::Transpose { along_src, along_dst } => transpose(b, src, dst, along_src, along_dst),
    }
}

/// Up to three bytes.
fn bytes(b: &mut KernelBuilder, src: Gpr, dst: Gpr, at: [usize; 2], len: usize) {
    let mut done = 0;
    for (ty, size) in [(IntType::U16, 2), (IntType::U8, 1)] {
        if len - done >= size {
            let v = b.int_load(ty, src.at((at[0] + done) as i32));
            b.int_store(ty, v, dst.at((at[1] + done) as i32));
            done += size;
        }
    }
}

fn splat(b: &mut KernelBuilder, src: Gpr, dst: Gpr, at: [usize; 2], len: usize) {
    let lanes = b.lanes();
    let v = b.broadcast(src.at(at[0] as i32));
    let (vectors, tail, bytes) = (len / lanes, len % lanes, 4 * lanes);
    let straight = if vectors > 8 { 0 } else { vectors };
    b.for_range(0, ((vectors - straight) * bytes) as i32, bytes as i32, |b, i| {
        b.store(v, dst.at_index(i, 1, at[1] as i32));
    });
    for j in vectors - straight..vectors {
        b.store(v, dst.at((at[1] + j * bytes) as i32));
    }
    if tail > 0 {
        b.store_part(v, dst.at((at[1] + vectors * bytes) as i32), tail);
    }
}

/// Every other element of `2 * len - 1`; none beyond is read.
fn even(b: &mut KernelBuilder, src: Gpr, dst: Gpr, at: [usize; 2], len: usize) {
    let lanes = b.lanes();
    let bytes = 4 * lanes;
    for first in (0..len).step_by(lanes) {
        let n = lanes.min(len - first);
        let from = at[0] + 2 * 4 * first;
        let wanted = 2 * n - 1;
        let low = b.load_part(src.at(from as i32), wanted.min(lanes));
        let high = match wanted.checked_sub(lanes).filter(|&n| n > 0) {
            Some(n) => b.load_part(src.at((from + bytes) as i32), n),
            None => b.zero(),
        };
        let (v, _) = b.deinterleave(low, high);
        b.store_part(v, dst.at((at[1] + 4 * first) as i32), n);
    }
}

fn row(b: &mut KernelBuilder, src: Gpr, dst: Gpr, from: [usize; 2], len: usize) {
    let lanes = b.lanes();
    let (vectors, tail) = (len / lanes, len % lanes);
    let (looped, bytes) = (vectors / 4 * 4, 4 * lanes);
    b.for_range(0, (looped * bytes) as i32, (4 * bytes) as i32, |b, i| {
        let v: Vec<Vector> = (0..4).map(|j| b.load(src.at_index(i, 1, (from[0] + j * bytes) as i32))).collect();
        for (j, v) in v.into_iter().enumerate() {
            b.store(v, dst.at_index(i, 1, (from[1] + j * bytes) as i32));
        }
    });
    for j in looped..vectors {
        let v = b.load(src.at((from[0] + j * bytes) as i32));
        b.store(v, dst.at((from[1] + j * bytes) as i32));
    }
    if tail > 0 {
        let v = b.load_part(src.at((from[0] + vectors * bytes) as i32), tail);
        b.store_part(v, dst.at((from[1] + vectors * bytes) as i32), tail);
    }
}

/// Squares of `lanes` by `lanes`, those at the edges in part.
fn transpose(b: &mut KernelBuilder, src: Gpr, dst: Gpr, along_src: Loop, along_dst: Loop) {
    let lanes = b.lanes();
    let (ps, pd): (Var<Gpr>, Var<Gpr>) = (b.var(src), b.var(dst));
    let band = |b: &mut KernelBuilder, rows: usize| {
        let (s, d) = (b.get(ps), b.get(pd));
        let (qs, qd): (Var<Gpr>, Var<Gpr>) = (b.var(s), b.var(d));
        b.repeat((along_src.extent / lanes) as u64, |b| {
            let (s, d) = (b.get(qs), b.get(qd));
            square(b, s, d, along_src, along_dst, lanes, rows);
            bump(b, qs, 4 * lanes, 0);
            bump(b, qd, lanes * along_src.dst, 0);
        });
        if !along_src.extent.is_multiple_of(lanes) {
            let (s, d) = (b.get(qs), b.get(qd));
            square(b, s, d, along_src, along_dst, along_src.extent % lanes, rows);
        }
        bump(b, ps, lanes * along_dst.src, 0);
        bump(b, pd, 4 * lanes, 0);
    };
    let (full, rest) = (along_dst.extent / lanes, along_dst.extent % lanes);
    b.repeat(full as u64, |b| band(b, lanes));
    if rest > 0 {
        band(b, rest);
    }
}

/// `rows` source rows of `cols` elements become `cols` destination rows of `rows` elements.
fn square(b: &mut KernelBuilder, src: Gpr, dst: Gpr, along_src: Loop, along_dst: Loop, cols: usize, rows: usize) {
    let lanes = b.lanes();
    let mut v: Vec<Vector> = (0..rows).map(|r| b.load_part(src.at((r * along_dst.src) as i32), cols)).collect();
    if rows < lanes {
        let zero = b.zero();
        v.resize(lanes, zero);
    }
    let v = b.transpose(&v);
    for (c, v) in v.into_iter().take(cols).enumerate() {
        b.store_part(v, dst.at((c * along_src.dst) as i32), rows);
    }
}
