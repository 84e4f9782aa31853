//! EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946).

use super::layers::{
    Activation::{Sigmoid, Silu},
    Net, Value, Window,
};

const EPSILON: f32 = 1e-5;

/// Expansion, kernel, stride of the first, output channels, repeats (table 1 of the paper).
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
];

pub(super) fn b0(net: &mut Net, x: Value) -> Value {
    let mut x = conv_silu(net, &x, "features.0", 32, Window::same(3, 2));
    for (stage, (expansion, kernel, first_stride, out, repeats)) in STAGES.into_iter().enumerate() {
        for repeat in 0..repeats {
            let module = format!("features.{}.{repeat}", stage + 1);
            let window = Window::same(kernel, if repeat == 0 { first_stride } else { 1 });
            x = mb_conv(net, &x, &module, x.channels() * expansion, out, window);
        }
    }
    let x = conv_silu(net, &x, "features.8", 1280, Window::same(1, 1));
    let x = net.global_average(&x, "avgpool");
    let x = net.flatten(&x);
    net.classifier(&x, "classifier.1")
}

fn mb_conv(net: &mut Net, x: &Value, module: &str, hidden: usize, out: usize, window: Window) -> Value {
    let mut index = 0;
    let mut at = || {
        index += 1;
        format!("{module}.block.{}", index - 1)
    };
    let mut y = x.clone();
    if hidden != x.channels() {
        y = conv_silu(net, &y, &at(), hidden, Window::same(1, 1));
    }
    y = conv_silu(net, &y, &at(), hidden, window.grouped(hidden));
    // The squeeze is a quarter of the block's input, not of its hidden width.
    y = net.squeeze_excite(&y, &at(), (x.channels() / 4).max(1), (Silu, Sigmoid));
    let project = at();
    let modules = (format!("{project}.0"), format!("{project}.1"));
    y = net.conv_bn(&y, (&modules.0, &modules.1), out, Window::same(1, 1), EPSILON);
    if window.stride == 1 && x.channels() == out { net.add(&y, x, module) } else { y }
}

fn conv_silu(net: &mut Net, x: &Value, module: &str, out: usize, window: Window) -> Value {
    let at = |i| format!("{module}.{i}");
    let y = net.conv_bn(x, (&at(0), &at(1)), out, window, EPSILON);
    net.activation(&y, &at(2), Silu)
}
