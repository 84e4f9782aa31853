//! Control flow, integers and memory on every target, and the shape of the code that loops become.

use crate::support;
use mnnc_vector::{Cond, Elem, Gpr, Hint, IntType, KernelBuilder, Src, Target, Vector};

/// Builds, runs on buffers, returns them.
fn run(
    target: &Target,
    mut buffers: Vec<Vec<u32>>,
    (begin, end): (usize, usize),
    build: impl FnOnce(&mut KernelBuilder),
) -> Vec<Vec<u32>> {
    let mut b = KernelBuilder::new(target, "test");
    build(&mut b);
    let kernel = b.finish();
    let text = kernel.to_string();
    assert_eq!(text.parse().as_ref(), Ok(&kernel), "{text}");
    let compiled = kernel.compile().unwrap_or_else(|e| panic!("{e}\n{text}"));
    support::run(target, &compiled, &mut buffers, begin, end);
    buffers
}

fn as_i64(words: &[u32]) -> Vec<i64> {
    words.chunks(2).map(|w| (u64::from(w[0]) | u64::from(w[1]) << 32).cast_signed()).collect()
}

fn from_i64(values: &[i64]) -> Vec<u32> {
    values.iter().flat_map(|v| [*v as u32, (*v >> 32) as u32]).collect()
}

type IntBuild = fn(&mut KernelBuilder, Gpr, Gpr) -> Gpr;
type IntEval = fn(i64, i64) -> i64;

#[test]
fn integers() {
    let ops: &[(&str, IntBuild, IntEval)] = &[
        ("add", |b, x, y| b.int_add(x, y), i64::wrapping_add),
        ("add small", |b, x, _| b.int_add(x, 100), |x, _| x.wrapping_add(100)),
        ("add 128", |b, x, _| b.int_add(x, 128), |x, _| x.wrapping_add(128)),
        ("add large", |b, x, _| b.int_add(x, 0x1234_5678), |x, _| x.wrapping_add(0x1234_5678)),
        ("add middle", |b, x, _| b.int_add(x, -0x12_3456), |x, _| x.wrapping_sub(0x12_3456)),
        ("sub", |b, x, y| b.int_sub(x, y), i64::wrapping_sub),
        ("sub from itself", |b, x, _| b.int_sub(x, x), |_, _| 0),
        ("sub least", |b, x, _| b.int_sub(x, i32::MIN), |x, _| x.wrapping_sub(i32::MIN.into())),
        ("mul", |b, x, y| b.int_mul(x, y), i64::wrapping_mul),
        ("mul 12", |b, x, _| b.int_mul(x, 12), |x, _| x.wrapping_mul(12)),
        ("mul -70000", |b, x, _| b.int_mul(x, -70_000), |x, _| x.wrapping_mul(-70_000)),
        ("mul 64", |b, x, _| b.int_mul(x, 64), |x, _| x.wrapping_mul(64)),
        ("and", |b, x, y| b.int_and(x, y), |x, y| x & y),
        ("and constant", |b, x, _| b.int_and(x, -64), |x, _| x & -64),
        ("or", |b, x, y| b.int_or(x, y), |x, y| x | y),
        ("xor", |b, x, y| b.int_xor(x, y), |x, y| x ^ y),
        ("shl", |b, x, _| b.int_shl(x, 5), |x, _| x << 5),
        ("shr", |b, x, _| b.int_shr(x, 33), |x, _| (x as u64 >> 33) as i64),
        ("sar", |b, x, _| b.int_sar(x, 3), |x, _| x >> 3),
        ("min", |b, x, y| b.int_min(x, y), i64::min),
        ("min constant", |b, x, _| b.int_min(x, 5), |x, _| x.min(5)),
        ("max", |b, x, y| b.int_max(x, y), i64::max),
        ("select", |b, x, y| b.int_select(Cond::Le, x, y, y, x), i64::max),
        ("select of constants", |b, x, y| b.int_select(Cond::Ge, x, 7, y, x), |x, y| if x >= 7 { y } else { x }),
        ("constant", |b, _, _| b.int(0x1234_0000_5678), |_, _| 0x1234_0000_5678),
        ("negative", |b, _, _| b.int(-70_000), |_, _| -70_000),
        ("least", |b, _, _| b.int(i64::MIN), |_, _| i64::MIN),
        ("large unsigned", |b, _, _| b.int(0xffff_0000), |_, _| 0xffff_0000),
        (
            "div 7",
            |b, x, _| {
                let x = b.int_and(x, i32::MAX);
                b.int_div(x, 7)
            },
            |x, _| (x & 0x7fff_ffff) / 7,
        ),
        (
            "div 641",
            |b, x, _| {
                let x = b.int_and(x, i32::MAX);
                b.int_div(x, 641)
            },
            |x, _| (x & 0x7fff_ffff) / 641,
        ),
        (
            "div 2^31-1",
            |b, x, _| {
                let x = b.int_and(x, i32::MAX);
                b.int_div(x, 0x7fff_ffff)
            },
            |x, _| (x & 0x7fff_ffff) / 0x7fff_ffff,
        ),
        (
            "div 16",
            |b, x, _| {
                let x = b.int_and(x, i32::MAX);
                b.int_div(x, 16)
            },
            |x, _| (x & 0x7fff_ffff) / 16,
        ),
        (
            "rem 3",
            |b, x, _| {
                let x = b.int_and(x, i32::MAX);
                b.int_rem(x, 3)
            },
            |x, _| (x & 0x7fff_ffff) % 3,
        ),
        (
            "rem 8",
            |b, x, _| {
                let x = b.int_and(x, i32::MAX);
                b.int_rem(x, 8)
            },
            |x, _| (x & 0x7fff_ffff) % 8,
        ),
        ("lea", |b, x, y| b.lea(x.at_index(y, 4, -40)), |x, y| x.wrapping_add(y.wrapping_mul(4)).wrapping_sub(40)),
        ("lea plain", |b, x, _| b.lea(x.at(40)), |x, _| x.wrapping_add(40)),
    ];
    let numbers = [
        0,
        1,
        -1,
        2,
        7,
        63,
        4096,
        -4097,
        0x7fff_ffff,
        0x8000_0000,
        -0x8000_0000,
        0x1234_5678_9abc,
        i64::MAX,
        i64::MIN,
        641 * 99_991,
    ];
    let pairs: Vec<i64> = numbers.iter().flat_map(|x| numbers.iter().flat_map(|y| [*x, *y])).collect();
    let count = pairs.len() / 2;
    for target in support::runnable_targets() {
        let out = run(&target, vec![from_i64(&pairs), vec![0; 2 * ops.len() * count]], (0, count), |b| {
            let (from, to) = (b.arg(0), b.arg(1));
            let (from, to) = (b.var(from), b.var(to));
            let count = b.end();
            b.repeat_dyn(count, |b| {
                let (p, q) = (b.get(from), b.get(to));
                let (x, y) = (b.int_load(IntType::I64, p.at(0)), b.int_load(IntType::I64, p.at(8)));
                for (i, (_, build, _)) in ops.iter().enumerate() {
                    let r = build(b, x, y);
                    b.int_store(IntType::I64, r, q.at(i as i32 * 8));
                }
                let p = b.int_add(p, 16);
                b.set(from, p);
                let q = b.int_add(q, ops.len() as i32 * 8);
                b.set(to, q);
            });
        });
        for (pair, got) in pairs.chunks(2).zip(as_i64(&out[1]).chunks(ops.len())) {
            for ((name, _, eval), got) in ops.iter().zip(got) {
                assert_eq!(*got, eval(pair[0], pair[1]), "{target} {name} {pair:?}");
            }
        }
    }
}

#[test]
fn integer_loads_and_stores() {
    let types = IntType::ALL;
    let data = [0x8001_ff80, 0x7fee_7f01, 0xfedc_ba98, 0x0123_4567];
    for target in support::runnable_targets() {
        let out = run(&target, vec![data.to_vec(), vec![0; 64], vec![0xaaaa_aaaa; 64]], (1, 0), |b| {
            let (from, to, narrow) = (b.arg(0), b.arg(1), b.arg(2));
            let one = b.begin();
            for (i, ty) in types.iter().enumerate() {
                // Odd offsets, an index, and a displacement that only a register can hold.
                let v = b.int_load(*ty, from.at_index(one, 2, 1));
                b.int_store(IntType::I64, v, to.at(i as i32 * 8));
                let far = b.int_add(from, -1_000_000);
                let v = b.int_load(*ty, far.at(1_000_005));
                b.int_store(IntType::I64, v, to.at(64 + i as i32 * 8));
                b.int_store(*ty, v, narrow.at(i as i32 * 8 + 1));
                b.prefetch(Hint::L1, from.at(1 << 20));
                b.prefetch(Hint::L2, from.at_index(one, 8, -72));
            }
        });
        let bytes: Vec<u8> = data.iter().flat_map(|w| w.to_le_bytes()).collect();
        let read = |ty: IntType, at: usize| {
            let raw = bytes[at..at + ty.bytes()].iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
            let unused = 64 - 8 * ty.bytes() as u32;
            match ty {
                IntType::U8 | IntType::U16 | IntType::U32 => raw.cast_signed(),
                _ => (raw << unused).cast_signed() >> unused,
            }
        };
        let got = as_i64(&out[1]);
        let stored: Vec<u8> = out[2].iter().flat_map(|w| w.to_le_bytes()).collect();
        for (i, ty) in types.iter().enumerate() {
            assert_eq!(got[i], read(*ty, 3), "{target} {ty:?}");
            assert_eq!(got[8 + i], read(*ty, 5), "{target} {ty:?}");
            let mut want = [0xaa; 8];
            want[1..].copy_from_slice(&[0xaa; 7]);
            let n = ty.bytes().min(7);
            want[1..1 + n].copy_from_slice(&bytes[5..5 + n]);
            if ty.bytes() < 8 {
                assert_eq!(stored[i * 8..i * 8 + 8], want, "{target} {ty:?}");
            }
        }
    }
}

#[test]
fn loops_and_branches() {
    for target in support::runnable_targets() {
        for (begin, end) in [(0, 0), (3, 2), (0, 1), (2, 11), (5, 40)] {
            let out = run(&target, vec![vec![0; 16]], (begin, end), |b| {
                let to = b.arg(0);
                let (begin, end) = (b.begin(), b.end());
                let zero = b.int(0);
                let (sum, odd, rounds, straight) = (b.var(zero), b.var(zero), b.var(zero), b.var(zero));
                let add = |b: &mut KernelBuilder, v, n| {
                    let old = b.get(v);
                    let new = b.int_add(old, n);
                    b.set(v, new);
                };
                b.for_range(begin, end, 3, |b, i| {
                    b.for_range(0, i, 2, |b, j| {
                        let old = b.get(sum);
                        let new = b.int_add(old, j);
                        b.set(sum, new);
                    });
                    let bit = b.int_and(i, 1);
                    b.if_else(Cond::Ne, bit, 0, |b| add(b, odd, 1), |b| add(b, rounds, 1000));
                    add(b, rounds, 1);
                });
                b.for_range(0, 4, 1, |b, _| b.repeat(3, |b| add(b, straight, 1)));
                b.repeat(0, |b| add(b, straight, 1_000_000));
                b.repeat(1, |b| add(b, straight, 100));
                b.repeat_dyn(end, |b| b.if_(Cond::Gt, begin, 2, |b| add(b, straight, 10_000)));
                for (i, v) in [sum, odd, rounds, straight].into_iter().enumerate() {
                    let v = b.get(v);
                    b.int_store(IntType::I64, v, to.at(i as i32 * 8));
                }
            });
            let steps: Vec<i64> = (begin as i64..end as i64).step_by(3).collect();
            let sum: i64 = steps.iter().flat_map(|i| (0..*i).step_by(2)).sum();
            let odd = steps.iter().filter(|i| *i % 2 == 1).count() as i64;
            let rounds = steps.len() as i64 + 1000 * (steps.len() as i64 - odd);
            let straight = 112 + if begin > 2 { 10_000 * end as i64 } else { 0 };
            assert_eq!(as_i64(&out[0])[..4], [sum, odd, rounds, straight], "{target} {begin}..{end}");
        }
    }
}

/// More live integers than registers, across a loop, with preserved registers in use.
#[test]
fn integers_spill() {
    for target in support::runnable_targets() {
        let n = 40;
        let out = run(&target, vec![vec![0; 2 * n]], (0, 9), |b| {
            let to = b.arg(0);
            let vars: Vec<_> = (0..n)
                .map(|i| {
                    let v = b.int(i as i64);
                    b.var(v)
                })
                .collect();
            let end = b.end();
            b.for_range(0, end, 1, |b, i| {
                for k in 0..n {
                    let (x, y) = (b.get(vars[k]), b.get(vars[(k + 1) % n]));
                    let s = b.int_add(x, y);
                    let s = b.int_xor(s, i);
                    b.set(vars[k], s);
                }
            });
            for (k, v) in vars.iter().enumerate() {
                let v = b.get(*v);
                b.int_store(IntType::I64, v, to.at(k as i32 * 8));
            }
        });
        let mut want: Vec<i64> = (0..n as i64).collect();
        for i in 0..9 {
            for k in 0..n {
                want[k] = want[k].wrapping_add(want[(k + 1) % n]) ^ i;
            }
        }
        assert_eq!(as_i64(&out[0]), want, "{target}");
    }
}

/// An operand from a base and an index of 3; its value from lane and number of lanes.
type SourceBuild = fn(Gpr, Gpr) -> Src;
type LaneValue = fn(usize, usize) -> f32;

#[test]
fn memory_operands_and_addresses() {
    for target in support::runnable_targets() {
        let n = target.lanes();
        let data: Vec<u32> = (0..40_000).map(|i| (i as f32).to_bits()).collect();
        let sources: &[(SourceBuild, LaneValue)] = &[
            (|p, _| p.at(4).into(), |i, _| i as f32 + 1.0),
            (|p, _| Src::Broadcast(p.at(8)), |_, _| 2.0),
            (|p, i| Src::Mem(p.at_index(i, 8, 20)), |i, _| i as f32 + 5.0 + 6.0),
            (|p, i| Src::Broadcast(p.at_index(i, 4, 0)), |_, _| 3.0),
            (|p, _| p.at(4 * 30_000 + 16).into(), |i, _| i as f32 + 30_004.0),
            (|p, i| p.at_index(i, 4, 4 * 35_001).into(), |i, _| i as f32 + 35_004.0),
            (|p, i| Src::Broadcast(p.at_index(i, 4, 4 * 35_001)), |_, _| 35_004.0),
            (|_, _| 0.5.into(), |_, _| 0.5),
        ];
        let out = run(&target, vec![data, vec![0; sources.len() * 3 * n]], (3, 0), |b| {
            let (p, to) = (b.arg(0), b.arg(1));
            let three = b.begin();
            let base = b.load(p.at(0));
            for (k, (source, _)) in sources.iter().enumerate() {
                let src = source(p, three);
                let results = [b.sub(base, src), b.fma(base, base, src), b.mul_add(base, base, src)];
                for (j, r) in results.into_iter().enumerate() {
                    b.store(r, to.at(((k * 3 + j) * n * 4) as i32));
                }
            }
        });
        for (k, (_, value)) in sources.iter().enumerate() {
            for i in 0..n {
                let (x, y) = (i as f32, value(i, n));
                let want = [x - y, x.mul_add(y, x), x.mul_add(x, y)];
                let got = [0, 1, 2].map(|j| f32::from_bits(out[1][(k * 3 + j) * n + i]));
                assert_eq!(got, want, "{target} source {k} lane {i}");
            }
        }
    }
}

#[test]
fn parts_of_vectors() {
    for target in support::runnable_targets() {
        let n = target.lanes();
        let data: Vec<u32> = (100..100 + n as u32).collect();
        let kinds = n + 3;
        let out = run(&target, vec![data.clone(), vec![7; 2 * kinds * n]], (0, 0), |b| {
            let (from, to) = (b.arg(0), b.arg(1));
            let all = b.load(from.at(0));
            let row = |k: usize| to.at((k * n * 4) as i32);
            for count in 1..=n {
                let v = b.load_part(from.at(0), count);
                b.store(v, row(2 * (count - 1)));
                b.store_part(all, row(2 * (count - 1) + 1), count);
            }
            for (i, count) in [-5i64, 3, 99].into_iter().enumerate() {
                let count = b.int(count);
                let mask = b.tail_mask_dyn(count);
                let v = b.load_masked(from.at(0), mask);
                b.store(v, row(2 * (n + i)));
                b.store_masked(all, row(2 * (n + i) + 1), mask);
            }
        });
        let counts = (1..=n).chain([0, 3, n]);
        for (k, count) in counts.enumerate() {
            let rows: Vec<&[u32]> = out[1].chunks(n).skip(2 * k).take(2).collect();
            let want = |rest: u32| -> Vec<u32> { (0..n).map(|i| if i < count { data[i] } else { rest }).collect() };
            assert_eq!(rows, [want(0), want(7)], "{target}, {count} of {n}");
        }
    }
}

#[test]
fn gathers_and_conversions() {
    for target in support::runnable_targets() {
        let n = target.lanes();
        let words: Vec<u32> = (0..64).map(|i| 0x3c00_0000u32.wrapping_add(i * 0x0113_0725)).collect();
        let index: Vec<u32> = (0..n as i32).map(|i| (i * 7 % 23 - 9).cast_unsigned()).collect();
        let out = run(&target, vec![words.clone(), index.clone(), vec![0; 6 * n]], (0, 0), |b| {
            let (from, index, to) = (b.arg(0), b.arg(1), b.arg(2));
            let index = b.load(index.at(0));
            let row = |k: usize| to.at((k * n * 4) as i32);
            let middle = b.int_add(from, 80);
            let v = [
                b.gather(middle, index, 4, 0),
                b.gather(middle, index, 1, 40),
                b.load_convert(Elem::F16, from.at(6)),
                b.load_convert(Elem::I8, from.at(5)),
                b.load_convert(Elem::U8, from.at(5)),
            ];
            for (k, v) in v.into_iter().enumerate() {
                b.store(v, row(k));
            }
            b.store_convert(Elem::F16, v[2], row(5));
        });
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let word = |at: i32| {
            let at = usize::try_from(at).expect("inside");
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let halves: Vec<u8> = out[2][5 * n..].iter().flat_map(|w| w.to_le_bytes()).collect();
        for i in 0..n {
            let got = |k: usize| out[2][k * n + i];
            assert_eq!(got(0), word(80 + 4 * index[i] as i32), "{target} gather lane {i}");
            assert_eq!(got(1), word(120 + index[i] as i32), "{target} gather of bytes, lane {i}");
            let half = u16::from_le_bytes([bytes[6 + 2 * i], bytes[7 + 2 * i]]);
            assert_eq!(f32::from_bits(got(2)), half_to_f32(half), "{target} f16 lane {i}");
            assert_eq!(halves[2 * i..2 * i + 2], half.to_le_bytes(), "{target} f16 back, lane {i}");
            assert_eq!(got(3), i32::from(bytes[5 + i] as i8).cast_unsigned(), "{target} i8 lane {i}");
            assert_eq!(got(4), bytes[5 + i].into(), "{target} u8 lane {i}");
        }
    }
}

#[test]
fn bytes_are_stored_saturated_and_broadcast() {
    for target in support::runnable_targets() {
        let n = target.lanes();
        let special =
            [0, -1, 1, 127, 128, -128, -129, 255, 256, i32::MIN, i32::MAX, 70_000, -70_000, 32_768, 200, 65_535];
        let words: Vec<u32> = special[..].iter().chain(&special).map(|x| x.cast_unsigned()).collect();
        let out = run(&target, vec![words, vec![0xaaaa_aaaa; 5 * n]], (0, 0), |b| {
            let (from, to) = (b.arg(0), b.arg(1));
            for half in 0..16 / n as i32 {
                let v = b.load(from.at(half * n as i32 * 4));
                b.store_convert(Elem::U8, v, to.at(1 + half * n as i32));
                b.store_convert(Elem::I8, v, to.at(18 + half * n as i32));
            }
            // Byte 1 of the third word.
            let v = b.broadcast_byte(from.at(4 * 8 + 1));
            b.store(v, to.at(16 * n as i32));
        });
        let bytes: Vec<u8> = out[1].iter().flat_map(|w| w.to_le_bytes()).collect();
        let mut want = [0xaa; 35];
        for (i, x) in special.iter().enumerate() {
            want[1 + i] = (*x).clamp(0, 255) as u8;
            want[18 + i] = (*x).clamp(-128, 127) as u8;
        }
        // What lies behind the narrow vectors of a small target's buffer stays as it was, too.
        let upto = want.len().min(16 * n);
        assert_eq!(bytes[..upto], want[..upto], "{target}");
        assert_eq!(bytes[16 * n..], vec![1; 4 * n], "{target}");
    }
}

#[test]
fn parts_of_vectors_of_bytes() {
    for target in support::runnable_targets() {
        let n = target.lanes();
        let words: Vec<u32> = (0..16u32).map(|i| 0x80fe_7f01u32.wrapping_add(i.wrapping_mul(0x1d23_0b57))).collect();
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let rows = 4 * n + 2 * n;
        let out = run(&target, vec![words.clone(), vec![0; 2 * n * n], vec![0xaaaa_aaaa; rows * n]], (0, 0), |b| {
            let (from, wide, narrow) = (b.arg(0), b.arg(1), b.arg(2));
            let all = b.load(from.at(0));
            for count in 1..=n {
                for (k, elem) in [Elem::U8, Elem::I8].into_iter().enumerate() {
                    let v = b.load_convert_part(elem, from.at(3), count);
                    b.store(v, wide.at(((2 * (count - 1) + k) * n * 4) as i32));
                    let row = 4 * n + k * n + count - 1;
                    b.store_convert_part(elem, v, narrow.at((row * n * 4) as i32), count);
                }
            }
            for count in 1..=4 * n {
                b.store_bytes(all, narrow.at(((count - 1) * n * 4) as i32), count);
            }
        });
        let narrow: Vec<u8> = out[2].iter().flat_map(|w| w.to_le_bytes()).collect();
        for count in 1..=4 * n {
            let row = &narrow[(count - 1) * 4 * n..][..4 * n];
            assert_eq!(row[..count], bytes[..count], "{target}: {count} bytes");
            assert!(row[count..].iter().all(|b| *b == 0xaa), "{target}: {count} bytes");
        }
        for count in 1..=n {
            for k in [0, n] {
                let row = &narrow[(4 * n + k + count - 1) * 4 * n..][..4 * n];
                assert_eq!(row[..count], bytes[3..3 + count], "{target}: {count} lanes");
                assert!(row[count..].iter().all(|b| *b == 0xaa), "{target}: {count} lanes");
            }
            for (i, byte) in bytes[3..3 + count].iter().enumerate() {
                let got = |k: usize| out[1][(2 * (count - 1) + k) * n + i];
                assert_eq!(got(0), u32::from(*byte), "{target}: {count} lanes");
                assert_eq!(got(1), i32::from(byte.cast_signed()).cast_unsigned(), "{target}: {count} lanes");
            }
        }
    }
}

/// Value of a half-precision number that is not NaN or infinity.
fn half_to_f32(h: u16) -> f32 {
    let (sign, exponent, mantissa) = (h >> 15, i32::from(h >> 10 & 31), f32::from(h & 1023));
    let magnitude = if exponent == 0 {
        mantissa * 2f32.powi(-24)
    } else {
        assert_ne!(exponent, 31, "the data has no infinities");
        (1.0 + mantissa / 1024.0) * 2f32.powi(exponent - 15)
    };
    if sign == 1 { -magnitude } else { magnitude }
}

#[test]
fn tables() {
    for target in support::runnable_targets() {
        let out = run(&target, vec![vec![0; 8]], (2, 0), |b| {
            let (to, two) = (b.arg(0), b.begin());
            let table = b.table_addr(&[10, 11, 12, 13, 14]);
            let x = b.int_load(IntType::U32, table.at_index(two, 4, 4));
            b.int_store(IntType::I64, x, to.at(0));
        });
        assert_eq!(out[0][0], 13, "{target}");
    }
}

/// A loop over pointers is its body, the additions, and one branch.
#[test]
fn loops_have_no_overhead() {
    let build = |target: &Target| {
        let mut b = KernelBuilder::new(target, "sum");
        let (x, y) = (b.arg(0), b.arg(1));
        let zero = b.zero();
        let (acc, p) = (b.var(zero), b.var(x));
        let bytes = b.lanes() as i32 * 4;
        b.repeat(100, |b| {
            let (p0, acc0) = (b.get(p), b.get(acc));
            let v: Vector = b.add(acc0, p0.at(0));
            b.set(acc, v);
            let next = b.int_add(p0, bytes);
            b.set(p, next);
        });
        let v = b.get(acc);
        b.store(v, y.at(0));
        b.compile().unwrap_or_else(|e| panic!("{e}"))
    };
    for target in [Target::AVX512, Target::AVX2, Target::NEON] {
        assert_eq!(build(&target).stats.edits_in_innermost_loops, 0, "{target}");
    }
    let listing = support::disassemble_x64(&build(&Target::AVX2));
    let branch = listing.iter().position(|i| i.starts_with("jne")).expect("a loop");
    let body: Vec<&str> = listing[branch - 3..=branch].iter().map(String::as_str).collect();
    assert!(body[0].starts_with("vaddps"), "{body:?}");
    assert!(body[1].starts_with("add $0x20,"), "{body:?}");
    assert!(body[2].starts_with("add $0xFFFFFFFFFFFFFFFF,"), "{body:?}");
}

/// Partial loads and stores at the end of a page touch nothing behind it, even under masks.
#[test]
fn parts_stay_inside_their_memory() {
    for target in support::native_targets() {
        let n = target.lanes();
        let pages = support::GuardedPage::new();
        for count in 1..=n {
            let mut b = KernelBuilder::new(&target, "edge");
            let p = b.arg(0);
            let v = b.load_part(p.at(0), count);
            let count_reg = b.end();
            let mask = b.tail_mask_dyn(count_reg);
            let w = b.load_masked(p.at(0), mask);
            let v = b.add_i32(v, w);
            b.store_part(v, p.at(0), count);
            b.store_masked(v, p.at(0), mask);
            let kernel = b.compile().unwrap_or_else(|e| panic!("{e}"));
            let at = pages.last_words(count);
            // SAFETY: `count` words before the guard, which the kernel must not touch.
            unsafe {
                for i in 0..count {
                    at.add(i).write(i as u32 + 1);
                }
                support::Jit::new(&kernel).call(&[at.cast()], 0, count);
                for i in 0..count {
                    assert_eq!(at.add(i).read(), 2 * (i as u32 + 1), "{target}, {count} lanes");
                }
            }
        }
    }
}
