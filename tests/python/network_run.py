"""Runs a model in ONNX Runtime on given inputs, one thread.

Usage: network_run.py MODEL FOLDER [plain]

Reads FOLDER/input_I.npy in the model's order and writes FOLDER/output_I.npy. `plain` leaves out what ONNX Runtime does to the graph.
"""
import sys

import numpy as np
import onnxruntime


def main(model, folder, how=""):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if how == "plain":
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = {port.name: np.load(f"{folder}/input_{i}.npy") for i, port in enumerate(session.get_inputs())}
    for i, value in enumerate(session.run(None, feeds)):
        np.save(f"{folder}/output_{i}.npy", np.ascontiguousarray(value))


main(*sys.argv[1:])
