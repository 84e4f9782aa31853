"""mnnc: a compiled shared library, called as its header says."""

import ctypes
import json
import os
import subprocess

import numpy as np

from engines import Engine


class Mnnc(Engine):
    def __init__(self, job, inputs):
        super().__init__()
        self.library_file, manifest = compile_library(job)
        prefix, threads = job["stem"], job["threads"]
        library = ctypes.CDLL(self.library_file)
        workspace_size = library[prefix + "_workspace_size"]
        workspace_size.restype = ctypes.c_size_t
        self.workspace_bytes = workspace_size()
        workspace = aligned(self.workspace_bytes)
        arrays = [np.empty(port["dims"], np.dtype(NUMPY[port["dtype"]])) for port in manifest["outputs"]]
        # Everything that the code points to lives as long as the engine.
        self.kept = (inputs, arrays, workspace, library)
        args = [pointers(list(inputs.values())), pointers(arrays), ctypes.c_void_p(workspace.ctypes.data)]
        call = library[prefix + ("_run" if threads == 1 else "_run_parallel")]
        if threads > 1:
            library.mnnc_pool_create.restype = ctypes.c_void_p
            library.mnnc_pool_create.argtypes = [ctypes.c_size_t]
            pool = library.mnnc_pool_create(threads)
            if not pool:
                raise RuntimeError(f"no pool of {threads} threads")
            args.append(ctypes.c_void_p(pool))
        self.run = lambda: check(call(*args))

    def outputs(self):
        return self.kept[1]

    def own_memory(self):
        return {"workspace_bytes": self.workspace_bytes}


NUMPY = {"f32": "float32", "f64": "float64", "i64": "int64", "i32": "int32", "i8": "int8", "u8": "uint8", "bool": "bool"}


def check(status):
    if status != 0:
        raise RuntimeError(f"status {status}")


def pointers(arrays):
    return (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])


def aligned(size):
    """Memory that begins at a multiple of 64 bytes; not touched yet."""
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def compile_library(job):
    """Path of the shared library and its manifest. Always made anew: the compiler is what is being measured."""
    base = os.path.join(job["folder"], job["stem"])
    words = [job["mnnc"], "compile", job["model"], "-o", base + ".o", "--name", job["stem"], "--no-verify"]
    words += job["shape_options"]
    words += ["--precision", "low"] if job["precision"] == "bf16" else []
    words += ["--cpu", "x86-64-v3"] if job["isa"] == "avx2" else []
    tell(words + job["options"])
    runtime = os.path.join(os.path.dirname(job["mnnc"]), "libmnnc_runtime.a")
    whole = ["-Wl,--whole-archive", runtime, "-Wl,--no-whole-archive"]
    tell(["cc", "-shared", "-o", base + ".so", base + ".o", *whole, "-lpthread", "-lm"])
    with open(base + ".json") as file:
        return base + ".so", json.load(file)


def tell(words):
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise RuntimeError(next((l for l in said if "error" in l), (said or ["no message"])[-1]))
