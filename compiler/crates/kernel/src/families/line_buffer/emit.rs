//! The steps of a chain.

use super::chain::{Head, STRIP_BYTES};
use super::ring::Action;
use super::window_layer::Kind;
use crate::cost::{Problem, Tiling};
use crate::families::conv::{Geometry, compiled, weights};
use crate::families::dense::Dense;
use crate::families::fingerprint;
use crate::families::igemm::spec::{Spec, Strides, Window};
use crate::families::igemm::{self, pack};
use crate::families::sides::{PlacedEpilogue, from_offset, image_strides, place_image};
use crate::families::tile::split_evenly;
use crate::families::window::{self, Source};
use crate::family::View;
use crate::lowering::{Forms, Lowering, Placed};
use crate::program::{Arg, Base, Call, Program, roll_up};
use crate::schedule::{Access, Operand};
use crate::storage::{Halo, Storage};
use mnnc_ir::{DType, OpError, Tensor};
use mnnc_vector::Target;
use std::ops::Range;

/// Adds the steps of a chain whose last node is `point`, or else `window`.
///
/// # Errors
/// If a kernel does not compile, or a size overflows.
pub(crate) fn lower(dense: &View, window: &View, point: Option<&View>, lo: &mut Lowering) -> Result<(), OpError> {
    let target = *lo.target();
    let missing = || OpError::unsupported("not a chain of this family");
    let head = Head::read(dense, window, &target).ok_or_else(missing)?;
    let first = FirstLayer::new(&head, dense, lo)?;
    let second = SecondLayer::new(&head, window, lo)?;
    let Some(point) = point else {
        let to = lo.output(window.outputs[0], Forms::BLOCKED)?;
        let rows = 0..head.window.rows.output;
        return step(&head, &first, &second, rows, &Rows::of(&to, 0), lo);
    };
    let third = Geometry::read(point, &target).ok_or_else(missing)?;
    let to = lo.output(point.outputs[0], Forms::BLOCKED)?;
    let epilogue = place_image(point.epilogue.as_ref(), lo, &third.shape.dims())?;
    let third = ThirdLayer::new(&third, point, epilogue, lo)?;
    let dims = lo.graph().ty(window.outputs[0]).static_dims().ok_or_else(missing)?;
    let most = (STRIP_BYTES / (dims[0] * dims[1].next_multiple_of(target.lanes()) * dims[3] * 4)).max(1);
    let mut start = 0;
    for (rows, count) in strips(dims[2], most, head.ring.taken) {
        let strip = Storage::blocked(DType::F32, &[dims[0], dims[1], rows, dims[3]], target.lanes(), Halo::default());
        let strip = strip.ok_or_else(|| OpError::unsupported("a strip is larger than the address space"))?;
        for _ in 0..count {
            let place = Placed { buffer: lo.temp("strip", strip.bytes), storage: strip.clone() };
            step(&head, &first, &second, start..start + rows, &Rows::of(&place, 0), lo)?;
            third.step(&place, start..start + rows, &to, lo)?;
            start += rows;
        }
    }
    Ok(())
}

/// Strips of at most `most` rows, all but the last a multiple of `tile`: `(rows, how many)`.
fn strips(rows: usize, most: usize, tile: usize) -> Vec<(usize, usize)> {
    let tiles = rows.div_ceil(tile);
    let mut out: Vec<(usize, usize)> =
        split_evenly(tiles, (most / tile).max(1)).into_iter().map(|(n, count)| (n * tile, count)).collect();
    let beyond = tiles * tile - rows;
    if beyond > 0
        && let Some((last, count)) = out.pop()
    {
        if count > 1 {
            out.push((last, count - 1));
        }
        out.push((last - beyond, 1));
    }
    out
}

/// Rows of an image in memory: the operand that begins at one of them, and its strides.
struct Rows {
    operand: Operand,
    strides: Strides,
}

impl Rows {
    fn of(place: &Placed, row: usize) -> Rows {
        let s = &place.storage;
        let strides = image_strides(s, &s.dims);
        Rows { operand: from_offset(&place.write(), s.offset + row * strides.row), strides }
    }
}

/// The bytes from the first to the last element of an image of `planes` planes, `rows` rows and `cols` columns.
fn extent(s: &Strides, [planes, rows, cols]: [usize; 3], element: usize) -> usize {
    (planes - 1) * s.plane + (rows - 1) * s.row + (cols - 1) * s.pixel + element
}

/// The dense convolution.
struct FirstLayer {
    /// All of it as a product.
    problem: Problem,
    /// Its kernel for a panel, but for the number of rows and their cut.
    spec: Spec,
    input: Operand,
    /// Rows and columns under all windows.
    reach: [usize; 2],
    weights: Operand,
    bias: Operand,
    flops: usize,
}

impl FirstLayer {
    fn new(head: &Head, view: &View, lo: &mut Lowering) -> Result<FirstLayer, OpError> {
        let (g, ring, target) = (&head.dense, &head.ring, *lo.target());
        let lanes = target.lanes();
        let x = view.inputs[0].ok_or_else(|| OpError::invalid("input 0 is missing"))?;
        let placed = lo.input(x, g.wish(&target))?;
        let s = &placed.storage;
        let border = g.halo.top * s.strides[2] + g.halo.left * s.strides[3];
        let panels = g.shape.outputs.div_ceil(lanes) / ring.blocks;
        let spec = Spec {
            images: 1,
            channels_in: g.shape.inputs,
            first_in: 0,
            block_in: s.block.unwrap_or(1),
            input: image_strides(s, &s.dims),
            window: g.window,
            out: g.out(),
            output: image_strides(&ring.storage, &ring.storage.dims),
            blocks: ring.blocks,
            panels,
            tiling: Tiling::PIXEL,
            last_lanes: lanes,
            weights_image: 0,
            has_bias: true,
            epilogue: view.epilogue.as_ref().map(|e| e.f.clone()),
            sides: Vec::new(),
        };
        let name = lo.graph().node(view.node).name.clone();
        let (values, bias) = constants(view, lo)?;
        let [kh, kw] = g.window.kernel;
        let (data, inputs) = (values.view::<f32>(), g.shape.inputs);
        let at = |o: usize, [c, y, x]: [usize; 3]| data[((o * inputs + c) * kh + y) * kw + x];
        let packed = pack::pack(&spec, lanes, 0, g.shape.outputs, &at);
        let bias = pack::pack_channels(&bias_values(bias, g.shape.outputs), 0, panels * ring.blocks * lanes);
        let [rows, cols] = [0, 1].map(|d| (g.window.kernel[d] - 1) * g.window.dilation[d]);
        let [height, width] = g.out();
        let flops = 2 * spec.depth() * g.shape.batch * g.shape.outputs * height * width;
        Ok(FirstLayer {
            input: from_offset(&placed.read(), s.offset - border),
            reach: [rows, (width - 1) * g.window.stride[1] + cols + 1],
            weights: weights(lo, &format!("{name}.weight"), packed),
            bias: weights(lo, &format!("{name}.bias"), bias),
            flops,
            problem: Problem {
                images: g.shape.batch,
                groups: 1,
                inputs: g.shape.inputs,
                outputs: g.shape.outputs,
                window: g.window,
                out: g.out(),
                apart: spec.input.pixel * g.window.stride[1],
            },
            spec: Spec { panels: 1, ..spec },
        })
    }

    /// The call that makes `rows` of the intermediate image at byte `to` of the scratch. Operands 0 to 2 are input, weights and bias.
    /// The input begins at row `origin`.
    fn call(&self, rows: Range<usize>, origin: usize, to: usize, lo: &mut Lowering) -> Result<Call, OpError> {
        let (target, lanes) = (*lo.target(), lo.target().lanes());
        let out = [rows.len(), self.spec.out[1]];
        let tiling = lo.planner().tiling(&Problem { out, ..self.problem }, self.spec.blocks);
        let spec = Spec { out, tiling, ..self.spec.clone() };
        let key = igemm::name("conv", &spec, &target);
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(igemm::emit::compile(&spec, t, &key)))?;
        let stride = spec.window.stride[0];
        let (planes, element) = match spec.block_in {
            1 => (spec.channels_in, 4),
            b => (spec.channels_in.div_ceil(b), lanes * 4),
        };
        let read = extent(&spec.input, [planes, (rows.len() - 1) * stride + self.reach[0] + 1, self.reach[1]], element);
        let written = extent(&spec.output, [spec.blocks, rows.len(), spec.out[1]], lanes * 4);
        let args = vec![
            Arg::fixed(Base::Operand(0), (rows.start - origin) * stride * spec.input.row, read),
            Arg::fixed(Base::Operand(1), 0, spec.panel_bytes(lanes)),
            Arg::fixed(Base::Operand(2), 0, spec.blocks * lanes * 4),
            Arg::fixed(Base::Scratch, to, written),
        ];
        Ok(Call { kernel, args, units: spec.units() })
    }
}

/// The weights and bias of a convolution.
fn constants<'g>(view: &View, lo: &Lowering<'g>) -> Result<(&'g Tensor, Option<&'g Tensor>), OpError> {
    let constant = |i: usize| view.inputs.get(i).copied().flatten().and_then(|v| lo.constant(v));
    Ok((constant(1).ok_or_else(|| OpError::unsupported("the weights are not constant"))?, constant(2)))
}

fn bias_values(bias: Option<&Tensor>, channels: usize) -> Vec<f32> {
    bias.map_or_else(|| vec![0.0; channels], Tensor::to_vec)
}

/// The depthwise convolution or pooling.
struct SecondLayer {
    /// Weights and bias of a depthwise convolution.
    parameters: Vec<Operand>,
    epilogue: PlacedEpilogue,
    flops: usize,
}

impl SecondLayer {
    fn new(head: &Head, view: &View, lo: &mut Lowering) -> Result<SecondLayer, OpError> {
        let lanes = lo.target().lanes();
        let layer = &head.window;
        let channels = head.dense.shape.outputs;
        let dims = [head.dense.shape.batch, channels, layer.rows.output, layer.cols.output];
        let taps = layer.rows.kernel * layer.cols.kernel;
        let name = lo.graph().node(view.node).name.clone();
        let parameters = match layer.kind {
            Kind::Max => Vec::new(),
            Kind::Depthwise => {
                let (values, bias) = constants(view, lo)?;
                let packed = window::pack(&values.view::<f32>(), taps, lanes);
                let bias = pack::pack_channels(&bias_values(bias, channels), 0, channels.next_multiple_of(lanes));
                vec![weights(lo, &format!("{name}.weight"), packed), weights(lo, &format!("{name}.bias"), bias)]
            }
        };
        let each = if layer.kind == Kind::Max { 1 } else { 2 };
        let flops = each * taps * dims.iter().product::<usize>();
        Ok(SecondLayer { parameters, epilogue: place_image(view.epilogue.as_ref(), lo, &dims)?, flops })
    }

    /// Bytes of each parameter that one channel block takes.
    fn parameter_bytes(&self, head: &Head, lanes: usize) -> Vec<usize> {
        let taps = head.window.rows.kernel * head.window.cols.kernel;
        [taps * lanes * 4, lanes * 4].into_iter().take(self.parameters.len()).collect()
    }

    /// The call that makes rows `out` from the ring, whose first row is `first`. Operands from 3 on are the parameters, the side operands,
    /// and the output; all begin at row `origin`.
    fn call(
        &self,
        head: &Head,
        out: Range<usize>,
        first: usize,
        origin: usize,
        to: &Rows,
        lo: &mut Lowering,
    ) -> Result<Call, OpError> {
        let (layer, ring, target) = (&head.window, &head.ring, *lo.target());
        let vector = target.lanes() * 4;
        let from = image_strides(&ring.storage, &ring.storage.dims);
        let spec = window::Spec {
            images: 1,
            blocks: ring.blocks,
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
        args.extend(self.parameter_bytes(head, target.lanes()).into_iter().map(|b| operand(0, ring.blocks * b)));
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

/// Adds the step that runs the first two layers for rows `out`, into `to`, which begins at the first of them.
fn step(
    head: &Head,
    first: &FirstLayer,
    second: &SecondLayer,
    out: Range<usize>,
    to: &Rows,
    lo: &mut Lowering,
) -> Result<(), OpError> {
    let (ring, target) = (&head.ring, *lo.target());
    let lanes = target.lanes();
    let start = if ring.whole { 0 } else { head.window.first_input(out.start) };
    let mut calls = Vec::new();
    for action in ring.order(&head.window, out.clone()) {
        calls.push(match action {
            Action::Make(rows) => first.call(rows.clone(), start, made_at(head, rows.start, start), lo)?,
            Action::Take(rows) => second.call(head, rows, start, out.start, to, lo)?,
        });
    }
    let mut setup = Vec::new();
    if !ring.storage.halo.is_empty() {
        let args = vec![Arg::fixed(Base::Scratch, 0, ring.storage.bytes)];
        setup.push(Call { kernel: lo.border_kernel(&ring.storage), args, units: ring.blocks });
    }

    let input = from_offset(&first.input, start * first.spec.window.stride[0] * first.spec.input.row);
    let mut operands = vec![input, first.weights.clone(), first.bias.clone()];
    let image = |image: usize, panel: usize| [image, panel];
    let mut strides = vec![
        image(first.spec.input.image, 0),
        image(0, first.spec.panel_bytes(lanes)),
        image(0, first.spec.blocks * lanes * 4),
    ];
    operands.extend(second.parameters.iter().cloned());
    strides.extend(second.parameter_bytes(head, lanes).into_iter().map(|b| image(0, ring.blocks * b)));
    for (side, o) in second.epilogue.sides.iter().zip(&second.epilogue.operands) {
        operands.push(from_offset(o, out.start * side.strides.row));
    }
    strides.extend(second.epilogue.sides.iter().map(|s| image(s.strides.image, ring.blocks * s.strides.plane)));
    operands.push(to.operand.clone());
    strides.push(image(to.strides.image, ring.blocks * to.strides.plane));

    let panels = head.dense.shape.outputs.div_ceil(lanes) / ring.blocks;
    let program = Program { strides, panels, scratch: ring.storage.bytes, setup, body: roll_up(calls) };
    let name = name(head, &out, &program, &target);
    let kernel = lo.program(name, program);
    let share = |flops: usize| (flops as u64 * out.len() as u64) / head.window.rows.output as u64;
    let units = head.dense.shape.batch * panels;
    lo.step(kernel, operands, units, share(first.flops) + share(second.flops));
    Ok(())
}

/// Byte offset of the first element of a row in the scratch.
fn made_at(head: &Head, row: usize, first: usize) -> usize {
    let s = &head.ring.storage;
    head.ring.row(row, first) + s.halo.left * s.strides[3]
}

fn name(head: &Head, out: &Range<usize>, program: &Program, target: &Target) -> String {
    let [kh, kw] = head.dense.window.kernel;
    let (rows, cols) = (&head.window.rows, &head.window.cols);
    let second = match head.window.kind {
        Kind::Depthwise => "depthwise",
        Kind::Max => "max_pool",
    };
    format!(
        "line_buffer_conv_k{kh}x{kw}_{second}_k{}x{}s{}x{}_{}x{}_{target}_{}",
        rows.kernel,
        cols.kernel,
        rows.stride,
        cols.stride,
        out.len(),
        cols.output,
        fingerprint(&format!("{program:?}"))
    )
}

/// The 1x1 convolution.
struct ThirdLayer<'a> {
    g: &'a Geometry,
    weights: &'a Tensor,
    bias: Vec<f32>,
    epilogue: PlacedEpilogue,
    name: String,
}

impl<'a> ThirdLayer<'a> {
    fn new(
        g: &'a Geometry,
        view: &View,
        epilogue: PlacedEpilogue,
        lo: &Lowering<'a>,
    ) -> Result<ThirdLayer<'a>, OpError> {
        let (weights, bias) = constants(view, lo)?;
        let bias = bias_values(bias, g.shape.outputs);
        Ok(ThirdLayer { g, weights, bias, epilogue, name: lo.graph().node(view.node).name.clone() })
    }

    /// Adds the steps that make `rows` of `to` from a strip.
    fn step(&self, strip: &Placed, rows: Range<usize>, to: &Placed, lo: &mut Lowering) -> Result<(), OpError> {
        let shape = &self.g.shape;
        let values = self.weights.view::<f32>();
        let from = image_strides(&strip.storage, &strip.storage.dims);
        let output = Rows::of(to, rows.start);
        let mut epilogue = self.epilogue.clone();
        for (side, operand) in epilogue.sides.iter().zip(&mut epilogue.operands) {
            *operand = from_offset(operand, rows.start * side.strides.row);
        }
        let dense = Dense {
            family: "conv",
            images: shape.batch,
            groups: 1,
            inputs: shape.inputs,
            outputs: shape.outputs,
            window: Window::POINT,
            out: [rows.len(), self.g.out()[1]],
            block_in: strip.storage.block.unwrap_or(1),
            input: Operand { access: Access::Read, ..strip.read() },
            input_strides: from,
            output: output.operand,
            output_strides: output.strides,
            weight: &|o, [c, ..]| values[o * shape.inputs + c],
            bias: &self.bias,
            epilogue: &epilogue,
        };
        dense.lower(lo, &self.name)
    }
}
