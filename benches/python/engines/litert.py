"""LiteRT (TensorFlow Lite) with its XNNPACK delegate, on a twin of the model; channels last, as it prefers them."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from engines import Engine


class LiteRt(Engine):
    def __init__(self, job, inputs):
        super().__init__()
        interpreter = Interpreter(model_path=job["twin"], num_threads=job["threads"])
        ports = interpreter.get_input_details()
        if len(ports) != len(inputs):
            raise RuntimeError(f"the twin has {len(ports)} inputs, not {len(inputs)}")
        arrays = []
        for port, value in zip(ports, inputs.values()):
            array = fitted(value, list(port["shape"]), list(port.get("shape_signature", port["shape"])))
            if list(port["shape"]) != list(array.shape):
                interpreter.resize_tensor_input(port["index"], array.shape)
            arrays.append(array)
        interpreter.allocate_tensors()
        for port, array in zip(ports, arrays):
            interpreter.set_tensor(port["index"], array)
        self.interpreter = interpreter
        self.run = interpreter.invoke

    def outputs(self):
        details = self.interpreter.get_output_details()
        return [channels_first(self.interpreter.get_tensor(port["index"])) for port in details]


def fitted(value, shape, signature):
    """The input in the twin's layout: as it is, or with its channels last."""
    fits = lambda dims: len(dims) == len(shape) and all(s in (-1, d) for s, d in zip(signature, dims))
    if fits(value.shape):
        return value
    last = [0, *range(2, value.ndim), 1] if value.ndim > 2 else list(range(value.ndim))
    moved = np.ascontiguousarray(value.transpose(last))
    if not fits(moved.shape):
        raise RuntimeError(f"the twin's input is {shape}, the model's {list(value.shape)}")
    return moved


def channels_first(value):
    """A picture back in the model's layout; anything else as it is."""
    return value.transpose([0, value.ndim - 1, *range(1, value.ndim - 1)]) if value.ndim == 4 else value
