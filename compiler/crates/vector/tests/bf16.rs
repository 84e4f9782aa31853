//! Conversions to and from bf16, products of pairs, and AMX tiles, against scalar Rust.

use crate::support;
use mnnc_vector::{Elem, Features, KernelBuilder, Target, TileShapes, Width};

/// Nearest even; NaN stays NaN.
fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() { (bits >> 16) as u16 | 0x40 } else { ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16 }
}

fn widen(h: u16) -> f32 {
    f32::from_bits(u32::from(h) << 16)
}

fn floats(n: usize) -> Vec<f32> {
    let special =
        [0.0, -0.0, 1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 3.389e38, 1.003_906_2, 1.011_718_8, -7.5e-20];
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32 / (1 << 22) as f32 - 2.0
    };
    (0..n).map(|i| special.get(i).copied().unwrap_or_else(&mut next)).collect()
}

fn halves(words: &[u32]) -> Vec<u16> {
    words.iter().flat_map(|w| [*w as u16, (*w >> 16) as u16]).collect()
}

#[test]
fn loads_widen() {
    for target in support::runnable_targets() {
        let lanes = target.lanes();
        let halves: Vec<u16> = floats(2 * lanes).into_iter().map(round).collect();
        let words = halves.chunks(2).map(|h| u32::from(h[0]) | u32::from(h[1]) << 16).collect();
        let mut b = KernelBuilder::new(&target, "widen");
        let (from, to) = (b.arg(0), b.arg(1));
        let v = b.load_convert(Elem::Bf16, from.at(2));
        b.store(v, to.at(0));
        let kernel = b.compile().unwrap_or_else(|e| panic!("{e}"));
        let mut buffers = [words, vec![0; lanes]];
        support::run(&target, &kernel, &mut buffers, 0, 0);
        for (got, want) in buffers[1].iter().zip(&halves[1..]) {
            assert_eq!(*got, u32::from(*want) << 16, "{target}");
        }
    }
}

#[test]
fn stores_round_to_nearest_even() {
    let Some(target) = support::with_features(Features::BF16) else { return };
    for width in Width::ALL {
        let lanes = width.lanes();
        let from = floats(2 * lanes);
        let mut b = KernelBuilder::new(&target, "round");
        let (x, y) = (b.arg(0), b.arg(1));
        b.with_width(width, |b| {
            let (low, high) = (b.load(x.at(0)), b.load(x.at(4 * lanes as i32)));
            b.store_convert(Elem::Bf16, low, y.at(0));
            b.store_convert(Elem::Bf16, high, y.at(2 * lanes as i32));
            if width == Width::W512 {
                let packed = b.pack_bf16(low, high);
                b.store(packed, y.at(4 * lanes as i32));
            }
        });
        let kernel = b.compile().unwrap_or_else(|e| panic!("{e}"));
        let mut buffers = [from.iter().map(|x| x.to_bits()).collect(), vec![0; 2 * lanes]];
        support::run(&target, &kernel, &mut buffers, 0, 0);
        let got = halves(&buffers[1]);
        for (i, got) in got.iter().enumerate().take(if width == Width::W512 { 4 * lanes } else { 2 * lanes }) {
            let x = from[i % (2 * lanes)];
            assert_eq!(*got, round(x), "{width:?}: {x}");
        }
    }
}

/// The sum of products in f64, and the bound of four roundings in f32.
fn close(acc: f32, pairs: &[(f32, f32)], got: f32) -> bool {
    let exact = f64::from(acc) + pairs.iter().map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let size = f64::from(acc.abs()) + pairs.iter().map(|(a, b)| f64::from((a * b).abs())).sum::<f64>();
    (f64::from(got) - exact).abs() <= (pairs.len() + 2) as f64 * size * f64::from(f32::EPSILON)
}

#[test]
fn pairs_are_multiplied_and_summed() {
    let Some(target) = support::with_features(Features::BF16) else { return };
    let values: Vec<f32> = floats(110)[10..].to_vec();
    let words = |from: usize| -> Vec<u32> {
        (0..16)
            .map(|i| u32::from(round(values[from + 2 * i])) | u32::from(round(values[from + 2 * i + 1])) << 16)
            .collect()
    };
    let (x, y) = (words(0), words(40));
    let acc = &values[80..96];
    let mut b = KernelBuilder::new(&target, "dot");
    let (p, q, r, out) = (b.arg(0), b.arg(1), b.arg(2), b.arg(3));
    let (x_reg, acc_reg) = (b.load(p.at(0)), b.load(r.at(0)));
    let y_reg = b.load(q.at(0));
    let full = b.dot_bf16(acc_reg, x_reg, y_reg);
    let one = b.dot_bf16(acc_reg, x_reg, mnnc_vector::Src::Broadcast(q.at(12)));
    b.store(full, out.at(0));
    b.store(one, out.at(64));
    let kernel = b.compile().unwrap_or_else(|e| panic!("{e}"));
    let mut buffers = [x.clone(), y.clone(), acc.iter().map(|x| x.to_bits()).collect(), vec![0; 32]];
    support::run(&target, &kernel, &mut buffers, 0, 0);
    let pair = |w: u32| (widen(w as u16), widen((w >> 16) as u16));
    for i in 0..32 {
        let (a, b) = (pair(x[i % 16]), pair(if i < 16 { y[i] } else { y[3] }));
        let got = f32::from_bits(buffers[3][i]);
        assert!(close(acc[i % 16], &[(a.0, b.0), (a.1, b.1)], got), "lane {i}: {got}");
    }
}

/// A product of matrices whose rows, columns and depth fill no tile.
#[test]
fn tiles_multiply_matrices() {
    let Some(target) = support::with_features(Features::BF16 | Features::AMX_BF16) else { return };
    for (rows, cols, pairs) in [(16usize, 16usize, 16usize), (13, 16, 7), (1, 5, 16)] {
        let values: Vec<f32> = floats(10 + 2 * pairs * (rows + cols))[10..].to_vec();
        let half: Vec<u16> = values.iter().map(|x| round(*x)).collect();
        let words: Vec<u32> = half.chunks(2).map(|h| u32::from(h[0]) | u32::from(h[1]) << 16).collect();
        let (a, bt) = words.split_at(rows * pairs);
        // Rows of the second tile are pairs of the depth.
        let b_words: Vec<u32> = (0..pairs).flat_map(|k| (0..cols).map(move |n| bt[n * pairs + k])).collect();
        let mut b = KernelBuilder::new(&target, "tiles");
        let (pa, pb, out) = (b.arg(0), b.arg(1), b.arg(2));
        let rows_of_scratch = b.scratch(1024);
        let mut tiles = [(0u8, 0u8); 8];
        tiles[0] = (rows as u8, 4 * cols as u8);
        tiles[1] = (rows as u8, 4 * pairs as u8);
        tiles[7] = (pairs as u8, 4 * cols as u8);
        b.tile_config(&TileShapes { tiles });
        let [sa, sb, line] = [4 * pairs, 4 * cols, 64].map(|s| b.int(s as i64));
        b.tile_zero(0);
        b.tile_load(1, pa, sa, 0);
        b.tile_load(7, pb, sb, 0);
        b.tile_dot(0, 1, 7);
        b.tile_dot(0, 1, 7);
        b.tile_store(0, rows_of_scratch, line, 0);
        b.tile_release();
        for r in 0..rows {
            let v = b.load_part(rows_of_scratch.at(64 * r as i32), cols);
            b.store_part(v, out.at((4 * r * cols) as i32), cols);
        }
        let kernel = b.compile().unwrap_or_else(|e| panic!("{e}"));
        let mut buffers = [a.to_vec(), b_words, vec![0; rows * cols]];
        support::run(&target, &kernel, &mut buffers, 0, 0);
        for r in 0..rows {
            for c in 0..cols {
                let products: Vec<(f32, f32)> = (0..4 * pairs)
                    .map(|k| k % (2 * pairs))
                    .map(|k| (widen(half[r * 2 * pairs + k]), widen(half[(rows + c) * 2 * pairs + k])))
                    .collect();
                let got = f32::from_bits(buffers[2][r * cols + c]);
                assert!(close(0.0, &products, got), "{rows}x{cols}x{pairs} at {r},{c}: {got}");
            }
        }
    }
}

/// The same in bytes, unsigned times signed: exact.
#[test]
fn tiles_multiply_bytes() {
    let Some(target) = support::with_features(Features::VNNI | Features::AMX_INT8) else { return };
    for (rows, cols, words) in [(16usize, 16usize, 16usize), (13, 16, 7), (1, 5, 16)] {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state
        };
        let a: Vec<u32> = (0..rows * words).map(|_| next() | 0x80).collect();
        let bt: Vec<u32> = (0..cols * words).map(|_| next()).collect();
        let b_words: Vec<u32> = (0..words).flat_map(|k| bt.iter().skip(k).step_by(words).copied()).collect();
        let mut b = KernelBuilder::new(&target, "tiles");
        let (pa, pb, out) = (b.arg(0), b.arg(1), b.arg(2));
        let mut tiles = [(0u8, 0u8); 8];
        tiles[0] = (rows as u8, 4 * cols as u8);
        tiles[1] = (rows as u8, 4 * words as u8);
        tiles[7] = (words as u8, 4 * cols as u8);
        b.tile_config(&TileShapes { tiles });
        let [sa, sb] = [4 * words, 4 * cols].map(|s| b.int(s as i64));
        b.tile_zero(0);
        b.tile_load(1, pa, sa, 0);
        b.tile_load(7, pb, sb, 0);
        b.tile_dot_u8s8(0, 1, 7);
        b.tile_store(0, out, sb, 0);
        b.tile_release();
        let kernel = b.compile().unwrap_or_else(|e| panic!("{e}"));
        let mut buffers = [a.clone(), b_words, vec![0; rows * cols]];
        support::run(&target, &kernel, &mut buffers, 0, 0);
        for r in 0..rows {
            for c in 0..cols {
                let bytes = |m: &[u32], row: usize| -> Vec<u8> {
                    m[row * words..][..words].iter().flat_map(|w| w.to_le_bytes()).collect()
                };
                let products = bytes(&a, r).into_iter().zip(bytes(&bt, c));
                let want: i32 = products.map(|(x, y)| i32::from(x) * i32::from(y.cast_signed())).sum();
                assert_eq!(buffers[2][r * cols + c].cast_signed(), want, "{rows}x{cols}x{words} at {r},{c}");
            }
        }
    }
}

#[test]
fn kernels_with_tiles_have_a_text_form() {
    let target = Target { features: Features::BF16 | Features::AMX_BF16, ..Target::AVX512 };
    let mut b = KernelBuilder::new(&target, "tiles");
    let p = b.arg(0);
    b.tile_config(&TileShapes { tiles: [(16, 64); 8] });
    let stride = b.int(64);
    b.tile_load(5, p, stride, -64);
    b.tile_dot(0, 5, 6);
    b.tile_release();
    let kernel = b.finish();
    let text = kernel.to_string();
    assert!(text.starts_with("kernel \"tiles\" avx512+bf16+amx_bf16 {"), "{text}");
    assert_eq!(text.parse().as_ref(), Ok(&kernel), "{text}");
}
