//! The ONNX messages against bytes laid out by hand and against real files.

use std::path::PathBuf;

use mnnc_schema::onnx::{AttributeProto, Bytes, GraphProto, Message, ModelProto, NodeProto, TensorProto, tensor_proto};

/// `TensorProto { dims: [2, 1], data_type: FLOAT, name: "w", raw_data: 8 bytes }`.
const TENSOR: &[u8] = &[
    0x08, 2, 0x08, 1, // dims, unpacked as proto2 writes it
    0x10, 1, // data_type
    0x42, 1, b'w', // name
    0x4a, 8, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, // raw_data: 1.0, 2.0
];

#[test]
fn reads_the_documented_field_numbers() {
    let t = TensorProto::decode(TENSOR).unwrap();
    assert_eq!(t.dims, [2, 1]);
    assert_eq!(t.data_type, tensor_proto::DataType::Float as i32);
    assert_eq!(t.name, "w");
    assert_eq!(t.raw_data, &TENSOR[11..]);
}

#[test]
fn raw_data_is_a_view_of_the_file() {
    let file = Bytes::copy_from_slice(TENSOR);
    let t = TensorProto::decode(file.clone()).unwrap();
    assert_eq!(t.raw_data.as_ptr(), file[11..].as_ptr());
}

#[test]
fn presence_of_a_zero_attribute_survives() {
    let a = AttributeProto { name: "alpha".into(), f: Some(0.0), ..Default::default() };
    let b = AttributeProto::decode(a.encode_to_vec().as_slice()).unwrap();
    assert_eq!((b.f, b.i, b.s), (Some(0.0), None, None));
}

/// A graph in an attribute of a node, `depth` times.
fn nested(depth: usize) -> GraphProto {
    let mut graph = GraphProto::default();
    for _ in 0..depth {
        let attribute = AttributeProto { g: Some(graph), ..Default::default() };
        let node = NodeProto { attribute: vec![attribute], ..Default::default() };
        graph = GraphProto { node: vec![node], ..Default::default() };
    }
    graph
}

#[test]
fn hostile_nesting_is_an_error_and_not_a_stack_overflow() {
    assert!(GraphProto::decode(nested(20).encode_to_vec().as_slice()).is_ok());
    assert!(GraphProto::decode(nested(200).encode_to_vec().as_slice()).is_err());
}

#[test]
fn truncated_files_are_errors() {
    // Prefixes that end between two fields are whole messages of their own.
    let ends = [0, 2, 4, 6, 9, TENSOR.len()];
    for n in 0..=TENSOR.len() {
        assert_eq!(TensorProto::decode(&TENSOR[..n]).is_ok(), ends.contains(&n), "{n} bytes");
    }
}

/// The shared models, when this checkout stands beside them.
fn shared_models() -> Option<PathBuf> {
    let root = std::env::var_os("MNNC_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let dir = root.join("data/models");
    dir.is_dir().then_some(dir)
}

#[test]
fn real_files_round_trip() {
    let Some(dir) = shared_models() else {
        eprintln!("skipped: no shared models (set MNNC_SHARED)");
        return;
    };
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "onnx") {
            continue;
        }
        let file = Bytes::from(std::fs::read(&path).unwrap());
        let model = ModelProto::decode(file).unwrap();
        let graph = model.graph.as_ref().expect("a graph");
        assert!(!graph.node.is_empty() && !graph.output.is_empty(), "{}", path.display());
        assert!(!model.opset_import.is_empty(), "{}", path.display());
        let again = ModelProto::decode(Bytes::from(model.encode_to_vec())).unwrap();
        assert_eq!(model, again, "{}", path.display());
        seen += 1;
    }
    assert!(seen > 0);
}
