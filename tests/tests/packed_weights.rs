//! Compressed networks as native code: right, with weights as small as the graph stores them, and in int8 with `--memory low`.

use mnnc::{CompileOptions, Compiler, Memory, Model, inputs, zoo};
use mnnc_quant::weight::{Method, Options};

/// A standard network on small pictures, its weights compressed.
fn compressed(name: &str, options: &Options) -> (Model, Model) {
    let size = (64, 64);
    let network = zoo::build(name, &zoo::Options { size, ..zoo::Options::default() }).expect("a network of the zoo");
    let mut bytes = Vec::new();
    zoo::write(&network, &mut bytes).expect("writing to memory");
    let compiler = Compiler::default();
    let model = compiler.load_onnx(name, bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    let model = model.with_graph(compiler.clean(&model).unwrap_or_else(|e| panic!("{name}: {e}")).graph);
    // How integers are chosen is not the question here, and this is the quickest way that is any good.
    let options = Options { method: Method::Mse, ..options.clone() };
    let policy = options.policy(model.graph());
    let (small, _) = compiler.compress(&model, &policy, None).unwrap_or_else(|e| panic!("{name}: {e}"));
    (model, small)
}

/// Bytes of weights that native code reads.
fn weight_bytes(compiler: &Compiler, model: &Model) -> f64 {
    compiler.lower(model).unwrap_or_else(|e| panic!("{e}")).weights() as f64
}

const NETWORKS: &[&str] = &["mobilenet_v2", "resnet18", "squeezenet1_1"];

#[test]
fn packed_weights_compute_what_the_graph_says() {
    let compiler = Compiler::default();
    // How the weights are stored, and how many times smaller than in f32 they are at least.
    let schemes =
        [(Options::bits(16), 1.9), (Options::bits(8), 3.5), (Options::bits(4), 5.5), (Options::bits(4).block(32), 5.0)];
    for name in NETWORKS {
        let direct = Compiler::new(CompileOptions { prefer: mnnc::Prefer::Size, ..CompileOptions::default() });
        for (options, smaller) in &schemes {
            let (float, small) = compressed(name, options);
            let inputs = inputs::all(small.graph(), 7).expect("inputs");
            let found = compiler.verify_native(&small, &inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
            found.judge().unwrap_or_else(|e| panic!("{name} in {} bits: {e}", options.bits));
            let ratio = weight_bytes(&direct, &float) / weight_bytes(&compiler, &small);
            eprintln!("{name} in {} bits, blocks of {}: {ratio:.2} times smaller", options.bits, options.block);
            assert!(ratio >= *smaller, "{name} in {} bits: only {ratio:.2} times smaller", options.bits);
        }
    }
}

/// The integers are those of the evaluator, and the outputs those of the model but for what the rounding of activations does.
#[test]
fn low_memory_is_right() {
    let compiler = Compiler::new(CompileOptions { memory: Memory::Low, ..CompileOptions::default() });
    for name in NETWORKS {
        let (_, small) = compressed(name, &Options::bits(8));
        let graph =
            compiler.optimise(&small, mnnc_transform::Target::Native).unwrap_or_else(|e| panic!("{name}: {e}")).graph;
        let quantised = graph.nodes().filter(|(_, n)| n.op.name == "dynamic_quantize_rows").count();
        if quantised == 0 {
            eprintln!("skipped: this processor does not multiply bytes");
            return;
        }
        let inputs = inputs::all(small.graph(), 7).expect("inputs");
        let found = compiler.verify_native(&small, &inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
        let bad: Vec<_> = found.layers.iter().filter(|l| !l.deviation.is_within()).map(|l| &l.value).collect();
        assert!(bad.is_empty(), "{name}: {bad:?}");
        for o in &found.outputs {
            eprintln!("{name}: {quantised} quantisations, {:.2} % off in the mean square", 100.0 * o.deviation.rms);
            // With random weights the depthwise network amplifies rounding beyond what `compile` keeps: it goes back to f32 there.
            assert!(o.deviation.is_within() || *name == "mobilenet_v2", "{name}: {:?}", o.deviation);
        }
    }
}
