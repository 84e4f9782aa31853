"""The engines that are compared: each loads a model, takes its inputs once, and runs it."""

import ctypes
import json
import os
import subprocess
import sys

import numpy as np


class Mnnc:
    """A compiled shared library, called as its header says."""

    name = "mnnc"

    def __init__(self, binary, model, folder, threads, options):
        stem = "m_" + os.path.splitext(os.path.basename(model))[0].replace(".", "_").replace("-", "_")
        obj = os.path.join(folder, stem + ".o")
        subprocess.run(
            [binary, "compile", model, "-o", obj, "--name", stem, "--no-verify", *options],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        runtime = os.path.join(os.path.dirname(binary), "libmnnc_runtime.a")
        library = os.path.join(folder, stem + ".so")
        subprocess.run(
            ["cc", "-shared", "-o", library, obj, "-Wl,--whole-archive", runtime, "-Wl,--no-whole-archive", "-lpthread", "-lm"],
            check=True,
        )
        with open(os.path.join(folder, stem + ".json")) as file:
            self.manifest = json.load(file)
        self.library = ctypes.CDLL(library)
        workspace_size = self.library[stem + "_workspace_size"]
        workspace_size.restype = ctypes.c_size_t
        self.call = self.library[stem + "_run"]
        self.call_parallel = self.library[stem + "_run_parallel"]
        self.workspace_bytes = workspace_size()
        self.workspace = aligned(self.workspace_bytes)
        self.threads = threads
        self.pool = None
        if threads > 1:
            self.library.mnnc_pool_create.restype = ctypes.c_void_p
            self.library.mnnc_pool_create.argtypes = [ctypes.c_size_t]
            self.pool = ctypes.c_void_p(self.library.mnnc_pool_create(threads))
            assert self.pool.value, "the pool could not be made"

    def prepare(self, inputs):
        self.inputs = [np.ascontiguousarray(x) for x in inputs.values()]
        shapes = [tuple(o["dims"]) for o in self.manifest["outputs"]]
        self.outputs = [np.empty(s, np.float32) for s in shapes]
        pointers = lambda arrays: (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])
        self.args = (pointers(self.inputs), pointers(self.outputs), ctypes.c_void_p(self.workspace.ctypes.data))

    def run(self):
        if self.pool is None:
            status = self.call(*self.args)
        else:
            status = self.call_parallel(*self.args, self.pool)
        assert status == 0, f"status {status}"

    def results(self):
        self.run()
        return self.outputs


def aligned(size):
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


class OnnxRuntime:
    name = "onnxruntime"

    def __init__(self, model, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def prepare(self, inputs):
        self.inputs = inputs

    def run(self):
        return self.session.run(None, self.inputs)

    results = run


class OpenVino:
    name = "openvino"

    def __init__(self, model, threads, precision="f32", isa=None):
        import openvino

        self.core = openvino.Core()
        config = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
        }
        self.request = self.core.compile_model(model, "CPU", config).create_infer_request()

    def prepare(self, inputs):
        import openvino

        for name, value in inputs.items():
            self.request.set_tensor(name, openvino.Tensor(np.ascontiguousarray(value), shared_memory=True))

    def run(self):
        self.request.infer()

    def results(self):
        self.run()
        model_outputs = self.request.model_outputs
        return [np.array(self.request.get_tensor(o).data) for o in model_outputs]


class Mnn:
    name = "mnn"

    def __init__(self, model, folder, threads):
        import importlib.util

        import MNN

        # The converter is called in the extension module itself, in a process of its own: it prints, and it can abort.
        path = os.path.join(folder, os.path.basename(model) + ".peer.mnn")
        script = (
            "import _tools; _tools.mnnconvert(['mnnconvert','-f','ONNX','--modelFile',%r,'--MNNModel',%r,'--bizCode','b'])"
            % (model, path)
        )
        site = os.path.dirname(os.path.dirname(importlib.util.find_spec("MNN").origin))
        env = dict(os.environ, PYTHONPATH=site)
        subprocess.run([sys.executable, "-c", script], check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.MNN = MNN
        self.interpreter = MNN.Interpreter(path)
        config = {"backend": "CPU", "numThread": threads, "precision": "high"}
        self.session = self.interpreter.createSession(config)

    def prepare(self, inputs):
        MNN = self.MNN
        for name, value in inputs.items():
            tensor = self.interpreter.getSessionInput(self.session, name)
            host = MNN.Tensor(value.shape, MNN.Halide_Type_Float, value, MNN.Tensor_DimensionType_Caffe)
            tensor.copyFrom(host)

    def run(self):
        self.interpreter.runSession(self.session)

    def results(self):
        return None
