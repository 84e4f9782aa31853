//! Runs `tests/filetests/**/*.mir`: a graph as text, the pipeline in the first line, the expected graph behind `// ----`.
//! The result must also compute what the graph computed. `MNNC_BLESS=1` writes what came out into the files.

use mnnc_ir::constant::ConstPool;
use mnnc_ir::parse::parse_graph;
use mnnc_ir::print::PrintOptions;
use mnnc_transform::{Hooks, Manager, Pipeline};
use std::path::{Path, PathBuf};

const RULER: &str = "// ---- becomes\n";

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|e| e == "mir") {
            out.push(path);
        }
    }
}

/// Returns the whole file as it should be.
fn run(text: &str) -> Result<String, String> {
    let head = text.split(RULER).next().unwrap_or(text);
    let pipeline = head.lines().next().and_then(|l| l.strip_prefix("// pipeline: "));
    let pipeline = pipeline.ok_or("the first line must be `// pipeline: …`")?;
    let mut g = parse_graph(head, &mnnc_ops::lookup, &ConstPool::default()).map_err(|e| e.to_string())?;
    g.verify().map_err(|e| format!("input: {e}"))?;
    let hooks = Hooks { verify: true, verify_each: true, ..Hooks::default() };
    let pipeline = Pipeline::parse(pipeline).map_err(|e| e.to_string())?;
    Manager::new(&hooks).run(&mut g, &pipeline).map_err(|e| e.to_string())?;
    let out = g.print(PrintOptions { literals: Some(16) });
    // Larger constants print as a hash, which the result's own pool resolves.
    let back = parse_graph(&out, &mnnc_ops::lookup, g.consts()).map_err(|e| format!("output: {e}\n{out}"))?;
    if back.to_text() != g.to_text() {
        return Err("the output does not read back equal".to_string());
    }
    Ok(format!("{head}{RULER}{out}"))
}

#[test]
fn filetests() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/filetests");
    let mut paths = Vec::new();
    files(&dir, &mut paths);
    paths.sort();
    assert!(!paths.is_empty());
    let bless = std::env::var_os("MNNC_BLESS").is_some();
    let mut failures = Vec::new();
    for path in &paths {
        let text = std::fs::read_to_string(path).unwrap();
        match run(&text) {
            Ok(out) if out == text => {}
            Ok(out) if bless => std::fs::write(path, out).unwrap(),
            Ok(out) => failures.push(format!("{} differs; it gives\n{out}", path.display())),
            Err(e) => failures.push(format!("{}: {e}", path.display())),
        }
    }
    assert!(failures.is_empty(), "{} of {} fail\n{}", failures.len(), paths.len(), failures.join("\n"));
}
