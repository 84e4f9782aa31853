"""OpenVINO's CPU plugin, set for latency, on tensors that it shares with the caller."""

import collections

import numpy as np
import openvino

from engines import Engine


class OpenVino(Engine):
    def __init__(self, job, inputs):
        super().__init__()
        core = openvino.Core()
        config = {
            "INFERENCE_NUM_THREADS": job["threads"],
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16", "int8": "f32"}[job["precision"]],
        }
        model = core.read_model(job["model"])
        if job["shape_options"]:
            model.reshape({name: list(x.shape) for name, x in inputs.items()})
        compiled = core.compile_model(model, "CPU", config)
        request = compiled.create_infer_request()
        for name, value in inputs.items():
            request.set_tensor(name, openvino.Tensor(value, shared_memory=True))
        # Set by the caller as well, and so not looked up in every run.
        self.arrays = [np.empty(list(port.shape), port.element_type.to_dtype()) for port in compiled.outputs]
        for port, array in zip(compiled.outputs, self.arrays):
            request.set_tensor(port, openvino.Tensor(array, shared_memory=True))
        self.kept = (core, compiled, request, inputs)
        self.run = lambda: request.infer(share_outputs=True)
        if job["isa"] == "avx2":
            self.notes += held(compiled)

    def outputs(self):
        return self.arrays


def held(compiled):
    """What the switch did not reach, read off the primitives that the plugin chose."""
    chosen = collections.Counter(str(op.get_rt_info()["primitiveType"].value) for op in compiled.get_runtime_model().get_ops())
    loose = {name: count for name, count in chosen.items() if "avx512" in name or "mlas" in name}
    if not any("avx2" in name for name in chosen):
        raise RuntimeError(f"ONEDNN_MAX_CPU_ISA=AVX2 had no effect: {dict(chosen)}")
    return ["not held to AVX2: " + ", ".join(f"{count} x {name}" for name, count in loose.items())] if loose else []
