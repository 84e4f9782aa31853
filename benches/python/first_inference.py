"""How long the first inference of a freshly loaded shared library takes, against warm ones.

As a program (`first_inference.py LIBRARY SPEC`) it is that fresh process: no numpy, so that little else is in memory. SPEC is JSON:
symbol prefix, and the sizes of inputs and outputs in bytes.
"""

import ctypes
import json
import os
import statistics
import subprocess
import sys
import time

# Processes that are started; each gives one first run.
TRIES = 5
WARM_RUNS = 10


def measure(library, model):
    """Medians over several processes, in ms."""
    with open(os.path.splitext(library)[0] + ".json") as file:
        manifest = json.load(file)
    spec = {
        "prefix": model.stem,
        "inputs": [x.nbytes for x in model.inputs.values()],
        "outputs": [port["bytes"] for port in manifest["outputs"]],
    }
    tries = []
    for _ in range(TRIES):
        done = subprocess.run([sys.executable, __file__, library, json.dumps(spec)], capture_output=True, text=True)
        if done.returncode != 0:
            return {"error": (done.stderr.strip().splitlines() or ["it said nothing"])[-1]}
        tries.append(json.loads(done.stdout))
    result = {key: statistics.median(t[key] for t in tries) for key in ("load_ms", "first_ms", "warm_ms")}
    result["ratio"] = statistics.median(t["first_ms"] / t["warm_ms"] for t in tries)
    return result


def run(path, spec):
    clock = time.perf_counter
    start = clock()
    library = ctypes.CDLL(path, mode=os.RTLD_LAZY)
    size = library[spec["prefix"] + "_workspace_size"]
    size.restype = ctypes.c_size_t
    call = library[spec["prefix"] + "_run"]
    workspace = size()
    loaded = clock()
    inputs, outputs = [block(n) for n in spec["inputs"]], [block(n) for n in spec["outputs"]]
    for data in inputs:  # An application has just written its input.
        ctypes.memset(data, 0, len(data))
    pointers = lambda blocks: (ctypes.c_void_p * len(blocks))(*[ctypes.addressof(b) for b in blocks])
    scratch = block(workspace)
    args = (pointers(inputs), pointers(outputs), ctypes.c_void_p(ctypes.addressof(scratch)))
    times = []
    for _ in range(1 + WARM_RUNS):
        before = clock()
        status = call(*args)
        times.append((clock() - before) * 1e3)
        assert status == 0, f"status {status}"
    print(json.dumps({"load_ms": (loaded - start) * 1e3, "first_ms": times[0], "warm_ms": statistics.median(times[1:])}))


def block(size):
    """Memory as an application gets it: `aligned_alloc(64, size)`, which the model's header names. It is never freed."""
    size = max(size, 1)
    allocate = ctypes.CDLL(None).aligned_alloc
    allocate.restype, allocate.argtypes = ctypes.c_void_p, [ctypes.c_size_t] * 2
    at = allocate(64, -(-size // 64) * 64)
    if not at:
        raise MemoryError(f"{size} bytes")
    return (ctypes.c_char * size).from_address(at)


if __name__ == "__main__":
    run(sys.argv[1], json.loads(sys.argv[2]))
