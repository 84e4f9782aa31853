//! The verifier finds what is wrong, patches are all or nothing, big graphs stay quick.

use crate::toy::*;
use mnnc_ir::constant::ConstPool;
use mnnc_ir::parse::parse_graph;
use mnnc_ir::*;

fn graph(body: &str) -> Graph {
    let text = format!("graph \"g\" {{\n{body}\n}}");
    let g = parse_graph(&text, &lookup, &ConstPool::default()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    g.verify().unwrap_or_else(|e| panic!("{e}"));
    g
}
fn value(g: &Graph, name: &str) -> ValueId {
    g.find_value(name).unwrap()
}
fn breaches(g: &Graph) -> String {
    g.verify().expect_err("the verifier sees nothing").to_string()
}

#[test]
fn a_replaced_output_keeps_its_name_and_dead_nodes_go() {
    let mut g = graph("input %x: f32[4] %a = neg(%x) @\"first\" %b = neg(%a) @\"second\" output %b");
    let mut p = Patch::new(&g);
    let y = p.node(NodeSpec::new(&ADD, [value(&g, "x"), value(&g, "x")])).unwrap();
    p.replace(value(&g, "b"), y);
    let done = p.finish().apply(&mut g).unwrap();
    assert_eq!(
        g.to_text(),
        "graph \"g\" {\n  input %x: f32[4]\n  %b: f32[4] = add(%x, %x) @\"second\"\n  output %b\n}\n"
    );
    assert_eq!((done.added.len(), done.erased.len()), (1, 2));
    g.verify().unwrap();
}

#[test]
fn a_new_node_may_wrap_what_it_replaces() {
    let mut g = graph("input %x: f32[4] %a = neg(%x) %b = neg(%a) output %b, %a");
    let mut p = Patch::new(&g);
    let y = p.node(NodeSpec::new(&TUNED, [value(&g, "a")])).unwrap();
    p.replace(value(&g, "a"), y);
    p.finish().apply(&mut g).unwrap();
    g.verify().unwrap();
    let b = g.producer(value(&g, "b")).unwrap();
    assert_eq!(g.node(b).input(0), Some(value(&g, "a")));
    assert!(g.producer_of(value(&g, "a"), "tuned").is_some());
}

#[test]
fn order_is_restored_and_cycles_are_refused() {
    let body = "input %x: f32[4] %a = neg(%x) %u = neg(%a) %late = tuned(%x) output %u, %late";
    let mut g = graph(body);
    let mut p = Patch::new(&g);
    let y = p.node(NodeSpec::new(&NEG, [value(&g, "late")])).unwrap();
    p.replace(value(&g, "a"), y);
    p.finish().apply(&mut g).unwrap();
    g.verify().unwrap();
    // %u reads %a, so what reads %u cannot become %a.
    let before = g.to_text();
    let mut p = Patch::new(&g);
    let y = p.node(NodeSpec::new(&TUNED, [value(&g, "u")])).unwrap();
    p.replace(value(&g, "a"), y);
    assert!(matches!(p.finish().apply(&mut g), Err(PatchError::Cycle(_))));
    assert_eq!(g.to_text(), before);
    g.verify().unwrap();
}

#[test]
fn types_and_outputs_are_guarded() {
    let mut g = graph("input %x: f32[4] input %z: f32[8] %a = neg(%x) %b = neg(%x) output %a, %b");
    let before = g.to_text();
    let plan = |g: &Graph, old: &str, new: &str| {
        let mut p = Patch::new(g);
        p.replace(value(g, old), value(g, new));
        p.finish()
    };
    assert!(matches!(plan(&g, "a", "z").apply(&mut g), Err(PatchError::Type(_))));
    assert!(matches!(plan(&g, "a", "x").apply(&mut g), Err(PatchError::Output(_))));
    assert!(matches!(plan(&g, "a", "b").apply(&mut g), Err(PatchError::Output(_))));
    let mut p = Patch::new(&g);
    p.erase(g.producer(value(&g, "a")).unwrap());
    assert!(matches!(p.finish().apply(&mut g), Err(PatchError::StillRead(_))));
    let stale = plan(&g, "a", "b");
    assert_eq!(g.to_text(), before);
    g.add_const("c", Tensor::scalar(1.0f32));
    assert!(matches!(stale.apply(&mut g), Err(PatchError::Stale)));
}

#[test]
fn bodies_are_built_and_erased_with_their_node() {
    let mut g = graph("input %x: f32[4] %a = neg(%x) %b = neg(%a) output %b");
    let (a, b) = (value(&g, "a"), value(&g, "b"));
    let mut p = Patch::new(&g);
    let r = p.region();
    let q = p.param(r, "p", g.ty(a).clone());
    let y = p.node_in(r, NodeSpec::new(&NEG, [q])).unwrap();
    p.results(r, vec![y]);
    let y = p.node(NodeSpec::new(&WRAP, [a]).regions([r])).unwrap();
    p.replace(b, y);
    p.finish().apply(&mut g).unwrap();
    g.verify().unwrap();
    let text = g.to_text();
    assert_eq!(parse_graph(&text, &lookup, g.consts()).unwrap().to_text(), text);
    assert_eq!(g.num_nodes(), 3);
    let mut p = Patch::new(&g);
    let y = p.node(NodeSpec::new(&TUNED, [value(&g, "x")])).unwrap();
    p.replace(value(&g, "b"), y);
    p.finish().apply(&mut g).unwrap();
    g.verify().unwrap();
    assert_eq!(g.num_nodes(), 1);
}

#[test]
fn the_verifier_collects_all_breaches() {
    let mut g = graph("input %x: f32[4] %a = neg(%x) %b = tuned(%a) output %b");
    let (a, b) = (g.producer(value(&g, "a")).unwrap(), g.producer(value(&g, "b")).unwrap());
    g.set_type(value(&g, "b"), TensorType::new(DType::F32, [5u64]));
    g.attrs_mut(b).set("i", 1.5f32);
    g.attrs_mut(a).set("zz", 1i64);
    let text = breaches(&g);
    for part in [
        "breaks 3 rule(s)",
        "attribute `i` is Float, declared Int",
        "declares no attribute `zz`",
        "%b is f32[5], inferred f32[4]",
    ] {
        assert!(text.contains(part), "{part} missing in\n{text}");
    }
}

#[test]
fn the_verifier_sees_order_scope_arity_and_types() {
    let mut g = graph("input %x: f32[4] %a = neg(%x) %b = neg(%a) output %b");
    let (a, b) = (g.producer(value(&g, "a")).unwrap(), value(&g, "b"));
    g.set_input(a, 0, Some(b));
    assert!(breaches(&g).contains("reads %b, which is not defined before it"));

    let mut g =
        graph("input %x: f32[4] %w = wrap(%x) region(%p: f32[4]) { %i = neg(%p) yield %i } %b = neg(%w) output %b");
    let (b, i) = (g.producer(value(&g, "b")).unwrap(), value(&g, "i"));
    g.set_input(b, 0, Some(i));
    assert!(breaches(&g).contains("reads %i, which is not defined"));

    let mut g = graph("input %x: f32[4] input %f: bool[4] %a = add(%x, %x) output %a");
    let a = g.producer(value(&g, "a")).unwrap();
    g.set_input(a, 1, None);
    assert!(breaches(&g).contains("input 1 (b) is missing"));
    g.set_input(a, 1, Some(value(&g, "f")));
    assert!(breaches(&g).contains("input 1 (b) cannot be bool"));
}

#[test]
fn ten_thousand_patches_are_quick() {
    let mut g = Graph::new("long");
    let mut v = g.add_input("x", TensorType::new(DType::F32, [4u64]));
    for _ in 0..10_000 {
        v = g.emit(NodeSpec::new(&NEG, [v])).unwrap();
    }
    g.set_results(g.main(), vec![v]);
    let start = std::time::Instant::now();
    for n in g.schedule().to_vec() {
        let mut p = Patch::new(&g);
        let y = p.node(NodeSpec::new(&TUNED, [g.node(n).input(0).unwrap()])).unwrap();
        p.replace(g.node(n).outputs()[0], y);
        p.finish().apply(&mut g).unwrap();
    }
    let took = start.elapsed();
    g.verify().unwrap();
    assert_eq!(g.num_nodes(), 10_000);
    assert!(g.nodes().filter(|(_, n)| n.region().is_some()).all(|(_, n)| n.is(&TUNED)));
    assert!(took.as_secs_f64() < 2.0, "{took:?}");
}
