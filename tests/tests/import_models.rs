//! Real networks: imported, evaluated, compared with ONNX Runtime.

mod common;

use common::cases::{compare, tensors};
use mnnc_import::{ImportOptions, load};
use mnnc_ops::Evaluator;
use std::process::Command;

/// A model of the shared folder with the shapes given to its open sizes.
struct Model {
    name: &'static str,
    shapes: &'static [(&'static str, &'static [u64])],
}

const fn fixed(name: &'static str) -> Model {
    Model { name, shapes: &[] }
}

/// Those of which every shape is known without help.
const NINE: [Model; 9] = [
    fixed("mnv2_tv1_fp32"),
    fixed("squeezenet1.1_fp32"),
    fixed("yolox_nano_224"),
    fixed("ultraface_rfb320"),
    fixed("mediapipe_face_landmark"),
    fixed("sinet_softmax"),
    fixed("style_starry_night"),
    fixed("vit_tracker"),
    fixed("mnist"),
];

/// Others, with shapes for their open sizes.
const OTHERS: [Model; 6] = [
    Model { name: "mnv2_tv1_static_qdq_u8", shapes: &[("input", &[1, 3, 224, 224])] },
    Model { name: "silero_vad_16k_op15", shapes: &[("input", &[1, 576]), ("state", &[2, 1, 128])] },
    Model { name: "stories260K_dynseq", shapes: &[("input_ids", &[1, 7])] },
    Model { name: "magika_standard_v3_3", shapes: &[("bytes", &[2, 2048])] },
    Model { name: "ppocr_cls", shapes: &[("x", &[1, 3, 48, 192])] },
    fixed("dtln_1"),
];

/// Imports and compares. `Err` says what is wrong.
fn check(m: &Model) -> Result<(), String> {
    let Some(path) = mnnc_tests::shared::file(&format!("data/models/{}.onnx", m.name)) else { return Ok(()) };
    let shapes = m.shapes.iter().map(|(n, s)| (n.to_string(), s.to_vec())).collect();
    let imported = load(&path, &ImportOptions { shapes, ..Default::default() }).map_err(|e| e.to_string())?;
    let g = imported.graph;
    for (_, node) in g.nodes().filter(|(_, n)| n.region().is_some()) {
        for &v in node.outputs() {
            let ty = g.ty(v);
            let inside = node.region() != Some(g.main());
            if ty.static_dims().is_none() && !inside {
                return Err(format!("{} of {} is {}", g.value(v).name, node.name, ty.show(&g.syms)));
            }
        }
    }
    let Some(python) = mnnc_tests::python() else { return Ok(()) };
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("python/onnx_run.py");
    let shapes =
        m.shapes.iter().map(|(n, s)| format!("{n}={}", s.iter().map(u64::to_string).collect::<Vec<_>>().join("x")));
    let status = Command::new(python).arg(script).arg(&path).arg(dir.path()).args(shapes).status();
    if !status.is_ok_and(|s| s.success()) {
        return Err("onnx_run.py failed".to_string());
    }
    let read = |kind| tensors(dir.path(), kind).map_err(|e| e.to_string());
    let got = Evaluator::new(&g).run(&read("input")?).map_err(|e| e.to_string())?;
    let expected = read("output")?;
    if got.len() != expected.len() {
        return Err(format!("{} outputs, ONNX Runtime gives {}", got.len(), expected.len()));
    }
    for (i, (a, b)) in got.iter().zip(&expected).enumerate() {
        compare(a, b, 1e-3, 1e-4).map_err(|e| format!("output {i}: {e}"))?;
    }
    Ok(())
}

fn check_all(models: &[Model]) {
    let wrong: Vec<String> = models.iter().filter_map(|m| check(m).err().map(|e| format!("{}: {e}", m.name))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_nine_equal_onnx_runtime() {
    check_all(&NINE);
}

#[test]
fn others_equal_onnx_runtime() {
    check_all(&OTHERS);
}
