//! A model lowered for every processor level of a target: what the JIT and the writers start from.

use crate::CodegenError;
use crate::target::{Cpu, Target};
use mnnc_ir::types::Quant;
use mnnc_ir::{DType, Def, Graph, NodeId, ValueId};
use mnnc_kernel::cost::{Choice, Problem};
use mnnc_kernel::plan::check::check;
use mnnc_kernel::weights::AlignedBytes;
use mnnc_kernel::{Family, Plan, Planner, Schedule, lower_with};
use std::collections::HashMap;
use std::sync::Arc;

/// An input or output of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct Port {
    /// The model's own name for it.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape, row-major.
    pub dims: Vec<usize>,
    /// Size in bytes.
    pub bytes: usize,
    /// Quantisation, if integers stand for reals.
    pub quant: Option<Arc<Quant>>,
}

/// What callers of a model need to know.
#[derive(Clone, PartialEq, Debug)]
pub struct Interface {
    /// A C identifier, the prefix of all symbols.
    pub name: String,
    /// In the model's order.
    pub inputs: Vec<Port>,
    /// In the model's order.
    pub outputs: Vec<Port>,
    /// Hash of the source model in hex, or empty.
    pub source_hash: String,
}

/// The model for one processor level.
#[derive(Clone, Debug)]
pub struct Variant {
    /// What it needs.
    pub cpu: Cpu,
    /// Kernels and steps; the weights are in `weights`.
    pub schedule: Schedule,
    /// Where buffers lie.
    pub plan: Plan,
    /// Packed weights.
    pub weights: Arc<AlignedBytes>,
}

/// A lowered model.
#[derive(Clone, Debug)]
pub struct Model {
    /// Names and shapes.
    pub interface: Interface,
    /// What it is for.
    pub target: Target,
    /// One for each of the target's processors, weakest first.
    pub variants: Vec<Variant>,
}

/// What a caller can choose.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Prefix of the symbols; characters that C does not allow are replaced. Empty: the graph's name.
    pub name: String,
    /// Hash of the source model in hex.
    pub source_hash: String,
    /// Schedules that were measured best.
    pub tuned: Option<Tuned>,
    /// Whether values may be rounded to bf16, where the target multiplies it. If not, its instructions are not asked for either.
    pub reduced: bool,
    /// Nodes that are computed in `f32` all the same.
    pub exact: Vec<NodeId>,
    /// Whether compressed weights may be stored as numbers where that is faster.
    pub expands: bool,
}

/// Schedules for one processor, which go before those of the cost model.
#[derive(Clone, PartialEq, Debug)]
pub struct Tuned {
    /// Where they were measured; code for others is not affected.
    pub cpu: Cpu,
    /// For each product its schedule.
    pub choices: HashMap<Problem, Choice>,
}

/// What schedules the products of a graph for a processor; `None` where all code is scalar.
pub fn planner(graph: &Graph, cpu: Cpu, tuned: Option<&Tuned>) -> Option<Planner> {
    let constants = graph.values().filter(|(v, value)| matches!(value.def, Def::Const(_)) && graph.is_used(*v));
    let weights = constants.map(|(_, value)| value.ty.num_bytes().unwrap_or(0)).fold(0, usize::saturating_add);
    let planner = cpu.planner()?.with_weights(weights);
    Some(match tuned.filter(|t| t.cpu == cpu) {
        Some(tuned) => planner.with_tuned(&tuned.choices),
        None => planner,
    })
}

impl Model {
    /// Lowers a graph for each processor of the target and plans its memory. In debug builds the plans are checked.
    ///
    /// # Errors
    /// Every node that cannot be lowered.
    pub fn compile(
        graph: &Graph,
        target: &Target,
        families: &[&'static dyn Family],
        options: &Options,
    ) -> Result<Model, CodegenError> {
        let mut target = target.clone();
        if !options.reduced {
            target = target.in_f32();
        }
        let name = if options.name.is_empty() { &graph.name } else { &options.name };
        let interface = Interface {
            name: identifier(name),
            inputs: graph.inputs().iter().map(|&v| port(graph, v)).collect(),
            outputs: graph.outputs().iter().map(|&v| port(graph, v)).collect(),
            source_hash: options.source_hash.clone(),
        };
        let variants =
            target.cpus.iter().map(|&cpu| variant(graph, cpu, families, options)).collect::<Result<_, _>>()?;
        Ok(Model { interface, target, variants })
    }

    /// Bytes of workspace that a call needs, whatever the level.
    pub fn workspace(&self) -> usize {
        self.variants.iter().map(|v| v.plan.workspace).max().unwrap_or(0)
    }
    /// Bytes of packed weights, all levels together.
    pub fn weights(&self) -> usize {
        self.variants.iter().map(|v| v.weights.len()).sum()
    }
}

/// What a process of the usual 48 address bits can address at all.
const MOST_WORKSPACE: usize = 1 << 47;
/// Sums of sizes up to this one do not overflow in the planner.
const MOST_BUFFERS: usize = 1 << 60;

fn check_size(bytes: usize, most: usize) -> Result<(), CodegenError> {
    if bytes <= most {
        return Ok(());
    }
    let (has, most) = (bytes >> 40, most >> 40);
    Err(CodegenError::Usage(format!(
        "the model needs {has} TB of workspace, and no process has more than {most} TB; choose smaller shapes"
    )))
}

fn variant(
    graph: &Graph,
    cpu: Cpu,
    families: &[&'static dyn Family],
    options: &Options,
) -> Result<Variant, CodegenError> {
    // Where the vector level has no encoder, no family applies, and the planner has nothing to decide.
    let (planner, families) = match planner(graph, cpu, options.tuned.as_ref()) {
        Some(planner) => (planner, families),
        None => (Planner::new(mnnc_vector::Target::AVX2), &[][..]),
    };
    let planner = planner.with_exact(options.exact.clone()).with_expansion(options.expands);
    let mut schedule = lower_with(graph, &planner, families).map_err(CodegenError::Lowering)?;
    check_size(schedule.buffers.iter().map(|(_, b)| b.bytes).fold(0, usize::saturating_add), MOST_BUFFERS)?;
    let plan = Plan::new(&schedule);
    check_size(plan.workspace, MOST_WORKSPACE)?;
    if cfg!(debug_assertions)
        && let Err(errors) = check(&schedule, &plan)
    {
        let all: Vec<String> = errors.iter().take(10).map(ToString::to_string).collect();
        let text = schedule.show(Some(&plan));
        return Err(CodegenError::Internal(format!("the memory plan is wrong: {}\n{text}", all.join("; "))));
    }
    let weights = std::mem::take(&mut schedule.weights).finish();
    Ok(Variant { cpu, schedule, plan, weights: Arc::new(weights) })
}

fn port(graph: &Graph, v: ValueId) -> Port {
    let value = graph.value(v);
    Port {
        name: value.name.clone(),
        dtype: value.ty.dtype,
        dims: value.ty.static_dims().unwrap_or_default(),
        bytes: value.ty.num_bytes().unwrap_or(0),
        quant: value.ty.quant.clone(),
    }
}

/// Words that a C identifier must not be.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float",
    "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof",
    "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "main", "mnnc",
];

/// The nearest C identifier.
pub fn identifier(name: &str) -> String {
    let mut out: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) || RESERVED.contains(&out.as_str()) {
        out.insert_str(0, "model_");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{MOST_WORKSPACE, check_size, identifier};

    #[test]
    fn an_impossible_workspace_is_refused() {
        assert!(check_size(MOST_WORKSPACE, MOST_WORKSPACE).is_ok());
        let e = check_size(usize::MAX, MOST_WORKSPACE).unwrap_err().to_string();
        assert!(e.contains("choose smaller shapes"), "{e}");
    }

    #[test]
    fn names_become_identifiers() {
        assert_eq!(identifier("mobilenet_v2"), "mobilenet_v2");
        assert_eq!(identifier("squeezenet1.1"), "squeezenet1_1");
        assert_eq!(identifier("8bit"), "model_8bit");
        assert_eq!(identifier(""), "model_");
        assert_eq!(identifier("int"), "model_int");
    }
}
