//! ViT-B/32 (Dosovitskiy et al. 2020, arXiv:2010.11929), with
//! `nn.MultiheadAttention` spelt out as PyTorch traces it.

use super::layers::{Net, Value, Window};
use super::normal::Stream;
use super::probe::Probe;
use super::shapes::Extent::{Fixed, Rest};
use super::weights::Target;
use super::writer::{float, int, ints};

const PATCH: usize = 32;
const LAYERS: usize = 12;
const HEADS: usize = 12;
const HIDDEN: usize = 768;
const MLP: usize = 3072;
const EPSILON: f32 = 1e-6;

pub(super) fn b_32(net: &mut Net, x: Value) -> Value {
    let patches = embed(net, &x);
    let tokens = patches.tokens + 1;
    let x = with_class_token(net, &patches);
    let mut x = add_position(net, &x, tokens);
    let shape = Shape { batch: net.options.batch, tokens };
    for layer in 0..LAYERS {
        x = encoder_block(net, &x, &format!("encoder.layers.encoder_layer_{layer}"), shape);
    }
    let x = layer_norm(net, &x, "encoder.ln");
    let zero = net.writer.const_i64("", &[], &[0]);
    let name = net.writer.node("", "Gather", &[&x, &zero], vec![int("axis", 1)]);
    let x = Value {
        name,
        dims: vec![shape.batch, HIDDEN],
        // What the last norm leaves.
        probe: Probe::noise(net.options.seed, HIDDEN),
    };
    net.classifier(&x, "heads.head")
}

/// Extents of the sequence \[batch, tokens, HIDDEN\].
#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    tokens: usize,
}

/// The patches as a sequence \[N, tokens, HIDDEN\].
struct Patches {
    name: String,
    tokens: usize,
    /// The picture, for its batch.
    picture: Value,
}

fn embed(net: &mut Net, x: &Value) -> Patches {
    let window = Window { kernel: PATCH, stride: PATCH, pad: 0, groups: 1 };
    let target = Target { mean: 0.0, deviation: 1.0 };
    let y = net.conv(x, "conv_proj", HIDDEN, window, target);
    let tokens = y.dims[2] * y.dims[3];
    let batch = net.extent(x.view(), "", 0);
    let y = net.reshape(&y.name, "", &[batch, Fixed(HIDDEN), Fixed(tokens)]);
    let name = net.writer.node("", "Transpose", &[&y], vec![ints("perm", &[0, 2, 1])]);
    Patches { name, tokens, picture: x.clone() }
}

/// Puts the class token before the patches; it is expanded to the batch when
/// the model is run, or by constant folding.
fn with_class_token(net: &mut Net, patches: &Patches) -> String {
    let values = Stream::new(net.options.seed, "class_token").normals(HIDDEN, 0.0, 0.5);
    let token = if net.traces_shapes() {
        let token = net.writer.initializer("class_token", &[1, 1, HIDDEN], &values);
        expand(net, &token, &patches.picture)
    } else {
        let batch = net.options.batch;
        net.writer.initializer("class_token", &[batch, 1, HIDDEN], &values.repeat(batch))
    };
    net.writer.node("", "Concat", &[&token, &patches.name], vec![int("axis", 1)])
}

/// `token.expand(n, -1, -1)`: PyTorch replaces each -1 of the target by 1 with `Where`.
fn expand(net: &mut Net, token: &str, picture: &Value) -> String {
    let batch = net.extent(picture.view(), "", 0);
    let target = net.shape("", &[batch, Rest, Rest]);
    let w = &mut net.writer;
    let ones = w.const_i64("", &[3], &[1, 1, 1]);
    let minus_one = w.const_i64("", &[], &[-1]);
    let minus_ones = w.node("", "Mul", &[&ones, &minus_one], vec![]);
    let keep = w.node("", "Equal", &[&target, &minus_ones], vec![]);
    let shape = w.node("", "Where", &[&keep, &ones, &target], vec![]);
    w.node("", "Expand", &[token, &shape], vec![])
}

fn add_position(net: &mut Net, x: &str, tokens: usize) -> String {
    let name = "encoder.pos_embedding";
    let values = Stream::new(net.options.seed, name).normals(tokens * HIDDEN, 0.0, 0.5);
    let position = net.writer.initializer(name, &[1, tokens, HIDDEN], &values);
    net.writer.node("encoder", "Add", &[x, &position], vec![])
}

fn encoder_block(net: &mut Net, x: &str, module: &str, shape: Shape) -> String {
    let y = layer_norm(net, x, &format!("{module}.ln_1"));
    let y = attention(net, &y, &format!("{module}.self_attention"), shape);
    let x = net.writer.node(module, "Add", &[&y, x], vec![]);
    let y = layer_norm(net, &x, &format!("{module}.ln_2"));
    let y = linear(net, &y, &format!("{module}.mlp.0"), (HIDDEN, MLP), 1.0);
    let y = gelu(net, &y, &format!("{module}.mlp.1"));
    let y = linear(net, &y, &format!("{module}.mlp.3"), (MLP, HIDDEN), 1.0);
    net.writer.node(module, "Add", &[&x, &y], vec![])
}

fn layer_norm(net: &mut Net, x: &str, module: &str) -> String {
    let seed = net.options.seed;
    let (weight, bias) = (format!("{module}.weight"), format!("{module}.bias"));
    let scale: Vec<f32> = {
        let mut stream = Stream::new(seed, &weight);
        (0..HIDDEN).map(|_| stream.uniform(0.7, 1.3) as f32).collect()
    };
    let shift = Stream::new(seed, &bias).normals(HIDDEN, 0.0, 0.1);
    let w = &mut net.writer;
    w.initializer(&weight, &[HIDDEN], &scale);
    w.initializer(&bias, &[HIDDEN], &shift);
    let attributes = vec![int("axis", -1), float("epsilon", EPSILON)];
    w.node(module, "LayerNormalization", &[x, &weight, &bias], attributes)
}

/// A linear layer on a sequence: `MatMul` by the transposed weight, which
/// constant folding transposes, then `Add` with the bias in front.
fn linear(net: &mut Net, x: &str, module: &str, (from, to): (usize, usize), gain: f64) -> String {
    let parameter = |suffix| format!("{module}.{suffix}");
    packed_linear(net, x, module, (&parameter("weight"), &parameter("bias")), (from, to), gain)
}

fn packed_linear(
    net: &mut Net,
    x: &str,
    module: &str,
    (weight, bias): (&str, &str),
    (from, to): (usize, usize),
    gain: f64,
) -> String {
    let seed = net.options.seed;
    let values = Stream::new(seed, weight).normals(from * to, 0.0, gain / (from as f64).sqrt());
    let shift = Stream::new(seed, bias).normals(to, 0.0, 0.1);
    let unfolded = net.options.unfolded;
    let w = &mut net.writer;
    let matrix = if unfolded {
        let matrix = w.initializer(weight, &[to, from], &values);
        w.node(module, "Transpose", &[&matrix], vec![ints("perm", &[1, 0])])
    } else {
        let transposed: Vec<f32> = (0..from).flat_map(|i| values[i..].iter().step_by(from).copied()).collect();
        w.initializer(weight, &[from, to], &transposed)
    };
    w.initializer(bias, &[to], &shift);
    let y = w.node(module, "MatMul", &[x, &matrix], vec![]);
    w.node(module, "Add", &[bias, &y], vec![])
}

/// `nn.MultiheadAttention(batch_first=True)` of `x` on itself.
fn attention(net: &mut Net, x: &str, module: &str, shape: Shape) -> String {
    const DEPTH: usize = HIDDEN / HEADS;
    let Shape { batch, tokens } = shape;
    // In traced shapes the batch is axis 1 of the transposed sequence.
    let x = net.writer.node(module, "Transpose", &[x], vec![ints("perm", &[1, 0, 2])]);
    let sequence = (x.as_str(), [tokens, batch, HIDDEN]);
    let names = (format!("{module}.in_proj_weight"), format!("{module}.in_proj_bias"));
    // Queries and keys above unit variance: attention that looks somewhere.
    let qkv = packed_linear(net, &x, module, (&names.0, &names.1), (HIDDEN, 3 * HIDDEN), 1.4);
    let n = net.extent((sequence.0, &sequence.1), module, 1);
    let qkv = net.reshape(&qkv, module, &[Fixed(tokens), n, Fixed(3), Fixed(HIDDEN)]);
    let w = &mut net.writer;
    let axes = w.const_i64(module, &[1], &[0]);
    let qkv = w.node(module, "Unsqueeze", &[&qkv, &axes], vec![]);
    let qkv = w.node(module, "Transpose", &[&qkv], vec![ints("perm", &[3, 1, 2, 0, 4])]);
    let axes = w.const_i64(module, &[1], &[-2]);
    let qkv = w.node(module, "Squeeze", &[&qkv, &axes], vec![]);
    let [q, k, v] = [0, 1, 2].map(|part| {
        let index = w.const_i64(module, &[], &[part]);
        w.node(module, "Gather", &[&qkv, &index], vec![int("axis", 0)])
    });
    let [q, k, v] = [q, k, v].map(|part| {
        let n = net.extent((sequence.0, &sequence.1), module, 1);
        let rows = net.times(n, module, HEADS);
        let y = net.reshape(&part, module, &[Fixed(tokens), rows, Fixed(DEPTH)]);
        net.writer.node(module, "Transpose", &[&y], vec![ints("perm", &[1, 0, 2])])
    });
    let [q, k, v] = [q, k, v].map(|part| {
        let n = net.extent((sequence.0, &sequence.1), module, 1);
        net.reshape(&part, module, &[n, Fixed(HEADS), Fixed(tokens), Fixed(DEPTH)])
    });
    let y = scaled_dot_product(net, [&q, &k, &v], module, DEPTH);
    let y = net.writer.node(module, "Transpose", &[&y], vec![ints("perm", &[2, 0, 1, 3])]);
    let y = if net.traces_shapes() {
        net.reshape(&y, module, &[Rest, Fixed(HIDDEN)])
    } else {
        net.reshape(&y, module, &[Fixed(tokens * batch), Fixed(HIDDEN)])
    };
    let y = project(net, &y, &format!("{module}.out_proj"), module);
    let n = net.extent((sequence.0, &sequence.1), module, 1);
    let y = net.reshape(&y, module, &[Fixed(tokens), n, Fixed(HIDDEN)]);
    net.writer.node(module, "Transpose", &[&y], vec![ints("perm", &[1, 0, 2])])
}

/// The output projection, on a matrix and therefore a `Gemm`.
fn project(net: &mut Net, x: &str, name: &str, module: &str) -> String {
    let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
    let seed = net.options.seed;
    let gain = 1.0 / (HIDDEN as f64).sqrt();
    let values = Stream::new(seed, &weight).normals(HIDDEN * HIDDEN, 0.0, gain);
    let shift = Stream::new(seed, &bias).normals(HIDDEN, 0.0, 0.1);
    let w = &mut net.writer;
    w.initializer(&weight, &[HIDDEN, HIDDEN], &values);
    w.initializer(&bias, &[HIDDEN], &shift);
    let attributes = vec![float("alpha", 1.0), float("beta", 1.0), int("transB", 1)];
    w.node(module, "Gemm", &[x, &weight, &bias], attributes)
}

/// `scaled_dot_product_attention`: both factors are scaled by the fourth root.
fn scaled_dot_product(net: &mut Net, [q, k, v]: [&str; 3], module: &str, depth: usize) -> String {
    let root = if net.options.unfolded {
        let w = &mut net.writer;
        let shape = w.node(module, "Shape", &[q], vec![]);
        let start = w.const_i64(module, &[1], &[-1]);
        let end = w.const_i64(module, &[1], &[i64::MAX]);
        let last = w.node(module, "Slice", &[&shape, &start, &end], vec![]);
        let depth = w.node(module, "Cast", &[&last], vec![int("to", 1)]);
        let depth = w.node(module, "Sqrt", &[&depth], vec![]);
        let one = w.const_f32(module, 1.0);
        let scale = w.node(module, "Div", &[&one, &depth], vec![]);
        let scale = w.node(module, "Cast", &[&scale], vec![int("to", 1)]);
        w.node(module, "Sqrt", &[&scale], vec![])
    } else {
        net.writer.const_f32(module, (1.0 / (depth as f32).sqrt()).sqrt())
    };
    let w = &mut net.writer;
    let k = w.node(module, "Transpose", &[k], vec![ints("perm", &[0, 1, 3, 2])]);
    let q = w.node(module, "Mul", &[q, &root], vec![]);
    let k = w.node(module, "Mul", &[&k, &root], vec![]);
    let scores = w.node(module, "MatMul", &[&q, &k], vec![]);
    let attention = w.node(module, "Softmax", &[&scores], vec![int("axis", -1)]);
    w.node(module, "MatMul", &[&attention, v], vec![])
}

/// GELU before opset 20: x (1 + erf(x / sqrt 2)) / 2.
fn gelu(net: &mut Net, x: &str, module: &str) -> String {
    let w = &mut net.writer;
    let root2 = w.const_f32(module, std::f32::consts::SQRT_2);
    let y = w.node(module, "Div", &[x, &root2], vec![]);
    let y = w.node(module, "Erf", &[&y], vec![]);
    let one = w.const_f32(module, 1.0);
    let y = w.node(module, "Add", &[&y, &one], vec![]);
    let y = w.node(module, "Mul", &[x, &y], vec![]);
    let half = w.const_f32(module, 0.5);
    w.node(module, "Mul", &[&y, &half], vec![])
}
