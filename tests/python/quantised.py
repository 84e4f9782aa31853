"""Quantised models: one for each operator on integers and each spelling of it, small networks between `QuantizeLinear` and
`DequantizeLinear`, and standard networks as ONNX Runtime's quantiser leaves them.

    quantised.py operators FOLDER
    quantised.py network FLOAT_MODEL QUANTISED_MODEL FORM INPUT.npy
"""

import os
import shutil
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DOMAIN = "com.microsoft"
rng = np.random.default_rng(5)


def ints(dtype, shape, low=None, high=None):
    info = np.iinfo(dtype)
    low, high = info.min if low is None else low, info.max if high is None else high
    return rng.integers(low, high + 1, shape).astype(dtype)


def real(*shape, low=-1.0, high=1.0):
    return rng.uniform(low, high, shape).astype(np.float32)


class Model:
    """A graph being written; its name is the file's."""

    def __init__(self, name):
        self.name, self.nodes, self.constants, self.inputs, self.outputs = name, [], [], [], []
        self.count = 0

    def input(self, name, dtype, shape):
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def constant(self, value, kind=None):
        self.count += 1
        name = f"c{self.count}"
        if kind is None:
            self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        else:
            value = np.asarray(value)
            self.constants.append(helper.make_tensor(name, kind, value.shape, value.ravel()))
        return name

    def op(self, kind, *inputs, outputs=1, domain="", **attrs):
        self.count += 1
        names = [f"v{self.count}_{i}" for i in range(outputs)]
        operands = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        self.nodes.append(helper.make_node(kind, operands, names, name=f"{kind}_{self.count}", domain=domain, **attrs))
        return names[0] if outputs == 1 else names

    def microsoft(self, kind, *inputs, **attrs):
        return self.op(kind, *inputs, domain=DOMAIN, **attrs)

    def quantise(self, x, scale, zero):
        return self.op("QuantizeLinear", x, np.float32(scale), zero)

    def dequantise(self, x, scale, zero, **attrs):
        return self.op("DequantizeLinear", x, np.asarray(scale, np.float32), zero, **attrs)

    def pair(self, x, scale, zero):
        """The value as it comes out of quantisation."""
        return self.dequantise(self.quantise(x, scale, zero), scale, zero)

    def weight(self, shape, axis=0, dtype=np.int8):
        n = shape[axis]
        zero = np.zeros(n, dtype) if dtype == np.int8 else np.full(n, 128, dtype)
        scale = real(n, low=0.004, high=0.02)
        return self.dequantise(ints(dtype, shape, -127 if dtype == np.int8 else 1), scale, zero, axis=axis)

    def bias(self, n, unit=0.001):
        return self.dequantise(ints(np.int32, n, -400, 400), np.full(n, unit, np.float32), np.zeros(n, np.int32), axis=0)

    def output(self, *names):
        self.outputs += [helper.make_empty_tensor_value_info(n) for n in names]
        return self

    def save(self, folder):
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.constants)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        onnx.save(onnx.shape_inference.infer_shapes(model), f"{folder}/{self.name}.onnx")


def standard():
    """Operators of the standard that compute on integers."""
    kinds = {"u8": np.uint8, "s8": np.int8}
    for x, w, groups, kernel in [("u8", "s8", 1, 3), ("u8", "u8", 1, 1), ("s8", "s8", 6, 3), ("u8", "s8", 3, 3)]:
        m = Model(f"q_linear_conv_{x}{w}_{groups}")
        xt, wt = kinds[x], kinds[w]
        weights = ints(wt, (12, 6 // groups, kernel, kernel))
        zero = np.zeros(12, wt) if w == "s8" else np.uint8(121)
        scale = real(12, low=0.004, high=0.02) if w == "s8" else np.float32(0.01)
        m.output(
            m.op("QLinearConv", m.input("x", xt, [2, 6, 11, 9]), np.float32(0.02), ints(xt, ()), weights, scale, zero,
                 np.float32(0.08), ints(xt, ()), ints(np.int32, 12, -3000, 3000),
                 pads=[kernel // 2] * 4, strides=[2, 1], group=groups)
        )
        yield m
    for a, b in [("u8", "s8"), ("s8", "s8"), ("u8", "u8")]:
        m = Model(f"q_linear_matmul_{a}{b}")
        at, bt = kinds[a], kinds[b]
        m.output(
            m.op("QLinearMatMul", m.input("a", at, [3, 5, 40]), np.float32(0.02), ints(at, ()), ints(bt, (40, 19)),
                 np.float32(0.01), bt(3 if b == "s8" else 121), np.float32(0.1), ints(at, (), 0, 100))
        )
        yield m
    m = Model("conv_integer")
    m.output(m.op("ConvInteger", m.input("x", np.uint8, [1, 5, 9, 8]), ints(np.uint8, (7, 5, 3, 3)), np.uint8(130), np.uint8(120),
                  pads=[1, 1, 1, 1]))
    yield m
    m = Model("matmul_integer")
    a = m.input("a", np.uint8, [4, 33])
    m.output(
        m.op("MatMulInteger", a, ints(np.int8, (33, 17)), np.uint8(7)),
        m.op("MatMulInteger", a, ints(np.uint8, (33, 17)), np.uint8(200), ints(np.uint8, 17, 100, 150)),
        m.op("MatMulInteger", a, ints(np.uint8, (33, 17)), np.uint8(200), np.uint8(3)),
    )
    yield m
    m = Model("dynamic_quantize_linear")
    m.output(*m.op("DynamicQuantizeLinear", m.input("x", np.float32, [3, 50]), outputs=3))
    yield m
    # What ONNX Runtime's `quantize_dynamic` makes: scale and zero point are computed, weights perhaps too far from their zero point for a signed byte.
    for w, zero in [("s8", 0), ("u8", 128), ("u8", 90)]:
        m = Model(f"dynamic_quantize_linear_conv_{w}_{zero}")
        x, scale, point = m.op("DynamicQuantizeLinear", m.input("x", np.float32, [2, 6, 11, 9]), outputs=3)
        wt = kinds[w]
        y = m.op("ConvInteger", x, ints(wt, (12, 6, 3, 3)), point, wt(zero), pads=[1, 0, 2, 1], strides=[1, 2])
        y = m.op("Mul", m.op("Cast", y, to=TensorProto.FLOAT), m.op("Mul", scale, np.float32(0.01)))
        x, scale, point = m.op("DynamicQuantizeLinear", m.op("Reshape", m.op("Relu", y), np.array([6, -1])), outputs=3)
        z = m.op("MatMulInteger", x, ints(wt, (192, 19)), point, wt(zero))
        m.output(y, m.op("Mul", m.op("Cast", z, to=TensorProto.FLOAT), m.op("Mul", scale, np.float32(0.02))))
        yield m
        m = Model(f"dynamic_quantize_linear_matmul_{w}_{zero}")
        x, scale, point = m.op("DynamicQuantizeLinear", m.input("x", np.float32, [3, 5, 37]), outputs=3)
        z = m.op("MatMulInteger", x, ints(wt, (37, 19)), point, wt(zero))
        m.output(m.op("Mul", m.op("Cast", z, to=TensorProto.FLOAT), m.op("Mul", scale, np.float32(0.02))))
        yield m
    for name, dtype in kinds.items():
        m = Model(f"resize_linear_{name}")
        x = m.input("x", dtype, [2, 3, 7, 9])
        m.output(
            m.op("Resize", x, "", np.array([1, 1, 2, 2], np.float32), mode="linear"),
            m.op("Resize", x, "", "", np.array([2, 3, 20, 14]), mode="linear", coordinate_transformation_mode="asymmetric"),
        )
        yield m
    m = Model("int4_weights")
    x = m.input("x", np.float32, [3, 32])
    four = lambda shape, kind, low, high: m.constant(rng.integers(low, high + 1, shape), kind)
    w = m.op("DequantizeLinear", four((32, 9), TensorProto.INT4, -8, 7), real(9, low=0.01, high=0.1), axis=1)
    u = m.op("DequantizeLinear", four((32, 9), TensorProto.UINT4, 0, 15), real(4, 9, low=0.01, high=0.1),
             four((4, 9), TensorProto.UINT4, 0, 15), axis=0, block_size=8)
    m.output(m.op("MatMul", x, w), m.op("MatMul", x, u))
    yield m


def microsoft():
    """Operators of ONNX Runtime's own."""
    u8, s8 = np.uint8, np.int8
    for t in (u8, s8):
        kind = "u8" if t == u8 else "s8"
        zero = lambda: ints(t, (), -20 if t == s8 else 100, 20 if t == s8 else 140)
        for name in ("QLinearAdd", "QLinearMul"):
            m = Model(f"{name}_{kind}")
            a, b = m.input("a", t, [2, 5, 6, 7]), m.input("b", t, [2, 5, 6, 7])
            m.output(m.microsoft(name, a, np.float32(0.02), zero(), b, np.float32(0.03), zero(), np.float32(0.04), zero()))
            yield m
        m = Model(f"QLinearConcat_{kind}")
        a, b = m.input("a", t, [1, 5, 6, 7]), m.input("b", t, [1, 4, 6, 7])
        same = zero()
        m.output(m.microsoft("QLinearConcat", np.float32(0.04), same, a, np.float32(0.04), same, b, np.float32(0.03), zero(), axis=1))
        yield m
        for name, attrs in [("QLinearGlobalAveragePool", {"channels_last": 0}), ("QLinearSigmoid", {}),
                            ("QLinearLeakyRelu", {"alpha": 0.1}), ("QLinearSoftmax", {"axis": -1, "opset": 13}),
                            ("QLinearAveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]})]:
            m = Model(f"{name}_{kind}")
            x = m.input("x", t, [1, 5, 8, 7])
            m.output(m.microsoft(name, x, np.float32(0.04), zero(), np.float32(0.01), zero(), **attrs))
            yield m
    for trans, bias, quantised in [(1, True, True), (0, True, False), (1, False, True)]:
        m = Model(f"QGemm_{trans}_{int(bias)}_{int(quantised)}")
        a = m.input("a", u8, [4, 40])
        w = ints(s8, (19, 40) if trans else (40, 19))
        inputs = [a, np.float32(0.02), u8(120), w, real(19, low=0.004, high=0.02), np.zeros(19, s8)]
        inputs += [ints(np.int32, 19, -900, 900)] if bias else ([""] if quantised else [])
        inputs += [np.float32(0.05), u8(110)] if quantised else []
        m.output(m.microsoft("QGemm", *inputs, transB=trans, alpha=0.5))
        yield m
    m = Model("DynamicQuantizeMatMul")
    x = m.input("x", np.float32, [2, 5, 24])
    m.output(
        m.microsoft("DynamicQuantizeMatMul", x, ints(s8, (24, 11)), real(11, low=0.004, high=0.02), np.zeros(11, s8), real(11)),
        m.microsoft("DynamicQuantizeMatMul", x, ints(u8, (24, 11)), np.float32(0.01), u8(125)),
    )
    yield m
    m = Model("MatMulIntegerToFloat")
    a = m.input("a", u8, [5, 24])
    m.output(m.microsoft("MatMulIntegerToFloat", a, ints(s8, (24, 11)), np.float32(0.02), real(11, low=0.004, high=0.02),
                         u8(120), np.zeros(11, s8), real(11)))
    yield m
    for bits, block, k, points, bias in [(4, 16, 40, False, False), (4, 32, 64, True, True), (8, 32, 64, True, False), (2, 16, 64, False, False)]:
        m = Model(f"MatMulNBits_{bits}_{block}_{k}")
        n, blocks = 7, -(-k // block)
        x = m.input("x", np.float32, [2, 3, k])
        scale = real(n, blocks)
        scale[0, 0] = 0
        inputs = [x, ints(u8, (n, blocks, block * bits // 8)), scale]
        inputs += [ints(u8, (n, -(-blocks * bits // 8)))] if points else ([""] if bias else [])
        inputs += ["", real(n)] if bias else []
        m.output(m.microsoft("MatMulNBits", *inputs, K=k, N=n, bits=bits, block_size=block))
        yield m


def blocks():
    """Small networks in float between pairs."""
    for kind, t, zero in [("u8", np.uint8, np.uint8(120)), ("s8", np.int8, np.int8(-9))]:
        # No two scales in a simple ratio, or many a value lies half-way between two integers, where rounding decides.
        odd = lambda m, x, scale: m.pair(x, scale * (1 + 0.05 * (m.count * 0.618034 % 1)), zero)
        q = odd

        m = Model(f"residual_{kind}")
        x = q(m, m.input("x", np.float32, [1, 16, 10, 10]), 0.02)
        y = q(m, m.op("Relu", m.op("Conv", x, m.weight((32, 16, 1, 1)), m.bias(32))), 0.03)
        y = q(m, m.op("Clip", m.op("Conv", y, m.weight((32, 1, 3, 3)), m.bias(32), pads=[1] * 4, group=32),
                      np.float32(0), np.float32(6)), 0.02)
        y = q(m, m.op("Conv", y, m.weight((16, 32, 1, 1)), m.bias(16)), 0.03)
        m.output(q(m, m.op("Add", x, y), 0.04))
        yield m

        m = Model(f"moves_{kind}")
        q = lambda m, x, scale: m.pair(x, scale, zero)
        x = q(m, m.input("x", np.float32, [1, 8, 10, 10]), 0.02)
        x = m.op("Pad", x, np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(0))
        x = q(m, m.op("MaxPool", q(m, x, 0.02), kernel_shape=[2, 2], strides=[2, 2]), 0.02)
        a, b = m.op("Split", x, outputs=2, axis=1, num_outputs=2)
        a = q(m, m.op("Conv", q(m, a, 0.02), m.weight((4, 4, 3, 3)), pads=[1] * 4), 0.02)
        y = q(m, m.op("Concat", a, q(m, b, 0.02), axis=1), 0.02)
        y = q(m, m.op("Reshape", y, np.array([1, 2, 4, 6, 6])), 0.02)
        y = q(m, m.op("Transpose", y, perm=[0, 2, 1, 3, 4]), 0.02)
        y = q(m, m.op("Reshape", y, np.array([1, 8, 6, 6])), 0.02)
        y = q(m, m.op("Resize", y, "", np.array([1, 1, 2, 2], np.float32), mode="nearest"), 0.02)
        y = q(m, m.op("Slice", y, np.array([1]), np.array([11]), np.array([2])), 0.02)
        c = q(m, m.op("Concat", y, q(m, m.op("Relu", y), 0.015), axis=1), 0.03)
        m.output(c, m.op("Flatten", c))
        yield m

        m = Model(f"head_{kind}")
        q = odd
        x = q(m, m.input("x", np.float32, [1, 12, 8, 8]), 0.02)
        y = q(m, m.op("Conv", x, m.weight((24, 12, 3, 3)), m.bias(24), strides=[2, 2], pads=[1] * 4), 0.03)
        y = q(m, m.op("HardSwish", y), 0.03)
        s = q(m, m.op("GlobalAveragePool", y), 0.01)
        s = q(m, m.op("HardSigmoid", q(m, m.op("Conv", s, m.weight((24, 24, 1, 1)), m.bias(24)), 0.02), alpha=1 / 6), 0.004)
        y = q(m, m.op("Mul", y, s), 0.03)
        y = q(m, m.op("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2]), 0.03)
        y = m.op("Flatten", y)
        y = q(m, m.op("Gemm", q(m, y, 0.03), m.weight((10, 96)), m.bias(10), transB=1), 0.05)
        m.output(q(m, m.op("Softmax", y), 1 / 256), y)
        yield m

        m = Model(f"tokens_{kind}")
        x = q(m, m.input("x", np.float32, [2, 9, 16]), 0.02)
        y = q(m, m.op("MatMul", x, m.weight((16, 24), axis=1)), 0.02)
        y = q(m, m.op("Gelu", q(m, m.op("Add", y, m.bias(24)), 0.03)), 0.03)
        k = q(m, m.op("MatMul", x, m.weight((16, 24), axis=1)), 0.02)
        scores = q(m, m.op("MatMul", y, q(m, m.op("Transpose", k, perm=[0, 2, 1]), 0.02)), 0.05)
        m.output(q(m, m.op("Softmax", scores, axis=-1), 1 / 256))
        yield m


def network(source, target, form, calibration):
    """A standard network as ONNX Runtime's quantiser leaves it, its ranges those of one input."""
    import logging

    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class One(CalibrationDataReader):
        def __init__(self):
            name = onnx.load(source, load_external_data=False).graph.input[0].name
            self.feeds = iter([{name: np.load(calibration)}])

        def get_next(self):
            return next(self.feeds, None)

    logging.getLogger().setLevel(logging.ERROR)
    layout, activations, weights = form.split("_")
    types = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}
    # The quantiser writes beside the model and takes that away again; several tests read the same model.
    own = os.path.join(os.path.dirname(target), "float.onnx")
    shutil.copyfile(source, own)
    quantize_static(
        own, target, One(),
        quant_format=QuantFormat.QDQ if layout == "qdq" else QuantFormat.QOperator,
        per_channel=weights == "s8", activation_type=types[activations], weight_type=types[weights],
    )


if __name__ == "__main__":
    if sys.argv[1] == "operators":
        for family in (standard, microsoft, blocks):
            for model in family():
                model.save(sys.argv[2])
    else:
        network(*sys.argv[2:6])
