//! Weights of convolutions and products in every coding of the format.
//!
//! [`coded`] finds the bytes, in the file or beside it, and says what they hold ([`Coded`]): floats, halves, or integers
//! with a scale, and perhaps an offset, for each row ([`idst`]). [`exchange`] makes of it the nodes that the compiler
//! knows compressed weights by.

mod bits;
mod exchange;
mod idst;
mod sparse;

use super::op::OpCx;
use super::tensor::{elements, over, view, volume};
use idst::{Idst, Parts};
use mnnc_ir::bytes::Bytes;
use mnnc_ir::{DType, OpError, Tensor, ValueId};
use mnnc_schema::mnn::Convolution2D;

/// What the bytes of a weight hold, elements in the op's own order.
pub(crate) enum Coded {
    /// f32 or f16.
    Float(Tensor),
    /// Small integers: `w = code * scale[row] + offset[row]`.
    Integer(Codes),
}

/// Integers and what they stand for.
pub(crate) struct Codes {
    pub(crate) codes: Tensor,
    /// How many bits the codes need.
    pub(crate) bits: u32,
    /// A factor for each row; a row is a run of consecutive elements, all rows of equal length.
    pub(crate) scales: Vec<f32>,
    /// A summand for each row.
    pub(crate) offsets: Option<Vec<f32>>,
}

impl OpCx<'_, '_, '_> {
    /// The weight of a convolution whose weight has these dims in the file, or `None` if it has none.
    pub(crate) fn weight(&mut self, conv: &Convolution2D, dims: &[usize]) -> Result<Option<ValueId>, OpError> {
        let Some(coded) = self.coded(conv, volume(dims)?)? else { return Ok(None) };
        match coded {
            Coded::Float(t) => self.float_weight(&t, dims).map(Some),
            Coded::Integer(codes) => self.integer_weight(codes, dims).map(Some),
        }
    }

    /// The integers of a coded weight, for ops that have the scales elsewhere.
    pub(crate) fn weight_codes(&mut self, conv: &Convolution2D, dims: &[usize]) -> Result<Tensor, OpError> {
        match self.coded(conv, volume(dims)?)? {
            Some(Coded::Integer(codes)) => codes.codes.reshaped(dims),
            _ => None,
        }
        .ok_or_else(|| OpError::invalid(format!("the op has no int8 weight of shape {dims:?}")))
    }

    fn coded(&mut self, conv: &Convolution2D, count: usize) -> Result<Option<Coded>, OpError> {
        let external: Vec<i64> = conv.external().into_iter().flatten().collect();
        if let Some(w) = conv.weight().filter(|w| !w.is_empty()) {
            let t = over(DType::F32, &[count], view(&self.imp.file, &w), "the weight")?;
            return Ok(Some(Coded::Float(t)));
        }
        let Some(quan) = conv.quan_parameter() else {
            return match external.as_slice() {
                [offset, length, ..] => {
                    let bytes = self.imp.external(*offset, *length)?;
                    over(DType::F32, &[count], bytes, "the external weight").map(|t| Some(Coded::Float(t)))
                }
                _ => Ok(None),
            };
        };
        let half = quan.scale_storage() == mnnc_schema::mnn::ScaleStorageType::FP16;
        let inside = quan.buffer().is_some_and(|b| !b.is_empty()) || quan.index().is_some_and(|b| !b.is_empty());
        let parts = match external.as_slice() {
            [offset, buffer, alpha, rest @ ..] if !inside => {
                let bias = rest.first().copied().unwrap_or(0);
                let index = rest.get(1).copied().unwrap_or(0);
                let at =
                    |n: i64, more: i64| n.checked_add(more).ok_or_else(|| OpError::invalid("external sizes overflow"));
                let alpha_at = at(*offset, *buffer)?;
                let index_at = at(at(alpha_at, *alpha)?, bias)?;
                let alpha = self.imp.external(alpha_at, *alpha)?;
                Parts {
                    buffer: self.imp.external(*offset, *buffer)?,
                    alpha: if half { floats_of_halves(&alpha) } else { elements(&alpha) },
                    index: if index > 0 { elements(&self.imp.external(index_at, index)?) } else { Vec::new() },
                }
            }
            _ => Parts {
                buffer: quan.buffer().map_or_else(|| Bytes::from_vec(Vec::<u8>::new()), |v| view(&self.imp.file, &v)),
                alpha: match (quan.alpha_fp16(), quan.alpha()) {
                    (Some(v), _) if half => floats_of_halves(v.bytes()),
                    (_, Some(v)) => elements(v.bytes()),
                    _ => Vec::new(),
                },
                index: quan.index().map_or_else(Vec::new, |v| elements(v.bytes())),
            },
        };
        let idst = Idst { quan, parts, count };
        if idst.expands() {
            self.imp.spend(count as u64)?;
        }
        idst.decode().map(Some)
    }

    /// The bias of a convolution, or `None` if it has none.
    pub(crate) fn bias(&mut self, conv: &Convolution2D, outputs: usize) -> Result<Option<ValueId>, OpError> {
        let t = self.stored_bias(conv, outputs)?;
        Ok(self.as_bias(t))
    }

    /// That of a depthwise one with a weight of `count` elements: the engine's kernel on integers knows whole numbers only.
    pub(crate) fn bias_of_depthwise(
        &mut self,
        conv: &Convolution2D,
        outputs: usize,
        count: usize,
    ) -> Result<Option<ValueId>, OpError> {
        let mut t = self.stored_bias(conv, outputs)?;
        if let Some(Coded::Integer(Codes { scales, offsets: None, .. })) = self.coded(conv, count)? {
            let stored = t.as_ref().map_or_else(|| vec![0.0; outputs], |t| t.to_vec::<f32>());
            if let Some(meaning) = self.depthwise_bias(&stored, &scales) {
                t = Some(Tensor::new([outputs], meaning));
            }
        }
        Ok(self.as_bias(t))
    }

    fn stored_bias(&mut self, conv: &Convolution2D, outputs: usize) -> Result<Option<Tensor>, OpError> {
        let t = match self.imp.floats(conv.bias(), &[outputs], "the bias")? {
            Some(t) => Some(t),
            None => {
                let external: Vec<i64> = conv.external().into_iter().flatten().collect();
                let before = if conv.quan_parameter().is_some() { 3 } else { 2 };
                match (external.first(), external.get(before)) {
                    (Some(&offset), Some(&length)) if length > 0 => {
                        let skip = external.get(1..before).unwrap_or_default();
                        let at = skip.iter().try_fold(offset, |a, &n| a.checked_add(n));
                        let at = at.ok_or_else(|| OpError::invalid("external sizes overflow"))?;
                        Some(over(DType::F32, &[outputs], self.imp.external(at, length)?, "the external bias")?)
                    }
                    _ => None,
                }
            }
        };
        Ok(t)
    }

    fn as_bias(&mut self, t: Option<Tensor>) -> Option<ValueId> {
        // MNN wants a bias everywhere; one of zeros says that there is none.
        let t = t.filter(|t| t.view::<f32>().iter().any(|&b| b != 0.0));
        t.map(|t| {
            let name = format!("{}.bias", self.name());
            self.named_constant(&name, t)
        })
    }
}

fn floats_of_halves(bytes: &[u8]) -> Vec<f32> {
    elements::<half::f16>(bytes).into_iter().map(half::f16::to_f32).collect()
}
