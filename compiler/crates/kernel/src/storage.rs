//! How a value lies in a buffer: strides, blocking and halo, all constants.

use mnnc_ir::DType;

/// The address of every element of a tensor, relative to the start of its buffer:
/// `offset + Σ index[d] * strides[d]`, where the blocked dimension `b` contributes
/// `(index[b] / size) * strides[b] + (index[b] % size) * element` instead.
///
/// A halo (the border that a padded convolution reads) is nothing but an `offset` and larger strides.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Storage {
    /// Element type.
    pub dtype: DType,
    /// Logical shape.
    pub dims: Vec<usize>,
    /// Bytes from one index to the next, for each dimension; 0 for a broadcast one.
    pub strides: Vec<usize>,
    /// Dimension 1 in blocks of this many elements, the position within the block innermost.
    pub block: Option<usize>,
    /// Rows and columns around the last two dimensions, of a blocked tensor only.
    pub halo: Halo,
    /// Bytes before element 0.
    pub offset: usize,
    /// Bytes of the whole buffer, halo and block padding included.
    pub bytes: usize,
}

/// Bytes of a block of two vectors of bf16: of one vector of `f32`, on all processors that have both.
const LINE: usize = 64;

/// Border of the two spatial dimensions, in elements: what a padded convolution takes for zero.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Halo {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
    /// What each byte of it holds: 0, or the zero point of a tensor of bytes.
    pub fill: u8,
}

impl Halo {
    /// Whether there is no border.
    pub fn is_empty(&self) -> bool {
        [self.top, self.left, self.bottom, self.right] == [0; 4]
    }
    /// The border with bytes of this value.
    pub fn filled(self, fill: u8) -> Halo {
        Halo { fill: if self.is_empty() { 0 } else { fill }, ..self }
    }
    /// Whether this border serves a reader that wants `o`.
    pub fn covers(&self, o: Halo) -> bool {
        o.is_empty() || (o.fill == self.fill && self.union(o) == *self)
    }
    /// The border that serves both; `self` where they want to find different bytes.
    pub fn union(self, o: Halo) -> Halo {
        match (self.is_empty(), o.is_empty()) {
            (_, true) => self,
            (true, _) => o,
            _ if self.fill != o.fill => self,
            _ => Halo {
                top: self.top.max(o.top),
                left: self.left.max(o.left),
                bottom: self.bottom.max(o.bottom),
                right: self.right.max(o.right),
                fill: self.fill,
            },
        }
    }
}

impl Storage {
    /// Dense, row-major. `None` if the size overflows.
    pub fn plain(dtype: DType, dims: &[usize]) -> Option<Storage> {
        let mut strides = vec![0; dims.len()];
        let mut bytes = dtype.size();
        for (s, &d) in strides.iter_mut().zip(dims).rev() {
            *s = bytes;
            bytes = bytes.checked_mul(d)?;
        }
        Some(Storage { dtype, dims: dims.to_vec(), strides, block: None, halo: Halo::default(), offset: 0, bytes })
    }

    /// `[N][C/block][top+H+bottom][left+W+right][block]`. `None` if `dims` is not of rank 4 or the size overflows.
    pub fn blocked(dtype: DType, dims: &[usize], block: usize, halo: Halo) -> Option<Storage> {
        let &[n, c, h, w] = dims else { return None };
        let pixel = block.checked_mul(dtype.size())?;
        let row = pixel.checked_mul(w.checked_add(halo.left)?.checked_add(halo.right)?)?;
        let plane = row.checked_mul(h.checked_add(halo.top)?.checked_add(halo.bottom)?)?;
        let image = plane.checked_mul(c.div_ceil(block))?;
        Some(Storage {
            dtype,
            dims: dims.to_vec(),
            strides: vec![image, plane, row, pixel],
            block: Some(block),
            halo,
            offset: halo.top * row + halo.left * pixel,
            bytes: image.checked_mul(n)?,
        })
    }

    /// Rounded to bf16, blocked as [`blocked`](Self::blocked) has it: in blocks of two vectors, which fill a line of 64 bytes; of one vector where
    /// that holds all channels.
    pub fn reduced(dims: &[usize], lanes: usize, halo: Halo) -> Option<Storage> {
        let vectors = if *dims.get(1)? <= lanes { 1 } else { 2 };
        Storage::blocked(DType::BF16, dims, vectors * lanes, halo)
    }

    /// `[N][top+H+bottom][left+W+right][C/block][block]`: the channels of a pixel together, filled up to whole blocks. `None` as
    /// [`blocked`](Self::blocked) has it.
    pub fn interleaved(dtype: DType, dims: &[usize], block: usize, halo: Halo) -> Option<Storage> {
        let channels = dims.get(1)?.checked_next_multiple_of(block)?.max(block);
        if channels == block {
            return Storage::blocked(dtype, dims, block, halo);
        }
        let whole = Storage::blocked(dtype, dims, channels, halo)?;
        Some(Storage { block: Some(block), ..whole }.with_plane(block.checked_mul(dtype.size())?))
    }

    fn with_plane(mut self, bytes: usize) -> Storage {
        self.strides[1] = bytes;
        self
    }

    /// Whether the blocks of a pixel lie together, and there are several, or those of other images between them.
    pub fn is_interleaved(&self) -> bool {
        self.block.is_some_and(|b| self.strides[3] != b * self.dtype.size())
    }

    /// A range of whole blocks of channels of this interleaved image, as an image that begins so many bytes behind it.
    pub fn interleaved_part(&self, dims: &[usize], start: usize) -> Option<Storage> {
        Some(Storage { dims: dims.to_vec(), bytes: self.bytes.checked_sub(start)?, ..self.clone() })
    }

    /// The image with all channels in one block, as borders are filled.
    pub fn in_one_block(&self) -> Option<Storage> {
        let pixel = self.strides[3] / self.dtype.size();
        self.is_interleaved().then(|| Storage { block: Some(pixel), ..self.clone() }.with_plane(self.strides[0]))
    }

    /// Whether this is dense and row-major without a gap.
    pub fn is_plain(&self) -> bool {
        Storage::plain(self.dtype, &self.dims)
            .is_some_and(|p| p.strides == self.strides && self.block.is_none() && self.offset == 0)
    }

    /// The same bytes seen as plain, where the two forms agree: blocks of one pixel without a border.
    pub fn as_plain(&self) -> Option<Storage> {
        if self.is_plain() {
            return Some(self.clone());
        }
        let (&[n, c, h, w], Some(block)) = (&self.dims[..], self.block) else {
            return None;
        };
        // Of one pixel, both orders of blocks are the same.
        let agrees = h * w == 1 && self.halo.is_empty() && (n == 1 || c % block == 0);
        if agrees { Storage::plain(self.dtype, &self.dims) } else { None }
    }

    /// The same bytes seen as blocked without a border, where the two forms agree and no block is padded.
    pub fn as_blocked(&self, block: usize) -> Option<Storage> {
        if self.block == Some(block) {
            return (!self.is_interleaved()).then(|| self.clone());
        }
        let &[_, c, h, w] = &self.dims[..] else {
            return None;
        };
        if self.is_plain() && h * w == 1 && c % block == 0 {
            Storage::blocked(self.dtype, &self.dims, block, Halo::default())
        } else {
            None
        }
    }

    /// The same bytes seen as [`reduced`](Self::reduced), or as a part of such an image: its blocks may be of two vectors, whatever the channels.
    pub fn as_reduced(&self, lanes: usize) -> Option<Storage> {
        let narrow = || self.as_blocked(lanes).filter(|_| self.dims[1] <= lanes);
        self.as_blocked(2 * lanes).or_else(narrow)
    }

    /// Bytes from the first vector of a block of bf16 to its second; 0 where a block is one vector.
    pub fn half(&self) -> usize {
        let pair = |&b: &usize| self.dtype == DType::BF16 && b * self.dtype.size() == LINE;
        self.block.filter(pair).unwrap_or(0)
    }

    /// The same bytes seen as interleaved: a single block is so anyway.
    pub fn as_interleaved(&self, block: usize) -> Option<Storage> {
        let single = self.block == Some(block) && self.dims[1] <= block;
        if single || (self.block == Some(block) && self.is_interleaved()) { Some(self.clone()) } else { None }
    }

    /// Byte offset of where windows begin that reach so far into the border: the first tap of the first output pixel.
    pub fn first_tap(&self, halo: Halo) -> usize {
        self.offset - (halo.top * self.strides[2] + halo.left * self.strides[3])
    }

    /// Byte offset of an element from the start of the buffer.
    pub fn address(&self, index: &[usize]) -> usize {
        let mut at = self.offset;
        for (d, (&i, &s)) in index.iter().zip(&self.strides).enumerate() {
            at += match self.block {
                Some(b) if d == 1 => (i / b) * s + (i % b) * self.dtype.size(),
                _ => i * s,
            };
        }
        at
    }
}
