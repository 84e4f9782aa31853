//! Max pooling. Taps outside the image are moved to its edge: the maximum of a window does not change when an element that it holds
//! counts twice. That needs windows without gaps (dilation 1) and no border in the input.

use super::{Source, Spec};
use crate::families::igemm::spec::{Number, Strides};
use crate::families::tile::split_evenly;
use crate::families::walk::{Results, advance, bump, load};
use mnnc_vector::{CompileError, CompiledKernel, Gpr, KernelBuilder, Mem, Target, Var, Vector, Width};
use std::collections::BTreeMap;

/// Compiles the kernel. Arguments: input (at its element 0; by rows, at their column 0), side operands, output.
pub fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    Emitter { spec, lanes: b.lanes() }.emit(&mut b);
    b.compile()
}

struct Emitter<'a> {
    spec: &'a Spec,
    lanes: usize,
}

/// A run of equal tiles: their first column, columns each and number.
struct Run {
    first: usize,
    cols: usize,
    count: usize,
}

impl Emitter<'_> {
    /// Tiles of a row. Those whose windows leave the image stand alone, for their addresses are clamped one by one.
    fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut first = 0;
        for (cols, count) in split_evenly(self.spec.out[1], 12) {
            for _ in 0..count {
                let inside = self.is_inside(first, cols);
                match runs.last_mut() {
                    Some(r) if inside && r.cols == cols && self.is_inside(r.first, r.cols) => r.count += 1,
                    _ => runs.push(Run { first, cols, count: 1 }),
                }
                first += cols;
            }
        }
        runs
    }

    fn is_inside(&self, first: usize, cols: usize) -> bool {
        let s = self.spec;
        let last = (first + cols - 1) * s.window.stride[1] + s.window.kernel[1] - 1;
        first * s.window.stride[1] >= s.pads[1] && last < s.size[1] + s.pads[1]
    }

    /// Input column of a tap, moved into the image.
    fn column(&self, out: usize, tap: usize) -> usize {
        let s = self.spec;
        (out * s.window.stride[1] + tap).saturating_sub(s.pads[1]).min(s.size[1] - 1)
    }

    fn emit(&self, b: &mut KernelBuilder) {
        let spec = self.spec;
        let inputs: Vec<Gpr> = (0..spec.inputs()).map(|i| b.arg(i)).collect();
        let sides: Vec<Gpr> = (0..spec.sides.len()).map(|i| b.arg(inputs.len() + i)).collect();
        let output = b.arg(inputs.len() + spec.sides.len());
        let (begin, end) = (b.begin(), b.end());
        let group_rows = spec.group_rows();
        b.for_range(begin, end, 1, |b, unit| {
            let place = spec.place(b, unit);
            let row = place.row;
            let from = place.within(b, &spec.input, spec.channels, spec.blocks);
            let plane = |b: &mut KernelBuilder, input: Gpr| from.of(b, input, &Strides { row: 0, ..spec.input });
            let planes: Vec<Gpr> = inputs.iter().map(|&i| plane(b, i)).collect();
            let output = place.of(b, output, &spec.output);
            let sides: Vec<Gpr> = sides.iter().zip(&spec.sides).map(|(&p, s)| place.of(b, p, &s.strides)).collect();
            let results = Results::new(b, output, &sides).behind(b, spec.epilogue.as_ref(), spec.bounded).zero_behind(
                b,
                &spec.output,
                spec.channels,
                place,
            );
            if spec.source == Source::Rows {
                self.row(b, &planes, &results);
                return;
            }
            let total = b.int(spec.out[0] as i64);
            let left = b.int_sub(total, row);
            let here = b.int_min(left, group_rows as i32);
            let first = b.int_mul(row, spec.window.stride[0] as i32);
            let y = b.var(first);
            b.repeat_dyn(here, |b| {
                let rows = self.rows(b, planes[0], y);
                self.row(b, &rows, &results);
                bump(b, y, spec.window.stride[0], 0);
            });
        });
    }

    /// The input rows of the output row whose first tap is in row `y`, moved into the image.
    fn rows(&self, b: &mut KernelBuilder, plane: Gpr, y: Var<Gpr>) -> Vec<Gpr> {
        let spec = self.spec;
        (0..spec.window.kernel[0])
            .map(|k| {
                let y = b.get(y);
                let at = b.int_add(y, k as i32 - spec.pads[0] as i32);
                let at = b.int_max(at, 0);
                let at = b.int_min(at, spec.size[0] as i32 - 1);
                advance(b, plane, at, spec.input.row)
            })
            .collect()
    }

    fn row(&self, b: &mut KernelBuilder, rows: &[Gpr], results: &Results) {
        let spec = self.spec;
        let zero = b.int(0);
        let column = b.var(zero);
        for run in self.runs() {
            let inside = self.is_inside(run.first, run.cols);
            if inside {
                let start = run.first * spec.window.stride[1] - spec.pads[1];
                let start = b.int((start * spec.input.pixel) as i64);
                b.set(column, start);
            }
            b.repeat(run.count as u64, |b| {
                let at = b.get(column);
                if spec.input.number == Number::U8 {
                    self.bytes(b, rows, results, &run, inside.then_some(at));
                    self.step(b, column, results, &run, inside);
                    return;
                }
                for c in 0..run.cols {
                    let mut max: Option<Vector> = None;
                    for &row in rows {
                        for k in 0..spec.window.kernel[1] {
                            let mem = if inside {
                                let x = c * spec.window.stride[1] + k;
                                row.at_index(at, 1, (x * spec.input.pixel) as i32)
                            } else {
                                row.at((self.column(run.first + c, k) * spec.input.pixel) as i32)
                            };
                            max = Some(match max {
                                None => load(b, spec.input.number, mem),
                                Some(m) if spec.input.number == Number::F32 => b.max(m, mem),
                                Some(m) => {
                                    let v = load(b, spec.input.number, mem);
                                    b.max(m, v)
                                }
                            });
                        }
                    }
                    let max = max.expect("a window has a tap");
                    results.store(b, &spec.output, &spec.sides, max, [0, c, 0], self.lanes);
                }
                self.step(b, column, results, &run, inside);
            });
        }
        results.bump(b, &spec.output, &spec.sides, 1, -(spec.out[1] as isize));
    }

    /// To the next tile of a row.
    fn step(&self, b: &mut KernelBuilder, column: Var<Gpr>, results: &Results, run: &Run, inside: bool) {
        let spec = self.spec;
        if inside {
            bump(b, column, run.cols * spec.window.stride[1] * spec.input.pixel, 0);
        }
        results.bump(b, &spec.output, &spec.sides, 0, run.cols as isize);
    }

    /// A tile of bytes: the maximum down each column once, then along the rows. A pixel is a quarter of a vector.
    fn bytes(&self, b: &mut KernelBuilder, rows: &[Gpr], results: &Results, run: &Run, at: Option<Gpr>) {
        let spec = self.spec;
        let words = self.lanes / 4;
        let mem = |row: Gpr, x: usize| -> Mem {
            match at {
                Some(at) => row.at_index(at, 1, (x * spec.input.pixel) as i32),
                None => row.at((x * spec.input.pixel) as i32),
            }
        };
        b.with_width(Width::W128, |b| {
            let mut columns: BTreeMap<usize, Vector> = BTreeMap::new();
            for c in 0..run.cols {
                let mut max: Option<Vector> = None;
                for k in 0..spec.window.kernel[1] {
                    let x = match at {
                        Some(_) => c * spec.window.stride[1] + k,
                        None => self.column(run.first + c, k),
                    };
                    let column = match columns.get(&x) {
                        Some(&v) => v,
                        None => {
                            let down: Vec<Vector> = rows.iter().map(|&row| b.load_part(mem(row, x), words)).collect();
                            let v = down.into_iter().reduce(|p, q| b.max_u8(p, q)).expect("a window has a tap");
                            columns.insert(x, v);
                            v
                        }
                    };
                    max = Some(max.map_or(column, |m| b.max_u8(m, column)));
                }
                let max = max.expect("a window has a tap");
                let to = results.mem(b, &spec.output, [0, c, 0]);
                b.store_part(max, to, words);
            }
        });
    }
}
