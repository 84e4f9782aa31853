"""Runs operators in ONNX Runtime, each as a model of one node whose inputs are all initializers.

Usage: run_onnx.py FOLDER
Reads FOLDER/cases.json and FOLDER/inputs.bin, writes FOLDER/results.json and FOLDER/outputs.bin. A case is
{"op", "attrs": [[name, kind, value]], "inputs": [{"dtype", "dims", "offset", "bytes"} or null], "outputs": number,
"widen": whether outputs are bfloat16 and to be made f32}.
A result is {"outputs": [{"dtype", "dims", "offset", "bytes"}]}, or {"status": "unimplemented" or "invalid", "why"}.
"""
import json
import os
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as Unimplemented

DTYPES = {
    "f32": TensorProto.FLOAT, "f64": TensorProto.DOUBLE, "f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16,
    "i8": TensorProto.INT8, "i16": TensorProto.INT16, "i32": TensorProto.INT32, "i64": TensorProto.INT64,
    "u8": TensorProto.UINT8, "u16": TensorProto.UINT16, "u32": TensorProto.UINT32, "u64": TensorProto.UINT64,
    "bool": TensorProto.BOOL,
}
NAMES = {
    np.dtype(np.float32): "f32", np.dtype(np.float64): "f64", np.dtype(np.float16): "f16", np.dtype(np.int8): "i8",
    np.dtype(np.int16): "i16", np.dtype(np.int32): "i32", np.dtype(np.int64): "i64", np.dtype(np.uint8): "u8",
    np.dtype(np.uint16): "u16", np.dtype(np.uint32): "u32", np.dtype(np.uint64): "u64", np.dtype(np.bool_): "bool",
}
# Tried in this order: ONNX Runtime does not implement every operator at the newest operator set.
OPSETS = [28, 26, 24, 21]
OPERATORS = {s.name.lower(): s.name for s in onnx.defs.get_all_schemas() if s.domain == ""}


def operator(name):
    plain = name.replace("_", "")
    return OPERATORS.get(plain) or OPERATORS.get(plain.replace("norm", "normalization"))


def attribute(name, kind, value):
    if kind == "DType":
        return helper.make_attribute(name, DTYPES[value])
    if kind == "Bool":
        return helper.make_attribute(name, int(value))
    kinds = {
        "Int": onnx.AttributeProto.INT, "Float": onnx.AttributeProto.FLOAT, "Str": onnx.AttributeProto.STRING,
        "Ints": onnx.AttributeProto.INTS, "Floats": onnx.AttributeProto.FLOATS, "Strs": onnx.AttributeProto.STRINGS,
    }
    return helper.make_attribute(name, value, attr_type=kinds[kind])


def model(case, blob, opset):
    names, tensors = [], []
    for i, x in enumerate(case["inputs"]):
        names.append(f"x{i}" if x else "")
        if x:
            raw = blob[x["offset"]:x["offset"] + x["bytes"]]
            tensors.append(helper.make_tensor(f"x{i}", DTYPES[x["dtype"]], x["dims"], raw, raw=True))
    outputs = [f"y{i}" for i in range(case["outputs"])]
    node = helper.make_node(operator(case["op"]), names, outputs)
    node.attribute.extend(attribute(*a) for a in case["attrs"])
    if node.op_type == "ConstantOfShape":
        node.attribute.append(helper.make_attribute("value", tensors.pop()))
        node.input.pop()
    nodes = [node]
    if case["widen"]:
        # NumPy has no bfloat16.
        nodes += [helper.make_node("Cast", [y], [y + "w"], to=TensorProto.FLOAT) for y in outputs]
        outputs = [y + "w" for y in outputs]
    infos = [helper.make_empty_tensor_value_info(y) for y in outputs]
    graph = helper.make_graph(nodes, "case", [], infos, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(case, blob):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if operator(case["op"]) is None:
        return None, {"status": "unimplemented", "why": "no operator of this name"}
    trouble = None
    for opset in OPSETS:
        try:
            bytes_ = model(case, blob, opset).SerializeToString()
            session = onnxruntime.InferenceSession(bytes_, options, providers=["CPUExecutionProvider"])
            return [np.ascontiguousarray(y).reshape(np.shape(y)) for y in session.run(None, {})], None
        except Unimplemented as e:
            trouble = {"status": "unimplemented", "why": str(e)}
        except Exception as e:  # the classes of ONNX Runtime's errors have no base of their own
            # Kept if no older operator set does better.
            trouble = trouble or {"status": "invalid", "why": str(e)}
    return None, trouble


def main(folder):
    with open(os.path.join(folder, "cases.json")) as f:
        cases = json.load(f)
    with open(os.path.join(folder, "inputs.bin"), "rb") as f:
        blob = f.read()
    results = []
    with open(os.path.join(folder, "outputs.bin"), "wb") as out:
        for case in cases:
            values, trouble = run(case, blob)
            if trouble:
                results.append(trouble)
                continue
            tensors = []
            for y in values:
                raw = y.tobytes()
                tensors.append({"dtype": NAMES[y.dtype], "dims": list(y.shape), "offset": out.tell(), "bytes": len(raw)})
                out.write(raw)
            results.append({"outputs": tensors})
    with open(os.path.join(folder, "results.json"), "w") as f:
        json.dump(results, f)


main(sys.argv[1])
