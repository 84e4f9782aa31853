//! ONNX's own backend test cases through importer and reference evaluator.
//!
//! Every case passes, or is unsupported with a reason, or stands in `onnx_suite_known.txt` with what is wrong. A case
//! listed there that passes fails the test: the list only shrinks.

use crate::common;
use crate::common::cases::{self, Case};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How a case went.
enum Outcome {
    Passed,
    Unsupported(String),
    Failed(String),
}

fn outcome(case: &Case) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| case.run())) {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(cases::Trouble::Unsupported(why))) => Outcome::Unsupported(why),
        Ok(Err(cases::Trouble::Failed(why))) => Outcome::Failed(why),
        Err(_) => Outcome::Failed("panicked".to_string()),
    }
}

/// Fewer passing cases than this mean that something got lost. Raise it as operators are added.
const AT_LEAST: usize = 1384;

#[test]
fn onnx_backend_cases() {
    let Some(folder) = common::onnx_cases() else {
        eprintln!("skipped: no Python with the package onnx");
        return;
    };
    let all = cases::collect(&folder);
    assert!(all.len() > 1000, "only {} cases in {}", all.len(), folder.display());
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                while let Some(case) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let o = outcome(case);
                    if let Ok(mut r) = results.lock() {
                        r.insert(case.name.clone(), o);
                    }
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    let results = results.into_inner().unwrap();
    let known: BTreeMap<&str, &str> = include_str!("onnx_suite_known.txt")
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|l| l.split_once(": ").expect("each line is `case: reason`"))
        .collect();
    let (mut passed, mut unsupported, mut wrong) = (0, BTreeMap::<String, usize>::new(), Vec::new());
    for (name, outcome) in &results {
        match outcome {
            Outcome::Passed => {
                passed += 1;
                if known.contains_key(name.as_str()) {
                    wrong.push(format!("{name} passes now: take it off onnx_suite_known.txt"));
                }
            }
            Outcome::Unsupported(why) => {
                *unsupported.entry(why.clone()).or_default() += 1;
                if std::env::var_os("MNNC_SUITE_VERBOSE").is_some() {
                    println!("unsupported {name}: {why}");
                }
            }
            Outcome::Failed(why) if !known.contains_key(name.as_str()) => wrong.push(format!("{name}: {why}")),
            Outcome::Failed(_) => {}
        }
    }
    for name in known.keys() {
        assert!(results.contains_key(*name), "{name} in onnx_suite_known.txt is no case");
    }
    let refused: usize = unsupported.values().sum();
    println!("{passed} passed, {refused} unsupported, {} known to fail, {} failed", known.len(), wrong.len());
    for (why, n) in &unsupported {
        println!("  {n:4} {why}");
    }
    assert!(wrong.is_empty(), "{} case(s):\n{}", wrong.len(), wrong.join("\n"));
    assert!(passed >= AT_LEAST, "{passed} cases pass, {AT_LEAST} did before");
}
