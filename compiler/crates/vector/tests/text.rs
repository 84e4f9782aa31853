//! The text form and the verifier: every op round-trips, every mistake is named, nothing panics.

use mnnc_vector::{Kernel, KernelBuilder, Target};

const GOOD: &str = r#"kernel "axpy" avx512 {
block0:
  %0:gpr, %1:gpr, %2:gpr = entry
  %3:gpr = load.i64 [%0]
  %4:gpr = const<-5>
  %5:vec16 = splat<0x3f800000>
  jump block1(%3, %5)
block1(%6:gpr, %7:vec16):
  %8:vec16 = fma %7, %5, bcast [%6 + %1*4 - 64]
  %9:vec16 = mul_add %8, %5, splat 0x40000000
  %10:mask16 = cmp.f32.lt %9, %5
  %11:vec16 = vselect %10, %9, %5
  vstore_masked %10, %11, [%6 + 64]
  %12:gpr = addi<64> %6
  branch.lt %12, %2, block2, block3
block2:
  jump block1(%12, %11)
block3:
  return
}
"#;

fn problems(text: &str) -> Vec<String> {
    text.parse::<Kernel>().unwrap_or_else(|e| panic!("{e}\n{text}")).verify()
}

#[test]
fn prints_what_it_parses() {
    let kernel: Kernel = GOOD.parse().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(kernel.to_string(), GOOD);
    assert_eq!(kernel.verify(), Vec::<String>::new());
    assert_eq!(kernel.loops(), [1..=2]);
    let compiled = kernel.compile().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(compiled.stats.edits_in_innermost_loops, 0);
}

#[test]
fn every_name_is_its_own() {
    let words: std::sync::Arc<[u32]> = [1, 2, 3].as_slice().into();
    let mut ops = vec![
        Op::Entry,
        Op::IntConst(-3),
        Op::TableAddr(words.clone()),
        Op::Lea,
        Op::Splat(9),
        Op::Table(words.clone()),
        Op::SplatGpr,
        Op::ToGpr,
        Op::Load,
        Op::Store,
        Op::LoadLow(2),
        Op::StoreLow(2),
        Op::LoadMasked,
        Op::StoreMasked,
        Op::Broadcast,
        Op::Gather(4),
        Op::MulAdd,
        Op::Select,
        Op::Align(3),
        Op::Permute,
        Op::PermuteConst(words.clone()),
        Op::LookupBytes(words),
        Op::BroadcastLane(1),
        Op::Parts(2),
        Op::Half(false),
        Op::Half(true),
        Op::Concat,
        Op::MaskConst(3),
        Op::MaskFirst,
        Op::MaskNot,
        Op::DotBf16,
        Op::DotU8S8,
        Op::BroadcastByte,
        Op::PermuteBytes,
        Op::TileDotU8S8(2, 3, 4),
        Op::PackBf16,
        Op::Scratch(4096),
        Op::TileConfig,
        Op::TileRelease,
        Op::TileZero(3),
        Op::TileLoad(4),
        Op::TileStore(0),
        Op::TileDot(1, 4, 6),
        Op::Table([7].as_slice().into()),
        Op::TableAddr([].as_slice().into()),
    ];
    use mnnc_vector::ir::*;
    ops.extend(IntOp::ALL.iter().map(|o| Op::Int(*o)));
    ops.extend(IntImmOp::ALL.iter().map(|o| Op::IntImm(*o, 5)));
    ops.extend(Cond::ALL.iter().map(|o| Op::IntSelect(*o)));
    ops.extend(IntType::ALL.iter().flat_map(|o| [Op::IntLoad(*o), Op::IntStore(*o)]));
    ops.extend(Hint::ALL.iter().map(|o| Op::Prefetch(*o)));
    ops.extend(Elem::ALL.iter().flat_map(|o| [Op::LoadConvert(*o), Op::StoreConvert(*o)]));
    ops.extend(VecOp::ALL.iter().map(|o| Op::Vec(*o)));
    ops.extend(UnaryOp::ALL.iter().map(|o| Op::Unary(*o)));
    ops.extend(FmaOp::ALL.iter().flat_map(|o| [Op::Fma(*o), Op::FmaLane(*o, 2)]));
    ops.extend(ShiftOp::ALL.iter().map(|o| Op::Shift(*o, 4)));
    ops.extend(CmpType::ALL.iter().flat_map(|t| Cmp::ALL.iter().map(|c| Op::Compare(*t, *c))));
    ops.extend(ShuffleOp::ALL.iter().map(|o| Op::Shuffle(*o)));
    ops.extend(ReduceOp::ALL.iter().map(|o| Op::Reduce(*o)));
    ops.extend(MaskOp::ALL.iter().map(|o| Op::Mask(*o)));
    for op in &ops {
        let (name, imm) = op.to_parts();
        assert_eq!(Op::from_parts(&name, &imm).as_ref(), Some(op), "{name}");
    }
}

#[test]
fn mistakes_are_named() {
    let cases = [
        ("%5:vec16 = splat<0x3f800000>", "%5:vec8 = splat<0x3f800000>", "jumps to block1"),
        ("fma %7, %5,", "fma %7, %11,", "v11 is used where it is not defined"),
        ("jump block1(%12, %11)", "jump block1(%12)", "jumps to block1"),
        ("jump block1(%12, %11)", "jump block9", "does not exist"),
        ("[%6 + 64]", "[%7 + 64]", "addresses are general registers"),
        ("%1*4", "%1*3", "scale"),
        ("addi<64>", "addi<6000000000>", "32 bits"),
        (" avx512 {", " avx2 {", "avx2 has no vectors of 16 lanes"),
        ("branch.lt %12, %2, block2, block3", "branch.lt %12, %2, block2, block1", "no other predecessor"),
        ("  return\n", "  jump block0\n", "first block has a predecessor"),
        ("%4:gpr = const<-5>", "%4:gpr = ffloor %0", "Gpr where Vec"),
        ("%4:gpr = const<-5>", "%4:vec16 = vload_low<3> [%3]", "number of lanes"),
        ("%4:gpr = const<-5>", "%4:gpr = shli<64> %3", "0 to 63"),
        ("%4:gpr = const<-5>", "%4:vec16 = table<1, 2>", "one word a lane"),
        ("fma %7, %5, bcast", "dot_bf16 %7, %5, bcast", "needs BF16"),
        ("vstore_masked %10, %11,", "vstore.bf16 %11,", "needs BF16"),
        ("fma %7, %5, bcast", "dot_u8s8 %7, %5, bcast", "needs VNNI or I8MM"),
        ("%4:gpr = const<-5>", "%4:gpr = const<-5>\n  tile_release", "needs AMX"),
        ("%4:gpr = const<-5>", "%4:gpr = scratch<1000000>", "page of stack"),
    ];
    for (from, to, message) in cases {
        let found = problems(&GOOD.replace(from, to));
        assert!(found.iter().any(|p| p.contains(message)), "{to}: {found:?}");
        let kernel: Kernel = GOOD.replace(from, to).parse().unwrap_or_else(|e| panic!("{e}"));
        assert!(kernel.compile().is_err());
    }
}

#[test]
fn mistakes_with_tiles_are_named() {
    let with = |line: &str| {
        let text = GOOD.replace(" avx512 {", " avx512+bf16+amx_bf16 {");
        text.replace("%4:gpr = const<-5>", &format!("%4:gpr = scratch<64>\n  {line}"))
    };
    for (line, message) in [
        ("tile_zero<8>", "there are 8 tiles"),
        ("tile_dot<1, 1, 2>", "needs three tiles"),
        ("tile_load<1> [%3]", "is its stride"),
        ("tile_load<1> [%3 + %1*2]", "is its stride"),
    ] {
        let found = problems(&with(line));
        assert!(found.iter().any(|p| p.contains(message)), "{line}: {found:?}");
    }
    assert_eq!(problems(&with("tile_load<1> [%3 + %1*1 + 64]")), Vec::<String>::new());
    let twice = with("tile_release").replace("load.i64 [%0]", "scratch<64>");
    assert!(problems(&twice).iter().any(|p| p.contains("one scratch area")));
}

#[test]
fn grammar_errors_name_the_line() {
    let cases = [
        ("", "line 1"),
        ("kernel \"x\" sse2 {", "unknown target"),
        ("kernel \"x\" avx512+bf17 {", "unknown feature"),
        (&GOOD.replace("%4:gpr = const<-5>", "%5:gpr = const<-5>"), "line 5: %5 is defined where %4 is next"),
        (&GOOD.replace("const<-5>", "konst<-5>"), "no op `konst`"),
        (&GOOD.replace("0x40000000", "0x400000000"), "32 bits"),
        (&GOOD.replace("block3:", "block7:"), "block3 expected"),
        (&format!("{GOOD} extra"), "after the end"),
    ];
    for (text, message) in cases {
        let e = text.parse::<Kernel>().expect_err(message).to_string();
        assert!(e.contains(message), "{e}");
    }
}

/// Thousands of damaged texts: an error or a kernel, which the verifier or the compiler refuses or takes, but no panic.
#[test]
fn damaged_texts_do_no_harm() {
    let mut state = 1u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let pieces = [
        "%0",
        "%99",
        "vec16",
        "mask4",
        "gpr",
        "[",
        "]",
        "<",
        "-1",
        "0x7fffffff",
        "block1",
        "return",
        "entry",
        ",",
        "é",
        "\"",
        "jump block1",
        "vec4",
    ];
    let mut compiled = 0;
    for _ in 0..4000 {
        let mut text = GOOD.to_owned();
        for _ in 0..1 + random(3) {
            let mut at = random(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            let mut end = (at + random(8)).min(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            let piece = if random(2) == 0 { pieces[random(pieces.len())] } else { "" };
            text.replace_range(at..end, piece);
        }
        if let Ok(kernel) = text.parse::<Kernel>() {
            let again = kernel.to_string();
            assert_eq!(again.parse::<Kernel>().as_ref(), Ok(&kernel), "{again}");
            compiled += usize::from(kernel.compile().is_ok());
        }
    }
    assert!(compiled > 50, "only {compiled} of the damaged kernels were still kernels");
}

/// Variables that a loop does not change cost no block parameters; unused ones neither.
#[test]
fn only_what_changes_is_a_parameter() {
    let mut b = KernelBuilder::new(&Target::NEON, "variables");
    let p = b.arg(0);
    let x = b.load(p.at(0));
    let (constant, changing, unused) = (b.var(x), b.var(x), b.var(x));
    b.repeat(5, |b| {
        b.repeat(3, |b| {
            let (k, c, u) = (b.get(constant), b.get(changing), b.get(unused));
            let c = b.add(c, k);
            b.set(changing, c);
            let u = b.add(u, k);
            b.set(unused, u);
        });
    });
    let y = b.get(changing);
    b.store(y, p.at(0));
    let kernel = b.finish();
    assert_eq!(kernel.verify(), Vec::<String>::new());
    // Each loop: its counter and the variable. The chain of the unused one is kept alive by its own instruction.
    let params: Vec<usize> = kernel.blocks.iter().map(|b| b.params.len()).filter(|n| *n > 0).collect();
    assert_eq!(params, [3, 3], "{kernel}");
}
