//! The op `transpose`, from any storage to any.

use super::{is_copied, loops, parts};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use crate::storage::Storage;
use mnnc_ir::{OpError, ValueId};
use mnnc_vector::Target;

/// The family.
pub struct Transpose;

/// Input, output shape and the permutation.
fn read(view: &View) -> Option<(ValueId, Vec<usize>, Vec<usize>)> {
    let anchor = view.anchor.filter(|a| a.op.name == "transpose" && view.epilogue.is_none())?;
    let x = view.inputs.first().copied().flatten()?;
    let ty = view.graph.ty(x);
    let dims = ty.static_dims().filter(|d| is_copied(ty.dtype) && !d.contains(&0))?;
    let facts = view.graph.facts(view.anchor_id?);
    let perm: Vec<usize> = match facts.of(anchor).ints("perm") {
        Some(p) => p.into_iter().map(usize::try_from).collect::<Result<_, _>>().ok()?,
        None => (0..dims.len()).rev().collect(),
    };
    let out: Option<Vec<usize>> = perm.iter().map(|&p| dims.get(p).copied()).collect();
    Some((x, out.filter(|o| o.len() == dims.len())?, perm))
}

impl Family for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn take(&self, view: &View, _: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let (x, out, perm) = read(view)?;
        let ty = view.graph.ty(x);
        let (from, to) = (Storage::plain(ty.dtype, &ty.static_dims()?)?, Storage::plain(ty.dtype, &out)?);
        parts(loops::pieces(&out, &from, &perm, &to)?, ty.dtype.size())?;
        Some(Vec::new())
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let missing = || OpError::unsupported("not a transposition of this family");
        let (x, out, perm) = read(view).ok_or_else(missing)?;
        let output = lo.output(view.outputs[0], Forms::PLAIN)?;
        let mut input = lo.input(x, Wish::Any)?;
        let from_any = |s: &Storage| parts(loops::pieces(&out, s, &perm, &output.storage)?, s.dtype.size());
        let parts = match from_any(&input.storage) {
            Some(parts) => parts,
            None => {
                input = lo.input(x, Wish::Plain)?;
                from_any(&input.storage).ok_or_else(missing)?
            }
        };
        lo.copy_parts(&input, &output, parts)
    }
}
