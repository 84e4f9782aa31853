//! Compression of weights without data: what the rewritten graph computes, what it refuses, what its policies say.

use crate::support::{constant, decibels, network, numbers};
use mnnc_ir::{DType, Graph, NodeSpec, Tensor, TensorType};
use mnnc_ops::Evaluator;
use mnnc_ops::family::linear;
use mnnc_quant::weight::{
    Entry, Method, Options, Policy, Quantised, Rows, ScaleType, Scheme, Site, compress, methods, mnn, sites,
};

fn run(g: &Graph) -> Vec<f64> {
    let x = Tensor::new([1, 3, 6, 6], numbers(108, 99));
    Evaluator::new(g).run(&[x]).unwrap()[0].to_f64s()
}

#[test]
fn sites_are_found_with_their_axes() {
    let g = network();
    let found = sites(&g);
    let shown: Vec<_> =
        found.iter().map(|s| (s.name.as_str(), s.outputs, s.inputs, s.taps(), s.output_axis, s.first)).collect();
    let expected = [
        ("stem", 32, 3, 9, 0, true),
        ("dw", 32, 1, 9, 0, false),
        ("dense", 48, 32, 9, 0, false),
        ("up", 16, 48, 9, 1, false),
        ("right", 96, 16, 1, 1, false),
        ("gemm", 64, 96, 1, 0, false),
        ("left", 40, 36, 1, 0, false),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn more_bits_and_smaller_blocks_are_closer() {
    let float = network();
    let reference = run(&float);
    let quality = |options: Options| {
        let mut g = float.clone();
        let report = compress(&mut g, &options.policy(&float)).unwrap();
        g.verify().unwrap();
        assert_eq!(report.layers.len(), 7);
        let (before, after) = report.bytes();
        (decibels(&reference, &run(&g)), before as f64 / after as f64)
    };
    let (half, ratio) = quality(Options::bits(16));
    assert!(half > 60.0 && (1.9..=2.0).contains(&ratio), "{half} {ratio}");
    let mut last = (f64::INFINITY, 0.0);
    for bits in (2..=8).rev() {
        let found = quality(Options { force: true, ..Options::bits(bits) });
        assert!(found.0 < last.0 && found.1 > last.1, "{bits} bits: {found:?} after {last:?}");
        last = found;
    }
    for method in [Method::MinMax, Method::Mse, Method::Hqq] {
        for symmetric in [true, false] {
            let options = Options { method, symmetric, ..Options::bits(4) };
            let (channel, block) = (quality(options.clone()), quality(options.block(16)));
            assert!(block.0 > channel.0 && block.1 < channel.1, "{method:?} {symmetric}: {channel:?} {block:?}");
        }
    }
    let (eight, _) = quality(Options::bits(8));
    assert!(eight > 34.0, "{eight} dB");
}

#[test]
fn a_dequantised_constant_is_what_the_rows_say() {
    let float = network();
    for block in [0, 16] {
        let mut g = float.clone();
        let options = Options { symmetric: false, force: true, ..Options::bits(3).block(block) };
        let policy = options.policy(&float);
        compress(&mut g, &policy).unwrap();
        for (site, scheme) in policy.resolve(&float).unwrap() {
            let rows = Rows::of(&site, float.constant(site.weight).unwrap(), scheme.block);
            let expected = methods::by_rows(&rows, scheme).values();
            // The same weight read through the graph.
            let mut probe = g.clone();
            let v = probe.node(site.node).input(site.operand).unwrap();
            let (op, attrs) = {
                let n = probe.node(probe.producer(v).unwrap());
                (n.op.name, n.attrs.clone())
            };
            assert_eq!((op, attrs.get("bits")), ("dequantize_linear", Some(&mnnc_ir::Attr::Int(3))));
            probe.set_results(probe.main(), vec![v]);
            let x = Tensor::new([1, 3, 6, 6], vec![0.0f32; 108]);
            let got = Evaluator::new(&probe).run(&[x]).unwrap()[0].clone();
            assert_eq!(Rows::of(&site, &got, scheme.block).values, expected, "{} in blocks of {block}", site.name);
        }
    }
}

#[test]
fn defaults_spare_what_is_delicate_and_fall_back_to_blocks_that_fit() {
    let g = network();
    let scheme = |options: Options, name: &str| {
        let site: Site = sites(&g).into_iter().find(|s| s.name == name).unwrap();
        let s = options.scheme(&site);
        (s.bits, s.block, s.scales)
    };
    let four = || Options::bits(4).block(32);
    assert_eq!(scheme(four(), "stem"), (8, 0, ScaleType::Fp32));
    assert_eq!(scheme(four(), "dw"), (8, 0, ScaleType::Fp32));
    assert_eq!(scheme(Options { force: true, ..four() }, "dw"), (4, 0, ScaleType::Fp32));
    assert_eq!(scheme(four(), "gemm"), (4, 32, ScaleType::Fp16));
    // 48 inputs: 32 does not divide them, 16 does. 36: nothing does. 16: one block is all of them.
    assert_eq!(scheme(four(), "up"), (4, 16, ScaleType::Fp16));
    assert_eq!(scheme(four(), "left"), (4, 0, ScaleType::Fp32));
    assert_eq!(scheme(four(), "right"), (4, 0, ScaleType::Fp32));
    assert_eq!(scheme(Options::bits(6), "stem").0, 8);
    assert_eq!(scheme(Options::bits(16), "stem").0, 16);
}

fn quantised(row: &[f32], scheme: &Scheme) -> (Quantised, Vec<f32>) {
    let rows = Rows { values: row.to_vec(), length: row.len() };
    let q = methods::by_rows(&rows, scheme);
    let values = q.values();
    (q, values)
}

#[test]
fn odd_rows_are_exact_or_safe() {
    for method in [Method::MinMax, Method::Mse, Method::Hqq] {
        for bits in 2..=8 {
            for symmetric in [true, false] {
                for scales in [ScaleType::Fp32, ScaleType::Fp16] {
                    let scheme = Scheme { symmetric, method, scales, ..Scheme::symmetric(bits) };
                    let (q, values) = quantised(&[0.0; 9], &scheme);
                    assert!(values == [0.0; 9] && q.scales == [1.0], "{scheme:?}");
                    // A constant row keeps its value up to the rounding of the scale.
                    for c in [0.7f32, -3.0] {
                        let (_, values) = quantised(&[c; 9], &scheme);
                        let close = match (scales, symmetric) {
                            (ScaleType::Fp32, _) => 1e-6,
                            (ScaleType::Fp16, true) => 1e-3,
                            // Scale and zero point share the eleven bits of what is stored: six are left for the scale, which is
                            // rounded up by less than a unit of them.
                            (ScaleType::Fp16, false) => 1.0 / 32.0,
                        };
                        assert!(values.iter().all(|v| (v - c).abs() <= close * c.abs()), "{scheme:?} {values:?}");
                    }
                    // Scales that underflow, or nearly overflow, stay normal numbers.
                    for tiny in [1e-40f32, f32::MIN_POSITIVE, 1e38, f32::MAX] {
                        let row = [tiny, -tiny, 0.0, tiny / 2.0];
                        let (q, values) = quantised(&row, &scheme);
                        assert!(q.scales.iter().all(|s| s.is_normal()), "{scheme:?} {tiny} {:?}", q.scales);
                        assert!(values.iter().all(|v| !v.is_nan()), "{scheme:?} {tiny}");
                    }
                    let (low, high) = scheme.code_range();
                    let (q, _) = quantised(&numbers(64, 5), &scheme);
                    assert!(q.codes.iter().all(|&c| (low..=high).contains(&i32::from(c))));
                    assert_eq!(q.zeros.is_none(), symmetric);
                    if scales == ScaleType::Fp16 {
                        assert!(q.scales.iter().all(|&s| half::f16::from_f32(s).to_f32() == s));
                    }
                }
            }
        }
    }
}

#[test]
fn a_search_is_never_worse_than_the_range() {
    let error = |row: &[f32], scheme: &Scheme| -> f64 {
        let (_, values) = quantised(row, scheme);
        row.iter().zip(values).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    };
    let mut gain: f64 = 1.0;
    for seed in 0..20 {
        let row = numbers(48, seed);
        for bits in 2..=8 {
            for symmetric in [true, false] {
                let of = |method| error(&row, &Scheme { method, symmetric, ..Scheme::symmetric(bits) });
                let (range, mse) = (of(Method::MinMax), of(Method::Mse));
                assert!(mse <= range, "{bits} {symmetric}: {mse} > {range}");
                gain = gain.max(range / mse);
            }
        }
    }
    assert!(gain > 2.0, "{gain}");
}

#[test]
fn a_policy_of_another_model_is_refused_by_name() {
    let mut g = network();
    let before = g.clone();
    let entry = |name: &str, shape, weights| Entry { name: name.into(), shape, weights };
    let refused = |g: &mut Graph, ops: Vec<Entry>| compress(g, &Policy { ops }).unwrap_err().to_string();
    let text = refused(
        &mut g,
        vec![
            entry("stem", None, Scheme::symmetric(8)),
            entry("layer1", None, Scheme::symmetric(8)),
            entry("gemm", Some(vec![10, 20]), Scheme::symmetric(8)),
        ],
    );
    assert!(text.contains("`layer1`, `gemm` ([10, 20] there, [64, 96] here)"), "{text}");
    let text = refused(&mut g, vec![entry("gemm", None, Scheme { block: 7, ..Scheme::symmetric(4) })]);
    assert!(text.contains("blocks of 7 do not divide 96 input channels") && text.contains("gemm"), "{text}");
    let text = refused(&mut g, vec![entry("gemm", None, Scheme::symmetric(9))]);
    assert!(text.contains("9 bits"), "{text}");
    let twice = vec![entry("stem", None, Scheme::symmetric(8)), entry("stem_y", None, Scheme::symmetric(8))];
    assert!(refused(&mut g, twice).contains("twice"));
    assert_eq!(g.to_text(), before.to_text());
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let mut g = Graph::new("nan");
    let x = g.add_input("x", TensorType::new(DType::F32, [2usize, 20]));
    let mut weights = numbers(400, 1);
    (weights[3], weights[5]) = (f32::NAN, f32::INFINITY);
    let w = g.add_const("w", Tensor::new([20, 20], weights));
    let y = g.emit(NodeSpec::new(&linear::MATMUL, [x, w]).named("fc")).unwrap();
    g.set_results(g.main(), vec![y]);
    for bits in [4, 16] {
        let policy = Options::bits(bits).policy(&g);
        let text = compress(&mut g, &policy).unwrap_err().to_string();
        assert!(text.contains("2 of 400 weights") && text.contains("fc") && text.contains("w f32[20x20]"), "{text}");
    }
    let keep = Policy { ops: vec![Entry { name: "fc".into(), shape: None, weights: Scheme::FLOAT }] };
    assert!(compress(&mut g, &keep).is_ok());
}

#[test]
fn policies_survive_json_and_editing() {
    let g = network();
    let policy = Options { symmetric: false, ..Options::bits(4).block(32) }.policy(&g);
    assert_eq!(Policy::from_json(&policy.to_json()).unwrap(), policy);
    let text =
        r#"{"format": "mnnc policy", "version": 1, "ops": [{"name": "gemm", "weights": {"bits": 4, "block": 32}}]}"#;
    let short = Policy::from_json(text).unwrap();
    assert_eq!(short.ops[0].weights, Scheme { block: 32, ..Scheme::symmetric(4) });
    let refused = |text: &str| Policy::from_json(text).unwrap_err().to_string();
    assert!(refused(&text.replace("block", "blok")).contains("blok"));
    assert!(refused(&text.replace("\"bits\": 4", "\"bits\": 1")).contains("1 bits for a weight"));
    assert!(refused("{").contains("this is no policy"));
    assert!(refused(&text.replace("\"version\": 1", "\"version\": 2")).contains("version 2"));
}

#[test]
fn mnns_compression_parameters_are_read_and_written() {
    let g = network();
    let base = Options::bits(8);
    let policy = Options { symmetric: false, ..Options::bits(4).block(32) }.policy(&g);
    let text = mnn::write(&policy, &g).unwrap();
    assert!(mnn::is_one(&text) && !mnn::is_one(&policy.to_json()));
    assert_eq!(mnn::read(&text, &base).unwrap().resolve(&g).unwrap(), policy.resolve(&g).unwrap());

    // As auto_quant.py leaves it, with the name that MNN gives a product, and protobuf's other spelling.
    let text = r#"{"algo": [{"type": "QUANTIZE", "quantParams": {"layer": [
        {"opName": "right__matmul_converted", "conv": {"inputChannel": 16, "outputChannel": 96, "kernelSize": [1, 1]},
         "weight": [{"name": "", "bits": 4, "asymmetric": true, "blockSize": 0}]},
        {"op_name": "stem_y", "weight": [{"bits": 0}]}
        ]}}], "version": "3.6.1", "forGuide": true, "mnnUuid": "0"}"#;
    let read = mnn::read(text, &base).unwrap();
    let found: Vec<_> = read.resolve(&g).unwrap().into_iter().map(|(s, w)| (s.name, w.bits, w.symmetric)).collect();
    assert_eq!(found, [("stem".to_string(), 0, true), ("right".to_string(), 4, false)]);

    let refused = |text: &str| mnn::read(text, &base).unwrap_err().to_string();
    assert!(refused(&text.replace("asymmetric", "asymetric")).contains("asymetric"));
    assert!(refused(&text.replace("\"bits\": 4", "\"bits\": 12")).contains("12 bits"));
    assert!(refused(&text.replace("QUANTIZE", "PRUNE")).contains("pruning"));
    let half = Options::bits(16).policy(&g);
    assert!(mnn::write(&half, &g).unwrap_err().to_string().contains("half precision"));
}

#[test]
fn shared_weights_are_stored_once() {
    let mut g = Graph::new("shared");
    let x = g.add_input("x", TensorType::new(DType::F32, [2usize, 32]));
    let w = constant(&mut g, "w", &[32, 32]);
    let a = g.emit(NodeSpec::new(&linear::MATMUL, [x, w]).named("a")).unwrap();
    let b = g.emit(NodeSpec::new(&linear::MATMUL, [a, w]).named("b")).unwrap();
    g.set_results(g.main(), vec![b]);
    let policy = Options::bits(8).policy(&g);
    let report = compress(&mut g, &policy).unwrap();
    assert_eq!(report.bytes(), (4096, 1024 + 4 * 32));
    let stored = g.nodes().filter(|(_, n)| n.op.name == "dequantize_linear" && n.region().is_some()).count();
    assert_eq!(stored, 1);
}
