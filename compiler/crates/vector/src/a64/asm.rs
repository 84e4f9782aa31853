//! Collects machine words, resolves branches and literals, places constants behind the code.

use crate::compile::EncodeError;
use std::collections::HashMap;

/// A branch target; one for each block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(pub usize);

/// A word whose distance is not known yet.
enum Fixup {
    /// 19 bits at bit 5: conditional branches, compare-and-branch.
    Branch19(Label),
    /// 26 bits.
    Branch26(Label),
    /// 19 bits at bit 5, of a literal load.
    Literal(usize),
    /// 21 bits in two parts, of `adr`.
    Address(usize),
}

#[derive(Default)]
pub(super) struct Asm {
    words: Vec<u32>,
    labels: HashMap<usize, usize>,
    fixups: Vec<(usize, Fixup)>,
    consts: Vec<Vec<u32>>,
    const_ids: HashMap<Vec<u32>, usize>,
}

impl Asm {
    pub fn emit(&mut self, word: u32) {
        self.words.push(word);
    }

    pub fn bind(&mut self, label: Label) {
        self.labels.insert(label.0, self.words.len());
    }

    /// `b label`.
    pub fn jump(&mut self, to: Label) {
        self.fixups.push((self.words.len(), Fixup::Branch26(to)));
        self.emit(0x1400_0000);
    }

    /// `b.cond label`.
    pub fn branch_if(&mut self, cond: u32, to: Label) {
        self.fixups.push((self.words.len(), Fixup::Branch19(to)));
        self.emit(0x5400_0000 | cond);
    }

    /// `cbz`/`cbnz xt, label`.
    pub fn branch_zero(&mut self, t: u32, nonzero: bool, to: Label) {
        self.fixups.push((self.words.len(), Fixup::Branch19(to)));
        self.emit(if nonzero { 0xb500_0000 } else { 0xb400_0000 } | t);
    }

    /// `ldr qt, =words`.
    pub fn load_const(&mut self, t: u32, words: &[u32]) {
        let id = self.constant(words);
        self.fixups.push((self.words.len(), Fixup::Literal(id)));
        self.emit(0x9c00_0000 | t);
    }

    /// `adr xd, words`.
    pub fn const_address(&mut self, d: u32, words: &[u32]) {
        let id = self.constant(words);
        self.fixups.push((self.words.len(), Fixup::Address(id)));
        self.emit(0x1000_0000 | d);
    }

    fn constant(&mut self, words: &[u32]) -> usize {
        if let Some(id) = self.const_ids.get(words) {
            return *id;
        }
        self.consts.push(words.to_vec());
        self.const_ids.insert(words.to_vec(), self.consts.len() - 1);
        self.consts.len() - 1
    }

    /// The finished bytes: code, then constants, vectors aligned to 16 bytes.
    pub fn finish(self) -> Result<Vec<u8>, EncodeError> {
        let mut words = self.words;
        let mut place = Vec::with_capacity(self.consts.len());
        for c in &self.consts {
            if c.len() >= 4 {
                words.resize(words.len().next_multiple_of(4), 0);
            }
            place.push(words.len());
            words.extend(c);
        }
        for (at, fixup) in self.fixups {
            let label = |l: &Label| self.labels.get(&l.0).copied().unwrap_or(0);
            let target = match &fixup {
                Fixup::Branch19(l) | Fixup::Branch26(l) => label(l),
                Fixup::Literal(id) | Fixup::Address(id) => place[*id],
            };
            let distance = target as i64 - at as i64;
            let bits = if matches!(fixup, Fixup::Branch26(_)) { 26 } else { 19 };
            if distance < -(1 << (bits - 1)) || distance >= 1 << (bits - 1) {
                return Err(EncodeError::new("the kernel is too long for its branches and literals (1 MB)"));
            }
            let field = (distance as u32) & ((1 << bits) - 1);
            words[at] |= match fixup {
                Fixup::Branch26(_) => field,
                // The distance is a multiple of 4, so the two low bits of the 21-bit field are zero.
                Fixup::Branch19(_) | Fixup::Literal(_) | Fixup::Address(_) => field << 5,
            };
        }
        Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
    }
}
