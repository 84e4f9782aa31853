//! ResNet-18 and ResNet-50 (He et al. 2015, arXiv:1512.03385), the latter with
//! the stride in the 3x3 convolution, as torchvision has it.

use super::layers::{Activation::Relu, Net, Value, Window};

const EPSILON: f32 = 1e-5;

pub(super) fn resnet18(net: &mut Net, x: Value) -> Value {
    resnet(net, x, [2, 2, 2, 2], basic_block, 1)
}

pub(super) fn resnet50(net: &mut Net, x: Value) -> Value {
    resnet(net, x, [3, 4, 6, 3], bottleneck, 4)
}

/// The residual of a block: network, input, module, width, stride.
type Residual = fn(&mut Net, &Value, &str, usize, usize) -> Value;

fn resnet(net: &mut Net, x: Value, repeats: [usize; 4], residual: Residual, expansion: usize) -> Value {
    let x = net.conv_bn(&x, ("conv1", "bn1"), 64, Window::same(7, 2), EPSILON);
    let x = net.activation(&x, "relu", Relu);
    let mut x = net.max_pool(&x, "maxpool", Window::same(3, 2), false);
    for (layer, repeats) in repeats.into_iter().enumerate() {
        let width = 64 << layer;
        for repeat in 0..repeats {
            let module = format!("layer{}.{repeat}", layer + 1);
            let stride = if layer > 0 && repeat == 0 { 2 } else { 1 };
            let y = residual(net, &x, &module, width, stride);
            let out = width * expansion;
            if stride != 1 || x.channels() != out {
                let conv = format!("{module}.downsample.0");
                let norm = format!("{module}.downsample.1");
                x = net.conv_bn(&x, (&conv, &norm), out, Window::same(1, stride), EPSILON);
            }
            let sum = net.add(&y, &x, &module);
            // The block's one ReLU module is called again: a call count in the scope.
            let calls = if expansion == 1 { 1 } else { 2 };
            x = net.activation(&sum, &format!("{module}.relu_{calls}"), Relu);
        }
    }
    let x = net.global_average(&x, "avgpool");
    let x = net.flatten(&x);
    net.classifier(&x, "fc")
}

fn basic_block(net: &mut Net, x: &Value, module: &str, width: usize, stride: usize) -> Value {
    let at = |name| format!("{module}.{name}");
    let y = net.conv_bn(x, (&at("conv1"), &at("bn1")), width, Window::same(3, stride), EPSILON);
    let y = net.activation(&y, &at("relu"), Relu);
    net.conv_bn(&y, (&at("conv2"), &at("bn2")), width, Window::same(3, 1), EPSILON)
}

fn bottleneck(net: &mut Net, x: &Value, module: &str, width: usize, stride: usize) -> Value {
    let at = |name| format!("{module}.{name}");
    let y = net.conv_bn(x, (&at("conv1"), &at("bn1")), width, Window::same(1, 1), EPSILON);
    let y = net.activation(&y, &at("relu"), Relu);
    let y = net.conv_bn(&y, (&at("conv2"), &at("bn2")), width, Window::same(3, stride), EPSILON);
    let y = net.activation(&y, &at("relu_1"), Relu);
    net.conv_bn(&y, (&at("conv3"), &at("bn3")), 4 * width, Window::same(1, 1), EPSILON)
}
