//! Softmax and its logarithm along rows.

use super::{RowEpilogue, chains, each, rows_from, total};
use crate::families::conv::compiled;
use crate::families::fingerprint;
use crate::families::walk::advance;
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_vector::{CompileError, CompiledKernel, KernelBuilder, Target};

/// The family.
pub struct Softmax;

#[derive(Clone, PartialEq, Debug)]
struct Spec {
    rows: usize,
    len: usize,
    log: bool,
    epilogue: RowEpilogue,
}

/// Operand, shape and axis of a softmax over `f32` with a static shape; whether it is the logarithm.
pub(super) fn softmax(view: &View) -> Option<(ValueId, Vec<usize>, usize, bool)> {
    let anchor = view.anchor?;
    let log = match anchor.op.name {
        "softmax" => false,
        "log_softmax" => true,
        _ => return None,
    };
    let x = view.inputs.first().copied().flatten()?;
    let ty = view.graph.ty(x);
    let dims = ty.static_dims().filter(|d| ty.dtype == DType::F32 && !d.is_empty())?;
    let facts = view.graph.facts(view.anchor_id?);
    let axis = facts.of(anchor).int("axis")?;
    let axis = usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis }).ok()?;
    (axis < dims.len()).then_some((x, dims, axis, log))
}

fn read(view: &View) -> Option<(ValueId, Spec)> {
    let (x, dims, axis, log) = softmax(view)?;
    let inner: usize = dims[axis + 1..].iter().product();
    let (rows, len) = rows_from(&dims, axis)?;
    (inner == 1).then_some(())?;
    Some((x, Spec { rows, len, log, epilogue: RowEpilogue::read(view, len)? }))
}

impl Family for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
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

/// Three passes over a row that stays in L1: maximum, exponentials and their sum, scaling.
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
        let x = advance(b, input, row, 4 * len);
        let y = advance(b, output, row, 4 * len);
        let side = spec.epilogue.rows(b, &side_args, row, len);

        let max = chains(b, f32::NEG_INFINITY);
        each(b, len, &mut |b, at| {
            let v = b.load_part(at.of(x), at.lanes);
            let v = at.or(b, v, f32::NEG_INFINITY);
            let old = b.get(max[at.slot]);
            let new = b.max(old, v);
            b.set(max[at.slot], new);
        });
        let max = total(b, &max, true);

        let sum = chains(b, 0.0);
        each(b, len, &mut |b, at| {
            let v = b.load_part(at.of(x), at.lanes);
            let v = b.sub(v, max);
            let e = b.exp_nonpositive(v);
            if !spec.log {
                b.store_part(e, at.of(y), at.lanes);
            }
            let e = at.or(b, e, 0.0);
            let old = b.get(sum[at.slot]);
            let new = b.add(old, e);
            b.set(sum[at.slot], new);
        });
        let sum = total(b, &sum, false);

        let shift = if spec.log {
            let log = b.log(sum);
            b.add(log, max)
        } else {
            let one = b.splat(1.0f32);
            b.div(one, sum)
        };
        each(b, len, &mut |b, at| {
            let v = if spec.log {
                let v = b.load_part(at.of(x), at.lanes);
                b.sub(v, shift)
            } else {
                let e = b.load_part(at.of(y), at.lanes);
                b.mul(e, shift)
            };
            let v = spec.epilogue.emit(b, v, &side, at);
            b.store_part(v, at.of(y), at.lanes);
        });
    });
    b.compile()
}
