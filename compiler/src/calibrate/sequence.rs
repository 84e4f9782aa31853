//! A sample that is a folder: `input.json` says which inputs there are, and a file holds each (`NAME.txt`, or `NAME.npy`).

use std::path::Path;

use mnnc_ir::diag::Diagnostic;
use mnnc_ir::{DType, Graph, Tensor};
use serde::Deserialize;

use super::config::InputSpec;
use crate::error::Result;
use crate::npy;

/// An input of the model with its shape.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub name: String,
    pub dtype: DType,
    pub dims: Vec<usize>,
}

/// `input.json` of a sample, as MNN has it.
#[derive(Deserialize)]
struct Listing {
    inputs: Vec<InputSpec>,
}

/// The inputs of a model.
///
/// # Errors
/// An input's shape is open.
pub(super) fn ports(graph: &Graph) -> Result<Vec<Port>> {
    let port = |&v: &mnnc_ir::ValueId| {
        let value = graph.value(v);
        let dims = value.ty.static_dims().ok_or_else(|| {
            Diagnostic::usage(format!("input {} {} has no fixed shape", value.name, value.ty.show(&graph.syms)))
                .remedy("give it as width and height, or shape of inputs, in the configuration")
        })?;
        Ok(Port { name: value.name.clone(), dtype: value.ty.dtype, dims })
    };
    graph.inputs().iter().map(port).collect()
}

/// The tensor with the type and shape of the input; a missing batch of one is added.
///
/// # Errors
/// In words, if it has other elements than the input.
pub(super) fn fit(port: &Port, tensor: Tensor) -> std::result::Result<Tensor, String> {
    let same = tensor.dims() == port.dims
        || (port.dims.first() == Some(&1) && tensor.dims() == &port.dims[1..])
        || (tensor.dims().first() == Some(&1) && tensor.dims()[1..] == port.dims);
    if !same || tensor.dtype() != port.dtype {
        let (got, want) = (tensor.dtype(), port.dtype);
        return Err(format!("it is {got}{:?}, input {} takes {want}{:?}", tensor.dims(), port.name, port.dims));
    }
    tensor.reshaped(port.dims.clone()).ok_or_else(|| "it has another size than its shape".into())
}

/// All inputs of the sample in `folder`. An input without a file takes the value that `specs` or the folder's listing gives it.
///
/// # Errors
/// In words: an input is neither there nor given, or does not fit.
pub(super) fn read(folder: &Path, ports: &[Port], specs: &[InputSpec]) -> std::result::Result<Vec<Tensor>, String> {
    let listing = folder.join("input.json");
    let mut listed = Vec::new();
    if listing.exists() {
        let text = std::fs::read_to_string(&listing).map_err(|e| format!("input.json: {e}"))?;
        listed = serde_json::from_str::<Listing>(&text).map_err(|e| format!("input.json: {e}"))?.inputs;
    }
    let one = |port: &Port| {
        let npy = folder.join(format!("{}.npy", port.name));
        let txt = folder.join(format!("{}.txt", port.name));
        if npy.exists() {
            let tensor = npy::read(&npy).map_err(|e| e.to_string())?;
            return fit(port, tensor);
        }
        if txt.exists() {
            let text = std::fs::read_to_string(&txt).map_err(|e| format!("{}.txt: {e}", port.name))?;
            return numbers(port, &text);
        }
        let given = listed.iter().chain(specs).find(|s| s.name == port.name).and_then(|s| s.value);
        let value =
            given.ok_or_else(|| format!("it has neither {0}.txt nor {0}.npy, and no value is given", port.name))?;
        tensor(port, vec![value; port.dims.iter().product()])
    };
    ports.iter().map(one).collect()
}

/// Numbers between white space or commas.
fn numbers(port: &Port, text: &str) -> std::result::Result<Tensor, String> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',').filter(|w| !w.is_empty());
    let parse = |w: &str| w.parse::<f64>().map_err(|_| format!("{}.txt holds `{w}`, which is no number", port.name));
    tensor(port, words.map(parse).collect::<std::result::Result<_, _>>()?)
}

fn tensor(port: &Port, values: Vec<f64>) -> std::result::Result<Tensor, String> {
    let want: usize = port.dims.iter().product();
    if values.len() != want {
        return Err(format!("{} numbers for input {} of shape {:?}", values.len(), port.name, port.dims));
    }
    let dims = port.dims.clone();
    Ok(match port.dtype {
        DType::F32 => Tensor::new(dims, values.iter().map(|&v| v as f32).collect()),
        DType::I32 => Tensor::new(dims, values.iter().map(|&v| v as i32).collect()),
        DType::I64 => Tensor::new(dims, values.iter().map(|&v| v as i64).collect()),
        DType::U8 => Tensor::new(dims, values.iter().map(|&v| v as u8).collect()),
        DType::I8 => Tensor::new(dims, values.iter().map(|&v| v as i8).collect()),
        DType::Bool => Tensor::bools(dims, values.iter().map(|&v| v != 0.0).collect()),
        d => return Err(format!("input {} is {d}, which text cannot give", port.name)),
    })
}

#[cfg(test)]
mod tests {
    use super::{Port, fit, read};
    use mnnc_ir::{DType, Tensor};

    #[test]
    fn a_folder_gives_every_input() {
        let folder = tempfile::tempdir().unwrap();
        let ports = [
            Port { name: "x".into(), dtype: DType::F32, dims: vec![1, 2] },
            Port { name: "n".into(), dtype: DType::I64, dims: vec![3] },
        ];
        std::fs::write(folder.path().join("x.txt"), "1.5, 2\n").unwrap();
        assert!(read(folder.path(), &ports, &[]).unwrap_err().contains("n.txt"));
        let listing = r#"{"inputs":[{"name":"x","shape":[1,2]},{"name":"n","shape":[3],"value":7}]}"#;
        std::fs::write(folder.path().join("input.json"), listing).unwrap();
        let got = read(folder.path(), &ports, &[]).unwrap();
        assert_eq!((got[0].to_f64s(), got[1].to_f64s()), (vec![1.5, 2.0], vec![7.0; 3]));
        std::fs::write(folder.path().join("x.txt"), "1").unwrap();
        assert!(read(folder.path(), &ports, &[]).unwrap_err().starts_with("1 numbers"));
    }

    #[test]
    fn a_missing_batch_dimension_is_added() {
        let port = Port { name: "x".into(), dtype: DType::F32, dims: vec![1, 2] };
        assert_eq!(fit(&port, Tensor::new(vec![2], vec![1f32, 2.0])).unwrap().dims(), [1, 2]);
        assert!(fit(&port, Tensor::new(vec![3], vec![1f32, 2.0, 3.0])).is_err());
    }
}
