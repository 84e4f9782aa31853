"""MNN's CPU backend, on a model that its own converter made; through its module API, which reads the caller's input in place."""

import importlib.util
import os
import subprocess
import sys

import numpy as np

from engines import Engine, converted


class Mnn(Engine):
    def __init__(self, job, inputs):
        super().__init__()
        path = convert(job)
        import MNN.expr
        import MNN.nn

        precision = {"fp32": "high", "bf16": "low"}[job["precision"]]
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
    # The converter is called in its extension module, in a process of its own: it prints, and it can abort.
    words = ["mnnconvert", "-f", "ONNX", "--modelFile", job["model"], "--MNNModel", path, "--bizCode", "b"]
    site = os.path.dirname(os.path.dirname(importlib.util.find_spec("MNN").origin))
    script = f"import _tools; _tools.mnnconvert({words!r})"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": site},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode != 0 or not os.path.exists(path):
        raise RuntimeError(f"mnnconvert: {(done.stdout.strip().splitlines() or ['no message'])[-1]}")
    return path
