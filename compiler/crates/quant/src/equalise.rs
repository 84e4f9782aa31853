//! Cross-layer equalisation: channels get like ranges, by factors that cancel (Nagel et al. 2019, "Data-Free Quantization Through Weight
//! Equalization and Bias Correction").
//!
//! Where a layer's output reaches one other layer only, through functions `f` with `f(s x) = s f(x)` for `s > 0`, output channel `i` of the first may be
//! divided by any `s > 0` if the weights that read it are multiplied by it. The factor `s = sqrt(r1 / r2)` makes the ranges of both sides equal. A function with
//! an upper bound, such as relu6, has no such freedom and ends the search.

use std::collections::{BTreeMap, HashMap};

use mnnc_ir::{Graph, NodeId, Tensor, ValueId};

use crate::weight::{Kind, Site, sites};

/// Two layers between which channels can be scaled.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The layer that writes the channels.
    pub first: Site,
    /// The layer that reads them.
    pub second: Site,
    /// What the second layer reads.
    pub value: ValueId,
}

/// How far factors may go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rounds over all pairs; the factors of chains settle in a few.
    pub rounds: usize,
    /// The largest factor and, inverted, the least.
    pub factor: f32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { rounds: 8, factor: 64.0 }
    }
}

/// What was done to a pair.
#[derive(Clone, PartialEq, Debug)]
pub struct Scaled {
    /// Name of the first layer.
    pub first: String,
    /// Name of the second.
    pub second: String,
    /// What each channel was divided by.
    pub factors: Vec<f32>,
}

/// The pairs of a graph, in order of execution. Each layer is the first of one pair at most, and the second of one.
pub fn pairs(g: &Graph) -> Vec<Pair> {
    let sites = sites(g);
    let by_node: HashMap<NodeId, &Site> = sites.iter().map(|s| (s.node, s)).collect();
    let follow = |first: &Site| -> Option<Pair> {
        if !first.takes_bias || g.single_user(first.weight).is_none() {
            return None;
        }
        let mut value = g.node(first.node).outputs()[0];
        loop {
            let reader = g.single_user(value)?;
            if let Some(&second) = by_node.get(&reader) {
                let reads = g.node(reader).input(1 - second.operand) == Some(value);
                let fits = reads && channels_read(g, second)? == first.outputs;
                return (fits && g.single_user(second.weight).is_some()).then(|| Pair {
                    first: first.clone(),
                    second: second.clone(),
                    value,
                });
            }
            value = passes(g, reader, value)?;
        }
    };
    sites.iter().filter_map(follow).collect()
}

/// Input channels that a layer reads, if each stands in rows of its weights.
fn channels_read(g: &Graph, site: &Site) -> Option<usize> {
    match (site.kind, g.node(site.node).op.name) {
        (Kind::Conv | Kind::Depthwise, "conv") => Some(site.inputs * groups(g, site)),
        (Kind::Product, "gemm" | "matmul") if site.operand == 1 => Some(site.inputs),
        _ => None,
    }
}

fn groups(g: &Graph, site: &Site) -> usize {
    let node = g.node(site.node);
    let groups = if node.op.name == "conv" { g.facts(site.node).of(node).int("group") } else { None };
    groups.and_then(|n| usize::try_from(n).ok()).unwrap_or(1)
}

/// The result of `n` if it works on each channel alone and keeps positive factors.
fn passes(g: &Graph, n: NodeId, from: ValueId) -> Option<ValueId> {
    let node = g.node(n);
    let first = node.input(0) == Some(from);
    let constant = |i: usize| node.input(i).map(|v| g.constant(v).map(Tensor::to_f64s));
    let homogeneous = match node.op.name {
        "relu"
        | "leaky_relu"
        | "identity"
        | "dropout"
        | "max_pool"
        | "average_pool"
        | "global_average_pool"
        | "global_max_pool" => true,
        "prelu" => matches!(constant(1), Some(Some(_))),
        "clip" => {
            let zero = |b: Option<Option<Vec<f64>>>| b.is_none_or(|b| b.is_some_and(|b| b == [0.0]));
            zero(constant(1)) && constant(2).is_none()
        }
        // Only what drops spatial dimensions of extent 1 leaves channels where they are.
        "flatten" | "reshape" | "squeeze" => {
            let dims = |v: ValueId| g.ty(v).static_dims();
            let (old, new) = (dims(from)?, dims(*node.outputs().first()?)?);
            old.len() >= 2 && new == old[..2] && old[2..].iter().all(|&d| d == 1)
        }
        _ => false,
    };
    (first && homogeneous && node.outputs().len() == 1).then(|| node.outputs()[0])
}

/// Equalises all pairs of `g`. The graph computes the same up to rounding. `activation` gives the largest magnitude of each channel of a
/// value, where it is known: what is quantised later are activations as well, so they count instead of the first layer's weights.
pub fn equalise(g: &mut Graph, limits: Limits, activation: &dyn Fn(ValueId) -> Option<Vec<f32>>) -> Vec<Scaled> {
    let pairs = pairs(g);
    let mut layers = Layers::read(g, &pairs);
    let mut total: Vec<Vec<f32>> = pairs.iter().map(|p| vec![1.0; p.first.outputs]).collect();
    let seen: Vec<Option<Vec<f32>>> = pairs
        .iter()
        .map(|p| activation(p.value).filter(|r| r.len() == p.first.outputs && r.iter().all(|x| x.is_finite())))
        .collect();
    for _ in 0..limits.rounds {
        for ((pair, total), seen) in pairs.iter().zip(&mut total).zip(&seen) {
            let written = match seen {
                Some(seen) => seen.iter().zip(total.iter()).map(|(r, t)| r / t).collect(),
                None => layers.written(&pair.first),
            };
            let read = layers.read_ranges(g, &pair.second);
            let step = |(channel, (&r1, &r2)): (usize, (&f32, &f32))| {
                let wanted = (r1 / r2).sqrt() * total[channel];
                // A dead channel has no range; leave it.
                let known = r1.is_normal() && r2.is_normal() && wanted.is_finite();
                let wanted = wanted.clamp(limits.factor.recip(), limits.factor);
                if known { wanted / total[channel] } else { 1.0 }
            };
            let steps: Vec<f32> = written.iter().zip(&read).enumerate().map(step).collect();
            layers.scale(g, pair, &steps);
            total.iter_mut().zip(&steps).for_each(|(t, s)| *t *= s);
        }
    }
    layers.write(g);
    let scaled = |(p, factors): (Pair, Vec<f32>)| Scaled { first: p.first.name, second: p.second.name, factors };
    pairs.into_iter().zip(total).map(scaled).collect()
}

/// Weights and biases while they change.
struct Layers {
    weights: BTreeMap<NodeId, (Site, Vec<f32>)>,
    biases: BTreeMap<NodeId, Vec<f32>>,
}

impl Layers {
    fn read(g: &Graph, pairs: &[Pair]) -> Layers {
        let (mut weights, mut biases) = (BTreeMap::new(), BTreeMap::new());
        for site in pairs.iter().flat_map(|p| [&p.first, &p.second]) {
            if let Some(w) = g.constant(site.weight) {
                weights.entry(site.node).or_insert_with(|| (site.clone(), w.to_vec::<f32>()));
            }
        }
        for site in pairs.iter().map(|p| &p.first) {
            if let Some(b) = g.node(site.node).input(2).and_then(|v| g.constant(v)) {
                biases.insert(site.node, b.to_vec::<f32>());
            }
        }
        Layers { weights, biases }
    }

    /// The largest weight of each output channel.
    fn written(&self, site: &Site) -> Vec<f32> {
        let (_, w) = &self.weights[&site.node];
        let mut ranges = vec![0.0f32; site.outputs];
        for (i, x) in w.iter().enumerate() {
            let o = output(site, i);
            ranges[o] = ranges[o].max(x.abs());
        }
        ranges
    }

    /// The largest weight that each input channel is multiplied by.
    fn read_ranges(&self, g: &Graph, site: &Site) -> Vec<f32> {
        let (_, w) = &self.weights[&site.node];
        let groups = groups(g, site);
        let mut ranges = vec![0.0f32; site.inputs * groups];
        for (i, x) in w.iter().enumerate() {
            let c = input(site, groups, i);
            ranges[c] = ranges[c].max(x.abs());
        }
        ranges
    }

    /// Divides the channels of the first layer by the factors, and multiplies what reads them.
    fn scale(&mut self, g: &Graph, pair: &Pair, factors: &[f32]) {
        if let Some((site, w)) = self.weights.get_mut(&pair.first.node) {
            w.iter_mut().enumerate().for_each(|(i, x)| *x /= factors[output(site, i)]);
        }
        if let Some(b) = self.biases.get_mut(&pair.first.node) {
            b.iter_mut().zip(factors).for_each(|(x, f)| *x /= f);
        }
        let groups = groups(g, &pair.second);
        if let Some((site, w)) = self.weights.get_mut(&pair.second.node) {
            w.iter_mut().enumerate().for_each(|(i, x)| *x *= factors[input(site, groups, i)]);
        }
    }

    fn write(self, g: &mut Graph) {
        for (node, (site, w)) in self.weights {
            let dims = g.constant(site.weight).map(|t| t.dims().to_vec()).unwrap_or_default();
            let name = g.value(site.weight).name.clone();
            let v = g.add_const(&name, Tensor::new(dims, w));
            g.set_input(node, site.operand, Some(v));
        }
        for (node, b) in self.biases {
            let name = g.node(node).input(2).map(|v| g.value(v).name.clone()).unwrap_or_default();
            let v = g.add_const(&name, Tensor::new([b.len()], b));
            g.set_input(node, 2, Some(v));
        }
    }
}

/// The output channel of element `i` of a site's constant.
fn output(site: &Site, i: usize) -> usize {
    let taps = site.taps();
    if site.output_axis < site.input_axis { i / (site.inputs * taps) } else { i / taps % site.outputs }
}

/// The input channel, of all groups, of element `i` of a site's constant.
fn input(site: &Site, groups: usize, i: usize) -> usize {
    let taps = site.taps();
    let in_group = if site.output_axis < site.input_axis { i / taps % site.inputs } else { i / (site.outputs * taps) };
    output(site, i) / (site.outputs / groups) * site.inputs + in_group
}
