//! Joining and splitting.

use crate::mnn::op::{OpCx, Rows, lacks};
use crate::mnn::table::{Row, row};
use mnnc_ir::{Attrs, OpError};
use mnnc_schema::mnn::{NetSource, OpType};

pub(super) static ROWS: &[Row] =
    &[row(OpType::Concat, concat), row(OpType::Slice, split), row(OpType::Pack, pack), row(OpType::Unpack, unpack)];

fn concat(cx: &mut OpCx) -> Rows {
    let axis = cx.op.main_as_axis().ok_or_else(|| lacks("Axis"))?.axis();
    let mut all = cx.all()?;
    for (i, v) in all.iter_mut().enumerate() {
        *v = cx.reordered(*v, cx.format_of(i), cx.format)?;
    }
    let &first = all.first().ok_or_else(|| OpError::invalid("the op has no inputs"))?;
    let axis = cx.axis(first, axis)?;
    Ok(vec![cx.emit("concat", &all, Attrs::new().with("axis", axis))?])
}

/// Parts along an axis: by cut points (Caffe), by sizes, or of equal size.
fn split(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_slice().ok_or_else(|| lacks("Slice"))?;
    let x = cx.input(0)?;
    let axis = cx.axis(x, p.axis())?;
    let parts = cx.num_outputs();
    let extent = cx.ty(x).dims.get(axis as usize).and_then(|d| d.known()).and_then(|d| i64::try_from(d).ok());
    let open = || OpError::unsupported("the dim that is split is open; fix shapes with --shape NAME=1x3x224x224");
    let points: Vec<i64> = p.slice_points().into_iter().flatten().map(i64::from).collect();
    let sizes: Vec<i64> = if p.source_type() == NetSource::CAFFE {
        let mut sizes = Vec::new();
        let mut previous = 0;
        // The last part is what is left, whatever the last point says.
        for &point in points.iter().take(parts.saturating_sub(1)) {
            sizes.push(point - previous);
            previous = point;
        }
        sizes.push(extent.ok_or_else(open)? - previous);
        sizes
    } else if cx.num_inputs() == 1 && points.len() <= 1 {
        let extent = extent.ok_or_else(open)?;
        let each = match (p.source_type(), points.first()) {
            (NetSource::TORCH, Some(&size)) => size,
            (NetSource::TENSORFLOW, Some(&n)) if n > 0 => extent / n,
            _ => extent / parts.max(1) as i64,
        };
        vec![each; parts]
    } else {
        let mut sizes = if cx.num_inputs() > 1 { cx.const_ints(1, "the sizes")? } else { points };
        sizes.truncate(parts);
        if let Some(at) = sizes.iter().position(|&s| s == -1) {
            let others = sizes.iter().filter(|&&s| s != -1).try_fold(0i64, |a, &s| a.checked_add(s));
            let others = others.ok_or_else(|| OpError::invalid("the sizes overflow"))?;
            sizes[at] = extent.ok_or_else(open)? - others;
        }
        sizes
    };
    if sizes.len() != parts || sizes.iter().any(|&s| s < 0) {
        return Err(OpError::invalid(format!("{} outputs for parts of sizes {sizes:?}", parts)));
    }
    let total = sizes.iter().try_fold(0i64, |a, &s| a.checked_add(s));
    // What nobody asked for is cut off.
    let mut data = x;
    if let (Some(total), Some(extent)) = (total, extent)
        && total < extent
    {
        let (start, end, axes) = (cx.ints(&[0]), cx.ints(&[total]), cx.ints(&[axis]));
        data = cx.aside("slice", &[x, start, end, axes], Attrs::new())?;
    }
    let sizes = cx.ints(&sizes);
    cx.emit_many("split", vec![Some(data), Some(sizes)], Attrs::new().with("axis", axis), parts)
}

fn pack(cx: &mut OpCx) -> Rows {
    let axis = cx.op.main_as_pack_param().ok_or_else(|| lacks("PackParam"))?.axis();
    let mut all = cx.all()?;
    let &first = all.first().ok_or_else(|| OpError::invalid("the op has no inputs"))?;
    let rank = cx.rank(first) as i64 + 1;
    let axis = if axis < 0 { i64::from(axis) + rank } else { i64::from(axis) };
    let at = cx.ints(&[axis]);
    for v in &mut all {
        *v = cx.aside("unsqueeze", &[*v, at], Attrs::new())?;
    }
    Ok(vec![cx.emit("concat", &all, Attrs::new().with("axis", axis))?])
}

fn unpack(cx: &mut OpCx) -> Rows {
    let axis = cx.op.main_as_axis().ok_or_else(|| lacks("Axis"))?.axis();
    let x = cx.input(0)?;
    let axis = cx.axis(x, axis)?;
    let parts = cx.num_outputs();
    let sizes = cx.ints(&vec![1; parts]);
    let out = match parts {
        1 => vec![x],
        _ => cx.emit_many("split", vec![Some(x), Some(sizes)], Attrs::new().with("axis", axis), parts)?,
    };
    let at = cx.ints(&[axis]);
    out.into_iter().map(|v| cx.aside("squeeze", &[v, at], Attrs::new())).collect()
}
