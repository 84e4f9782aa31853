//! Fused attention: scores, softmax and weighted sum of one tile of queries at a time.
//!
//! The lanes of a vector are queries. A tile of queries is turned once, into `[depth][queries]`; then scores are tiles of keys
//! by queries, for which keys are broadcast from where they lie, the softmax runs over whole vectors without a
//! reduction across lanes, and the weights are broadcast again for the weighted sum of the rows of v. So neither keys nor values
//! are copied, and the scores of a tile stay in L1. Where the keys are too many for that, they are taken in blocks, with a running
//! maximum and sum (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al.,
//! "FlashAttention", 2022).
//!
//! * [`spec`] says what is computed and how it is cut;
//! * [`emit`] walks over tiles and blocks;
//! * [`scores`], [`softmax`], [`values`] are the three parts of a tile.

pub mod emit;
pub mod scores;
pub mod softmax;
pub mod spec;
pub mod values;

use crate::families::conv::compiled;
use crate::families::fingerprint;
use crate::families::sides::from_offset;
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use crate::schedule::{Access, Operand};
use mnnc_ir::{OpError, ValueId};
use mnnc_ops::family::attention::{multi_head, strided::StridedAttention};
use mnnc_vector::Target;
use spec::Spec;

/// The family.
pub struct Attention;

fn read(view: &View) -> Option<StridedAttention> {
    let anchor = view.anchor.filter(|a| a.op.name == "multi_head_attention" && view.epilogue.is_none())?;
    let facts = view.graph.facts(view.anchor_id?);
    let a = StridedAttention::read(&facts.of(anchor)).ok()?;
    let small = |v: ValueId| view.graph.ty(v).num_bytes().is_some_and(|n| n < 1 << 31);
    let fits = view.inputs.iter().flatten().chain(&view.outputs).all(|&v| small(v));
    (fits && Spec::reads(&a)).then_some(a)
}

impl Family for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn take(&self, view: &View, _: &Target) -> Option<Vec<(ValueId, Wish)>> {
        read(view)?;
        Some(view.inputs.iter().flatten().map(|&v| (v, Wish::Plain)).collect())
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let a = read(view).ok_or_else(|| OpError::unsupported("not an attention of this family"))?;
        let spec = Spec::new(&a, lo.target());
        let views = [&a.q, &a.k, &a.v].into_iter().chain(&a.masks);
        let mut operands = Vec::new();
        for (&v, m) in view.inputs.iter().flatten().zip(views) {
            operands.push(from_offset(&lo.input(v, Wish::Plain)?.read(), 4 * m.offset));
        }
        operands.push(lo.output(view.outputs[0], Forms::PLAIN)?.write());
        let bytes = spec.units() * spec.slot.bytes;
        let scratch = lo.temp("scratch", bytes);
        operands.push(Operand { buffer: scratch, offset: 0, bytes, access: Access::Write });
        let key = format!(
            "attention_{}x{}_d{}x{}_{}_{}",
            a.queries,
            a.keys,
            a.depth,
            a.width,
            lo.target(),
            fingerprint(&format!("{spec:?}"))
        );
        let kernel = lo.cached_kernel(key.clone(), |t| compiled(emit::compile(&spec, t, &key)))?;
        lo.step(kernel, operands, spec.units(), multi_head::flops(&a));
        Ok(())
    }
}
