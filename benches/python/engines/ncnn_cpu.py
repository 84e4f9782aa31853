"""ncnn, on a model that pnnx converted, with its pools of memory for blobs and workspaces."""

import importlib.util
import os
import subprocess

import numpy as np

from engines import Engine, converted


class Ncnn(Engine):
    def __init__(self, job, inputs):
        super().__init__()
        # Pictures of a batch are run one after the other: its kernels take one.
        self.batch = job["batch"]
        param = convert(job, {name: [x.shape[0] // self.batch, *x.shape[1:]] for name, x in inputs.items()})
        import ncnn

        net = ncnn.Net()
        options = net.opt
        options.num_threads = job["threads"]
        options.lightmode = True
        options.use_packing_layout = True
        options.use_winograd_convolution = True
        options.use_sgemm_convolution = True
        is_bf16 = job["precision"] == "bf16"
        options.use_bf16_storage = options.use_bf16_packed = is_bf16
        options.use_fp16_storage = options.use_fp16_packed = options.use_fp16_arithmetic = False
        self.pools = (ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator())
        options.blob_allocator, options.workspace_allocator = self.pools
        if net.load_param(param) != 0 or net.load_model(os.path.splitext(param)[0] + ".bin") != 0:
            raise RuntimeError("the converted model does not load: a layer that ncnn does not have")
        ins, outs = net.input_names(), net.output_names()
        if len(ins) != len(inputs):
            raise RuntimeError(f"the converted model has {len(ins)} inputs, not {len(inputs)}")
        # Blobs have no batch; a row of mats for each input, a mat for each picture.
        mats = [[ncnn.Mat(picture).clone() for picture in pictures(x, self.batch)] for x in inputs.values()]
        self.results = [[None] * len(outs) for _ in range(self.batch)]
        self.kept = (net, mats)

        def run():
            for index, result in enumerate(self.results):
                extractor = net.create_extractor()
                for name, row in zip(ins, mats):
                    extractor.input(name, row[index])
                for k, name in enumerate(outs):
                    status, result[k] = extractor.extract(name)
                    if status != 0:
                        raise RuntimeError(f"extract gave {status}")

        self.run = run

    def outputs(self):
        columns = zip(*self.results)
        return [np.stack([np.array(mat) for mat in column]) for column in columns]


def pictures(x, batch):
    """The batch taken apart; a batch of one is left off too."""
    parts = np.split(x, batch)
    return [np.ascontiguousarray(p[0] if p.ndim > 1 and p.shape[0] == 1 else p) for p in parts]


def convert(job, shapes):
    """Path of the .param file."""
    param, is_due = converted(job, ".ncnn.param")
    if not is_due:
        return param
    program = os.path.join(importlib.util.find_spec("pnnx").submodule_search_locations[0], "pnnx")
    # It writes beside its input, under the input's name.
    link = os.path.join(job["folder"], job["stem"] + ".onnx")
    if not os.path.exists(link):
        os.symlink(job["model"], link)
    shape = ",".join("[" + ",".join(map(str, dims)) + "]" for dims in shapes.values())
    done = subprocess.run(
        [program, link, f"inputshape={shape}", "fp16=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    for suffix in (".pnnx.bin", ".pnnx.onnx", ".pnnx.param", ".pnnxsim.onnx", "_ncnn.py", "_pnnx.py"):
        path = os.path.join(job["folder"], job["stem"] + suffix)
        if os.path.exists(path):
            os.remove(path)
    if done.returncode != 0 or not os.path.exists(param):
        raise RuntimeError(f"pnnx: {(done.stdout.strip().splitlines() or ['no message'])[-1]}")
    return param
