//! Constants that can be compressed.

use std::collections::{HashMap, HashSet};

use mnnc_ir::{DType, Graph, NodeId, ValueId};

/// What kind of layer the weights are of.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A convolution, grouped or not, that mixes channels.
    Conv,
    /// A convolution, transposed or not, with one input channel a group.
    Depthwise,
    /// A transposed convolution that mixes channels.
    ConvTranspose,
    /// A product with a constant matrix.
    Product,
}

/// A constant operand of a convolution or product.
#[derive(Clone, PartialEq, Debug)]
pub struct Site {
    /// What policies call it: the node's name, or its output's where nodes share a name.
    pub name: String,
    /// The node.
    pub node: NodeId,
    /// Which operand of the node.
    pub operand: usize,
    /// The constant.
    pub weight: ValueId,
    /// What kind of layer.
    pub kind: Kind,
    /// Whether it is a convolution with no other site between it and the graph's inputs.
    pub first: bool,
    /// Output channels (of one group, where a transposed convolution has several).
    pub outputs: usize,
    /// Input channels that an output channel reads.
    pub inputs: usize,
    /// Extents of the window; empty for products.
    pub kernel: Vec<usize>,
    /// The constant's dimension that counts output channels.
    pub output_axis: usize,
    /// The constant's dimension that counts input channels.
    pub input_axis: usize,
    /// Whether the node adds a constant to each output channel, or could: its operand 2.
    pub takes_bias: bool,
}

impl Site {
    /// Positions of the window, 1 for products.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }
    /// Number of weights.
    pub fn len(&self) -> usize {
        self.outputs * self.inputs * self.taps()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Names under which people and other tools know it: its own, the node's, its output's, and that with what MNN appends to the name of a
    /// product that became a convolution.
    pub fn is_called(&self, g: &Graph, name: &str) -> bool {
        let node = g.node(self.node);
        let name = name.strip_suffix("__matmul_converted").unwrap_or(name);
        self.name == name || node.name == name || node.outputs().iter().any(|&v| g.value(v).name == name)
    }
}

/// Every site of a graph, bodies included, in order of execution.
pub fn sites(g: &Graph) -> Vec<Site> {
    let mut found: Vec<Site> = Vec::new();
    let mut regions = vec![g.main()];
    while let Some(r) = regions.pop() {
        for &n in g.region(r).nodes() {
            found.extend(site(g, n));
            regions.extend(g.node(n).regions.iter());
        }
    }
    let mut count: HashMap<String, usize> = HashMap::new();
    for s in &found {
        *count.entry(s.name.clone()).or_default() += 1;
    }
    for s in &mut found {
        if s.name.is_empty() || count[&s.name] > 1 {
            s.name = g.value(g.node(s.node).outputs()[0]).name.clone();
        }
    }
    mark_first(g, &mut found);
    found
}

/// Follows what depends on a site through the main region.
fn mark_first(g: &Graph, sites: &mut [Site]) {
    let index: HashMap<NodeId, usize> = sites.iter().enumerate().map(|(i, s)| (s.node, i)).collect();
    let mut behind: HashSet<ValueId> = HashSet::new();
    for &n in g.schedule() {
        let node = g.node(n);
        let depends = node.inputs().iter().flatten().any(|v| behind.contains(v));
        let site = index.get(&n).copied();
        if let Some(i) = site {
            sites[i].first = !depends && sites[i].kind == Kind::Conv;
        }
        if depends || site.is_some() || !node.regions.is_empty() {
            behind.extend(node.outputs());
        }
    }
}

fn site(g: &Graph, n: NodeId) -> Option<Site> {
    let node = g.node(n);
    let flag = |name: &str| g.facts(n).of(node).flag(name);
    let groups = || g.facts(n).of(node).int("group").unwrap_or(1);
    let dims = |operand: usize| -> Option<Vec<usize>> {
        let tensor = g.constant(node.input(operand)?)?;
        (tensor.dtype() == DType::F32 && !tensor.is_empty()).then(|| tensor.dims().to_vec())
    };
    let make = |operand: usize, kind: Kind, d: &[usize], output_axis: usize, input_axis: usize| {
        Some(Site {
            name: node.name.clone(),
            node: n,
            operand,
            weight: node.input(operand)?,
            kind,
            first: false,
            outputs: d[output_axis],
            inputs: d[input_axis],
            kernel: d[2..].to_vec(),
            output_axis,
            input_axis,
            takes_bias: takes_bias(g, n, operand, d[output_axis]),
        })
    };
    match node.op.name {
        "conv" => {
            let d = dims(1)?;
            let kind = if d[1] == 1 && groups() > 1 { Kind::Depthwise } else { Kind::Conv };
            make(1, kind, &d, 0, 1)
        }
        "conv_transpose" => {
            let d = dims(1)?;
            if d[1] == 1 && groups() > 1 {
                make(1, Kind::Depthwise, &d, 0, 1)
            } else {
                make(1, Kind::ConvTranspose, &d, 1, 0)
            }
        }
        // A constant matrix on the right is the rule; on the left its rows are the output channels.
        "matmul" | "gemm" => {
            let gemm = node.op.name == "gemm";
            let is_matrix = |d: &Vec<usize>| d.len() == 2;
            if let Some(d) = dims(1).filter(is_matrix) {
                let outputs_first = gemm && flag("transB");
                let (o, i) = if outputs_first { (0, 1) } else { (1, 0) };
                make(1, Kind::Product, &d, o, i)
            } else {
                let d = dims(0).filter(is_matrix)?;
                let (o, i) = if gemm && flag("transA") { (1, 0) } else { (0, 1) };
                make(0, Kind::Product, &d, o, i)
            }
        }
        _ => None,
    }
}

fn takes_bias(g: &Graph, n: NodeId, operand: usize, outputs: usize) -> bool {
    let node = g.node(n);
    let facts = g.facts(n);
    let plain = match node.op.name {
        "conv" => true,
        "gemm" => {
            let factor = |name: &str| facts.of(node).float(name).unwrap_or(1.0);
            operand == 1 && factor("alpha") == 1.0 && factor("beta") == 1.0
        }
        _ => false,
    };
    let fits = |v| g.constant(v).is_some_and(|b| b.dtype() == DType::F32 && b.dims() == [outputs]);
    plain && node.input(2).is_none_or(fits)
}
