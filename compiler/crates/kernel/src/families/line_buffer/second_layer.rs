//! The depthwise convolution or pooling of a chain.

use super::chain::{Chunk, Head};
use super::extent;
use super::window_layer::Kind;
use crate::families::conv::{self, compiled};
use crate::families::depthwise;
use crate::families::igemm::spec::Number;
use crate::families::region::Region;
use crate::families::sides::{PlacedEpilogue, image_strides, place_in_vectors};
use crate::families::window::{self, Filter, Source};
use crate::family::View;
use crate::lowering::Lowering;
use crate::program::{Arg, Base, Call};
use crate::schedule::Operand;
use mnnc_ir::OpError;
use std::ops::Range;

/// The depthwise convolution or pooling.
pub(super) struct SecondLayer {
    filter: Option<Filter>,
    /// Weights and bias of a depthwise convolution.
    pub parameters: Vec<Operand>,
    pub epilogue: PlacedEpilogue,
    pub flops: usize,
}

impl SecondLayer {
    pub fn new(head: &Head, view: &View, lo: &mut Lowering) -> Result<SecondLayer, OpError> {
        let target = *lo.target();
        let missing = || OpError::unsupported("not a chain of this family");
        let layer = &head.window;
        let channels = head.dense.geometry().shape.outputs;
        let dims = [head.dense.geometry().shape.batch, channels, layer.rows.output, layer.cols.output];
        let mut epilogue = place_in_vectors(view.epilogue.as_ref(), lo, &dims)?;
        let filter = match (layer.kind, layer.number) {
            (Kind::Max, _) => None,
            (Kind::Depthwise, Number::U8) => {
                let node = depthwise::Node::read(view, &target).ok_or_else(missing)?;
                epilogue = epilogue.behind(Some(node.range()));
                Some(node.filter(head.chunks[0].ring.taken, &target))
            }
            (Kind::Depthwise, _) => {
                let g = conv::Geometry::read(view, &target).ok_or_else(missing)?;
                Some(conv::filter(view, &g, channels.div_ceil(target.lanes()), lo)?)
            }
        };
        let name = lo.graph().node(view.node).name.clone();
        let parameters = filter.as_ref().map_or_else(Vec::new, |f| f.place(&name, lo).to_vec());
        let each = if layer.kind == Kind::Max { 1 } else { 2 };
        let flops = each * layer.rows.kernel * layer.cols.kernel * dims.iter().product::<usize>();
        Ok(SecondLayer { filter, parameters, epilogue, flops })
    }

    /// Bytes of each parameter that one vector of channels takes.
    pub fn parameter_bytes(&self) -> Vec<usize> {
        self.filter.as_ref().map_or_else(Vec::new, |f| f.bytes().to_vec())
    }

    /// The call that makes rows `out` from the ring, whose first row is `first`. Operands from `next` on are the parameters, the side
    /// operands, and the output; all begin at row `origin`.
    #[allow(clippy::too_many_arguments, reason = "a call among its layers")]
    pub fn call(
        &self,
        chunk: &Chunk,
        out: Range<usize>,
        [first, origin]: [usize; 2],
        mut next: usize,
        to: &Region,
        lo: &mut Lowering,
    ) -> Result<Call, OpError> {
        let (layer, ring, lanes) = (&chunk.layer, &chunk.ring, lo.target().lanes());
        let from = image_strides(&ring.storage, &ring.storage.dims);
        let spec = window::Spec {
            images: 1,
            blocks: ring.blocks,
            channels: ring.blocks * lanes,
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
            bounded: self.epilogue.bounded,
            sums: if layer.number == Number::U8 { Number::I32 } else { Number::F32 },
        };
        let kernel = match &self.filter {
            Some(filter) => filter.kernel(&spec, lo)?,
            None => {
                let key = window::name("max_pool", &spec, lo.target());
                lo.cached_kernel(key.clone(), |t| compiled(window::max::compile(&spec, t, &key)))?
            }
        };
        let mut args: Vec<Arg> = if ring.whole {
            // Its border lies around the image: the first window begins there.
            vec![Arg::fixed(Base::Scratch, 0, ring.storage.bytes)]
        } else {
            let bytes = extent(&from, [ring.blocks, 1, from.row / from.pixel], lanes * from.number.bytes());
            let row = |r: Option<usize>| r.map_or(ring.zero_row(), |r| ring.row(r, first));
            layer.taps(out.clone()).into_iter().map(|r| Arg::fixed(Base::Scratch, row(r), bytes)).collect()
        };
        let mut operand = |offset: usize, bytes: usize| {
            next += 1;
            Arg::fixed(Base::Operand(next - 1), offset, bytes)
        };
        args.extend(self.parameter_bytes().into_iter().map(|b| operand(0, ring.blocks * b)));
        let (shape, rows) = ([ring.blocks, out.len(), layer.cols.output], out.start - origin);
        for side in &self.epilogue.sides {
            args.push(operand(rows * side.strides.row, extent(&side.strides, shape, side.bytes(lanes))));
        }
        args.push(operand(rows * to.strides.row, extent(&to.strides, shape, lanes * to.strides.number.bytes())));
        Ok(Call { kernel, args, units: spec.units() })
    }
}
