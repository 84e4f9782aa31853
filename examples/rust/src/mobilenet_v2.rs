//! The compiled network behind a safe function.

use std::ffi::{c_int, c_void};

// What `mobilenet_v2.h` declares.
unsafe extern "C" {
    fn mobilenet_v2_workspace_size() -> usize;
    fn mobilenet_v2_run(inputs: *const *const c_void, outputs: *const *mut c_void, workspace: *mut c_void) -> c_int;
}

/// Side of the picture in pixels.
pub const SIDE: usize = 224;
/// Number of classes.
pub const CLASSES: usize = 1000;

/// 64 bytes, aligned as workspaces are.
#[repr(C, align(64))]
#[derive(Clone)]
struct Line([u8; 64]);

/// The network with memory to work in.
pub struct MobileNetV2 {
    workspace: Vec<Line>,
}

impl MobileNetV2 {
    /// Allocates the workspace, once for any number of pictures.
    pub fn new() -> Self {
        // SAFETY: the function takes nothing and returns a constant.
        let bytes = unsafe { mobilenet_v2_workspace_size() };
        MobileNetV2 { workspace: vec![Line([0; 64]); bytes.div_ceil(64)] }
    }

    /// The logits of a picture, colour planes of `SIDE` by `SIDE`. `None` if the processor lacks what the network was
    /// compiled for.
    pub fn run(&mut self, picture: &[f32; 3 * SIDE * SIDE]) -> Option<[f32; CLASSES]> {
        let mut logits = [0.0; CLASSES];
        let inputs = [picture.as_ptr().cast()];
        let outputs = [logits.as_mut_ptr().cast()];
        // SAFETY: input, output and workspace have the sizes and alignment that the header asks for, and nobody else
        // uses them during the call.
        let result = unsafe { mobilenet_v2_run(inputs.as_ptr(), outputs.as_ptr(), self.workspace.as_mut_ptr().cast()) };
        (result == 0).then_some(logits)
    }
}
