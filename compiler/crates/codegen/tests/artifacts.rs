//! Objects, archives and shared libraries in C programs of every kind of link, here and under emulation.

use crate::support::deviation;
use crate::support::network::network;
use mnnc_codegen::artifact::{self, Kind};
use mnnc_codegen::{Model, Options, Target};
use mnnc_ir::bytes::Bytes;
use mnnc_ir::{DType, Tensor};
use mnnc_ops::Evaluator;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, elf};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MAIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/main.c");

fn model(target: &Target) -> Model {
    let options = Options { name: "tiny".into(), source_hash: "00ff".into(), ..Options::default() };
    Model::compile(&network().0, target, &[], &options).expect("compiles")
}

/// Whether a program can be started; says so if not.
fn there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: no {program}");
    }
    found
}

fn run(mut command: Command, input: &[u8]) -> Vec<u8> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("piped").write_all(input).expect("reads its input");
    let out = child.wait_with_output().expect("ends");
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{command:?}: {}: {text}", out.status);
    assert!(text.is_empty() || text == "prob\nfeatures/erf\nk squared\n", "{text}");
    out.stdout
}

fn compile_c(cc: &str, dir: &Path, exe: &str, args: &[&str]) -> PathBuf {
    let out = dir.join(exe);
    let mut c = Command::new(cc);
    c.current_dir(dir).args(["-O1", "-Wall", "-Werror", "-DNAME=tiny", "-I.", MAIN, "-o"]).arg(&out).args(args);
    run(c, b"");
    out
}

fn feed_bytes() -> Vec<u8> {
    network().1.iter().flat_map(|t| t.bytes().to_vec()).collect()
}

fn assert_outputs(bytes: &[u8], what: &str) {
    let (g, feeds) = network();
    let want = Evaluator::new(&g).run(&feeds).expect("evaluates");
    let mut at = 0;
    for w in &want {
        let n = w.bytes().len();
        let part = Bytes::from_vec(bytes[at..at + n].to_vec());
        let got = Tensor::from_bytes(w.dtype(), w.dims().to_vec(), part).expect("fills the shape");
        let d = deviation(&got, w).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(d <= 1.0, "{what}: off by {d} tolerances");
        at += n;
    }
    assert_eq!(at, bytes.len(), "{what}");
    assert!(want.iter().any(|w| w.dtype() == DType::I64), "an integer output is checked too");
}

#[test]
fn every_kind_of_link_gives_the_right_answer() {
    if !there("cc") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let levels = if cfg!(target_arch = "x86_64") { "v1,v3,v4" } else { "neon" };
    let m = model(&Target::parse(None, Some(levels)).expect("known"));
    for (kind, file) in [(Kind::Object, "tiny.o"), (Kind::Archive, "libtiny.a"), (Kind::Shared, "libtiny.so")] {
        let files = artifact::write(&m, kind, &dir.join(file)).expect("writes");
        assert_eq!(files.len(), 3);
        assert!(files.iter().all(|f| f.exists()));
    }
    let object: &[&[&str]] = &[&["-pie"], &["-no-pie"], &["-static"]];
    for link in object {
        let args: Vec<&str> = link.iter().copied().chain(["tiny.o", "-lm", "-lpthread"]).collect();
        let exe = compile_c("cc", dir, "with_object", &args);
        assert_outputs(&run(Command::new(&exe), &feed_bytes()), &format!("{link:?}"));
        for threads in ["1", "3", "7"] {
            let mut c = Command::new(&exe);
            c.arg(threads);
            assert_outputs(&run(c, &feed_bytes()), &format!("{link:?} on {threads} threads"));
        }
    }
    let exe = compile_c("cc", dir, "with_archive", &["-L.", "-l:libtiny.a", "-lm", "-lpthread"]);
    assert_outputs(&run(Command::new(exe), &feed_bytes()), "archive");
    let exe = compile_c("cc", dir, "with_library", &["-L.", "-l:libtiny.so", "-Wl,-rpath,$ORIGIN", "-lpthread"]);
    assert_outputs(&run(Command::new(exe), &feed_bytes()), "shared library");
    // Headers stand on their own in C++ too, and agree with the runtime's.
    let text = "#include \"tiny.h\"\n#include \"mnnc.h\"\nint main() { return TINY_NUM_INPUTS - 2; }\n";
    std::fs::write(dir.join("only.cc"), text).expect("writes");
    if there("c++") {
        let mut c = Command::new("c++");
        let runtime = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../runtime-min/include");
        c.current_dir(dir).args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-I.", "-I", runtime, "-c", "only.cc"]);
        run(c, b"");
    }
}

#[test]
fn objects_need_nothing_but_the_c_library() {
    if !there("nm") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("tiny.o");
    artifact::write(&model(&Target::host()), Kind::Object, &path).expect("writes");
    let mut c = Command::new("nm");
    c.args(["-u", "-g"]).arg(&path);
    let undefined = String::from_utf8(run(c, b"")).expect("text");
    assert_eq!(undefined.trim(), "", "undefined symbols");
    let mut c = Command::new("nm");
    c.args(["-g", "--defined-only", "-f", "just-symbols"]).arg(&path);
    let mut defined: Vec<String> = String::from_utf8(run(c, b"")).expect("text").lines().map(str::to_owned).collect();
    defined.sort();
    // The first is hidden: only the linker of a shared library sees it.
    assert_eq!(defined, ["tiny.loaded", "tiny_model", "tiny_run", "tiny_run_parallel", "tiny_workspace_size"]);
}

#[test]
fn loading_a_shared_library_maps_its_weights() {
    if !there("cc") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("libtiny.so");
    artifact::write(&model(&Target::host()), Kind::Shared, &path).expect("writes");
    let data = std::fs::read(path).expect("reads");
    let header = elf::FileHeader64::<Endianness>::parse(&*data).expect("an ELF file");
    let endian = header.endian().expect("a byte order");
    let segments = header.program_headers(endian, &*data).expect("segments");
    let mut dynamic = segments.iter().filter_map(|s| s.dynamic(endian, &*data).expect("well formed")).flatten();
    assert!(dynamic.any(|d| d.tag(endian) == elf::DT_INIT), "nothing runs when it is loaded");
}

#[test]
fn equal_models_give_equal_bytes() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut kinds = vec![(Kind::Object, "o"), (Kind::Archive, "a")];
    if there("cc") {
        kinds.push((Kind::Shared, "so"));
    }
    for (kind, extension) in kinds {
        let write = |sub: &str| {
            let dir = dir.path().join(sub);
            std::fs::create_dir_all(&dir).expect("a folder");
            let files = artifact::write(&model(&Target::host()), kind, &dir.join(format!("tiny.{extension}")));
            files.expect("writes").iter().map(|f| std::fs::read(f).expect("reads")).collect::<Vec<_>>()
        };
        assert!(write("a") == write("b"), "{kind:?} differs");
    }
}

#[test]
fn a_path_that_cannot_be_written_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let e = artifact::write(&model(&Target::host()), Kind::Object, &dir.path().join("no/such/tiny.o"));
    let text = e.expect_err("no folder").to_string();
    assert!(text.contains("cannot write") && text.contains("tiny.o"), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 0);
}

#[test]
fn aarch64_objects_run_under_emulation() {
    let (cc, qemu) = ("aarch64-linux-gnu-gcc", "qemu-aarch64");
    if !there(cc) || !there(qemu) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    for cpu in ["neon", "cortex-a76", "neon,cortex-a76"] {
        let m = model(&Target::parse(Some("aarch64-linux-gnu"), Some(cpu)).expect("known"));
        artifact::write(&m, Kind::Object, &dir.join("tiny.o")).expect("writes");
        for link in ["-pie", "-static"] {
            let exe = compile_c(cc, dir, "with_object", &[link, "tiny.o", "-lm", "-lpthread"]);
            for threads in [None, Some("3")] {
                let mut c = Command::new(qemu);
                c.args(["-cpu", "max", "-L", "/usr/aarch64-linux-gnu"]).arg(&exe).args(threads);
                assert_outputs(&run(c, &feed_bytes()), &format!("{cpu} {link} {threads:?}"));
            }
        }
    }
    let m = model(&Target::parse(Some("aarch64-linux-gnu"), None).expect("known"));
    artifact::write(&m, Kind::Shared, &dir.join("libtiny.so")).expect("links");
}
