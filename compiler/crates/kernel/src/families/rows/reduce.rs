//! Sum, mean, maximum and minimum over neighbouring dimensions of dense tensors: along rows if they are the last, else with
//! neighbouring columns as lanes.

use super::{chains, each};
use crate::families::conv::compiled;
use crate::families::walk::{advance, bump};
use crate::families::{epilogue, fingerprint};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use mnnc_ir::scalar::ScalarFn;
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_vector::{CompileError, CompiledKernel, Cond, Gpr, KernelBuilder, Target, Var, Vector};

/// The family.
pub struct Reduce;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Kind {
    Sum,
    Mean,
    Max,
    Min,
}

impl Kind {
    fn start(self) -> f32 {
        match self {
            Kind::Sum | Kind::Mean => 0.0,
            Kind::Max => f32::NEG_INFINITY,
            Kind::Min => f32::INFINITY,
        }
    }
    fn combine(self, b: &mut KernelBuilder, x: Vector, y: Vector) -> Vector {
        match self {
            Kind::Sum | Kind::Mean => b.add(x, y),
            // NaN wins, whichever operand it is.
            Kind::Max | Kind::Min => {
                let m = if self == Kind::Max { b.max(x, y) } else { b.min(x, y) };
                let nan = b.ne(x, x);
                b.select(nan, x, m)
            }
        }
    }
}

/// `[outer][len][inner]`, reduced over `len`.
#[derive(Clone, PartialEq, Debug)]
struct Spec {
    kind: Kind,
    outer: usize,
    len: usize,
    inner: usize,
    f: Option<ScalarFn>,
    /// Further operands of the formula: one number each.
    numbers: usize,
}

fn read(view: &View) -> Option<(ValueId, Spec)> {
    let anchor = view.anchor?;
    let kind = match anchor.op.name {
        "reduce_sum" => Kind::Sum,
        "reduce_mean" => Kind::Mean,
        "reduce_max" => Kind::Max,
        "reduce_min" => Kind::Min,
        _ => return None,
    };
    let x = view.inputs.first().copied().flatten()?;
    let ty = view.graph.ty(x);
    let dims = ty.static_dims().filter(|d| ty.dtype == DType::F32 && !d.is_empty())?;
    let facts = view.graph.facts(view.anchor_id?);
    let ctx = facts.of(anchor);
    let given = match ctx.opt_input(1) {
        Some(_) => ctx.const_ints(1).ok()?,
        None => Vec::new(),
    };
    if given.is_empty() && ctx.flag("noop_with_empty_axes") {
        return None;
    }
    let rank = dims.len();
    let mut axes: Vec<usize> = if given.is_empty() {
        (0..rank).collect()
    } else {
        given
            .into_iter()
            .map(|a| usize::try_from(if a < 0 { a + rank as i64 } else { a }).ok())
            .collect::<Option<_>>()?
    };
    axes.sort_unstable();
    let (&first, &last) = (axes.first()?, axes.last()?);
    let adjoining = last < rank && axes.windows(2).all(|w| w[1] == w[0] + 1);
    let sides = view.epilogue.as_ref().map_or(&[][..], |e| &e.sides);
    let number = |&v: &ValueId| {
        let ty = view.graph.ty(v);
        ty.dtype == DType::F32 && ty.num_elements() == Some(1)
    };
    let scalar = sides.iter().all(number) && view.epilogue.as_ref().is_none_or(|e| epilogue::is_supported(&e.f));
    let bytes = dims.iter().try_fold(4usize, |a, &d| a.checked_mul(d))?;
    let spec = Spec {
        kind,
        outer: dims[..first].iter().product(),
        len: dims.get(first..=last)?.iter().product(),
        inner: dims[last + 1..].iter().product(),
        f: view.epilogue.as_ref().map(|e| e.f.clone()),
        numbers: sides.len(),
    };
    (adjoining && scalar && bytes > 0 && bytes < 1 << 31).then_some((x, spec))
}

impl Family for Reduce {
    fn name(&self) -> &'static str {
        "reduce"
    }

    fn take(&self, view: &View, _: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let (x, _) = read(view)?;
        let sides = view.epilogue.as_ref().map_or(&[][..], |e| &e.sides);
        Some(std::iter::once(x).chain(sides.iter().copied()).map(|v| (v, Wish::Plain)).collect())
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let (x, spec) = read(view).ok_or_else(|| OpError::unsupported("not a reduction over adjoining dimensions"))?;
        let mut operands = vec![lo.input(x, Wish::Plain)?.read()];
        for &v in view.epilogue.as_ref().map_or(&[][..], |e| &e.sides) {
            operands.push(lo.input(v, Wish::Plain)?.read());
        }
        operands.push(lo.output(view.outputs[0], Forms::PLAIN)?.write());
        let columns = if spec.inner == 1 { 1 } else { spec.inner.div_ceil(lo.target().lanes()) };
        let key = format!(
            "reduce_{}x{}x{}_{}_{}",
            spec.outer,
            spec.len,
            spec.inner,
            lo.target(),
            fingerprint(&format!("{spec:?}"))
        );
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(compile(&spec, t, &key)))?;
        lo.step(kernel, operands, spec.outer * columns, (spec.outer * spec.len * spec.inner) as u64);
        Ok(())
    }
}

fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let lanes = b.lanes();
    let input = b.arg(0);
    let numbers: Vec<Gpr> = (0..spec.numbers).map(|i| b.arg(1 + i)).collect();
    let output = b.arg(1 + spec.numbers);
    let (begin, end) = (b.begin(), b.end());
    if spec.inner == 1 {
        if !spec.len.is_multiple_of(lanes) {
            b.tail_mask(spec.len % lanes);
        }
        b.for_range(begin, end, 1, |b, row| {
            let (x, y) = (advance(b, input, row, 4 * spec.len), advance(b, output, row, 4));
            let v = along_row(b, spec, x);
            finish(b, spec, v, y, &numbers, 1);
        });
        return b.compile();
    }
    let vectors = spec.inner.div_ceil(lanes);
    b.for_range(begin, end, 1, |b, unit| {
        let column = b.int_rem(unit, vectors as u32);
        let outer = b.int_div(unit, vectors as u32);
        let place = |b: &mut KernelBuilder, p: Gpr, rows: usize| {
            let p = advance(b, p, outer, 4 * rows * spec.inner);
            advance(b, p, column, 4 * lanes)
        };
        let (x, y) = (place(b, input, spec.len), place(b, output, 1));
        match spec.inner % lanes {
            0 => column_sums(b, spec, [x, y], &numbers, lanes),
            tail => b.if_else(
                Cond::Ne,
                column,
                vectors as i32 - 1,
                |b| column_sums(b, spec, [x, y], &numbers, lanes),
                |b| column_sums(b, spec, [x, y], &numbers, tail),
            ),
        }
    });
    b.compile()
}

/// The reduction of a row, in lane 0.
fn along_row(b: &mut KernelBuilder, spec: &Spec, x: Gpr) -> Vector {
    let acc = chains(b, spec.kind.start());
    each(b, spec.len, &mut |b, at| {
        let v = b.load_part(at.of(x), at.lanes);
        let v = at.or(b, v, spec.kind.start());
        let old = b.get(acc[at.slot]);
        let new = spec.kind.combine(b, old, v);
        b.set(acc[at.slot], new);
    });
    let mut all = b.get(acc[0]);
    for &c in &acc[1..] {
        let c = b.get(c);
        all = spec.kind.combine(b, all, c);
    }
    if matches!(spec.kind, Kind::Sum | Kind::Mean) {
        return b.reduce_add(all);
    }
    // Halves against each other, which keeps NaN.
    let lanes = b.lanes() as u32;
    let mut apart = lanes / 2;
    while apart > 0 {
        let across: Vec<u32> = (0..lanes).map(|i| i ^ apart).collect();
        let other = b.permute(all, &across);
        all = spec.kind.combine(b, all, other);
        apart /= 2;
    }
    all
}

/// One vector of columns, `lanes` of which exist.
fn column_sums(b: &mut KernelBuilder, spec: &Spec, [x, y]: [Gpr; 2], numbers: &[Gpr], lanes: usize) {
    const UNROLL: usize = 4;
    if !lanes.is_power_of_two() {
        b.tail_mask(lanes);
    }
    let stride = 4 * spec.inner;
    let at: Var<Gpr> = b.var(x);
    let acc: Vec<Var<Vector>> = (0..UNROLL)
        .map(|_| {
            let v = b.splat(spec.kind.start());
            b.var(v)
        })
        .collect();
    let take = |b: &mut KernelBuilder, n: usize| {
        for &var in &acc[..n] {
            let p = b.get(at);
            let v = b.load_part(p.at(0), lanes);
            let old = b.get(var);
            let new = spec.kind.combine(b, old, v);
            b.set(var, new);
            bump(b, at, stride, 0);
        }
    };
    b.repeat((spec.len / UNROLL) as u64, |b| take(b, UNROLL));
    take(b, spec.len % UNROLL);
    let mut all = b.get(acc[0]);
    for &c in &acc[1..] {
        let c = b.get(c);
        all = spec.kind.combine(b, all, c);
    }
    finish(b, spec, all, y, numbers, lanes);
}

fn finish(b: &mut KernelBuilder, spec: &Spec, v: Vector, y: Gpr, numbers: &[Gpr], lanes: usize) {
    let mut v = v;
    if spec.kind == Kind::Mean {
        v = b.mul(v, 1.0 / spec.len as f32);
    }
    if let Some(f) = &spec.f {
        v = epilogue::emit(b, f, &mut |b, i| i.checked_sub(1).map_or(v, |i| b.broadcast(numbers[i].at(0))));
    }
    b.store_part(v, y.at(0), lanes);
}
