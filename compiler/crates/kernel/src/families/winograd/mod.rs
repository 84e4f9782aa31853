//! Dense convolution of stride 1, of filters up to 5x5, by Winograd's minimal filtering: bands of tiles are transformed, multiplied product by
//! product by the implicit GEMM, and transformed back. Dilated ones are computed [phase](phases) by phase.
//!
//! Every band is three kinds of steps over two scratch buffers: `V[product][input block][tile][lane]`, then
//! `M[product][output block][tile][lane]`, of some output blocks after the other ([`scratch`]). Small images of a batch share a band, so that the
//! weights are read once. The stride from product to product is odd in cache lines, against aliasing.

mod phases;
mod points;
mod scratch;
mod transform;

use crate::compressed;
use crate::cost::{self, Choice, Problem, Winograd as Cut};
use crate::families::conv::{Geometry, compiled, weights};
use crate::families::fingerprint;
use crate::families::igemm::packing::Packing;
use crate::families::igemm::spec::{Number, Spec, Start, Strides, Window};
use crate::families::igemm::{self, pack};
use crate::families::sides::{PlacedEpilogue, from_offset, image_strides, image_wishes, place_image};
use crate::family::{Family, View, Wish};
use crate::lowering::{Direction, Forms, Lowering, Placed};
use crate::schedule::{Access, BufferId, KernelId, Operand};
use crate::storage::Halo;
use mnnc_ir::{OpError, Tensor, ValueId};
use mnnc_vector::Target;
pub use phases::Phases;
pub use points::Size;
use scratch::Scratch;
use std::ops::Range;
use transform::{Band, Finish};

/// The family.
pub struct Winograd;

/// A node that this family takes, and how.
fn read(view: &View, target: &Target) -> Option<(Geometry, Cut)> {
    // Products on tiles are ten times as fast as those of single precision: nothing is left to save.
    // Transformed weights are numbers, and more of them than the graph has: packed ones stay as they are, unless speed is all that counts.
    let packed = !view.planner.may_expand()
        && view.inputs.get(1).copied().flatten().is_some_and(|w| compressed::is_compressed(view.graph, w));
    let g = Geometry::read(view, target).filter(|_| !target.has_tiles() && !packed)?;
    let whole = problem(&g, target);
    let plain = if g.reduced(target) { Problem { number: Number::Bf16, ..whole } } else { whole };
    let cut = view.planner.winograd(&whole, &plain)?;
    Some((g, cut))
}

fn problem(g: &Geometry, target: &Target) -> Problem {
    let s = &g.shape;
    Problem {
        number: Number::F32,
        images: s.batch,
        groups: s.groups,
        inputs: s.inputs,
        outputs: s.outputs,
        window: g.window,
        border: g.border(Number::F32, target),
        out: g.out(),
        own_weights: false,
        apart: 4 * target.lanes() * g.window.stride[1],
        packing: Packing::WHOLE,
    }
}

/// The border that whole tiles read.
fn tile_halo(g: &Geometry, phases: &Phases) -> Halo {
    let [rows, cols] = [g.shape.axes[0].input, g.shape.axes[1].input];
    Halo {
        bottom: phases.reach(0).saturating_sub(g.halo.top + rows),
        right: phases.reach(1).saturating_sub(g.halo.left + cols),
        ..g.halo
    }
}

impl Family for Winograd {
    fn name(&self) -> &'static str {
        "winograd"
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let (g, cut) = read(view, target)?;
        let halo = tile_halo(&g, &Phases::new(&problem(&g, target), cut.size));
        let mut wishes = vec![(view.inputs.first().copied().flatten()?, Wish::Blocked(halo))];
        wishes.extend(image_wishes(view, target));
        Some(wishes)
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let target = *lo.target();
        let missing = || OpError::unsupported("not a convolution of this family");
        let (g, cut) = read(view, &target).ok_or_else(missing)?;
        let problem = problem(&g, &target);
        let phases = Phases::new(&problem, cut.size);
        let (cut, scratch) = Scratch::choose(&problem, cut, lo);
        lo.decided(problem, Choice::Winograd(cut));
        let [x, w] = [0, 1].map(|i| view.inputs.get(i).copied().flatten());
        let (x, w) = (x.ok_or_else(missing)?, w.ok_or_else(missing)?);
        let filter = compressed::numbers(lo.graph(), w).ok_or_else(missing)?;
        let bias = view.inputs.get(2).copied().flatten().and_then(|b| lo.constant(b));
        let input = lo.input(x, Wish::Blocked(tile_halo(&g, &phases)))?;
        let over = if in_bands(&phases, &cut) { lo.output_over(view, x, &input, reach(&g))? } else { None };
        let direction = over.as_ref().map(|o| o.direction);
        let output = match over {
            Some(over) => over.place,
            None => lo.output_in_place(view, Forms::BLOCKED, &view.inputs)?,
        };
        let epilogue = place_image(view.epilogue.as_ref(), lo, &output.storage)?;
        let name = lo.graph().node(view.node).name.clone();
        let emitter = Emitter { g: &g, phases, cut, scratch, target, input, output, epilogue, name };
        emitter.steps(lo, &filter, bias, direction.unwrap_or(Direction::Down))?;
        if direction.is_some() {
            lo.fill_border(&emitter.output);
        }
        Ok(())
    }
}

/// Whether a band is rows of one image, all of whose tiles are read before any of its rows is written.
fn in_bands(phases: &Phases, cut: &Cut) -> bool {
    cut.images == 1 && [0, 1].iter().all(|&d| phases.count(d) == 1)
}

/// Rows before and after an output's own that it depends on, where outputs are as many as inputs.
fn reach(g: &Geometry) -> [usize; 2] {
    let before = g.halo.top;
    [before, (g.window.kernel[0] - 1).saturating_sub(before)]
}

struct Emitter<'a> {
    g: &'a Geometry,
    phases: Phases,
    cut: Cut,
    scratch: Scratch,
    target: Target,
    input: Placed,
    output: Placed,
    epilogue: PlacedEpilogue,
    name: String,
}

/// Output channels whose products are made and transformed back before the next.
struct Group {
    /// Its channel blocks.
    blocks: Range<usize>,
    classes: Vec<Class>,
}

/// Panels of one width of a group: their part of the weights and of the output channels.
struct Class {
    spec: Spec,
    weights: Operand,
    /// Its first channel block.
    first: usize,
    kernel: KernelId,
    units: usize,
}

impl Emitter<'_> {
    fn lanes(&self) -> usize {
        self.target.lanes()
    }

    /// The row of the image that a row of a phase is.
    fn row(&self, row: usize, phase: usize) -> usize {
        phase + row * self.phases.step[0]
    }

    /// Rows of a phase that so many rows of tiles from `row` on have: tiles reach beyond the image, or, at the end of a phase that is shorter than
    /// the first, lie there.
    fn rows(&self, tiles: usize, row: usize, phase: usize) -> usize {
        self.phases.extent(0, phase).saturating_sub(row).min(tiles * self.cut.size.outputs(0))
    }

    fn steps(
        &self,
        lo: &mut Lowering,
        filter: &[f32],
        bias: Option<&Tensor>,
        direction: Direction,
    ) -> Result<(), OpError> {
        let s = &self.g.shape;
        let (tiles, step) = (self.phases.grid(), self.cut.band);
        let Scratch { tiles: v_bytes, products: m_bytes, .. } = self.scratch;
        let (v, m) = (lo.temp("tiles", v_bytes), lo.temp("products", self.scratch.bytes() - v_bytes));
        // `[output][input][product]`
        let transformed = self.cut.size.filters(filter);
        let padded = s.outputs.next_multiple_of(self.lanes());
        let bias = bias.map_or_else(|| vec![0.0; s.outputs], Tensor::to_vec);
        let bias = weights(lo, &format!("{}.bias", self.name), pack::pack_channels(&bias, 0, padded));
        let mut packed = Vec::new();
        let all = s.batch * self.phases.count(0);
        for image in (0..all).step_by(self.cut.images) {
            let images = image..(image + self.cut.images).min(all);
            let mut firsts: Vec<usize> = (0..tiles[0]).step_by(step).collect();
            if direction == Direction::Up {
                firsts.reverse();
            }
            for first in firsts {
                let band = [step.min(tiles[0] - first), tiles[1]];
                let groups = self.groups(lo, &transformed, &mut packed, images.len() * band[0] * band[1])?;
                self.band(lo, &groups, (v, v_bytes), (m, m_bytes), &bias, images.clone(), first, band)?;
            }
        }
        Ok(())
    }

    /// The products of a band; their weights are packed once and shared by all bands.
    fn groups(
        &self,
        lo: &mut Lowering,
        transformed: &[f32],
        packed: &mut Vec<Operand>,
        tiles: usize,
    ) -> Result<Vec<Group>, OpError> {
        let planner = lo.planner();
        let product = planner.band_problem(&problem(self.g, &self.target), self.cut.size.products(), tiles);
        let widths = planner.band_classes(&product);
        let (mut out, mut first, mut made) = (Vec::new(), 0, 0);
        for panels in self.scratch.groups(&widths) {
            let start = first;
            let blocks: usize = panels.iter().map(|&(i, n)| widths[i].blocks * n).sum();
            let mut classes = Vec::new();
            for (i, panels) in panels {
                let spec = self.products(tiles, blocks, &cost::Class { panels, ..widths[i] });
                if packed.len() == made {
                    packed.push(self.pack(lo, &spec, transformed, first));
                }
                let key = igemm::name("winograd_products", &spec, &self.target);
                let kernel = lo.cached_kernel(key.clone(), |t| compiled(igemm::emit::compile(&spec, t, &key)))?;
                let units = spec.units();
                let blocks = spec.blocks * panels;
                classes.push(Class { spec, weights: packed[made].clone(), first, kernel, units });
                first += blocks;
                made += 1;
            }
            out.push(Group { blocks: start..first, classes });
        }
        Ok(out)
    }

    /// The products of so many tiles for panels of a group of so many blocks.
    fn products(&self, tiles: usize, blocks: usize, class: &cost::Class) -> Spec {
        let (inputs, lanes) = (self.g.shape.inputs, self.lanes());
        let strides = |blocks| Strides {
            image: scratch::product(blocks, tiles, lanes),
            plane: tiles * lanes * 4,
            pixel: lanes * 4,
            ..Strides::default()
        };
        let spec = Spec {
            images: self.cut.size.products(),
            number: Number::F32,
            channels_in: inputs,
            first_in: 0,
            block_in: lanes,
            input: strides(inputs.div_ceil(lanes)),
            window: Window::POINT,
            border: None,
            out: [1, tiles],
            output: strides(blocks),
            blocks: class.blocks,
            panels: class.panels,
            tiling: class.tiling,
            last_lanes: lanes,
            channels_out: 0,
            weights_image: 0,
            packing: Packing::WHOLE,
            start: Start::Zero,
            bounded: false,
            epilogue: None,
            sides: Vec::new(),
        };
        Spec { weights_image: spec.panel_bytes(lanes) * class.panels, ..spec }
    }

    /// The weights of panels from block `first` on, product by product.
    fn pack(&self, lo: &mut Lowering, spec: &Spec, transformed: &[f32], first: usize) -> Operand {
        let (s, n, lanes) = (&self.g.shape, self.cut.size.products(), self.lanes());
        let mut bytes = Vec::with_capacity(n * spec.weights_image);
        for product in 0..n {
            let at = |o: usize, [c, ..]: [usize; 3]| transformed[(o * s.inputs + c) * n + product];
            bytes.extend(pack::pack(spec, lanes, first * lanes, s.outputs, &at));
        }
        weights(lo, &format!("{}.weight", self.name), bytes)
    }

    #[allow(clippy::too_many_arguments, reason = "one band among its buffers")]
    fn band(
        &self,
        lo: &mut Lowering,
        groups: &[Group],
        (v, v_bytes): (BufferId, usize),
        (m, m_bytes): (BufferId, usize),
        bias: &Operand,
        images: Range<usize>,
        first: usize,
        tiles: [usize; 2],
    ) -> Result<(), OpError> {
        let (s, lanes) = (&self.g.shape, self.lanes());
        let dims = s.dims();
        let row = first * self.cut.size.outputs(0);
        // The image and the phase of its rows that an image of the band is.
        let part = |i: usize| [i / self.phases.count(0), i % self.phases.count(0)];
        let scratch = |buffer, bytes, access| Operand { buffer, offset: 0, bytes, access };
        // The tiles of the images lie one after the other in every plane.
        let each = tiles[0] * tiles[1];
        let (total, own) = (images.len() * each, each * lanes * 4);
        let band = |blocks: usize, image: Strides| Band {
            size: self.cut.size,
            phases: self.phases,
            blocks,
            tiles,
            image,
            plane: total * lanes * 4,
            product: scratch::product(blocks, total, lanes),
        };

        let from = &self.input.storage;
        let there = band(s.inputs.div_ceil(lanes), image_strides(from, &from.dims));
        let key = format!("winograd_input_{}_{}", self.target, fingerprint(&format!("{there:?}")));
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(transform::input(&there, t, &key)))?;
        lo.in_parts(|lo| {
            for (i, image) in images.clone().enumerate() {
                let [image, phase] = part(image);
                let start = from.first_tap(self.g.halo) + image * from.strides[0];
                let start = start + self.row(row, phase) * from.strides[2];
                let to = from_offset(&scratch(v, v_bytes, Access::Write), i * own);
                lo.step(kernel, vec![from_offset(&self.input.read(), start), to], there.units(), 0);
            }
            Ok(())
        })?;

        let to = &self.output.storage;
        // Counted as the direct convolution that they replace.
        let rows: usize = images.clone().map(|i| self.rows(tiles[0], row, part(i)[1])).sum();
        let flops = 2 * self.cut.size.taps().iter().product::<usize>() * rows * dims[3] * s.inputs;
        for (g, Group { blocks, classes }) in groups.iter().enumerate() {
            // While a group is transformed back, the products of the next are made.
            let products = |access| Operand { offset: g % 2 * m_bytes, ..scratch(m, m_bytes, access) };
            lo.in_parts(|lo| {
                for class in classes {
                    let to = (class.first - blocks.start) * class.spec.output.plane;
                    let to = from_offset(&products(Access::Write), to);
                    let from = scratch(v, v_bytes, Access::Read);
                    let operands = vec![from, class.weights.clone(), class.weights.clone(), to];
                    let channels = (class.spec.blocks * class.spec.panels * lanes).min(s.outputs - class.first * lanes);
                    lo.step(class.kernel, operands, class.units, (flops * channels) as u64);
                }
                Ok(())
            })?;

            let back = band(blocks.len(), image_strides(to, &dims));
            lo.in_parts(|lo| {
                for (i, image) in images.clone().enumerate() {
                    let [image, phase] = part(image);
                    let finish = Finish {
                        rows: self.rows(tiles[0], row, phase),
                        epilogue: self.epilogue.f.clone(),
                        sides: self.epilogue.sides.clone(),
                    };
                    let key =
                        format!("winograd_output_{}_{}", self.target, fingerprint(&format!("{back:?}{finish:?}")));
                    let kernel =
                        lo.cached_kernel(key.clone(), |t| compiled(transform::output(&back, &finish, t, &key)))?;
                    let at = |o: &Operand, s: &Strides| {
                        from_offset(o, image * s.image + blocks.start * s.plane + self.row(row, phase) * s.row)
                    };
                    let from = from_offset(&products(Access::Read), i * own);
                    let mut operands = vec![from, from_offset(bias, blocks.start * lanes * 4)];
                    for (o, side) in self.epilogue.operands.iter().zip(&self.epilogue.sides) {
                        operands.push(at(o, &side.strides));
                    }
                    operands.push(at(&from_offset(&self.output.write(), to.offset), &back.image));
                    lo.step(kernel, operands, back.units(), 0);
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
