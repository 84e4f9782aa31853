"""What is run: model files, their inputs and what is known of them."""

import dataclasses
import json
import os
import re
import subprocess

import numpy as np

import networks
import quantise


ZOO = "mobilenet_v2 mobilenet_v3_large efficientnet_b0 shufflenet_v2_x1_0 squeezenet1_1 resnet18 resnet50 vit_b_32".split()
SETS = {"zoo": ZOO, "unlisted": list(networks.NETWORKS)}


class BadModel(Exception):
    """A model that cannot be had as asked for."""


@dataclasses.dataclass
class Model:
    name: str
    path: str  # What the engines are given.
    source: str  # The file as it was named; another one where the engines are given its int8 form.
    inputs: dict  # name -> array
    is_open: bool  # Whether the file leaves a dimension open.
    flops: int
    twin: str | None  # The same network as a TFLite file.
    reference: list  # ONNX Runtime's outputs.

    @property
    def stem(self):
        """A C identifier that no other model or shape of this run shares."""
        shapes = "_".join("x".join(map(str, x.shape)) for x in self.inputs.values())
        return re.sub(r"\W", "_", f"m_{self.name}_{shapes}")

    @property
    def shape_options(self):
        """The options that tell mnnc the shapes which the file leaves open."""
        shapes = [f"{name}={'x'.join(map(str, x.shape))}" for name, x in self.inputs.items()]
        return [word for shape in shapes for word in ("--shape", shape)] if self.is_open else []


class Mnnc:
    """The command line of mnnc."""

    def __init__(self, binary):
        self.binary = binary

    def call(self, *words):
        done = subprocess.run([self.binary, *words], capture_output=True, text=True)
        if done.returncode != 0:
            raise BadModel(done.stderr.strip() or f"mnnc {words[0]} ended with {done.returncode}")
        return done.stdout

    def roofline(self):
        return json.loads(self.call("roofline", "--json"))


def parse(spec):
    """`resnet50@160x160` as name and size; the size is None where none is given."""
    name, at, size = spec.rpartition("@")
    if not at:
        return spec, None
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", size)
    if not match:
        raise BadModel(f"`{size}` is no picture size; write it as 160x160")
    height = int(match[1])
    return name, (height, int(match[2] or height))


def resolve(spec, args, mnnc):
    """The model that a word of the command line names."""
    name, size = parse(spec)
    if name.endswith(".onnx"):
        if not os.path.isfile(name):
            raise BadModel("no such file")
        path = name
    elif name in networks.NETWORKS:
        if size is not None or args.batch != 1:
            raise BadModel("its size and batch are fixed")
        path = os.path.join(args.folder, name + ".onnx")
        if not os.path.exists(path):
            networks.write(name, path)
    else:
        path = zoo_file(name, size, args, mnnc)
    stem = os.path.splitext(os.path.basename(path))[0]
    inputs, is_open, reference = run_reference(path, args.batch, size)
    shapes = [f"{n}={'x'.join(map(str, x.shape))}" for n, x in inputs.items()]
    options = [word for shape in shapes for word in ("--shape", shape)] if is_open else []
    source = path
    if args.precision == "int8":
        path = quantise.qdq(source, inputs, args.folder)
        reference = run_reference(path, args.batch, size)[2] if path != source else reference
    flops = json.loads(mnnc.call("inspect", source, "--json", *options))["flops"]
    beside = os.path.splitext(source)[0] + ".tflite"
    twin = args.twin.get(name) or args.twin.get(stem) or (beside if os.path.isfile(beside) else None)
    return Model(stem, path, source, inputs, is_open, flops or 0, twin, reference)


def zoo_file(name, size, args, mnnc):
    words, stem = ["--batch", str(args.batch)], name
    if size is not None:
        words += ["--size", f"{size[0]}x{size[1]}"]
        stem += f"_{size[0]}x{size[1]}"
    if args.batch != 1:
        stem += f"_b{args.batch}"
    path = os.path.join(args.folder, stem + ".onnx")
    if not os.path.exists(path):
        mnnc.call("zoo", name, "-o", path, *words)
    return path


NUMPY = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_}


def run_reference(path, batch, size):
    """Random inputs by name, whether the file leaves a dimension open, and what ONNX Runtime makes of them."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BadModel(f"ONNX Runtime, the reference, cannot load it: {error}") from error
    rng = np.random.default_rng(0)
    inputs, is_open = {}, False
    for port in session.get_inputs():
        if port.type not in NUMPY:
            raise BadModel(f"input {port.name} is {port.type}, which this harness cannot fill")
        dims = settle(port.name, port.shape, batch, size)
        is_open |= dims != port.shape
        if NUMPY[port.type] == np.float32:
            inputs[port.name] = rng.standard_normal(dims).astype(np.float32)
        else:
            inputs[port.name] = rng.integers(0, 2, dims).astype(NUMPY[port.type])
    return inputs, is_open, session.run(None, inputs)


def settle(name, shape, batch, size):
    """The shape with its open dimensions filled in: the first one by the batch, the last two of a picture by its size."""
    dims = list(shape)
    is_open = lambda i: not isinstance(dims[i], int)
    if dims and is_open(0):
        dims[0] = batch
    if len(dims) == 4 and size is not None:
        for axis, extent in zip((2, 3), size):
            if not is_open(axis) and dims[axis] != extent:
                raise BadModel(f"input {name} is fixed to {shape}; leave off the size or export it open")
            dims[axis] = extent
    if any(is_open(i) for i in range(len(dims))):
        raise BadModel(f"input {name} leaves {shape} open; write the picture's size behind the file's name: @224x224")
    if dims and batch != 1 and dims[0] != batch:
        raise BadModel(f"input {name} has its batch fixed to {dims[0]}; export the model with an open batch")
    return dims
