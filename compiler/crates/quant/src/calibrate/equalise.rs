//! Cross-layer equalisation: channels that use little of a shared range are scaled up where they are made and down where they are read.
//!
//! A tensor is quantised with one scale for all its channels. Scaling channel `c` by `s` in the convolution that makes it (whose weights have a scale for each
//! output channel, so nothing is lost there) and by `1/s` in those that read it leaves the function as it was if everything between is homogeneous: ReLU,
//! pooling, sums of tensors that are scaled alike. (Nagel et al. 2019 equalise weights by it; here the aim is activations.) A ReLU6 is homogeneous below
//! its cap: no channel is scaled beyond what keeps its largest calibrated value there.
//!
//! Scaling costs where a dense convolution reads: the columns of its weights, which share a scale for each row, come to differ. So the exponent `a` of `s = (R / r)^a`,
//! with `r` the channel's largest magnitude and `R` that of the tensor, is the one with the least predicted noise.

use std::collections::{HashMap, HashSet};

use mnnc_ir::{Def, Graph, NodeId, Tensor, ValueId};

/// Largest factor.
const MOST: f64 = 256.0;
/// Exponents that are tried. A larger one would leave rare channels no room for what calibration did not show: measured on MobileNetV2 with 100
/// pictures, an exponent of 1 halves the predicted noise and costs 6 dB on other pictures.
const EXPONENTS: [f64; 3] = [0.0, 0.25, 0.5];

/// What is known of each channel of a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Channels {
    /// Largest magnitude.
    pub largest: Vec<f32>,
    /// Mean of squares.
    pub power: Vec<f64>,
}

impl Channels {
    /// Those of a tensor with channels in dimension 1.
    pub fn of(tensor: &Tensor) -> Channels {
        let (dims, data) = (tensor.dims(), tensor.view::<f32>());
        let (channels, area) = (dims[1], dims[2..].iter().product::<usize>().max(1));
        let mut out = Channels { largest: vec![0.0; channels], power: vec![0.0; channels] };
        for (i, plane) in data.chunks(area).enumerate() {
            let c = i % channels;
            let largest = plane.iter().filter(|x| x.is_finite()).fold(0f32, |a, x| a.max(x.abs()));
            out.largest[c] = out.largest[c].max(largest);
            let squares: f32 = plane.iter().filter(|x| x.is_finite()).map(|x| x * x).sum();
            out.power[c] += f64::from(squares) / (area * dims[0].max(1)) as f64;
        }
        out
    }

    /// Of several samples, in order.
    pub fn join(all: &[Channels]) -> Channels {
        let mut out = all.first().cloned().unwrap_or_default();
        for next in all.iter().skip(1) {
            out.largest.iter_mut().zip(&next.largest).for_each(|(a, b)| *a = a.max(*b));
            out.power.iter_mut().zip(&next.power).for_each(|(a, b)| *a += b);
        }
        out.power.iter_mut().for_each(|p| *p /= all.len() as f64);
        out
    }
}

/// Values whose channels have to be scaled alike.
#[derive(Clone, Debug)]
pub struct Class {
    /// The values.
    pub values: Vec<ValueId>,
    makers: Vec<NodeId>,
    readers: Vec<NodeId>,
    /// The least value at which anything between them is cut off.
    cap: f64,
}

/// What a node means for the channels of its operands and result.
enum Bond {
    /// Result and operands are scaled alike.
    Tie,
    /// A convolution: its result and its operand have scales of their own.
    Cut,
    /// Nothing may be scaled.
    Fixed,
}

fn bond(g: &Graph, n: NodeId) -> Bond {
    let node = g.node(n);
    let constant = |i: usize| node.input(i).and_then(|v| g.constant(v));
    let facts = g.facts(n);
    let ctx = facts.of(node);
    match node.op.name {
        "conv" => match (constant(1), node.input(2).is_none() || constant(2).is_some()) {
            (Some(w), true) => {
                let (groups, depthwise) = (ctx.int("group").unwrap_or(1) as usize, w.dims()[1] == 1);
                if w.dims().len() == 4 && (groups == 1 || (depthwise && groups == w.dims()[0])) {
                    Bond::Cut
                } else {
                    Bond::Fixed
                }
            }
            _ => Bond::Fixed,
        },
        "relu" | "max_pool" | "average_pool" | "global_average_pool" | "global_max_pool" | "identity"
            if node.outputs().len() == 1 =>
        {
            Bond::Tie
        }
        "add"
            if node
                .inputs()
                .iter()
                .flatten()
                .all(|v| g.constant(*v).is_none() && g.ty(*v).dims == g.ty(node.outputs()[0]).dims) =>
        {
            Bond::Tie
        }
        "clip" if constant(1).is_some_and(|low| low.to_f64s() == [0.0]) => Bond::Tie,
        _ => Bond::Fixed,
    }
}

/// The upper limit of a `clip`; nothing is scaled where it is not known.
fn upper(g: &Graph, n: NodeId) -> f64 {
    match g.node(n).input(2) {
        None => f64::INFINITY,
        Some(v) => g.constant(v).and_then(|t| t.to_f64s().first().copied()).unwrap_or(0.0),
    }
}

/// Classes of values whose channels can be scaled.
pub fn classes(g: &Graph) -> Vec<Class> {
    let is_image = |v: ValueId| g.ty(v).rank() == 4 && g.ty(v).static_dims().is_some();
    let mut parent: HashMap<ValueId, ValueId> = HashMap::new();
    fn root(parent: &HashMap<ValueId, ValueId>, mut v: ValueId) -> ValueId {
        while let Some(&p) = parent.get(&v) {
            v = p;
        }
        v
    }
    let mut fixed: HashSet<ValueId> = g.inputs().iter().chain(g.outputs()).copied().collect();
    let varying = |n: NodeId| -> Vec<ValueId> {
        let node = g.node(n);
        let inputs = node.inputs().iter().flatten().copied().filter(|&v| !matches!(g.value(v).def, Def::Const(_)));
        inputs.chain(node.outputs().iter().copied()).collect()
    };
    let all: Vec<NodeId> = g.nodes().filter(|(_, n)| n.region().is_some()).map(|(n, _)| n).collect();
    for &n in &all {
        let values = varying(n);
        let in_main = g.node(n).region() == Some(g.main());
        match bond(g, n) {
            _ if !in_main || !values.iter().all(|&v| is_image(v)) => fixed.extend(values),
            Bond::Fixed => fixed.extend(values),
            Bond::Cut => {}
            Bond::Tie => values.windows(2).for_each(|w| {
                let (a, b) = (root(&parent, w[0]), root(&parent, w[1]));
                if a != b {
                    parent.insert(a.max(b), a.min(b));
                }
            }),
        }
    }
    let mut classes: Vec<Class> = Vec::new();
    let mut index: HashMap<ValueId, usize> = HashMap::new();
    let fixed: HashSet<ValueId> = fixed.iter().map(|&v| root(&parent, v)).collect();
    for &n in g.schedule() {
        for v in varying(n) {
            let r = root(&parent, v);
            if fixed.contains(&r) {
                continue;
            }
            let at = *index.entry(r).or_insert_with(|| {
                classes.push(Class { values: Vec::new(), makers: Vec::new(), readers: Vec::new(), cap: f64::INFINITY });
                classes.len() - 1
            });
            let class = &mut classes[at];
            if !class.values.contains(&v) {
                class.values.push(v);
            }
            if g.node(n).op.name == "clip" {
                class.cap = class.cap.min(upper(g, n));
            }
            if matches!(bond(g, n), Bond::Cut) {
                if g.node(n).outputs()[0] == v {
                    class.makers.push(n);
                } else {
                    class.readers.push(n);
                }
            }
        }
    }
    classes.retain(|c| !c.makers.is_empty() && !c.readers.is_empty());
    classes
}

/// Scales the channels of every class, given what is known of the channels of each of its values. Returns how many classes were scaled.
pub fn equalise(g: &mut Graph, classes: &[Class], known: &HashMap<ValueId, Channels>) -> usize {
    let mut scaled = 0;
    for class in classes {
        let Some(factors) = factors(g, class, known) else { continue };
        // Weights that two nodes share would be scaled twice.
        let weights = class.makers.iter().chain(&class.readers).filter_map(|&n| g.node(n).input(1));
        if weights.clone().any(|w| g.value(w).users().len() > 1) {
            continue;
        }
        for &n in &class.makers {
            scale_operand(g, n, 1, 0, &factors, false);
            if g.node(n).input(2).is_some() {
                scale_operand(g, n, 2, 0, &factors, false);
            }
        }
        for &n in &class.readers {
            let axis = if is_depthwise(g, n) { 0 } else { 1 };
            scale_operand(g, n, 1, axis, &factors, true);
        }
        scaled += 1;
    }
    scaled
}

fn is_depthwise(g: &Graph, n: NodeId) -> bool {
    let node = g.node(n);
    g.facts(n).of(node).int("group").unwrap_or(1) > 1
}

/// The factor of each channel; `None` if nothing is gained.
fn factors(g: &Graph, class: &Class, known: &HashMap<ValueId, Channels>) -> Option<Vec<f64>> {
    let all: Vec<&Channels> = class.values.iter().filter_map(|v| known.get(v)).collect();
    let channels = all.first()?.largest.len();
    let largest: Vec<f64> =
        (0..channels).map(|c| all.iter().map(|k| f64::from(k.largest[c])).fold(0.0, f64::max)).collect();
    let whole = largest.iter().copied().fold(0.0, f64::max);
    if !(whole > 0.0 && whole.is_finite()) {
        return None;
    }
    let with = |a: f64| -> Vec<f64> {
        let factor = |r: f64| (whole / r).powf(a).min(MOST).min((class.cap / r).max(1.0));
        largest.iter().map(|&r| if r > 0.0 { factor(r) } else { 1.0 }).collect()
    };
    let best = EXPONENTS.into_iter().min_by(|&a, &b| {
        let noise = |a: f64| class.readers.iter().map(|&n| noise(g, n, &with(a), whole, known)).sum::<f64>();
        noise(a).total_cmp(&noise(b))
    })?;
    (best > 0.0).then(|| with(best))
}

/// Predicted noise of the result of `reader` in parts of its power: of rounding its operand and of rounding its weights.
fn noise(g: &Graph, reader: NodeId, factors: &[f64], whole: f64, known: &HashMap<ValueId, Channels>) -> f64 {
    let node = g.node(reader);
    let (Some(x), Some(w)) = (node.input(0), node.input(1).and_then(|v| g.constant(v))) else { return 0.0 };
    let Some(power) = known.get(&x).map(|k| &k.power) else { return 0.0 };
    let step = whole / 255.0;
    let data = w.view::<f32>();
    let taps = w.dims()[2..].iter().product::<usize>();
    let depthwise = is_depthwise(g, reader);
    let inputs = w.dims()[1];
    let (mut activation, mut weight, mut signal) = (0.0, 0.0, 1e-30);
    for (o, row) in data.chunks(inputs * taps).enumerate() {
        let channel = |i: usize| if depthwise { o } else { i };
        let mut most = 0.0f64;
        let mut reach = 0.0;
        for (i, taps) in row.chunks(taps).enumerate() {
            let (c, n) = (channel(i), taps.len() as f64);
            for &w in taps {
                let w = f64::from(w);
                activation += step * step / 12.0 * (w / factors[c]).powi(2);
                signal += w * w * power[c];
                most = most.max(w.abs() / factors[c]);
            }
            reach += n * power[c] * factors[c].powi(2);
        }
        weight += (most / 127.0).powi(2) / 12.0 * reach;
    }
    (activation + weight) / signal
}

/// Multiplies (or divides) the slices of a constant operand along `axis`.
fn scale_operand(g: &mut Graph, n: NodeId, operand: usize, axis: usize, factors: &[f64], divide: bool) {
    let Some(v) = g.node(n).input(operand) else { return };
    let Some(old) = g.constant(v) else { return };
    let inner: usize = old.dims()[axis + 1..].iter().product();
    let values: Vec<f32> = (old.view::<f32>().iter().enumerate())
        .map(|(i, &w)| {
            let f = factors[i / inner % factors.len()];
            (if divide { f64::from(w) / f } else { f64::from(w) * f }) as f32
        })
        .collect();
    let (dims, name) = (old.dims().to_vec(), g.value(v).name.clone());
    let new = g.add_const(&name, Tensor::new(dims, values));
    g.set_input(n, operand, Some(new));
}
