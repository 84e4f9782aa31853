//! Weights of convolutions in the forms that the format has: floats, half precision, integers of 2 to 8 bits.
//!
//! ```text
//! value ──decoded──▶ stored constant and coding ──Order──▶ Weights, in the file's order ──▶ Convolution2D
//! ```

mod decoded;
mod idst;

pub(crate) use decoded::{Decoded, decoded, is_decoder};

use decoded::Coding;
use half::f16;
use mnnc_ir::DType;
use mnnc_schema::mnn::Convolution2DT;
use std::ops::Range;

/// Where the weights lie in a constant, in the order of the file: three nested loops over its elements, of which the
/// outermost are *rows*.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Order {
    start: usize,
    extents: [usize; 3],
    strides: [usize; 3],
}

impl Order {
    /// The constant's own order: rows, columns, taps of the window.
    pub(crate) fn plain(rows: usize, columns: usize, taps: usize) -> Order {
        Order { start: 0, extents: [rows, columns, taps], strides: [columns * taps, taps, 1] }
    }
    /// The columns of a matrix `[rows][columns]` as rows.
    pub(crate) fn transposed(rows: usize, columns: usize) -> Order {
        Order { start: 0, extents: [columns, rows, 1], strides: [1, columns, 1] }
    }
    /// Only some of the rows.
    pub(crate) fn rows(self, range: Range<usize>) -> Order {
        let [_, columns, taps] = self.extents;
        let start = self.start + range.start * self.strides[0];
        Order { start, extents: [range.len(), columns, taps], ..self }
    }
    fn len(&self) -> usize {
        self.extents.iter().product()
    }
    fn positions(self) -> impl Iterator<Item = usize> {
        let [a, b, c] = self.strides;
        let [rows, columns, taps] = self.extents;
        (0..rows).flat_map(move |i| {
            (0..columns).flat_map(move |j| (0..taps).map(move |k| self.start + i * a + j * b + k * c))
        })
    }
}

/// Which runs of weights may share a scale.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Runs {
    /// The longest, which is a multiple of every other.
    longest: usize,
    /// Every other is a multiple of this.
    unit: usize,
}

impl Runs {
    /// Where the engine computes on the integers: all input channels of an output channel with their taps, or blocks of 16 (others give garbage
    /// in its low-memory mode).
    pub(crate) fn channels(inputs: usize, taps: usize) -> Runs {
        Runs { longest: inputs * taps, unit: 16 * taps }
    }
    /// Where it only loads them.
    pub(crate) fn any(longest: usize) -> Runs {
        Runs { longest, unit: 1 }
    }
    fn allow(self, run: usize) -> bool {
        run == self.longest || run.is_multiple_of(self.unit.max(1))
    }
}

/// Weights in the file's order.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Weights {
    Floats(Vec<f32>),
    Halves(Vec<f16>),
    Integers(Integers),
}

/// `(code - least) * scale + offset`, where `least` is the least code that the bits hold. Without offsets: `code * scale`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Integers {
    pub(crate) bits: u32,
    pub(crate) codes: Vec<i8>,
    /// One for each run of weights.
    pub(crate) scales: Vec<f32>,
    pub(crate) offsets: Option<Vec<f32>>,
}

impl Weights {
    /// The weights of `constant` in the given order. Integers whose scales lie otherwise than `runs` allows become floats.
    pub(crate) fn of(constant: &Decoded, order: Order, runs: Runs) -> Weights {
        match &constant.coding {
            Coding::Integers(integers) => match coded(constant, integers, order, runs) {
                Some(integers) => Weights::Integers(integers),
                None => Weights::Floats(in_order(&constant.floats(), order)),
            },
            Coding::Floats if constant.stored.dtype() == DType::F16 => {
                Weights::Halves(in_order(&constant.stored.view::<f16>(), order))
            }
            Coding::Floats => Weights::Floats(in_order(&constant.floats(), order)),
        }
    }

    /// All of them times `factor`.
    pub(crate) fn scaled(self, factor: f32) -> Weights {
        let scaled = |list: Vec<f32>| list.into_iter().map(|x| x * factor).collect();
        match self {
            same if factor == 1.0 => same,
            Weights::Floats(list) => Weights::Floats(scaled(list)),
            Weights::Halves(list) => {
                let list = scaled(list.into_iter().map(f16::to_f32).collect());
                match halves(&list) {
                    Some(exact) => Weights::Halves(exact),
                    None => Weights::Floats(list),
                }
            }
            Weights::Integers(i) => {
                Weights::Integers(Integers { scales: scaled(i.scales), offsets: i.offsets.map(scaled), ..i })
            }
        }
    }

    /// Takes out the scales where every row has the same ones, one for each column; and these.
    pub(crate) fn split_columns(self, rows: usize, columns: usize) -> (Weights, Option<Vec<f32>>) {
        let Weights::Integers(integers) = self else { return (self, None) };
        let Integers { scales, offsets, .. } = &integers;
        let each = columns > 1 && rows > 0 && scales.len() == rows * columns;
        let same = each && scales.chunks(columns).all(|row| row == &scales[..columns]);
        if !same || offsets.is_some() {
            return (Weights::Integers(integers), None);
        }
        let factors = scales[..columns].to_vec();
        (Weights::Integers(Integers { scales: vec![1.0; rows], ..integers }), Some(factors))
    }

    /// Makes floats that are no normal numbers 0.
    pub(crate) fn flush_subnormals(&mut self) {
        if let Weights::Floats(list) = self {
            list.iter_mut().filter(|x| x.is_subnormal()).for_each(|x| *x = 0.0);
        }
    }

    /// Puts them into the parameter of a convolution.
    pub(crate) fn store(self, conv: &mut Convolution2DT) {
        match self {
            Weights::Floats(list) => conv.weight = Some(list),
            Weights::Halves(list) => conv.quan_parameter = Some(Box::new(idst::halves(&list))),
            Weights::Integers(integers) => conv.quan_parameter = Some(Box::new(idst::integers(&integers))),
        }
    }
}

/// The same numbers in half precision, if it holds them all.
fn halves(list: &[f32]) -> Option<Vec<f16>> {
    let exact = |&x: &f32| Some(f16::from_f32(x)).filter(|half| half.to_f32() == x);
    list.iter().map(exact).collect()
}

fn in_order<T: Copy>(list: &[T], order: Order) -> Vec<T> {
    order.positions().filter_map(|position| list.get(position).copied()).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The integers of a constant in the file's order, if they fit 8 bits and runs that are allowed share their scales.
fn coded(constant: &Decoded, integers: &decoded::Integers, order: Order, runs: Runs) -> Option<Integers> {
    let stored = constant.stored.to_i64s()?;
    let parameters = integers.parameters();
    let mut run = runs.longest;
    let mut found: Vec<(usize, (f64, f64))> = Vec::new();
    let mut codes = Vec::with_capacity(order.len());
    for (at, position) in order.positions().enumerate() {
        codes.push(*stored.get(position)?);
        let own = parameters.at(position);
        // A run begins wherever scale or zero point change; all are as long as the shortest that fits everywhere.
        if found.last().is_none_or(|&(_, last)| last != own) {
            run = gcd(run, at);
            found.push((at, own));
        }
    }
    if run == 0 || !runs.allow(run) || !codes.len().is_multiple_of(run) {
        return None;
    }
    let (codes, bits, shift) = signed(&codes, integers.bits, constant.stored.dtype())?;
    let least = -f64::from(1 << (bits - 1));
    let count = codes.len() / run;
    let (mut scales, mut zeros) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut changes = found.iter().peekable();
    let mut now = (0.0, 0.0);
    for i in 0..count {
        while let Some(&&(_, next)) = changes.peek().filter(|change| change.0 <= i * run) {
            now = next;
            changes.next();
        }
        scales.push(now.0 as f32);
        zeros.push(now.1 - shift);
    }
    let symmetric = zeros.iter().all(|&zero| zero == 0.0);
    let offset = |(zero, scale): (f64, &f32)| ((least - zero) * f64::from(*scale)) as f32;
    let offsets = (!symmetric).then(|| zeros.into_iter().zip(&scales).map(offset).collect());
    Some(Integers { bits, codes, scales, offsets })
}

/// Codes around 0, how many bits they need, and what was subtracted from each.
fn signed(stored: &[i64], bits: u32, dtype: DType) -> Option<(Vec<i8>, u32, f64)> {
    let (low, high) = stored.iter().fold((0, 0), |(low, high): (i64, i64), &x| (low.min(x), high.max(x)));
    let shift = |bits: u32| if matches!(dtype, DType::U8 | DType::U16) { 1i64 << (bits - 1) } else { 0 };
    // More than the graph says, where that is too few.
    let fits = |bits: &u32| {
        let half = 1i64 << (bits - 1);
        low - shift(*bits) >= -half && high - shift(*bits) < half
    };
    let bits = (bits.clamp(2, 8)..=8).find(fits)?;
    let codes = stored.iter().map(|&x| i8::try_from(x - shift(bits)).ok()).collect::<Option<_>>()?;
    Some((codes, bits, shift(bits) as f64))
}
