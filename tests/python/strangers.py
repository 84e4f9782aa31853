"""Writes small networks of many shapes as ONNX files, with seeded weights: what is on nobody's list.

Usage: strangers.py FOLDER
"""
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NETWORKS = {}


def network(f):
    NETWORKS[f.__name__] = f
    return f


class Net:
    """A graph under construction; every method gives the name of its result."""

    def __init__(self, seed, opset=17):
        self.random = np.random.default_rng(seed)
        self.opset = opset
        self.nodes, self.weights, self.inputs, self.outputs = [], [], [], []

    def input(self, *dims, dtype=TensorProto.FLOAT):
        name = f"in{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, dtype, dims))
        return name

    def const(self, value, dtype=None):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def weight(self, *dims, scale=None):
        fan = np.prod(dims[1:]) if len(dims) > 1 else 4
        scale = scale or (2.0 / fan) ** 0.5
        return self.const(self.random.normal(0, scale, dims).astype(np.float32))

    def op(self, kind, *inputs, outputs=1, **attributes):
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"n{len(self.nodes)}_{kind}", **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x, cin, cout, k, groups=1, **attributes):
        k = k if isinstance(k, (list, tuple)) else [k, k]
        return self.op("Conv", x, self.weight(cout, cin // groups, *k), self.weight(cout), group=groups, kernel_shape=k, **attributes)

    def same(self, x, cin, cout, k, stride=1, groups=1):
        return self.conv(x, cin, cout, k, groups, pads=[k // 2] * 4, strides=[stride] * 2)

    def bn(self, x, c):
        r = self.random
        p = [r.uniform(0.5, 1.5, c), r.normal(0, 0.2, c), r.normal(0, 0.2, c), r.uniform(0.5, 1.5, c)]
        return self.op("BatchNormalization", x, *(self.const(v.astype(np.float32)) for v in p))

    def relu(self, x):
        return self.op("Relu", x)

    def reshape(self, x, *dims):
        return self.op("Reshape", x, self.const(dims, np.int64))

    def linear(self, x, cin, cout):
        return self.op("Add", self.op("MatMul", x, self.weight(cin, cout, scale=cin**-0.5)), self.weight(cout))

    def layer_norm(self, x, c):
        return self.op("LayerNormalization", x, self.weight(c), self.weight(c), axis=-1)

    def gelu(self, x):
        y = self.op("Erf", self.op("Div", x, self.const(2**0.5, np.float32)))
        y = self.op("Mul", x, self.op("Add", y, self.const(1, np.float32)))
        return self.op("Mul", y, self.const(0.5, np.float32))

    def out(self, *names):
        self.outputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names]

    def model(self, name):
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(model)
        return model


@network
def detection_head(n):
    x = n.input(1, 3, 96, 128)
    x = n.relu(n.bn(n.same(x, 3, 16, 3, 2), 16))
    a = n.relu(n.same(x, 16, 24, 3, 2))
    b = n.relu(n.same(a, 24, 40, 3, 2))
    boxes, scores = [], []
    for f, c, h, w in [(a, 24, 24, 32), (b, 40, 12, 16)]:
        for k, into in [(4, boxes), (5, scores)]:
            y = n.op("Transpose", n.same(f, c, 3 * k, 3), perm=[0, 2, 3, 1])
            into.append(n.reshape(y, 1, h * w * 3, k))
    boxes = n.op("Concat", *boxes, axis=1)
    scores = n.op("Softmax", n.op("Concat", *scores, axis=1), axis=2)
    centre, size = n.op("Split", boxes, n.const([2, 2], np.int64), outputs=2, axis=2)
    size = n.op("Mul", n.op("Exp", n.op("Mul", size, n.const(0.2, np.float32))), n.const(0.5, np.float32))
    boxes = n.op("Concat", n.op("Sub", centre, size), n.op("Add", centre, size), axis=2)
    n.out(boxes, scores)


@network
def yolo_grid(n):
    x = n.same(n.input(1, 3, 64, 64), 3, 32, 3, 2)
    x = n.op("Mul", x, n.op("Sigmoid", x))
    x = n.same(x, 32, 3 * 7, 3, 2)
    x = n.op("Transpose", n.reshape(x, 1, 3, 7, 16, 16), perm=[0, 1, 3, 4, 2])
    x = n.op("Sigmoid", x)
    grid = np.stack(np.meshgrid(np.arange(16), np.arange(16)), -1)[None, None].astype(np.float32)
    xy = n.op("Slice", x, n.const([0], np.int64), n.const([2], np.int64), n.const([-1], np.int64))
    rest = n.op("Slice", x, n.const([2], np.int64), n.const([2**62], np.int64), n.const([4], np.int64))
    xy = n.op("Mul", n.op("Add", xy, n.const(grid)), n.const(4, np.float32))
    n.out(n.reshape(n.op("Concat", xy, rest, axis=-1), 1, -1, 7))


@network
def u_net(n):
    x = n.input(1, 1, 48, 80)
    a = n.relu(n.same(x, 1, 12, 3))
    b = n.relu(n.same(n.op("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2]), 12, 24, 3))
    c = n.relu(n.same(n.op("MaxPool", b, kernel_shape=[2, 2], strides=[2, 2]), 24, 48, 3))
    up = n.op("ConvTranspose", c, n.weight(48, 24, 2, 2), n.weight(24), kernel_shape=[2, 2], strides=[2, 2])
    d = n.relu(n.same(n.op("Concat", up, b, axis=1), 48, 24, 3))
    up = n.op("Resize", d, "", n.const([1, 1, 2, 2], np.float32), mode="linear", coordinate_transformation_mode="half_pixel")
    e = n.relu(n.same(n.op("Concat", a, up, axis=1), 36, 12, 3))
    n.out(n.op("Sigmoid", n.conv(e, 12, 1, 1)))


@network
def u_net_corners(n):
    x = n.input(1, 5, 30, 46)
    a = n.relu(n.same(x, 5, 17, 3))
    b = n.relu(n.same(a, 17, 35, 3, 2))
    up = n.op("ConvTranspose", b, n.weight(35, 17, 3, 3), n.weight(17), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])
    up = n.op("Add", up, a)
    y = n.op("Resize", up, "", "", n.const([1, 17, 61, 77], np.int64), mode="linear", coordinate_transformation_mode="align_corners")
    z = n.op("Resize", up, "", "", n.const([1, 17, 60, 92], np.int64), mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    n.out(n.conv(y, 17, 3, 1), n.same(z, 17, 3, 3))


@network
def mlp_mixer(n):
    tokens, c = 49, 96
    x = n.conv(n.input(1, 3, 112, 112), 3, c, 16, strides=[16, 16])
    x = n.op("Transpose", n.reshape(x, 1, c, tokens), perm=[0, 2, 1])
    for _ in range(2):
        y = n.op("Transpose", n.layer_norm(x, c), perm=[0, 2, 1])
        y = n.linear(n.gelu(n.linear(y, tokens, 64)), 64, tokens)
        x = n.op("Add", x, n.op("Transpose", y, perm=[0, 2, 1]))
        x = n.op("Add", x, n.linear(n.gelu(n.linear(n.layer_norm(x, c), c, 200)), 200, c))
    x = n.op("ReduceMean", n.layer_norm(x, c), axes=[1], keepdims=0)
    n.out(n.linear(x, c, 10))


@network
def attention_block(n):
    b, t, c, h = 2, 33, 48, 3
    x = n.input(b, t, c)
    qkv = n.linear(n.layer_norm(x, c), c, 3 * c)
    q, k, v = n.op("Split", n.op("Transpose", n.reshape(qkv, b, t, 3, h, c // h), perm=[2, 0, 3, 1, 4]), outputs=3, axis=0)
    q, k, v = (n.op("Squeeze", i, n.const([0], np.int64)) for i in (q, k, v))
    scores = n.op("Mul", n.op("MatMul", q, n.op("Transpose", k, perm=[0, 1, 3, 2])), n.const((c // h) ** -0.5, np.float32))
    y = n.op("MatMul", n.op("Softmax", scores, axis=-1), v)
    y = n.reshape(n.op("Transpose", y, perm=[0, 2, 1, 3]), b, t, c)
    x = n.op("Add", x, n.linear(y, c, c))
    n.out(x)


@network
def batch_of_four(n):
    x = n.relu(n.bn(n.same(n.input(4, 3, 56, 40), 3, 24, 3, 2), 24))
    y = n.op("Clip", n.same(x, 24, 24, 3, groups=24), n.const(0, np.float32), n.const(6, np.float32))
    x = n.op("Add", x, n.conv(y, 24, 24, 1))
    x = n.op("MaxPool", n.relu(n.same(x, 24, 40, 3)), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = n.op("Flatten", n.op("GlobalAveragePool", x))
    n.out(n.op("Softmax", n.op("Gemm", x, n.weight(7, 40), n.weight(7), transB=1)))


@network
def odd_channels(n):
    x = n.relu(n.same(n.input(1, 5, 37, 29), 5, 17, 3))
    y = n.relu(n.same(x, 17, 35, 5, 2))
    y = n.relu(n.same(y, 35, 35, 3, groups=35))
    y = n.relu(n.conv(y, 35, 17, 1))
    x = n.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    n.out(n.op("Concat", x, y, n.op("Sub", x, y), axis=1))


@network
def one_channel(n):
    x = n.same(n.input(1, 1, 33, 33), 1, 1, 3)
    n.out(n.same(n.relu(x), 1, 1, 5), n.op("MaxPool", x, kernel_shape=[5, 5], strides=[3, 3], ceil_mode=1))


@network
def grouped(n):
    x = n.relu(n.same(n.input(1, 24, 20, 20), 24, 48, 3, groups=4))
    x = n.op("Transpose", n.reshape(x, 1, 4, 12, 20, 20), perm=[0, 2, 1, 3, 4])
    x = n.relu(n.conv(n.reshape(x, 1, 48, 20, 20), 48, 48, 1, groups=3))
    n.out(n.same(x, 48, 96, 3, 2, groups=48))


@network
def dilated(n):
    x = n.relu(n.same(n.input(1, 3, 41, 43), 3, 20, 3))
    parts = [n.conv(x, 20, 16, 3, dilations=[d, d], pads=[d] * 4) for d in (1, 2, 6)]
    parts.append(n.conv(x, 20, 20, 3, groups=20, dilations=[3, 2], pads=[3, 2, 3, 2]))
    n.out(n.conv(n.op("Concat", *parts, axis=1), 68, 8, 1))


@network
def one_dimension(n):
    x = n.op("Conv", n.input(2, 8, 100), n.weight(18, 8, 5), n.weight(18), kernel_shape=[5], strides=[2], pads=[2, 2])
    x = n.relu(n.bn(x, 18))
    x = n.op("MaxPool", x, kernel_shape=[2], strides=[2])
    x = n.op("Conv", x, n.weight(18, 1, 3), kernel_shape=[3], group=18, pads=[1, 1])
    x = n.op("Tanh", n.op("Conv", x, n.weight(32, 18, 1), n.weight(32), kernel_shape=[1]))
    y = n.op("ConvTranspose", x, n.weight(32, 4, 4), kernel_shape=[4], strides=[2], pads=[1, 1])
    n.out(y, n.op("AveragePool", x, kernel_shape=[3], strides=[1]), n.op("GlobalMaxPool", x))


@network
def three_dimensions(n):
    x = n.conv(n.input(1, 2, 9, 14, 15), 2, 12, [3, 3, 3], pads=[1] * 6, strides=[1, 2, 2])
    x = n.op("MaxPool", n.relu(x), kernel_shape=[2, 2, 2], strides=[2, 2, 2])
    n.out(n.op("GlobalAveragePool", n.conv(x, 12, 20, [2, 1, 3])), x)


@network
def asymmetric_pads(n):
    x = n.conv(n.input(1, 3, 31, 50), 3, 24, [3, 5], pads=[0, 3, 2, 1], strides=[1, 2])
    y = n.conv(n.relu(x), 24, 24, [1, 7], groups=24, pads=[0, 0, 0, 6])
    z = n.conv(n.op("Pad", x, n.const([0, 0, 1, 2, 0, 0, 3, 0], np.int64), mode="reflect"), 24, 16, [4, 2])
    w = n.op("Conv", x, n.weight(16, 24, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2])
    p = n.op("MaxPool", x, kernel_shape=[2, 3], pads=[0, 1, 1, 0], strides=[2, 1])
    n.out(y, z, w, p, n.op("Pad", x, n.const([0, 0, 0, 1, 0, 0, 1, 0], np.int64), mode="edge"))


@network
def average_pools(n):
    x = n.relu(n.same(n.input(1, 3, 35, 35), 3, 20, 3))
    for count in (0, 1):
        n.out(n.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=count))
        n.out(n.op("AveragePool", x, kernel_shape=[5, 4], strides=[3, 2], pads=[2, 0, 1, 3], count_include_pad=count))
    n.out(n.op("AveragePool", x, kernel_shape=[4, 4], strides=[4, 4], ceil_mode=1))


@network
def activations(n):
    x = n.bn(n.same(n.input(1, 3, 24, 24), 3, 20, 3), 20)
    n.out(n.op("PRelu", x, n.weight(20, 1, 1)), n.op("PRelu", x, n.weight(1)))
    n.out(n.same(n.op("PRelu", n.same(x, 20, 33, 3), n.weight(33, 1, 1)), 33, 8, 3))
    for kind in ("LeakyRelu", "Elu", "Selu", "Softplus", "Softsign", "HardSigmoid", "HardSwish", "Mish", "Celu", "ThresholdedRelu"):
        n.out(n.op(kind, x))
    n.out(n.op("Mul", x, n.op("Tanh", n.op("Softplus", n.conv(x, 20, 20, 1)))))


@network
def instance_norm(n):
    x = n.op("Pad", n.input(1, 3, 40, 52), n.const([0, 0, 4, 4, 0, 0, 4, 4], np.int64), mode="reflect")
    x = n.conv(x, 3, 16, 9)
    x = n.relu(n.op("InstanceNormalization", x, n.weight(16), n.weight(16), epsilon=1e-5))
    x = n.op("InstanceNormalization", n.same(x, 16, 27, 3, 2), n.weight(27), n.weight(27))
    n.out(n.same(n.op("Resize", n.relu(x), "", n.const([1, 1, 2, 2], np.float32), mode="nearest"), 27, 3, 3))


@network
def squeeze_excite(n):
    x = n.bn(n.same(n.input(1, 3, 32, 48), 3, 36, 3, 2), 36)
    x = n.op("HardSwish", x)
    s = n.op("ReduceMean", x, axes=[2, 3], keepdims=1)
    s = n.op("HardSigmoid", n.conv(n.relu(n.conv(s, 36, 9, 1)), 9, 36, 1), alpha=1 / 6, beta=0.5)
    x = n.op("Mul", s, x)
    n.out(n.op("DepthToSpace", x, blocksize=3), n.op("SpaceToDepth", x, blocksize=4))


@network
def size_320x240(n):
    x = n.relu(n.same(n.input(1, 3, 240, 320), 3, 16, 3, 2))
    for c, d in ((16, 24), (24, 32), (32, 64)):
        x = n.relu(n.bn(n.same(x, c, c, 3, 2, groups=c), c))
        x = n.relu(n.bn(n.conv(x, c, d, 1), d))
    n.out(n.op("Sigmoid", n.same(x, 64, 5, 3)))


@network
def broadcasts(n):
    x, y = n.input(1, 18, 10, 13), n.input(18, 1, 13)
    z = n.op("Add", n.op("Mul", x, y), n.weight(1, 1, 10, 1))
    m = n.op("Max", z, n.op("ReduceMax", z, axes=[1], keepdims=1))
    m = n.op("Sub", m, n.op("ReduceMin", z, axes=[3], keepdims=1))
    w = n.op("Where", n.op("Greater", z, y), z, n.op("Neg", z))
    n.out(n.op("Div", m, n.op("Add", n.op("Abs", z), n.const(1.5, np.float32))), w)
    n.out(n.op("ReduceL2", z, axes=[1, 2]), n.op("Pow", n.op("Abs", z), n.const(1.7, np.float32)))


@network
def shapes_in_the_graph(n):
    x = n.relu(n.same(n.input(2, 3, 20, 28), 3, 19, 3))
    shape = n.op("Shape", x)
    b = n.op("Gather", shape, n.const([0], np.int64))
    x2 = n.op("Reshape", x, n.op("Concat", b, n.const([-1], np.int64), axis=0))
    n.out(n.op("Gemm", x2, n.weight(19 * 560, 6), n.weight(6)))
    hw = n.op("Mul", n.op("Slice", shape, n.const([2], np.int64), n.const([4], np.int64)), n.const([2], np.int64))
    size = n.op("Concat", n.op("Slice", shape, n.const([0], np.int64), n.const([2], np.int64)), hw, axis=0)
    n.out(n.op("Resize", x, "", "", size, mode="linear", coordinate_transformation_mode="pytorch_half_pixel"))


@network
def transposes_and_gathers(n):
    x = n.input(3, 21, 22)
    y = n.op("Gather", x, n.const([20, 0, 5, 5], np.int64), axis=1)
    z = n.op("Transpose", x, perm=[2, 0, 1])
    t = n.op("Tile", n.op("Unsqueeze", y, n.const([0], np.int64)), n.const([2, 1, 3, 1], np.int64))
    e = n.op("Expand", n.op("Slice", x, n.const([-1], np.int64), n.const([-100], np.int64), n.const([1], np.int64), n.const([-2], np.int64)), n.const([2, 3, 11, 22], np.int64))
    n.out(z, t, e, n.op("CumSum", x, n.const(1, np.int64)), n.op("LogSoftmax", z, axis=1))


@network
def dense_block(n):
    x = n.same(n.input(1, 3, 28, 28), 3, 16, 3)
    parts, c = [x], 16
    for g in (12, 12, 9):
        y = n.op("Concat", *parts, axis=1) if len(parts) > 1 else x
        parts.append(n.same(n.relu(n.bn(y, c)), c, g, 3))
        c += g
    x = n.op("Concat", *parts, axis=1)
    a, b, rest = n.op("Split", x, n.const([16, 17, 16], np.int64), outputs=3, axis=1)
    n.out(n.op("AveragePool", n.conv(n.relu(n.bn(x, c)), c, c // 2, 1), kernel_shape=[2, 2], strides=[2, 2]))
    n.out(n.op("Add", n.conv(a, 16, 17, 1), b), n.op("Add", a, rest))


@network
def shared_and_returned(n):
    """Inputs that are outputs' parts, values that are read in every form and returned too."""
    x = n.input(1, 16, 14, 14)
    y = n.relu(n.same(x, 16, 16, 3))
    z = n.op("Add", y, x)
    w = n.conv(z, 16, 16, 1)
    n.out(y, z, w, n.op("Concat", x, y, w, axis=1), n.op("Flatten", y), n.op("Identity", x))


@network
def big_matmuls(n):
    x, y = n.input(70, 130), n.input(130, 90)
    z = n.op("MatMul", x, y)
    b = n.op("MatMul", n.reshape(n.op("Transpose", z, perm=[1, 0]), 2, 45, 70), n.weight(2, 70, 33, scale=0.1))
    n.out(z, b, n.op("MatMul", n.weight(5, 130), y), n.op("Gemm", x, y, n.weight(90), alpha=0.5, beta=2.0))
    n.out(n.op("MatMul", x, n.weight(130)), n.op("Gemm", y, x, transA=1, transB=1))


def main(folder):
    for seed, (name, build) in enumerate(NETWORKS.items()):
        net = Net(seed, 22 if name == "activations" else 17)
        build(net)
        onnx.save(net.model(name), f"{folder}/{name}.onnx")


if __name__ == "__main__":
    main(*sys.argv[1:])
