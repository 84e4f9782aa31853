"""Logits of a classifier in ONNX Runtime for many pictures.

Usage: top1.py MODEL BATCH.npy LOGITS.npy

BATCH is f32[N, 3, H, W]; the model takes one picture at a time.
"""
import sys

import numpy as np
import onnxruntime


def main(model, batch, logits):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: picture[None]})[0][0] for picture in np.load(batch)]
    np.save(logits, np.stack(rows))


main(*sys.argv[1:])
