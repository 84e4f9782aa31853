//! Subnormal numbers: flushed where that cannot show, kept where it can, and the caller's mode left alone.
#![cfg(target_arch = "x86_64")]

use mnnc_codegen::{Jit, Model, Options, Target};
use mnnc_ir::{DType, Graph, NodeSpec, Tensor, TensorType};
use mnnc_kernel::families;
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
