//! Evaluation of whole graphs.

use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType};
use mnnc_ops::family::{activation, arithmetic, cast, reduce, reshape};
use mnnc_ops::{Evaluator, promote, promote_tensor};

/// `y = reshape(relu(x + 0.5), [-1])`, and its sum.
fn graph() -> Graph {
    let mut g = Graph::new("test");
    let n = g.syms.named("n");
    let x = g.add_input("x", TensorType::new(DType::F32, [n, 3usize.into()]));
    let half = g.add_const("half", Tensor::scalar(0.5f32));
    let shape = g.add_const("shape", Tensor::ints(&[-1]));
    let a = g.emit(NodeSpec::new(&arithmetic::ADD, [x, half]).outputs(["a"])).unwrap();
    let r = g.emit(NodeSpec::new(&activation::RELU, [a]).outputs(["r"])).unwrap();
    let y = g.emit(NodeSpec::new(&reshape::RESHAPE, [r, shape]).outputs(["y"])).unwrap();
    let s = g.emit(NodeSpec::new(&reduce::REDUCE_SUM, [y]).outputs(["s"])).unwrap();
    g.set_results(g.main(), vec![y, s]);
    g
}

#[test]
fn a_graph_runs_on_any_batch() {
    let g = graph();
    let x = Tensor::new(vec![2, 3], vec![-1.0f32, 0.0, 1.0, 2.0, -3.0, -0.5]);
    let mut seen = Vec::new();
    let out = Evaluator::new(&g).run_observed(&[x], &mut |n, _| seen.push(g.node(n).name.clone())).unwrap();
    assert_eq!(out[0].dims(), [6]);
    assert_eq!(out[0].to_f64s(), [0.0, 0.5, 1.5, 2.5, 0.0, 0.0]);
    assert_eq!(out[1].to_f64s(), [4.5]);
    assert_eq!(seen, ["a", "r", "y", "s"]);
    let one = Evaluator::new(&g).run(&[Tensor::new(vec![1, 3], vec![1.0f32, 1.0, 1.0])]).unwrap();
    assert_eq!(one[1].to_f64s(), [4.5]);
}

#[test]
fn wrong_inputs_are_named() {
    let g = graph();
    let run = |inputs: &[Tensor]| Evaluator::new(&g).run(inputs).unwrap_err().to_string();
    assert_eq!(run(&[]), "0 inputs given, the model has 1");
    assert_eq!(run(&[Tensor::new(vec![3], vec![1.0f32; 3])]), "input x is f32[3], the model takes f32[n, 3]");
    assert_eq!(run(&[Tensor::new(vec![1, 3], vec![1i64; 3])]), "input x is i64[1x3], the model takes f32[n, 3]");
}

#[test]
fn memory_is_bounded() {
    let g = graph();
    let x = Tensor::new(vec![1000, 3], vec![1.0f32; 3000]);
    let e = Evaluator::new(&g).max_bytes(20_000).run(std::slice::from_ref(&x)).unwrap_err();
    let text = e.to_string();
    assert!(text.starts_with("node a (add) on f32[1000x3], f32[]: results f32[1000x3] exceed"), "{text}");
    // Input and two intermediates are live at a time, never all four.
    assert!(Evaluator::new(&g).max_bytes(36_100).run(&[x]).is_ok());
}

#[test]
fn double_precision_reaches_every_value() {
    let g = promote(&graph()).unwrap();
    let x = promote_tensor(&Tensor::new(vec![1, 3], vec![1.0f32, 1e-9, -0.25]));
    let out = Evaluator::new(&g).run(&[x]).unwrap();
    assert_eq!(out[0].dtype(), DType::F64);
    assert!((out[1].to_f64s()[0] - (2.25 + f64::from(1e-9f32))).abs() < 1e-15);
    assert_eq!(g.value(g.outputs()[0]).name, "y");
}

#[test]
fn documentation_covers_the_catalogue() {
    let text = mnnc_ops::markdown();
    for op in mnnc_ops::ALL {
        assert!(text.contains(&format!("\n### {}\n", op.name)), "{}", op.name);
    }
}

#[test]
fn a_result_beyond_memory_is_an_error() {
    let attrs = Attrs::new().with("to", DType::F64);
    let x = Tensor::new(vec![100], vec![0u8; 100]);
    assert!(mnnc_ops::evaluate_op(&cast::CAST, &attrs, &[Some(x.clone())], 1, 799).is_err());
    assert!(mnnc_ops::evaluate_op(&cast::CAST, &attrs, &[Some(x)], 1, 800).is_ok());
}
