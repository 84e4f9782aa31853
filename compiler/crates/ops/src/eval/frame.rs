//! The values of a region under evaluation.

use mnnc_ir::{Tensor, ValueId};
use std::collections::HashMap;

/// Values of one region; what is not here is looked up in the enclosing one.
pub(super) struct Frame<'p> {
    values: HashMap<ValueId, Tensor>,
    parent: Option<&'p Frame<'p>>,
}

impl<'p> Frame<'p> {
    pub fn new(parent: Option<&'p Frame<'p>>) -> Frame<'p> {
        Frame { values: HashMap::new(), parent }
    }
    pub fn get(&self, v: ValueId) -> Option<&Tensor> {
        let mut frame = Some(self);
        while let Some(f) = frame {
            if let Some(t) = f.values.get(&v) {
                return Some(t);
            }
            frame = f.parent;
        }
        None
    }
    pub fn set(&mut self, v: ValueId, t: Tensor) {
        self.values.insert(v, t);
    }
    pub fn remove(&mut self, v: ValueId) -> Option<Tensor> {
        self.values.remove(&v)
    }
    /// Bytes of all values of this region.
    pub fn bytes(&self) -> usize {
        self.values.values().map(|t| t.bytes().len()).sum()
    }
}
