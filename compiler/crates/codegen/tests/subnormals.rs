//! Subnormal numbers: flushed where that cannot show, kept where it can, and the caller's mode left alone.
#![cfg(target_arch = "x86_64")]

use mnnc_codegen::{Jit, Model, Options, Target};
use mnnc_ir::constant::ConstPool;
use mnnc_ir::parse::parse_graph;
use mnnc_ir::{DType, Graph, NodeSpec, Tensor, TensorType};
use mnnc_kernel::families;
use mnnc_ops::eval::Evaluator;
use mnnc_ops::family::arithmetic::MUL;
use mnnc_ops::family::math::LOG;

/// The processor's control and status register for SSE arithmetic, without the sticky status bits.
fn control() -> u32 {
    let mut word = 0u32;
    // SAFETY: stores four bytes at the address.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack)) };
    word & !0x3f
}

#[test]
fn a_square_is_flushed_unless_its_logarithm_is_taken() {
    let mut g = Graph::new("square");
    let x = g.add_input("x", TensorType::new(DType::F32, [1usize, 64]));
    let y = g.emit(NodeSpec::new(&MUL, [x, x]).outputs(["y"])).expect("a product");
    let z = g.emit(NodeSpec::new(&MUL, [x, x]).outputs(["z"])).expect("a product");
    let log = g.emit(NodeSpec::new(&LOG, [z]).outputs(["log"])).expect("a logarithm");
    g.set_results(g.main(), vec![y, log]);
    let model = Model::compile(&g, &Target::host(), families::ALL, &Options::default()).expect("compiles");
    let jit = Jit::new(model).expect("a host that runs its own code");
    let input = Tensor::new([1usize, 64], vec![1e-20f32; 64]);
    let before = control();
    let outputs = jit.run(&[input]).expect("runs");
    assert_eq!(control(), before, "the run changed the caller's mode");
    assert!(outputs[0].view::<f32>().iter().all(|&v| v == 0.0), "subnormal products of an output are flushed");
    let expected = (1e-20f64 * 1e-20).ln() as f32;
    for &v in outputs[1].view::<f32>().iter() {
        assert!((v - expected).abs() < 1e-3, "{v}, not {expected}");
    }
}

/// Bytes do not depend on the mode: the arithmetic before their rounding is done with subnormals flushed, which costs nothing.
#[test]
fn bytes_behind_subnormal_factors_are_the_same() {
    let text = r#"graph "bytes" {
  input %x: f32[1x256]
  const %slopes: f32[2x1] = dense[1e-40, -0.5]
  const %s: f32[] = dense[0.25]
  const %z: u8[] = dense[128]
  %y: u8[2x256] = fused(%x) @"y" region(%a: f32[1x256]) {
    %m: f32[2x256] = mul(%a, %slopes)
    %n: f32[2x256] = add(%m, %a)
    %q: u8[2x256] = quantize_linear(%n, %s, %z)
    yield %q
  }
  output %y
}"#;
    let g = parse_graph(text, &mnnc_ops::lookup, &ConstPool::default()).expect("a graph");
    let inputs = [Tensor::new([1usize, 256], (0..256).map(|i| (i - 128) as f32 * 0.0625).collect::<Vec<_>>())];
    let expected = Evaluator::new(&g).run(&inputs).expect("evaluates").remove(0);
    let model = Model::compile(&g, &Target::host(), families::ALL, &Options::default()).expect("compiles");
    let got = Jit::new(model).expect("a host that runs its own code").run(&inputs).expect("runs").remove(0);
    assert_eq!(got.bytes()[..], expected.bytes()[..]);
}
