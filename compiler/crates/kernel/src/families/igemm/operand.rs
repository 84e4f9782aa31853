//! The constant weights of a product: where they come from, how they are to lie, and their bytes.

use super::border::Border;
use super::order::{Piece, pieces};
use super::pack;
use super::packing::{Packing, Scaling, Stored};
use super::spec::{Number, Spec, Start};
use crate::compressed::{Compressed, Granularity};
use mnnc_ir::{Graph, ValueId};
use rayon::prelude::*;
use std::borrow::Cow;

/// Position of a weight in its constant by output channel and `[input channel of the group, filter row, filter column]`; `None` for a
/// weight that is zero by itself.
pub type Position<'a> = Box<dyn Fn(usize, [usize; 3]) -> Option<usize> + Sync + 'a>;

/// What sums start at: one number an output channel, in their type.
#[derive(Clone)]
pub enum Bias {
    /// Sums of products of floats.
    F32(Vec<f32>),
    /// Sums of products of bytes.
    I32(Vec<i32>),
    /// The same as parts that the taps of a filter of these rows and columns add, `[output channel][row][column]`.
    Taps([usize; 2], Vec<i32>),
}

impl Bias {
    /// How a kernel that leaves out taps for this border starts.
    pub fn start(&self, border: Option<Border>) -> Start {
        if matches!(self, Bias::Taps(..)) && border.is_some() { Start::Taps } else { Start::Bias }
    }
}

/// The input channel, filter row and column of an output channel's own weights that a step of the reduction is, if it is any.
pub type Own<'a> = &'a (dyn Fn(usize, [usize; 3]) -> Option<[usize; 3]> + Sync);

/// Constant weights.
pub struct Weights<'a> {
    source: Source<'a>,
    at: Position<'a>,
    /// Dimensions of the constant that count output and input channels.
    axes: [usize; 2],
    /// What all are multiplied with.
    factor: f32,
}

enum Source<'a> {
    Plain(Cow<'a, [f32]>),
    Compressed(Compressed<'a>),
    Computed(Computed<'a>),
}

/// A weight as a function of what [`Position`] is one of.
pub type Computed<'a> = Box<dyn Fn(usize, [usize; 3]) -> f32 + Sync + 'a>;

/// What decides how weights are packed, besides themselves.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Reader {
    /// Input channels of a group.
    pub inputs: usize,
    /// Input channels that lie together.
    pub block_in: usize,
    /// Filter columns.
    pub columns: usize,
    /// What is multiplied.
    pub number: Number,
    /// Whether vectors of output channels read input channels that are not their own.
    pub shared: bool,
}

impl<'a> Weights<'a> {
    /// The constant behind `v`, plain or compressed; `axes` are its dimensions that count output and input channels.
    pub fn new(g: &'a Graph, v: ValueId, axes: [usize; 2], at: Position<'a>) -> Option<Weights<'a>> {
        let source = match g.constant(v) {
            Some(t) => Source::Plain(t.view()),
            None => Source::Compressed(Compressed::of(g, v)?),
        };
        Some(Weights { source, at, axes, factor: 1.0 })
    }

    /// Weights that are computed.
    pub fn computed(f: Computed<'a>) -> Weights<'a> {
        Weights { source: Source::Computed(f), at: Box::new(|_, _| Some(0)), axes: [0, 1], factor: 1.0 }
    }

    /// All multiplied by a factor.
    pub fn times(self, factor: f32) -> Weights<'a> {
        Weights { factor: self.factor * factor, ..self }
    }

    /// How they lie for a reader: packed as they are where its kernel can expand them, else as numbers.
    pub fn packing(&self, r: Reader) -> Packing {
        let Source::Compressed(c) = &self.source else { return Packing::WHOLE };
        if r.number != Number::F32 {
            return Packing::WHOLE;
        }
        if c.is_half() {
            let packing = Packing { stored: Stored::F16, scaling: Scaling::None };
            return if self.factor == 1.0 { packing } else { Packing::WHOLE };
        }
        let few = r.block_in == 1 && r.columns <= 4;
        let stored = if c.fits_4_bits() && !few { Stored::I4 } else { Stored::I8 };
        let [output, input] = self.axes;
        let zero = c.has_zero();
        let scaling = match c.granularity() {
            Granularity::Tensor => Scaling::Channel { zero },
            Granularity::Axis(a) if a == output => Scaling::Channel { zero },
            Granularity::Blocks(a, size) if a == input => {
                let size = size.min(r.inputs.next_multiple_of(r.block_in));
                // A planar input has its taps, not its channels, in a row.
                let whole = r.block_in > 1 && size.is_multiple_of(r.block_in) && c.zeros_fit();
                let half = self.factor == 1.0 && c.scales_are_half();
                if whole { Scaling::Blocks { size, zero, half } } else { Scaling::None }
            }
            _ => Scaling::None,
        };
        // A weight that does not exist would have to be the zero point.
        let alone = !r.shared || scaling == Scaling::Channel { zero: false };
        if scaling == Scaling::None || !alone { Packing::WHOLE } else { Packing { stored, scaling } }
    }

    /// One weight as a number.
    pub fn value(&self, o: usize, k: [usize; 3]) -> f32 {
        (self.at)(o, k).map_or(0.0, |i| match &self.source {
            Source::Plain(x) => self.factor * x[i],
            Source::Compressed(c) => self.factor * c.value(i),
            Source::Computed(f) => self.factor * f(o, k),
        })
    }

    /// The bytes of the weights of output channels `first .. end`, as the spec's packing says.
    pub fn pack(&self, spec: &Spec, lanes: usize, first: usize, end: usize, own: Own) -> Vec<u8> {
        let (Source::Compressed(c), true) = (&self.source, spec.packing.stored != Stored::Whole) else {
            let at = |o: usize, k: [usize; 3]| own(o, k).map_or(0.0, |k| self.value(o, k));
            return pack::pack(spec, lanes, first, end, &at);
        };
        let width = spec.blocks * lanes;
        let pieces = pieces(spec);
        let position = &|o: usize, k: [usize; 3]| if o < end { own(o, k).and_then(|k| (self.at)(o, k)) } else { None };
        let panel = |panel: usize| {
            let channels = first + panel * width..first + (panel + 1) * width;
            let mut out = Vec::with_capacity(spec.panel_bytes(lanes));
            for piece in &pieces {
                match piece {
                    Piece::Factors(k) => {
                        let at: Vec<Option<usize>> = channels.clone().map(|o| position(o, *k)).collect();
                        self.factors(c, spec.packing, &at, &mut out);
                    }
                    Piece::Run(steps) => {
                        let code = &|o: usize, k: [usize; 3]| position(o, k).map_or(0, |i| c.code(i));
                        match spec.packing.stored {
                            Stored::F16 => out.extend(steps.iter().flat_map(|&k| {
                                let half = move |o| position(o, k).map_or(0, |i| c.half(i));
                                channels.clone().flat_map(move |o| half(o).to_le_bytes())
                            })),
                            Stored::I4 => out.extend(steps.chunks(8).flat_map(|eight| {
                                channels.clone().flat_map(move |o| {
                                    let put =
                                        |w: u32, (t, &k): (usize, &[usize; 3])| w | (code(o, k) as u32 & 15) << (4 * t);
                                    eight.iter().enumerate().fold(0, put).to_le_bytes()
                                })
                            })),
                            _ => out.extend(
                                steps.iter().flat_map(|&k| channels.clone().map(move |o| code(o, k) as i8 as u8)),
                            ),
                        }
                    }
                }
            }
            out
        };
        let panels: Vec<Vec<u8>> = (0..spec.panels).into_par_iter().map(panel).collect();
        panels.concat()
    }

    /// Factors and zero points of a block, by the position of its first weight for each channel.
    fn factors(&self, c: &Compressed, packing: Packing, at: &[Option<usize>], out: &mut Vec<u8>) {
        let Scaling::Blocks { zero, half, .. } = packing.scaling else { return };
        let scale = |i: &Option<usize>| i.map_or(0.0, |i| self.factor * c.scale(i));
        if half {
            out.extend(at.iter().flat_map(|i| half::f16::from_f32(scale(i)).to_le_bytes()));
        } else {
            out.extend(at.iter().flat_map(|i| scale(i).to_le_bytes()));
        }
        if zero {
            out.extend(at.iter().map(|i| i.map_or(0, |i| c.zero(i)) as i8 as u8));
        }
    }

    /// The bytes of the bias operand: for each panel the bias, and what multiplies and corrects the sums of its channels.
    pub fn pack_bias(&self, spec: &Spec, lanes: usize, first: usize, end: usize, bias: &Bias) -> Vec<u8> {
        let width = spec.blocks * lanes;
        let bias = match bias {
            Bias::F32(values) => values,
            Bias::I32(values) => return pack::pack_integers(values, first, spec.panels * width),
            Bias::Taps(kernel, parts) if spec.start == Start::Taps => {
                return pack::pack_prefix_sums(parts, *kernel, first, spec.panels, width);
            }
            Bias::Taps(kernel, parts) => {
                let taps = kernel.iter().product::<usize>().max(1);
                let sums: Vec<i32> =
                    parts.chunks(taps).map(|t| t.iter().fold(0i32, |a, &b| a.wrapping_add(b))).collect();
                return pack::pack_integers(&sums, first, spec.panels * width);
            }
        };
        let values = |o: std::ops::Range<usize>, f: &dyn Fn(usize) -> f32| -> Vec<f32> {
            o.map(|o| if o < end { f(o) } else { 0.0 }).collect()
        };
        let mut out: Vec<f32> = Vec::new();
        for panel in 0..spec.panels {
            let o = first + panel * width..first + (panel + 1) * width;
            out.extend(values(o.clone(), &|o| bias.get(o).copied().unwrap_or(0.0)));
            if let (Scaling::Channel { zero }, Source::Compressed(c)) = (spec.packing.scaling, &self.source) {
                // Any weight of the channel has its factor.
                let at = |o: usize| (self.at)(o, [0; 3]);
                out.extend(values(o.clone(), &|o| at(o).map_or(0.0, |i| self.factor * c.scale(i))));
                if zero {
                    out.extend(values(o, &|o| at(o).map_or(0.0, |i| c.zero(i) as f32)));
                }
            }
        }
        bytemuck::cast_slice(&out).to_vec()
    }
}
