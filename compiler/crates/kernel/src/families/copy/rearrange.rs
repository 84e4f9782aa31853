//! Every op that only copies elements, separably by dimension: see [`super::moves`].

use super::moves::{From, Move, moves};
use super::{Part, boxes, channels, is_copied, pairs, parts};
use crate::families::conv::{compiled, weights};
use crate::families::sides::from_offset;
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering, Placed};
use crate::schedule::Operand;
use crate::storage::{Halo, Storage};
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_vector::Target;

/// The family.
pub struct Rearrange;

/// The moves of each result, and the forms in which it can be written.
struct Node {
    moves: Vec<Vec<Move>>,
    forms: Vec<Forms>,
}

fn read(view: &View, target: &Target) -> Option<Node> {
    let anchor = view.anchor.filter(|_| view.epilogue.is_none())?;
    let g = view.graph;
    let dtype = g.ty(*view.outputs.first()?).dtype;
    if !is_copied(dtype) || !anchor.regions.is_empty() {
        return None;
    }
    let facts = g.facts(view.anchor_id?);
    let compute = (anchor.op.compute?)(&facts.of(anchor)).ok()?;
    let shapes: Vec<_> = view.inputs.iter().map(|v| v.and_then(|v| g.ty(v).static_dims())).collect();
    let moves = moves(&compute, &shapes)?;
    let mut forms = Vec::new();
    for (&y, moves) in view.outputs.iter().zip(&moves) {
        let ty = g.ty(y);
        let dims = ty.static_dims().filter(|d| ty.dtype == dtype && !d.contains(&0))?;
        let whole = |d: &[usize]| d.iter().try_fold(64usize, |a, &n| a.checked_mul(n)).is_some_and(|b| b < 1 << 31);
        let sources = moves.iter().all(|m| match m.from {
            From::Input(i) => shapes.get(i).and_then(Option::as_ref).is_some_and(|d| whole(d)),
            From::Constant(_) => true,
        });
        if !whole(&dims) || !sources {
            return None;
        }
        let can = |to: Option<Storage>| {
            let to = to?;
            moves.iter().try_for_each(|m| {
                let from = match m.from {
                    From::Input(i) => Some(Storage::plain(dtype, shapes.get(i)?.as_ref()?)?),
                    From::Constant(_) => None,
                };
                kernels(m, from.as_ref(), &to).map(|_| ())
            })
        };
        let plain = can(Storage::plain(dtype, &dims)).is_some();
        let blocked = can(Storage::blocked(dtype, &dims, target.lanes(), Halo::default())).is_some();
        if !plain && !blocked {
            return None;
        }
        let images = moves.iter().all(|m| match m.from {
            From::Input(i) => shapes.get(i).and_then(Option::as_ref).is_some_and(|d| d.len() == 4),
            From::Constant(_) => true,
        });
        let by_pairs = target.has_bf16() && dtype == DType::F32 && images;
        let reduced = by_pairs && pairs::moves(moves, &dims, 2 * target.lanes()).is_some();
        forms.push(Forms { plain, blocked, reduced });
    }
    (moves.len() == view.outputs.len()).then_some(Node { moves, forms })
}

fn kernels(m: &Move, from: Option<&Storage>, to: &Storage) -> Option<Vec<Part>> {
    parts(boxes::pieces(m, from, to)?, to.dtype.size())
}

impl Rearrange {
    /// Whether a few channels at a time come from planes. Blocks of them would be filled element by element; from the planes of the result,
    /// they are filled by whole vectors.
    fn is_thin(&self, view: &View, moves: &[Move], lo: &mut Lowering) -> Result<bool, OpError> {
        let few = lo.target().lanes() / 2;
        if moves.len() < 2 {
            return Ok(false);
        }
        for m in moves {
            let From::Input(i) = m.from else { continue };
            let Some(x) = view.inputs.get(i).copied().flatten() else { return Ok(false) };
            let channels = m.axes.get(1).map_or(0, |a| a.pairs.len());
            if m.axes.len() != 4 || channels >= few || !lo.input(x, Wish::Any)?.storage.is_plain() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds the steps that move pairs of channels between images of bf16.
    fn move_pairs(&self, view: &View, moves: &[Move], to: &Placed, lo: &mut Lowering) -> Result<(), OpError> {
        let missing = || OpError::unsupported("not a copy of pairs of channels");
        let block = to.storage.block.ok_or_else(missing)?;
        let place = |p: &Placed| Some(Placed { buffer: p.buffer, storage: pairs::words(&p.storage)? });
        let result = place(to).ok_or_else(missing)?;
        for m in pairs::moves(moves, &to.storage.dims, block).ok_or_else(missing)? {
            let from = match m.from {
                From::Constant(_) => {
                    let storage = Storage::plain(DType::U32, &[1]).ok_or_else(missing)?;
                    Placed { buffer: weights(lo, "fill", vec![0; 4]).buffer, storage }
                }
                From::Input(i) => {
                    let x = view.inputs.get(i).copied().flatten().ok_or_else(missing)?;
                    let from = lo.input(x, Wish::Reduced(Halo::default()))?;
                    place(&from).ok_or_else(missing)?
                }
            };
            let source = matches!(m.from, From::Input(_)).then_some(&from.storage);
            let parts = kernels(&m, source, &result.storage).ok_or_else(missing)?;
            lo.copy_parts(&from, &result, parts)?;
        }
        Ok(())
    }

    /// Adds the step that permutes channels between blocked images of bytes, if the moves are that.
    fn permute_channels(&self, view: &View, moves: &[Move], to: &Placed, lo: &mut Lowering) -> Result<bool, OpError> {
        if to.storage.block != Some(lo.target().lanes()) || to.storage.dtype.size() != 1 {
            return Ok(false);
        }
        let mut placed: Vec<Option<Placed>> = vec![None; view.inputs.len()];
        let used = channels::Spec::inputs(moves);
        for &i in &used {
            let Some(x) = view.inputs.get(i).copied().flatten() else { return Ok(false) };
            placed[i] = Some(lo.input(x, Wish::Any)?);
        }
        let sources: Vec<Option<Storage>> = placed.iter().map(|p| p.as_ref().map(|p| p.storage.clone())).collect();
        let Some(spec) = channels::Spec::of(moves, &sources, &to.storage) else { return Ok(false) };
        let kernel = lo.cached_kernel(spec.name(lo.target()), |t| compiled(spec.compile(t)))?;
        let mut operands: Vec<Operand> =
            used.iter().filter_map(|&i| placed[i].as_ref()).map(|p| from_offset(&p.read(), p.storage.offset)).collect();
        operands.push(from_offset(&to.write(), to.storage.offset));
        lo.step(kernel, operands, spec.units(), 0);
        Ok(true)
    }
}

impl Family for Rearrange {
    fn name(&self) -> &'static str {
        "rearrange"
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        read(view, target).map(|_| Vec::new())
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let missing = || OpError::unsupported("not a copy by dimensions");
        let node = read(view, lo.target()).ok_or_else(missing)?;
        for ((&y, moves), &forms) in view.outputs.iter().zip(&node.moves).zip(&node.forms) {
            let forms = if forms.plain && self.is_thin(view, moves, lo)? { Forms::PLAIN } else { forms };
            let to = lo.output(y, forms)?;
            if to.storage.dtype == DType::BF16 {
                self.move_pairs(view, moves, &to, lo)?;
                continue;
            }
            if self.permute_channels(view, moves, &to, lo)? {
                continue;
            }
            for m in moves {
                let (from, parts) = match m.from {
                    From::Constant(x) => {
                        let bytes = match to.storage.dtype {
                            DType::F32 => (x as f32).to_ne_bytes().to_vec(),
                            DType::U32 => (x as u32).to_ne_bytes().to_vec(),
                            DType::I32 => (x as i32).to_ne_bytes().to_vec(),
                            DType::I8 => (x as i8).to_ne_bytes().to_vec(),
                            _ => (x as u8).to_ne_bytes().to_vec(),
                        };
                        let storage = Storage::plain(to.storage.dtype, &[1]).ok_or_else(missing)?;
                        let from = Placed { buffer: weights(lo, "fill", bytes).buffer, storage };
                        (from, kernels(m, None, &to.storage))
                    }
                    From::Input(i) => {
                        let x = view.inputs.get(i).copied().flatten().ok_or_else(missing)?;
                        let from = lo.input(x, Wish::Any)?;
                        match kernels(m, Some(&from.storage), &to.storage) {
                            Some(parts) => (from, Some(parts)),
                            None => {
                                let from = lo.input(x, Wish::Plain)?;
                                let parts = kernels(m, Some(&from.storage), &to.storage);
                                (from, parts)
                            }
                        }
                    }
                };
                lo.copy_parts(&from, &to, parts.ok_or_else(missing)?)?;
            }
        }
        Ok(())
    }
}
