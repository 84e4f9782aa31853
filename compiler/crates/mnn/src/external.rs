//! Weights in a file of their own beside the model: raw elements one behind the other, which the ops name by offset and length.

use crate::net::{Main, NetOp};
use mnnc_schema::mnn::{Convolution2DT, LayerNormT, OpParameterT, ScaleT};

/// Constants of fewer elements stay in the model, as MNN's own converter has it.
const SMALLEST_CONSTANT: usize = 1024;

/// The bytes of the file beside the model, in the making.
#[derive(Default)]
pub(crate) struct External {
    pub(crate) bytes: Vec<u8>,
}

impl External {
    /// Appends the elements of a list; their length in bytes.
    fn push<T: bytemuck::NoUninit>(&mut self, list: &[T]) -> i64 {
        let bytes = bytemuck::cast_slice(list);
        self.bytes.extend_from_slice(bytes);
        bytes.len() as i64
    }

    fn offset(&self) -> i64 {
        self.bytes.len() as i64
    }

    /// Moves what an op holds in weights here.
    pub(crate) fn take(&mut self, op: &mut NetOp) {
        let Main::Param(main) = &mut op.main else { return };
        match main {
            OpParameterT::Convolution2D(conv) if op.inputs.len() == 1 => self.convolution(conv),
            OpParameterT::Scale(scale) => self.scale(scale),
            OpParameterT::LayerNorm(norm) => self.layer_norm(norm),
            _ => {}
        }
    }

    /// Moves the elements of a constant here; where they lie.
    pub(crate) fn constant<T: bytemuck::NoUninit>(&mut self, list: &mut Option<Vec<T>>) -> Option<Vec<i64>> {
        let elements = list.take_if(|list| list.len() > SMALLEST_CONSTANT)?;
        let offset = self.offset();
        Some(vec![offset, self.push(&elements)])
    }

    fn convolution(&mut self, conv: &mut Convolution2DT) {
        let offset = self.offset();
        let mut place = vec![offset];
        match &mut conv.quan_parameter {
            None => place.push(self.push(&conv.weight.take().unwrap_or_default())),
            Some(coded) => {
                place.push(self.push(&coded.buffer.take().unwrap_or_default()));
                place.push(match coded.alpha_fp16.take() {
                    Some(alpha) => self.push(&alpha),
                    None => self.push(&coded.alpha.take().unwrap_or_default()),
                });
            }
        }
        place.push(self.push(&conv.bias.take().unwrap_or_default()));
        if conv.quan_parameter.is_some() {
            // No list of indices: that is for sparse weights.
            place.push(0);
        }
        conv.external = Some(place);
    }

    fn scale(&mut self, scale: &mut ScaleT) {
        let mut place = vec![self.offset(), self.push(&scale.scale_data.take().unwrap_or_default())];
        if let Some(bias) = scale.bias_data.take() {
            place.push(self.push(&bias));
        }
        scale.external = Some(place);
    }

    fn layer_norm(&mut self, norm: &mut LayerNormT) {
        // The engine looks for both or none.
        let (Some(gamma), Some(beta)) = (&norm.gamma, &norm.beta) else { return };
        norm.external = Some(vec![self.offset(), self.push(gamma), self.push(beta)]);
        (norm.gamma, norm.beta) = (None, None);
    }
}
