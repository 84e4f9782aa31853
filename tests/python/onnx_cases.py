"""Writes ONNX's own backend test cases, one folder each, with the inputs and expected outputs of their data sets.

Usage: onnx_cases.py FOLDER
The cases are those that the installed `onnx` package generates for single operators, and those that it ships.
"""
import os
import shutil
import sys
import warnings

import numpy as np
import onnx
from onnx import numpy_helper


def write(path, value):
    if isinstance(value, onnx.TensorProto):
        tensor = value
    elif isinstance(value, np.ndarray) or np.isscalar(value):
        tensor = numpy_helper.from_array(np.asarray(value))
    else:
        return False
    with open(path, "wb") as f:
        f.write(tensor.SerializeToString())
    return True


def main(folder):
    warnings.simplefilter("ignore")
    from onnx.backend.test.case.node import collect_testcases

    shutil.rmtree(folder, ignore_errors=True)
    for case in collect_testcases():
        if case.model is None:
            continue
        here = os.path.join(folder, case.name)
        os.makedirs(here)
        onnx.save(case.model, os.path.join(here, "model.onnx"))
        with open(os.path.join(here, "tolerance"), "w") as f:
            f.write(f"{case.rtol} {case.atol}")
        for n, (inputs, outputs) in enumerate(case.data_sets):
            data = os.path.join(here, f"test_data_set_{n}")
            os.makedirs(data)
            whole = all(
                [
                    write(os.path.join(data, f"{kind}_{i}.pb"), v)
                    for kind, values in (("input", inputs), ("output", outputs))
                    for i, v in enumerate(values)
                ]
            )
            if not whole:
                open(os.path.join(data, "not_tensors"), "w").close()
    shipped = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")
    for group in ("node", "simple", "pytorch-converted", "pytorch-operator"):
        base = os.path.join(shipped, group)
        for name in sorted(os.listdir(base)) if os.path.isdir(base) else []:
            here = os.path.join(folder, name)
            if os.path.exists(os.path.join(base, name, "model.onnx")) and not os.path.exists(here):
                shutil.copytree(os.path.join(base, name), here)


if __name__ == "__main__":
    main(sys.argv[1])
