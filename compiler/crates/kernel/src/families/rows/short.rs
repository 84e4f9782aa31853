//! Softmax along rows of two, four, … elements, several of which fill a vector: what a row needs lies in neighbouring lanes.

use super::data::Data;
use super::softmax::Node;
use crate::families::conv::compiled;
use crate::families::igemm::spec::Number;
use crate::families::walk::{advance, store_part};
use crate::families::{epilogue, fingerprint};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use mnnc_ir::scalar::ScalarFn;
use mnnc_ir::{OpError, ValueId};
use mnnc_vector::{CompileError, CompiledKernel, Gpr, KernelBuilder, Target, Vector};

/// The family.
pub struct SoftmaxShort;

/// Vectors of a unit.
const CHUNK: usize = 64;

#[derive(Clone, PartialEq, Debug)]
struct Spec {
    elements: usize,
    len: usize,
    log: bool,
    from: Data,
    to: Number,
    f: Option<ScalarFn>,
}

fn read(view: &View, target: &Target) -> Option<(ValueId, Spec)> {
    let Node { x, dims, axis, log, from, to } = Node::read(view)?;
    let inner: usize = dims[axis + 1..].iter().product();
    let len = dims[axis];
    let elements = dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d))?;
    let scalar = view.epilogue.as_ref().is_none_or(|e| e.sides.is_empty() && epilogue::takes_floats(&e.f));
    let fits =
        inner == 1 && len > 1 && len.is_power_of_two() && len <= target.lanes() && (1..1 << 28).contains(&elements);
    (fits && scalar).then(|| (x, Spec { elements, len, log, from, to, f: view.epilogue.as_ref().map(|e| e.f.clone()) }))
}

impl Family for SoftmaxShort {
    fn name(&self) -> &'static str {
        "softmax_short"
    }

    fn reads_prologue(&self) -> bool {
        true
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        Some(vec![(read(view, target)?.0, Wish::Plain)])
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let (x, spec) = read(view, lo.target()).ok_or_else(|| OpError::unsupported("not a softmax of short rows"))?;
        let operands = vec![lo.input(x, Wish::Plain)?.read(), lo.output(view.outputs[0], Forms::PLAIN)?.write()];
        let units = spec.elements.div_ceil(CHUNK * lo.target().lanes());
        let key = format!(
            "softmax_{}x{}_{}_{}",
            spec.elements / spec.len,
            spec.len,
            lo.target(),
            fingerprint(&format!("{spec:?}"))
        );
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(compile(&spec, t, &key)))?;
        lo.step(kernel, operands, units, (5 * spec.elements) as u64);
        Ok(())
    }
}

fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let (input, output) = (b.arg(0), b.arg(1));
    let (begin, end) = (b.begin(), b.end());
    let lanes = b.lanes();
    let (vectors, tail) = (spec.elements / lanes, spec.elements % lanes);
    let [read, written] = [spec.from.number(), spec.to].map(|n| n.bytes() * lanes);
    b.for_range(begin, end, 1, |b, unit| {
        let (x, y) = (advance(b, input, unit, CHUNK * read), advance(b, output, unit, CHUNK * written));
        let done = b.int_mul(unit, CHUNK as i32);
        let all = b.int(vectors as i64);
        let left = b.int_sub(all, done);
        let here = b.int_min(left, CHUNK as i32);
        let (px, py) = (b.var(x), b.var(y));
        b.repeat_dyn(here, |b| {
            let (x, y) = (b.get(px), b.get(py));
            vector(b, spec, x, y, lanes);
            for (p, at, bytes) in [(px, x, read), (py, y, written)] {
                let next = b.int_add(at, bytes as i32);
                b.set(p, next);
            }
        });
        if tail > 0 {
            b.if_(mnnc_vector::Cond::Lt, left, CHUNK as i32, |b| {
                let (x, y) = (b.get(px), b.get(py));
                vector(b, spec, x, y, tail);
            });
        }
    });
    b.compile()
}

/// Whole rows that fill the first `lanes` lanes of a vector.
fn vector(b: &mut KernelBuilder, spec: &Spec, x: Gpr, y: Gpr, lanes: usize) {
    let v = spec.from.load(b, x.at(0), lanes);
    let max = together(b, spec.len, v, KernelBuilder::max);
    let v = spec.from.below(b, v, max);
    let e = b.exp_nonpositive(v);
    let sum = together(b, spec.len, e, KernelBuilder::add);
    let mut result = if spec.log {
        let log = b.log(sum);
        b.sub(v, log)
    } else {
        b.div(e, sum)
    };
    if let Some(f) = &spec.f {
        result = epilogue::emit(b, f, &mut |_, _| result);
    }
    store_part(b, spec.to, result, y.at(0), lanes);
}

/// All of a row combined, in each of its lanes.
fn together(
    b: &mut KernelBuilder,
    len: usize,
    v: Vector,
    f: fn(&mut KernelBuilder, Vector, Vector) -> Vector,
) -> Vector {
    let lanes = b.lanes() as u32;
    let (mut all, mut apart) = (v, 1);
    while apart < len as u32 {
        let across: Vec<u32> = (0..lanes).map(|i| i ^ apart).collect();
        let other = b.permute(all, &across);
        all = f(b, all, other);
        apart *= 2;
    }
    all
}
