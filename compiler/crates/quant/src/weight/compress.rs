//! Rewriting a graph so that its weights are compressed constants.

use std::collections::HashMap;

use half::f16;
use mnnc_ir::{Attrs, DType, Diagnostic, Diagnostics, Graph, NodeSpec, RegionId, Tensor, ValueId};
use mnnc_ops::family::cast::CAST;
use mnnc_ops::family::quant::DEQUANTIZE_LINEAR;

use super::methods::{self, DataFree};
use super::policy::{Policy, Scheme, shape};
use super::report::{Layer, Report, sqnr};
use super::rows::{Quantised, Rows, scatter};
use super::site::Site;

/// Chooses integers for the weights of a site.
pub trait Quantiser {
    /// Codes, scales and zero points for `rows`, within [`Scheme::code_range`] and, where the scheme says so, with scales that half
    /// precision holds. In `g`, the sites that are computed before are compressed already. All weights are finite.
    ///
    /// # Errors
    /// Whatever keeps it from choosing.
    fn quantise(&mut self, g: &Graph, site: &Site, rows: &Rows, scheme: &Scheme) -> Result<Quantised, Diagnostic>;
}

/// Compresses the weights that `policy` lists, without data. `g` is a graph after the float optimisations.
///
/// # Errors
/// A policy that is not for this graph, weights that are not finite. The graph is then as it was.
pub fn compress(g: &mut Graph, policy: &Policy) -> Result<Report, Diagnostics> {
    compress_with(g, policy, &mut DataFree)
}

/// The same with integers chosen by `quantiser`.
///
/// # Errors
/// As [`compress`], and those of the quantiser.
pub fn compress_with(g: &mut Graph, policy: &Policy, quantiser: &mut dyn Quantiser) -> Result<Report, Diagnostics> {
    let sites = policy.resolve(g)?;
    let refused: Diagnostics = sites.iter().filter_map(|(site, scheme)| not_finite(g, site, scheme)).collect();
    refused.into_result()?;
    let mut work = Work { g: g.clone(), done: HashMap::new() };
    let mut report = Report::default();
    for (site, scheme) in sites {
        report.layers.push(work.compress(&site, scheme, quantiser)?);
    }
    *g = work.g;
    Ok(report)
}

fn not_finite(g: &Graph, site: &Site, scheme: &Scheme) -> Option<Diagnostic> {
    let weights = g.constant(site.weight).filter(|_| scheme.bits > 0)?;
    let bad = weights.view::<f32>().iter().filter(|x| !x.is_finite()).count();
    (bad > 0).then(|| {
        Diagnostic::bad_input(format!("{bad} of {} weights are infinite or not a number", weights.len()))
            .node(&site.name)
            .op(g.node(site.node).op.name)
            .shapes([format!("{} {}", g.value(site.weight).name, g.show_type(site.weight))])
            .remedy("repair the model, or give this op 0 bits in the policy")
    })
}

/// A weight that was compressed: where, which, and how it is seen.
type Key = (RegionId, ValueId, usize, Scheme);

struct Work {
    g: Graph,
    /// What stands for a weight that several nodes share.
    done: HashMap<Key, ValueId>,
}

impl Work {
    fn compress(&mut self, site: &Site, scheme: &Scheme, by: &mut dyn Quantiser) -> Result<Layer, Diagnostic> {
        let weights = self.g.constant(site.weight).cloned().ok_or_else(|| Diagnostic::internal("no constant"))?;
        let before = 4 * site.len() as u64;
        let mut layer = Layer {
            name: site.name.clone(),
            op: self.g.node(site.node).op.name,
            shape: shape(site),
            weights: site.len() as u64,
            bits: 32,
            block: 0,
            symmetric: true,
            scales: None,
            bytes_before: before,
            bytes_after: before,
            sqnr: None,
            max_error: 0.0,
            note: None,
        };
        if scheme.bits == 0 {
            return Ok(layer);
        }
        let region = self.g.node(site.node).region().unwrap_or(self.g.main());
        let key = (region, site.weight, site.output_axis, scheme.clone());
        if let Some(&value) = self.done.get(&key) {
            self.g.set_input(site.node, site.operand, Some(value));
            (layer.bytes_before, layer.bytes_after) = (0, 0);
            layer.stored_as(scheme);
            layer.note = Some("shares the weights of an earlier op".into());
            return Ok(layer);
        }
        let exact = weights.view::<f32>();
        let (value, values, scheme) = if scheme.bits == 16 {
            let halves: Vec<f16> = exact.iter().map(|&x| f16::from_f32(x)).collect();
            if halves.iter().any(|h| h.is_infinite()) {
                layer.note = Some("stays in f32: it has weights beyond the range of half precision".into());
                return Ok(layer);
            }
            let values = halves.iter().map(|h| h.to_f32()).collect();
            (self.half(site, &weights, halves)?, values, scheme.clone())
        } else {
            let rows = Rows::of(site, &weights, scheme.block);
            let (scheme, note) = methods::feasible(&rows, site.outputs, scheme);
            layer.note = note;
            let chosen = by.quantise(&self.g, site, &rows, &scheme)?;
            if let Some(shift) = &chosen.shift {
                self.add_to_bias(site, shift);
            }
            let values = scatter(site, &chosen.values());
            (self.integers(site, &weights, &chosen, &scheme)?, values, scheme)
        };
        layer.stored_as(&scheme);
        layer.bytes_after = scheme.bytes(site);
        layer.sqnr = sqnr(&exact, &values);
        layer.max_error = exact.iter().zip(&values).map(|(&a, &b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        self.done.insert(key, value);
        self.g.set_input(site.node, site.operand, Some(value));
        Ok(layer)
    }

    /// `f16` constant behind a cast.
    fn half(&mut self, site: &Site, weights: &Tensor, halves: Vec<f16>) -> Result<ValueId, Diagnostic> {
        let name = self.g.value(site.weight).name.clone();
        let stored = self.g.add_const(&format!("{name}.f16"), Tensor::new(weights.dims(), halves));
        self.insert(site, NodeSpec::new(&CAST, [stored]).attrs(Attrs::new().with("to", DType::F32)))
    }

    /// Integer constant behind `dequantize_linear`.
    fn integers(&mut self, site: &Site, w: &Tensor, q: &Quantised, scheme: &Scheme) -> Result<ValueId, Diagnostic> {
        let name = self.g.value(site.weight).name.clone();
        let codes = Tensor::new(w.dims(), scatter(site, &q.codes));
        let mut inputs = vec![self.g.add_const(&format!("{name}.q{}", scheme.bits), codes)];
        let scales = parameters(site, w, &q.scales, scheme.block);
        inputs.push(self.g.add_const(&format!("{name}.scale"), scales));
        if let Some(zeros) = &q.zeros {
            let zeros = parameters(site, w, zeros, scheme.block);
            inputs.push(self.g.add_const(&format!("{name}.zero"), zeros));
        }
        let axis = if scheme.block > 0 { site.input_axis } else { site.output_axis };
        let attrs = Attrs::new()
            .with("axis", axis as i64)
            .with("block_size", scheme.block as i64)
            .with("bits", i64::from(scheme.bits));
        self.insert(site, NodeSpec::new(&DEQUANTIZE_LINEAR, inputs).attrs(attrs))
    }

    /// Adds to the node's bias, or gives it one.
    fn add_to_bias(&mut self, site: &Site, shift: &[f32]) {
        let old = self.g.node(site.node).input(2);
        let bias = match old.and_then(|v| self.g.constant(v)) {
            Some(bias) => bias.view::<f32>().iter().zip(shift).map(|(a, b)| a + b).collect(),
            None => shift.to_vec(),
        };
        let name = old.map_or_else(|| format!("{}.bias", site.name), |v| format!("{}.shifted", self.g.value(v).name));
        let bias = self.g.add_const(&name, Tensor::new([shift.len()], bias));
        self.g.set_input(site.node, 2, Some(bias));
    }

    /// A node ahead of the site's.
    fn insert(&mut self, site: &Site, spec: NodeSpec) -> Result<ValueId, Diagnostic> {
        let region = self.g.node(site.node).region().unwrap_or(self.g.main());
        let at = self.g.position(site.node).ok_or_else(|| Diagnostic::internal("a site that is nowhere"))?;
        let name = self.g.value(site.weight).name.clone();
        let spec = spec.outputs([format!("{name}.dequantized")]);
        let n = self.g.insert_node(region, at, spec).map_err(|e| Diagnostic::internal(e.message).node(&site.name))?;
        Ok(self.g.node(n).outputs()[0])
    }
}

/// Parameters of rows as `dequantize_linear` wants them: a vector over output channels, or one for each block, repeated over the taps.
fn parameters<T: mnnc_ir::Element + Copy + Default>(site: &Site, w: &Tensor, rows: &[T], block: usize) -> Tensor {
    if block == 0 {
        return Tensor::new([site.outputs], rows.to_vec());
    }
    let mut dims = w.dims().to_vec();
    dims[site.input_axis] /= block;
    let blocks = Site { inputs: site.inputs / block, ..site.clone() };
    let repeated: Vec<T> = rows.iter().flat_map(|&x| std::iter::repeat_n(x, site.taps())).collect();
    Tensor::new(dims, scatter(&blocks, &repeated))
}
