//! Bounds on what a model may make the importer do. A model file is hostile until checked.

/// The bounds. Every one that a model runs into is named in the error, with the option that raises it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Largest model file, and largest external data file, in bytes (`--max-model-bytes`).
    pub max_model_bytes: u64,
    /// Largest single tensor in bytes, whether stored or computed while folding (`--max-tensor-bytes`).
    pub max_tensor_bytes: u64,
    /// Most nodes, those of sub-graphs and of inlined functions included (`--max-nodes`).
    pub max_nodes: usize,
    /// Most bytes that decoding the model's messages may take, tensors' contents not counted (`--max-memory`).
    pub max_memory: u64,
    /// Deepest nesting of sub-graphs and of function calls.
    pub max_depth: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_model_bytes: 16 << 30,
            max_tensor_bytes: 8 << 30,
            max_nodes: 1 << 20,
            max_memory: 2 << 30,
            max_depth: 24,
        }
    }
}
