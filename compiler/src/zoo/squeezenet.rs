//! SqueezeNet 1.1 (Iandola et al. 2016, arXiv:1602.07360, and its later revision).

use super::layers::{Activation::Relu, Net, Value, Window};
use super::weights::Target;

/// Before a ReLU.
const HIDDEN: Target = Target { mean: 0.0, deviation: 1.0 };

/// Index in `features`, squeeze channels, channels of each of the two expansions.
const FIRES: [(usize, usize, usize); 8] =
    [(3, 16, 64), (4, 16, 64), (6, 32, 128), (7, 32, 128), (9, 48, 192), (10, 48, 192), (11, 64, 256), (12, 64, 256)];

pub(super) fn v1_1(net: &mut Net, x: Value) -> Value {
    let x = net.conv(&x, "features.0", 64, Window { pad: 0, ..Window::same(3, 2) }, HIDDEN);
    let x = net.activation(&x, "features.1", Relu);
    let mut x = pool(net, &x, "features.2");
    for (index, squeeze, expand) in FIRES {
        // Pooling layers stand at the indices that the list leaves out.
        if matches!(index, 6 | 9) {
            x = pool(net, &x, &format!("features.{}", index - 1));
        }
        x = fire(net, &x, &format!("features.{index}"), squeeze, expand);
    }
    // The scores pass a ReLU: most are kept above zero.
    let target = Target { mean: 2.0, deviation: 2.0 };
    let x = net.conv(&x, "classifier.1", 1000, Window::same(1, 1), target);
    let x = net.activation(&x, "classifier.2", Relu);
    let x = net.global_average(&x, "classifier.3");
    net.flatten(&x)
}

fn pool(net: &mut Net, x: &Value, module: &str) -> Value {
    net.max_pool(x, module, Window { pad: 0, ..Window::same(3, 2) }, true)
}

fn fire(net: &mut Net, x: &Value, module: &str, squeeze: usize, expand: usize) -> Value {
    let mut conv = |x: &Value, name: &str, out, kernel| {
        let module = format!("{module}.{name}");
        let y = net.conv(x, &module, out, Window::same(kernel, 1), HIDDEN);
        net.activation(&y, &format!("{module}_activation"), Relu)
    };
    let x = conv(x, "squeeze", squeeze, 1);
    let small = conv(&x, "expand1x1", expand, 1);
    let large = conv(&x, "expand3x3", expand, 3);
    net.concat(&small, &large, module)
}
