//! What a pass is.

use mnnc_ir::{Diagnostic, Graph};
use std::cell::Cell;
use std::collections::BTreeMap;

/// An option of a pass. All options are whole numbers; flags are 0 or 1.
#[derive(Copy, Clone, Debug)]
pub struct PassOption {
    /// Name, as in `fold{max-bytes=1024}`.
    pub name: &'static str,
    /// Value when it is not given.
    pub default: u64,
    /// One line of documentation.
    pub doc: &'static str,
}

/// A pass: one row of the table.
#[derive(Copy, Clone)]
pub struct Pass {
    /// Unique name, as pipelines spell it.
    pub name: &'static str,
    /// One line of documentation.
    pub doc: &'static str,
    /// Options.
    pub options: &'static [PassOption],
    /// Changes the graph and counts what it did. An error leaves the graph valid.
    pub run: fn(&mut Graph, &mut PassCx) -> Result<(), Diagnostic>,
}

/// The values of a pass's options, and what it counts.
#[derive(Clone, Debug)]
pub struct PassCx {
    options: BTreeMap<&'static str, u64>,
    counts: BTreeMap<&'static str, usize>,
    bytes_left: Cell<usize>,
}

impl PassCx {
    /// The context of one run of `pass`. `given` holds options of this pass only.
    pub fn new(pass: &Pass, given: &BTreeMap<&'static str, u64>) -> PassCx {
        let options = pass.options.iter().map(|o| (o.name, given.get(o.name).copied().unwrap_or(o.default))).collect();
        PassCx { options, counts: BTreeMap::new(), bytes_left: Cell::new(usize::MAX) }
    }
    /// The value of a declared option.
    pub fn option(&self, name: &str) -> u64 {
        debug_assert!(self.options.contains_key(name), "option {name} is not declared");
        self.options.get(name).copied().unwrap_or(0)
    }
    /// The value of an option as a size.
    pub fn size(&self, name: &str) -> usize {
        usize::try_from(self.option(name)).unwrap_or(usize::MAX)
    }
    /// Lets this run make so many times the bytes of the graph's constants, and some more: rules may replace all of them, but a hostile
    /// model does not grow without end.
    pub fn allow_bytes_of(&mut self, g: &Graph, times: usize) {
        let own: usize = g.consts().iter().map(|(_, c)| c.tensor.bytes().len()).sum();
        self.bytes_left.set(own.saturating_mul(times).saturating_add(256 << 20));
    }
    /// How many bytes of new constants may still be made.
    pub fn bytes_left(&self) -> usize {
        self.bytes_left.get()
    }
    /// Takes note of new constants.
    pub fn spend_bytes(&self, bytes: usize) {
        self.bytes_left.set(self.bytes_left.get().saturating_sub(bytes));
    }
    /// Counts one change under the name of the rule that made it.
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
    /// How often each rule changed something.
    pub fn counts(&self) -> &BTreeMap<&'static str, usize> {
        &self.counts
    }
    /// Number of changes.
    pub fn changes(&self) -> usize {
        self.counts.values().sum()
    }
}
