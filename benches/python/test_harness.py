"""Tests of what the harness reads and computes; no engine is run and nothing is timed. `python -m unittest`, numpy alone."""

import argparse
import os
import sys
import tempfile
import unittest

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import compare
import engines
import memory
import models
import report
import rounds


def parsed(*words):
    return compare.parse(["--mnnc", "mnnc", "--folder", "f", *words])


class CommandLine(unittest.TestCase):
    def test_a_model_may_have_a_size(self):
        self.assertEqual(models.parse("resnet50"), ("resnet50", None))
        self.assertEqual(models.parse("resnet50@160x192"), ("resnet50", (160, 192)))
        self.assertEqual(models.parse("a/b@c.onnx@320"), ("a/b@c.onnx", (320, 320)))
        with self.assertRaisesRegex(models.BadModel, "160x160"):
            models.parse("resnet50@large")

    def test_without_models_it_is_the_zoo(self):
        self.assertEqual(parsed().models, models.ZOO)
        self.assertEqual(parsed("unlisted", "resnet18@160").models, [*models.SETS["unlisted"], "resnet18@160"])

    def test_peers_are_those_that_fit_the_comparison(self):
        self.assertEqual(parsed().peers, engines.PEERS)
        self.assertEqual(parsed("--isa", "avx2").peers, ["openvino"])
        self.assertNotIn("litert", parsed("--precision", "bf16").peers)
        self.assertEqual(parsed("--peers", "mnn,ncnn").peers, ["mnn", "ncnn"])

    def test_nonsense_is_refused(self):
        for words in (["--peers", "nobody"], ["--batch", "0"], ["--seconds", "-1"], ["--seconds", "nan"], ["--twin", "x"], ["--isa", "sse"]):
            with self.assertRaises(SystemExit) as stopped, open(os.devnull, "w") as silence:
                stderr, sys.stderr = sys.stderr, silence
                try:
                    parsed(*words)
                finally:
                    sys.stderr = stderr
            self.assertEqual(stopped.exception.code, 2, words)

    def test_a_twin_is_a_file(self):
        with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
            self.assertEqual(compare.twin(f"net={file.name}"), ("net", file.name))
        with self.assertRaises(argparse.ArgumentTypeError):
            compare.twin("net=/no/such/file.tflite")

    def test_each_engine_has_its_environment(self):
        self.assertEqual(engines.environment("openvino", 1, "avx2")["ONEDNN_MAX_CPU_ISA"], "AVX2")
        self.assertNotIn("ONEDNN_MAX_CPU_ISA", engines.environment("openvino", 1, None))
        self.assertEqual(engines.environment("ncnn", 2, None)["OMP_NUM_THREADS"], "2")


class Shapes(unittest.TestCase):
    def test_open_dimensions_are_settled(self):
        self.assertEqual(models.settle("x", ["N", 3, "H", "W"], 4, (160, 192)), [4, 3, 160, 192])
        self.assertEqual(models.settle("x", ["N", 7], 1, None), [1, 7])
        self.assertEqual(models.settle("x", [1, 3, 8, 8], 1, (8, 8)), [1, 3, 8, 8])

    def test_what_cannot_be_settled_is_explained(self):
        cases = [([1, 3, "H", "W"], 1, None, "@224x224"), ([1, 3, 8, 8], 1, (9, 9), "fixed"), ([1, 3], 4, None, "batch")]
        for shape, batch, size, message in cases:
            with self.assertRaisesRegex(models.BadModel, message):
                models.settle("x", shape, batch, size)

    def test_a_stem_is_an_identifier_of_its_shape(self):
        model = models.Model("a-b.c", "p", "p", {"x": np.zeros((1, 3, 8, 8))}, True, 0, None, [])
        self.assertEqual(model.stem, "m_a_b_c_1x3x8x8")
        self.assertEqual(model.shape_options, ["--shape", "x=1x3x8x8"])


class Figures(unittest.TestCase):
    def test_quantiles_are_by_nearest_rank(self):
        values = list(range(1, 11))
        self.assertEqual([rounds.quantile(values, q) for q in (0.0, 0.1, 0.5, 0.9, 1.0)], [1, 1, 5, 9, 10])
        self.assertEqual(rounds.quantile([7], 0.9), 7)

    def test_a_drift_of_the_clock_leaves_the_ratio(self):
        ours = [[1.0, 1.1, 0.9], [2.0, 2.0], [4.0]]
        theirs = [[t * 1.5 for t in turn] for turn in ours]
        found = rounds.ratio(ours, theirs)
        self.assertTrue(all(abs(found[key] - 1.5) < 1e-12 for key in ("ratio", "ratio_p10", "ratio_p90")), found)

    def test_disturbed_runs_do_not_count(self):
        turns = [{"alone": [1.0], "disturbed": [9.0, 9.0]}, {"alone": [], "disturbed": [9.0]}]
        quiet = [{"alone": [3.0], "disturbed": []}, {"alone": [4.0], "disturbed": []}]
        counted, disturbed = rounds.undisturbed({"mnnc": turns, "mnn": quiet})
        self.assertEqual(counted, {"mnnc": [[1.0], []], "mnn": [[3.0], [4.0]]})
        self.assertEqual(disturbed, {"mnnc": 0.75, "mnn": 0.0})
        self.assertEqual(rounds.ratio(counted["mnnc"], counted["mnn"])["ratio"], 3.0)

    def test_on_a_busy_machine_all_runs_of_all_engines_count(self):
        never = [{"alone": [], "disturbed": [3.0]}]
        counted, disturbed = rounds.undisturbed({"mnnc": [{"alone": [1.0], "disturbed": [2.0]}], "mnn": never})
        self.assertEqual((counted, disturbed["mnn"]), ({"mnnc": [[1.0, 2.0]], "mnn": [[3.0]]}, 1.0))

    def test_rounds_without_a_pair_do_not_count(self):
        self.assertEqual(rounds.ratio([[1.0], []], [[], [2.0]])["ratio"], 2.0)

    def test_who_computes_something_else_is_not_ranked(self):
        reference = [np.array([[1.0, 2.0, 3.0]])]
        outputs = {
            "mnnc": [np.array([1.0, 2.0, 3.00001])],
            "mnn": [np.array([[2.0, 2.0, 3.0]])],
            "ncnn": [np.array([1.0, np.nan, 3.0])],
            "openvino": [np.array([1.0, 2.0])],
            "litert": [],
        }
        verdicts = rounds.verdicts(outputs, reference, "fp32")
        self.assertEqual({name for name, v in verdicts.items() if v["agrees"]}, {"mnnc"})
        self.assertLess(verdicts["mnnc"]["tolerances"], 1.0)
        self.assertIn("not finite", verdicts["ncnn"]["reason"])
        self.assertIn("0 outputs, not 1", verdicts["litert"]["reason"])
        times = {"mnnc": [[2.0, 2.5]], "mnn": [[1.0, 1.0]], "ncnn": [[1.0]], "openvino": [[1.0]], "litert": [[1.0]]}
        row = rounds.summary(times, {}, verdicts, 4e6, 4.0)
        self.assertNotIn("ratio", row)
        self.assertEqual(row["peak_fraction"], 0.5)
        verdicts["mnn"]["agrees"] = True
        row = rounds.summary(times, {}, verdicts, 4e6, 4.0)
        self.assertEqual((row["best_peer"], row["ratio_of_minima"]), ("mnn", 0.5))

    def test_rounding_to_bf16_is_the_same_network(self):
        reference = [np.linspace(-1, 1, 1000)]
        rounded = [np.round(reference[0] * 256) / 256]
        self.assertTrue(rounds.verdict(rounded, reference, "bf16")["agrees"])
        self.assertFalse(rounds.verdict(rounded, reference, "fp32")["agrees"])

    def test_the_mean_is_geometric(self):
        found = rounds.overall([{"ratio": 1.0, "ratio_of_minima": 2.0}, {"ratio": 4.0, "ratio_of_minima": 2.0}, {}])
        self.assertAlmostEqual(found["geometric_mean_ratio"], 2.0)
        self.assertEqual(found["least_ratio"], 1.0)
        self.assertEqual(rounds.overall([]), {})

    def test_the_peak_is_that_of_instructions_and_type(self):
        peaks = [
            {"isa": "avx2", "type": "f32", "gflops": 100.0},
            {"isa": "avx512", "type": "f32", "gflops": 200.0},
            {"isa": "amx", "type": "bf16", "gflops": 3000.0},
        ]
        self.assertEqual(rounds.peak(peaks, "fp32", None), 200.0)
        self.assertEqual(rounds.peak(peaks, "fp32", "avx2"), 100.0)
        self.assertEqual(rounds.peak(peaks, "bf16", None), 3000.0)
        self.assertEqual(rounds.peak(peaks[:2], "bf16", None), 200.0)


class Memory(unittest.TestCase):
    STATUS = "Name:\tpython\nVmHWM:\t  200 kB\nVmRSS:\t  100 kB\nRssAnon:\t   60 kB\nRssFile:\t   40 kB\nThreads:\t1\n"

    def test_fields_are_in_bytes(self):
        self.assertEqual(memory.parse(self.STATUS), {"resident": 102400, "peak_resident": 204800, "anonymous": 61440, "file": 40960})

    def test_activations_are_what_running_adds(self):
        at = lambda resident, anonymous: {"resident": resident, "peak_resident": resident + 1, "anonymous": anonymous, "file": 0}
        found = rounds.memory({"bare": at(10, 5), "loaded": at(100, 90)}, {"first_runs": at(140, 120), "end": at(141, 121), "own": {}})
        self.assertEqual((found["activations"], found["peak_loading"], found["peak_running"], found["interpreter"]), (30, 101, 141, 10))


class Tables(unittest.TestCase):
    def row(self):
        verdicts = {"mnnc": {"agrees": True, "error": 1e-6}, "mnn": {"agrees": True, "error": 1e-6}, "ncnn": {"agrees": False, "reason": "off"}}
        times = {"mnnc": [[1.0, 1.0]], "mnn": [[2.0, 2.0]], "ncnn": [[0.5]]}
        figures = {"interpreter": 0, "peak_loading": 1 << 20, "peak_running": 2 << 20, "activations": 3 << 20}
        return {
            "model": "net",
            "failures": {"openvino": "it said so"},
            "notes": {},
            **rounds.summary(times, {"mnn": 0.5}, verdicts, 1e9, 2000.0),
            "memory": {"mnnc": figures},
            "workspace_bytes": 1 << 20,
        }

    def test_every_engine_is_told_of(self):
        row = self.row()
        about = {"cpu": "c", "precision": "fp32", "isa": None, "threads": 1, "batch": 1, "peak_gflops": 2000.0, **rounds.overall([row])}
        text = report.line(row) + report.tables([row], about)
        for words in ("openvino failed: it said so", "ncnn is not ranked: off", "(differs)", "2.00 (2.00 to 2.00)", "50%", "1 / 2 (3.0)", "50% of an engine's runs"):
            self.assertIn(words, text)

    def test_columns_are_aligned(self):
        self.assertEqual(report.aligned([["a", "bb"], ["ccc", "d"]]), "a    bb\nccc   d")


if __name__ == "__main__":
    unittest.main()
