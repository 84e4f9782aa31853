//! MobileNetV2, width 1.0 (Sandler et al. 2018, arXiv:1801.04381).

use super::layers::{Activation::Relu6, Net, Value, Window};

const EPSILON: f32 = 1e-5;

/// Expansion, output channels, repeats, stride of the first (table 2 of the paper).
const STAGES: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];

pub(super) fn network(net: &mut Net, x: Value) -> Value {
    let mut x = conv_relu6(net, &x, "features.0", 32, Window::same(3, 2));
    let mut index = 1;
    for (expansion, out, repeats, first_stride) in STAGES {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { first_stride } else { 1 };
            x = inverted_residual(net, &x, &format!("features.{index}"), expansion, out, stride);
            index += 1;
        }
    }
    let x = conv_relu6(net, &x, "features.18", 1280, Window::same(1, 1));
    let x = net.global_average(&x, "");
    let x = net.flatten(&x);
    net.classifier(&x, "classifier.1")
}

fn inverted_residual(net: &mut Net, x: &Value, module: &str, expansion: usize, out: usize, stride: usize) -> Value {
    let hidden = x.channels() * expansion;
    let (mut y, mut index) = (x.clone(), 0);
    if expansion != 1 {
        y = conv_relu6(net, &y, &format!("{module}.conv.0"), hidden, Window::same(1, 1));
        index += 1;
    }
    let window = Window::same(3, stride).grouped(hidden);
    y = conv_relu6(net, &y, &format!("{module}.conv.{index}"), hidden, window);
    let conv = format!("{module}.conv.{}", index + 1);
    let norm = format!("{module}.conv.{}", index + 2);
    y = net.conv_bn(&y, (&conv, &norm), out, Window::same(1, 1), EPSILON);
    if stride == 1 && x.channels() == out { net.add(x, &y, module) } else { y }
}

fn conv_relu6(net: &mut Net, x: &Value, module: &str, out: usize, window: Window) -> Value {
    let at = |i| format!("{module}.{i}");
    let y = net.conv_bn(x, (&at(0), &at(1)), out, window, EPSILON);
    net.activation(&y, &at(2), Relu6)
}
