//! Every word of `encoding` against the disassembler of GNU binutils.

use super::encoding::*;
use std::process::Command;

/// Disassembles words; `None` if there is no disassembler.
fn disassemble(words: &[u32]) -> Option<Vec<String>> {
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    std::fs::write(file.path(), bytes).expect("temporary file");
    let out = Command::new("aarch64-linux-gnu-objdump")
        .args(["-D", "-b", "binary", "-m", "aarch64", "-M", "no-aliases", "--no-show-raw-insn"])
        .arg(file.path())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let lines = text.lines().filter_map(|l| l.split_once(":\t")).map(|(_, inst)| {
        // Comments say targets and aliases.
        inst.split("//").next().unwrap_or(inst).split_whitespace().collect::<Vec<_>>().join(" ")
    });
    Some(lines.collect())
}

fn check(cases: &[(u32, &str)]) {
    let words: Vec<u32> = cases.iter().map(|(w, _)| *w).collect();
    let Some(lines) = disassemble(&words) else {
        eprintln!("skipped: no aarch64-linux-gnu-objdump");
        return;
    };
    assert_eq!(lines.len(), cases.len());
    for ((word, want), got) in cases.iter().zip(&lines) {
        assert_eq!(got, want, "{word:#010x}");
    }
}

#[test]
fn integers() {
    check(&[
        (rrr(ADD_X, 1, 2, 3), "add x1, x2, x3"),
        (rrr(SUB_X, 28, 15, 0), "sub x28, x15, x0"),
        (rrr(SUBS_X, 31, 15, 9), "subs xzr, x15, x9"),
        (rrr(AND_X, 1, 2, 3), "and x1, x2, x3"),
        (rrr(ORR_X, 1, 31, 3), "orr x1, xzr, x3"),
        (rrr(EOR_X, 1, 2, 3), "eor x1, x2, x3"),
        (rrr(MUL_X, 1, 2, 3), "madd x1, x2, x3, xzr"),
        (add_lsl(16, 2, 3, 3), "add x16, x2, x3, lsl #3"),
        (add_sxtw(17, 2, 17, 2), "add x17, x2, w17, sxtw #2"),
        (add_imm(1, 2, 4095, false), "add x1, x2, #0xfff"),
        (add_imm(31, 31, 1, true), "add sp, sp, #0x1, lsl #12"),
        (sub_imm(31, 31, 64, false), "sub sp, sp, #0x40"),
        (cmp_imm(5, 17), "subs xzr, x5, #0x11"),
        (cmn_imm(5, 17), "adds xzr, x5, #0x11"),
        (csel(1, 2, 3, 11), "csel x1, x2, x3, lt"),
        (movz(1, 0x1234, 1), "movz x1, #0x1234, lsl #16"),
        (movn(1, 5, 0), "movn x1, #0x5"),
        (movk(1, 7, 3), "movk x1, #0x7, lsl #48"),
        (lsl(1, 2, 5), "ubfm x1, x2, #59, #58"),
        (lsl(1, 2, 0), "ubfm x1, x2, #0, #63"),
        (lsr(1, 2, 5), "ubfm x1, x2, #5, #63"),
        (asr(1, 2, 63), "sbfm x1, x2, #63, #63"),
        (cbz_w(17, 2), "cbz w17, 0x60"),
        (RET, "ret"),
    ]);
}

#[test]
fn loads_and_stores() {
    check(&[
        (Access::STRB.scaled(1, 2, 3), "strb w1, [x2, #3]"),
        (Access::LDRB.scaled(1, 2, 4095), "ldrb w1, [x2, #4095]"),
        (Access::LDRSB.scaled(1, 2, 0), "ldrsb x1, [x2]"),
        (Access::STRH.scaled(1, 2, 3), "strh w1, [x2, #6]"),
        (Access::LDRH.unscaled(1, 2, -2), "ldurh w1, [x2, #-2]"),
        (Access::LDRSH.scaled(1, 2, 1), "ldrsh x1, [x2, #2]"),
        (Access::STR_W.scaled(1, 2, 1), "str w1, [x2, #4]"),
        (Access::LDR_W.indexed(1, 2, 3, true), "ldr w1, [x2, x3, lsl #2]"),
        (Access::LDRSW.scaled(1, 2, 1), "ldrsw x1, [x2, #4]"),
        (Access::STR_X.scaled(1, 31, 2), "str x1, [sp, #16]"),
        (Access::LDR_X.indexed(1, 2, 3, false), "ldr x1, [x2, x3]"),
        (Access::PRFM.scaled(0, 2, 1), "prfm pldl1keep, [x2, #8]"),
        (Access::PRFM.unscaled(2, 2, -64), "prfum pldl2keep, [x2, #-64]"),
        (Access::STR_S.scaled(1, 2, 1), "str s1, [x2, #4]"),
        (Access::LDR_S.unscaled(31, 2, -256), "ldur s31, [x2, #-256]"),
        (Access::STR_D.scaled(8, 31, 1), "str d8, [sp, #8]"),
        (Access::LDR_D.scaled(8, 2, 1), "ldr d8, [x2, #8]"),
        (Access::STR_Q.scaled(1, 2, 4095), "str q1, [x2, #65520]"),
        (Access::LDR_Q.unscaled(1, 2, 255), "ldur q1, [x2, #255]"),
        (Access::LDR_Q.indexed(1, 2, 3, true), "ldr q1, [x2, x3, lsl #4]"),
        (stp_x(19, 20, 2), "stp x19, x20, [sp, #16]"),
        (ldp_x(19, 20, 2), "ldp x19, x20, [sp, #16]"),
        (stp_d(8, 9, 0), "stp d8, d9, [sp]"),
        (ldp_d(14, 15, 6), "ldp d14, d15, [sp, #48]"),
        (ld1_lane(1, 16, 0), "ld1 {v1.s}[0], [x16]"),
        (ld1_lane(1, 16, 3), "ld1 {v1.s}[3], [x16]"),
        (st1_lane(1, 16, 2), "st1 {v1.s}[2], [x16]"),
        (ld1r(30, 2), "ld1r {v30.4s}, [x2]"),
    ]);
}

#[test]
fn vectors_of_three() {
    let s = |base| rrr(base, 1, 20, 31);
    check(&[
        (s(FADD), "fadd v1.4s, v20.4s, v31.4s"),
        (s(FSUB), "fsub v1.4s, v20.4s, v31.4s"),
        (s(FMUL), "fmul v1.4s, v20.4s, v31.4s"),
        (s(FDIV), "fdiv v1.4s, v20.4s, v31.4s"),
        (s(FMIN), "fmin v1.4s, v20.4s, v31.4s"),
        (s(FMAX), "fmax v1.4s, v20.4s, v31.4s"),
        (s(FMLA), "fmla v1.4s, v20.4s, v31.4s"),
        (s(FMLS), "fmls v1.4s, v20.4s, v31.4s"),
        (s(FADDP), "faddp v1.4s, v20.4s, v31.4s"),
        (s(FCMEQ), "fcmeq v1.4s, v20.4s, v31.4s"),
        (s(FCMGE), "fcmge v1.4s, v20.4s, v31.4s"),
        (s(FCMGT), "fcmgt v1.4s, v20.4s, v31.4s"),
        (s(ADD_V), "add v1.4s, v20.4s, v31.4s"),
        (s(SUB_V), "sub v1.4s, v20.4s, v31.4s"),
        (s(MUL_V), "mul v1.4s, v20.4s, v31.4s"),
        (s(SMIN), "smin v1.4s, v20.4s, v31.4s"),
        (s(SMAX), "smax v1.4s, v20.4s, v31.4s"),
        (s(CMEQ), "cmeq v1.4s, v20.4s, v31.4s"),
        (s(CMGE), "cmge v1.4s, v20.4s, v31.4s"),
        (s(CMGT), "cmgt v1.4s, v20.4s, v31.4s"),
        (s(AND_V), "and v1.16b, v20.16b, v31.16b"),
        (s(BIC), "bic v1.16b, v20.16b, v31.16b"),
        (s(ORR_V), "orr v1.16b, v20.16b, v31.16b"),
        (s(EOR_V), "eor v1.16b, v20.16b, v31.16b"),
        (s(BSL), "bsl v1.16b, v20.16b, v31.16b"),
        (s(BIT), "bit v1.16b, v20.16b, v31.16b"),
        (s(BIF), "bif v1.16b, v20.16b, v31.16b"),
        (s(ZIP1_4S), "zip1 v1.4s, v20.4s, v31.4s"),
        (s(ZIP2_4S), "zip2 v1.4s, v20.4s, v31.4s"),
        (s(UZP1_4S), "uzp1 v1.4s, v20.4s, v31.4s"),
        (s(UZP2_4S), "uzp2 v1.4s, v20.4s, v31.4s"),
        (s(ZIP1_2D), "zip1 v1.2d, v20.2d, v31.2d"),
        (s(ZIP2_2D), "zip2 v1.2d, v20.2d, v31.2d"),
        (s(ADD_16B), "add v1.16b, v20.16b, v31.16b"),
        (s(SUB_16B), "sub v1.16b, v20.16b, v31.16b"),
        (s(UQADD_16B), "uqadd v1.16b, v20.16b, v31.16b"),
        (s(UQSUB_16B), "uqsub v1.16b, v20.16b, v31.16b"),
        (s(UMIN_16B), "umin v1.16b, v20.16b, v31.16b"),
        (s(UMAX_16B), "umax v1.16b, v20.16b, v31.16b"),
        (s(URHADD_16B), "urhadd v1.16b, v20.16b, v31.16b"),
        (s(ADD_8H), "add v1.8h, v20.8h, v31.8h"),
        (s(SMULL_4S), "smull v1.4s, v20.4h, v31.4h"),
        (s(SMULL2_4S), "smull2 v1.4s, v20.8h, v31.8h"),
        (s(ADDP_4S), "addp v1.4s, v20.4s, v31.4s"),
        (s(USDOT), "usdot v1.4s, v20.16b, v31.16b"),
        (s(ZIP1_16B), "zip1 v1.16b, v20.16b, v31.16b"),
        (s(ZIP2_16B), "zip2 v1.16b, v20.16b, v31.16b"),
        (s(ZIP1_8H), "zip1 v1.8h, v20.8h, v31.8h"),
        (s(ZIP2_8H), "zip2 v1.8h, v20.8h, v31.8h"),
        (s(TBL), "tbl v1.16b, {v20.16b}, v31.16b"),
        (fma_lane(false, 1, 20, 31, 3), "fmla v1.4s, v20.4s, v31.s[3]"),
        (fma_lane(true, 1, 20, 7, 2), "fmls v1.4s, v20.4s, v7.s[2]"),
        (ext(1, 2, 3, 12), "ext v1.16b, v2.16b, v3.16b, #12"),
    ]);
}

#[test]
fn vectors_of_two() {
    let s = |base| rr(base, 1, 20);
    check(&[
        (s(FNEG), "fneg v1.4s, v20.4s"),
        (s(FABS), "fabs v1.4s, v20.4s"),
        (s(FSQRT), "fsqrt v1.4s, v20.4s"),
        (s(FRECPE), "frecpe v1.4s, v20.4s"),
        (s(FRINTN), "frintn v1.4s, v20.4s"),
        (s(FRINTM), "frintm v1.4s, v20.4s"),
        (s(FRINTP), "frintp v1.4s, v20.4s"),
        (s(FRINTZ), "frintz v1.4s, v20.4s"),
        (s(SCVTF), "scvtf v1.4s, v20.4s"),
        (s(FCVTZS), "fcvtzs v1.4s, v20.4s"),
        (s(FCVTNS), "fcvtns v1.4s, v20.4s"),
        (s(MVN), "not v1.16b, v20.16b"),
        (s(FMAXV), "fmaxv s1, v20.4s"),
        (s(FMINV), "fminv s1, v20.4s"),
        (s(FCVTL), "fcvtl v1.4s, v20.4h"),
        (s(FCVTN), "fcvtn v1.4h, v20.4s"),
        (s(SSHLL_8H), "sshll v1.8h, v20.8b, #0"),
        (s(SSHLL_4S), "sshll v1.4s, v20.4h, #0"),
        (s(USHLL_8H), "ushll v1.8h, v20.8b, #0"),
        (s(USHLL_4S), "ushll v1.4s, v20.4h, #0"),
        (s(SQXTN_4H), "sqxtn v1.4h, v20.4s"),
        (s(SQXTN2_8H), "sqxtn2 v1.8h, v20.4s"),
        (s(SQXTN_8B), "sqxtn v1.8b, v20.8h"),
        (s(SQXTUN_8B), "sqxtun v1.8b, v20.8h"),
        (s(SQXTUN2_16B), "sqxtun2 v1.16b, v20.8h"),
        (shl_8h(1, 20, 15), "shl v1.8h, v20.8h, #15"),
        (ushr_8h(1, 20, 1), "ushr v1.8h, v20.8h, #1"),
        (sshr_8h(1, 20, 8), "sshr v1.8h, v20.8h, #8"),
        (movi_16b(1, 0x8f), "movi v1.16b, #0x8f"),
        (ld1r_16b(30, 2), "ld1r {v30.16b}, [x2]"),
        (shl_v(1, 20, 31), "shl v1.4s, v20.4s, #31"),
        (ushr_v(1, 20, 1), "ushr v1.4s, v20.4s, #1"),
        (sshr_v(1, 20, 23), "sshr v1.4s, v20.4s, #23"),
        (dup_lane(1, 20, 2), "dup v1.4s, v20.s[2]"),
        (dup_gpr(1, 20), "dup v1.4s, w20"),
        (umov(17, 20, 3), "umov w17, v20.s[3]"),
    ]);
}

#[test]
fn constants_in_immediates() {
    let imm = |x: u32| splat_imm(1, x).expect("an immediate");
    check(&[
        (imm(0), "movi v1.4s, #0x0"),
        (imm(u32::MAX), "mvni v1.4s, #0x0"),
        (imm(0x8000_0000), "movi v1.4s, #0x80, lsl #24"),
        (imm(0xffff_00ff), "mvni v1.4s, #0xff, lsl #8"),
        (imm(1f32.to_bits()), "fmov v1.4s, #1.000000000000000000e+00"),
        (imm((-0.75f32).to_bits()), "fmov v1.4s, #-7.500000000000000000e-01"),
        (imm(31f32.to_bits()), "fmov v1.4s, #3.100000000000000000e+01"),
        (imm((-0.5f32).to_bits()), "movi v1.4s, #0xbf, lsl #24"),
    ]);
    assert_eq!(splat_imm(1, 0.1f32.to_bits()), None);
    assert_eq!(splat_imm(1, 33f32.to_bits()), None);
}
