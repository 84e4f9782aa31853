//! The examples, built as their READMEs say and run on pictures.

use std::path::{Path, PathBuf};
use std::process::Command;

use image::RgbImage;
use mnnc_tests::machine::Machine;
use mnnc_tests::{app, command_line, shared, tools};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// A model with trained weights, labels and pictures with their classes; or nothing but a picture of no particular thing.
struct Case {
    model: Option<PathBuf>,
    labels: Option<PathBuf>,
    pictures: Vec<(PathBuf, Option<String>)>,
}

fn case(folder: &Path) -> Case {
    let file = |f: &str| shared::file(f);
    if let (Some(model), Some(labels), Some(classes)) = (
        file("data/models/mnv2_tv1_fp32.onnx"),
        file("data/labels/synset_words.txt"),
        file("data/imagenet_val/labels.csv"),
    ) {
        let names = std::fs::read_to_string(&labels).unwrap();
        let names: Vec<&str> = names.lines().collect();
        let classes = std::fs::read_to_string(classes).unwrap();
        let row = |line: &str| {
            let (name, class) = line.split_once(',').unwrap();
            let class: usize = class.trim().parse().unwrap();
            (shared::folder().join("data/imagenet_val/labelled").join(name), Some(names[class].to_string()))
        };
        let pictures = classes.lines().skip(1).take(10).map(row).collect();
        return Case { model: Some(model), labels: Some(labels), pictures };
    }
    let wave = |x: u32, f: f32| (f32::sin(x as f32 * f) * 120.0 + 128.0) as u8;
    let picture = RgbImage::from_fn(300, 260, |x, y| image::Rgb([wave(x, 0.05), wave(y, 0.11), wave(x + y, 0.02)]));
    let path = folder.join("picture.png");
    picture.save(&path).unwrap();
    Case { model: None, labels: None, pictures: vec![(path, None)] }
}

/// What `program` prints for each picture: percentages that fall, and labels. Returns the first label of each.
fn check(case: &Case, machine: Machine, program: &Path) -> Vec<String> {
    let mut seen = 0;
    let mut first = Vec::new();
    for (picture, class) in &case.pictures {
        let out =
            tools::run(machine.start(program).arg(picture).args(&case.labels), b"").unwrap_or_else(|e| panic!("{e}"));
        let text = String::from_utf8(out.stdout).unwrap();
        let rows: Vec<(f64, &str)> = text
            .lines()
            .map(|l| l.split_once('%').unwrap_or_else(|| panic!("{text}")))
            .map(|(p, label)| (p.trim().parse().unwrap_or_else(|_| panic!("{text}")), label.trim()))
            .collect();
        assert!(rows.len() == 5 && rows.is_sorted_by(|a, b| a.0 >= b.0) && rows[0].0 <= 100.0, "{text}");
        seen += usize::from(class.as_deref().is_none_or(|c| rows.iter().any(|(_, label)| *label == c)));
        first.push(rows[0].1.to_string());
    }
    // Nine of ten: the network's own top-5 accuracy.
    assert!(
        seen * 10 >= case.pictures.len() * 8,
        "the right class is among five for {seen} of {}",
        case.pictures.len()
    );
    first
}

fn has_stb() -> bool {
    let found = Path::new("/usr/include/stb/stb_image_resize.h").exists();
    if !found {
        eprintln!("skipped: no stb_image_resize.h (Debian's libstb-dev)");
    }
    found
}

fn make(case: &Case, build: &Path, goal: &[&str]) {
    let mut make = Command::new("make");
    make.current_dir(example("c")).args(goal).arg(format!("BUILD={}", build.display()));
    make.arg(format!("MNNC={}", command_line::mnnc().display()));
    make.args(case.model.as_ref().map(|m| format!("MODEL={}", m.display())));
    tools::run(make.env("CFLAGS", "-O1 -Wall -Wextra -Werror"), b"").unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn the_examples_agree_on_what_is_in_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    let case = case(folder.path());
    let rust = rust(&case);
    if !has_stb() || !tools::there("make") || !Machine::Host.is_there() {
        return;
    }
    let build = folder.path().join("build");
    make(&case, &build, &[]);
    let c = check(&case, Machine::Host, &build.join("top5"));
    // They scale pictures by different libraries; where two classes are close that may decide.
    let same = c.iter().zip(&rust).filter(|(a, b)| a == b).count();
    assert!(same * 10 >= c.len() * 9, "C: {c:?}\nRust: {rust:?}");
    let arm = Machine::Aarch64("cortex-a72");
    if arm.is_there() {
        make(&case, &build, &["aarch64"]);
        let few = Case { pictures: case.pictures[..2.min(case.pictures.len())].to_vec(), ..case };
        assert_eq!(check(&few, arm, &build.join("aarch64/top5")), c[..few.pictures.len()]);
    }
}

fn rust(case: &Case) -> Vec<String> {
    // Kept from run to run: it holds the picture library, not the model alone.
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/examples");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    // The workspace's own build has fetched what it needs.
    cargo.current_dir(example("rust")).args(["build", "--quiet", "--locked", "--target-dir"]).arg(&target);
    cargo.env("MNNC", command_line::mnnc());
    match &case.model {
        Some(model) => cargo.env("MODEL", model),
        None => cargo.env_remove("MODEL"),
    };
    tools::run(&mut cargo, b"").unwrap_or_else(|e| panic!("{e}"));
    check(case, Machine::Host, &target.join("debug/top5"))
}

#[test]
fn the_network_runs_on_several_threads_in_cpp() {
    if !tools::there("make") || !tools::there("c++") {
        return;
    }
    let build = tempfile::tempdir().unwrap();
    let runtime = app::runtime().unwrap_or_else(|e| panic!("{e}"));
    let mut make = Command::new("make");
    make.current_dir(example("cpp")).arg(format!("BUILD={}", build.path().display()));
    make.arg(format!("MNNC={}", command_line::mnnc().display()));
    make.arg(format!("RUNTIME={}", std::path::absolute(runtime).unwrap().display()));
    tools::run(make.env("CXXFLAGS", "-O1 -Wall -Wextra -Werror"), b"").unwrap_or_else(|e| panic!("{e}"));
    let out = tools::run(Command::new(build.path().join("threads")).arg("3"), b"").unwrap_or_else(|e| panic!("{e}"));
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.lines().count() == 3 && text.lines().all(|l| l.ends_with(" ms")), "{text}");
}
