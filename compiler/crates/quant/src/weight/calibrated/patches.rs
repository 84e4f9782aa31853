//! The patches of its input that a layer multiplies with a row of weights.

use mnnc_ir::{Graph, ValueId};
use mnnc_ops::family::conv::{self, Axis};

use super::super::site::{Kind, Site};

/// How a layer reads its data operand.
#[derive(Clone, Debug)]
pub struct Patches {
    /// Groups of input channels.
    pub groups: usize,
    /// Elements of a patch.
    pub size: usize,
    /// What is read.
    pub value: ValueId,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// `[batch, channels, spatial..]` under a window.
    Window { batch: usize, inputs: usize, axes: Vec<Axis> },
    /// Rows of a matrix, or its columns.
    Matrix { rows: usize, columns: usize, by_rows: bool },
}

impl Patches {
    /// How a site reads; `None` for transposed convolutions, and where sizes are not known.
    pub fn of(g: &Graph, site: &Site) -> Option<Patches> {
        let node = g.node(site.node);
        let value = node.input(1 - site.operand)?;
        let dims = g.ty(value).static_dims()?;
        let size = site.inputs * site.taps();
        let form = match (node.op.name, site.kind) {
            ("conv", _) => {
                let facts = g.facts(site.node);
                let shape = conv::shape(&facts.of(node), 0, 1).ok()?;
                let form = Form::Window { batch: shape.batch, inputs: shape.inputs, axes: shape.axes };
                return Some(Patches { groups: shape.groups, size, value, form });
            }
            (_, Kind::Product) => {
                let transposed = node.op.name == "gemm"
                    && g.facts(site.node).of(node).flag(if site.operand == 1 { "transA" } else { "transB" });
                // The inner dimension is the last one on the left, the last but one on the right; batches only on the left.
                let by_rows = (site.operand == 1) != transposed;
                if dims.len() < 2 || (!by_rows && dims.len() != 2) {
                    return None;
                }
                let columns = *dims.last()?;
                Form::Matrix { rows: dims[..dims.len() - 1].iter().product(), columns, by_rows }
            }
            _ => return None,
        };
        Some(Patches { groups: 1, size, value, form })
    }

    /// Number of patches.
    pub fn count(&self) -> usize {
        match &self.form {
            Form::Window { batch, axes, .. } => batch * axes.iter().map(|a| a.output).product::<usize>(),
            Form::Matrix { rows, columns, by_rows } => {
                if *by_rows {
                    *rows
                } else {
                    *columns
                }
            }
        }
    }

    /// At most `most` of the patches, spread evenly, others every turn.
    pub fn choose(&self, most: usize, turn: usize) -> Vec<usize> {
        let total = self.count();
        let n = total.min(most);
        // The golden ratio's multiples fall evenly between the ones before.
        let shift = (turn as f64 * 0.618_033_988_75).fract();
        (0..n).map(|i| (((i as f64 + shift) * total as f64 / n as f64) as usize).min(total - 1)).collect()
    }

    /// Element `e` of each chosen patch of a group, into `out[e * chosen.len()..]`.
    pub fn gather(&self, x: &[f32], group: usize, chosen: &[usize], out: &mut [f32]) {
        let n = chosen.len();
        match &self.form {
            Form::Matrix { columns, by_rows, .. } => {
                for (e, out) in out.chunks_mut(n).enumerate() {
                    for (o, &p) in out.iter_mut().zip(chosen) {
                        *o = if *by_rows { x[p * columns + e] } else { x[e * columns + p] };
                    }
                }
            }
            Form::Window { inputs, axes, .. } => {
                let plane: usize = axes.iter().map(|a| a.input).product();
                let outputs: usize = axes.iter().map(|a| a.output).product();
                let taps: usize = axes.iter().map(|a| a.kernel).product();
                for (p, &position) in chosen.iter().enumerate() {
                    let (image, position) = (position / outputs, position % outputs);
                    let first = (image * self.groups + group) * inputs;
                    for t in 0..taps {
                        let at = offset(axes, position, t);
                        for c in 0..*inputs {
                            out[(c * taps + t) * n + p] = at.map_or(0.0, |at| x[(first + c) * plane + at]);
                        }
                    }
                }
            }
        }
    }
}

/// Where in its plane output `position` reads tap `tap`; `None` in the padding.
fn offset(axes: &[Axis], position: usize, tap: usize) -> Option<usize> {
    let (mut position, mut tap, mut at, mut step) = (position, tap, 0, 1);
    for axis in axes.iter().rev() {
        at += axis.at(position % axis.output, tap % axis.kernel)? * step;
        (position, tap, step) = (position / axis.output, tap / axis.kernel, step * axis.input);
    }
    Some(at)
}
