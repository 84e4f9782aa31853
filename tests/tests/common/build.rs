//! Small ONNX models, built from messages.

use mnnc_schema::onnx::attribute_proto::AttributeType;
use mnnc_schema::onnx::tensor_proto::DataType;
use mnnc_schema::onnx::tensor_shape_proto::{Dimension, dimension};
use mnnc_schema::onnx::{
    AttributeProto, Bytes, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|s| s.to_string()).collect()
}

/// A node named after its first output.
pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: op.to_string(),
        name: format!("/{}", outputs.first().unwrap_or(&"none")),
        input: strings(inputs),
        output: strings(outputs),
        ..Default::default()
    }
}

/// An integer attribute.
pub fn int(name: &str, x: i64) -> AttributeProto {
    AttributeProto { name: name.to_string(), i: Some(x), r#type: AttributeType::Int as i32, ..Default::default() }
}

/// A list of integers.
pub fn ints(name: &str, x: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_string(),
        ints: x.to_vec(),
        r#type: AttributeType::Ints as i32,
        ..Default::default()
    }
}

/// A text attribute.
pub fn text(name: &str, s: &str) -> AttributeProto {
    let s = Some(Bytes::copy_from_slice(s.as_bytes()));
    AttributeProto { name: name.to_string(), s, r#type: AttributeType::String as i32, ..Default::default() }
}

/// A sub-graph.
pub fn graph(name: &str, g: GraphProto) -> AttributeProto {
    AttributeProto { name: name.to_string(), g: Some(g), r#type: AttributeType::Graph as i32, ..Default::default() }
}

/// A node with attributes.
pub fn with(mut n: NodeProto, attributes: Vec<AttributeProto>) -> NodeProto {
    n.attribute = attributes;
    n
}

/// A float initializer with raw data.
pub fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_string(),
        data_type: DataType::Float as i32,
        dims: dims.to_vec(),
        raw_data: values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into(),
        ..Default::default()
    }
}

/// A vector of integers.
pub fn longs(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_string(),
        data_type: DataType::Int64 as i32,
        dims: vec![values.len() as i64],
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

/// A tensor type; negative sizes are open.
pub fn value(name: &str, data_type: DataType, dims: &[i64]) -> ValueInfoProto {
    let dim = dims
        .iter()
        .map(|&d| Dimension { value: (d >= 0).then_some(dimension::Value::DimValue(d)), ..Default::default() })
        .collect();
    let tensor = type_proto::Tensor { elem_type: data_type as i32, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.to_string(),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

/// A float input or output.
pub fn float(name: &str, dims: &[i64]) -> ValueInfoProto {
    value(name, DataType::Float, dims)
}

/// A model of the standard operators.
pub fn model(
    nodes: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
) -> ModelProto {
    ModelProto {
        ir_version: 8,
        producer_name: "test".to_string(),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(GraphProto {
            name: "g".to_string(),
            node: nodes,
            initializer,
            input: inputs,
            output: outputs,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A model of one node from `x` f32[1x3x8x8] to `y`.
pub fn single(n: NodeProto, initializer: Vec<TensorProto>) -> ModelProto {
    model(vec![n], initializer, vec![float("x", &[1, 3, 8, 8])], vec![float("y", &[-1, -1, -1, -1])])
}

/// A little network with a bit of everything that importers do: weights, shape arithmetic, a branch.
pub fn network() -> Vec<u8> {
    let w: Vec<f32> = (0..4 * 3 * 9).map(|i| (i as f32 * 0.37).sin() * 0.2).collect();
    let fc: Vec<f32> = (0..64 * 5).map(|i| (i as f32 * 0.11).cos() * 0.1).collect();
    let branch = |op: &str, out: &str| GraphProto {
        name: out.to_string(),
        node: vec![node(op, &["soft"], &[out])],
        output: vec![float(out, &[1, 5])],
        ..Default::default()
    };
    let nodes = vec![
        with(
            node("Conv", &["x", "w", "b"], &["conv"]),
            vec![ints("pads", &[1, 1, 1, 1]), ints("kernel_shape", &[3, 3])],
        ),
        node("Relu", &["conv"], &["relu"]),
        with(node("MaxPool", &["relu"], &["pool"]), vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])]),
        node("Shape", &["pool"], &["shape"]),
        with(node("Gather", &["shape", "zero"], &["batch"]), vec![int("axis", 0)]),
        node("Unsqueeze", &["batch", "zeros"], &["batch1"]),
        with(node("Concat", &["batch1", "minus"], &["target"]), vec![int("axis", 0)]),
        node("Reshape", &["pool", "target"], &["flat"]),
        node("Gemm", &["flat", "fc"], &["scores"]),
        with(node("Softmax", &["scores"], &["soft"]), vec![int("axis", -1)]),
        with(
            node("If", &["flag"], &["y"]),
            vec![graph("then_branch", branch("Neg", "a")), graph("else_branch", branch("Abs", "b2"))],
        ),
    ];
    let mut zero = longs("zero", &[0]);
    zero.dims.clear();
    let initializer = vec![
        floats("w", &[4, 3, 3, 3], &w),
        floats("b", &[4], &[0.1, 0.2, -0.1, 0.0]),
        floats("fc", &[64, 5], &fc),
        zero,
        longs("zeros", &[0]),
        longs("minus", &[-1]),
    ];
    let inputs = vec![float("x", &[1, 3, 8, 8]), value("flag", DataType::Bool, &[])];
    model(nodes, initializer, inputs, vec![float("y", &[1, 5])]).encode_to_vec()
}
