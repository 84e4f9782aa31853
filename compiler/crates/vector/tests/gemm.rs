//! The micro-kernel that everything rests on: registers stay where they are, and the machine runs at its peak.

use crate::support;
use crate::support::Jit;
use mnnc_vector::{CompiledKernel, KernelBuilder, Target, Vector};

/// C[mr x nr] += A panel (k x mr) * B panel (k x nr); k = `end`, a multiple of the unrolling.
fn gemm(target: &Target, mr: usize, nv: usize, unroll: usize) -> CompiledKernel {
    let mut b = KernelBuilder::new(target, "gemm");
    let lanes = b.lanes();
    let (a, bp, c) = (b.arg(0), b.arg(1), b.arg(2));
    let steps = {
        let k = b.end();
        b.int_div(k, unroll as u32)
    };
    let acc: Vec<_> = (0..mr * nv)
        .map(|_| {
            let z = b.zero();
            b.var(z)
        })
        .collect();
    let (pa, pb) = (b.var(a), b.var(bp));
    b.repeat_dyn(steps, |b| {
        let (a, bp) = (b.get(pa), b.get(pb));
        for u in 0..unroll {
            let step = |b: &mut KernelBuilder, i: usize, x: Vector, row: Vector, j: usize| {
                let old = b.get(acc[i * nv + j]);
                let new = b.fma(old, row, x);
                b.set(acc[i * nv + j], new);
            };
            let rows: Vec<Vector> = (0..nv).map(|j| b.load(bp.at((4 * (u * nv + j) * lanes) as i32))).collect();
            if target.has_fma_lane() {
                for q in 0..mr / 4 {
                    let x = b.load(a.at((4 * (u * mr + 4 * q)) as i32));
                    for l in 0..4 {
                        for (j, row) in rows.iter().enumerate() {
                            let at = (4 * q + l) * nv + j;
                            let old = b.get(acc[at]);
                            let new = b.fma_lane(old, *row, x, l);
                            b.set(acc[at], new);
                        }
                    }
                }
            } else {
                for i in 0..mr {
                    let x = b.broadcast(a.at((4 * (u * mr + i)) as i32));
                    for (j, row) in rows.iter().enumerate() {
                        step(b, i, x, *row, j);
                    }
                }
            }
        }
        let a = b.int_add(a, (4 * unroll * mr) as i32);
        b.set(pa, a);
        let bp = b.int_add(bp, (4 * unroll * nv * lanes) as i32);
        b.set(pb, bp);
    });
    for i in 0..mr {
        for j in 0..nv {
            let at = c.at((4 * (i * nv + j) * lanes) as i32);
            let old = b.get(acc[i * nv + j]);
            let sum = b.add(old, at);
            b.store(sum, at);
        }
    }
    b.compile().unwrap_or_else(|e| panic!("{e}"))
}

fn tile(target: &Target) -> (usize, usize) {
    match target.lanes() {
        16 => (14, 2),
        8 => (6, 2),
        _ => (8, 3),
    }
}

fn check(target: &Target, mr: usize, nv: usize, unroll: usize) {
    let kernel = gemm(target, mr, nv, unroll);
    let (nr, k) = (nv * target.lanes(), 24);
    let a: Vec<f32> = (0..mr * k).map(|i| (i % 7) as f32 - 3.0).collect();
    let b: Vec<f32> = (0..nr * k).map(|i| (i % 5) as f32 - 2.0).collect();
    let c: Vec<f32> = (0..mr * nr).map(|i| i as f32).collect();
    let want: Vec<f32> =
        (0..mr * nr).map(|i| i as f32 + (0..k).map(|p| a[p * mr + i / nr] * b[p * nr + i % nr]).sum::<f32>()).collect();
    let mut buffers = [a, b, c].map(|v| v.into_iter().map(f32::to_bits).collect::<Vec<u32>>());
    support::run(target, &kernel, &mut buffers, 0, k);
    let got: Vec<f32> = buffers[2].iter().map(|w| f32::from_bits(*w)).collect();
    assert_eq!(got, want, "{target} {mr}x{nv}");
}

#[test]
fn tiles_are_exact_and_stay_in_registers() {
    for target in support::runnable_targets() {
        let (mr, nv) = tile(&target);
        for unroll in [1, 4] {
            let kernel = gemm(&target, mr, nv, unroll);
            assert_eq!(kernel.stats.edits_in_innermost_loops, 0, "{target}: {:?}", kernel.stats);
            assert_eq!(kernel.stats.spills, 0, "{target}: {:?}", kernel.stats);
            check(&target, mr, nv, unroll);
        }
    }
}

/// More accumulators than registers: slower, but right.
#[test]
fn tiles_that_do_not_fit_are_spilled_correctly() {
    for target in support::runnable_targets() {
        let (mr, nv) = (target.vec_regs(), 2);
        let kernel = gemm(&target, mr, nv, 1);
        assert!(kernel.frame_bytes > 0 && kernel.stats.edits_in_innermost_loops > 0);
        check(&target, mr, nv, 1);
    }
}

/// `cargo test --release -p mnnc-vector gemm:: -- --ignored --nocapture`
#[test]
#[ignore = "a measurement; run it alone on a quiet machine"]
fn tiles_reach_the_peak() {
    for target in support::native_targets() {
        let (mr, nv) = tile(&target);
        let peak = Jit::new(&peak_loop(&target));
        let kernel = Jit::new(&gemm(&target, mr, nv, 4));
        let (nr, k, reps) = (nv * target.lanes(), 256, 2000);
        let mut a = vec![1f32; mr * k];
        let mut b = vec![1f32; nr * k];
        let mut c = vec![0f32; mr * nr];
        let args = [a.as_mut_ptr().cast(), b.as_mut_ptr().cast(), c.as_mut_ptr().cast()];
        let best = |f: &dyn Fn()| {
            (0..40).fold(f64::MAX, |best, _| {
                let t = std::time::Instant::now();
                f();
                best.min(t.elapsed().as_secs_f64())
            })
        };
        // SAFETY: the panels have the sizes that the kernels read and write.
        let of_tile = best(&|| (0..reps).for_each(|_| unsafe { kernel.call(&args, 0, k) }));
        // SAFETY: the loop touches no memory.
        let of_peak = best(&|| unsafe { peak.call(&args, 0, reps * k) });
        let tile_rate = (2 * mr * nr * k * reps) as f64 / of_tile / 1e9;
        let peak_rate = (2 * 24 * target.lanes() * k * reps) as f64 / of_peak / 1e9;
        let part = tile_rate / peak_rate;
        println!("{target} {mr}x{nv}: {tile_rate:.1} of {peak_rate:.1} GFLOP/s, {:.1} %", 100.0 * part);
        assert!(part > 0.95, "{target}: {part}");
    }
}

/// 24 independent multiply-adds a round, `end` rounds, without memory: the machine's peak.
fn peak_loop(target: &Target) -> CompiledKernel {
    let mut b = KernelBuilder::new(target, "peak");
    let x = b.splat(1.0);
    let chains = 12;
    let acc: Vec<_> = (0..chains)
        .map(|_| {
            let z = b.zero();
            b.var(z)
        })
        .collect();
    let n = b.end();
    b.repeat_dyn(n, |b| {
        for i in 0..24 {
            let old = b.get(acc[i % chains]);
            let new = b.fma(old, x, x);
            b.set(acc[i % chains], new);
        }
    });
    // The sums are used, so that they are carried around the loop.
    let a = b.arg(2);
    let mut sum = b.get(acc[0]);
    for v in &acc[1..] {
        let v = b.get(*v);
        sum = b.add(sum, v);
    }
    let first = b.load_part(a.at(0), 1);
    let r = b.min(first, sum);
    b.store_part(r, a.at(0), 1);
    b.compile().unwrap_or_else(|e| panic!("{e}"))
}
