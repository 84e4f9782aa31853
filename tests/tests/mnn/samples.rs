//! Random uses of single ops, as graphs.

use mnnc_ir::decl::Sample;
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, OpDecl, Tensor};

/// The graph of one sample, with the tensors to feed. With `packed`, images pass a pooling over single elements first,
/// which changes nothing but leaves them packed by channel in MNN.
pub fn graph_of(op: &'static OpDecl, sample: &Sample, packed: bool) -> Option<(Graph, Vec<(String, Tensor)>)> {
    let is_image = |tensor: &Tensor| tensor.dtype() == DType::F32 && tensor.dims().len() == 4;
    let pool = mnnc_ops::lookup("max_pool")?;
    let mut graph = Graph::new(op.name);
    let mut feeds = Vec::new();
    let mut inputs = Vec::new();
    for (i, tensor) in sample.inputs.iter().enumerate() {
        inputs.push(tensor.as_ref().map(|tensor| {
            let name = format!("x{i}");
            if sample.constant.get(i).copied().unwrap_or(false) {
                graph.add_const(&name, tensor.clone())
            } else {
                feeds.push((name.clone(), tensor.clone()));
                let value = graph.add_input(&name, tensor.ty());
                if packed && is_image(tensor) {
                    let window = NodeSpec::new(pool, [value]).attrs(Attrs::new().with("kernel_shape", vec![1i64, 1]));
                    graph.emit(window).unwrap_or(value)
                } else {
                    value
                }
            }
        }));
    }
    let names: Vec<String> = (0..sample.num_outputs).map(|i| format!("y{i}")).collect();
    let mut spec = NodeSpec::new(op, []).attrs(sample.attrs.clone()).named("node").outputs(names);
    spec.inputs = inputs;
    let node = graph.add_node(spec).ok()?;
    let outputs = graph.node(node).outputs().to_vec();
    graph.set_results(graph.main(), outputs);
    Some((graph, feeds))
}
