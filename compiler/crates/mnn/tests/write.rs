//! What the writer promises of any graph, without MNN at hand.

use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType, ValueId};
use mnnc_mnn::{WriteError, WriteOptions, summary, write};

fn op(name: &str) -> &'static mnnc_ir::OpDecl {
    mnnc_ops::lookup(name).expect("an op of the catalogue")
}

fn emit(graph: &mut Graph, name: &str, inputs: &[ValueId]) -> ValueId {
    graph.emit(NodeSpec::new(op(name), inputs.iter().copied())).expect("valid")
}

/// `matmul(x, w) + b`, then ReLU, as an export of a linear layer has it.
fn linear() -> Graph {
    let mut graph = Graph::new("linear");
    let x = graph.add_input("x", TensorType::new(DType::F32, [1usize, 5, 8]));
    let w = graph.add_const("w", Tensor::new(vec![8, 4], vec![0.5f32; 32]));
    let b = graph.add_const("b", Tensor::new(vec![4], vec![1.0f32; 4]));
    let product = emit(&mut graph, "matmul", &[x, w]);
    let sum = emit(&mut graph, "add", &[product, b]);
    let y = emit(&mut graph, "relu", &[sum]);
    graph.rename_value(y, "y");
    graph.set_results(graph.main(), vec![y]);
    graph
}

fn count(bytes: &[u8], op: &str) -> usize {
    summary(bytes).expect("own file").ops.get(op).copied().unwrap_or(0)
}

#[test]
fn a_linear_layer_is_one_convolution() {
    let bytes = write(&linear(), &WriteOptions::default()).expect("written");
    assert_eq!(count(&bytes, "Convolution"), 1);
    for gone in ["BinaryOp", "ReLU", "MatMul", "Const"] {
        assert_eq!(count(&bytes, gone), 0, "{gone}");
    }
    let plain = write(&linear(), &WriteOptions { opt_level: 0, ..WriteOptions::default() }).expect("written");
    assert_eq!((count(&plain, "BinaryOp"), count(&plain, "ReLU")), (1, 1), "level 0 fuses nothing");
}

#[test]
fn equal_graphs_give_equal_bytes_and_other_graphs_another_id() {
    let options = WriteOptions::default();
    let first = write(&linear(), &options).expect("written");
    assert_eq!(first, write(&linear(), &options).expect("written"));
    let mut other = linear();
    let y = other.outputs()[0];
    let z = emit(&mut other, "neg", &[y]);
    other.set_results(other.main(), vec![z]);
    let other = write(&other, &options).expect("written");
    let id = |bytes: &[u8]| mnnc_schema::mnn::root(bytes).expect("own file").mnn_uuid().expect("an id").to_string();
    assert_ne!(id(&first), id(&other));
    assert_eq!(id(&first).len(), 36);
}

#[test]
fn inputs_and_outputs_keep_their_names() {
    let mut graph = Graph::new("alias");
    let x = graph.add_input("x", TensorType::new(DType::F32, [2usize, 3]));
    let unused = graph.add_input("unused", TensorType::new(DType::I64, [4usize]));
    let same = emit(&mut graph, "identity", &[x]);
    graph.rename_value(same, "same");
    let constant = graph.add_const("constant", Tensor::new(vec![2], vec![1.0f32, 2.0]));
    let twice = emit(&mut graph, "identity", &[same]);
    graph.rename_value(twice, "twice");
    graph.set_results(graph.main(), vec![same, constant, twice]);
    let found = summary(&write(&graph, &WriteOptions::default()).expect("written")).expect("own file");
    let names = |ports: &[mnnc_mnn::Port]| ports.iter().map(|port| port.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found.inputs), ["x", "unused"]);
    assert_eq!(names(&found.outputs), ["same", "constant", "twice"]);
    assert_eq!(found.inputs[1].dtype.as_deref(), Some("DT_INT32"), "MNN has no 64-bit integers");
    assert_eq!(found.inputs[0].dims, [2, 3]);
    let _ = unused;
}

#[test]
fn all_that_is_unsupported_is_told_at_once() {
    let mut graph = Graph::new("refused");
    let x = graph.add_input("x", TensorType::new(DType::F32, [1usize, 4]));
    let wide = graph.add_input("wide", TensorType::new(DType::F64, [1usize]));
    let attrs = Attrs::new().with("select_last_index", true);
    let last = graph.emit(NodeSpec::new(op("arg_max"), [x]).attrs(attrs).named("last")).expect("valid");
    let reader = emit(&mut graph, "neg", &[last]);
    let places = graph.emit(NodeSpec::new(op("non_zero"), [x]).named("places")).expect("valid");
    graph.set_results(graph.main(), vec![reader, places]);
    let _ = wide;
    let Err(WriteError::Unsupported(nodes)) = write(&graph, &WriteOptions::default()) else { panic!("written") };
    let names: Vec<&str> = nodes.iter().map(|node| node.node.as_str()).collect();
    assert_eq!(names, ["wide", "last", "places"], "each fault once, its readers not at all");
    assert!(nodes.iter().all(|node| !node.reason.is_empty() && !node.shapes.is_empty()), "{nodes:?}");
}

#[test]
fn a_broken_file_has_no_summary() {
    let bytes = write(&linear(), &WriteOptions::default()).expect("written");
    assert!(summary(&[]).is_err());
    assert!(summary(b"this is not a model, but it is longer than nothing").is_err());
    assert!(summary(&bytes[..bytes.len() / 2]).is_err());
    for bit in (0..bytes.len() * 8).step_by(7) {
        let mut broken = bytes.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        // Refused or read: either will do, as long as it ends.
        let _ = summary(&broken);
    }
}
