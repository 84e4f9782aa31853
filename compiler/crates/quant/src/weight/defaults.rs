//! What a few options mean for each op of a graph.

use mnnc_ir::Graph;

use super::policy::{Entry, Method, Policy, ScaleType, Scheme};
use super::site::{Kind, Site, sites};

/// Weights fewer than this stay in `f32`: what describes a compressed weight would outweigh it.
const SMALL: usize = 256;
/// What blocks are multiples of when the block asked for does not divide the input channels: what MNN and vector units take.
const BLOCK_STEP: usize = 16;
/// Bits that layers get which suffer most from few.
const SAFE_BITS: u8 = 8;

/// How weights are compressed, said once for the whole model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Bits a weight: 16, or 2 to 8.
    pub bits: u8,
    /// Input channels that share a scale; 0 for all of an output channel.
    pub block: usize,
    /// Whether zero points are 0.
    pub symmetric: bool,
    /// How scales are stored; half precision for blocks, single for channels, when `None`.
    pub scales: Option<ScaleType>,
    /// How integers are chosen.
    pub method: Method,
    /// Whether depthwise convolutions and the first one get fewer than 8 bits, too.
    pub force: bool,
}

impl Options {
    /// So many bits, all else as usual.
    pub fn bits(bits: u8) -> Options {
        Options { bits, block: 0, symmetric: true, scales: None, method: Method::default(), force: false }
    }
    /// The same in blocks.
    pub fn block(self, block: usize) -> Options {
        Options { block, ..self }
    }

    /// What a weight becomes:
    ///
    /// * fewer than 256 elements stay as they are;
    /// * depthwise convolutions and the first convolution get 8 bits and a scale for each channel when fewer bits are asked for, unless
    ///   forced: they hold few weights and lose most;
    /// * a block that does not divide the input channels is replaced by the largest smaller multiple of 16 that does, else by one scale for
    ///   each output channel; so is a block that holds all of them.
    pub fn scheme(&self, site: &Site) -> Scheme {
        if site.len() < SMALL {
            return Scheme::FLOAT;
        }
        if self.bits == 16 {
            return Scheme::HALF;
        }
        let delicate = site.kind == Kind::Depthwise || site.first;
        let safe = delicate && self.bits < SAFE_BITS && !self.force;
        let block = if safe { 0 } else { fitting(site.inputs, self.block) };
        let by_use = if block > 0 { ScaleType::Fp16 } else { ScaleType::Fp32 };
        Scheme {
            bits: if safe { SAFE_BITS } else { self.bits },
            symmetric: self.symmetric,
            block,
            scales: self.scales.unwrap_or(by_use),
            method: self.method,
        }
    }

    /// A policy that lists every op that can be compressed.
    pub fn policy(&self, g: &Graph) -> Policy {
        Policy { ops: sites(g).iter().map(|site| Entry::new(site, self.scheme(site))).collect() }
    }
}

impl Options {
    /// A policy that treats every op alike, as MNN's converter does: all get the bits, and the block where it is a multiple of 16 that divides the input
    /// channels.
    pub fn uniform(&self, g: &Graph) -> Policy {
        let fits = |site: &Site| {
            self.block > 0 && self.block.is_multiple_of(BLOCK_STEP) && site.inputs.is_multiple_of(self.block)
        };
        let entry = |site: Site| {
            let block = if fits(&site) { self.block } else { 0 };
            Entry::new(&site, Options { block, force: true, ..self.clone() }.scheme(&site))
        };
        Policy { ops: sites(g).into_iter().map(entry).collect() }
    }
}

/// The block to use for so many inputs where `wanted` is asked for.
fn fitting(inputs: usize, wanted: usize) -> usize {
    if wanted == 0 || wanted >= inputs {
        return 0;
    }
    if inputs.is_multiple_of(wanted) {
        return wanted;
    }
    (BLOCK_STEP..wanted).rev().filter(|b| b % BLOCK_STEP == 0).find(|b| inputs.is_multiple_of(*b)).unwrap_or(0)
}
