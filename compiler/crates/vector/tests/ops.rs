//! Every vector op on every target and width against scalar Rust, one by one and in random programs.

use crate::support;
use crate::support::reference::{RefOp, ops};
use mnnc_vector::{KernelBuilder, Target, Vector, Width};

/// A small generator of random numbers (splitmix64), seeded and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 32) as u32
    }

    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    /// A word that is often an interesting float or integer.
    fn word(&mut self) -> u32 {
        const SPECIAL: [u32; 14] = [
            0,
            0x8000_0000,
            0x3f80_0000,
            0xbf80_0000,
            0x7f80_0000,
            0xff80_0000,
            0x7fc0_0000,
            1,
            0x007f_ffff,
            0x7f7f_ffff,
            0x4f00_0000,
            0xcf00_0000,
            77,
            u32::MAX - 5,
        ];
        match self.below(4) {
            0 => SPECIAL[self.below(SPECIAL.len())],
            1 => self.next(),
            2 => ((self.next() as i32 as f32) / 1e8).to_bits(),
            _ => ((self.next() as i32 % 1000) as f32 / 2.0).to_bits(),
        }
    }
}

fn widths(target: &Target) -> Vec<Width> {
    Width::ALL.into_iter().filter(|w| *w <= target.width() && (target.is_x64() || *w == target.width())).collect()
}

fn is_nan(word: u32) -> bool {
    f32::from_bits(word).is_nan()
}

/// Lanes that the op gives by the reference, for a vector of `lanes`.
fn expected(op: &RefOp, args: &[&[u32]], n: u32, target: &Target, lanes: usize) -> Vec<u32> {
    if op.name == "table" {
        return (0..lanes as u32).map(|i| (n.rotate_left(i * 5) >> 3) % lanes as u32).collect();
    }
    let mut want = (op.eval)(args, n, target.isa);
    want.truncate(lanes);
    want
}

#[test]
fn each_op() {
    let rounds = 40;
    for target in support::runnable_targets() {
        for width in widths(&target) {
            let lanes = width.lanes();
            let mut random = Random(7);
            let table: Vec<RefOp> = ops().into_iter().filter(|op| (op.exists)(&target, lanes)).collect();
            let numbers: Vec<u32> = (0..rounds).map(|_| random.next()).collect();
            let inputs: Vec<u32> = (0..rounds * 3 * lanes).map(|_| random.word()).collect();
            let mut b = KernelBuilder::new(&target, "each_op");
            let (from, to) = (b.arg(0), b.arg(1));
            b.with_width(width, |b| {
                for (round, n) in numbers.iter().enumerate() {
                    for (i, op) in table.iter().enumerate() {
                        // A fresh load for each, so that all registers are tried.
                        let at = |k: usize| from.at(((round * 3 + k) * lanes * 4) as i32);
                        let args: Vec<Vector> = (0..op.arity).map(|k| b.load(at(k))).collect();
                        let result = (op.build)(b, &args, *n);
                        b.store(result, to.at(((round * table.len() + i) * lanes * 4) as i32));
                    }
                }
            });
            let kernel = b.compile().unwrap_or_else(|e| panic!("{e}"));
            let mut buffers = [inputs.clone(), vec![0; rounds * table.len() * lanes]];
            support::run(&target, &kernel, &mut buffers, 0, 0);
            for (round, n) in numbers.iter().enumerate() {
                for (i, op) in table.iter().enumerate() {
                    let args: Vec<&[u32]> =
                        (0..op.arity).map(|k| &inputs[(round * 3 + k) * lanes..][..lanes]).collect();
                    let want = expected(op, &args, *n, &target, lanes);
                    let got = &buffers[1][(round * table.len() + i) * lanes..][..lanes];
                    let same = want.iter().zip(got).all(|(w, g)| w == g || (is_nan(*w) && is_nan(*g)));
                    assert!(same, "{target} {width:?} {} ({n}) of {args:x?}:\n{got:x?}\nnot {want:x?}", op.name);
                }
            }
        }
    }
}

/// Random programs with more live values than registers: sharing, ties, temporaries, spills.
#[test]
fn random_programs() {
    for target in support::runnable_targets() {
        let programs = if target.is_x64() { 300 } else { 40 };
        for seed in 0..programs {
            let widths = widths(&target);
            random_program(&target, widths[seed as usize % widths.len()], seed);
        }
    }
}

fn random_program(target: &Target, width: Width, seed: u64) {
    let lanes = width.lanes();
    let mut random = Random(seed * 1000 + lanes as u64);
    let table: Vec<RefOp> = ops().into_iter().filter(|op| (op.exists)(target, lanes)).collect();
    let live = 2 + random.below(target.vec_regs() + 12);
    let inputs: Vec<u32> = (0..live * lanes).map(|_| random.word()).map(|w| if is_nan(w) { 3 } else { w }).collect();
    let mut b = KernelBuilder::new(target, "random");
    let (from, to) = (b.arg(0), b.arg(1));
    let mut values: Vec<Vec<u32>> = inputs.chunks(lanes).map(<[u32]>::to_vec).collect();
    let mut names = Vec::new();
    b.with_width(width, |b| {
        let mut regs: Vec<Vector> = (0..live).map(|i| b.load(from.at((i * lanes * 4) as i32))).collect();
        for _ in 0..120 {
            let op = &table[random.below(table.len())];
            let which: Vec<usize> = (0..op.arity).map(|_| random.below(live)).collect();
            let n = random.next();
            let args: Vec<&[u32]> = which.iter().map(|i| values[*i].as_slice()).collect();
            let want = expected(op, &args, n, target, lanes);
            let regs_in: Vec<Vector> = which.iter().map(|i| regs[*i]).collect();
            let result = (op.build)(b, &regs_in, n);
            names.push(op.name);
            // Which NaN an operation gives is the machine's choice: such results are not used again.
            if !want.iter().any(|w| is_nan(*w)) {
                let slot = random.below(live);
                (regs[slot], values[slot]) = (result, want);
            }
        }
        for (i, r) in regs.iter().enumerate() {
            b.store(*r, to.at((i * lanes * 4) as i32));
        }
    });
    let kernel = b.finish();
    let text = kernel.to_string();
    assert_eq!(text.parse().as_ref(), Ok(&kernel), "{text}");
    let compiled = kernel.compile().unwrap_or_else(|e| panic!("{e}"));
    let mut buffers = [inputs, vec![0; live * lanes]];
    support::run(target, &compiled, &mut buffers, 0, 0);
    assert_eq!(buffers[1], values.concat(), "{target} {width:?} seed {seed}: {names:?}\n{text}");
}
