"""The int8 form of a model, made by ONNX Runtime's quantiser: what every engine that reads ONNX is given.

QDQ with u8 activations per tensor and i8 weights per channel, from the ranges of a few random inputs: speed depends on neither, and
which integers come out is the same question for every engine.
"""

import os

import numpy as np

SAMPLES = 4


def qdq(path, inputs, folder):
    """Path of the model in QDQ form; the model itself where it is quantised already."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    if any(node.op_type.startswith(("QuantizeLinear", "QLinear", "DequantizeLinear")) for node in model.graph.node):
        return path
    shape = "_".join("x".join(map(str, x.shape)) for x in inputs.values())
    stem = os.path.splitext(os.path.basename(path))[0]
    quantised = os.path.join(folder, f"{stem}_{shape}.qdq.onnx")
    if not os.path.exists(quantised) or os.path.getmtime(quantised) < os.path.getmtime(path):
        make(path, inputs, quantised)
    return quantised


FIRST_WITH_AXES = 13  # The first opset whose DequantizeLinear has a scale for each channel.


def with_axes(path):
    """The model as ONNX Runtime's quantiser can write it with scales for each channel: older ones are converted."""
    import onnx

    model = onnx.load(path)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return path if opset >= FIRST_WITH_AXES else onnx.version_converter.convert_version(model, FIRST_WITH_AXES)


def make(path, inputs, quantised):
    import logging

    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Random(CalibrationDataReader):
        def __init__(self):
            rng = np.random.default_rng(1)
            draw = lambda x: rng.standard_normal(x.shape).astype(x.dtype) if x.dtype == np.float32 else x
            self.feeds = iter([{name: draw(x) for name, x in inputs.items()} for _ in range(SAMPLES)])

        def get_next(self):
            return next(self.feeds, None)

    logging.getLogger().setLevel(logging.ERROR)  # It advises a preprocessing that changes nothing here.
    partial = quantised + ".partial"
    quantize_static(
        with_axes(path),
        partial,
        Random(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    os.replace(partial, quantised)
