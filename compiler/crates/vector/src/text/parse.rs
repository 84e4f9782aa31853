//! Parses kernels. Parsing checks the grammar; [`Kernel::verify`] checks the rest.

use super::lexer::{self, Token};
use crate::ir::{Block, BlockId, Cond, Gpr, Inst, Kernel, Mem, MemArg, Op, Rhs, Terminator, Type, Value};
use crate::target::{Target, Width};
use smallvec::SmallVec;
use std::str::FromStr;

/// The first mistake in a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl FromStr for Kernel {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Kernel, ParseError> {
        let mut p = Parser { text, pos: 0, types: Vec::new() };
        p.kernel().map_err(|message| {
            let line = 1 + text.as_bytes().iter().take(p.pos).filter(|b| **b == b'\n').count();
            ParseError { line, message }
        })
    }
}

struct Parser<'a> {
    text: &'a str,
    pos: usize,
    types: Vec<Type>,
}

type Res<T> = Result<T, String>;

impl<'a> Parser<'a> {
    fn peek(&self) -> Res<Option<Token<'a>>> {
        Ok(lexer::next(self.text.get(self.pos..).unwrap_or(""))?.map(|(t, _)| t))
    }

    fn next(&mut self) -> Res<Token<'a>> {
        match lexer::next(self.text.get(self.pos..).unwrap_or(""))? {
            Some((token, len)) => {
                self.pos += len;
                Ok(token)
            }
            None => Err("the text ends too early".to_owned()),
        }
    }

    fn expect(&mut self, c: char) -> Res<()> {
        match self.next()? {
            Token::Punct(p) if p == c => Ok(()),
            other => Err(format!("`{c}` expected, not {other:?}")),
        }
    }

    fn accept(&mut self, c: char) -> Res<bool> {
        let found = self.peek()? == Some(Token::Punct(c));
        if found {
            self.next()?;
        }
        Ok(found)
    }

    fn word(&mut self) -> Res<&'a str> {
        match self.next()? {
            Token::Word(w) => Ok(w),
            other => Err(format!("a name expected, not {other:?}")),
        }
    }

    fn value(&mut self) -> Res<Value> {
        match self.next()? {
            Token::Value(n) => Ok(Value(n)),
            other => Err(format!("a value expected, not {other:?}")),
        }
    }

    fn number(&mut self) -> Res<i64> {
        match self.next()? {
            Token::Number(n) => Ok(n),
            other => Err(format!("a number expected, not {other:?}")),
        }
    }

    fn kernel(&mut self) -> Res<Kernel> {
        if self.word()? != "kernel" {
            return Err("a kernel begins with `kernel`".to_owned());
        }
        let Token::Quoted(name) = self.next()? else { return Err("the kernel needs a quoted name".to_owned()) };
        let target = self.word()?;
        let mut target = Target::from_name(target).ok_or_else(|| format!("unknown target `{target}`"))?;
        while self.accept('+')? {
            let name = self.word()?;
            target.features |= Target::feature(name).ok_or_else(|| format!("unknown feature `{name}`"))?;
        }
        self.expect('{')?;
        let mut blocks = Vec::new();
        while !self.accept('}')? {
            let block = self.block(blocks.len())?;
            blocks.push(block);
        }
        if let Some(extra) = self.peek()? {
            return Err(format!("{extra:?} after the end of the kernel"));
        }
        Ok(Kernel { name, target, types: std::mem::take(&mut self.types), blocks })
    }

    fn block(&mut self, number: usize) -> Res<Block> {
        let id = self.block_id()?;
        if id.index() != number {
            return Err(format!("block{number} expected, not block{}", id.0));
        }
        let mut params = Vec::new();
        if self.accept('(')? {
            loop {
                params.push(self.definition()?);
                if !self.accept(',')? {
                    break;
                }
            }
            self.expect(')')?;
        }
        self.expect(':')?;
        let mut insts = Vec::new();
        loop {
            let mut results = SmallVec::new();
            if matches!(self.peek()?, Some(Token::Value(_))) {
                results.push(self.definition()?);
                while self.accept(',')? {
                    results.push(self.definition()?);
                }
                self.expect('=')?;
            }
            let name = self.word()?;
            if results.is_empty()
                && let Some(term) = self.terminator(name)?
            {
                return Ok(Block { params, insts, term });
            }
            insts.push(self.inst(name, results)?);
        }
    }

    fn block_id(&mut self) -> Res<BlockId> {
        let word = self.word()?;
        let n = word.strip_prefix("block").and_then(|n| n.parse().ok());
        n.map(BlockId).ok_or_else(|| format!("a block expected, not `{word}`"))
    }

    /// `%n:type`; values are defined in the order of their numbers.
    fn definition(&mut self) -> Res<Value> {
        let v = self.value()?;
        if v.index() != self.types.len() {
            return Err(format!("{v} is defined where %{} is next", self.types.len()));
        }
        self.expect(':')?;
        let ty = self.word()?;
        let lanes = |prefix: &str| ty.strip_prefix(prefix).and_then(|n| n.parse().ok()).and_then(Width::from_lanes);
        let ty = match (lanes("vec"), lanes("mask")) {
            _ if ty == "gpr" => Type::Gpr,
            (Some(w), _) => Type::Vec(w),
            (_, Some(w)) => Type::Mask(w),
            _ => return Err(format!("unknown type `{ty}`")),
        };
        self.types.push(ty);
        Ok(v)
    }

    fn terminator(&mut self, name: &str) -> Res<Option<Terminator>> {
        match name {
            "return" => Ok(Some(Terminator::Return)),
            "jump" => {
                let to = self.block_id()?;
                let mut args = SmallVec::new();
                if self.accept('(')? {
                    loop {
                        args.push(self.value()?);
                        if !self.accept(',')? {
                            break;
                        }
                    }
                    self.expect(')')?;
                }
                Ok(Some(Terminator::Jump(to, args)))
            }
            _ => {
                let Some(cond) = name.strip_prefix("branch.") else { return Ok(None) };
                let cond = Cond::from_name(cond).ok_or_else(|| format!("unknown condition `{cond}`"))?;
                let lhs = Gpr(self.value()?);
                self.expect(',')?;
                let rhs = match self.next()? {
                    Token::Value(n) => Rhs::Reg(Gpr(Value(n))),
                    Token::Number(n) => Rhs::Imm(i32::try_from(n).map_err(|_| format!("{n} has more than 32 bits"))?),
                    other => return Err(format!("a value or number expected, not {other:?}")),
                };
                self.expect(',')?;
                let then = self.block_id()?;
                self.expect(',')?;
                let other = self.block_id()?;
                Ok(Some(Terminator::Branch { cond, lhs, rhs, then, other }))
            }
        }
    }

    fn inst(&mut self, name: &str, results: SmallVec<[Value; 1]>) -> Res<Inst> {
        let mut imm = Vec::new();
        if self.accept('<')? {
            loop {
                imm.push(self.number()?);
                if !self.accept(',')? {
                    break;
                }
            }
            self.expect('>')?;
        }
        let op = Op::from_parts(name, &imm).ok_or_else(|| format!("no op `{name}` with {} constants", imm.len()))?;
        let (mut args, mut mem) = (SmallVec::new(), None);
        // Operands are known by how they begin; a value followed by `:` or `,`+type begins the next line's results, so
        // the arguments are counted by the signature.
        let sig = op.signature();
        let mut wanted = sig.args.len();
        if sig.mem == crate::ir::MemUse::Address {
            wanted += 1;
        }
        for i in 0..wanted {
            if i > 0 {
                self.expect(',')?;
            }
            match self.next()? {
                Token::Value(n) => args.push(Value(n)),
                Token::Punct('[') => mem = Some(MemArg::At(self.address()?)),
                Token::Word("bcast") => {
                    self.expect('[')?;
                    mem = Some(MemArg::Broadcast(self.address()?));
                }
                Token::Word("splat") => {
                    let n = self.number()?;
                    mem = Some(MemArg::Splat(u32::try_from(n).map_err(|_| format!("{n} has more than 32 bits"))?));
                }
                other => return Err(format!("an operand expected, not {other:?}")),
            }
            if mem.is_some() && i + 1 != wanted {
                return Err("a memory operand stands last".to_owned());
            }
        }
        Ok(Inst { op, results, args, mem })
    }

    /// The rest of `[base + index*scale ± disp]`.
    fn address(&mut self) -> Res<Mem> {
        let mut mem = Mem::new(Gpr(self.value()?), 0);
        loop {
            let sign = match self.next()? {
                Token::Punct(']') => return Ok(mem),
                Token::Punct('+') => 1,
                Token::Punct('-') => -1,
                other => return Err(format!("`+`, `-` or `]` expected, not {other:?}")),
            };
            match self.next()? {
                Token::Value(n) if sign == 1 && mem.index.is_none() => {
                    self.expect('*')?;
                    let scale = self.number()?;
                    let scale = u8::try_from(scale).map_err(|_| format!("scale {scale}"))?;
                    mem.index = Some((Gpr(Value(n)), scale));
                }
                Token::Number(n) if mem.disp == 0 => {
                    let disp = n.checked_mul(sign).and_then(|n| i32::try_from(n).ok());
                    mem.disp = disp.ok_or_else(|| format!("displacement {n} has more than 32 bits"))?;
                }
                other => return Err(format!("an index or displacement expected, not {other:?}")),
            }
        }
    }
}
