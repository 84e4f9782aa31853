//! Speed of single convolutions against the machine's peak: run with `--release -- --ignored --nocapture`.

use crate::support::{Machine, native_targets};
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, TensorType};
use mnnc_kernel::{families, lower};
use mnnc_ops::family::conv::CONV;
use mnnc_ops::sample::Gen;
use std::time::Instant;

#[test]
#[ignore = "a measurement"]
fn layers() {
    // size, in, out, kernel, stride, groups
    let layers = [
        (56, 64, 64, 3, 1, 1),
        (28, 128, 128, 3, 1, 1),
        (14, 256, 256, 3, 1, 1),
        (7, 512, 512, 3, 1, 1),
        (56, 64, 256, 1, 1, 1),
        (56, 256, 64, 1, 1, 1),
        (14, 1024, 256, 1, 1, 1),
        (7, 2048, 512, 1, 1, 1),
        (112, 16, 96, 1, 1, 1),
        (56, 144, 24, 1, 1, 1),
        (224, 3, 32, 3, 2, 1),
        (224, 3, 64, 7, 2, 1),
        (112, 32, 32, 3, 1, 32),
        (56, 144, 144, 3, 1, 144),
        (112, 96, 96, 3, 2, 96),
        (14, 576, 576, 3, 1, 576),
        (7, 960, 960, 3, 1, 960),
        (28, 120, 120, 5, 1, 120),
        (1, 960, 240, 1, 1, 1),
        (1, 2048, 1000, 1, 1, 1),
        (40, 96, 96, 3, 1, 8),
        (80, 24, 48, 1, 1, 2),
        (56, 128, 128, 3, 1, 32),
        (28, 64, 128, 3, 1, 64),
    ];
    for target in native_targets() {
        for (size, inputs, outputs, k, stride, groups) in layers {
            let mut g = Gen::new(1);
            let mut graph = Graph::new("conv");
            let x = graph.add_input("x", TensorType::new(DType::F32, [1, inputs, size, size]));
            let w = graph.add_const("w", g.f32s(&[outputs, inputs / groups, k, k]));
            let b = graph.add_const("b", g.f32s(&[outputs]));
            let (pad, stride_attr) = ((k / 2) as i64, stride as i64);
            let attrs = Attrs::new()
                .with("group", groups as i64)
                .with("strides", vec![stride_attr; 2])
                .with("pads", vec![pad; 4]);
            let y = graph.emit(NodeSpec::new(&CONV, [x, w, b]).attrs(attrs)).expect("valid");
            graph.set_results(graph.main(), vec![y]);
            let mut schedule = lower(&graph, &target, families::ALL).expect("lowers");
            schedule.steps.retain(|s| s.flops > 0 && schedule.kernels[s.kernel].name.contains("_k"));
            let flops: u64 = schedule.steps.iter().map(|s| s.flops).sum();
            let names: Vec<String> = schedule.steps.iter().map(|s| schedule.kernels[s.kernel].name.clone()).collect();
            let mut m = Machine::new(&schedule);
            m.clear();
            let mut best = f64::MAX;
            let start = Instant::now();
            while start.elapsed().as_millis() < 60 {
                let t = Instant::now();
                m.run_steps(false);
                best = best.min(t.elapsed().as_secs_f64());
            }
            println!("{:7.1} GFLOP/s {:8.1} us  {names:?}", flops as f64 / best / 1e9, best * 1e6);
        }
    }
}
