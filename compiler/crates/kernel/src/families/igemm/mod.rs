//! Implicit GEMM: the one register-tiled multiply that dense convolutions, 1x1 convolutions, fully connected layers and
//! matrix products share.
//!
//! A tile of output pixels times a panel of output-channel vectors is kept in registers; for every step along the
//! reduction one weight vector per channel block is loaded and one input element per pixel is broadcast. All input
//! addresses are a moving pointer plus a constant, so stride, dilation, kernel size and padding (a zero border in the input
//! buffer) cost nothing and there is no im2col. Taps of widely dilated filters that read nothing but the
//! border are left out.
//!
//! * [`spec`] says what is multiplied with what, in bytes;
//! * [`order`] is the order of the reduction, shared by the code and the packing of the weights;
//! * [`pack`] lays weights out in that order: `[panel][reduction step][blocks * lanes]`;
//! * [`operand`] is where constant weights come from, plain or compressed;
//! * [`packing`] says how a weight lies in memory: as a number, or packed, and then it is expanded in registers;
//! * [`weights_ahead`] fetches the next panel of weights while this one is used, [`input_ahead`] the input of the next channels;
//! * [`border`] says which taps read nothing but the border, and are left out, [`start`] what sums then start at;
//! * [`emit`] writes the kernel;
//! * [`tiles`] writes it for AMX.
//!
//! With bf16, what is broadcast and multiplied is a pair of channels; all else is the same.

pub mod border;
pub mod emit;
mod expand;
mod input_ahead;
pub mod operand;
pub mod order;
pub mod pack;
pub mod packing;
pub mod spec;
mod start;
pub mod tiles;
mod weights_ahead;

use mnnc_vector::{CompileError, CompiledKernel, Target};
use spec::{Number, Spec};

/// Number of units of the kernel.
pub fn units(spec: &Spec, target: &Target) -> usize {
    if tiles::takes(spec, target) { tiles::units(spec) } else { spec.units() }
}

/// Compiles the kernel.
pub fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    if tiles::takes(spec, target) { tiles::compile(spec, target, name) } else { emit::compile(spec, target, name) }
}

/// Full name of the kernel of a spec: people read its front, the hash keeps different ones apart.
pub fn name(family: &str, spec: &Spec, target: &Target) -> String {
    let [kh, kw] = spec.window.kernel;
    let [sh, sw] = spec.window.stride;
    let text = format!("{spec:?}");
    let with = match spec.number {
        Number::F32 | Number::I32 | Number::I8 => "",
        Number::U8 if tiles::takes(spec, target) => "+amx_u8",
        Number::U8 => "+u8",
        Number::Bf16 if target.has_tiles() => "+amx_bf16",
        Number::Bf16 => "+bf16",
    };
    let packing = spec.packing.to_string();
    let packing = if packing.is_empty() { packing } else { format!("_{packing}") };
    format!(
        "{family}_k{kh}x{kw}s{sh}x{sw}_c{}_b{}{packing}_{}x{}_{target}{with}_{}",
        spec.channels_in,
        spec.blocks,
        spec.out[0],
        spec.out[1],
        crate::families::fingerprint(&text)
    )
}
