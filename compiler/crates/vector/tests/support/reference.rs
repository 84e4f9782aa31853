//! Every vector op of the builder with its meaning in scalar Rust.

use mnnc_vector::{Cmp, Isa, KernelBuilder, Mask, ShiftOp, ShuffleOp, Src, Target, Vector};

/// Builds the op on registers, with a random number for its immediates.
pub type Build = fn(&mut KernelBuilder, &[Vector], u32) -> Vector;
/// Lanes of the result from the lanes of the arguments.
pub type Eval = fn(&[&[u32]], u32, Isa) -> Vec<u32>;

/// An op under test.
pub struct RefOp {
    pub name: &'static str,
    pub arity: usize,
    /// Which targets and numbers of lanes have it.
    pub exists: fn(&Target, usize) -> bool,
    pub build: Build,
    pub eval: Eval,
}

fn f(x: u32) -> f32 {
    f32::from_bits(x)
}

fn map1(a: &[&[u32]], op: impl Fn(u32) -> u32) -> Vec<u32> {
    a[0].iter().map(|x| op(*x)).collect()
}

fn map2(a: &[&[u32]], op: impl Fn(u32, u32) -> u32) -> Vec<u32> {
    a[0].iter().zip(a[1]).map(|(x, y)| op(*x, *y)).collect()
}

fn map3(a: &[&[u32]], op: impl Fn(u32, u32, u32) -> u32) -> Vec<u32> {
    a[0].iter().zip(a[1]).zip(a[2]).map(|((x, y), z)| op(*x, *y, *z)).collect()
}

fn float2(a: &[&[u32]], op: impl Fn(f32, f32) -> f32) -> Vec<u32> {
    map2(a, |x, y| op(f(x), f(y)).to_bits())
}

/// Minimum as the target has it; the maximum is the negated minimum of the negated.
fn minimum(isa: Isa, x: f32, y: f32) -> f32 {
    if isa == Isa::A64Neon {
        match () {
            () if x.is_nan() || y.is_nan() => f32::NAN,
            () if x == 0.0 && y == 0.0 => f(x.to_bits() | y.to_bits()),
            () => x.min(y),
        }
    } else if x < y {
        x
    } else {
        y
    }
}

fn maximum(isa: Isa, x: f32, y: f32) -> f32 {
    -minimum(isa, -x, -y)
}

fn to_int(isa: Isa, x: f32) -> u32 {
    let saturating = (x as i32).cast_unsigned();
    let in_range = (-2_147_483_648.0..2_147_483_648.0).contains(&x);
    if isa == Isa::A64Neon || in_range { saturating } else { 0x8000_0000 }
}

/// `mask ? a : b`, so that the mask is seen.
fn chosen(b: &mut KernelBuilder, m: Mask, v: &[Vector]) -> Vector {
    b.select(m, v[0], v[1])
}

fn choose(a: &[&[u32]], mask: impl Fn(u32, u32) -> bool) -> Vec<u32> {
    map2(a, |x, y| if mask(x, y) { x } else { y })
}

/// `a` followed by `b`.
fn both(a: &[&[u32]]) -> Vec<u32> {
    a[0].iter().chain(a[1]).copied().collect()
}

/// Applies a rearrangement of four and four lanes to each 128-bit part.
fn in_parts(a: &[&[u32]], pick: [usize; 4]) -> Vec<u32> {
    let parts = a[0].chunks(4).zip(a[1].chunks(4));
    parts.flat_map(|(x, y)| pick.map(|i| if i < 4 { x[i] } else { y[i - 4] })).collect()
}

fn halving(a: &[u32], op: impl Fn(f32, f32) -> f32) -> u32 {
    let mut v: Vec<f32> = a.iter().map(|x| f(*x)).collect();
    while v.len() > 1 {
        let (low, high) = v.split_at(v.len() / 2);
        v = low.iter().zip(high).map(|(x, y)| op(*x, *y)).collect();
    }
    v[0].to_bits()
}

fn anywhere(_: &Target, _: usize) -> bool {
    true
}

fn has_halves(_: &Target, lanes: usize) -> bool {
    lanes > 4
}

fn on_x64(t: &Target, _: usize) -> bool {
    t.is_x64()
}

/// A table of indices below `n` from a random number.
fn indices(seed: u32, n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (seed.rotate_left(i * 5) >> 3) % n as u32).collect()
}

/// A table of bytes from a random number.
fn byte_table(seed: u32) -> [u8; 256] {
    std::array::from_fn(|i| ((seed | 1).wrapping_mul((i as u32 + 1).wrapping_mul(0x9e37_79b9)) >> 24) as u8)
}

const K: f32 = 2.5;
const N: u32 = 0x0012_3457;

macro_rules! ops {
    ($($name:literal $arity:literal $exists:expr, $build:expr, $eval:expr;)*) => {
        vec![$(RefOp { name: $name, arity: $arity, exists: $exists, build: $build, eval: $eval }),*]
    };
}

/// The table.
pub fn ops() -> Vec<RefOp> {
    let mut all = arithmetic();
    all.extend(masks());
    all.extend(movement());
    all.extend(bytes());
    all
}

fn arithmetic() -> Vec<RefOp> {
    ops! {
        "add" 2 anywhere, |b, v, _| b.add(v[0], v[1]), |a, _, _| float2(a, |x, y| x + y);
        "add constant" 1 anywhere, |b, v, _| b.add(v[0], K), |a, _, _| map1(a, |x| (f(x) + K).to_bits());
        "sub" 2 anywhere, |b, v, _| b.sub(v[0], v[1]), |a, _, _| float2(a, |x, y| x - y);
        "mul" 2 anywhere, |b, v, _| b.mul(v[0], v[1]), |a, _, _| float2(a, |x, y| x * y);
        "div" 2 anywhere, |b, v, _| b.div(v[0], v[1]), |a, _, _| float2(a, |x, y| x / y);
        "min" 2 anywhere, |b, v, _| b.min(v[0], v[1]), |a, _, i| float2(a, |x, y| minimum(i, x, y));
        "max" 2 anywhere, |b, v, _| b.max(v[0], v[1]), |a, _, i| float2(a, |x, y| maximum(i, x, y));
        "add_i32" 2 anywhere, |b, v, _| b.add_i32(v[0], v[1]), |a, _, _| map2(a, u32::wrapping_add);
        "add_i32 constant" 1 anywhere, |b, v, _| b.add_i32(v[0], N), |a, _, _| map1(a, |x| x.wrapping_add(N));
        "sub_i32" 2 anywhere, |b, v, _| b.sub_i32(v[0], v[1]), |a, _, _| map2(a, u32::wrapping_sub);
        "mul_i32" 2 anywhere, |b, v, _| b.mul_i32(v[0], v[1]), |a, _, _| map2(a, u32::wrapping_mul);
        "min_i32" 2 anywhere, |b, v, _| b.min_i32(v[0], v[1]), |a, _, _| map2(a, |x, y| (x as i32).min(y as i32) as u32);
        "max_i32" 2 anywhere, |b, v, _| b.max_i32(v[0], v[1]), |a, _, _| map2(a, |x, y| (x as i32).max(y as i32) as u32);
        "and" 2 anywhere, |b, v, _| b.and(v[0], v[1]), |a, _, _| map2(a, |x, y| x & y);
        "or" 2 anywhere, |b, v, _| b.or(v[0], v[1]), |a, _, _| map2(a, |x, y| x | y);
        "xor" 2 anywhere, |b, v, _| b.xor(v[0], v[1]), |a, _, _| map2(a, |x, y| x ^ y);
        "andnot" 2 anywhere, |b, v, _| b.andnot(v[0], v[1]), |a, _, _| map2(a, |x, y| !x & y);
        "not" 1 anywhere, |b, v, _| b.not(v[0]), |a, _, _| map1(a, |x| !x);
        "neg" 1 anywhere, |b, v, _| b.neg(v[0]), |a, _, _| map1(a, |x| x ^ 0x8000_0000);
        "abs" 1 anywhere, |b, v, _| b.abs(v[0]), |a, _, _| map1(a, |x| x & 0x7fff_ffff);
        "copy_sign" 2 anywhere, |b, v, _| b.copy_sign(v[0], v[1]), |a, _, _| map2(a, |x, y| x & 0x7fff_ffff | y & 0x8000_0000);
        "sqrt" 1 anywhere, |b, v, _| b.sqrt(v[0]), |a, _, _| map1(a, |x| f(x).sqrt().to_bits());
        "round" 1 anywhere, |b, v, _| b.round(v[0]), |a, _, _| map1(a, |x| f(x).round_ties_even().to_bits());
        "floor" 1 anywhere, |b, v, _| b.floor(v[0]), |a, _, _| map1(a, |x| f(x).floor().to_bits());
        "ceil" 1 anywhere, |b, v, _| b.ceil(v[0]), |a, _, _| map1(a, |x| f(x).ceil().to_bits());
        "trunc" 1 anywhere, |b, v, _| b.trunc(v[0]), |a, _, _| map1(a, |x| f(x).trunc().to_bits());
        "i32_to_f32" 1 anywhere, |b, v, _| b.i32_to_f32(v[0]), |a, _, _| map1(a, |x| (x as i32 as f32).to_bits());
        "f32_to_i32_trunc" 1 anywhere, |b, v, _| b.f32_to_i32_trunc(v[0]), |a, _, i| map1(a, |x| to_int(i, f(x)));
        "f32_to_i32_nearest" 1 anywhere, |b, v, _| b.f32_to_i32_nearest(v[0]),
            |a, _, i| map1(a, |x| to_int(i, f(x).round_ties_even()));
        "fma" 3 anywhere, |b, v, _| b.fma(v[0], v[1], v[2]), |a, _, _| map3(a, |x, y, z| f(y).mul_add(f(z), f(x)).to_bits());
        "fma constant" 2 anywhere, |b, v, _| b.fma(v[0], v[1], K), |a, _, _| map2(a, |x, y| f(y).mul_add(K, f(x)).to_bits());
        "fnma" 3 anywhere, |b, v, _| b.fnma(v[0], v[1], v[2]),
            |a, _, _| map3(a, |x, y, z| (-f(y)).mul_add(f(z), f(x)).to_bits());
        "fma_lane" 3 anywhere, |b, v, n| b.fma_lane(v[0], v[1], v[2], n as usize % 4),
            |a, n, _| { let z = f(a[2][n as usize % 4]); map2(a, |x, y| f(y).mul_add(z, f(x)).to_bits()) };
        "mul_add" 3 anywhere, |b, v, _| b.mul_add(v[0], v[1], v[2]), |a, _, _| map3(a, |x, y, z| f(x).mul_add(f(y), f(z)).to_bits());
        "mul_add constant" 2 anywhere, |b, v, _| b.mul_add(v[0], v[1], K), |a, _, _| map2(a, |x, y| f(x).mul_add(f(y), K).to_bits());
        "shl_i32" 1 anywhere, |b, v, n| b.shl_i32(v[0], (n % 32) as u8), |a, n, _| map1(a, |x| x << (n % 32));
        "shr_u32" 1 anywhere, |b, v, n| b.shr_u32(v[0], (n % 32) as u8), |a, n, _| map1(a, |x| x >> (n % 32));
        "shr_i32" 1 anywhere, |b, v, n| b.shr_i32(v[0], (n % 32) as u8), |a, n, _| map1(a, |x| (x as i32 >> (n % 32)) as u32);
        "splat" 0 anywhere, |b, _, n| b.splat(n), |_, n, _| vec![n; 16];
        "splat of a power of two" 0 anywhere, |b, _, n| b.splat((n % 32) as f32), |_, n, _| vec![((n % 32) as f32).to_bits(); 16];
        "table" 0 anywhere, |b, _, n| { let t = indices(n, b.lanes()); b.table(&t) }, |_, n, _| vec![n; 0];
    }
}

fn masks() -> Vec<RefOp> {
    fn mask_of(b: &mut KernelBuilder, v: &[Vector], cmp: Cmp, last: impl Into<Src>) -> Vector {
        let m = b.cmp_i32(cmp, v[0], last);
        chosen(b, m, v)
    }
    ops! {
        "eq" 2 anywhere, |b, v, _| { let m = b.eq(v[0], v[1]); chosen(b, m, v) }, |a, _, _| choose(a, |x, y| f(x) == f(y));
        "ne" 2 anywhere, |b, v, _| { let m = b.ne(v[0], v[1]); chosen(b, m, v) }, |a, _, _| choose(a, |x, y| f(x) != f(y));
        "lt" 2 anywhere, |b, v, _| { let m = b.lt(v[0], v[1]); chosen(b, m, v) }, |a, _, _| choose(a, |x, y| f(x) < f(y));
        "lt constant" 2 anywhere, |b, v, _| { let m = b.lt(v[0], K); chosen(b, m, v) }, |a, _, _| choose(a, |x, _| f(x) < K);
        "le" 2 anywhere, |b, v, _| { let m = b.le(v[0], v[1]); chosen(b, m, v) }, |a, _, _| choose(a, |x, y| f(x) <= f(y));
        "gt" 2 anywhere, |b, v, _| { let m = b.gt(v[0], v[1]); chosen(b, m, v) }, |a, _, _| choose(a, |x, y| f(x) > f(y));
        "ge" 2 anywhere, |b, v, _| { let m = b.ge(v[0], v[1]); chosen(b, m, v) }, |a, _, _| choose(a, |x, y| f(x) >= f(y));
        "eq_i32" 2 anywhere, |b, v, _| mask_of(b, v, Cmp::Eq, v[1]), |a, _, _| choose(a, |x, y| x == y);
        "ne_i32" 2 anywhere, |b, v, _| mask_of(b, v, Cmp::Ne, v[1]), |a, _, _| choose(a, |x, y| x != y);
        "lt_i32" 2 anywhere, |b, v, _| mask_of(b, v, Cmp::Lt, v[1]), |a, _, _| choose(a, |x, y| (x as i32) < y as i32);
        "lt_i32 constant" 2 anywhere, |b, v, _| mask_of(b, v, Cmp::Lt, 77), |a, _, _| choose(a, |x, _| (x as i32) < 77);
        "le_i32" 2 anywhere, |b, v, _| mask_of(b, v, Cmp::Le, v[1]), |a, _, _| choose(a, |x, y| x as i32 <= y as i32);
        "gt_i32" 2 anywhere, |b, v, _| mask_of(b, v, Cmp::Gt, v[1]), |a, _, _| choose(a, |x, y| x as i32 > y as i32);
        "gt_i32 constant" 2 anywhere, |b, v, _| mask_of(b, v, Cmp::Gt, 77), |a, _, _| choose(a, |x, _| x as i32 > 77);
        "ge_i32" 2 anywhere, |b, v, _| mask_of(b, v, Cmp::Ge, v[1]), |a, _, _| choose(a, |x, y| x as i32 >= y as i32);
        "mask_and" 2 anywhere,
            |b, v, _| { let (p, q) = (b.lt(v[0], v[1]), b.gt(v[0], 0.0)); let m = b.mask_and(p, q); chosen(b, m, v) },
            |a, _, _| choose(a, |x, y| f(x) < f(y) && f(x) > 0.0);
        "mask_or" 2 anywhere,
            |b, v, _| { let (p, q) = (b.lt(v[0], v[1]), b.gt(v[0], 0.0)); let m = b.mask_or(p, q); chosen(b, m, v) },
            |a, _, _| choose(a, |x, y| f(x) < f(y) || f(x) > 0.0);
        "mask_xor" 2 anywhere,
            |b, v, _| { let (p, q) = (b.lt(v[0], v[1]), b.gt(v[0], 0.0)); let m = b.mask_xor(p, q); chosen(b, m, v) },
            |a, _, _| choose(a, |x, y| (f(x) < f(y)) ^ (f(x) > 0.0));
        "mask_not" 2 anywhere, |b, v, _| { let p = b.lt(v[0], v[1]); let m = b.mask_not(p); chosen(b, m, v) },
            |a, _, _| choose(a, |x, y| f(x) >= f(y) || f(x).is_nan() || f(y).is_nan());
        "tail_mask" 2 anywhere, |b, v, n| { let n = n as usize % (b.lanes() + 1); let m = b.tail_mask(n); chosen(b, m, v) },
            |a, n, _| { let n = n as usize % (a[0].len() + 1); (0..a[0].len()).map(|i| a[usize::from(i >= n)][i]).collect() };
        "tail_mask_dyn" 2 anywhere,
            |b, v, n| { let n = b.int(i64::from(n % 24) - 3); let m = b.tail_mask_dyn(n); chosen(b, m, v) },
            |a, n, _| (0..a[0].len()).map(|i| a[usize::from(i as i64 >= i64::from(n % 24) - 3)][i]).collect();
        "blend" 2 anywhere, |b, v, n| { let bits = run(n, b.lanes()); b.blend(bits, v[0], v[1]) },
            |a, n, _| { let bits = run(n, a[0].len()); (0..a[0].len()).map(|i| a[usize::from(bits >> i & 1 == 0)][i]).collect() };
        "clamp" 3 anywhere, |b, v, _| b.clamp(v[0], v[1], v[2]),
            |a, _, i| map3(a, |x, lo, hi| minimum(i, f(hi), maximum(i, f(lo), f(x))).to_bits());
        "relu" 1 anywhere, |b, v, _| { let zero = b.zero(); b.relu(v[0], zero) }, |a, _, i| map1(a, |x| maximum(i, 0.0, f(x)).to_bits());
    }
}

/// A run of lanes from a random number.
fn run(n: u32, lanes: usize) -> u32 {
    let (from, to) = (n as usize % lanes, (n >> 8) as usize % (lanes + 1));
    (from..to).fold(0, |bits, i| bits | 1 << i)
}

fn movement() -> Vec<RefOp> {
    ops! {
        "unpack_lo32" 2 anywhere, |b, v, _| b.shuffle(ShuffleOp::UnpackLo32, v[0], v[1]), |a, _, _| in_parts(a, [0, 4, 1, 5]);
        "unpack_hi32" 2 anywhere, |b, v, _| b.shuffle(ShuffleOp::UnpackHi32, v[0], v[1]), |a, _, _| in_parts(a, [2, 6, 3, 7]);
        "unpack_lo64" 2 anywhere, |b, v, _| b.shuffle(ShuffleOp::UnpackLo64, v[0], v[1]), |a, _, _| in_parts(a, [0, 1, 4, 5]);
        "unpack_hi64" 2 anywhere, |b, v, _| b.shuffle(ShuffleOp::UnpackHi64, v[0], v[1]), |a, _, _| in_parts(a, [2, 3, 6, 7]);
        "even" 2 anywhere, |b, v, _| b.deinterleave(v[0], v[1]).0, |a, _, _| both(a).iter().step_by(2).copied().collect();
        "odd" 2 anywhere, |b, v, _| b.deinterleave(v[0], v[1]).1, |a, _, _| both(a).iter().skip(1).step_by(2).copied().collect();
        "zip_lo" 2 anywhere, |b, v, _| b.interleave(v[0], v[1]).0,
            |a, _, _| (0..a[0].len()).map(|i| a[i % 2][i / 2]).collect();
        "zip_hi" 2 anywhere, |b, v, _| b.interleave(v[0], v[1]).1,
            |a, _, _| { let n = a[0].len(); (0..n).map(|i| a[i % 2][n / 2 + i / 2]).collect() };
        "align" 2 anywhere, |b, v, n| { let n = n as usize % (b.lanes() + 1); b.align(v[0], v[1], n) },
            |a, n, _| { let n = n as usize % (a[0].len() + 1); both(a)[n..n + a[0].len()].to_vec() };
        "permute" 1 anywhere, |b, v, n| { let t = indices(n, b.lanes()); b.permute(v[0], &t) },
            |a, n, _| indices(n, a[0].len()).iter().map(|i| a[0][*i as usize]).collect();
        "permute_by" 2 on_x64, |b, v, _| b.permute_by(v[0], v[1]),
            |a, _, _| a[1].iter().map(|i| a[0][*i as usize % a[0].len()]).collect();
        "reverse" 1 anywhere, |b, v, _| b.reverse(v[0]), |a, _, _| a[0].iter().rev().copied().collect();
        "broadcast_lane" 1 anywhere, |b, v, n| { let n = n as usize % b.lanes(); b.broadcast_lane(v[0], n) },
            |a, n, _| vec![a[0][n as usize % a[0].len()]; a[0].len()];
        "halves swapped" 1 has_halves, |b, v, _| { let (l, h) = (b.low_half(v[0]), b.high_half(v[0])); b.concat(h, l) },
            |a, _, _| { let mut v = a[0].to_vec(); let n = v.len(); v.rotate_left(n / 2); v };
        "parts" 2 has_halves, |b, v, n| { let n = n as u8; let s = if b.lanes() == 8 { n % 4 } else { n }; b.parts(v[0], v[1], s) },
            |a, n, _| {
                let part = |v: usize, i: u32| a[v][i as usize * 4..][..4].to_vec();
                if a[0].len() == 8 {
                    let n = n as u8 % 4;
                    return [part(0, (n & 1).into()), part(1, (n >> 1).into())].concat();
                }
                [part(0, n & 3), part(0, n >> 2 & 3), part(1, n >> 4 & 3), part(1, n >> 6 & 3)].concat()
            };
        "reduce_add" 1 anywhere, |b, v, _| { let r = b.reduce_add(v[0]); b.broadcast_lane(r, 0) },
            |a, _, _| vec![halving(a[0], |x, y| x + y); a[0].len()];
        "reduce_min" 1 anywhere, |b, v, _| { let r = b.reduce_min(v[0]); b.broadcast_lane(r, 0) },
            |a, _, i| vec![halving(a[0], |x, y| minimum(i, x, y)); a[0].len()];
        "reduce_max" 1 anywhere, |b, v, _| { let r = b.reduce_max(v[0]); b.broadcast_lane(r, 0) },
            |a, _, i| vec![halving(a[0], |x, y| maximum(i, x, y)); a[0].len()];
        "through a general register" 1 anywhere, |b, v, _| { let g = b.lane0_to_gpr(v[0]); b.splat_gpr(g) },
            |a, _, _| vec![a[0][0]; a[0].len()];
        "transposed" 2 anywhere, |b, v, n| {
                let lanes = b.lanes();
                let rows: Vec<Vector> = (0..lanes).map(|i| b.align(v[0], v[1], i)).collect();
                b.transpose(&rows)[n as usize % lanes]
            },
            |a, n, _| { let n = n as usize % a[0].len(); both(a)[n..n + a[0].len()].to_vec() };
    }
}

fn each_byte(a: &[&[u32]], op: impl Fn(u8, u8) -> u8) -> Vec<u32> {
    map2(a, |x, y| {
        let (x, y) = (x.to_le_bytes(), y.to_le_bytes());
        u32::from_le_bytes(std::array::from_fn(|i| op(x[i], y[i])))
    })
}

fn each_half(a: &[&[u32]], op: impl Fn(u16, u16) -> u16) -> Vec<u32> {
    map2(a, |x, y| u32::from(op(x as u16, y as u16)) | u32::from(op((x >> 16) as u16, (y >> 16) as u16)) << 16)
}

/// Applies `f` to the bytes of each 128-bit part of two vectors.
fn byte_parts(a: &[&[u32]], f: impl Fn(&[u8], &[u8]) -> Vec<u8>) -> Vec<u32> {
    let bytes = |part: &[u32]| -> Vec<u8> { part.iter().flat_map(|w| w.to_le_bytes()).collect() };
    let parts = a[0].chunks(4).zip(a[1].chunks(4));
    let out: Vec<u8> = parts.flat_map(|(x, y)| f(&bytes(x), &bytes(y))).collect();
    out.chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// `x0 y0 x1 y1 …` of units of `size` bytes, from byte `from` on.
fn interleaved(x: &[u8], y: &[u8], from: usize, size: usize) -> Vec<u8> {
    let half = x[from..from + 8].chunks(size).zip(y[from..from + 8].chunks(size));
    half.flat_map(|(p, q)| [p, q].concat()).collect()
}

fn dot_u8s8(acc: u32, a: u32, b: u32) -> u32 {
    let products =
        a.to_le_bytes().into_iter().zip(b.to_le_bytes()).map(|(x, y)| i32::from(x) * i32::from(y.cast_signed()));
    products.fold(acc.cast_signed(), i32::wrapping_add).cast_unsigned()
}

fn dot_i16(x: u32, y: u32) -> u32 {
    let half = |w: u32| i32::from(w as u16 as i16);
    half(x).wrapping_mul(half(y)).wrapping_add(half(x >> 16).wrapping_mul(half(y >> 16))).cast_unsigned()
}

fn bytes() -> Vec<RefOp> {
    ops! {
        "dot_u8s8" 3 anywhere, |b, v, _| b.dot_u8s8(v[0], v[1], v[2]), |a, _, _| map3(a, dot_u8s8);
        "dot_u8s8 constant" 2 anywhere, |b, v, _| b.dot_u8s8(v[0], v[1], 0x80ff_7f01_u32), |a, _, _| map2(a, |x, y| dot_u8s8(x, y, 0x80ff_7f01));
        "dot_i16" 2 anywhere, |b, v, _| b.dot_i16(v[0], v[1]), |a, _, _| map2(a, dot_i16);
        "dot_i16 constant" 1 anywhere, |b, v, _| b.dot_i16(v[0], 0x0001_8000_u32), |a, _, _| map1(a, |x| dot_i16(x, 0x0001_8000));
        "add_i8" 2 anywhere, |b, v, _| b.add_i8(v[0], v[1]), |a, _, _| each_byte(a, u8::wrapping_add);
        "add_sat_u8" 2 anywhere, |b, v, _| b.add_sat_u8(v[0], v[1]), |a, _, _| each_byte(a, u8::saturating_add);
        "sub_sat_u8" 2 anywhere, |b, v, _| b.sub_sat_u8(v[0], v[1]), |a, _, _| each_byte(a, u8::saturating_sub);
        "min_u8" 2 anywhere, |b, v, _| b.min_u8(v[0], v[1]), |a, _, _| each_byte(a, u8::min);
        "max_u8" 2 anywhere, |b, v, _| b.max_u8(v[0], v[1]), |a, _, _| each_byte(a, u8::max);
        "avg_u8" 2 anywhere, |b, v, _| b.avg_u8(v[0], v[1]), |a, _, _| each_byte(a, |x, y| (u16::from(x) + u16::from(y)).div_ceil(2) as u8);
        "add_i16" 2 anywhere, |b, v, _| b.add_i16(v[0], v[1]), |a, _, _| each_half(a, u16::wrapping_add);
        "shl_16" 1 anywhere, |b, v, n| b.shift(ShiftOp::Shl16, v[0], (n % 16) as u8), |a, n, _| each_half(&[a[0], a[0]], |x, _| x << (n % 16));
        "shr_16" 1 anywhere, |b, v, n| b.shift(ShiftOp::Shr16, v[0], (n % 16) as u8), |a, n, _| each_half(&[a[0], a[0]], |x, _| x >> (n % 16));
        "sar_16" 1 anywhere, |b, v, n| b.shift(ShiftOp::Sar16, v[0], (n % 16) as u8),
            |a, n, _| each_half(&[a[0], a[0]], |x, _| (x.cast_signed() >> (n % 16)).cast_unsigned());
        "unpack_lo8" 2 anywhere, |b, v, _| b.shuffle(ShuffleOp::UnpackLo8, v[0], v[1]), |a, _, _| byte_parts(a, |x, y| interleaved(x, y, 0, 1));
        "unpack_hi8" 2 anywhere, |b, v, _| b.shuffle(ShuffleOp::UnpackHi8, v[0], v[1]), |a, _, _| byte_parts(a, |x, y| interleaved(x, y, 8, 1));
        "unpack_lo16" 2 anywhere, |b, v, _| b.shuffle(ShuffleOp::UnpackLo16, v[0], v[1]), |a, _, _| byte_parts(a, |x, y| interleaved(x, y, 0, 2));
        "unpack_hi16" 2 anywhere, |b, v, _| b.shuffle(ShuffleOp::UnpackHi16, v[0], v[1]), |a, _, _| byte_parts(a, |x, y| interleaved(x, y, 8, 2));
        "narrow_i32" 2 anywhere, |b, v, _| b.shuffle(ShuffleOp::NarrowI32, v[0], v[1]),
            |a, _, _| byte_parts(a, |x, y| {
                let words = [x, y].concat();
                let words = words.chunks(4).map(|w| i32::from_le_bytes([w[0], w[1], w[2], w[3]]));
                words.flat_map(|w| (w.clamp(-32768, 32767) as i16).to_le_bytes()).collect()
            });
        "narrow_i16" 2 anywhere, |b, v, _| b.shuffle(ShuffleOp::NarrowI16, v[0], v[1]),
            |a, _, _| byte_parts(a, |x, y| {
                let words = [x, y].concat();
                words.chunks(2).map(|w| i16::from_le_bytes([w[0], w[1]]).clamp(0, 255) as u8).collect()
            });
        "narrowed in order" 2 anywhere,
            |b, v, _| {
                let packed = b.narrow_u8([v[0], v[1], v[1], v[0]]);
                let order = mnnc_vector::narrowed_order(b.lanes());
                b.permute(packed, &order)
            },
            |a, _, _| {
                let all = [a[0], a[1], a[1], a[0]].concat();
                let bytes: Vec<u8> = all.iter().map(|x| x.cast_signed().clamp(0, 255) as u8).collect();
                bytes.chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            };
        "lookup_bytes" 1 anywhere, |b, v, n| b.lookup_bytes(v[0], &byte_table(n)),
            |a, n, _| map1(a, |x| u32::from_le_bytes(x.to_le_bytes().map(|i| byte_table(n)[usize::from(i)])));
        "permute_bytes" 2 anywhere, |b, v, _| b.permute_bytes(v[0], v[1]),
            |a, _, _| byte_parts(a, |x, i| i.iter().map(|i| if *i < 128 { x[usize::from(*i % 16)] } else { 0 }).collect());
    }
}
