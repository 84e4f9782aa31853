//! Padding.

use super::Family;
use crate::cx::{Cx, Reason, to_i32};
use crate::net::{Layouts, Shape, Tid, Ty};
use mnnc_ops::axes::normalize_axis;
use mnnc_schema::mnn::{OpParameterT, OpType, PadParamT, PadValueMode};

pub(super) const RULES: Family = &[("pad", pad)];

fn emit_pad(cx: &mut Cx, x: Tid, pads: &[i32], mode: PadValueMode, value: Option<Tid>) -> Tid {
    let shape: Shape = cx.shape(x);
    let sides = pads.chunks(2).map(|side| i64::from(side[0]) + i64::from(side[1]));
    let shape = shape
        .iter()
        .zip(sides)
        .map(|(d, extra)| d.and_then(|d| usize::try_from(i64::try_from(d).ok()? + extra).ok()))
        .collect();
    let ty = cx.ty(x);
    let mut inputs = vec![x, cx.ints(pads)];
    inputs.extend(value);
    let main = OpParameterT::PadParam(Box::new(PadParamT { mode }));
    // Of an image, height and width can be padded in the packed form.
    let only_spatial = pads.len() == 8 && pads[..4].iter().all(|&p| p == 0) && ty == Ty::Float;
    let layouts = if only_spatial { Layouts::Follow } else { Layouts::Plain };
    cx.emit(OpType::Padding, main, inputs, (shape, ty), layouts)
}

/// Zeros around `x`: `[before, after]` for each dim in turn.
pub(super) fn pad_constant(cx: &mut Cx, x: Tid, pads: &[i32]) -> Result<Tid, Reason> {
    Ok(emit_pad(cx, x, pads, PadValueMode::CONSTANT, None))
}

fn pad(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let given = cx.op.const_ints(1)?;
    let axes: Vec<usize> = match cx.op.opt_input(3) {
        Some(_) => cx.op.const_ints(3)?.into_iter().map(|a| normalize_axis(a, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    if given.len() != 2 * axes.len() {
        return Err(format!("pads has {} entries; {} are needed", given.len(), 2 * axes.len()).into());
    }
    let mut pads = vec![0; 2 * rank];
    for (i, &axis) in axes.iter().enumerate() {
        (pads[2 * axis], pads[2 * axis + 1]) = (to_i32(given[i])?, to_i32(given[axes.len() + i])?);
    }
    let mode = match cx.op.string("mode").as_deref() {
        None | Some("constant") => PadValueMode::CONSTANT,
        Some("reflect") => PadValueMode::REFLECT,
        Some("edge") => PadValueMode::EDGE,
        Some(other) => return Err(format!("MNN has no padding mode '{other}'").into()),
    };
    // What shrinks is cut first; the rest only grows.
    let mut x = x;
    if pads.iter().any(|&p| p < 0) {
        let shape = cx.static_shape(x)?;
        let begins: Vec<usize> = pads.chunks(2).map(|side| side[0].min(0).unsigned_abs() as usize).collect();
        let sizes: Option<Vec<usize>> = shape
            .iter()
            .zip(pads.chunks(2))
            .map(|(d, side)| d.checked_sub((side[0].min(0).unsigned_abs() + side[1].min(0).unsigned_abs()) as usize))
            .collect();
        x = super::slice::slice_box(cx, x, &begins, &sizes.ok_or("more is cut than is there")?)?;
        pads.iter_mut().for_each(|p| *p = (*p).max(0));
    }
    if pads.iter().all(|&p| p == 0) {
        return Ok(vec![x]);
    }
    if mode != PadValueMode::CONSTANT {
        return Ok(vec![pad_mirrored(cx, x, &pads, mode)?]);
    }
    let value = match cx.op.opt_input(2) {
        Some(_) => {
            let value = cx.input(2)?;
            Some(cx.reshape(value, Vec::new())?)
        }
        None => None,
    };
    Ok(vec![emit_pad(cx, x, &pads, mode, value)])
}

/// MNN mirrors the innermost three dims right; others take their turn as an inner one.
fn pad_mirrored(cx: &mut Cx, x: Tid, pads: &[i32], mode: PadValueMode) -> Result<Tid, Reason> {
    let rank = cx.rank(x);
    let outer = rank.saturating_sub(3);
    if pads[..2 * outer].iter().all(|&p| p == 0) {
        return Ok(emit_pad(cx, x, pads, mode, None));
    }
    let swapped: Vec<usize> = (outer..rank).chain(0..outer).collect();
    if swapped.len() > 6 || outer > 3 {
        return Err(format!("MNN mirrors three dims of a tensor, not {rank}").into());
    }
    let mut inner = pads.to_vec();
    inner[..2 * outer].fill(0);
    let mut first = pads.to_vec();
    first[2 * outer..].fill(0);
    let moved: Vec<i32> = swapped.iter().flat_map(|&i| [first[2 * i], first[2 * i + 1]]).collect();
    let x = cx.permute(x, &swapped)?;
    let x = emit_pad(cx, x, &moved, mode, None);
    let mut back = vec![0; rank];
    swapped.iter().enumerate().for_each(|(to, &from)| back[from] = to);
    let x = cx.permute(x, &back)?;
    if inner.iter().all(|&p| p == 0) { Ok(x) } else { Ok(emit_pad(cx, x, &inner, mode, None)) }
}
