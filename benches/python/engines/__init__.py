"""The engines that are compared, an adapter a file: each loads a model, takes its inputs once, and runs it.

Every engine at its best: all its optimisations on, its own layout inside, inputs and outputs in memory that it uses as it is.
"""

import importlib

# Adapters by name: module and class. A module is imported only in the engine's own process.
ADAPTERS = {
    "mnnc": ("mnnc", "Mnnc"),
    "onnxruntime": ("onnx_runtime", "OnnxRuntime"),
    "openvino": ("openvino_cpu", "OpenVino"),
    "ncnn": ("ncnn_cpu", "Ncnn"),
    "mnn": ("mnn_cpu", "Mnn"),
    "litert": ("litert", "LiteRt"),
}
PEERS = [name for name in ADAPTERS if name != "mnnc"]

# Those that a switch of theirs holds to an instruction set.
HELD = {"avx2": {"openvino": {"ONEDNN_MAX_CPU_ISA": "AVX2"}}}
# Those that can make use of bf16; ONNX Runtime cannot on a CPU, and takes part with its f32 as the reference does.
BF16 = {"onnxruntime", "openvino", "ncnn", "mnn"}
# Those that compute in int8 from what can be had here: the model in QDQ form, a quantiser of their own, a twin that is int8. The tools
# that make tables for ncnn are not in its package.
INT8 = {"onnxruntime", "openvino", "mnn", "litert"}


def can_compare(peer, precision, isa):
    """Whether the peer belongs in such a comparison."""
    return (isa is None or peer in HELD[isa]) and peer in {"fp32": PEERS, "bf16": BF16, "int8": INT8}[precision]


def environment(engine, threads, isa):
    """Variables of the engine's process. Nothing tells a pool how long to spin: it is stopped with its process."""
    held = HELD.get(isa, {}).get(engine, {})
    return {"OMP_NUM_THREADS": str(threads), **held}


def make(job, inputs):
    """The engine that a job names, ready to run on these inputs."""
    module, kind = ADAPTERS[job["engine"]]
    return getattr(importlib.import_module(f"engines.{module}"), kind)(job, inputs)


class Engine:
    """What an adapter offers.

    `run` is called in the timed region and does nothing but run the model.
    """

    def __init__(self):
        self.notes = []  # What a reader of the figures should know.

    def run(self):
        raise NotImplementedError

    def outputs(self):
        """Results of the last run, in the model's order."""
        raise NotImplementedError

    def own_memory(self):
        """What the engine itself says about its memory."""
        return {}


def converted(job, suffix):
    """Where a converted form of the model goes, and whether it has to be made again."""
    import os

    path = os.path.join(job["folder"], job["stem"] + suffix)
    is_fresh = os.path.exists(path) and os.path.getmtime(path) >= os.path.getmtime(job["source"])
    return path, not is_fresh
