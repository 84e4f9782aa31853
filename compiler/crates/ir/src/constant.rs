//! The pool of constants, one entry for equal contents.

use crate::entity::PrimaryMap;
use crate::tensor::Tensor;
use std::collections::HashMap;

crate::entity_id! {
    /// A pooled constant.
    ConstId, "c"
}

/// A constant and the hash of its dtype, shape and contents.
#[derive(Clone, Debug)]
pub struct Constant {
    /// The elements, usually a view of the mapped model.
    pub tensor: Tensor,
    /// BLAKE3 over dtype, rank, dims and bytes.
    pub hash: [u8; 32],
}

impl Constant {
    /// The first 64 bits of the hash in hex: how the printer names a constant.
    pub fn short_hash(&self) -> String {
        self.hash[..8].iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// Content-addressed constants.
#[derive(Clone, Debug, Default)]
pub struct ConstPool {
    items: PrimaryMap<ConstId, Constant>,
    by_hash: HashMap<[u8; 32], ConstId>,
}

impl ConstPool {
    /// Adds a constant, or finds the equal one that is there already.
    pub fn add(&mut self, tensor: Tensor) -> ConstId {
        let mut h = blake3::Hasher::new();
        h.update(tensor.dtype().name().as_bytes());
        h.update(&(tensor.dims().len() as u64).to_le_bytes());
        for &d in tensor.dims() {
            h.update(&(d as u64).to_le_bytes());
        }
        h.update(tensor.bytes());
        let hash = *h.finalize().as_bytes();
        if let Some(&id) = self.by_hash.get(&hash) {
            return id;
        }
        let id = self.items.push(Constant { tensor, hash });
        self.by_hash.insert(hash, id);
        id
    }
    /// The constant behind an id of this pool.
    pub fn get(&self, id: ConstId) -> &Constant {
        &self.items[id]
    }
    /// The constant whose printed short hash is `hex`.
    pub fn find_short(&self, hex: &str) -> Option<ConstId> {
        self.items.iter().find(|(_, c)| c.short_hash() == hex).map(|(id, _)| id)
    }
    /// All constants in order of creation.
    pub fn iter(&self) -> impl Iterator<Item = (ConstId, &Constant)> {
        self.items.iter()
    }
}
