//! Slices with constant bounds.

use super::Family;
use crate::cx::{Cx, Reason, to_i32};
use crate::net::{Layouts, Shape, Tid};
use mnnc_ops::axes::normalize_axis;
use mnnc_schema::mnn::{OpParameterT, OpType, SliceTfT, StridedSliceParamT};

pub(super) const RULES: Family = &[("slice", slice)];

/// The box that begins at `begins` and has the given sizes.
pub(super) fn slice_box(cx: &mut Cx, x: Tid, begins: &[usize], sizes: &[usize]) -> Result<Tid, Reason> {
    let shape: Shape = sizes.iter().map(|&s| Some(s)).collect();
    if shape == cx.shape(x) {
        return Ok(x);
    }
    let ints = |v: &[usize]| v.iter().map(|&n| to_i32(n)).collect::<Result<Vec<_>, _>>();
    let (begins, sizes) = (ints(begins)?, ints(sizes)?);
    let (begins, sizes) = (cx.ints(&begins), cx.ints(&sizes));
    let ty = cx.ty(x);
    let main = OpParameterT::SliceTf(Box::new(SliceTfT { t: ty.data_type() }));
    Ok(cx.emit(OpType::SliceTf, main, vec![x, begins, sizes], (shape, ty), Layouts::Plain))
}

fn slice(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let (starts, ends) = (cx.op.const_ints(1)?, cx.op.const_ints(2)?);
    let axes: Vec<usize> = match cx.op.opt_input(3) {
        Some(_) => cx.op.const_ints(3)?.into_iter().map(|a| normalize_axis(a, rank)).collect::<Result<_, _>>()?,
        None => (0..starts.len()).collect(),
    };
    let steps = match cx.op.opt_input(4) {
        Some(_) => cx.op.const_ints(4)?,
        None => vec![1; starts.len()],
    };
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return Err("starts, ends, axes and steps differ in length".into());
    }
    let from = cx.shape(x);
    let to = cx.output_shape(0);
    let mut begin = vec![0i64; rank];
    let mut step = vec![1i64; rank];
    for (i, &axis) in axes.iter().enumerate() {
        if steps[i] == 0 {
            return Err("a step is 0".into());
        }
        // A start that counts from the back needs the extent.
        let start = match from[axis].and_then(|d| i64::try_from(d).ok()) {
            Some(d) => {
                let start = if starts[i] < 0 { starts[i].saturating_add(d) } else { starts[i] };
                if steps[i] > 0 { start.clamp(0, d) } else { start.clamp(-1, d - 1) }
            }
            None => return dynamic_slice(cx, x, &starts, &ends, &axes, &steps),
        };
        (begin[axis], step[axis]) = (start, steps[i]);
    }
    let sizes: Option<Vec<usize>> = to.iter().copied().collect();
    let Some(sizes) = sizes else { return dynamic_slice(cx, x, &starts, &ends, &axes, &steps) };
    if sizes.contains(&0) {
        return Err("the result is empty".into());
    }
    // A single element needs no step.
    (0..rank).filter(|&axis| sizes[axis] == 1).for_each(|axis| step[axis] = 1);
    if step.iter().all(|&s| s == 1) {
        let begins: Vec<usize> = begin.iter().map(|&b| usize::try_from(b).unwrap_or(0)).collect();
        return Ok(vec![slice_box(cx, x, &begins, &sizes)?]);
    }
    // Positive steps are one op; backward dims are picked by index, which MNN does without surprises.
    let mut x = x;
    for axis in 0..rank {
        if step[axis] < 0 {
            let picks: Vec<i32> =
                (0..sizes[axis]).map(|i| to_i32(begin[axis] + step[axis] * i as i64)).collect::<Result<_, _>>()?;
            x = super::gather::take(cx, x, &picks, axis)?;
            (begin[axis], step[axis]) = (0, 1);
        }
    }
    if step.iter().all(|&s| s == 1) {
        let begins: Vec<usize> = begin.iter().map(|&b| usize::try_from(b).unwrap_or(0)).collect();
        return Ok(vec![slice_box(cx, x, &begins, &sizes)?]);
    }
    let ends: Vec<i32> =
        (0..rank).map(|i| to_i32(begin[i] + (sizes[i] as i64 - 1) * step[i] + 1)).collect::<Result<_, _>>()?;
    let begins = begin.iter().map(|&b| to_i32(b)).collect::<Result<Vec<_>, _>>()?;
    let steps = step.iter().map(|&s| to_i32(s)).collect::<Result<Vec<_>, _>>()?;
    let inputs = vec![x, cx.ints(&begins), cx.ints(&ends), cx.ints(&steps)];
    let ty = cx.ty(x);
    let main = StridedSliceParamT { t: ty.data_type(), ..StridedSliceParamT::default() };
    let main = OpParameterT::StridedSliceParam(Box::new(main));
    Ok(vec![cx.emit(OpType::StridedSlice, main, inputs, (to, ty), Layouts::Plain)])
}

/// Over dims that are known only at run time: the engine's own ONNX form, which takes bounds from the back.
fn dynamic_slice(
    cx: &mut Cx,
    x: Tid,
    starts: &[i64],
    ends: &[i64],
    axes: &[usize],
    steps: &[i64],
) -> Result<Vec<Tid>, Reason> {
    if steps.iter().any(|&s| s < 0) {
        return Err(
            "a backward slice of a dim that is known only at run time; fix it with --shape NAME=1x3x224x224".into()
        );
    }
    // MNN's own bound for "to the end".
    let limit = |v: &[i64]| v.iter().map(|&n| n.clamp(-(1 << 30), 1 << 30) as i32).collect::<Vec<_>>();
    let axes = axes.iter().map(|&a| to_i32(a)).collect::<Result<Vec<_>, _>>()?;
    let inputs = vec![x, cx.ints(&limit(starts)), cx.ints(&limit(ends)), cx.ints(&axes), cx.ints(&limit(steps))];
    let ty = cx.ty(x);
    let main = StridedSliceParamT { t: ty.data_type(), from_type: 1, ..StridedSliceParamT::default() };
    let main = OpParameterT::StridedSliceParam(Box::new(main));
    let shape = cx.output_shape(0);
    Ok(vec![cx.emit(OpType::StridedSlice, main, inputs, (shape, ty), Layouts::Plain)])
}
