//! Runs pipelines: verification, printing and dumping between passes, statistics.

use crate::pass::{Pass, PassCx};
use crate::pipeline::{Pipeline, Step};
use mnnc_ir::{Diagnostic, Graph};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A group stops after this many rounds even if it still changes something.
const MAX_ROUNDS: usize = 16;

/// What happens between passes.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// Print the graph to stderr after these passes; `all` means every one.
    pub print_after: Vec<String>,
    /// Write the graph after each pass to `NN-pass.mir` in this directory.
    pub dump_dir: Option<PathBuf>,
    /// Check the IR's invariants after each pass. Always on in debug builds.
    pub verify: bool,
    /// Evaluate the graph on random inputs before and after each pass that changed something, and compare.
    pub verify_each: bool,
}

/// One run of one pass.
#[derive(Clone, Debug)]
pub struct Record {
    /// The pass.
    pub pass: &'static str,
    /// How often each of its rules changed something.
    pub counts: BTreeMap<&'static str, usize>,
    /// Number of nodes of the main region before.
    pub before: usize,
    /// Number of nodes of the main region after.
    pub after: usize,
    /// Time taken by the pass alone.
    pub time: Duration,
}

impl Record {
    /// Number of changes.
    pub fn changes(&self) -> usize {
        self.counts.values().sum()
    }
}

/// What a pipeline did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every run of every pass, in order.
    pub records: Vec<Record>,
}

impl Report {
    /// Number of changes of all passes.
    pub fn changes(&self) -> usize {
        self.records.iter().map(Record::changes).sum()
    }
    /// How often a rule changed something, over all passes.
    pub fn count(&self, rule: &str) -> usize {
        self.records.iter().filter_map(|r| r.counts.get(rule)).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<24} {:>7} {:>7} {:>8} {:>9}  rules", "pass", "before", "after", "changes", "ms")?;
        for r in self.records.iter().filter(|r| r.changes() > 0) {
            let rules: Vec<String> = r.counts.iter().map(|(k, n)| format!("{k} {n}")).collect();
            let ms = r.time.as_secs_f64() * 1e3;
            writeln!(
                f,
                "{:<24} {:>7} {:>7} {:>8} {ms:>9.2}  {}",
                r.pass,
                r.before,
                r.after,
                r.changes(),
                rules.join(", ")
            )?;
        }
        Ok(())
    }
}

/// Runs passes over a graph.
pub struct Manager<'h> {
    hooks: &'h Hooks,
    report: Report,
}

impl<'h> Manager<'h> {
    /// A manager with these hooks.
    pub fn new(hooks: &'h Hooks) -> Manager<'h> {
        Manager { hooks, report: Report::default() }
    }

    /// Runs a pipeline.
    ///
    /// # Errors
    /// A pass that fails, a graph that breaks the IR's rules afterwards (an internal error), a dump that cannot be
    /// written, or with `verify_each` a pass that changes the result.
    pub fn run(mut self, g: &mut Graph, pipeline: &Pipeline) -> Result<Report, Diagnostic> {
        self.dump(g, "input")?;
        self.steps(g, &pipeline.steps)?;
        Ok(self.report)
    }

    /// Returns whether something changed.
    fn steps(&mut self, g: &mut Graph, steps: &[Step]) -> Result<bool, Diagnostic> {
        let mut changed = false;
        for step in steps {
            match step {
                Step::Pass(pass, options) => changed |= self.pass(g, pass, options)?,
                Step::Group(inner) => {
                    for _ in 0..MAX_ROUNDS {
                        if !self.steps(g, inner)? {
                            break;
                        }
                        changed = true;
                    }
                }
            }
        }
        Ok(changed)
    }

    fn pass(
        &mut self,
        g: &mut Graph,
        pass: &'static Pass,
        given: &BTreeMap<&'static str, u64>,
    ) -> Result<bool, Diagnostic> {
        let original = self.hooks.verify_each.then(|| g.clone());
        let before = g.schedule().len();
        let mut cx = PassCx::new(pass, given);
        let start = Instant::now();
        (pass.run)(g, &mut cx)?;
        let time = start.elapsed();
        if self.hooks.verify || cfg!(debug_assertions) {
            g.verify().map_err(|e| Diagnostic::internal(format!("after pass {}: {e}", pass.name)))?;
        }
        if let Some(original) = original.filter(|_| cx.changes() > 0) {
            crate::compare::same_results(&original, g, pass.name)?;
        }
        let record = Record { pass: pass.name, counts: cx.counts().clone(), before, after: g.schedule().len(), time };
        let changed = record.changes() > 0;
        self.report.records.push(record);
        if self.hooks.print_after.iter().any(|p| p == pass.name || p == "all") {
            eprintln!("// after {}\n{g}", pass.name);
        }
        self.dump(g, pass.name)?;
        Ok(changed)
    }

    fn dump(&self, g: &Graph, name: &str) -> Result<(), Diagnostic> {
        let Some(dir) = &self.hooks.dump_dir else { return Ok(()) };
        let path = dir.join(format!("{:02}-{name}.mir", self.report.records.len()));
        std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, g.to_text())).map_err(|e| {
            Diagnostic::usage(format!("cannot write the dump: {e}"))
                .file(path.display())
                .remedy("choose another --dump-phases directory")
        })
    }
}
