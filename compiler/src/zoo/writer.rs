//! A small typed writer of ONNX graphs that names things as
//! `torch.onnx.export` does.

use std::collections::HashMap;

use mnnc_schema::onnx::attribute_proto::AttributeType;
use mnnc_schema::onnx::tensor_proto::DataType;
use mnnc_schema::onnx::tensor_shape_proto::{Dimension, dimension};
use mnnc_schema::onnx::{
    AttributeProto, Bytes, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};

/// The operator set that the zoo writes.
const OPSET: i64 = 17;
/// The file format of that time.
const IR_VERSION: i64 = 8;

/// A graph under construction; nodes come out in the order of the calls.
#[derive(Default)]
pub(super) struct Writer {
    graph: GraphProto,
    /// How often each node name was given out.
    used: HashMap<String, usize>,
}

impl Writer {
    /// Appends a node with one output and returns the output's name. `module`
    /// is the dotted path of the PyTorch module that computes it.
    pub fn node(&mut self, module: &str, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let mut name = format!("{}/{op}", scope(module));
        let count = self.used.entry(name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            name = format!("{name}_{}", *count - 1);
        }
        let output = format!("{name}_output_0");
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![output.clone()],
            name,
            op_type: op.into(),
            attribute: attributes,
            ..Default::default()
        });
        output
    }

    /// A `Constant` node of integers; no dims for a scalar.
    pub fn const_i64(&mut self, module: &str, dims: &[usize], values: &[i64]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(module, tensor("", DataType::Int64, dims, raw))
    }

    /// A scalar `Constant` node.
    pub fn const_f32(&mut self, module: &str, value: f32) -> String {
        self.constant(module, tensor("", DataType::Float, &[], value.to_le_bytes().to_vec()))
    }

    fn constant(&mut self, module: &str, value: TensorProto) -> String {
        let attribute = AttributeProto {
            name: "value".into(),
            r#type: AttributeType::Tensor as i32,
            t: Some(value),
            ..Default::default()
        };
        self.node(module, "Constant", &[], vec![attribute])
    }

    /// A weight.
    pub fn initializer(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let mut raw = Vec::with_capacity(values.len() * 4);
        for value in values {
            raw.extend_from_slice(&value.to_le_bytes());
        }
        self.graph.initializer.push(tensor(name, DataType::Float, dims, raw));
        name.into()
    }

    /// The graph's input; `None` is the symbolic batch.
    pub fn input(&mut self, name: &str, dims: &[Option<usize>]) {
        self.graph.input.push(value_info(name, dims));
    }

    /// Ends the graph: the value `last` becomes its output `name`.
    pub fn finish(mut self, last: &str, name: &str, dims: &[Option<usize>]) -> ModelProto {
        for node in &mut self.graph.node {
            for value in node.output.iter_mut().chain(&mut node.input) {
                if value == last {
                    *value = name.into();
                }
            }
        }
        self.graph.output.push(value_info(name, dims));
        self.graph.name = "main_graph".into();
        ModelProto {
            ir_version: IR_VERSION,
            producer_name: "mnnc".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            ..Default::default()
        }
    }
}

/// An integer attribute.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i: Some(value), ..Default::default() }
}

/// A list of integers.
pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..Default::default()
    }
}

/// A float attribute.
pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Float as i32, f: Some(value), ..Default::default() }
}

fn tensor(name: &str, data_type: DataType, dims: &[usize], raw: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.iter().map(|&d| d as i64).collect(),
        data_type: data_type as i32,
        raw_data: Bytes::from(raw),
        ..Default::default()
    }
}

fn value_info(name: &str, dims: &[Option<usize>]) -> ValueInfoProto {
    let dim = dims.iter().map(|dim| match *dim {
        Some(extent) => dimension::Value::DimValue(extent as i64),
        None => dimension::Value::DimParam("batch".into()),
    });
    let dim = dim.map(|value| Dimension { value: Some(value), ..Default::default() }).collect();
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

/// The scope of a module as PyTorch spells it: a numbered child repeats its
/// parent's name, so `features.0.1` is `/features/features.0/features.0.1`.
fn scope(module: &str) -> String {
    let (mut scope, mut current) = (String::new(), String::new());
    for part in module.split('.').filter(|part| !part.is_empty()) {
        if part.bytes().all(|b| b.is_ascii_digit()) && !current.is_empty() {
            current = format!("{current}.{part}");
        } else {
            current = part.into();
        }
        scope = format!("{scope}/{current}");
    }
    scope
}

#[cfg(test)]
mod tests {
    use super::{Writer, scope};

    #[test]
    fn scopes() {
        assert_eq!(scope(""), "");
        assert_eq!(scope("layer1.0.conv1"), "/layer1/layer1.0/conv1");
        assert_eq!(scope("f.1.conv.0.2"), "/f/f.1/conv/conv.0/conv.0.2");
    }

    #[test]
    fn repeated_nodes_are_numbered_and_the_output_renamed() {
        let mut writer = Writer::default();
        let a = writer.node("m", "Relu", &["x"], vec![]);
        let b = writer.node("m", "Relu", &[&a], vec![]);
        assert_eq!((a.as_str(), b.as_str()), ("/m/Relu_output_0", "/m/Relu_1_output_0"));
        let graph = writer.finish(&b, "y", &[Some(1)]).graph.unwrap();
        assert_eq!(graph.node[1].output, ["y"]);
    }
}
