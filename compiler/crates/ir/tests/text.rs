//! The text form reads back to the same graph; errors say where.

use crate::toy::*;
use mnnc_ir::constant::ConstPool;
use mnnc_ir::parse::parse_graph;
use mnnc_ir::print::PrintOptions;
use mnnc_ir::*;
use std::sync::Arc;

const NAMES: [&str; 8] = ["x", "/layer/Conv_0", "a b", "q\"uote\\", "naïve", "x:0", "line\nbreak", ""];

fn random_type(r: &mut Rng, g: &mut Graph) -> TensorType {
    let dims: Vec<Dim> = (0..1 + r.below(3))
        .map(|_| match r.below(6) {
            0 => g.syms.named(["batch", "2*N", "x", "seq x"][r.below(4)]),
            1 => g.syms.fresh(),
            2 => {
                let (a, b) = (g.syms.named("batch"), g.syms.fresh());
                let sum = g.syms.add(a, b);
                g.syms.mul(sum, Dim::Const(4))
            }
            _ => Dim::Const(2 * (1 + r.next() % 4)),
        })
        .collect();
    let mut ty = TensorType::new(DType::ALL[r.below(12)], dims);
    if r.chance(5) {
        ty.layout = Layout::Blocked { block: 16 };
    }
    if r.chance(5) {
        let zero_points = if r.chance(2) { vec![-3] } else { vec![] };
        ty.quant = Some(Arc::new(Quant { scales: vec![0.1], zero_points, axis: Some(0), block: None }));
    }
    ty
}

fn random_constant(r: &mut Rng) -> Tensor {
    let d = DType::ALL[r.below(13)];
    let n = 1 + r.below(4);
    let bytes: Vec<u8> =
        (0..n * d.size()).map(|_| if d == DType::Bool { r.below(2) as u8 } else { r.next() as u8 }).collect();
    Tensor::from_bytes(d, vec![n], bytes::Bytes::from_vec(bytes)).unwrap()
}

fn random_attrs(r: &mut Rng) -> Attrs {
    let mut a = Attrs::new();
    if r.chance(2) {
        a.set("i", r.next() as i64 - 1000);
        a.set("f", f32::from_bits(r.next() as u32 * 2));
        a.set("b", r.chance(2));
    }
    if r.chance(2) {
        a.set("s", NAMES[r.below(8)]);
        a.set("d", DType::ALL[r.below(13)]);
        a.set("ints", vec![1i64, -2, i64::MIN]);
        a.set("floats", vec![0.1f32, f32::INFINITY, -0.0, f32::NAN]);
        a.set("strs", vec!["a,b".to_string(), String::new()]);
    }
    a
}

fn grow(r: &mut Rng, g: &mut Graph, region: RegionId, live: &mut Vec<ValueId>, depth: usize) {
    for _ in 0..1 + r.below(6) {
        let x = live[r.below(live.len())];
        let mut spec = match r.below(5) {
            0 => NodeSpec::new(&NEG, [x]),
            1 => {
                let mut s = NodeSpec::new(&ADD, [x, live[r.below(live.len())]]);
                s.inputs.push(r.chance(2).then_some(x));
                if s.inputs.last() == Some(&None) {
                    s.inputs.pop();
                }
                s
            }
            2 => NodeSpec::new(&SPLIT, [x]).outputs(["", ""]),
            3 if depth < 2 => {
                let body = g.new_region();
                let ty = random_type(r, g);
                let p = g.add_param(body, NAMES[r.below(8)], ty);
                let mut inner = live.clone();
                inner.push(p);
                grow(r, g, body, &mut inner, depth + 1);
                g.set_results(body, vec![*inner.last().unwrap(), x]);
                NodeSpec::new(&WRAP, [x]).outputs(["", ""]).regions([body])
            }
            _ => NodeSpec::new(&TUNED, [x]).attrs(random_attrs(r)),
        };
        if r.chance(3) {
            spec.name = NAMES[r.below(7)].to_string();
        }
        spec.outputs[0] = NAMES[r.below(8)].to_string();
        if spec.op == &ADD && !g.ty(x).dtype.is_float() {
            continue;
        }
        let at = g.region(region).nodes().len();
        let types = g.infer(&spec);
        // An element type that the op refuses is not what this test is about.
        if let Ok(types) = types {
            let n = g.insert_typed(region, at, spec, types);
            live.extend(g.node(n).outputs());
        }
    }
}

fn random_graph(seed: u64) -> Graph {
    let r = &mut Rng(seed);
    let mut g = Graph::new(NAMES[r.below(8)]);
    g.metadata.insert("producer".into(), "a \"b\"".into());
    let mut live = Vec::new();
    for _ in 0..1 + r.below(3) {
        let ty = random_type(r, &mut g);
        live.push(g.add_input(NAMES[r.below(8)], ty));
        live.push(g.add_const(NAMES[r.below(8)], random_constant(r)));
    }
    let main = g.main();
    grow(r, &mut g, main, &mut live, 0);
    g.set_results(main, vec![*live.last().unwrap(), live[0]]);
    g
}

#[test]
fn random_graphs_round_trip() {
    for seed in 0..400 {
        let g = random_graph(seed);
        let text = g.to_text();
        let back = parse_graph(&text, &lookup, g.consts()).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
        assert_eq!(back.to_text(), text, "seed {seed}");
        assert_eq!(back.num_nodes(), g.num_nodes());
        let attrs = |g: &Graph| g.nodes().map(|(_, n)| format!("{:?}{:?}", n.name, n.attrs)).collect::<Vec<_>>();
        let (mut a, mut b) = (attrs(&g), attrs(&back));
        a.sort();
        b.sort();
        assert_eq!(a, b, "seed {seed}");
        assert!(back.verify().map_err(|e| e.to_string()) == g.verify().map_err(|e| e.to_string()), "seed {seed}");
        // With literals the text needs no pool.
        let alone = g.print(PrintOptions { literals: Some(64) });
        let back =
            parse_graph(&alone, &lookup, &ConstPool::default()).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{alone}"));
        assert_eq!(back.to_text(), text, "seed {seed}");
    }
}

#[test]
fn terse_text_is_inferred_and_literals_are_made() {
    let text = "graph \"t\" {\n input %x: f32[batch, 4]\n const %c: f32[2x2] = splat(0.5)\n const %d: i64[3] = dense[1, -2, 3]\n
      const %r: f32[100] = random(7) // noise\n %a, %b = halve(%c)\n %y = add(%x, %r)\n output %y, %a\n}";
    let g = parse_graph(text, &lookup, &ConstPool::default()).unwrap();
    assert_eq!(g.show_type(g.outputs()[0]), "f32[batch, 4]");
    assert_eq!(g.show_type(g.outputs()[1]), "f32[1x2]");
    let noise = g.constant(g.find_value("r").unwrap()).unwrap().to_f64s();
    assert!(noise.iter().all(|x| (-1.0..1.0).contains(x)) && noise.iter().any(|&x| x < -0.5));
    g.verify().unwrap();
}

#[test]
fn errors_say_where() {
    let cases = [
        ("", "1:1: expected `graph`"),
        ("graph \"g\" {\n  input %x: f33[1]\n  output %x\n}", "2:13: `f33` is no element type"),
        ("graph \"g\" {\n  input %x: f32[1]\n  %y = nag(%x)\n  output %y\n}", "3:8: `nag` is no op"),
        ("graph \"g\" {\n  input %x: f32[1]\n  %y = neg(%z)\n  output %y\n}", "3:12: %z is not defined"),
        ("graph \"g\" {\n  input %x: f32[1]\n  %x = neg(%x)\n  output %x\n}", "3:3: %x is defined twice"),
        ("graph \"g\" {\n  input %x: f32[1]\n  %y = neg(%x) {k = 1}\n  output %y\n}", "3:17: neg has no attribute `k`"),
        ("graph \"g\" {\n  const %c: f32[2] = #00ff\n  output %c\n}", "2:22: no constant #00ff is known"),
        ("graph \"g\" {\n  const %c: f32[3] = dense[1, 2]\n  output %c\n}", "2:22: 2 element(s) for shape [3]"),
        ("graph \"g\" {\n  const %c: f32[99999999999] = zeros\n  output %c\n}", "2:32: literal too large"),
        ("graph \"g\" {\n  input %x: f32[1]\n", "3:1: expected a node, `input`, `const`, `output` or `yield`"),
        ("graph \"g\" {\n  output\n} x", "3:3: text after the graph"),
    ];
    for (text, want) in cases {
        let e = parse_graph(text, &lookup, &ConstPool::default()).expect_err(text);
        assert_eq!(e.to_string(), want, "{text}");
    }
}

#[test]
fn mangled_text_never_panics() {
    let good = random_graph(3).print(PrintOptions { literals: Some(64) });
    let mut r = Rng(9);
    for _ in 0..2000 {
        let mut chars: Vec<char> = good.chars().collect();
        for _ in 0..1 + r.below(4) {
            let at = r.below(chars.len());
            match r.below(3) {
                0 if chars.len() > 1 => drop(chars.remove(at)),
                1 => chars.insert(at, ['(', '{', '"', '%', '9', 'x', ';', '\\'][r.below(8)]),
                _ => chars.truncate(at.max(1)),
            }
        }
        let _ = parse_graph(&chars.into_iter().collect::<String>(), &lookup, &ConstPool::default());
    }
}

#[test]
fn sizes_that_feed_on_themselves_stay_short() {
    let mut s = SymTable::default();
    let mut d = s.named("n");
    for _ in 0..100 {
        d = s.add(d, d);
    }
    assert!(s.show(d).len() < 2000);
}
