"""MNN's CPU backend, on a model that its own converter made; through its module API, which reads the caller's input in place."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np

from engines import Engine, converted


class Mnn(Engine):
    def __init__(self, job, inputs):
        super().__init__()
        path = convert(job)
        if job["precision"] == "int8":
            try:
                path = quantise(job, path, inputs)
            except RuntimeError as error:
                path = from_qdq(job)
                self.notes.append(f"runs the model in QDQ form as mnnc writes it for MNN; its own quantiser: {error}")
        import MNN.expr
        import MNN.nn

        precision = {"fp32": "high", "bf16": "low", "int8": "normal"}[job["precision"]]
        config = {"backend": "CPU", "numThread": job["threads"], "precision": precision}
        runtime = MNN.nn.create_runtime_manager((config,))
        names = output_names(job["model"])
        module = MNN.nn.load_module_from_file(path, list(inputs), names, runtime_manager=runtime)
        kinds = {"float32": MNN.expr.float, "int32": MNN.expr.int, "int64": MNN.expr.int64}
        variables = []
        for value in inputs.values():
            variable = MNN.expr.placeholder(value.shape, MNN.expr.NCHW, kinds[value.dtype.name])
            variable.write(value)
            variables.append(variable)
        self.kept = (runtime, module, variables, inputs)
        self.results = []

        def run():
            self.results = module.forward(variables)

        self.run = run

    def outputs(self):
        results = self.results if isinstance(self.results, (list, tuple)) else [self.results]
        return [np.array(variable.read()) for variable in results]


def output_names(model):
    import onnx

    return [port.name for port in onnx.load(model, load_external_data=False).graph.output]


def convert(job):
    path, is_due = converted(job, ".peer.mnn")
    if not is_due:
        return path
    words = ["mnnconvert", "-f", "ONNX", "--modelFile", job["source"], "--MNNModel", path, "--bizCode", "b"]
    tool(f"mnnconvert({words!r})", path)
    return path


def quantise(job, path, inputs):
    """The model in int8 by MNN's own quantiser, from a few random pictures."""
    import tempfile

    import PIL.Image

    quantised, is_due = converted(job, ".peer_int8.mnn")
    if not is_due:
        return quantised
    [shape] = [x.shape for x in inputs.values()] if len(inputs) == 1 else [()]
    if len(shape) != 4 or shape[1] != 3:
        raise RuntimeError("its quantiser takes pictures of three channels")
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(1)
        for index in range(4):
            picture = np.clip(rng.standard_normal([*shape[2:], 3]) * 42 + 128, 0, 255).astype(np.uint8)
            PIL.Image.fromarray(picture).save(os.path.join(folder, f"{index}.png"))
        config = {"format": "RGB", "mean": [128.0] * 3, "normal": [1 / 42] * 3, "height": shape[2], "width": shape[3], "path": folder}
        config_file = os.path.join(folder, "quant.json")
        with open(config_file, "w") as file:
            json.dump(config | {"feature_quantize_method": "KL", "weight_quantize_method": "MAX_ABS"}, file)
        tool(f"mnnquant({path!r}, {quantised!r}, {config_file!r})", quantised)
    return quantised


def from_qdq(job):
    """The model in int8 as the other engines get it, in MNN's format: its own converter leaves such a model in float."""
    path = os.path.join(job["folder"], job["stem"] + ".peer_qdq.mnn")
    words = [job["mnnc"], "compile", job["model"], "-o", path, "--no-verify", *job["shape_options"]]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return path


def tool(call, made):
    """Calls one of MNN's tools in their extension module, in a process of its own: they print, and they can abort."""
    site = os.path.dirname(os.path.dirname(importlib.util.find_spec("MNN").origin))
    script = f"import _tools; _tools.{call}"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": site},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode != 0 or not os.path.exists(made):
        raise RuntimeError(f"{call.partition('(')[0]}: {(done.stdout.strip().splitlines() or ['no message'])[-1]}")
