//! A model recomputed in double precision: what networks are held against where single precision alone moves the result
//! by more than the tolerance.

use mnnc_import::{ImportOptions, load_onnx_bytes};
use mnnc_ir::{DType, Tensor};
use mnnc_ops::Evaluator;
use mnnc_schema::onnx::tensor_proto::DataType;
use mnnc_schema::onnx::type_proto::Value;
use mnnc_schema::onnx::{GraphProto, Message, ModelProto, TensorProto, ValueInfoProto};

fn tensor(t: &mut TensorProto) {
    if t.data_type != DataType::Float as i32 {
        return;
    }
    let raw = t.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    t.double_data = raw.chain(t.float_data.iter().copied()).map(f64::from).collect();
    t.raw_data = Default::default();
    t.float_data.clear();
    t.data_type = DataType::Double as i32;
}

fn value(v: &mut ValueInfoProto) {
    if let Some(Value::TensorType(t)) = v.r#type.as_mut().and_then(|t| t.value.as_mut())
        && t.elem_type == DataType::Float as i32
    {
        t.elem_type = DataType::Double as i32;
    }
}

fn graph(g: &mut GraphProto) {
    g.value_info.clear();
    g.initializer.iter_mut().for_each(tensor);
    g.input.iter_mut().chain(&mut g.output).for_each(value);
    for n in &mut g.node {
        for a in &mut n.attribute {
            a.t.iter_mut().for_each(tensor);
            a.g.iter_mut().for_each(graph);
            if n.op_type == "Cast" && a.name == "to" && a.i == Some(DataType::Float as i64) {
                a.i = Some(DataType::Double as i64);
            }
        }
    }
}

/// The outputs of the model in double precision.
pub fn evaluate(model: &[u8], inputs: &[Tensor], options: &ImportOptions) -> Result<Vec<Tensor>, String> {
    let mut m = ModelProto::decode(model).map_err(|e| e.to_string())?;
    m.graph.iter_mut().for_each(graph);
    let g = load_onnx_bytes(m.encode_to_vec(), options).map_err(|e| e.to_string())?.graph;
    let inputs: Vec<Tensor> = inputs
        .iter()
        .map(|t| match t.dtype() {
            DType::F32 => Tensor::new(t.dims(), t.to_f64s()),
            _ => t.clone(),
        })
        .collect();
    Evaluator::new(&g).run(&inputs).map_err(|e| e.to_string())
}

/// The largest difference, in units of the tolerance `1e-4 + 1e-3 * |exact|`.
pub fn distance(got: &Tensor, exact: &Tensor) -> f64 {
    let pairs = got.to_f64s().into_iter().zip(exact.to_f64s());
    pairs.map(|(g, e)| (g - e).abs() / (1e-4 + 1e-3 * e.abs())).fold(0.0, f64::max)
}
