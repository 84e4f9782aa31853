//! Broken models, each built by code; what the importer must say to each stands in `tests/broken/NAME.txt`.

use super::build::*;
use mnnc_schema::onnx::tensor_proto::{DataLocation, DataType};
use mnnc_schema::onnx::{
    Bytes, FunctionProto, Message, ModelProto, OperatorSetIdProto, SparseTensorProto, StringStringEntryProto,
    TensorProto,
};
use std::fs;
use std::path::{Path, PathBuf};

/// Writes a case's files into the empty folder `.0` and returns the path of the model.
pub type Build = fn(&Path) -> PathBuf;

fn put(dir: &Path, bytes: &[u8]) -> PathBuf {
    let path = dir.join("model.onnx");
    fs::write(&path, bytes).unwrap();
    path
}

fn save(dir: &Path, m: &ModelProto) -> PathBuf {
    put(dir, &m.encode_to_vec())
}

/// `x * w` with the given tensor as `w`.
fn scaled(dir: &Path, w: TensorProto) -> PathBuf {
    save(dir, &single(node("Mul", &["x", "w"], &["y"]), vec![w]))
}

/// `x` quantised by scales of this shape.
fn quantised(dir: &Path, dims: &[i64], scale: f32) -> PathBuf {
    let n = dims.iter().product::<i64>() as usize;
    let scales = floats("s", dims, &vec![scale; n]);
    save(dir, &single(node("QuantizeLinear", &["x", "s"], &["y"]), vec![scales]))
}

fn external(location: &str, offset: &str, length: &str) -> TensorProto {
    let entry = |k: &str, v: &str| StringStringEntryProto { key: k.to_string(), value: v.to_string() };
    let mut t = floats("w", &[1, 3, 8, 8], &[]);
    t.data_location = DataLocation::External as i32;
    t.external_data.push(entry("location", location));
    for (k, v) in [("offset", offset), ("length", length)] {
        if !v.is_empty() {
            t.external_data.push(entry(k, v));
        }
    }
    t
}

fn opset(version: i64) -> Vec<OperatorSetIdProto> {
    vec![OperatorSetIdProto { domain: String::new(), version }]
}

/// All cases.
pub const CASES: &[(&str, Build)] = &[
    ("missing_file", |d| d.join("model.onnx")),
    ("folder", |d| d.to_path_buf()),
    ("empty_file", |d| put(d, b"")),
    ("text_file", |d| put(d, b"Dear model,\n\nI am a letter.\n")),
    ("web_page", |d| put(d, b"<!DOCTYPE html><html>404</html>")),
    ("lfs_pointer", |d| put(d, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")),
    ("noise", |d| put(d, &(0..4096u32).map(|i| (i.wrapping_mul(2654435761) >> 13) as u8).collect::<Vec<_>>())),
    ("tflite_file", |d| put(d, b"\x1c\0\0\0TFL3\0\0\0\0")),
    ("truncated_in_header", |d| put(d, &network()[..5])),
    ("truncated_in_graph", |d| put(d, &network()[..300])),
    ("truncated_in_weights", |d| put(d, &network()[..1500])),
    ("no_graph", |d| {
        let m = ModelProto { graph: None, ..single(node("Relu", &["x"], &["y"]), vec![]) };
        save(d, &m)
    }),
    ("no_outputs", |d| save(d, &model(vec![node("Relu", &["x"], &["y"])], vec![], vec![float("x", &[1])], vec![]))),
    ("no_opset", |d| save(d, &ModelProto { opset_import: vec![], ..single(node("Relu", &["x"], &["y"]), vec![]) })),
    ("opset_too_old", |d| {
        save(d, &ModelProto { opset_import: opset(3), ..single(node("Relu", &["x"], &["y"]), vec![]) })
    }),
    ("opset_too_new", |d| {
        save(d, &ModelProto { opset_import: opset(1000), ..single(node("Relu", &["x"], &["y"]), vec![]) })
    }),
    ("cyclic_graph", |d| {
        let nodes = vec![node("Add", &["x", "c"], &["a"]), node("Relu", &["a"], &["b"]), node("Neg", &["b"], &["c"])];
        save(d, &model(nodes, vec![], vec![float("x", &[4])], vec![float("b", &[4])]))
    }),
    ("undefined_input", |d| save(d, &single(node("Add", &["x", "ghost"], &["y"]), vec![]))),
    ("undefined_output", |d| {
        save(d, &model(vec![node("Relu", &["x"], &["z"])], vec![], vec![float("x", &[1])], vec![float("y", &[1])]))
    }),
    ("value_defined_twice", |d| {
        let nodes = vec![node("Relu", &["x"], &["y"]), node("Neg", &["x"], &["y"])];
        save(d, &model(nodes, vec![], vec![float("x", &[1])], vec![float("y", &[1])]))
    }),
    ("initializer_too_short", |d| scaled(d, floats("w", &[1, 3, 8, 8], &[1.0; 191]))),
    ("initializer_without_data", |d| scaled(d, floats("w", &[1, 3, 8, 8], &[]))),
    ("initializer_negative_dims", |d| scaled(d, floats("w", &[1, -3, 8, 8], &[1.0]))),
    ("initializer_huge_dims", |d| scaled(d, floats("w", &[1 << 40, 1 << 40], &[1.0]))),
    ("initializer_wrapping_dims", |d| scaled(d, floats("w", &[1 << 32, 1 << 32, 4], &[]))),
    ("initializer_unknown_type", |d| scaled(d, TensorProto { data_type: 77, ..floats("w", &[1], &[1.0]) })),
    ("initializer_of_strings", |d| {
        let string_data = vec![Bytes::from_static(b"hello")];
        scaled(
            d,
            TensorProto {
                data_type: DataType::String as i32,
                string_data,
                dims: vec![1],
                name: "w".into(),
                ..Default::default()
            },
        )
    }),
    ("initializer_sparse", |d| {
        let mut m = single(node("Mul", &["x", "w"], &["y"]), vec![]);
        let values = Some(floats("w", &[1], &[1.0]));
        m.graph.as_mut().unwrap().sparse_initializer.push(SparseTensorProto {
            values,
            indices: Some(longs("", &[0])),
            dims: vec![8],
        });
        save(d, &m)
    }),
    ("input_huge_dims", |d| {
        let x = float("x", &[i64::MAX, i64::MAX]);
        save(d, &model(vec![node("Relu", &["x"], &["y"])], vec![], vec![x], vec![float("y", &[-1, -1])]))
    }),
    ("input_of_unknown_rank", |d| {
        let mut m = single(node("Relu", &["x"], &["y"]), vec![]);
        if let Some(mnnc_schema::onnx::type_proto::Value::TensorType(t)) =
            m.graph.as_mut().unwrap().input[0].r#type.as_mut().and_then(|t| t.value.as_mut())
        {
            t.shape = None;
        }
        save(d, &m)
    }),
    ("tensor_too_large", |d| {
        let nodes = vec![node("Expand", &["x", "big"], &["y"])];
        save(
            d,
            &model(
                nodes,
                vec![longs("big", &[1 << 20, 1 << 20, 1 << 10])],
                vec![float("x", &[1])],
                vec![float("y", &[-1, -1, -1])],
            ),
        )
    }),
    ("external_parent_folder", |d| scaled(d, external("../weights.bin", "", ""))),
    ("external_absolute_path", |d| scaled(d, external("/etc/hostname", "", ""))),
    ("external_missing_file", |d| scaled(d, external("weights.bin", "", ""))),
    ("external_short_file", |d| {
        fs::write(d.join("weights.bin"), [0u8; 100]).unwrap();
        scaled(d, external("weights.bin", "0", "768"))
    }),
    ("external_offset_behind_end", |d| {
        fs::write(d.join("weights.bin"), [0u8; 768]).unwrap();
        scaled(d, external("weights.bin", "18446744073709551615", "768"))
    }),
    ("external_wrong_length", |d| {
        fs::write(d.join("weights.bin"), [0u8; 768]).unwrap();
        scaled(d, external("weights.bin", "0", "4"))
    }),
    ("external_symlink", |d| {
        fs::write(d.join("real.bin"), [0u8; 768]).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(d.join("real.bin"), d.join("weights.bin")).unwrap();
        scaled(d, external("weights.bin", "", ""))
    }),
    ("unknown_op", |d| save(d, &single(node("Frobnicate", &["x"], &["y"]), vec![]))),
    ("unknown_domain", |d| {
        let mut m = single(node("Relu", &["x"], &["y"]), vec![]);
        m.graph.as_mut().unwrap().node[0].domain = "org.example".into();
        m.opset_import.push(OperatorSetIdProto { domain: "org.example".into(), version: 1 });
        save(d, &m)
    }),
    ("several_unsupported", |d| {
        let nodes = vec![
            node("Frobnicate", &["x"], &["a"]),
            node("Relu", &["a"], &["b"]),
            node("Twiddle", &["b", "x"], &["c"]),
            node("Add", &["b", "c"], &["y"]),
        ];
        save(d, &model(nodes, vec![], vec![float("x", &[1, 3])], vec![float("y", &[1, 3])]))
    }),
    ("attribute_of_wrong_type", |d| {
        save(d, &single(with(node("Softmax", &["x"], &["y"]), vec![text("axis", "last")]), vec![]))
    }),
    ("attribute_out_of_range", |d| {
        save(d, &single(with(node("Softmax", &["x"], &["y"]), vec![int("axis", 9)]), vec![]))
    }),
    ("operands_do_not_fit", |d| save(d, &single(node("Add", &["x", "w"], &["y"]), vec![floats("w", &[7], &[0.0; 7])]))),
    ("scale_zero", |d| quantised(d, &[], 0.0)),
    ("scale_negative", |d| quantised(d, &[3], -0.5)),
    ("scale_nan", |d| quantised(d, &[], f32::NAN)),
    ("scale_of_wrong_shape", |d| quantised(d, &[7], 0.5)),
    ("operands_missing", |d| save(d, &single(node("Add", &["x"], &["y"]), vec![]))),
    ("type_is_a_lie", |d| {
        let nodes = vec![node("Relu", &["x"], &["y"])];
        save(d, &model(nodes, vec![], vec![float("x", &[4])], vec![value("y", DataType::Int64, &[4])]))
    }),
    ("function_calls_itself", |d| {
        let mut call = node("Again", &["x"], &["y"]);
        call.domain = "local".into();
        let f = FunctionProto {
            name: "Again".into(),
            domain: "local".into(),
            input: vec!["x".into()],
            output: vec!["y".into()],
            node: vec![call.clone()],
            opset_import: opset(17),
            ..Default::default()
        };
        let mut m = single(call, vec![]);
        m.functions.push(f);
        m.opset_import.push(OperatorSetIdProto { domain: "local".into(), version: 1 });
        save(d, &m)
    }),
];
