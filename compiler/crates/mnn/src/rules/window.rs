//! The window attributes that convolution and pooling share, as the format wants them.

use crate::cx::{Cx, Reason, to_i32};
use crate::net::Shape;

/// Windows along height and width. One spatial dimension becomes the width of a height of 1.
#[derive(Clone, Debug)]
pub(super) struct Window2d {
    pub(super) kernel: [i32; 2],
    pub(super) stride: [i32; 2],
    pub(super) dilation: [i32; 2],
    /// Top, left, bottom, right.
    pub(super) pads: [i32; 4],
    pub(super) ceil: bool,
}

/// The last `n` dims after batch and channels, 1 to 3 of them.
pub(super) fn spatial(shape: &Shape) -> &[Option<usize>] {
    shape.get(2..).unwrap_or_default()
}

fn list(cx: &Cx, name: &str, n: usize, default: i64) -> Result<Vec<i32>, Reason> {
    // Not every windowed op declares every attribute.
    let list = if cx.op.op.attr(name).is_some() { cx.op.ints(name) } else { None };
    match list {
        Some(list) if list.len() == n => list.into_iter().map(to_i32).collect(),
        Some(list) => Err(format!("{name} has {} entries; {n} are needed", list.len()).into()),
        None => Ok(vec![to_i32(default)?; n]),
    }
}

/// Starts and ends of the padding for `n` spatial dims: all starts, then all ends.
fn padding(
    cx: &Cx,
    kernel: &[i32],
    stride: &[i32],
    dilation: &[i32],
    input: &[Option<usize>],
) -> Result<Vec<i32>, Reason> {
    let n = kernel.len();
    let auto = cx.op.string("auto_pad").unwrap_or_default();
    let upper = match auto.as_str() {
        "" | "NOTSET" => return list(cx, "pads", 2 * n, 0),
        "VALID" => return Ok(vec![0; 2 * n]),
        "SAME_UPPER" => true,
        "SAME_LOWER" => false,
        other => return Err(format!("auto_pad is '{other}'").into()),
    };
    let mut pads = vec![0; 2 * n];
    for i in 0..n {
        let size = input
            .get(i)
            .copied()
            .flatten()
            .ok_or("auto_pad over a dim that is known only at run time; fix it with --shape")?;
        let (size, stride) = (to_i32(size)?, stride[i]);
        let outputs = (size + stride - 1) / stride;
        let total = ((outputs - 1) * stride + (kernel[i] - 1) * dilation[i] + 1 - size).max(0);
        let (less, more) = (total / 2, total - total / 2);
        (pads[i], pads[n + i]) = if upper { (less, more) } else { (more, less) };
    }
    Ok(pads)
}

/// Reads a window with the extents `kernel` over 1 or 2 spatial dims of the given sizes.
pub(super) fn window_2d(cx: &Cx, kernel: &[usize], input: &[Option<usize>]) -> Result<Window2d, Reason> {
    let n = kernel.len();
    let kernel = kernel.iter().map(|&k| to_i32(k)).collect::<Result<Vec<_>, _>>()?;
    let stride = list(cx, "strides", n, 1)?;
    let dilation = list(cx, "dilations", n, 1)?;
    let pads = padding(cx, &kernel, &stride, &dilation, input)?;
    let ceil = cx.op.op.attr("ceil_mode").is_some()
        && matches!(cx.op.attr("ceil_mode"), Some(mnnc_ir::Attr::Int(1) | mnnc_ir::Attr::Bool(true)));
    Ok(match n {
        1 => Window2d {
            kernel: [1, kernel[0]],
            stride: [1, stride[0]],
            dilation: [1, dilation[0]],
            pads: [0, pads[0], 0, pads[1]],
            ceil,
        },
        2 => Window2d {
            kernel: [kernel[0], kernel[1]],
            stride: [stride[0], stride[1]],
            dilation: [dilation[0], dilation[1]],
            pads: [pads[0], pads[1], pads[2], pads[3]],
            ceil,
        },
        _ => return Err(format!("{n} spatial dims; the writer knows 1 and 2").into()),
    })
}

impl Window2d {
    /// `[top, left, bottom, right]`, if there is any padding.
    pub(super) fn pads(&self) -> Option<Vec<i32>> {
        self.pads.iter().any(|&p| p != 0).then(|| self.pads.to_vec())
    }
}

/// A tensor with one spatial dim gets a height of 1.
pub(super) fn with_height(shape: &Shape) -> Shape {
    let mut lifted = shape.clone();
    if lifted.len() == 3 {
        lifted.insert(2, Some(1));
    }
    lifted
}
