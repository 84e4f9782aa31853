//! The layers that are timed: those that the time of the zoo's networks goes into, at their sizes.

use crate::graph::Attribute::{Int, Ints};
use crate::graph::Graph;

/// A layer: what it is called, and the ONNX model that is nothing but it.
pub struct Layer {
    /// Kind and sizes, as `conv3x3 64 to 64 at 56x56`.
    pub name: String,
    /// Its model.
    pub model: Vec<u8>,
}

/// All layers, kind by kind.
pub fn catalogue() -> Vec<Layer> {
    let mut layers = Vec::new();
    // Kind, window, stride, (channels in, out, picture's side).
    let convolutions: [(&str, usize, usize, &[[usize; 3]]); 5] = [
        ("conv3x3", 3, 1, &[[64, 64, 56], [128, 128, 28], [256, 256, 14], [512, 512, 7]]),
        ("conv3x3s2", 3, 2, &[[64, 128, 56], [128, 128, 56], [256, 512, 14]]),
        (
            "conv1x1",
            1,
            1,
            &[
                [64, 256, 56],
                [256, 64, 56],
                [512, 128, 28],
                [1024, 256, 14],
                [2048, 512, 7],
                [32, 16, 112],
                [96, 24, 56],
                [960, 160, 7],
            ],
        ),
        ("stem3x3s2", 3, 2, &[[3, 32, 224]]),
        ("stem7x7s2", 7, 2, &[[3, 64, 224]]),
    ];
    for (kind, window, stride, sizes) in convolutions {
        layers.extend(sizes.iter().map(|&[from, to, side]| convolution(kind, window, stride, from, to, side)));
    }
    layers.push(patches(768, 32, 224));
    for (window, stride, channels, side) in [
        (3, 1, 144, 56),
        (3, 1, 192, 28),
        (3, 1, 384, 14),
        (3, 1, 960, 7),
        (3, 2, 96, 112),
        (3, 2, 144, 56),
        (5, 1, 240, 28),
        (5, 1, 672, 14),
        (5, 2, 144, 56),
        (5, 2, 672, 14),
    ] {
        layers.push(depthwise(window, stride, channels, side));
    }
    for [rows, from, to] in
        [[50, 768, 2304], [50, 768, 768], [50, 768, 3072], [50, 3072, 768], [197, 768, 3072], [1, 2048, 1000]]
    {
        layers.push(product(rows, from, to));
    }
    for stored in [Stored::F32, Stored::F16, Stored::I8, Stored::I4, Stored::Blocks] {
        layers.push(packed_product(1, 4096, 4096, stored));
        layers.push(packed_product(50, 768, 3072, stored));
        layers.push(packed_convolution(64, 256, 56, stored));
        layers.push(packed_convolution(512, 512, 14, stored));
    }
    layers.extend([50, 197].map(|tokens| attention(12, tokens, 64)));
    layers.push(max_pool(64, 112));
    layers.push(global_pool(2048, 7));
    layers
}

fn convolution(kind: &str, window: usize, stride: usize, from: usize, to: usize, side: usize) -> Layer {
    let name = format!("{kind} {from} to {to} at {side}x{side}");
    conv(name, [window, stride, window / 2, 1], from, to, side)
}

/// A vision transformer's cutting of the picture into patches.
fn patches(to: usize, patch: usize, side: usize) -> Layer {
    conv(format!("patches{patch}x{patch} 3 to {to} at {side}x{side}"), [patch, patch, 0, 1], 3, to, side)
}

fn depthwise(window: usize, stride: usize, channels: usize, side: usize) -> Layer {
    let kind = if stride == 1 { String::new() } else { format!("s{stride}") };
    let name = format!("depthwise{window}x{window}{kind} {channels} at {side}x{side}");
    conv(name, [window, stride, window / 2, channels], channels, channels, side)
}

/// A convolution with bias and ReLU; `how` is window, stride, padding and groups.
fn conv(name: String, how: [usize; 4], from: usize, to: usize, side: usize) -> Layer {
    let [window, stride, pad, groups] = how;
    let out = (side + 2 * pad - window) / stride + 1;
    let mut graph = Graph::default();
    graph.input("x", &[1, from, side, side]);
    graph.weights("w", &[to, from / groups, window, window]);
    graph.weights("b", &[to]);
    let square = |n: usize, count| Ints(vec![n as i64; count]);
    let attributes = [
        ("kernel_shape", square(window, 2)),
        ("strides", square(stride, 2)),
        ("pads", square(pad, 4)),
        ("group", Int(groups as i64)),
    ];
    graph.node("Conv", &["x", "w", "b"], "conv", &attributes);
    graph.node("Relu", &["conv"], "y", &[]);
    Layer { name, model: graph.finish("y", &[1, to, out, out]) }
}

/// A product with weights, with a bias.
fn product(rows: usize, from: usize, to: usize) -> Layer {
    let mut graph = Graph::default();
    graph.input("x", &[rows, from]);
    graph.weights("w", &[from, to]);
    graph.weights("b", &[to]);
    graph.node("Gemm", &["x", "w", "b"], "y", &[]);
    Layer { name: format!("product {rows}x{from} by {from}x{to}"), model: graph.finish("y", &[rows, to]) }
}

/// How weights are stored.
#[derive(Clone, Copy, Debug)]
enum Stored {
    F32,
    F16,
    /// A scale for each output channel.
    I8,
    /// Half bytes, a scale for each output channel.
    I4,
    /// Half bytes, a scale for each output channel and 32 input channels.
    Blocks,
}

/// Weights `w` of this shape, stored so. Dimension `output` counts output channels, `input` input channels.
fn weights(graph: &mut Graph, dims: &[usize], [output, input]: [usize; 2], stored: Stored) {
    let scale = |s: Stored| if matches!(s, Stored::I8) { 1e-3 } else { 1e-2 };
    match stored {
        Stored::F32 => graph.weights("w", dims),
        Stored::F16 => {
            graph.halves("q", dims);
            graph.node("Cast", &["q"], "w", &[("to", Int(1))]);
        }
        Stored::I8 | Stored::I4 => {
            graph.bytes("q", dims, if matches!(stored, Stored::I8) { 8 } else { 4 });
            graph.constants("scale", &[dims[output]], scale(stored));
            graph.node("DequantizeLinear", &["q", "scale"], "w", &[("axis", Int(output as i64))]);
        }
        Stored::Blocks => {
            graph.bytes("q", dims, 4);
            let mut scales = dims.to_vec();
            scales[input] = dims[input].div_ceil(32);
            graph.constants("scale", &scales, scale(stored));
            let attributes = [("axis", Int(input as i64)), ("block_size", Int(32))];
            graph.node("DequantizeLinear", &["q", "scale"], "w", &attributes);
        }
    }
}

fn packed_product(rows: usize, from: usize, to: usize, stored: Stored) -> Layer {
    let mut graph = Graph::default();
    graph.input("x", &[rows, from]);
    weights(&mut graph, &[from, to], [1, 0], stored);
    graph.node("MatMul", &["x", "w"], "y", &[]);
    let name = format!("packed {rows}x{from} by {from}x{to} {stored:?}");
    Layer { name, model: graph.finish("y", &[rows, to]) }
}

fn packed_convolution(from: usize, to: usize, side: usize, stored: Stored) -> Layer {
    let mut graph = Graph::default();
    graph.input("x", &[1, from, side, side]);
    weights(&mut graph, &[to, from, 1, 1], [0, 1], stored);
    graph.node("Conv", &["x", "w"], "y", &[("kernel_shape", Ints(vec![1; 2]))]);
    let name = format!("packed 1x1 {from} to {to} at {side}x{side} {stored:?}");
    Layer { name, model: graph.finish("y", &[1, to, side, side]) }
}

/// Softmax of query times key, times value, head by head; queries, keys and values are inputs.
fn attention(heads: usize, tokens: usize, width: usize) -> Layer {
    let mut graph = Graph::default();
    for name in ["query", "key", "value"] {
        graph.input(name, &[1, tokens, heads, width]);
        let order = if name == "key" { [0, 2, 3, 1] } else { [0, 2, 1, 3] };
        graph.node("Transpose", &[name], &format!("{name}s"), &[("perm", Ints(order.to_vec()))]);
    }
    graph.node("MatMul", &["querys", "keys"], "scores", &[]);
    graph.node("Softmax", &["scores"], "shares", &[("axis", Int(-1))]);
    graph.node("MatMul", &["shares", "values"], "heads", &[]);
    graph.node("Transpose", &["heads"], "together", &[("perm", Ints(vec![0, 2, 1, 3]))]);
    graph.integers("shape", &[1, tokens as i64, (heads * width) as i64]);
    graph.node("Reshape", &["together", "shape"], "y", &[]);
    let name = format!("attention {heads} heads, {tokens} tokens of {width}");
    Layer { name, model: graph.finish("y", &[1, tokens, heads * width]) }
}

fn max_pool(channels: usize, side: usize) -> Layer {
    let out = (side - 1) / 2 + 1;
    let mut graph = Graph::default();
    graph.input("x", &[1, channels, side, side]);
    let attributes = [("kernel_shape", Ints(vec![3; 2])), ("strides", Ints(vec![2; 2])), ("pads", Ints(vec![1; 4]))];
    graph.node("MaxPool", &["x"], "y", &attributes);
    let name = format!("max_pool3x3s2 {channels} at {side}x{side}");
    Layer { name, model: graph.finish("y", &[1, channels, out, out]) }
}

fn global_pool(channels: usize, side: usize) -> Layer {
    let mut graph = Graph::default();
    graph.input("x", &[1, channels, side, side]);
    graph.node("GlobalAveragePool", &["x"], "y", &[]);
    let name = format!("global_pool {channels} at {side}x{side}");
    Layer { name, model: graph.finish("y", &[1, channels, 1, 1]) }
}
