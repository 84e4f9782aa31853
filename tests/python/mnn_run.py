"""Runs .mnn files in MNN and writes what comes out.

    mnn_run.py CASES.json [FIRST]

CASES.json is a list of {"model": path, "api": "module" | "session", "memory": "normal" | "low", "outputs": [name], "stem": path,
"inputs": [{"name", "dtype", "shape", "file"}]}; tensors are raw little-endian elements. Output k of a case goes to
STEM.k; after each case a line of JSON tells its index and the outputs' dtypes and shapes. A case that throws tells
{"case", "error"}; one that kills the process tells nothing, and the caller goes on with the next.
"""

import json
import sys

import MNN
import MNN.expr as F
import MNN.nn as nn
import numpy as np

CONFIG = {"precision": "high", "backend": 0, "numThread": 1}


def load(entry):
    """One input as an array in MNN's run-time type."""
    array = np.fromfile(entry["file"], dtype=entry["dtype"]).reshape(entry["shape"])
    return array.astype(np.int32) if array.dtype in (np.int64, np.bool_) else array


def variable(array):
    """An array as MNN's variable. Its Python takes no signed bytes: they go in as ints and are converted."""
    kinds = {np.dtype(np.float32): F.float, np.dtype(np.int32): F.int, np.dtype(np.uint8): F.uint8}
    if array.dtype == np.int8:
        return F.cast(F.const(array.astype(np.int32), list(array.shape), F.NCHW, F.int), F.int8)
    return F.const(array, list(array.shape), F.NCHW, kinds[array.dtype])


def run_module(case):
    names = [entry["name"] for entry in case["inputs"]]
    if case["memory"] == "low":
        # A manager of its own is the only way to the setting; it does not know the precision that the other has.
        modes = {"memory_mode": F.MemoryMode.Low, "precision_mode": F.PrecisionMode.High, "thread_num": 1, "backend": F.Backend.CPU}
    else:
        modes = {"runtime_manager": nn.create_runtime_manager((CONFIG,))}
    module = nn.load_module_from_file(case["model"], names, case["outputs"], **modes)
    arrays = [load(entry) for entry in case["inputs"]]
    variables = [variable(array) for array in arrays]
    results = module.forward(variables)
    return [value(result) for result in results]


def value(variable):
    """A result as an array. MNN's Python reads no empty tensors; they have nothing but a shape."""
    variable = F.convert(variable, F.NCHW)
    if 0 in variable.shape:
        return np.zeros(variable.shape, np.float32 if variable.dtype == F.float else np.int32)
    return np.array(variable.read()).reshape(variable.shape)


def run_session(case):
    interpreter = MNN.Interpreter(case["model"])
    session = interpreter.createSession({"precision": "high", "backend": "CPU", "numThread": 1})
    kinds = {np.dtype(np.float32): MNN.Halide_Type_Float, np.dtype(np.int32): MNN.Halide_Type_Int}
    arrays = {entry["name"]: load(entry) for entry in case["inputs"]}
    for name, array in arrays.items():
        interpreter.resizeTensor(interpreter.getSessionInput(session, name), tuple(array.shape))
    interpreter.resizeSession(session)
    for name, array in arrays.items():
        host = MNN.Tensor(tuple(array.shape), kinds[array.dtype], np.ascontiguousarray(array), MNN.Tensor_DimensionType_Caffe)
        interpreter.getSessionInput(session, name).copyFrom(host)
    interpreter.runSession(session)
    results = []
    for name in case["outputs"]:
        tensor = interpreter.getSessionOutput(session, name)
        shape, kind = tensor.getShape(), tensor.getDataType()
        array = np.zeros(shape, np.float32 if kind == MNN.Halide_Type_Float else np.int32)
        host = MNN.Tensor(shape, kind, array, MNN.Tensor_DimensionType_Caffe)
        tensor.copyToHostTensor(host)
        results.append(np.array(host.getNumpyData()).reshape(shape))
    return results


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    for index, case in list(enumerate(cases))[first:]:
        try:
            results = run_module(case) if case["api"] == "module" else run_session(case)
            report = []
            for number, array in enumerate(results):
                array.tofile(f"{case['stem']}.{number}")
                report.append({"dtype": array.dtype.name, "shape": list(array.shape)})
            line = {"case": index, "outputs": report}
        except Exception as error:  # whatever MNN throws is the case's result
            line = {"case": index, "error": f"{type(error).__name__}: {error}"}
        # MNN writes to stdout too, at times without a newline at the end.
        print("\n@ " + json.dumps(line), flush=True)


main()
