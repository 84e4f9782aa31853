//! The kernels of a schedule, no two alike.

use super::Lowering;
use crate::program::Program;
use crate::schedule::{Kernel, KernelCode, KernelId, LoopKernel};
use crate::storage::Storage;
use mnnc_ir::OpError;
use mnnc_vector::{CompiledKernel, Target};

impl Lowering<'_> {
    /// A kernel, shared with all that have the same code.
    pub fn kernel(&mut self, k: CompiledKernel, name: String) -> KernelId {
        let hash = *blake3::hash(&k.code).as_bytes();
        self.add_kernel(hash, Kernel { name, code: KernelCode::Machine(k.into()) })
    }

    /// The kernel of this full, parametrised name; generated at the first call.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn cached_kernel(
        &mut self,
        key: String,
        make: impl FnOnce(&Target) -> Result<CompiledKernel, OpError>,
    ) -> Result<KernelId, OpError> {
        if let Some(&id) = self.by_key.get(&key) {
            return Ok(id);
        }
        let k = make(self.target)?;
        let id = self.kernel(k, key.clone());
        self.by_key.insert(key, id);
        Ok(id)
    }

    /// A loop nest as a kernel, shared with equal ones.
    pub fn loop_kernel(&mut self, what: &str, k: LoopKernel) -> KernelId {
        let hash = *blake3::hash(format!("{k:?}").as_bytes()).as_bytes();
        let shape: Vec<String> = k.stage.dims.iter().map(usize::to_string).collect();
        let tag: String = hash[..3].iter().map(|b| format!("{b:02x}")).collect();
        let name = format!("generic_{what}_{}_{}_{tag}", k.stage.dtype, shape.join("x"));
        self.add_kernel(hash, Kernel { name, code: KernelCode::Loops(k.into()) })
    }

    /// A program as a kernel, shared with equal ones.
    pub(crate) fn program(&mut self, name: String, p: Program) -> KernelId {
        let hash = *blake3::hash(format!("{p:?}").as_bytes()).as_bytes();
        self.add_kernel(hash, Kernel { name, code: KernelCode::Program(p.into()) })
    }

    /// The kernel that fills the border of a blocked image. Its units are the planes.
    pub(crate) fn border_kernel(&mut self, s: &Storage) -> KernelId {
        let hash = *blake3::hash(format!("border {s:?}").as_bytes()).as_bytes();
        let shape: Vec<String> = s.dims.iter().map(usize::to_string).collect();
        let h = s.halo;
        let fill = if h.fill == 0 { String::new() } else { format!("_{}", h.fill) };
        let name =
            format!("border_{}_{}_h{}.{}.{}.{}{fill}", s.dtype, shape.join("x"), h.top, h.left, h.bottom, h.right);
        let planes = s.in_one_block().unwrap_or_else(|| s.clone());
        self.add_kernel(hash, Kernel { name, code: KernelCode::Border(planes.into()) })
    }

    fn add_kernel(&mut self, hash: [u8; 32], k: Kernel) -> KernelId {
        *self.by_code.entry(hash).or_insert_with(|| self.schedule.kernels.push(k))
    }
}
