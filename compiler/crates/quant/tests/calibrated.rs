//! Integers chosen in view of data: results change less, on the calibration set and beside it.

use crate::support::{constant, decibels, network, numbers};
use mnnc_ir::{Attrs, DType, Diagnostics, Graph, NodeSpec, Tensor, TensorType, ValueId};
use mnnc_ops::Evaluator;
use mnnc_ops::family::{conv, linear};
use mnnc_quant::weight::calibrated::{Moments, Patches};
use mnnc_quant::weight::{Calibrated, Effort, Options, Watch, compress, compress_with, sites};

/// Runs samples through the reference evaluator.
struct Reference(Vec<Vec<Tensor>>);

impl Watch for Reference {
    fn samples(&self) -> usize {
        self.0.len()
    }
    fn watch(
        &mut self,
        g: &Graph,
        values: &[ValueId],
        see: &mut dyn FnMut(usize, usize, &Tensor),
    ) -> Result<(), Diagnostics> {
        let mut g = g.clone();
        g.set_results(g.main(), values.to_vec());
        for (sample, inputs) in self.0.iter().enumerate() {
            for (i, tensor) in Evaluator::new(&g).run(inputs).unwrap().iter().enumerate() {
                see(sample, i, tensor);
            }
        }
        Ok(())
    }
}

/// Smooth pictures: neighbours go together, as in photographs.
fn pictures(count: usize, seed: u32) -> Vec<Vec<Tensor>> {
    let picture = |i: u32| {
        let r = numbers(12, seed + i);
        let pixel = |c: usize, p: usize| {
            let (y, x) = ((p / 6) as f32, (p % 6) as f32);
            1.0 + r[c] + r[3 + c] * y + r[6] * x + r[7] * (y * r[8] * 3.0).sin()
        };
        vec![Tensor::new([1, 3, 6, 6], (0..108).map(|i| pixel(i / 36, i % 36)).collect::<Vec<f32>>())]
    };
    (0..count as u32).map(picture).collect()
}

fn outputs(g: &Graph, samples: &[Vec<Tensor>]) -> Vec<f64> {
    samples.iter().flat_map(|x| Evaluator::new(g).run(x).unwrap()[0].to_f64s()).collect()
}

#[test]
fn data_makes_results_closer() {
    let float = network();
    let (seen, unseen) = (pictures(24, 1), pictures(12, 1000));
    for options in [Options::bits(8), Options::bits(4).block(16), Options { symmetric: false, ..Options::bits(3) }] {
        let policy = options.policy(&float);
        let mut free = float.clone();
        compress(&mut free, &policy).unwrap();
        let mut informed = float.clone();
        let mut quantiser =
            Calibrated::observe(&float, &policy, &mut Reference(seen.clone()), Effort::default()).unwrap();
        let report = compress_with(&mut informed, &policy, &mut quantiser).unwrap();
        informed.verify().unwrap();
        assert_eq!(report.layers.len(), 7);
        for samples in [&seen, &unseen] {
            let reference = outputs(&float, samples);
            let of = |g: &Graph| decibels(&reference, &outputs(g, samples));
            let (free, informed) = (of(&free), of(&informed));
            assert!(informed > free + 2.0, "{options:?}: {informed} dB with data, {free} dB without");
        }
    }
}

#[test]
fn little_memory_means_more_runs_and_the_same_result() {
    let float = network();
    let policy = Options::bits(4).policy(&float);
    let compressed = |memory: usize| {
        let mut g = float.clone();
        let effort = Effort { memory, ..Effort::default() };
        let mut q = Calibrated::observe(&float, &policy, &mut Reference(pictures(4, 7)), effort).unwrap();
        compress_with(&mut g, &policy, &mut q).unwrap();
        g.to_text()
    };
    assert_eq!(compressed(1), compressed(1 << 30));
}

/// A layer's result at some position is its weights times the patch there.
#[test]
fn patches_are_what_layers_multiply() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::new(DType::F32, [2usize, 6, 7, 5]));
    let w = constant(&mut g, "w", &[4, 3, 3, 2]);
    let attrs = Attrs::new()
        .with("pads", vec![1i64, 0, 2, 1])
        .with("strides", vec![2i64, 1])
        .with("dilations", vec![1i64, 2])
        .with("group", 2i64);
    let y = g.emit(NodeSpec::new(&conv::CONV, [x, w]).attrs(attrs)).unwrap();
    g.set_results(g.main(), vec![y]);
    check_patches(&g, Tensor::new([2, 6, 7, 5], numbers(420, 3)));

    for (trans_a, trans_b, constant_left) in
        [(false, false, false), (true, false, false), (false, true, false), (false, false, true), (true, true, true)]
    {
        let mut g = Graph::new("g");
        let dims = |transposed: bool, d: [usize; 2]| if transposed { [d[1], d[0]] } else { d };
        let (a, b) = (dims(trans_a, [5, 20]), dims(trans_b, [20, 6]));
        let x = g.add_input("x", TensorType::new(DType::F32, if constant_left { b } else { a }));
        let w = constant(&mut g, "w", &if constant_left { a } else { b });
        let operands = if constant_left { [w, x] } else { [x, w] };
        let attrs = Attrs::new().with("transA", trans_a).with("transB", trans_b);
        let y = g.emit(NodeSpec::new(&linear::GEMM, operands).attrs(attrs)).unwrap();
        g.set_results(g.main(), vec![y]);
        let dims = if constant_left { b } else { a };
        check_patches(&g, Tensor::new(dims, numbers(dims[0] * dims[1], 5)));
    }
}

fn check_patches(g: &Graph, x: Tensor) {
    let site = sites(g).remove(0);
    let patches = Patches::of(g, &site).unwrap();
    let y = Evaluator::new(g).run(std::slice::from_ref(&x)).unwrap()[0].clone();
    let rows = mnnc_quant::weight::Rows::of(&site, g.constant(site.weight).unwrap(), 0);
    let all = patches.choose(usize::MAX, 3);
    assert_eq!(all, (0..patches.count()).collect::<Vec<_>>());
    assert_eq!(y.len(), all.len() * site.outputs);
    let channels = site.outputs / patches.groups;
    for group in 0..patches.groups {
        let mut elements = vec![0.0; patches.size * all.len()];
        patches.gather(&x.view::<f32>(), group, &all, &mut elements);
        for o in group * channels..(group + 1) * channels {
            let row = rows.iter().nth(o).unwrap();
            for p in 0..all.len() {
                let sum: f32 = row.iter().enumerate().map(|(e, w)| w * elements[e * all.len() + p]).sum();
                let outputs = site.outputs;
                // Channels come before positions in a convolution, behind them in a product whose constant is on the right.
                let at = match (y.dims().len(), site.operand) {
                    (4, _) => {
                        let plane = y.dims()[2] * y.dims()[3];
                        (p / plane * outputs + o) * plane + p % plane
                    }
                    (_, 1) => p * outputs + o,
                    _ => o * all.len() + p,
                };
                let want = y.view::<f32>()[at];
                assert!((sum - want).abs() < 1e-4, "channel {o}, patch {p}: {sum} {want}");
            }
        }
    }
}

#[test]
fn moments_are_means_of_products() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::new(DType::F32, [9usize, 20]));
    let w = constant(&mut g, "w", &[20, 5]);
    let y = g.emit(NodeSpec::new(&linear::MATMUL, [x, w])).unwrap();
    g.set_results(g.main(), vec![y]);
    let patches = Patches::of(&g, &sites(&g)[0]).unwrap();
    let mut moments = Moments::new(1, 20);
    let x = numbers(180, 8);
    moments.add(&patches, &Tensor::new([9, 20], x.clone()), 100, 0);
    let at = |p: usize, i: usize| f64::from(x[p * 20 + i]);
    let mean = |i: usize| (0..9).map(|p| at(p, i)).sum::<f64>() / 9.0;
    for (i, j) in [(0, 0), (3, 17), (17, 3), (19, 19)] {
        let second = (0..9).map(|p| at(p, i) * at(p, j)).sum::<f64>() / 9.0;
        assert!((moments.matrix(0, 0, false)[i * 20 + j] - second).abs() < 1e-6);
        assert!((moments.matrix(0, 0, true)[i * 20 + j] - second + mean(i) * mean(j)).abs() < 1e-6);
        assert!((moments.mean(0)[i] - mean(i)).abs() < 1e-6);
    }
}
