//! Coded weights as nodes: `cast` of halves, `dequantize_linear` of integers. A real offset that is no whole number of
//! steps is added behind it, one for each row.

use super::Codes;
use crate::mnn::op::OpCx;
use mnnc_ir::{Attrs, DType, OpError, Tensor, ValueId};

/// How the rows of a coded weight lie in its dims.
enum Rows {
    /// One scale for all.
    Whole,
    /// One row an index of dimension 0.
    Outputs,
    /// Dimension 1 in so many blocks for each index of dimension 0.
    Blocks(usize),
    /// Otherwise: runs of elements that do not follow the dims.
    Runs,
}

fn layout(rows: usize, dims: &[usize]) -> Rows {
    match *dims {
        _ if rows == 1 => Rows::Whole,
        [outputs, ..] if rows == outputs => Rows::Outputs,
        [outputs, inputs, ..]
            if outputs > 0 && rows.is_multiple_of(outputs) && inputs.is_multiple_of(rows / outputs) =>
        {
            Rows::Blocks(rows / outputs)
        }
        _ => Rows::Runs,
    }
}

/// Whole numbers of steps, if all offsets are such and fit the codes' type.
fn zero_points(codes: &Codes, offsets: &[f32]) -> Option<Vec<i8>> {
    let zero = |(&scale, &offset): (&f32, &f32)| {
        if offset == 0.0 {
            return Some(0);
        }
        let (scale, offset) = (f64::from(scale), f64::from(offset));
        let steps = (-offset / scale).round();
        // Minimum and scale are rounded to f32; the minimum is up to 256 steps away.
        let slack = 256.0 * scale.abs() * f64::from(f32::EPSILON);
        (steps.abs() <= 127.0 && (offset + steps * scale).abs() <= slack).then_some(steps as i8)
    };
    codes.scales.iter().zip(offsets).map(zero).collect()
}

/// The same weights with no scale of 0, as MNN gives a row of nothing but its offset: codes of 0 with a scale of 1.
fn without_zero_scales(mut codes: Codes) -> Codes {
    if codes.scales.iter().all(|&s| s != 0.0) {
        return codes;
    }
    let length = codes.codes.len() / codes.scales.len();
    let mut values = codes.codes.to_vec::<i8>();
    for (row, scale) in values.chunks_mut(length.max(1)).zip(&mut codes.scales) {
        if *scale == 0.0 {
            row.fill(0);
            *scale = 1.0;
        }
    }
    codes.codes = Tensor::new(codes.codes.dims(), values);
    codes
}

impl OpCx<'_, '_, '_> {
    /// Adds a constant with this name.
    pub(super) fn named_constant(&mut self, name: &str, t: Tensor) -> ValueId {
        self.imp.build.graph.add_const(name, t)
    }

    fn weight_constant(&mut self, t: Tensor) -> ValueId {
        let name = format!("{}.weight", self.name());
        self.named_constant(&name, t)
    }

    /// Floats as they are, halves behind a `cast`.
    pub(super) fn float_weight(&mut self, t: &Tensor, dims: &[usize]) -> Result<ValueId, OpError> {
        let t = t.reshaped(dims).ok_or_else(|| OpError::invalid("the weight does not fill its shape"))?;
        let is_half = t.dtype() != DType::F32;
        let v = self.weight_constant(t);
        if is_half { self.cast(v, DType::F32) } else { Ok(v) }
    }

    /// Integers behind a `dequantize_linear`.
    pub(super) fn integer_weight(&mut self, codes: Codes, dims: &[usize]) -> Result<ValueId, OpError> {
        let (count, rows) = (codes.codes.len(), codes.scales.len());
        if rows == 0 || count % rows != 0 || codes.offsets.as_ref().is_some_and(|o| o.len() != rows) {
            return Err(OpError::invalid(format!("a weight of {count} elements has {rows} scales")));
        }
        if codes.scales.iter().chain(codes.offsets.iter().flatten()).any(|x| !x.is_finite()) {
            return Err(OpError::invalid("a scale of the weight is infinite or not a number"));
        }
        let codes = without_zero_scales(codes);
        let offsets = codes.offsets.clone().filter(|o| o.iter().any(|&x| x != 0.0));
        let zeros = offsets.as_ref().and_then(|o| zero_points(&codes, o));
        let real = if zeros.is_some() { None } else { offsets };
        let layout = layout(rows, dims);
        // The shape of the codes, that of scales and zero points, and how often each stands there.
        let (shape, scale_shape, repeat) = match layout {
            Rows::Whole => (dims.to_vec(), vec![], 1),
            Rows::Outputs => (dims.to_vec(), vec![rows], 1),
            Rows::Blocks(blocks) => {
                let area: usize = dims[2..].iter().product();
                (dims.to_vec(), [&[dims[0], blocks], &dims[2..]].concat(), area)
            }
            Rows::Runs => (vec![rows, count / rows], vec![rows], 1),
        };
        let mut attrs = Attrs::new();
        match layout {
            Rows::Whole => {}
            Rows::Outputs | Rows::Runs => attrs.set("axis", 0i64),
            Rows::Blocks(blocks) => {
                attrs.set("axis", 1i64);
                attrs.set("block_size", (dims[1] / blocks) as i64);
            }
        }
        if codes.bits < 8 {
            attrs.set("bits", i64::from(codes.bits));
        }
        let fit = |t: Tensor, shape: &[usize]| {
            t.reshaped(shape).ok_or_else(|| OpError::invalid("the weight does not fill its shape"))
        };
        let codes_value = fit(codes.codes, &shape)?;
        let q = self.weight_constant(codes_value);
        let scales = Tensor::new(vec![rows * repeat], repeated(&codes.scales, repeat));
        let scales = fit(scales, &scale_shape)?;
        let mut inputs = vec![q, self.constant(scales)];
        if let Some(zeros) = zeros {
            let zeros = Tensor::new(vec![rows * repeat], repeated(&zeros, repeat));
            let zeros = fit(zeros, &scale_shape)?;
            inputs.push(self.constant(zeros));
        }
        let mut w = self.aside("dequantize_linear", &inputs, attrs)?;
        if let Some(real) = real {
            w = self.offset(w, real, &layout, dims)?;
        }
        match layout {
            Rows::Runs => self.reshape(w, &dims.iter().map(|&d| d as i64).collect::<Vec<_>>()),
            _ => Ok(w),
        }
    }

    /// `w` plus a summand for each row.
    fn offset(&mut self, w: ValueId, offsets: Vec<f32>, layout: &Rows, dims: &[usize]) -> Result<ValueId, OpError> {
        let n = offsets.len();
        let flat = |shape: Vec<usize>| Tensor::new(shape, offsets.clone());
        match *layout {
            Rows::Whole => {
                let c = self.constant(flat(vec![1]));
                self.aside("add", &[w, c], Attrs::new())
            }
            Rows::Outputs => {
                let mut shape = vec![1; dims.len()];
                shape[0] = n;
                let c = self.constant(flat(shape));
                self.aside("add", &[w, c], Attrs::new())
            }
            Rows::Runs => {
                let c = self.constant(flat(vec![n, 1]));
                self.aside("add", &[w, c], Attrs::new())
            }
            Rows::Blocks(blocks) => {
                let c = self.constant(flat(vec![dims[0], blocks, 1]));
                let run = dims[1..].iter().product::<usize>() / blocks;
                let w = self.reshape(w, &[dims[0] as i64, blocks as i64, run as i64])?;
                let w = self.aside("add", &[w, c], Attrs::new())?;
                self.reshape(w, &dims.iter().map(|&d| d as i64).collect::<Vec<_>>())
            }
        }
    }
}

fn repeated<T: Copy>(list: &[T], times: usize) -> Vec<T> {
    list.iter().flat_map(|&x| std::iter::repeat_n(x, times)).collect()
}
