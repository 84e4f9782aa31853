//! The intermediate representation of mnnc.
//!
//! Graph level: SSA values over tensors ([`graph`]), typed by element type, possibly symbolic shape, layout and
//! quantisation ([`types`]), constants hashed by content and mapped from the model file ([`constant`], [`bytes`]).
//! An op is a [`decl::OpDecl`]; this crate knows what a declaration is, crate `mnnc-ops` holds them.
//! What an op computes is said in a small scalar language ([`scalar`]) and, for more than element-wise ops, as loop nests
//! over it ([`compute`]).
//!
//! This crate knows no frontend and no target.

pub mod attr;
pub mod bytes;
pub mod compute;
pub mod constant;
pub mod decl;
pub mod diag;
pub mod dim;
pub mod dtype;
pub mod entity;
pub mod graph;
mod order;
pub mod parse;
pub mod patch;
pub mod print;
pub mod scalar;
pub mod tensor;
mod text;
pub mod types;
pub mod verify;

pub use attr::{Attr, AttrDefault, AttrKind, Attrs};
pub use decl::{AttrDecl, OpCtx, OpDecl, OpError, Operand, RegionSig, Traits};
pub use diag::{Diagnostic, Diagnostics};
pub use dim::{Dim, SymTable};
pub use dtype::{DType, DTypeSet};
pub use graph::{Def, Graph, Node, NodeId, NodeSpec, RegionId, Value, ValueId};
pub use patch::{Patch, PatchError, Plan};
pub use tensor::{Element, Tensor};
pub use types::{Dims, Layout, Quant, TensorType};
