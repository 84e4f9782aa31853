//! Encodings of x86-64 against an independent decoder: what the listing says is what was meant.

use crate::support;
use mnnc_vector::{Cmp, Elem, Features, Gpr, IntType, KernelBuilder, ShuffleOp, Src, Target, TileShapes, Vector};

/// The instructions that `build` adds to an empty kernel.
fn listing(target: &Target, build: impl FnOnce(&mut KernelBuilder, Gpr, Vector, Vector)) -> Vec<String> {
    let mut b = KernelBuilder::new(target, "listing");
    let p = b.arg(0);
    let (x, y) = (b.load(p.at(0)), b.load(p.at(0)));
    build(&mut b, p, x, y);
    let kernel = b.compile().unwrap_or_else(|e| panic!("{e}"));
    let mut lines = support::disassemble_x64(&kernel);
    // Around it: three loads in front; `vzeroupper` and the return behind.
    assert_eq!(&lines[lines.len() - 2..], ["vzeroupper", "ret"]);
    lines.truncate(lines.len() - 2);
    lines.split_off(3)
}

fn mnemonics(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|l| l.split(' ').next().unwrap_or(l)).collect()
}

#[test]
fn avx512_forms() {
    let t = Target::AVX512;
    let use_it = |b: &mut KernelBuilder, p: Gpr, v: Vector| b.store(v, p.at(0));
    // Broadcast and full memory operands; displacements are compressed to a byte where they are multiples.
    let l = listing(&t, |b, p, x, y| {
        let v = b.fma(x, y, Src::Broadcast(p.at(4)));
        let v = b.add(v, p.at(64));
        use_it(b, p, v);
    });
    assert!(l[0].starts_with("vfmadd231ps 4(%") && l[0].contains("{1to16}"), "{l:?}");
    assert!(l[1].starts_with("vaddps 0x40(%"), "{l:?}");
    assert!(l[2].starts_with("vmovups %zmm"), "{l:?}");
    // Masks: compare into an opmask, blend under it, masked store.
    let l = listing(&t, |b, p, x, y| {
        let m = b.lt(x, y);
        let v = b.select(m, x, y);
        b.store_masked(v, p.at(0), m);
    });
    assert_eq!(mnemonics(&l), ["vcmplt_oqps", "vblendmps", "vmovups"], "{l:?}");
    assert!(l[1].contains("{%k1}") && l[2].contains("{%k1}"), "{l:?}");
    // A constant tail: an immediate through a general register, zeroing load.
    let l = listing(&t, |b, p, _, _| {
        let v = b.load_part(p.at(0), 11);
        b.store_part(v, p.at(0), 4);
    });
    assert_eq!(mnemonics(&l), ["mov", "kmovw", "vmovups", "vmovups"], "{l:?}");
    assert!(l[0].contains("$0x7FF") && l[2].contains("{%k1}{z}") && l[3].contains("%xmm"), "{l:?}");
    // Bytes under the mask of a tail.
    let l = listing(&t, |b, p, _, _| {
        let v = b.load_convert_part(Elem::I8, p.at(0), 11);
        b.store_convert_part(Elem::U8, v, p.at(0), 11);
    });
    assert_eq!(mnemonics(&l), ["mov", "kmovw", "vpmovsxbd", "vpmaxsd", "vpmovusdb"], "{l:?}");
    assert!(l[2].contains("{%k1}{z}") && l[4].contains("{%k1}"), "{l:?}");
    // Shuffles that need a table.
    let l = listing(&t, |b, p, x, y| {
        let v = b.shuffle(ShuffleOp::Even, x, y);
        use_it(b, p, v);
    });
    assert_eq!(mnemonics(&l), ["vmovups", "vpermi2ps", "vmovups"], "{l:?}");
    assert!(l[0].contains("(%rip)"), "{l:?}");
}

#[test]
fn bf16_and_tile_forms() {
    let t = Target { features: Features::BF16 | Features::AMX_BF16, ..Target::AVX512 };
    let l = listing(&t, |b, p, x, y| {
        let v = b.dot_bf16(x, y, Src::Broadcast(p.at(4)));
        let w = b.load_convert(Elem::Bf16, p.at(32));
        b.store_convert(Elem::Bf16, w, p.at(64));
        let packed = b.pack_bf16(v, w);
        b.store(packed, p.at(0));
    });
    let want = ["vdpbf16ps", "vpmovzxwd", "vpslld", "vcvtneps2bf16", "vmovups", "vcvtne2ps2bf16", "vmovups"];
    assert_eq!(mnemonics(&l), want, "{l:?}");
    assert!(l[0].contains("{1to16}") && l[4].contains("%ymm"), "{l:?}");
    let mut b = KernelBuilder::new(&t, "tiles");
    let p = b.arg(0);
    let rows = b.scratch(1024);
    b.tile_config(&TileShapes { tiles: [(16, 64); 8] });
    let stride = b.int(64);
    b.tile_zero(0);
    b.tile_load(4, p, stride, 128);
    b.tile_dot(0, 4, 6);
    b.tile_store(0, rows, stride, 0);
    b.tile_release();
    let l = support::disassemble_x64(&b.compile().unwrap_or_else(|e| panic!("{e}")));
    // The frame holds the scratch area and what its alignment may skip.
    assert!(l[0].starts_with("sub $0x440,%rsp") && l.iter().any(|l| l == "add $0x440,%rsp"), "{l:?}");
    let all = mnemonics(&l).join(" ");
    assert!(all.starts_with("sub mov lea and lea ldtilecfg"), "{l:?}");
    assert!(all.contains("tilezero tileloadd tdpbf16ps tilestored tilerelease"), "{l:?}");
    assert!(l.iter().any(|l| l.starts_with("tileloadd 0x80(%") && l.ends_with("%tmm4")), "{l:?}");
    assert!(l.iter().any(|l| l == "tdpbf16ps %tmm6,%tmm4,%tmm0"), "{l:?}");
}

#[test]
fn byte_forms() {
    let t = Target { features: Features::VNNI | Features::AMX_INT8, ..Target::AVX512 };
    let l = listing(&t, |b, p, x, y| {
        let v = b.dot_u8s8(x, y, Src::Broadcast(p.at(4)));
        let v = b.max_u8(v, p.at(64));
        let v = b.max_u8(v, 7);
        let w = b.narrow_u8([v, x, y, v]);
        let c = b.broadcast_byte(p.at(3));
        let w = b.add_i8(w, c);
        b.store_convert(Elem::U8, w, p.at(32));
        b.store_convert(Elem::I8, w, p.at(0));
    });
    // The accumulator is read again, so it is copied.
    let want = "vmovaps vpdpbusd vpmaxub vbroadcastss vpmaxub vpackssdw vpackssdw vpackuswb vpbroadcastb vpaddb vpmaxsd vpmovusdb vpmovsdb";
    assert_eq!(mnemonics(&l).join(" "), want, "{l:?}");
    assert!(l[1].contains("{1to16}") && l[10].contains("{1to16}") && l[11].contains("0x20(%"), "{l:?}");
    // Without the instruction, both operands are split into 16-bit lanes.
    let l = listing(&Target::AVX2, |b, p, x, y| {
        let v = b.dot_u8s8(x, y, x);
        b.store_convert(Elem::U8, v, p.at(32));
    });
    let want =
        "vandps vpsrlw vpsllw vpsraw vpsraw vpmaddwd vpmaddwd vpaddd vpaddd vextractf128 vpackssdw vpackuswb vmovsd";
    assert_eq!(mnemonics(&l).join(" "), want, "{l:?}");
    let l = listing(&Target { features: Features::VNNI, ..Target::AVX2 }, |b, p, x, y| {
        let v = b.dot_u8s8(x, y, p.at(32));
        b.store(v, p.at(0));
    });
    assert!(l[0].contains("vpdpbusd 0x20(%") && l[1].starts_with("vmovups"), "{l:?}");
    let mut b = KernelBuilder::new(&t, "tiles");
    b.tile_config(&TileShapes { tiles: [(16, 64); 8] });
    b.tile_dot_u8s8(1, 2, 3);
    b.tile_release();
    let l = support::disassemble_x64(&b.compile().unwrap_or_else(|e| panic!("{e}")));
    assert!(l.iter().any(|l| l == "tdpbusd %tmm3,%tmm2,%tmm1"), "{l:?}");
}

#[test]
fn avx2_forms() {
    let t = Target::AVX2;
    // AVX2 reads whole vectors from memory but no broadcasts.
    let l = listing(&t, |b, p, x, y| {
        let v = b.fma(x, y, Src::Broadcast(p.at(4)));
        let v = b.mul_add(v, y, 0.1);
        b.store(v, p.at(0));
    });
    assert_eq!(mnemonics(&l), ["vbroadcastss", "vfmadd231ps", "vfmadd213ps", "vmovups"], "{l:?}");
    assert!(l[2].contains("(%rip)"), "{l:?}");
    let l = listing(&t, |b, p, x, y| {
        let m = b.cmp_i32(Cmp::Le, x, y);
        let v = b.select(m, x, y);
        b.store_masked(v, p.at(0), m);
    });
    assert_eq!(mnemonics(&l), ["vpcmpgtd", "vxorps", "vblendvps", "vmaskmovps"], "{l:?}");
    let l = listing(&t, |b, p, x, _| {
        let v = b.reduce_add(x);
        b.store_part(v, p.at(0), 1);
    });
    let reduce = ["vextractf128", "vaddps", "vpermilps", "vaddps", "vpermilps", "vaddps", "vmovss"];
    assert_eq!(mnemonics(&l), reduce, "{l:?}");
}

#[test]
fn integer_forms() {
    let l = listing(&Target::AVX2, |b, p, _, _| {
        let x = b.int_load(IntType::U8, p.at(1));
        let y = b.int_mul(x, 24);
        let z = b.int_add(y, p);
        b.int_store(IntType::I16, z, p.at_index(x, 8, -4));
    });
    assert_eq!(mnemonics(&l)[..2], ["movzx", "imul"].map(|m| if m == "movzx" { "movzbl" } else { m }), "{l:?}");
    assert!(l[3].starts_with("mov %") && l[3].contains("-4(%"), "{l:?}");
}
