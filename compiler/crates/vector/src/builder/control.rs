//! Loops and branches. Variables that a body changes become block parameters.

use super::KernelBuilder;
use crate::ir::{Cond, Gpr, Rhs, Terminator, Value};
use smallvec::SmallVec;

/// Registers and constants that may stand on the right of an integer operation.
pub trait IntoRhs {
    /// Converts.
    fn into_rhs(self) -> Rhs;
}

impl IntoRhs for Gpr {
    fn into_rhs(self) -> Rhs {
        Rhs::Reg(self)
    }
}
impl IntoRhs for i32 {
    fn into_rhs(self) -> Rhs {
        Rhs::Imm(self)
    }
}
impl IntoRhs for Rhs {
    fn into_rhs(self) -> Rhs {
        self
    }
}

impl KernelBuilder {
    /// Runs `body` `count` times, known now: nothing for 0, straight code for 1, else `…; sub; jnz`.
    pub fn repeat(&mut self, count: u64, body: impl FnOnce(&mut Self)) {
        match count {
            0 => {}
            1 => self.scope(body),
            _ => {
                let count = self.int(i64::try_from(count).expect("trip count"));
                self.count_down(count, body);
            }
        }
    }

    /// Runs `body` `count` times, known at run time; not at all if `count <= 0`.
    pub fn repeat_dyn(&mut self, count: Gpr, body: impl FnOnce(&mut Self)) {
        self.if_(Cond::Gt, count, 0, |b| b.count_down(count, body));
    }

    /// Runs `body` with `i = begin, begin + step, …` while `i < end`, all known at run time or constants; `step > 0`.
    ///
    /// # Panics
    /// If `step <= 0`.
    pub fn for_range(&mut self, begin: impl IntoRhs, end: impl IntoRhs, step: i32, body: impl FnOnce(&mut Self, Gpr)) {
        assert!(step > 0, "step {step} of a loop");
        let (begin, end) = (begin.into_rhs(), end.into_rhs());
        match (begin, end) {
            (Rhs::Imm(lo), Rhs::Imm(hi)) if lo >= hi => {}
            (Rhs::Imm(lo), Rhs::Imm(_)) => {
                let first = self.int(lo.into());
                self.count_up(first, end, step, body);
            }
            _ => {
                let first = self.rhs_in_register(begin);
                self.if_(Cond::Lt, first, end, |b| b.count_up(first, end, step, body));
            }
        }
    }

    fn count_down(&mut self, count: Gpr, body: impl FnOnce(&mut Self)) {
        let left = self.var(count);
        self.do_while(|b| {
            body(b);
            let now = b.get(left);
            let next = b.int_sub(now, 1);
            b.set(left, next);
            (Cond::Ne, next, Rhs::Imm(0))
        });
    }

    fn count_up(&mut self, first: Gpr, end: Rhs, step: i32, body: impl FnOnce(&mut Self, Gpr)) {
        let i = self.var(first);
        self.do_while(|b| {
            let now = b.get(i);
            body(b, now);
            let next = b.int_add(now, step);
            b.set(i, next);
            (Cond::Lt, next, end)
        });
    }

    /// Runs `body` at least once, and again as long as the comparison that it returns holds.
    pub fn do_while<R: IntoRhs>(&mut self, body: impl FnOnce(&mut Self) -> (Cond, Gpr, R)) {
        let before = self.vars.clone();
        let masks = self.tail_masks.len();
        let header = self.new_block();
        let params: Vec<Value> = before.iter().map(|v| self.new_value(self.kernel.ty(*v))).collect();
        self.end_block(Terminator::Jump(header, SmallVec::from_slice(&before)));
        self.kernel.blocks[header.index()].params.clone_from(&params);
        self.current = header;
        self.vars.copy_from_slice(&params);

        let (cond, lhs, rhs) = body(self);

        self.vars.truncate(before.len());
        self.tail_masks.truncate(masks);
        let (latch, exit) = (self.new_block(), self.new_block());
        self.end_block(Terminator::Branch { cond, lhs, rhs: rhs.into_rhs(), then: latch, other: exit });
        self.kernel.blocks[latch.index()].term = Terminator::Jump(header, SmallVec::from_slice(&self.vars));
        self.current = exit;
        for ((var, param), init) in self.vars.iter_mut().zip(params).zip(before) {
            if *var == param {
                // Never set in the body: the parameter is the value from outside.
                self.alias[param.index()] = Some(init);
                *var = init;
            }
        }
    }

    /// Runs `then` if the comparison holds.
    pub fn if_(&mut self, cond: Cond, lhs: Gpr, rhs: impl IntoRhs, then: impl FnOnce(&mut Self)) {
        self.if_else(cond, lhs, rhs, then, |_| {});
    }

    /// Runs `then` if the comparison holds, else `other`.
    pub fn if_else(
        &mut self,
        cond: Cond,
        lhs: Gpr,
        rhs: impl IntoRhs,
        then: impl FnOnce(&mut Self),
        other: impl FnOnce(&mut Self),
    ) {
        let before = self.vars.clone();
        let fork = self.current;
        let then_block = self.new_block();
        self.current = then_block;
        self.scope(then);
        let (then_end, then_vars) = (self.current, std::mem::replace(&mut self.vars, before));

        let other_block = self.new_block();
        self.kernel.blocks[fork.index()].term =
            Terminator::Branch { cond, lhs, rhs: rhs.into_rhs(), then: then_block, other: other_block };
        self.current = other_block;
        self.scope(other);
        let other_end = self.current;

        let merge = self.new_block();
        let (mut then_args, mut other_args) = (SmallVec::new(), SmallVec::new());
        for (i, a) in then_vars.into_iter().enumerate() {
            let b = self.vars[i];
            if a != b {
                let param = self.new_value(self.kernel.ty(a));
                self.kernel.blocks[merge.index()].params.push(param);
                then_args.push(a);
                other_args.push(b);
                self.vars[i] = param;
            }
        }
        self.kernel.blocks[then_end.index()].term = Terminator::Jump(merge, then_args);
        self.kernel.blocks[other_end.index()].term = Terminator::Jump(merge, other_args);
        self.current = merge;
    }

    /// Runs `body`, then drops the variables and masks that it made.
    fn scope(&mut self, body: impl FnOnce(&mut Self)) {
        let (vars, masks) = (self.vars.len(), self.tail_masks.len());
        body(self);
        self.vars.truncate(vars);
        self.tail_masks.truncate(masks);
    }

    fn end_block(&mut self, term: Terminator) {
        self.kernel.blocks[self.current.index()].term = term;
    }
}
