"""What the authorities make of an ONNX model.

    mnn_reference.py MODEL.onnx INPUTS.json STEM

INPUTS.json is a list of {"name", "dtype", "shape", "file"}. ONNX Runtime's output k goes to STEM.k as raw little-endian
elements, MNN's own conversion to STEM.mnn (absent if MNN's converter fails). The last line of stdout is JSON:
{"outputs": [{"name", "dtype", "shape"}]}.
"""

import json
import os
import subprocess
import sys

import numpy as np
import onnxruntime

# Called below the wrapper scripts of MNN's package, which report every use to a server.
CONVERT = """
import sys
import _tools
_tools.mnnconvert(["mnnc-tests", "-f", "ONNX", "--modelFile", sys.argv[1], "--MNNModel", sys.argv[2], "--bizCode", "MNN"])
"""


def main():
    model, inputs, stem = sys.argv[1:4]
    with open(inputs, encoding="utf-8") as file:
        entries = json.load(file)
    feeds = {e["name"]: np.fromfile(e["file"], dtype=e["dtype"]).reshape(e["shape"]) for e in entries}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    report = []
    for number, (name, array) in enumerate(zip(names, session.run(names, feeds))):
        array.tofile(f"{stem}.{number}")
        report.append({"name": name, "dtype": array.dtype.name, "shape": list(array.shape)})
    # In a folder of its own: the converter spills weights to a file of fixed name where it runs.
    subprocess.run([sys.executable, "-c", CONVERT, model, f"{stem}.mnn"], check=False, timeout=300,
                   cwd=os.path.dirname(stem), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print("\n" + json.dumps({"outputs": report}))


main()
