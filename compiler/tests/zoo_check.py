"""Checks one zoo network in its four variants: `zoo_check.py FOLDER`."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime


def session(path):
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def pictures(count, height, width):
    """Smooth random fields with a little noise, roughly normalised."""
    random = np.random.default_rng(0)
    coarse = random.standard_normal((count, 3, height // 32, width // 32))
    coarse = coarse.repeat(32, axis=2).repeat(32, axis=3)
    fine = random.standard_normal((count, 3, height, width))
    return (0.9 * coarse + 0.4 * fine).astype(np.float32)


def run(session, x):
    (y,) = session.run(["output"], {"input": x})
    assert y.shape == (len(x), 1000), y.shape
    assert np.isfinite(y).all()
    return y


folder = Path(sys.argv[1])
x = pictures(2, 224, 224)
folded = session(folder / "folded.onnx")
y = np.concatenate([run(folded, x[:1]), run(folded, x[1:])])

# Scores of a sane size, which depend on the picture.
assert 0.1 < y.std(axis=1).min() and y.std(axis=1).max() < 100, y.std(axis=1)
assert (y[0] - y[1]).std() > 0.05 * y.std(), (y[0] - y[1]).std()

unfolded = run(session(folder / "unfolded.onnx"), x[:1])
np.testing.assert_allclose(unfolded, y[:1], rtol=1e-3, atol=1e-3 * y.std())
dynamic = run(session(folder / "dynamic.onnx"), x)
np.testing.assert_allclose(dynamic, y, rtol=1e-3, atol=1e-3 * y.std())
run(session(folder / "small.onnx"), pictures(2, 64, 96))
