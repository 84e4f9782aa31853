//! Random schedules through the planner and the checker, and the checker against a byte-by-byte simulation of corrupted
//! plans.

use super::check::check;
use super::{ALIGN, Base, Plan};
use crate::schedule::*;
use mnnc_ir::entity::EntityId;
use std::collections::HashMap;

/// A small generator of its own (xorshift), so that failures name a seed.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}

fn operand(buffer: BufferId, bytes: usize, access: Access) -> Operand {
    Operand { buffer, offset: 0, bytes, access }
}

/// Each step writes a new buffer and reads some earlier ones; some buffers are written in two halves.
fn random_schedule(seed: u64) -> Schedule {
    let mut r = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut s = Schedule::default();
    let add = |s: &mut Schedule, bytes, kind| s.buffers.push(Buffer { name: String::new(), bytes, kind });
    let input = add(&mut s, 40, BufferKind::Input(0));
    s.inputs.push(input);
    let kernel = KernelId::new(0);
    let step = |operands| Step {
        name: "step".into(),
        node: None,
        kernel,
        operands,
        units: 1,
        flops: 0,
        subnormals: Subnormals::Any,
        part: None,
    };
    let mut values = vec![input];
    for _ in 0..3 + r.below(30) {
        let bytes = 1 + r.below(500);
        let reads: Vec<BufferId> =
            (0..1 + r.below(3)).map(|_| values[values.len() - 1 - r.below(values.len().min(6))]).collect();
        let read =
            |s: &Schedule| reads.iter().map(|&b| operand(b, s.buffers[b].bytes, Access::Read)).collect::<Vec<_>>();
        let whole = add(&mut s, bytes, BufferKind::Temp);
        if r.below(4) == 0 && bytes > 1 {
            let half = bytes / 2;
            let a = add(&mut s, half, BufferKind::Within(whole, 0));
            let b = add(&mut s, bytes - half, BufferKind::Within(whole, half));
            for part in [a, b] {
                let mut ops = read(&s);
                ops.push(operand(part, s.buffers[part].bytes, Access::Write));
                s.steps.push(step(ops));
            }
        } else {
            let mut ops = read(&s);
            ops.push(operand(whole, bytes, Access::Write));
            s.steps.push(step(ops));
        }
        values.push(whole);
    }
    let last = values[values.len() - 1];
    let out = add(&mut s, 8, BufferKind::Output(0));
    s.outputs.push(out);
    let bytes = s.buffers[last].bytes;
    s.steps.push(step(vec![operand(last, bytes, Access::Read), operand(out, 8, Access::Write)]));
    s
}

/// Runs the schedule on bytes that remember their writer; whether every read finds what was written to its buffer.
fn simulate(s: &Schedule, p: &Plan) -> bool {
    let mut memory: HashMap<(Base, usize), (BufferId, usize)> = HashMap::new();
    let root = |mut b: BufferId, mut at: usize| {
        while let BufferKind::Within(parent, o) = s.buffers[b].kind {
            at += o;
            b = parent;
        }
        (b, at)
    };
    for (id, b) in s.buffers.iter() {
        let used = s.steps.iter().flat_map(|s| &s.operands).any(|o| root(o.buffer, 0).0 == id);
        if b.kind == BufferKind::Temp
            && used
            && (!p.offsets[id].is_multiple_of(ALIGN) || p.offsets[id] + b.bytes > p.workspace)
        {
            return false;
        }
    }
    for step in &s.steps {
        for o in step.operands.iter().filter(|o| o.access == Access::Read) {
            for i in 0..o.bytes {
                let a = p.address(s, o.buffer, o.offset + i);
                if !matches!(a.base, Base::Input(_))
                    && memory.get(&(a.base, a.offset)) != Some(&root(o.buffer, o.offset + i))
                {
                    return false;
                }
            }
        }
        for w in step.operands.iter().filter(|o| o.access == Access::Write) {
            for i in 0..w.bytes {
                let a = p.address(s, w.buffer, w.offset + i);
                let shared = step.operands.iter().filter(|o| o.access == Access::Read).any(|o| {
                    let b = p.address(s, o.buffer, o.offset);
                    b.base == a.base && (b.offset..b.offset + o.bytes).contains(&a.offset)
                });
                if shared {
                    return false;
                }
                memory.insert((a.base, a.offset), root(w.buffer, w.offset + i));
            }
        }
    }
    true
}

#[test]
fn random_schedules_get_valid_tight_plans() {
    for seed in 0..300 {
        let s = random_schedule(seed);
        let p = Plan::new(&s);
        assert_eq!(check(&s, &p), Ok(()), "seed {seed}");
        assert!(simulate(&s, &p), "seed {seed}");
        assert!(p.workspace >= p.lower_bound && p.workspace <= p.lower_bound * 3 / 2, "seed {seed}: {p:?}");
    }
}

#[test]
fn the_checker_finds_every_corruption_that_a_simulation_finds() {
    let (mut harmful, mut harmless) = (0, 0);
    for seed in 0..600 {
        let s = random_schedule(seed);
        let mut p = Plan::new(&s);
        let mut r = Rng(seed * 77 + 5);
        let temps: Vec<BufferId> =
            s.buffers.iter().filter(|(_, b)| b.kind == BufferKind::Temp).map(|(id, _)| id).collect();
        let victim = temps[r.below(temps.len())];
        p.offsets[victim] = match r.below(4) {
            0 => p.offsets[temps[r.below(temps.len())]],
            1 => r.below(p.workspace / ALIGN + 1) * ALIGN,
            2 => p.offsets[victim] + ALIGN / 2,
            _ => p.offsets[victim].saturating_sub(ALIGN),
        };
        let good = simulate(&s, &p);
        assert_eq!(check(&s, &p).is_ok(), good, "seed {seed}: {:?}", check(&s, &p));
        if good { harmless += 1 } else { harmful += 1 }
    }
    assert!(harmful > 200 && harmless > 30, "{harmful} harmful, {harmless} harmless corruptions");
}

#[test]
fn operands_outside_their_buffer_and_unwritten_outputs_are_found() {
    let mut s = random_schedule(1);
    let p = Plan::new(&s);
    s.steps[0].operands[0].bytes += 1000;
    assert!(check(&s, &p).is_err_and(|e| e.iter().any(|e| e.message.contains("exceed"))));
    let mut s = random_schedule(1);
    s.steps.pop();
    assert!(check(&s, &Plan::new(&s)).is_err_and(|e| e.iter().any(|e| e.message.contains("not written"))));
    let mut s = random_schedule(1);
    s.steps.remove(0);
    assert!(check(&s, &p).is_err_and(|e| e.iter().any(|e| e.message.contains("never written"))));
}
