//! Networks that are on no list: heads, decoders, mixers, odd sizes, batches, groups. Native code and the evaluator against
//! ONNX Runtime, on every vector level that this machine has.

use std::path::{Path, PathBuf};
use std::process::Command;

use mnnc::{CompileOptions, Compiler, Engine, Jit, Target};
use mnnc_tests::contract::Judge;
use mnnc_tests::{onnxruntime, tools};

fn write_models(folder: &Path) -> Vec<PathBuf> {
    let Some(python) = mnnc_tests::python() else { return Vec::new() };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/strangers.py");
    tools::run(Command::new(python).arg(script).arg(folder), b"").unwrap_or_else(|e| panic!("{e}"));
    let mut models: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    models.sort();
    assert!(models.len() > 20);
    models
}

fn check(file: &Path) -> Result<(), String> {
    let compiler = Compiler::default();
    let model = compiler.load(file).map_err(|e| e.to_string())?;
    let inputs = mnnc::inputs::all(model.graph(), 5).map_err(|e| e.to_string())?;
    let Some(authority) = onnxruntime::run(file, &inputs) else { return Ok(()) };
    let mut judge = Judge::new(model.graph(), &inputs, &authority);
    let reference = Engine::reference(model.graph()).run(&inputs).map_err(|e| e.to_string())?;
    judge.check(&reference).map_err(|e| format!("the evaluator: {e}"))?;
    for cpu in ["native", "x86-64", "x86-64-v3", "x86-64-v4"] {
        let Ok(target) = Target::parse(None, Some(cpu)) else { continue };
        if !target.runs_here() {
            continue;
        }
        let compiler = Compiler::new(CompileOptions { target: Some(target), ..Default::default() });
        let jit = compiler.lower(&model).map_err(|e| format!("{cpu}: {e}"))?;
        let jit = Jit::new(jit).map_err(|e| format!("{cpu}: {e}"))?;
        let outputs = Engine::jit(jit).run(&inputs).map_err(|e| format!("{cpu}: {e}"))?;
        judge.check(&outputs).map_err(|e| format!("{cpu}: {e}"))?;
    }
    Ok(())
}

#[test]
fn networks_on_no_list_equal_onnx_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let name = |f: &Path| f.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let models = write_models(folder.path());
    let wrong: Vec<String> =
        models.iter().filter_map(|f| check(f).err().map(|e| format!("{}: {e}", name(f)))).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), models.len(), wrong.join("\n"));
}
