//! Encodes instructions into a buffer, resolves branches, places constants behind the code.

use iced_x86::{Code, Encoder, IcedError, Instruction, MemoryOperand, Register};
use std::collections::HashMap;

/// A constant in the pool, before its place is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConstId(usize);

/// A branch target; one for each block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(pub usize);

pub(super) struct Asm {
    encoder: Encoder,
    pos: usize,
    labels: Vec<Option<usize>>,
    /// Offsets of 32-bit displacements (which end their instruction) and their targets.
    branches: Vec<(usize, Label)>,
    /// Offset of a 32-bit displacement, offset of the next instruction, constant.
    const_uses: Vec<(usize, usize, ConstId)>,
    consts: Vec<Vec<u32>>,
    const_ids: HashMap<Vec<u32>, ConstId>,
}

impl Asm {
    pub fn new(labels: usize) -> Result<Asm, IcedError> {
        Ok(Asm {
            encoder: Encoder::try_with_capacity(64, 4096)?,
            pos: 0,
            labels: vec![None; labels],
            branches: Vec::new(),
            const_uses: Vec::new(),
            consts: Vec::new(),
            const_ids: HashMap::new(),
        })
    }

    pub fn emit(&mut self, inst: &Instruction) -> Result<(), IcedError> {
        self.pos += self.encoder.encode(inst, self.pos as u64)?;
        Ok(())
    }

    /// Emits an instruction whose memory operand is `[rip + 0]` and makes it point at the constant.
    pub fn emit_const(&mut self, inst: &Instruction, id: ConstId) -> Result<(), IcedError> {
        let start = self.pos;
        self.emit(inst)?;
        let at = start + self.encoder.get_constant_offsets().displacement_offset();
        self.const_uses.push((at, self.pos, id));
        Ok(())
    }

    /// The memory operand to use with [`Asm::emit_const`].
    pub fn const_mem(broadcast: bool) -> MemoryOperand {
        MemoryOperand::new(Register::RIP, Register::None, 1, 0, 8, broadcast, Register::None)
    }

    pub fn constant(&mut self, words: &[u32]) -> ConstId {
        if let Some(id) = self.const_ids.get(words) {
            return *id;
        }
        let id = ConstId(self.consts.len());
        self.consts.push(words.to_vec());
        self.const_ids.insert(words.to_vec(), id);
        id
    }

    pub fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.pos);
    }

    /// A branch, in its two forms: backward ones are short where they reach, forward ones always take 32 bits.
    pub fn branch(&mut self, short: Code, near: Code, to: Label) -> Result<(), IcedError> {
        if let Some(target) = self.labels[to.0] {
            let distance = target as i64 - (self.pos as i64 + 2);
            let code = if distance >= i8::MIN.into() { short } else { near };
            return self.emit(&Instruction::with_branch(code, target as u64)?);
        }
        self.emit(&Instruction::with_branch(near, self.pos as u64)?)?;
        self.branches.push((self.pos - 4, to));
        Ok(())
    }

    /// Fills up with as few no-operations as possible.
    pub fn align(&mut self, to: usize) -> Result<(), IcedError> {
        const MULTI_BYTE_NOPS: [&[u8]; 9] = [
            &[0x90],
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0x1f, 0x40, 0x00],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
            &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        ];
        let mut gap = self.pos.next_multiple_of(to) - self.pos;
        while gap > 0 {
            let nop = MULTI_BYTE_NOPS[gap.min(MULTI_BYTE_NOPS.len()) - 1];
            self.emit(&Instruction::with_declare_byte(nop)?)?;
            gap -= nop.len();
        }
        Ok(())
    }

    /// The finished bytes: code, then constants, each aligned to its size (at most 64 bytes).
    pub fn finish(mut self) -> Vec<u8> {
        let mut code = self.encoder.take_buffer();
        for (at, label) in &self.branches {
            let target = self.labels[label.0].expect("every block that is branched to is emitted");
            patch(&mut code, *at, target, at + 4);
        }
        // Large ones first, so that little is lost to alignment; equal sizes stay in order of first use.
        let mut order: Vec<usize> = (0..self.consts.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(self.consts[*i].len()));
        let mut place = vec![0; self.consts.len()];
        for i in order {
            let words = &self.consts[i];
            let align = (words.len() * 4).next_power_of_two().clamp(4, 64);
            code.resize(code.len().next_multiple_of(align), 0);
            place[i] = code.len();
            code.extend(words.iter().flat_map(|w| w.to_le_bytes()));
        }
        for (at, next, id) in &self.const_uses {
            patch(&mut code, *at, place[id.0], *next);
        }
        code
    }
}

fn patch(code: &mut [u8], at: usize, target: usize, next: usize) {
    let displacement = i32::try_from(target as i64 - next as i64).expect("a kernel is smaller than 2 GB");
    code[at..at + 4].copy_from_slice(&displacement.to_le_bytes());
}
