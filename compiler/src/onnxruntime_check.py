"""Runs a model with ONNX Runtime: `python onnxruntime_check.py MODEL FOLDER`.

FOLDER holds `request.json`: files of the inputs by name, and the values wanted. Those that the model has are written as
`.npy` files, and `index.json` says which file holds which value.
"""

import json
import sys
from pathlib import Path

try:
    import numpy as np
    import onnx
    import onnxruntime
except ImportError as error:
    sys.exit(f"missing: {error}")

path, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
request = json.loads((folder / "request.json").read_text(encoding="utf-8"))

model = onnx.load(path, load_external_data=False)
present = {output.name for output in model.graph.output}
computed = {name for node in model.graph.node for name in node.output}
wanted = [name for name in request["values"] if name in present or name in computed]
model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in present)

options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
options.log_severity_level = 4
# The model comes from memory: this is where its external data lies.
options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
# The session has its own copy.
del model
inputs = {name: np.load(folder / file, allow_pickle=False) for name, file in request["inputs"].items()}
results = session.run(wanted, inputs) if wanted else []

index = {}
for number, (name, result) in enumerate(zip(wanted, results)):
    index[name] = f"value{number}.npy"
    np.save(folder / index[name], result, allow_pickle=False)
(folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
