//! Which values of a graph are quantised, and which of them share parameters.

use std::collections::{HashMap, HashSet};

use mnnc_ir::{DType, Def, Graph, Node, NodeId, ValueId};

/// What the graph is quantised for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Style {
    /// An anchor and the element-wise ops behind it round once, at the end: kernels that fuse them.
    Fused,
    /// Every convolution, product and sum rounds its result, and so does the last of the network: engines that compute op by op.
    EveryOp,
}

/// Values that are quantised with the same parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Its values, in order of execution.
    pub values: Vec<ValueId>,
}

/// What `node` does to a tensor, as far as rounding is concerned.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Role {
    /// Convolutions and products: integer arithmetic pays.
    Anchor,
    /// Computes on images; worth it only because its neighbours are integers.
    Image,
    /// Element by element, one tensor that varies: part of what is before it.
    Chain,
    /// Moves or selects elements: result and operands have the same parameters.
    Movement,
    /// Stays in float.
    Float,
}

fn role(g: &Graph, n: NodeId) -> Role {
    let node = g.node(n);
    let varying = node.inputs().iter().flatten().filter(|v| g.constant(**v).is_none()).count();
    let constant = |i: usize| node.input(i).is_some_and(|v| g.constant(v).is_some() || is_dequantised_constant(g, v));
    let is_image = |v: ValueId| g.ty(v).rank() == 4;
    let out_is_image = node.outputs().first().is_some_and(|&v| is_image(v));
    match node.op.name {
        "conv" | "conv_transpose" if constant(1) => Role::Anchor,
        "matmul" | "gemm" if constant(1) => Role::Anchor,
        "reshape" | "squeeze" | "unsqueeze" | "flatten" | "identity" | "dropout" | "transpose" | "depth_to_space"
        | "space_to_depth" | "slice" | "split" | "expand" | "tile" => Role::Movement,
        "max_pool" | "global_max_pool" if node.outputs().len() == 1 => Role::Movement,
        "concat" if out_is_image => Role::Movement,
        "add" | "sub" | "mul" if varying == 2 && out_is_image => Role::Image,
        "average_pool" | "global_average_pool" | "resize" if out_is_image => Role::Image,
        _ if node.op.scalar.is_some() && varying == 1 && node.outputs().len() == 1 => Role::Chain,
        _ => Role::Float,
    }
}

fn is_dequantised_constant(g: &Graph, v: ValueId) -> bool {
    g.producer_of(v, "dequantize_linear").and_then(|n| g.node(n).input(0)).is_some_and(|q| g.constant(q).is_some())
}

/// Whether a skip list names the node: by its name, its output's, or MNN's for a product that became a convolution.
pub fn is_called(g: &Graph, node: &Node, name: &str) -> bool {
    let name = name.strip_suffix("__matmul_converted").unwrap_or(name);
    node.name == name || node.outputs().iter().any(|&v| g.value(v).name == name)
}

/// Which values to quantise.
pub struct Placement<'g> {
    g: &'g Graph,
    skipped: HashSet<NodeId>,
    style: Style,
}

impl<'g> Placement<'g> {
    /// For the main region of `g`; nodes in `skipped` compute in float.
    pub fn new(g: &'g Graph, skipped: HashSet<NodeId>, style: Style) -> Placement<'g> {
        Placement { g, skipped, style }
    }

    fn role(&self, n: NodeId) -> Role {
        if self.skipped.contains(&n) { Role::Float } else { role(self.g, n) }
    }

    /// Whether the node computes in integers.
    pub fn is_anchor(&self, n: NodeId) -> bool {
        self.role(n) == Role::Anchor
    }

    /// The anchors, in order of execution.
    pub fn anchors(&self) -> Vec<NodeId> {
        self.g.schedule().iter().copied().filter(|&n| self.is_anchor(n)).collect()
    }

    /// The values to quantise, those with the same parameters together, in order of execution.
    pub fn groups(&self) -> Vec<Group> {
        let g = self.g;
        let mut wanted: HashSet<ValueId> = HashSet::new();
        for &n in g.schedule() {
            let node = g.node(n);
            let reads = match self.role(n) {
                Role::Anchor => vec![node.input(0)],
                // An image op between float ops gains nothing: it follows what it reads.
                Role::Image => node.inputs().to_vec(),
                _ => Vec::new(),
            };
            for v in reads.into_iter().flatten().filter(|&v| self.can_round(v) && !self.is_inside(v, n)) {
                wanted.insert(v);
            }
            if self.style == Style::EveryOp && matches!(self.role(n), Role::Anchor | Role::Image) {
                let end = self.end_of_chain(node.outputs()[0]);
                if self.can_round(end) {
                    wanted.insert(end);
                }
            }
        }
        let mut classes = Classes::default();
        // Until nothing changes: movement carries the wish both ways.
        loop {
            let before = wanted.len();
            for &n in g.schedule().iter().filter(|&&n| self.role(n) == Role::Movement) {
                let node = g.node(n);
                let joined: Vec<ValueId> = match node.op.name {
                    "concat" => node.inputs().iter().flatten().chain(node.outputs()).copied().collect(),
                    _ => node.input(0).iter().chain(node.outputs()).copied().collect(),
                };
                let joined: Vec<ValueId> = joined.into_iter().filter(|&v| self.can_round(v)).collect();
                if joined.iter().any(|v| wanted.contains(v)) {
                    wanted.extend(&joined);
                    joined.windows(2).for_each(|w| classes.join(w[0], w[1]));
                }
            }
            if wanted.len() == before {
                break;
            }
        }
        let mut by_class: HashMap<ValueId, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let outputs = g.schedule().iter().flat_map(|&n| g.node(n).outputs().iter().copied());
        for v in g.inputs().iter().copied().chain(outputs).filter(|v| wanted.contains(v)) {
            let at = *by_class.entry(classes.of(v)).or_insert_with(|| {
                groups.push(Group { values: Vec::new() });
                groups.len() - 1
            });
            groups[at].values.push(v);
        }
        groups
    }

    /// Whether the value varies, is `f32` and lies in the main region.
    fn can_round(&self, v: ValueId) -> bool {
        let value = self.g.value(v);
        value.ty.dtype == DType::F32
            && !matches!(value.def, Def::Const(_))
            && self.g.home(v) == Some(self.g.main())
            && !is_dequantised_constant(self.g, v)
    }

    /// Whether `v` never leaves the kernel that makes it: an anchor's own result on its way into the sum `reader`.
    fn is_inside(&self, v: ValueId, reader: NodeId) -> bool {
        if self.style == Style::EveryOp || self.role(reader) != Role::Image {
            return false;
        }
        let node = self.g.node(reader);
        let is_sum = node.op.name == "add";
        let from_anchor = |v: ValueId| {
            self.g.single_user(v) == Some(reader)
                && self.g.ty(v).dims == self.g.ty(node.outputs()[0]).dims
                && self.start_of_chain(v).is_some()
        };
        if !is_sum || !from_anchor(v) {
            return false;
        }
        // Of two such operands, the one that is made last: the sum is in its kernel.
        let position = |v: ValueId| self.start_of_chain(v).and_then(|n| self.g.position(n));
        node.inputs().iter().flatten().filter(|&&w| w != v && from_anchor(w)).all(|&w| position(w) < position(v))
    }

    /// The last value of the chain of element-wise ops behind `v`.
    fn end_of_chain(&self, v: ValueId) -> ValueId {
        let mut v = v;
        while let Some(n) = self.g.single_user(v).filter(|&n| self.role(n) == Role::Chain) {
            v = self.g.node(n).outputs()[0];
        }
        v
    }

    /// The anchor whose result `v` is but for element-wise ops.
    fn start_of_chain(&self, v: ValueId) -> Option<NodeId> {
        let mut n = self.g.producer(v)?;
        while self.role(n) == Role::Chain {
            let x = self.g.node(n).inputs().iter().flatten().find(|v| self.g.constant(**v).is_none())?;
            self.g.single_user(*x)?;
            n = self.g.producer(*x)?;
        }
        self.is_anchor(n).then_some(n)
    }
}

/// Values that are joined, by union and find.
#[derive(Default)]
struct Classes {
    parent: HashMap<ValueId, ValueId>,
}

impl Classes {
    fn of(&self, v: ValueId) -> ValueId {
        let mut v = v;
        while let Some(&p) = self.parent.get(&v) {
            v = p;
        }
        v
    }
    fn join(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.of(a), self.of(b));
        if a != b {
            self.parent.insert(a.max(b), a.min(b));
        }
    }
}
