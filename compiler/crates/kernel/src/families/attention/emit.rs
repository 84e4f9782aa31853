//! The walk over units, tiles and blocks of keys.

use super::spec::Spec;
use super::{scores, softmax, values};
use crate::families::walk::{add, advance};
use mnnc_ops::family::attention::strided::MatrixView;
use mnnc_vector::{CompileError, CompiledKernel, Cond, Gpr, KernelBuilder, Target, Vector};

/// A tile at work.
pub struct Tile<'a> {
    /// What is computed.
    pub spec: &'a Spec,
    /// Vector lanes.
    pub lanes: usize,
    /// Queries that exist.
    pub rows: usize,
    /// Vectors that hold them.
    pub vectors: usize,
    /// First row of q.
    pub q: Gpr,
    /// First row of y.
    pub y: Gpr,
    /// Number of the first query.
    pub first: Gpr,
    /// Scratch memory.
    pub slot: Gpr,
}

/// A block of keys at work.
pub struct Block {
    /// Keys.
    pub keys: usize,
    /// Number of the first key.
    pub first: Gpr,
    /// Its row of k.
    pub k: Gpr,
    /// Its row of v.
    pub v: Gpr,
    /// Its column of each mask, at the first query of the tile.
    pub masks: Vec<Gpr>,
}

impl Tile<'_> {
    /// Lanes of the vector `v` of a row of queries that exist; at least one.
    pub fn live(&self, v: usize) -> usize {
        self.rows.saturating_sub(v * self.lanes).clamp(1, self.lanes)
    }
    /// Bytes of a row of queries, of this tile: the last one may have fewer vectors.
    pub fn line(&self) -> usize {
        self.vectors * self.lanes * 4
    }
    /// Part `offset` of the scratch memory.
    pub fn part(&self, b: &mut KernelBuilder, offset: usize) -> Gpr {
        add(b, self.slot, offset)
    }
    /// A row of statistics.
    pub fn load(&self, b: &mut KernelBuilder, offset: usize) -> Vec<Vector> {
        (0..self.vectors).map(|v| b.load(self.slot.at((offset + 4 * v * self.lanes) as i32))).collect()
    }
    /// Sets a row of statistics.
    pub fn store(&self, b: &mut KernelBuilder, offset: usize, row: &[Vector]) {
        for (v, &x) in row.iter().enumerate() {
            b.store(x, self.slot.at((offset + 4 * v * self.lanes) as i32));
        }
    }
}

/// Compiles the kernel.
pub fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let (q, k, v) = (b.arg(0), b.arg(1), b.arg(2));
    let masks: Vec<Gpr> = (0..spec.a.masks.len()).map(|i| b.arg(3 + i)).collect();
    let (y, scratch) = (b.arg(3 + masks.len()), b.arg(4 + masks.len()));
    let (begin, end) = (b.begin(), b.end());
    // All units of a share use the memory of its first one.
    let slot = advance(&mut b, scratch, begin, spec.slot.bytes);
    let first = b.int_mul(begin, spec.group as i32);
    let last = b.int_mul(end, spec.group as i32);
    let last = b.int_min(last, spec.items() as i32);
    b.for_range(first, last, 1, |b, item| {
        let tile = b.int_rem(item, spec.tiles as u32);
        let head = b.int_div(item, spec.tiles as u32);
        let index = indices(b, &spec.a.batch, head);
        let first = b.int_mul(tile, spec.rows as i32);
        let matrix = |b: &mut KernelBuilder, base: Gpr, m: &MatrixView| {
            index.iter().zip(&m.batch).fold(base, |p, (&i, &s)| advance(b, p, i, 4 * s))
        };
        let rows = |b: &mut KernelBuilder, base: Gpr, m: &MatrixView| {
            let p = matrix(b, base, m);
            advance(b, p, first, 4 * m.row)
        };
        let (q, y) = (rows(b, q, &spec.a.q), rows(b, y, &spec.a.y));
        let (k, v) = (matrix(b, k, &spec.a.k), matrix(b, v, &spec.a.v));
        let masks: Vec<Gpr> = masks.iter().zip(&spec.a.masks).map(|(&p, m)| rows(b, p, m)).collect();
        let body = |b: &mut KernelBuilder, rows: usize| {
            let t = Tile { spec, lanes: b.lanes(), rows, vectors: rows.div_ceil(b.lanes()), q, y, first, slot };
            emit_tile(b, &t, k, v, &masks);
        };
        let rest = spec.a.queries - spec.rows * (spec.tiles - 1);
        if rest == spec.rows {
            body(b, rest);
        } else {
            b.if_else(Cond::Ne, tile, spec.tiles as i32 - 1, |b| body(b, spec.rows), |b| body(b, rest));
        }
    });
    b.compile()
}

/// The index of each batch loop, from that of all as one.
fn indices(b: &mut KernelBuilder, batch: &[usize], mut rest: Gpr) -> Vec<Gpr> {
    let mut out = Vec::new();
    for (d, &n) in batch.iter().enumerate().rev() {
        if d == 0 {
            out.push(rest);
        } else {
            out.push(b.int_rem(rest, n as u32));
            rest = b.int_div(rest, n as u32);
        }
    }
    out.reverse();
    out
}

fn emit_tile(b: &mut KernelBuilder, t: &Tile, k: Gpr, v: Gpr, masks: &[Gpr]) {
    let spec = t.spec;
    scores::turn_queries(b, t);
    softmax::begin(b, t);
    let block = |b: &mut KernelBuilder, first: Gpr, keys: usize| {
        let block = Block {
            keys,
            first,
            k: advance(b, k, first, 4 * spec.a.k.row),
            v: advance(b, v, first, 4 * spec.a.v.row),
            masks: masks.iter().zip(&spec.a.masks).map(|(&p, m)| advance(b, p, first, 4 * m.col)).collect(),
        };
        scores::emit(b, t, &block);
        softmax::emit(b, t, &block);
        values::emit(b, t, &block);
    };
    let rest = spec.a.keys - spec.keys * (spec.blocks - 1);
    let whole = spec.blocks - usize::from(rest != spec.keys);
    if spec.blocks == 1 {
        let zero = b.int(0);
        block(b, zero, rest);
        return;
    }
    values::begin(b, t);
    b.for_range(0, (whole * spec.keys) as i32, spec.keys as i32, |b, first| block(b, first, spec.keys));
    if whole < spec.blocks {
        let first = b.int((whole * spec.keys) as i64);
        block(b, first, rest);
    }
    softmax::end(b, t);
    values::end(b, t);
}
