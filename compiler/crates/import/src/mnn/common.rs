//! The window of a convolution or pooling, as the format has it.

use super::op::{OpCx, lacks};
use mnnc_ir::{Attrs, OpError};
use mnnc_schema::mnn::{Convolution2D, Convolution2DCommon, PadMode};

/// A number of the file that has to be at least `least`.
pub(crate) fn at_least(n: i32, least: i64, what: &str) -> Result<i64, OpError> {
    let n = i64::from(n);
    if n < least { Err(OpError::invalid(format!("{what} is {n}"))) } else { Ok(n) }
}

/// Kernel, stride and dilation, height first.
pub(crate) struct Window {
    pub(crate) kernel: [i64; 2],
    pub(crate) stride: [i64; 2],
    pub(crate) dilation: [i64; 2],
}

impl Window {
    /// The attributes that convolution and pooling share.
    pub(crate) fn attrs(&self) -> Attrs {
        Attrs::new()
            .with("kernel_shape", self.kernel.to_vec())
            .with("strides", self.stride.to_vec())
            .with("dilations", self.dilation.to_vec())
    }
    /// Extent of the kernel with its gaps.
    pub(crate) fn extent(&self, i: usize) -> i64 {
        self.dilation[i] * (self.kernel[i] - 1) + 1
    }
}

/// The window of a convolution.
pub(crate) fn window(c: &Convolution2DCommon) -> Result<Window, OpError> {
    Ok(Window {
        kernel: [at_least(c.kernel_y(), 1, "kernelY")?, at_least(c.kernel_x(), 1, "kernelX")?],
        stride: [at_least(c.stride_y(), 1, "strideY")?, at_least(c.stride_x(), 1, "strideX")?],
        dilation: [at_least(c.dilate_y(), 1, "dilateY")?, at_least(c.dilate_x(), 1, "dilateX")?],
    })
}

/// What `auto_pad` calls the mode, or the explicit pads: top, left, bottom, right.
pub(crate) enum Pads {
    Explicit([i64; 4]),
    Auto(&'static str),
}

/// The padding of a convolution: a mode of TensorFlow's, else explicit, else the same on both sides.
pub(crate) fn pads(c: &Convolution2DCommon) -> Result<Pads, OpError> {
    match c.pad_mode() {
        PadMode::SAME => return Ok(Pads::Auto("SAME_UPPER")),
        PadMode::VALID => return Ok(Pads::Auto("VALID")),
        _ => {}
    }
    Ok(Pads::Explicit(match c.pads() {
        Some(list) => four(list.iter())?,
        None => {
            let (y, x) = (i64::from(c.pad_y()), i64::from(c.pad_x()));
            [y, x, y, x]
        }
    }))
}

/// The first four of a list of pads.
pub(crate) fn four(list: impl Iterator<Item = i32>) -> Result<[i64; 4], OpError> {
    let list: Vec<i64> = list.take(4).map(i64::from).collect();
    <[i64; 4]>::try_from(list).map_err(|list| OpError::invalid(format!("pads has {} entries, not 4", list.len())))
}

impl Pads {
    /// Sets them.
    pub(crate) fn put(&self, attrs: &mut Attrs) {
        match self {
            Pads::Explicit(pads) => attrs.set("pads", pads.to_vec()),
            Pads::Auto(mode) => attrs.set("auto_pad", *mode),
        }
    }
}

impl<'f> OpCx<'_, '_, 'f> {
    /// The parameters of a convolution.
    pub(crate) fn convolution(&self) -> Result<(Convolution2D<'f>, Convolution2DCommon<'f>), OpError> {
        let conv = self.op.main_as_convolution2_d().ok_or_else(|| lacks("Convolution2D"))?;
        let common = conv.common().ok_or_else(|| lacks("Convolution2D.common"))?;
        Ok((conv, common))
    }
}
