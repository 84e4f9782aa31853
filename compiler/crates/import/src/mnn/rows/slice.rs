//! Parts of a tensor.

use crate::mnn::op::{OpCx, Rows, lacks};
use crate::mnn::table::{Row, row};
use mnnc_ir::{Attrs, OpError};
use mnnc_schema::mnn::OpType;

pub(super) static ROWS: &[Row] =
    &[row(OpType::SliceTf, slice_tf), row(OpType::StridedSlice, strided_slice), row(OpType::Crop, crop)];

/// Begin and size for every dim; a size of -1 goes to the end.
fn slice_tf(cx: &mut OpCx) -> Rows {
    let x = cx.input(0)?;
    let (begins, sizes) = (cx.const_ints(1, "the begin")?, cx.const_ints(2, "the size")?);
    if begins.len() != cx.rank(x) || sizes.len() != begins.len() {
        return Err(OpError::invalid(format!(
            "{} begins and {} sizes for rank {}",
            begins.len(),
            sizes.len(),
            cx.rank(x)
        )));
    }
    let ends: Vec<i64> = begins
        .iter()
        .zip(&sizes)
        .map(|(&b, &s)| match s {
            -1 => i64::MAX,
            s => {
                let end = b.saturating_add(s);
                // From the back, an end of 0 is the end.
                if b < 0 && end >= 0 { i64::MAX } else { end }
            }
        })
        .collect();
    let (begins, ends) = (cx.ints(&begins), cx.ints(&ends));
    Ok(vec![cx.emit("slice", &[x, begins, ends], Attrs::new())?])
}

fn strided_slice(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_strided_slice_param().ok_or_else(|| lacks("StridedSliceParam"))?;
    let x = cx.input(0)?;
    if p.from_type() == 1 {
        // ONNX's own form.
        let mut inputs = vec![x];
        for i in 1..cx.num_inputs() {
            inputs.push(cx.shape_operand(i)?);
        }
        return Ok(vec![cx.emit("slice", &inputs, Attrs::new())?]);
    }
    if cx.num_inputs() > 4 {
        return Err(OpError::unsupported("assignment to a slice is not supported"));
    }
    let begins = cx.const_ints(1, "the begin")?;
    let ends = cx.const_ints(2, "the end")?;
    let steps = if cx.num_inputs() > 3 { cx.const_ints(3, "the strides")? } else { vec![1; begins.len()] };
    let n = begins.len();
    if ends.len() != n || steps.len() != n || n > 32 {
        return Err(OpError::invalid(format!("{n} begins, {} ends and {} strides", ends.len(), steps.len())));
    }
    let bit = |mask: i32, i: usize| mask >> i & 1 != 0;
    let (ellipsis, new) = (p.ellipsis_mask(), p.new_axis_mask());
    // Entries that stand for a dim of x; an ellipsis stands for all that the others leave.
    let named = (0..n).filter(|&i| !bit(ellipsis, i) && !bit(new, i)).count();
    let left = cx.rank(x).checked_sub(named);
    let left =
        left.ok_or_else(|| OpError::invalid(format!("{named} dims are sliced of a tensor of rank {}", cx.rank(x))))?;
    let (mut starts, mut stops, mut strides, mut axes) = (vec![], vec![], vec![], vec![]);
    let (mut gone, mut made) = (Vec::new(), Vec::new());
    let (mut axis, mut out) = (0i64, 0i64);
    for i in 0..n {
        if bit(ellipsis, i) {
            axis += left as i64;
            out += left as i64;
            continue;
        }
        if bit(new, i) {
            made.push(out);
            out += 1;
            continue;
        }
        let shrinks = bit(p.shrink_axis_mask(), i);
        let step = if shrinks { 1 } else { steps[i] };
        let start = match (bit(p.begin_mask(), i), step < 0) {
            (true, false) => 0,
            (true, true) => i64::MAX,
            (false, _) => begins[i],
        };
        let stop = match (shrinks, bit(p.end_mask(), i), step < 0) {
            (true, ..) if start == -1 => i64::MAX,
            (true, ..) => start.saturating_add(1),
            (_, true, false) => i64::MAX,
            (_, true, true) => i64::MIN,
            // MNN takes -1 for the place before the first when it goes backward.
            (_, false, true) if ends[i] < 0 => i64::MIN,
            _ => ends[i],
        };
        starts.push(start);
        stops.push(stop);
        strides.push(step);
        axes.push(axis);
        match shrinks {
            true => gone.push(axis),
            false => out += 1,
        }
        axis += 1;
    }
    let mut y = x;
    if !axes.is_empty() {
        let inputs = [&starts, &stops, &axes, &strides].map(|v| cx.ints(v));
        y = cx.emit("slice", &[&[x], &inputs[..]].concat(), Attrs::new())?;
    }
    if !gone.is_empty() {
        let gone = cx.ints(&gone);
        y = cx.aside("squeeze", &[y, gone], Attrs::new())?;
    }
    if !made.is_empty() {
        let made = cx.ints(&made);
        y = cx.aside("unsqueeze", &[y, made], Attrs::new())?;
    }
    Ok(vec![y])
}

/// Caffe's crop: from `axis` on, a window of the second input's size at the given offsets.
fn crop(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_crop().ok_or_else(|| lacks("Crop"))?;
    let (x, like) = (cx.input(0)?, cx.input(1)?);
    let rank = cx.rank(x);
    let axis = cx.axis(x, p.axis())? as usize;
    let offsets: Vec<i64> = p.offset().into_iter().flatten().map(i64::from).collect();
    if cx.rank(like) != rank {
        return Err(OpError::invalid("the two inputs differ in rank"));
    }
    let (mut starts, mut ends, mut axes) = (vec![], vec![], vec![]);
    for i in axis..rank {
        let size = cx.ty(like).dims.get(i).and_then(|d| d.known()).and_then(|d| i64::try_from(d).ok());
        let size = size.ok_or_else(|| OpError::unsupported("the size of the crop is open"))?;
        let offset = offsets.get(i - axis).or(offsets.first()).copied().unwrap_or(0);
        starts.push(offset);
        ends.push(offset.saturating_add(size));
        axes.push(i as i64);
    }
    let inputs = [starts, ends, axes].map(|v| cx.ints(&v));
    Ok(vec![cx.emit("slice", &[&[x], &inputs[..]].concat(), Attrs::new())?])
}
