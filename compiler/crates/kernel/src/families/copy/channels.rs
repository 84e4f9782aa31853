//! Copies that permute the channels of blocked images of bytes: concatenation and slices that cut blocks, channel shuffles.
//!
//! A block of channels of a pixel lies within a 128-bit part of a vector, several of them where it is short. So bytes move in parts only: a
//! block of the result is the union of permuted blocks of the sources.

use super::moves::{Axis, From, Move};
use crate::families::fingerprint;
use crate::families::walk::{advance, bump};
use crate::storage::Storage;
use mnnc_vector::{CompileError, CompiledKernel, Gpr, KernelBuilder, Target, Var, Vector};

/// Bytes of a part.
const PART: usize = 16;
/// Most blocks of sources that the blocks of a result may take in all.
const MOST: usize = 256;

/// A block of a source, and where its bytes go.
#[derive(Clone, PartialEq, Debug)]
struct Pick {
    source: usize,
    block: usize,
    /// The byte that becomes each byte of a part; the high bit where none does.
    bytes: [u8; PART],
}

/// Byte strides of an image: from image to image, block to block, row to row, pixel to pixel.
#[derive(Copy, Clone, PartialEq, Debug)]
struct Steps([usize; 4]);

impl Steps {
    fn of(s: &Storage) -> Steps {
        Steps([s.strides[0], s.strides[1], s.strides[2], s.strides[3]])
    }
}

/// What the kernel does. Arguments: sources, result, at their elements 0. Units are the rows of all images.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    images: usize,
    rows: usize,
    cols: usize,
    sources: Vec<Steps>,
    result: Steps,
    /// For each block of the result.
    blocks: Vec<Vec<Pick>>,
}

impl Spec {
    /// The moves from `sources`, numbered as the inputs of the op are, that make up an image. `None` if they do anything but permute channels
    /// between blocked images.
    pub fn of(moves: &[Move], sources: &[Option<Storage>], to: &Storage) -> Option<Spec> {
        let block = to.block.filter(|&b| to.dtype.size() == 1 && PART.is_multiple_of(b) && b >= 4)?;
        let &[images, channels, rows, cols] = &to.dims[..] else { return None };
        let mut blocks: Vec<Vec<Pick>> = vec![Vec::new(); channels.div_ceil(block)];
        let mut used: Vec<usize> = Vec::new();
        for m in moves {
            let From::Input(i) = m.from else { return None };
            let from = sources.get(i)?.as_ref().filter(|s| s.block == Some(block))?;
            let [n, c, h, w] = &m.axes[..] else { return None };
            let still = |a: &Axis, d: usize, extent: usize| {
                let same = a.pairs.len() == extent && a.pairs.iter().all(|p| p.0 == p.1);
                same && (a.dim == Some(d) || (extent == 1 && m.base.get(d) == Some(&0)))
            };
            let spatial = still(n, 0, images) && still(h, 2, rows) && still(w, 3, cols);
            if !spatial || from.dims[2..] != to.dims[2..] || (c.dim != Some(1) && c.pairs.len() != 1) {
                return None;
            }
            let source = used.iter().position(|&u| u == i).unwrap_or_else(|| {
                used.push(i);
                used.len() - 1
            });
            for &(dst, src) in &c.pairs {
                let src = if c.dim == Some(1) { src } else { *m.base.get(1)? };
                let picks = &mut blocks[dst / block];
                let at = picks.iter().position(|p| (p.source, p.block) == (source, src / block));
                let at = at.unwrap_or_else(|| {
                    picks.push(Pick { source, block: src / block, bytes: [0x80; PART] });
                    picks.len() - 1
                });
                for pixel in (0..PART).step_by(block) {
                    picks[at].bytes[pixel + dst % block] = (pixel + src % block) as u8;
                }
            }
        }
        let picks = blocks.iter().map(Vec::len).sum::<usize>();
        let sources = used.iter().map(|&i| sources[i].as_ref().map(Steps::of)).collect::<Option<_>>()?;
        let whole = blocks.iter().all(|b| !b.is_empty()) && picks <= MOST;
        whole.then_some(Spec { images, rows, cols, sources, result: Steps::of(to), blocks })
    }

    /// The inputs of the op that are the arguments, in order.
    pub fn inputs(moves: &[Move]) -> Vec<usize> {
        let mut used = Vec::new();
        for m in moves {
            if let From::Input(i) = m.from
                && !used.contains(&i)
            {
                used.push(i);
            }
        }
        used
    }

    /// Number of units.
    pub fn units(&self) -> usize {
        self.images * self.rows
    }

    /// Full name of the kernel.
    pub fn name(&self, target: &Target) -> String {
        format!("copy_channels_{target}_{}", fingerprint(&format!("{self:?}")))
    }

    /// The kernel.
    ///
    /// # Errors
    /// If it does not compile.
    pub fn compile(&self, target: &Target) -> Result<CompiledKernel, CompileError> {
        let mut b = KernelBuilder::new(target, &self.name(target));
        let sources: Vec<Gpr> = (0..self.sources.len()).map(|i| b.arg(i)).collect();
        let result = b.arg(sources.len());
        let (begin, end) = (b.begin(), b.end());
        b.for_range(begin, end, 1, |b, unit| {
            let row = b.int_rem(unit, self.rows as u32);
            let image = b.int_div(unit, self.rows as u32);
            let place = |b: &mut KernelBuilder, p: Gpr, s: Steps| {
                let p = advance(b, p, image, s.0[0]);
                advance(b, p, row, s.0[2])
            };
            let result = place(b, result, self.result);
            let sources: Vec<Gpr> = sources.iter().zip(&self.sources).map(|(&p, s)| place(b, p, *s)).collect();
            for (i, picks) in self.blocks.iter().enumerate() {
                self.block(b, picks, &sources, result, i * self.result.0[1]);
            }
        });
        b.compile()
    }

    /// Pixels that are moved at once: a vector, or one where those of an image do not follow one another.
    fn together(&self, lanes: usize) -> usize {
        let follow = self.sources.iter().chain([&self.result]).all(|s| s.0[3] == lanes);
        if follow { 4 } else { 1 }
    }

    /// A row of one block of the result.
    fn block(&self, b: &mut KernelBuilder, picks: &[Pick], sources: &[Gpr], result: Gpr, to: usize) {
        let lanes = b.lanes();
        let tables: Vec<Option<Vector>> = picks
            .iter()
            .map(|p| {
                let still = p.bytes.iter().enumerate().all(|(i, x)| usize::from(*x) == i);
                let words = p.bytes.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]));
                let words: Vec<u32> = words.cycle().take(lanes).collect();
                (!still).then(|| b.table(&words))
            })
            .collect();
        // A source counts once, however many of its blocks are picked.
        let mut ins: Vec<Option<Var<Gpr>>> = vec![None; sources.len()];
        for p in picks {
            ins[p.source].get_or_insert_with(|| b.var(sources[p.source]));
        }
        let out = b.var(result);
        let pixels = |b: &mut KernelBuilder, n: usize| {
            let mut all: Option<Vector> = None;
            for (p, table) in picks.iter().zip(&tables) {
                let from = (p.block * self.sources[p.source].0[1]) as i32;
                let source = b.get(ins[p.source].expect("all that are picked"));
                let v = b.load_part(source.at(from), n * lanes / 4);
                let v = match table {
                    Some(table) => b.permute_bytes(v, *table),
                    None => v,
                };
                all = Some(all.map_or(v, |a| b.or(a, v)));
            }
            let all = all.expect("a block has sources");
            b.store_part(all, b.get(out).at(to as i32), n * lanes / 4);
        };
        let together = self.together(lanes);
        let forward = |b: &mut KernelBuilder| {
            for (p, s) in ins.iter().zip(&self.sources).filter_map(|(p, s)| Some(((*p)?, s))) {
                bump(b, p, together * s.0[3], 0);
            }
            bump(b, out, together * self.result.0[3], 0);
        };
        b.repeat((self.cols / together) as u64, |b| {
            pixels(b, together);
            forward(b);
        });
        if !self.cols.is_multiple_of(together) {
            pixels(b, self.cols % together);
        }
    }
}
