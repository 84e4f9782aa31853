//! Softmax and its logarithm along rows.

use super::data::Data;
use super::{Piece, RowEpilogue, chains, each, pieces, rows_from, total, total_of};
use crate::families::conv::compiled;
use crate::families::fingerprint;
use crate::families::igemm::spec::Number;
use crate::families::walk::{advance, store_part};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_vector::{CompileError, CompiledKernel, Gpr, KernelBuilder, Target, Vector};

/// The family.
pub struct Softmax;

/// Vectors of a row that stay in registers from the maximum to the result.
const IN_REGISTERS: usize = 6;

#[derive(Clone, PartialEq, Debug)]
struct Spec {
    rows: usize,
    len: usize,
    log: bool,
    from: Data,
    to: Number,
    epilogue: RowEpilogue,
}

/// A softmax with a static shape.
pub(super) struct Node {
    pub x: ValueId,
    pub dims: Vec<usize>,
    pub axis: usize,
    /// Whether it is the logarithm.
    pub log: bool,
    pub from: Data,
    /// What it writes: floats or bytes.
    pub to: Number,
}

impl Node {
    /// `None` if the node is none, or of other numbers.
    pub fn read(view: &View) -> Option<Node> {
        let anchor = view.anchor?;
        let log = match anchor.op.name {
            "softmax" => false,
            "log_softmax" => true,
            _ => return None,
        };
        let x = view.inputs.first().copied().flatten()?;
        let dims = view.graph.ty(x).static_dims().filter(|d| !d.is_empty())?;
        let to = match view.graph.ty(view.outputs[0]).dtype {
            DType::F32 => Number::F32,
            DType::U8 => Number::U8,
            _ => return None,
        };
        let facts = view.graph.facts(view.anchor_id?);
        let axis = facts.of(anchor).int("axis")?;
        let axis = usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis }).ok()?;
        let from = Data::read(view, x)?;
        (axis < dims.len()).then_some(Node { x, dims, axis, log, from, to })
    }
}

fn read(view: &View) -> Option<(ValueId, Spec)> {
    let Node { x, dims, axis, log, from, to } = Node::read(view)?;
    let inner: usize = dims[axis + 1..].iter().product();
    let (rows, len) = rows_from(&dims, axis)?;
    (inner == 1).then_some(())?;
    Some((x, Spec { rows, len, log, from, to, epilogue: RowEpilogue::read_typed(view, len)? }))
}

impl Family for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn reads_prologue(&self) -> bool {
        true
    }

    fn take(&self, view: &View, _: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let (x, _) = read(view)?;
        Some(RowEpilogue::wishes(view).chain([(x, Wish::Plain)]).collect())
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let (x, spec) = read(view).ok_or_else(|| OpError::unsupported("not a softmax along rows"))?;
        let mut operands = vec![lo.input(x, Wish::Plain)?.read()];
        operands.extend(RowEpilogue::operands(view, lo)?);
        operands.push(lo.output(view.outputs[0], Forms::PLAIN)?.write());
        let key = format!("softmax_{}x{}_{}_{}", spec.rows, spec.len, lo.target(), fingerprint(&format!("{spec:?}")));
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(compile(&spec, t, &key)))?;
        lo.step(kernel, operands, spec.rows, (5 * spec.rows * spec.len) as u64);
        Ok(())
    }
}

fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let input = b.arg(0);
    let side_args = spec.epilogue.args(&mut b, 1);
    let output = b.arg(1 + side_args.len());
    let len = spec.len;
    if !len.is_multiple_of(b.lanes()) {
        b.tail_mask(len % b.lanes());
    }
    let (begin, end) = (b.begin(), b.end());
    b.for_range(begin, end, 1, |b, row| {
        let x = advance(b, input, row, spec.from.number().bytes() * len);
        let y = advance(b, output, row, spec.to.bytes() * len);
        let sides = spec.epilogue.rows(b, &side_args, row, len);
        let row = Row { spec, x, y, sides };
        if len.div_ceil(b.lanes()) <= IN_REGISTERS { row.in_registers(b) } else { row.in_passes(b) }
    });
    b.compile()
}

/// A row, and where its result goes.
struct Row<'a> {
    spec: &'a Spec,
    x: Gpr,
    y: Gpr,
    sides: Vec<Gpr>,
}

impl Row<'_> {
    fn load(&self, b: &mut KernelBuilder, at: Piece) -> Vector {
        self.spec.from.load(b, at.of_numbers(self.x, self.spec.from.number()), at.lanes)
    }

    fn store(&self, b: &mut KernelBuilder, v: Vector, at: Piece) {
        let v = self.spec.epilogue.emit(b, v, &self.sides, at);
        store_part(b, self.spec.to, v, at.of_numbers(self.y, self.spec.to), at.lanes);
    }

    /// What follows from the sum of the exponentials: its logarithm, which is taken off, or one over it, a factor.
    fn scaling(&self, b: &mut KernelBuilder, sum: Vector) -> Vector {
        if self.spec.log {
            return b.log(sum);
        }
        let one = b.splat(1.0f32);
        b.div(one, sum)
    }

    fn in_registers(&self, b: &mut KernelBuilder) {
        let (from, log) = (self.spec.from, self.spec.log);
        let pieces: Vec<Piece> = pieces(0..self.spec.len, b.lanes()).collect();
        let loaded: Vec<Vector> = pieces.iter().map(|&at| self.load(b, at)).collect();
        let whole: Vec<Vector> = pieces.iter().zip(&loaded).map(|(at, &v)| at.or(b, v, f32::NEG_INFINITY)).collect();
        let max = total_of(b, &whole, true);
        let below: Vec<Vector> = loaded.iter().map(|&v| from.below(b, v, max)).collect();
        let powers: Vec<Vector> = below.iter().map(|&v| b.exp_nonpositive(v)).collect();
        let whole: Vec<Vector> = pieces.iter().zip(&powers).map(|(at, &e)| at.or(b, e, 0.0)).collect();
        let sum = total_of(b, &whole, false);
        let scaling = self.scaling(b, sum);
        for (i, &at) in pieces.iter().enumerate() {
            let v = if log { b.sub(below[i], scaling) } else { b.mul(powers[i], scaling) };
            self.store(b, v, at);
        }
    }

    /// Three passes over a row that stays in L1: maximum, exponentials and their sum, scaling. Exponentials wait where the result will be, if
    /// that is floats; else they are computed again.
    fn in_passes(&self, b: &mut KernelBuilder) {
        let &Spec { len, log, from, to, .. } = self.spec;
        let wait = !log && to == Number::F32;
        let max = chains(b, f32::NEG_INFINITY);
        each(b, len, &mut |b, at| {
            let v = self.load(b, at);
            let v = at.or(b, v, f32::NEG_INFINITY);
            let old = b.get(max[at.slot]);
            let new = b.max(old, v);
            b.set(max[at.slot], new);
        });
        let max = total(b, &max, true);

        let sum = chains(b, 0.0);
        each(b, len, &mut |b, at| {
            let v = self.load(b, at);
            let v = from.below(b, v, max);
            let e = b.exp_nonpositive(v);
            if wait {
                b.store_part(e, at.of(self.y), at.lanes);
            }
            let e = at.or(b, e, 0.0);
            let old = b.get(sum[at.slot]);
            let new = b.add(old, e);
            b.set(sum[at.slot], new);
        });
        let sum = total(b, &sum, false);

        let scaling = self.scaling(b, sum);
        each(b, len, &mut |b, at| {
            let v = if wait {
                b.load_part(at.of(self.y), at.lanes)
            } else {
                let v = self.load(b, at);
                from.below(b, v, max)
            };
            let v = match (log, wait) {
                (true, _) => b.sub(v, scaling),
                (false, true) => b.mul(v, scaling),
                (false, false) => {
                    let e = b.exp_nonpositive(v);
                    b.mul(e, scaling)
                }
            };
            self.store(b, v, at);
        });
    }
}
