//! The position of the greatest or least element along a dimension that is not the last: neighbouring columns are the lanes.

use crate::families::conv::compiled;
use crate::families::fingerprint;
use crate::families::walk::{advance, bump};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_vector::{CompileError, CompiledKernel, Gpr, KernelBuilder, Target, Var, Vector};

/// The family.
pub struct ArgColumns;

/// `[outer][len][inner]`, positions along `len` as `i64`. Units are `outer` times the vectors of `inner`.
#[derive(Clone, PartialEq, Debug)]
struct Spec {
    outer: usize,
    len: usize,
    inner: usize,
    /// The greatest; else the least.
    max: bool,
}

fn read(view: &View, target: &Target) -> Option<(ValueId, Spec)> {
    let anchor = view.anchor.filter(|_| view.epilogue.is_none() && view.prologue.is_none())?;
    let max = match anchor.op.name {
        "arg_max" => true,
        "arg_min" => false,
        _ => return None,
    };
    let x = view.inputs.first().copied().flatten()?;
    let ty = view.graph.ty(x);
    let dims = ty.static_dims().filter(|_| ty.dtype == DType::F32)?;
    let facts = view.graph.facts(view.anchor_id?);
    let ctx = facts.of(anchor);
    let axis = ctx.int("axis").unwrap_or(0);
    let axis = usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis }).ok()?;
    let spec = Spec {
        outer: dims.get(..axis)?.iter().product(),
        len: *dims.get(axis)?,
        inner: dims[axis + 1..].iter().product(),
        max,
    };
    // Results have 8 bytes; displacements have 32 bits.
    let bytes = dims.iter().try_fold(8usize, |a, &d| a.checked_mul(d))?;
    let fits = bytes > 0 && bytes < 1 << 31 && spec.inner >= target.lanes();
    (fits && !ctx.flag("select_last_index")).then_some((x, spec))
}

impl Family for ArgColumns {
    fn name(&self) -> &'static str {
        "arg_columns"
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        Some(vec![(read(view, target)?.0, Wish::Plain)])
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let missing = || OpError::unsupported("not a position along columns");
        let (x, spec) = read(view, lo.target()).ok_or_else(missing)?;
        let operands = vec![lo.input(x, Wish::Plain)?.read(), lo.output(view.outputs[0], Forms::PLAIN)?.write()];
        let units = spec.outer * spec.inner.div_ceil(lo.target().lanes());
        let key = format!("arg_columns_{}_{}", lo.target(), fingerprint(&format!("{spec:?}")));
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(compile(&spec, t, &key)))?;
        lo.step(kernel, operands, units, (spec.outer * spec.len * spec.inner) as u64);
        Ok(())
    }
}

fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let lanes = b.lanes();
    let vectors = spec.inner.div_ceil(lanes);
    let (input, output) = (b.arg(0), b.arg(1));
    let (begin, end) = (b.begin(), b.end());
    b.for_range(begin, end, 1, |b, unit| {
        let column = b.int_rem(unit, vectors as u32);
        let outer = b.int_div(unit, vectors as u32);
        // The last vector begins where it ends with the row; what it shares with the one before comes out the same.
        let first = b.int_mul(column, lanes as i32);
        let first = b.int_min(first, (spec.inner - lanes) as i32);
        let x = advance(b, input, outer, 4 * spec.len * spec.inner);
        let x = advance(b, x, first, 4);
        let y = advance(b, output, outer, 8 * spec.inner);
        let y = advance(b, y, first, 8);
        columns(b, spec, x, y);
    });
    b.compile()
}

/// One vector of columns.
fn columns(b: &mut KernelBuilder, spec: &Spec, x: Gpr, y: Gpr) {
    let zero = b.zero();
    let start = b.load(x.at(0));
    let (best, place): (Var<Vector>, Var<Vector>) = (b.var(start), b.var(zero));
    let (here, from): (Var<Vector>, Var<Gpr>) = (b.var(zero), b.var(x));
    b.repeat(spec.len as u64 - 1, |b| {
        bump(b, from, 4 * spec.inner, 0);
        let one = b.splat(1i32);
        let now = b.get(here);
        let now = b.add_i32(now, one);
        b.set(here, now);
        let v = b.load(b.get(from).at(0));
        let old = b.get(best);
        let better = if spec.max { b.gt(v, old) } else { b.lt(v, old) };
        // A NaN, which differs from itself, wins over numbers.
        let strange = b.ne(v, v);
        let number = b.eq(old, old);
        let first_nan = b.mask_and(strange, number);
        let taken = b.mask_or(better, first_nan);
        let new = b.select(taken, v, old);
        b.set(best, new);
        let old = b.get(place);
        let new = b.select(taken, now, old);
        b.set(place, new);
    });
    // Positions are no negative numbers: their upper halves are zero.
    let place = b.get(place);
    let (low, high) = b.interleave(place, zero);
    b.store(low, y.at(0));
    b.store(high, y.at(4 * b.lanes() as i32));
}
