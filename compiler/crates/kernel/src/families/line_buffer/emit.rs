//! The steps of a chain.

use super::chain::{Chunk, Head, STRIP_BYTES};
use super::first_layer::FirstLayer;
use super::ring::Action;
use super::second_layer::SecondLayer;
use super::third_layer::ThirdLayer;
use super::window_layer::{Kind, WindowLayer};
use crate::families::fingerprint;
use crate::families::igemm::spec::Number;
use crate::families::pool::{GlobalPool, PoolTail};
use crate::families::region::Region;
use crate::families::sides::from_offset;
use crate::families::tile::split_evenly;
use crate::family::View;
use crate::lowering::{Forms, Lowering};
use crate::program::{Arg, Base, Call, Program, Run, roll_up};
use mnnc_ir::OpError;
use mnnc_vector::Target;
use std::ops::Range;

/// Adds the steps of a chain whose last node is `point`, or else `window`.
///
/// # Errors
/// If a kernel does not compile, or a size overflows.
pub(super) fn lower<'g>(
    dense: &View,
    window: &View,
    point: Option<&View<'g>>,
    pool: Option<&View>,
    lo: &mut Lowering,
) -> Result<(), OpError> {
    let target = *lo.target();
    let missing = || OpError::unsupported("not a chain of this family");
    let head = Head::read(dense, window, &target).ok_or_else(missing)?;
    let first = FirstLayer::new(&head, dense, lo)?;
    let second = SecondLayer::new(&head, window, lo)?;
    let Some(point) = point else {
        let to = lo.output(window.outputs[0], Forms::BLOCKED)?;
        let rows = 0..head.window.rows.output;
        let mut tail = None;
        if let Some(pool) = pool {
            tail = Some(GlobalPool::tail(pool, &to, head.blocks(), lo)?);
        }
        return head.chunks.iter().try_for_each(|c| {
            let to = Region::write(&to).from([0, c.first[1]]);
            step(&head, c, &first, &second, rows.clone(), &to, tail.as_ref(), lo)
        });
    };
    let to = lo.output_in_place(point, Forms::BLOCKED, &dense.inputs)?;
    let third = ThirdLayer::new(point, lo)?;
    let shape = &head.dense.geometry().shape;
    let channels = shape.outputs.next_multiple_of(target.lanes());
    for chunk in &head.chunks {
        let cols = chunk.layer.cols.output;
        let row = shape.batch * channels * cols * head.dense.number().bytes();
        let mut start = 0;
        for (rows, count) in strips(head.window.rows.output, row, chunk.ring.taken) {
            for _ in 0..count {
                let strip = third.strip([rows, cols], lo)?;
                step(&head, chunk, &first, &second, start..start + rows, &Region::write(&strip), None, lo)?;
                third.step(&strip, [start, chunk.first[1]], &to, lo)?;
                start += rows;
            }
        }
    }
    Ok(())
}

/// The rows of an image, of `row` bytes each, in strips that L2 holds, all but the last a multiple of `tile`: `(rows, how many)`.
pub(super) fn strips(rows: usize, row: usize, tile: usize) -> Vec<(usize, usize)> {
    let most = STRIP_BYTES / row.max(1);
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

/// Adds the step that runs the first two layers for rows `out`, into `to`, which begins at the first of them, and the pooling of what
/// each unit made.
#[allow(clippy::too_many_arguments, reason = "a step among its layers")]
fn step(
    head: &Head,
    chunk: &Chunk,
    first: &FirstLayer,
    second: &SecondLayer,
    out: Range<usize>,
    to: &Region,
    tail: Option<&PoolTail>,
    lo: &mut Lowering,
) -> Result<(), OpError> {
    let (ring, layer, target) = (&chunk.ring, &chunk.layer, *lo.target());
    let lanes = target.lanes();
    let start = if ring.whole { 0 } else { layer.first_input(out.start) };
    let mut operands = first.operands([start, chunk.first[0]]);
    let mut strides = first.strides(lanes);
    let mut calls = Vec::new();
    for action in ring.order(layer, out.clone()) {
        calls.push(match action {
            Action::Make(rows) => first.call(chunk, rows.clone(), start, lo)?,
            Action::Take(rows) => second.call(chunk, rows, [start, out.start], operands.len(), to, lo)?,
        });
    }
    let mut setup = Vec::new();
    if !ring.storage.halo.is_empty() {
        let args = vec![Arg::fixed(Base::Scratch, 0, ring.storage.bytes)];
        setup.push(Call { kernel: lo.border_kernel(&ring.storage), args, units: ring.blocks });
    }

    operands.extend(second.parameters.iter().cloned());
    strides.extend(second.parameter_bytes().into_iter().map(|b| [0, ring.blocks * b]));
    for (side, o) in second.epilogue.sides.iter().zip(&second.epilogue.operands) {
        operands.push(from_offset(o, out.start * side.strides.row + chunk.first[1] * side.strides.pixel));
    }
    strides.extend(second.epilogue.sides.iter().map(|s| [s.strides.image, ring.blocks * s.strides.plane]));
    operands.push(to.operand.clone());
    strides.push([to.strides.image, ring.blocks * to.strides.plane]);

    let shape = &head.dense.geometry().shape;
    let panels = shape.outputs.div_ceil(lanes) / ring.blocks;
    let mut body = roll_up(calls);
    if let Some(tail) = tail {
        let pooled = Arg::fixed(Base::Operand(operands.len()), 0, tail.bytes);
        let made = Arg::fixed(Base::Operand(operands.len() - 1), 0, tail.read);
        body.push(Run {
            count: 1,
            calls: vec![Call { kernel: tail.kernel, args: vec![made, pooled], units: ring.blocks }],
        });
        operands.push(tail.operand.clone());
        strides.push(tail.strides);
    }
    let program = Program { strides, panels, scratch: ring.storage.bytes, setup, body };
    let name = name(head, layer, &out, &program, &target);
    let kernel = lo.program(name, program);
    let all = head.window.rows.output * head.window.cols.output;
    let share = |flops: usize| (flops as u64 * (out.len() * layer.cols.output) as u64) / all as u64;
    let units = shape.batch * panels;
    let pooled = tail.map_or(0, |t| t.flops as u64);
    lo.step(kernel, operands, units, share(first.flops) + share(second.flops) + pooled);
    Ok(())
}

fn name(head: &Head, layer: &WindowLayer, out: &Range<usize>, program: &Program, target: &Target) -> String {
    let [kh, kw] = head.dense.geometry().window.kernel;
    let number = if layer.number == Number::U8 { "+u8" } else { "" };
    let (rows, cols) = (&layer.rows, &layer.cols);
    let second = match layer.kind {
        Kind::Depthwise => "depthwise",
        Kind::Max => "max_pool",
    };
    format!(
        "line_buffer_conv_k{kh}x{kw}_{second}_k{}x{}s{}x{}_{}x{}_{target}{number}_{}",
        rows.kernel,
        cols.kernel,
        rows.stride,
        cols.stride,
        out.len(),
        cols.output,
        fingerprint(&format!("{program:?}"))
    )
}
