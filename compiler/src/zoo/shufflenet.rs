//! ShuffleNetV2 x1.0 (Ma et al. 2018, arXiv:1807.11164).

use super::layers::{Activation::Relu, Net, Value, Window};

const EPSILON: f32 = 1e-5;

/// Output channels and repeats of stages 2 to 4 (table 5 of the paper).
const STAGES: [(usize, usize); 3] = [(116, 4), (232, 8), (464, 4)];

pub(super) fn x1_0(net: &mut Net, x: Value) -> Value {
    let x = net.conv_bn(&x, ("conv1.0", "conv1.1"), 24, Window::same(3, 2), EPSILON);
    let x = net.activation(&x, "conv1.2", Relu);
    let mut x = net.max_pool(&x, "maxpool", Window::same(3, 2), false);
    for (stage, (out, repeats)) in STAGES.into_iter().enumerate() {
        for repeat in 0..repeats {
            let module = format!("stage{}.{repeat}", stage + 2);
            x = if repeat == 0 {
                downsampling_unit(net, &x, &module, out / 2)
            } else {
                basic_unit(net, &x, &module, out / 2)
            };
        }
    }
    let x = net.conv_bn(&x, ("conv5.0", "conv5.1"), 1024, Window::same(1, 1), EPSILON);
    let x = net.activation(&x, "conv5.2", Relu);
    let x = net.mean(&x);
    net.classifier(&x, "fc")
}

/// Halves the size: both branches work on all channels.
fn downsampling_unit(net: &mut Net, x: &Value, module: &str, half: usize) -> Value {
    let at = |i| format!("{module}.branch1.{i}");
    let window = Window::same(3, 2).grouped(x.channels());
    let y = net.conv_bn(x, (&at(0), &at(1)), x.channels(), window, EPSILON);
    let y = net.conv_bn(&y, (&at(2), &at(3)), half, Window::same(1, 1), EPSILON);
    let left = net.activation(&y, &at(4), Relu);
    let right = branch2(net, x, module, half, 2);
    let y = net.concat(&left, &right, module);
    net.channel_shuffle(&y, module)
}

/// Keeps the size: one half of the channels passes by.
fn basic_unit(net: &mut Net, x: &Value, module: &str, half: usize) -> Value {
    let [left, right] = net.chunk2(x, module);
    let right = branch2(net, &right, module, half, 1);
    let y = net.concat(&left, &right, module);
    net.channel_shuffle(&y, module)
}

fn branch2(net: &mut Net, x: &Value, module: &str, half: usize, stride: usize) -> Value {
    let at = |i| format!("{module}.branch2.{i}");
    let y = net.conv_bn(x, (&at(0), &at(1)), half, Window::same(1, 1), EPSILON);
    let y = net.activation(&y, &at(2), Relu);
    let window = Window::same(3, stride).grouped(half);
    let y = net.conv_bn(&y, (&at(3), &at(4)), half, window, EPSILON);
    let y = net.conv_bn(&y, (&at(5), &at(6)), half, Window::same(1, 1), EPSILON);
    net.activation(&y, &at(7), Relu)
}
