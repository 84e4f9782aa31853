//! A model to a file, tensor by tensor: a second copy of all weights at once,
//! as encoding the whole message would need, is avoided.

use std::io;

use mnnc_schema::onnx::{GraphProto, Message, ModelProto};

const MODEL_GRAPH: u64 = 7;
const GRAPH_INITIALIZER: u64 = 5;

/// Writes `model` in the ONNX wire format. The same model gives the same bytes.
///
/// # Errors
/// Those of `out`.
pub fn write(model: &ModelProto, out: &mut impl io::Write) -> io::Result<()> {
    let shell = ModelProto { graph: None, ..model.clone() };
    out.write_all(&shell.encode_to_vec())?;
    let Some(graph) = &model.graph else {
        return Ok(());
    };
    // `encoded_len` walks the graph without encoding it.
    write_header(out, MODEL_GRAPH, graph.encoded_len())?;
    for tensor in &graph.initializer {
        write_header(out, GRAPH_INITIALIZER, tensor.encoded_len())?;
        out.write_all(&tensor.encode_to_vec())?;
    }
    let rest = GraphProto { initializer: Vec::new(), ..graph.clone() };
    out.write_all(&rest.encode_to_vec())
}

/// Tag and length of a length-delimited field.
fn write_header(out: &mut impl io::Write, field: u64, length: usize) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(20);
    prost::encoding::encode_varint(field << 3 | 2, &mut bytes);
    prost::encoding::encode_varint(length as u64, &mut bytes);
    out.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use mnnc_schema::onnx::{Message, ModelProto};

    #[test]
    fn reads_back_equal() {
        let options = crate::zoo::Options { size: (32, 32), ..Default::default() };
        let model = crate::zoo::build("squeezenet1_1", &options).unwrap();
        let mut file = Vec::new();
        super::write(&model, &mut file).unwrap();
        assert_eq!(file.len(), model.encoded_len());
        assert!(ModelProto::decode(&file[..]).unwrap() == model);
    }
}
