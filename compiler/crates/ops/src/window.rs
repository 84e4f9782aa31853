//! The geometry of sliding windows: strides, dilations, padding and the sizes that follow, shared by convolution and
//! pooling. Definition: ONNX `Conv`, `MaxPool`, `AveragePool`.

use mnnc_ir::attr::AttrDefault;
use mnnc_ir::{AttrDecl, AttrKind, Dim, OpCtx, OpError, SymTable};

/// `auto_pad`.
pub const AUTO_PAD: AttrDecl = AttrDecl::with_default(
    "auto_pad",
    AttrKind::Str,
    AttrDefault::Str("NOTSET"),
    "NOTSET: `pads` holds; VALID: none; SAME_UPPER, SAME_LOWER: output = ceil(input / stride), odd padding at the end or start",
);
/// `kernel_shape`.
pub const KERNEL_SHAPE: AttrDecl =
    AttrDecl::optional("kernel_shape", AttrKind::Ints, "window extent along each spatial dimension");
/// `strides`.
pub const STRIDES: AttrDecl =
    AttrDecl::optional("strides", AttrKind::Ints, "step along each spatial dimension; all 1 when unset");
/// `dilations`.
pub const DILATIONS: AttrDecl = AttrDecl::optional(
    "dilations",
    AttrKind::Ints,
    "distance of window elements along each spatial dimension; all 1 when unset",
);
/// `pads`.
pub const PADS: AttrDecl =
    AttrDecl::optional("pads", AttrKind::Ints, "padding: all starts, then all ends; all 0 when unset");

/// Attributes beyond this are not sizes of anything real; below it, sums and products stay within `i64`.
const LIMIT: i64 = 1 << 31;

/// How the input is padded.
#[derive(Clone, PartialEq, Debug)]
enum Padding {
    /// Start and end of each dimension.
    Explicit(Vec<(i64, i64)>),
    /// Output = ceil(input / stride); odd padding at the end (`upper`) or at the start.
    Same { upper: bool },
}

/// One spatial dimension with everything known.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Axis {
    /// Extent of the input.
    pub input: usize,
    /// Extent of the output.
    pub output: usize,
    /// Extent of the window.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Distance of window elements.
    pub dilation: usize,
    /// Padding before the first element.
    pub begin: usize,
    /// Padding behind the last element.
    pub end: usize,
}

impl Axis {
    /// A dimension that does nothing.
    pub const UNIT: Axis = Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, begin: 0, end: 0 };

    /// The input position under window element `k` of output `o`, if it is not padding.
    #[inline]
    pub fn at(&self, o: usize, k: usize) -> Option<usize> {
        (o * self.stride + k * self.dilation).checked_sub(self.begin).filter(|&i| i < self.input)
    }
    /// Whether window element `k` of output `o` lies in the input or its padding (it may not where `ceil_mode` rounds up).
    #[inline]
    pub fn in_padded(&self, o: usize, k: usize) -> bool {
        o * self.stride + k * self.dilation < self.begin + self.input + self.end
    }
    /// The outputs for which window element `k` is not padding, as a half-open range.
    pub fn outputs_of(&self, k: usize) -> (usize, usize) {
        let shift = k * self.dilation;
        let first = self.begin.saturating_sub(shift).div_ceil(self.stride);
        let last = (self.input + self.begin).saturating_sub(shift).div_ceil(self.stride);
        let last = last.min(self.output);
        (first.min(last), last)
    }
}

/// The window attributes of a node, checked.
#[derive(Clone, PartialEq, Debug)]
pub struct Window {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    padding: Padding,
    ceil: bool,
}

/// A list attribute with one entry for each of `n` dimensions, each within `min..LIMIT`.
pub fn list_attr(ctx: &OpCtx, name: &str, n: usize, min: i64, default: i64) -> Result<Vec<i64>, OpError> {
    let list = ctx.ints(name).unwrap_or_else(|| vec![default; n]);
    if list.len() != n {
        return Err(OpError::invalid(format!("{name} has {} entries; {n} are needed", list.len())));
    }
    match list.iter().find(|&&x| x < min || x >= LIMIT) {
        Some(x) => Err(OpError::invalid(format!("{name} holds {x}, which is out of range"))),
        None => Ok(list),
    }
}

impl Window {
    /// Reads the attributes of a node with as many spatial dimensions as `kernel` has entries.
    /// The op declares `strides`, `pads` and `auto_pad`.
    pub fn read(ctx: &OpCtx, kernel: &[i64], dilated: bool, ceil: bool) -> Result<Window, OpError> {
        let n = kernel.len();
        if let Some(k) = kernel.iter().find(|&&k| !(1..LIMIT).contains(&k)) {
            return Err(OpError::invalid(format!("a window of extent {k} is out of range")));
        }
        let auto = ctx.string("auto_pad").unwrap_or_default();
        let padding = match auto.as_str() {
            "NOTSET" | "" => {
                let p = list_attr(ctx, "pads", 2 * n, 0, 0)?;
                Padding::Explicit((0..n).map(|i| (p[i], p[n + i])).collect())
            }
            "VALID" => Padding::Explicit(vec![(0, 0); n]),
            "SAME_UPPER" => Padding::Same { upper: true },
            "SAME_LOWER" => Padding::Same { upper: false },
            other => return Err(OpError::invalid(format!("auto_pad is '{other}'"))),
        };
        let dilations = if dilated { list_attr(ctx, "dilations", n, 1, 1)? } else { vec![1; n] };
        Ok(Window { kernel: kernel.to_vec(), strides: list_attr(ctx, "strides", n, 1, 1)?, dilations, padding, ceil })
    }
    /// Extent of the dilated window.
    fn extent(&self, i: usize) -> i128 {
        i128::from(self.kernel[i] - 1) * i128::from(self.dilations[i]) + 1
    }
    /// Output extent along spatial dimension `i`, symbolic where the input's is.
    pub fn output(&self, i: usize, input: Dim, syms: &mut SymTable) -> Result<Dim, OpError> {
        if let Dim::Const(n) = input {
            return self.axis(i, n).map(|a| a.output.into());
        }
        // floor((input + slack) / stride) with all constants gathered, because sizes know no subtraction.
        let stride = i128::from(self.strides[i]);
        let round_up = if self.ceil { stride - 1 } else { 0 };
        let slack = match &self.padding {
            Padding::Explicit(p) => i128::from(p[i].0) + i128::from(p[i].1) - self.extent(i) + stride + round_up,
            Padding::Same { .. } => stride - 1,
        };
        let clipped = self.ceil && stride > 1;
        match u64::try_from(slack) {
            Ok(slack) if !clipped => {
                let sum = syms.add(input, Dim::Const(slack));
                Ok(syms.div(sum, Dim::Const(stride as u64)))
            }
            _ => Ok(syms.fresh()),
        }
    }
    /// Spatial dimension `i` over an input of known extent.
    pub fn axis(&self, i: usize, input: u64) -> Result<Axis, OpError> {
        let (n, stride, extent) = (i128::from(input), i128::from(self.strides[i]), self.extent(i));
        let (begin, end, output) = match &self.padding {
            Padding::Explicit(p) => {
                let (b, e) = (i128::from(p[i].0), i128::from(p[i].1));
                let room = n + b + e - extent;
                if room < 0 {
                    return Err(OpError::invalid(format!(
                        "a window of extent {extent} does not fit spatial dimension {i} of {n} padded to {}",
                        n + b + e
                    )));
                }
                let mut out = room / stride + 1;
                if self.ceil && room % stride != 0 && out * stride < n + b {
                    out += 1; // Only a window that starts before the end padding counts.
                }
                (b, e, out)
            }
            Padding::Same { upper } => {
                let out = (n + stride - 1) / stride;
                let total = ((out - 1) * stride + extent - n).max(0);
                let (less, more) = (total / 2, total - total / 2);
                if *upper { (less, more, out) } else { (more, less, out) }
            }
        };
        let size = |x: i128| usize::try_from(x).map_err(|_| OpError::invalid("the output extent overflows"));
        Ok(Axis {
            input: size(n)?,
            output: size(output)?,
            kernel: self.kernel[i] as usize,
            stride: self.strides[i] as usize,
            dilation: self.dilations[i] as usize,
            begin: size(begin)?,
            end: size(end)?,
        })
    }
    /// All spatial dimensions of an input of known extents.
    pub fn axes(&self, spatial: &[usize]) -> Result<Vec<Axis>, OpError> {
        spatial.iter().enumerate().map(|(i, &n)| self.axis(i, n as u64)).collect()
    }
}

/// Three spatial dimensions from at most three, so that one loop nest evaluates them all.
pub fn lifted(axes: &[Axis]) -> [Axis; 3] {
    let mut out = [Axis::UNIT; 3];
    out[3 - axes.len()..].copy_from_slice(axes);
    out
}
