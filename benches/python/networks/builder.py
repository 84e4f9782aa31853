"""A small hand for ONNX graphs: a line a layer, weights seeded and random, scaled so that activations keep their size."""

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class Builder:
    """The graph under construction. Values go by their ONNX names; `shape` holds each one's extents, batch included."""

    def __init__(self, name, seed=0):
        self.name, self.rng = name, np.random.default_rng(seed)
        self.nodes, self.weights, self.inputs, self.outputs, self.shape = [], [], [], [], {}

    def input(self, *shape, name="x"):
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        self.shape[name] = list(shape)
        return name

    def output(self, value, name):
        """Ends a branch: `value` leaves the network as `name`."""
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shape[value]))

    def model(self):
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model

    def constant(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        self.shape[name] = list(array.shape)
        return name

    def random(self, *shape, scale):
        return self.constant((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def integers(self, *values):
        return self.constant(np.array(values, np.int64))

    def op(self, kind, *inputs, shape=None, **attributes):
        """A node with one output, of the first input's shape where none is given."""
        out = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        self.shape[out] = list(self.shape[inputs[0]] if shape is None else shape)
        return out

    # Layers.

    def conv(self, x, channels, kernel, act="Relu", stride=1, dilation=1, groups=1, pad=None, bias=True):
        """Convolution over every spatial dimension of `x`, "same" at stride 1 unless `pad` says otherwise, and an activation."""
        rank = len(self.shape[x]) - 2
        kernel, stride, dilation = (every(v, rank) for v in (kernel, stride, dilation))
        pad = [d * (k - 1) // 2 for k, d in zip(kernel, dilation)] if pad is None else every(pad, rank)
        fan_in = self.shape[x][1] // groups
        scale = math.sqrt((2 if act else 1) / (fan_in * math.prod(kernel)))
        operands = [x, self.random(channels, fan_in, *kernel, scale=scale)] + ([self.random(channels, scale=0.1)] if bias else [])
        extents = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in zip(self.shape[x][2:], pad, dilation, kernel, stride)
        ]
        y = self.op(
            "Conv",
            *operands,
            shape=[self.shape[x][0], channels, *extents],
            kernel_shape=kernel,
            strides=stride,
            dilations=dilation,
            group=groups,
            pads=pad * 2,
        )
        return self.act(y, act)

    def depthwise(self, x, kernel, act="Relu", **options):
        return self.conv(x, self.shape[x][1], kernel, act, groups=self.shape[x][1], **options)

    def transposed(self, x, channels, kernel, stride, pad, act="Relu"):
        rank, fan_in = len(self.shape[x]) - 2, self.shape[x][1]
        scale = math.sqrt(2 * stride**rank / (fan_in * kernel**rank))
        extents = [(n - 1) * stride - 2 * pad + kernel for n in self.shape[x][2:]]
        y = self.op(
            "ConvTranspose",
            x,
            self.random(fan_in, channels, *every(kernel, rank), scale=scale),
            self.random(channels, scale=0.1),
            shape=[self.shape[x][0], channels, *extents],
            strides=every(stride, rank),
            pads=every(pad, rank) * 2,
        )
        return self.act(y, act)

    def act(self, x, kind):
        if not kind:
            return x
        if kind == "silu":
            return self.op("Mul", x, self.op("Sigmoid", x))
        if kind == "gelu":
            erf = self.op("Erf", self.op("Div", x, self.constant(np.float32(math.sqrt(2)))))
            half = self.op("Mul", x, self.constant(np.float32(0.5)))
            return self.op("Mul", half, self.op("Add", erf, self.constant(np.float32(1))))
        if kind == "relu6":
            return self.op("Clip", x, self.constant(np.float32(0)), self.constant(np.float32(6)))
        if kind == "leaky":
            return self.op("LeakyRelu", x, alpha=0.1)
        return self.op(kind, x)

    def pool(self, x, kernel=2, stride=2, pad=0, kind="MaxPool"):
        rank = len(self.shape[x]) - 2
        kernel, stride = every(kernel, rank), every(stride, rank)
        extents = [(n + 2 * pad - k) // s + 1 for n, k, s in zip(self.shape[x][2:], kernel, stride)]
        shape = self.shape[x][:2] + extents
        return self.op(kind, x, shape=shape, kernel_shape=kernel, strides=stride, pads=every(pad, rank) * 2)

    def global_pool(self, x, kind="GlobalAveragePool"):
        return self.op(kind, x, shape=self.shape[x][:2] + [1] * (len(self.shape[x]) - 2))

    def resize(self, x, height, width, mode="linear"):
        sizes = self.integers(*self.shape[x][:2], height, width)
        how = {"linear": "pytorch_half_pixel", "nearest": "asymmetric"}[mode]
        options = {"nearest_mode": "floor"} if mode == "nearest" else {}
        y = self.op("Resize", x, "", "", sizes, shape=self.shape[x][:2] + [height, width], mode=mode, coordinate_transformation_mode=how, **options)
        return y

    def double(self, x, mode="nearest"):
        return self.resize(x, 2 * self.shape[x][2], 2 * self.shape[x][3], mode)

    def concat(self, *values, axis=1):
        shape = list(self.shape[values[0]])
        shape[axis] = sum(self.shape[v][axis] for v in values)
        return self.op("Concat", *values, shape=shape, axis=axis)

    def reshape(self, x, *shape):
        return self.op("Reshape", x, self.integers(*shape), shape=shape)

    def transpose(self, x, *perm):
        return self.op("Transpose", x, shape=[self.shape[x][p] for p in perm], perm=list(perm))

    def add(self, a, b, act=None):
        return self.act(self.op("Add", a, b), act)

    def squeeze_excite(self, x, reduced, gate="Sigmoid"):
        """Hu et al., "Squeeze-and-Excitation Networks"."""
        s = self.conv(self.conv(self.global_pool(x), reduced, 1), self.shape[x][1], 1, gate)
        return self.op("Mul", x, s)

    def linear(self, x, features, act=None):
        """A fully connected layer over the last dimension."""
        fan_in = self.shape[x][-1]
        w = self.random(fan_in, features, scale=math.sqrt((2 if act else 1) / fan_in))
        y = self.op("MatMul", x, w, shape=self.shape[x][:-1] + [features])
        return self.act(self.add(y, self.random(features, scale=0.1)), act)

    def classifier(self, x, classes):
        y = self.global_pool(x)
        return self.linear(self.op("Flatten", y, shape=self.shape[y][:2]), classes)

    def layer_norm(self, x):
        n = self.shape[x][-1]
        return self.op("LayerNormalization", x, self.constant(np.ones(n, np.float32)), self.random(n, scale=0.1), axis=-1, epsilon=1e-5)

    def attention(self, x, heads, causal=False):
        """Multi-head self-attention over [batch, tokens, features] (Vaswani et al., section 3.2.2)."""
        batch, tokens, features = self.shape[x]
        size = features // heads
        split = lambda v, *perm: self.transpose(self.reshape(v, batch, tokens, heads, size), *perm)
        q = split(self.linear(x, features), 0, 2, 1, 3)
        k = split(self.linear(x, features), 0, 2, 3, 1)
        v = split(self.linear(x, features), 0, 2, 1, 3)
        scores = self.op("MatMul", q, k, shape=[batch, heads, tokens, tokens])
        scores = self.op("Mul", scores, self.constant(np.float32(1 / math.sqrt(size))))
        if causal:
            scores = self.add(scores, self.constant(np.triu(np.full((tokens, tokens), -1e9, np.float32), 1)))
        y = self.op("MatMul", self.op("Softmax", scores, axis=-1), v, shape=[batch, heads, tokens, size])
        return self.linear(self.reshape(self.transpose(y, 0, 2, 1, 3), batch, tokens, features), features)

    def transformer_block(self, x, heads, causal=False, expansion=4):
        features = self.shape[x][-1]
        x = self.add(x, self.attention(self.layer_norm(x), heads, causal))
        y = self.linear(self.linear(self.layer_norm(x), expansion * features, "gelu"), features)
        return self.add(x, y)


def every(value, rank):
    return list(value) if isinstance(value, (list, tuple)) else [value] * rank
