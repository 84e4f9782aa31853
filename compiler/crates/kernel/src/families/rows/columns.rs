//! Softmax and its logarithm along a dimension that is not the last: neighbouring columns are the lanes.

use super::data::Data;
use super::softmax::Node;
use crate::families::conv::compiled;
use crate::families::igemm::spec::Number;
use crate::families::walk::{advance, bump, store_part};
use crate::families::{epilogue, fingerprint};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use mnnc_ir::scalar::ScalarFn;
use mnnc_ir::{OpError, ValueId};
use mnnc_vector::{CompileError, CompiledKernel, Gpr, KernelBuilder, Target, Var, Vector};

/// The family.
pub struct SoftmaxColumns;

/// `[outer][len][inner]`, the softmax along `len`. Units are `outer` times the vectors of `inner`.
#[derive(Clone, PartialEq, Debug)]
struct Spec {
    outer: usize,
    len: usize,
    inner: usize,
    log: bool,
    from: Data,
    to: Number,
    f: Option<ScalarFn>,
}

fn read(view: &View) -> Option<(ValueId, Spec)> {
    let Node { x, dims, axis, log, from, to } = Node::read(view)?;
    let scalar = view.epilogue.as_ref().is_none_or(|e| e.sides.is_empty() && epilogue::takes_floats(&e.f));
    let spec = Spec {
        outer: dims[..axis].iter().product(),
        len: dims[axis],
        inner: dims[axis + 1..].iter().product(),
        log,
        from,
        to,
        f: view.epilogue.as_ref().map(|e| e.f.clone()),
    };
    let bytes = dims.iter().try_fold(4usize, |a, &d| a.checked_mul(d))?;
    (scalar && bytes > 0 && bytes < 1 << 31).then_some((x, spec))
}

impl Family for SoftmaxColumns {
    fn name(&self) -> &'static str {
        "softmax_columns"
    }

    fn reads_prologue(&self) -> bool {
        true
    }

    fn take(&self, view: &View, _: &Target) -> Option<Vec<(ValueId, Wish)>> {
        Some(vec![(read(view)?.0, Wish::Plain)])
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let (x, spec) = read(view).ok_or_else(|| OpError::unsupported("not a softmax along columns"))?;
        let operands = vec![lo.input(x, Wish::Plain)?.read(), lo.output(view.outputs[0], Forms::PLAIN)?.write()];
        let units = spec.outer * spec.inner.div_ceil(lo.target().lanes());
        let key = format!("softmax_columns_{}_{}", lo.target(), fingerprint(&format!("{spec:?}")));
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(compile(&spec, t, &key)))?;
        lo.step(kernel, operands, units, (5 * spec.outer * spec.len * spec.inner) as u64);
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
        let place = |b: &mut KernelBuilder, p: Gpr, number: Number| {
            let p = advance(b, p, outer, number.bytes() * spec.len * spec.inner);
            advance(b, p, column, number.bytes() * lanes)
        };
        let (x, y) = (place(b, input, spec.from.number()), place(b, output, spec.to));
        let tail = spec.inner % lanes;
        if tail == 0 {
            columns(b, spec, x, y, lanes);
        } else {
            b.if_else(
                mnnc_vector::Cond::Ne,
                column,
                vectors as i32 - 1,
                |b| columns(b, spec, x, y, lanes),
                |b| columns(b, spec, x, y, tail),
            );
        }
    });
    b.compile()
}

/// One vector of columns, `lanes` of which exist.
fn columns(b: &mut KernelBuilder, spec: &Spec, x: Gpr, y: Gpr, lanes: usize) {
    let from = spec.from;
    // Exponentials wait where the result will be, if that is floats.
    let wait = !spec.log && spec.to == Number::F32;
    let [read, written] = [from.number(), spec.to].map(|n| n.bytes() * spec.inner);
    if !lanes.is_power_of_two() {
        b.tail_mask(lanes);
    }
    let walk = |b: &mut KernelBuilder, body: &mut dyn FnMut(&mut KernelBuilder, Gpr, Gpr)| {
        let (px, py): (Var<Gpr>, Var<Gpr>) = (b.var(x), b.var(y));
        b.repeat(spec.len as u64, |b| {
            let (x, y) = (b.get(px), b.get(py));
            body(b, x, y);
            bump(b, px, read, 0);
            bump(b, py, written, 0);
        });
    };
    let start = b.splat(f32::NEG_INFINITY);
    let max: Var<Vector> = b.var(start);
    walk(b, &mut |b, x, _| {
        let v = from.load(b, x.at(0), lanes);
        let old = b.get(max);
        let new = b.max(old, v);
        b.set(max, new);
    });
    let zero = b.zero();
    let sum: Var<Vector> = b.var(zero);
    walk(b, &mut |b, x, y| {
        let v = from.load(b, x.at(0), lanes);
        let m = b.get(max);
        let v = from.below(b, v, m);
        let e = b.exp_nonpositive(v);
        if wait {
            b.store_part(e, y.at(0), lanes);
        }
        let old = b.get(sum);
        let new = b.add(old, e);
        b.set(sum, new);
    });
    let sum = b.get(sum);
    let scaling = if spec.log {
        b.log(sum)
    } else {
        let one = b.splat(1.0f32);
        b.div(one, sum)
    };
    walk(b, &mut |b, x, y| {
        let v = if wait {
            b.load_part(y.at(0), lanes)
        } else {
            let v = from.load(b, x.at(0), lanes);
            let m = b.get(max);
            from.below(b, v, m)
        };
        let mut v = match (spec.log, wait) {
            (true, _) => b.sub(v, scaling),
            (false, true) => b.mul(v, scaling),
            (false, false) => {
                let e = b.exp_nonpositive(v);
                b.mul(e, scaling)
            }
        };
        if let Some(f) = &spec.f {
            v = epilogue::emit(b, f, &mut |_, _| v);
        }
        store_part(b, spec.to, v, y.at(0), lanes);
    });
}
