//! Layer and root-mean-square normalisation along rows.

use super::{RowEpilogue, chains, each, rows_from, total};
use crate::families::conv::compiled;
use crate::families::fingerprint;
use crate::families::walk::advance;
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_vector::{CompileError, CompiledKernel, KernelBuilder, Target, Vector};

/// The family.
pub struct Normalize;

#[derive(Clone, PartialEq, Debug)]
struct Spec {
    rows: usize,
    len: usize,
    /// Subtract the mean; else only divide by the root of the mean square.
    centre: bool,
    bias: bool,
    epsilon: f32,
    epilogue: RowEpilogue,
}

struct Node {
    spec: Spec,
    x: ValueId,
    scale: ValueId,
    bias: Option<ValueId>,
}

fn read(view: &View) -> Option<Node> {
    let anchor = view.anchor?;
    let centre = match anchor.op.name {
        "layer_normalization" => true,
        "rms_normalization" => false,
        _ => return None,
    };
    let g = view.graph;
    let input = |i: usize| view.inputs.get(i).copied().flatten();
    let (x, scale, bias) = (input(0)?, input(1)?, input(2));
    let dims = g.ty(x).static_dims()?;
    let facts = g.facts(view.anchor_id?);
    let ctx = facts.of(anchor);
    let axis = ctx.int("axis")?;
    let axis =
        usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis }).ok().filter(|&a| a < dims.len())?;
    let (rows, len) = rows_from(&dims, axis)?;
    let row = |v: ValueId| g.ty(v).dtype == DType::F32 && g.ty(v).static_dims().is_some_and(|d| d == dims[axis..]);
    let fits = g.ty(x).dtype == DType::F32
        && row(scale)
        && bias.is_none_or(row)
        && view.outputs.len() == 1
        && anchor.outputs().len() == 1;
    fits.then_some(())?;
    let epilogue = RowEpilogue::read(view, len)?;
    let spec = Spec { rows, len, centre, bias: bias.is_some(), epsilon: ctx.float("epsilon")?, epilogue };
    Some(Node { spec, x, scale, bias })
}

impl Family for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn take(&self, view: &View, _: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let n = read(view)?;
        let own = [Some(n.x), Some(n.scale), n.bias].into_iter().flatten().map(|v| (v, Wish::Plain));
        Some(RowEpilogue::wishes(view).chain(own).collect())
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let n = read(view).ok_or_else(|| OpError::unsupported("not a normalisation along rows"))?;
        let spec = n.spec;
        let mut operands = Vec::new();
        for v in [Some(n.x), Some(n.scale), n.bias].into_iter().flatten() {
            operands.push(lo.input(v, Wish::Plain)?.read());
        }
        operands.extend(RowEpilogue::operands(view, lo)?);
        operands.push(lo.output(view.outputs[0], Forms::PLAIN)?.write());
        let key = format!("normalize_{}x{}_{}_{}", spec.rows, spec.len, lo.target(), fingerprint(&format!("{spec:?}")));
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(compile(&spec, t, &key)))?;
        lo.step(kernel, operands, spec.rows, (7 * spec.rows * spec.len) as u64);
        Ok(())
    }
}

/// Passes over a row that stays in L1: mean, mean square of the deviations (which loses no digits where the mean is large),
/// result.
fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    let (input, scale) = (b.arg(0), b.arg(1));
    let bias = spec.bias.then(|| b.arg(2));
    let first = 2 + usize::from(spec.bias);
    let side_args = spec.epilogue.args(&mut b, first);
    let output = b.arg(first + side_args.len());
    let len = spec.len;
    if !len.is_multiple_of(b.lanes()) {
        b.tail_mask(len % b.lanes());
    }
    let (begin, end) = (b.begin(), b.end());
    b.for_range(begin, end, 1, |b, row| {
        let x = advance(b, input, row, 4 * len);
        let y = advance(b, output, row, 4 * len);
        let side = spec.epilogue.rows(b, &side_args, row, len);
        let share = 1.0 / len as f32;

        let mean: Option<Vector> = spec.centre.then(|| {
            let sum = chains(b, 0.0);
            each(b, len, &mut |b, at| {
                let v = b.load_part(at.of(x), at.lanes);
                let old = b.get(sum[at.slot]);
                let new = b.add(old, v);
                b.set(sum[at.slot], new);
            });
            let sum = total(b, &sum, false);
            b.mul(sum, share)
        });
        let square = chains(b, 0.0);
        each(b, len, &mut |b, at| {
            let mut v = b.load_part(at.of(x), at.lanes);
            if let Some(mean) = mean {
                v = b.sub(v, mean);
                v = at.or(b, v, 0.0);
            }
            let old = b.get(square[at.slot]);
            let new = b.fma(old, v, v);
            b.set(square[at.slot], new);
        });
        let square = total(b, &square, false);
        let variance = b.mul(square, share);
        let variance = b.add(variance, spec.epsilon);
        let deviation = b.sqrt(variance);
        let one = b.splat(1.0f32);
        let inverse = b.div(one, deviation);

        each(b, len, &mut |b, at| {
            let mut v = b.load_part(at.of(x), at.lanes);
            if let Some(mean) = mean {
                v = b.sub(v, mean);
            }
            v = b.mul(v, inverse);
            let s = b.load_part(at.of(scale), at.lanes);
            v = b.mul(v, s);
            if let Some(bias) = bias {
                let c = b.load_part(at.of(bias), at.lanes);
                v = b.add(v, c);
            }
            v = spec.epilogue.emit(b, v, &side, at);
            b.store_part(v, at.of(y), at.lanes);
        });
    });
    b.compile()
}
