//! Pooling.

use crate::mnn::common::{Window, at_least, four};
use crate::mnn::op::{OpCx, Rows, lacks};
use crate::mnn::table::{Row, row};
use mnnc_ir::{Attrs, OpError, ValueId};
use mnnc_schema::mnn::{AvgPoolCountType, OpType, Pool, PoolPadType, PoolType};

pub(super) static ROWS: &[Row] = &[row(OpType::Pooling, pooling), row(OpType::Pooling3D, pooling_3d)];

fn pooling(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_pool().ok_or_else(|| lacks("Pool"))?;
    let x = cx.image(0)?;
    if cx.rank(x) != 4 {
        return Err(OpError::unsupported(format!("the input has rank {}; images have rank 4", cx.rank(x))));
    }
    if cx.num_outputs() > 1 {
        return Err(OpError::unsupported("the positions of the maxima as a second output are not supported"));
    }
    let y = match (p.is_global(), p.type_()) {
        (true, PoolType::AVEPOOL) => cx.emit("global_average_pool", &[x], Attrs::new())?,
        (true, _) => cx.emit("global_max_pool", &[x], Attrs::new())?,
        (false, kind) => window(cx, &p, x, kind == PoolType::AVEPOOL)?,
    };
    Ok(vec![cx.image_out(y)?])
}

fn window(cx: &mut OpCx, p: &Pool, x: ValueId, average: bool) -> Result<ValueId, OpError> {
    let mut win = Window {
        kernel: [at_least(p.kernel_y(), 1, "kernelY")?, at_least(p.kernel_x(), 1, "kernelX")?],
        stride: [at_least(p.stride_y(), 1, "strideY")?, at_least(p.stride_x(), 1, "strideX")?],
        dilation: [1, 1],
    };
    let explicit = match p.pads() {
        Some(list) if list.len() == 2 => Some([i64::from(list.get(0)), 0, i64::from(list.get(1)), 0]),
        Some(list) => Some(four(list.iter())?),
        None => None,
    };
    let mut pads = explicit.unwrap_or_else(|| {
        let (y, x) = (i64::from(p.pad_y()), i64::from(p.pad_x()));
        [y, x, y, x]
    });
    let caffe = !matches!(p.pad_type(), PoolPadType::SAME | PoolPadType::VALID);
    // Explicit pads count as the modes of TensorFlow do: what lies in them is left out of the average.
    let include = match p.count_type() {
        AvgPoolCountType::INCLUDE_PADDING => true,
        AvgPoolCountType::EXCLUDE_PADDING => false,
        _ => caffe && explicit.is_none(),
    };
    let known = |i: usize| cx.ty(x).dims.get(i + 2).and_then(|d| d.known()).and_then(|d| i64::try_from(d).ok());
    let mut ceil = false;
    match p.pad_type() {
        PoolPadType::VALID => pads = [0; 4],
        PoolPadType::SAME => pads = [0; 4],
        _ => ceil = p.ceil_model(),
    }
    let same = p.pad_type() == PoolPadType::SAME;
    for i in 0..2 {
        let Some(size) = known(i) else { continue };
        // A kernel is never larger than what it slides over.
        win.kernel[i] = win.kernel[i].min(size + pads[i] + pads[i + 2]).max(1);
        let room = size + pads[i] + pads[i + 2] - win.kernel[i];
        let steps = match (same, ceil) {
            (true, _) => (size + win.stride[i] - 1) / win.stride[i] - 1,
            (_, true) => (room + win.stride[i] - 1) / win.stride[i],
            (_, false) => room / win.stride[i],
        };
        let reach = steps * win.stride[i] + win.kernel[i] - size;
        if same {
            pads[i] = reach.max(0) / 2;
        }
        // MNN's last window may lie in the padding altogether, and may reach beyond it: it is given all that it reaches.
        if (same || ceil) && (!include || !average) {
            pads[i + 2] = (reach - pads[i]).max(0);
        }
    }
    let all_known = known(0).is_some() && known(1).is_some();
    let mut attrs = win.attrs();
    match all_known || !same {
        true => attrs.set("pads", pads.to_vec()),
        false => attrs.set("auto_pad", "SAME_UPPER"),
    }
    let rounds_up = ceil && (!all_known || (include && average));
    if rounds_up {
        attrs.set("ceil_mode", true);
    }
    if average && include {
        attrs.set("count_include_pad", true);
    }
    if !average {
        return cx.emit("max_pool", &[x], attrs);
    }
    cx.emit("average_pool", &[x], attrs)
}

/// Pooling over one to three spatial dims.
fn pooling_3d(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_pool3_d().ok_or_else(|| lacks("Pool3D"))?;
    let x = cx.image(0)?;
    let average = p.type_() == PoolType::AVEPOOL;
    if p.is_global() {
        let op = if average { "global_average_pool" } else { "global_max_pool" };
        let y = cx.emit(op, &[x], Attrs::new())?;
        return Ok(vec![cx.image_out(y)?]);
    }
    let spatial = cx.rank(x).saturating_sub(2);
    let list = |v: Option<flatbuffers::Vector<'_, i32>>, what: &str| -> Result<Vec<i64>, OpError> {
        let v: Vec<i64> = v.into_iter().flatten().take(spatial).map(i64::from).collect();
        if v.len() != spatial {
            return Err(OpError::invalid(format!("{what} has {} entries for {spatial} dims", v.len())));
        }
        Ok(v)
    };
    let mut attrs =
        Attrs::new().with("kernel_shape", list(p.kernels(), "kernels")?).with("strides", list(p.strides(), "strides")?);
    match p.pad_type() {
        PoolPadType::SAME => attrs.set("auto_pad", "SAME_UPPER"),
        PoolPadType::VALID => attrs.set("auto_pad", "VALID"),
        _ => {
            let pads = list(p.pads(), "pads")?;
            attrs.set("pads", [&pads[..], &pads[..]].concat());
        }
    }
    let y = cx.emit(if average { "average_pool" } else { "max_pool" }, &[x], attrs)?;
    Ok(vec![cx.image_out(y)?])
}
