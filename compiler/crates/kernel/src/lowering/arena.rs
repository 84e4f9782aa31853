//! Weights: constants packed for the kernel that reads them.

use super::{Lowering, Placed, forms};
use crate::family::Wish;
use crate::schedule::{Buffer, BufferId, BufferKind};
use crate::storage::Storage;
use mnnc_ir::{DType, OpError, Tensor, ValueId};

impl Lowering<'_> {
    /// Packed weights, aligned to 64 bytes in the arena in order of first use. Equal contents are stored once.
    pub fn weights(&mut self, name: &str, bytes: Vec<u8>) -> BufferId {
        self.weight_bytes(name, &bytes)
    }

    fn weight_bytes(&mut self, name: &str, bytes: &[u8]) -> BufferId {
        let len = bytes.len();
        let at = self.schedule.weights.add(bytes);
        self.schedule.buffers.push(Buffer { name: name.to_owned(), bytes: len, kind: BufferKind::Weights(at) })
    }

    /// A constant in the form that a reader wishes. Plain, it is stored as it stands.
    pub(super) fn place_constant(&mut self, v: ValueId, t: &Tensor, wish: Wish) -> Result<Placed, OpError> {
        let name = self.graph.value(v).name.clone();
        let place = match wish {
            Wish::Any | Wish::Plain => {
                let storage = Storage::plain(t.dtype(), t.dims()).ok_or_else(forms::too_large)?;
                Placed { buffer: self.weight_bytes(&name, t.bytes()), storage }
            }
            Wish::PlainReduced => {
                let storage = Storage::plain(DType::BF16, t.dims()).ok_or_else(forms::too_large)?;
                Placed { buffer: self.weight_bytes(&name, &rounded(t)), storage }
            }
            Wish::Reduced(halo) => {
                let storage = Storage::reduced(t.dims(), self.target.lanes(), halo).ok_or_else(forms::too_large)?;
                Placed { buffer: self.weight_bytes(&name, &pack(&rounded(t), &storage)), storage }
            }
            Wish::Interleaved(halo) => {
                let storage = Storage::interleaved(t.dtype(), t.dims(), self.target.lanes(), halo)
                    .ok_or_else(forms::too_large)?;
                Placed { buffer: self.weight_bytes(&name, &pack(t.bytes(), &storage)), storage }
            }
            Wish::Blocked(halo) | Wish::Planar(halo) | Wish::Pixels(halo) | Wish::Image(halo) => {
                let block = match wish {
                    Wish::Planar(_) => 1,
                    Wish::Pixels(_) => 4,
                    _ => self.target.lanes(),
                };
                let storage = Storage::blocked(t.dtype(), t.dims(), block, halo).ok_or_else(|| {
                    OpError::unsupported(format!("a constant of shape {:?} has no blocked form", t.dims()))
                })?;
                Placed { buffer: self.weight_bytes(&name, &pack(t.bytes(), &storage)), storage }
            }
        };
        self.placed.entry(v).or_default().push(place.clone());
        Ok(place)
    }
}

/// The elements of an `f32` tensor rounded to bf16.
fn rounded(t: &Tensor) -> Vec<u8> {
    t.view::<f32>().iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect()
}

/// The bytes of a dense tensor laid out as `to` says, its border filled.
fn pack(elements: &[u8], to: &Storage) -> Vec<u8> {
    let size = to.dtype.size();
    let mut out = vec![to.halo.fill; to.bytes];
    let mut index = vec![0; to.dims.len()];
    for element in elements.chunks_exact(size) {
        let at = to.address(&index);
        out[at..at + size].copy_from_slice(element);
        for (i, &d) in index.iter_mut().zip(&to.dims).rev() {
            *i += 1;
            if *i < d {
                break;
            }
            *i = 0;
        }
    }
    out
}
