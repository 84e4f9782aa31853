//! A small ONNX graph of one layer.

use mnnc::zoo;
use mnnc_schema::onnx::attribute_proto::AttributeType;
use mnnc_schema::onnx::tensor_proto::DataType;
use mnnc_schema::onnx::tensor_shape_proto::{Dimension, dimension};
use mnnc_schema::onnx::{
    AttributeProto, Bytes, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};

/// A graph under construction. Nodes are named as their output.
#[derive(Default)]
pub struct Graph(GraphProto);

impl Graph {
    /// An f32 input.
    pub fn input(&mut self, name: &str, dims: &[usize]) {
        self.0.input.push(port(name, dims));
    }

    /// Weights: small numbers of either sign that sum to about nothing, so that no result overflows or is denormal.
    pub fn weights(&mut self, name: &str, dims: &[usize]) {
        let count: usize = dims.iter().product();
        let value = |i: usize| ((i.wrapping_mul(2_654_435_761) >> 8) % 201) as f32 / 1000.0 - 0.1;
        let raw: Vec<u8> = (0..count).flat_map(|i| value(i).to_le_bytes()).collect();
        self.initializer(name, DataType::Float, dims, raw);
    }

    /// The same in signed bytes, all of which fit `bits` bits.
    pub fn bytes(&mut self, name: &str, dims: &[usize], bits: u32) {
        let count: usize = dims.iter().product();
        let levels = 1usize << bits;
        let value = |i: usize| ((i.wrapping_mul(2_654_435_761) >> 8) % levels) as i64 - (levels / 2) as i64;
        let raw: Vec<u8> = (0..count).map(|i| value(i) as i8 as u8).collect();
        self.initializer(name, DataType::Int8, dims, raw);
    }

    /// The same in half precision.
    pub fn halves(&mut self, name: &str, dims: &[usize]) {
        let count: usize = dims.iter().product();
        // Half of a number between 1 and 2, of either sign: 0x3800 is a half.
        let value = |i: usize| (0x3800 | i.wrapping_mul(2_654_435_761) >> 8 & 0x83ff) as u16;
        let raw = (0..count).flat_map(|i| value(i).to_le_bytes()).collect();
        self.initializer(name, DataType::Float16, dims, raw);
    }

    /// Numbers that are all the same.
    pub fn constants(&mut self, name: &str, dims: &[usize], value: f32) {
        let count: usize = dims.iter().product();
        let raw = (0..count).flat_map(|_| value.to_le_bytes()).collect();
        self.initializer(name, DataType::Float, dims, raw);
    }

    /// A list of integers.
    pub fn integers(&mut self, name: &str, values: &[i64]) {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(name, DataType::Int64, &[values.len()], raw);
    }

    fn initializer(&mut self, name: &str, kind: DataType, dims: &[usize], raw: Vec<u8>) {
        self.0.initializer.push(TensorProto {
            name: name.into(),
            dims: dims.iter().map(|&d| d as i64).collect(),
            data_type: kind as i32,
            raw_data: Bytes::from(raw),
            ..Default::default()
        });
    }

    /// A node with one output.
    pub fn node(&mut self, op: &str, inputs: &[&str], output: &str, attributes: &[(&str, Attribute)]) {
        let attribute = |(name, value): &(&str, Attribute)| {
            let mut proto = AttributeProto { name: (*name).into(), ..Default::default() };
            match value {
                Attribute::Int(value) => {
                    proto.r#type = AttributeType::Int as i32;
                    proto.i = Some(*value);
                }
                Attribute::Ints(values) => {
                    proto.r#type = AttributeType::Ints as i32;
                    proto.ints = values.clone();
                }
            }
            proto
        };
        self.0.node.push(NodeProto {
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![output.into()],
            name: output.into(),
            op_type: op.into(),
            attribute: attributes.iter().map(attribute).collect(),
            ..Default::default()
        });
    }

    /// The bytes of the model whose output is `output`.
    pub fn finish(mut self, output: &str, dims: &[usize]) -> Vec<u8> {
        self.0.output.push(port(output, dims));
        self.0.name = "layer".into();
        let model = ModelProto {
            ir_version: 10,
            graph: Some(self.0),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 21 }],
            ..Default::default()
        };
        let mut bytes = Vec::new();
        zoo::write(&model, &mut bytes).expect("writing to memory");
        bytes
    }
}

/// An attribute of a node.
pub enum Attribute {
    /// One integer.
    Int(i64),
    /// Several.
    Ints(Vec<i64>),
}

fn port(name: &str, dims: &[usize]) -> ValueInfoProto {
    let extent = |&d: &usize| Dimension { value: Some(dimension::Value::DimValue(d as i64)), ..Default::default() };
    let shape = TensorShapeProto { dim: dims.iter().map(extent).collect() };
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}
