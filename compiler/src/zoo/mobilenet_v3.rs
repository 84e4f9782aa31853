//! MobileNetV3-Large (Howard et al. 2019, arXiv:1905.02244).

use super::layers::Activation::{self, HardSigmoid, HardSwish, Relu};
use super::layers::{Net, Value, Window, make_divisible};
use super::weights::Target;

const EPSILON: f32 = 1e-3;

/// A bottleneck: kernel, hidden channels, output channels, squeeze and excite,
/// activation, stride.
type Row = (usize, usize, usize, bool, Activation, usize);

/// Table 1 of the paper.
const LARGE: [Row; 15] = [
    (3, 16, 16, false, Relu, 1),
    (3, 64, 24, false, Relu, 2),
    (3, 72, 24, false, Relu, 1),
    (5, 72, 40, true, Relu, 2),
    (5, 120, 40, true, Relu, 1),
    (5, 120, 40, true, Relu, 1),
    (3, 240, 80, false, HardSwish, 2),
    (3, 200, 80, false, HardSwish, 1),
    (3, 184, 80, false, HardSwish, 1),
    (3, 184, 80, false, HardSwish, 1),
    (3, 480, 112, true, HardSwish, 1),
    (3, 672, 112, true, HardSwish, 1),
    (5, 672, 160, true, HardSwish, 2),
    (5, 960, 160, true, HardSwish, 1),
    (5, 960, 160, true, HardSwish, 1),
];

pub(super) fn large(net: &mut Net, x: Value) -> Value {
    let mut x = conv_act(net, &x, "features.0", 16, Window::same(3, 2), HardSwish);
    for (i, row) in LARGE.into_iter().enumerate() {
        x = bottleneck(net, &x, &format!("features.{}", i + 1), row);
    }
    let x = conv_act(net, &x, "features.16", 960, Window::same(1, 1), HardSwish);
    let x = net.global_average(&x, "avgpool");
    let x = net.flatten(&x);
    let x = net.linear(&x, "classifier.0", 1280, Target { mean: 0.0, deviation: 1.0 });
    let x = net.activation(&x, "classifier.1", HardSwish);
    net.classifier(&x, "classifier.3")
}

fn bottleneck(net: &mut Net, x: &Value, module: &str, (kernel, hidden, out, gated, activation, stride): Row) -> Value {
    let mut index = 0;
    let mut at = || {
        index += 1;
        format!("{module}.block.{}", index - 1)
    };
    let mut y = x.clone();
    if hidden != x.channels() {
        y = conv_act(net, &y, &at(), hidden, Window::same(1, 1), activation);
    }
    let window = Window::same(kernel, stride).grouped(hidden);
    y = conv_act(net, &y, &at(), hidden, window, activation);
    if gated {
        let squeeze = make_divisible(hidden as f64 / 4.0);
        y = net.squeeze_excite(&y, &at(), squeeze, (Relu, HardSigmoid));
    }
    let project = at();
    let modules = (format!("{project}.0"), format!("{project}.1"));
    y = net.conv_bn(&y, (&modules.0, &modules.1), out, Window::same(1, 1), EPSILON);
    if stride == 1 && x.channels() == out { net.add(&y, x, module) } else { y }
}

fn conv_act(net: &mut Net, x: &Value, module: &str, out: usize, window: Window, activation: Activation) -> Value {
    let at = |i| format!("{module}.{i}");
    let y = net.conv_bn(x, (&at(0), &at(1)), out, window, EPSILON);
    net.activation(&y, &at(2), activation)
}
