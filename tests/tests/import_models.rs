//! Real networks: imported, evaluated, compared with ONNX Runtime.

use crate::common::cases::{compare, tensors};
use crate::common::wide;
use mnnc::zoo;
use mnnc_import::{ImportOptions, load};
use mnnc_ir::Graph;
use mnnc_ops::Evaluator;
use mnnc_schema::onnx::Message;
use std::path::Path;
use std::process::Command;

/// A model of the shared folder.
struct Model {
    name: &'static str,
    /// Shapes for its open sizes.
    shapes: &'static [(&'static str, &'static [u64])],
    /// Operators that it needs and that are not there yet.
    lacks: &'static [&'static str],
}

const fn fixed(name: &'static str) -> Model {
    Model { name, shapes: &[], lacks: &[] }
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

/// Others.
const OTHERS: [Model; 6] = [
    Model { name: "mnv2_tv1_static_qdq_u8", shapes: &[("input", &[1, 3, 224, 224])], lacks: &[] },
    Model { name: "silero_vad_16k_op15", shapes: &[("input", &[1, 576]), ("state", &[2, 1, 128])], lacks: &[] },
    Model { name: "stories260K_dynseq", shapes: &[("input_ids", &[1, 7])], lacks: &[] },
    Model { name: "magika_standard_v3_3", shapes: &[("bytes", &[2, 2048])], lacks: &[] },
    Model { name: "ppocr_cls", shapes: &[("x", &[1, 3, 48, 192])], lacks: &[] },
    Model { name: "dtln_1", shapes: &[], lacks: &[] },
];

/// All values of the main graph have known shapes.
fn all_static(g: &Graph) -> Result<(), String> {
    for (_, node) in g.nodes().filter(|(_, n)| n.region() == Some(g.main())) {
        for &v in node.outputs() {
            let ty = g.ty(v);
            if ty.static_dims().is_none() {
                return Err(format!("{} of {} is {}", g.value(v).name, node.name, ty.show(&g.syms)));
            }
        }
    }
    Ok(())
}

/// Evaluates and compares with ONNX Runtime; where that fails, with the model in double precision, from which ours must
/// be no further than ONNX Runtime's.
fn equals_onnx_runtime(path: &Path, g: &Graph, options: &ImportOptions) -> Result<(), String> {
    let Some(python) = mnnc_tests::python() else { return Ok(()) };
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/onnx_run.py");
    let shape = |s: &[u64]| s.iter().map(u64::to_string).collect::<Vec<_>>().join("x");
    let shapes = options.shapes.iter().map(|(n, s)| format!("{n}={}", shape(s)));
    let status = Command::new(python).arg(script).arg(path).arg(dir.path()).args(shapes).status();
    if !status.is_ok_and(|s| s.success()) {
        return Err("onnx_run.py failed".to_string());
    }
    let read = |kind| tensors(dir.path(), kind).map_err(|e| e.to_string());
    let inputs = read("input")?;
    let got = Evaluator::new(g).run(&inputs).map_err(|e| e.to_string())?;
    let expected = read("output")?;
    if got.len() != expected.len() {
        return Err(format!("{} outputs, ONNX Runtime gives {}", got.len(), expected.len()));
    }
    let mut exact = None;
    for (i, (a, b)) in got.iter().zip(&expected).enumerate() {
        let Err(why) = compare(a, b, 1e-3, 1e-4) else { continue };
        if exact.is_none() {
            let model = std::fs::read(path).map_err(|e| e.to_string())?;
            exact = Some(wide::evaluate(&model, &inputs, options)?);
        }
        let Some(e) = exact.as_ref().and_then(|e| e.get(i)) else { return Err(why) };
        let (ours, theirs) = (wide::distance(a, e), wide::distance(b, e));
        eprintln!("{}: from double precision we are {ours:.2}, ONNX Runtime {theirs:.2} tolerances", path.display());
        if ours > theirs {
            return Err(format!("output {i}: {why}; {ours} tolerances from double precision, ONNX Runtime {theirs}"));
        }
    }
    Ok(())
}

/// Imports and compares. `Err` says what is wrong.
fn check(m: &Model) -> Result<(), String> {
    let Some(path) = mnnc_tests::shared::file(&format!("data/models/{}.onnx", m.name)) else { return Ok(()) };
    let shapes = m.shapes.iter().map(|(n, s)| (n.to_string(), s.to_vec())).collect();
    let options = ImportOptions { shapes, ..Default::default() };
    let g = match load(&path, &options) {
        Ok(imported) => imported.graph,
        Err(e) => {
            let mut lacks: Vec<&str> = e.0.iter().filter_map(|d| d.op.as_deref()).collect();
            lacks.sort_unstable();
            lacks.dedup();
            return if e.exit_code() == 2 && lacks == m.lacks { Ok(()) } else { Err(e.to_string()) };
        }
    };
    if !m.lacks.is_empty() {
        return Err(format!("{:?} are there now; take them off the list", m.lacks));
    }
    all_static(&g)?;
    equals_onnx_runtime(&path, &g, &options)
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

/// A network of the zoo, written, imported with its shapes known, and compared.
fn zoo(name: &str, options: &zoo::Options) -> Result<(), String> {
    let model = zoo::build(name, options).map_err(|e| e.to_string())?;
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = dir.path().join("model.onnx");
    std::fs::write(&path, model.encode_to_vec()).map_err(|e| e.to_string())?;
    let (h, w) = options.size;
    let given = vec![("input".to_string(), vec![options.batch as u64, 3, h as u64, w as u64])];
    if options.dynamic_batch {
        let open = load(&path, &ImportOptions::default()).map_err(|e| e.to_string())?.graph;
        let output = open.ty(open.outputs()[0]).show(&open.syms);
        if output != "f32[batch, 1000]" {
            return Err(format!("with an open batch the output is {output}"));
        }
    }
    let import = ImportOptions { shapes: given, ..Default::default() };
    let g = load(&path, &import).map_err(|e| e.to_string())?.graph;
    all_static(&g)?;
    equals_onnx_runtime(&path, &g, &import)
}

#[test]
fn the_zoo_equals_onnx_runtime() {
    let size = (64, 64);
    let plain = zoo::Options { size, ..Default::default() };
    let unfolded = zoo::Options { unfolded: true, ..plain.clone() };
    let open = zoo::Options { dynamic_batch: true, batch: 2, ..unfolded.clone() };
    let mut wrong = Vec::new();
    for name in zoo::names() {
        for (kind, options) in [("folded", &plain), ("unfolded", &unfolded), ("dynamic", &open)] {
            if let Err(e) = zoo(name, options) {
                wrong.push(format!("{name} {kind}: {e}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
