//! The depthwise convolution or pooling of a chain.

use super::chain::{Chunk, Head};
use super::part::{Part, bias_values, constants, extent};
use super::window_layer::Kind;
use crate::compressed;
use crate::families::conv::{compiled, weights};
use crate::families::igemm::pack;
use crate::families::igemm::spec::Number;
use crate::families::sides::{PlacedEpilogue, image_strides, place_f32_image};
use crate::families::window::{self, Source};
use crate::family::View;
use crate::lowering::Lowering;
use crate::program::{Arg, Base, Call};
use crate::schedule::Operand;
use mnnc_ir::OpError;
use std::ops::Range;

/// The depthwise convolution or pooling.
pub(super) struct SecondLayer {
    /// Weights and bias of a depthwise convolution.
    pub parameters: Vec<Operand>,
    taps: usize,
    pub epilogue: PlacedEpilogue,
    pub flops: usize,
}

impl SecondLayer {
    pub fn new(head: &Head, view: &View, lo: &mut Lowering) -> Result<SecondLayer, OpError> {
        let lanes = lo.target().lanes();
        let layer = &head.window;
        let channels = head.dense.shape.outputs;
        let dims = [head.dense.shape.batch, channels, layer.rows.output, layer.cols.output];
        let taps = layer.rows.kernel * layer.cols.kernel;
        let name = lo.graph().node(view.node).name.clone();
        let parameters = match layer.kind {
            Kind::Max => Vec::new(),
            Kind::Depthwise => {
                let (_, bias) = constants(view, lo)?;
                let values = view.inputs[1].and_then(|w| compressed::numbers(lo.graph(), w));
                let values = values.ok_or_else(|| OpError::unsupported("the weights are not constant"))?;
                let packed = window::pack(&values, taps, channels.div_ceil(lanes), lanes);
                let bias = pack::pack_channels(&bias_values(bias, channels), 0, channels.next_multiple_of(lanes));
                vec![weights(lo, &format!("{name}.weight"), packed), weights(lo, &format!("{name}.bias"), bias)]
            }
        };
        let each = if layer.kind == Kind::Max { 1 } else { 2 };
        let flops = each * taps * dims.iter().product::<usize>();
        Ok(SecondLayer { parameters, taps, epilogue: place_f32_image(view.epilogue.as_ref(), lo, &dims)?, flops })
    }

    /// Bytes of each parameter that one channel block takes.
    pub fn parameter_bytes(&self, lanes: usize) -> Vec<usize> {
        [self.taps * lanes * 4, lanes * 4].into_iter().take(self.parameters.len()).collect()
    }

    /// The call that makes rows `out` from the ring, whose first row is `first`. Operands from 3 on are the parameters, the side operands,
    /// and the output; all begin at row `origin`.
    pub fn call(
        &self,
        chunk: &Chunk,
        out: Range<usize>,
        first: usize,
        origin: usize,
        to: &Part,
        lo: &mut Lowering,
    ) -> Result<Call, OpError> {
        let (layer, ring, target) = (&chunk.layer, &chunk.ring, *lo.target());
        let vector = target.lanes() * 4;
        let from = image_strides(&ring.storage, &ring.storage.dims);
        let spec = window::Spec {
            images: 1,
            blocks: ring.blocks,
            channels: ring.blocks * target.lanes(),
            source: if ring.whole { Source::Image } else { Source::Rows },
            size: [layer.rows.input, layer.cols.input],
            input: from,
            window: window::of(&layer.rows, &layer.cols),
            pads: [layer.rows.begin, layer.cols.begin],
            out: [out.len(), layer.cols.output],
            groups: 1,
            output: to.strides,
            epilogue: self.epilogue.f.clone(),
            sides: self.epilogue.sides.clone(),
            bounded: false,
            sums: Number::F32,
        };
        let kernel = match layer.kind {
            Kind::Depthwise => {
                let key = window::name("depthwise", &spec, &target);
                let by_channel = window::sum::Weighting::PerChannel;
                lo.cached_kernel(key.clone(), |t| compiled(window::sum::compile(&spec, by_channel, t, &key)))?
            }
            Kind::Max => {
                let key = window::name("max_pool", &spec, &target);
                lo.cached_kernel(key.clone(), |t| compiled(window::max::compile(&spec, t, &key)))?
            }
        };
        let mut args: Vec<Arg> = if ring.whole {
            // Its border lies around the image: the first window begins there.
            vec![Arg::fixed(Base::Scratch, 0, ring.storage.bytes)]
        } else {
            let bytes = extent(&from, [ring.blocks, 1, from.row / from.pixel], vector);
            let row = |r: Option<usize>| r.map_or(ring.zero_row(), |r| ring.row(r, first));
            layer.taps(out.clone()).into_iter().map(|r| Arg::fixed(Base::Scratch, row(r), bytes)).collect()
        };
        let mut next = 3;
        let mut operand = |offset: usize, bytes: usize| {
            next += 1;
            Arg::fixed(Base::Operand(next - 1), offset, bytes)
        };
        args.extend(self.parameter_bytes(target.lanes()).into_iter().map(|b| operand(0, ring.blocks * b)));
        let shape = [ring.blocks, out.len(), layer.cols.output];
        for side in &self.epilogue.sides {
            let element = if side.splat { 4 } else { vector };
            args.push(operand((out.start - origin) * side.strides.row, extent(&side.strides, shape, element)));
        }
        args.push(operand((out.start - origin) * to.strides.row, extent(&to.strides, shape, vector)));
        // A pooling kernel has no parameters; a depthwise one always has both.
        debug_assert!(layer.kind == Kind::Max || self.parameters.len() == 2);
        Ok(Call { kernel, args, units: spec.units() })
    }
}
