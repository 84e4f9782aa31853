"""Runs a model in ONNX Runtime on seeded inputs and writes inputs and outputs as serialised tensors.

Usage: onnx_run.py MODEL FOLDER [NAME=1x3x224x224 ...]
Writes FOLDER/input_I.pb and FOLDER/output_I.pb in the model's order; open sizes are those given, else 1.
"""
import sys

import numpy as np
import onnxruntime
from onnx import numpy_helper

TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


def main(model, folder, *shapes):
    given = {k: [int(d) for d in v.split("x")] if v else [] for k, v in (s.split("=") for s in shapes)}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(7)
    feeds = {}
    for i in session.get_inputs():
        shape = given.get(i.name, [d if isinstance(d, int) else 1 for d in i.shape])
        dtype = TYPES[i.type]
        if np.issubdtype(dtype, np.floating):
            feeds[i.name] = random.uniform(-1, 1, shape).astype(dtype)
        else:
            feeds[i.name] = np.array(random.integers(0, 2, shape), dtype)
    results = session.run(None, feeds)
    for kind, values in (("input", feeds.values()), ("output", results)):
        for i, v in enumerate(values):
            with open(f"{folder}/{kind}_{i}.pb", "wb") as f:
                f.write(numpy_helper.from_array(np.asarray(v)).SerializeToString())


if __name__ == "__main__":
    main(*sys.argv[1:])
