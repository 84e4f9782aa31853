//! Kernels of copies: along a common contiguous loop, or through squares transposed in registers.

use super::loops::{Loop, Piece};
use crate::families::walk::{advance, bump};
use mnnc_vector::{CompileError, CompiledKernel, Gpr, KernelBuilder, Target, Var, Vector};

/// Bytes of a row that one unit copies.
const CHUNK: usize = 16 * 1024;

/// How a simplified piece is vectorised. Units are the iterations of the outer loops.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Elements that lie together on both sides.
    Rows {
        /// Outer loops.
        outer: Vec<Loop>,
        /// Elements.
        len: usize,
    },
    /// A matrix whose rows lie together in the source and whose columns do in the destination.
    Transpose {
        /// Outer loops.
        outer: Vec<Loop>,
        /// The loop that is contiguous in the source.
        along_src: Loop,
        /// The loop that is contiguous in the destination.
        along_dst: Loop,
    },
}

impl Plan {
    /// `None` if one of the sides has no contiguous loop of 4-byte elements.
    pub fn of(piece: &Piece) -> Option<Plan> {
        let mut outer = piece.loops.clone();
        let take = |outer: &mut Vec<Loop>, f: fn(&Loop) -> bool| {
            outer.iter().position(f).map(|i| outer.remove(i))
        };
        if let Some(l) = take(&mut outer, |l| l.src == 4 && l.dst == 4) {
            let bytes = 4 * l.extent;
            // A long row is several units, if it divides.
            let cut = (CHUNK / 4..=l.extent / 2).find(|c| l.extent.is_multiple_of(*c)).filter(|_| bytes > 2 * CHUNK);
            let len = cut.unwrap_or(l.extent);
            outer.push(Loop { extent: l.extent / len, src: 4 * len, dst: 4 * len });
            return Some(Plan::Rows { outer, len });
        }
        let along_dst = take(&mut outer, |l| l.dst == 4)?;
        let along_src = take(&mut outer, |l| l.src == 4)?;
        // Rows of squares are units too.
        Some(Plan::Transpose { outer, along_src, along_dst })
    }
    fn outer(&self) -> &[Loop] {
        match self {
            Plan::Rows { outer, .. } | Plan::Transpose { outer, .. } => outer,
        }
    }
    /// Number of units.
    pub fn units(&self) -> usize {
        self.outer().iter().map(|l| l.extent).product()
    }
}

/// Compiles the kernel. Arguments: source, destination, both at the piece's start.
pub fn compile(plan: &Plan, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let (src, dst) = (b.arg(0), b.arg(1));
    let (begin, end) = (b.begin(), b.end());
    b.for_range(begin, end, 1, |b, unit| {
        let (mut src, mut dst, mut rest) = (src, dst, unit);
        let outer = plan.outer();
        for (d, l) in outer.iter().enumerate().rev() {
            let index = if d == 0 { rest } else { b.int_rem(rest, l.extent as u32) };
            src = advance(b, src, index, l.src);
            dst = advance(b, dst, index, l.dst);
            if d > 0 {
                rest = b.int_div(rest, l.extent as u32);
            }
        }
        match plan {
            Plan::Rows { len, .. } => row(b, src, dst, *len),
            Plan::Transpose { along_src, along_dst, .. } => transpose(b, src, dst, *along_src, *along_dst),
        }
    });
    b.compile()
}

fn row(b: &mut KernelBuilder, src: Gpr, dst: Gpr, len: usize) {
    let lanes = b.lanes();
    let (vectors, tail) = (len / lanes, len % lanes);
    let (looped, bytes) = (vectors / 4 * 4, 4 * lanes);
    b.for_range(0, (looped * bytes) as i32, (4 * bytes) as i32, |b, i| {
        let v: Vec<Vector> = (0..4).map(|j| b.load(src.at_index(i, 1, (j * bytes) as i32))).collect();
        for (j, v) in v.into_iter().enumerate() {
            b.store(v, dst.at_index(i, 1, (j * bytes) as i32));
        }
    });
    for j in looped..vectors {
        let v = b.load(src.at((j * bytes) as i32));
        b.store(v, dst.at((j * bytes) as i32));
    }
    if tail > 0 {
        let at = (vectors * bytes) as i32;
        let v = b.load_part(src.at(at), tail);
        b.store_part(v, dst.at(at), tail);
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
