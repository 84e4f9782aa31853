"""Times mnnc and other engines side by side: same model, same input, same threads, runs interleaved, results compared first.

Prints a table and, with --json, writes every figure. Times are of one inference in ms; the ratio is that of the fastest peer to
mnnc, round by round, so that a drift of the machine's clock touches both sides.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time

import numpy as np

import peers

ZOO = "mobilenet_v2 mobilenet_v3_large efficientnet_b0 shufflenet_v2_x1_0 squeezenet1_1 resnet18 resnet50 vit_b_32".split()


def main():
    args = arguments()
    cpus = sorted(os.sched_getaffinity(0))[-args.threads :]
    os.sched_setaffinity(0, cpus)
    os.makedirs(args.folder, exist_ok=True)
    peak = measured_peak(args)
    rows = []
    for model in args.models:
        row = compare(model, args, peak)
        rows.append(row)
        print(line(row), flush=True)
    geometric = float(np.exp(np.mean([np.log(r["ratio"]) for r in rows])))
    print(f"geometric mean of best peer / mnnc: {geometric:.3f}; least {min(r['ratio'] for r in rows):.3f}")
    if args.json:
        about = {"cpu": cpu_name(), "threads": args.threads, "peak_gflops": peak, "geometric_mean": geometric}
        with open(args.json, "w") as file:
            json.dump({"about": about, "rows": rows}, file, indent=1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=ZOO, help="names of the zoo, or .onnx files")
    parser.add_argument("--mnnc", required=True, help="the mnnc binary")
    parser.add_argument("--folder", required=True, help="where compiled models go")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=6.0, help="time for each model")
    parser.add_argument("--peers", default="onnxruntime,openvino,mnn")
    parser.add_argument("--options", default="", help="further options of mnnc compile")
    parser.add_argument("--json", help="file for all figures")
    return parser.parse_args()


def model_file(model, args):
    if os.path.exists(model):
        return model
    path = os.path.join(args.folder, model + ".onnx")
    if not os.path.exists(path):
        subprocess.run([args.mnnc, "zoo", model, "-o", path], check=True, stderr=subprocess.DEVNULL)
    return path


def random_inputs(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    shape = lambda i: [d if isinstance(d, int) else 1 for d in i.shape]
    return {i.name: rng.standard_normal(shape(i)).astype(np.float32) for i in session.get_inputs()}


def engines(path, args):
    makers = {
        "onnxruntime": lambda: peers.OnnxRuntime(path, args.threads),
        "openvino": lambda: peers.OpenVino(path, args.threads),
        "mnn": lambda: peers.Mnn(path, args.folder, args.threads),
    }
    made = [peers.Mnnc(args.mnnc, path, args.folder, args.threads, args.options.split())]
    for name in args.peers.split(","):
        try:
            made.append(makers[name]())
        except Exception as error:  # A peer that cannot run the model does not stop the others.
            print(f"skipped: {name} on {os.path.basename(path)}: {error}")
    return made


def compare(model, args, peak):
    path = model_file(model, args)
    inputs = random_inputs(path)
    all_engines = engines(path, args)
    for engine in all_engines:
        engine.prepare(inputs)
    worst = difference(all_engines)
    times = {e.name: [] for e in all_engines}
    # Short networks are run several times in a row, so that every sample lasts a few milliseconds.
    start = time.perf_counter()
    all_engines[0].run()
    repeat = max(1, int(0.004 / max(time.perf_counter() - start, 1e-6)))
    deadline = time.perf_counter() + args.seconds
    while time.perf_counter() < deadline or len(times["mnnc"]) < 5:
        for engine in all_engines:
            engine.run()
            start = time.perf_counter()
            for _ in range(repeat):
                engine.run()
            times[engine.name].append((time.perf_counter() - start) / repeat * 1e3)
    summary = {n: {"min": min(t), "median": statistics.median(t)} for n, t in times.items()}
    rivals = [n for n in times if n != "mnnc"]
    best = min(rivals, key=lambda n: summary[n]["median"])
    ratios = sorted(b / a for a, b in zip(times["mnnc"], times[best]))
    flops = flop_count(path, args)
    return {
        "model": os.path.splitext(os.path.basename(path))[0],
        "times_ms": summary,
        "best_peer": best,
        "ratio": statistics.median(ratios),
        "ratio_p10": ratios[len(ratios) // 10],
        "ratio_p90": ratios[len(ratios) * 9 // 10],
        "peak_fraction": flops / (summary["mnnc"]["min"] * 1e6) / (peak * args.threads),
        "worst_error_in_tolerances": worst,
        "workspace_bytes": all_engines[0].workspace_bytes,
        "rounds": len(ratios),
    }


def difference(all_engines):
    """How far mnnc is from ONNX Runtime, in units of 1e-4 + 1e-3 |reference|."""
    reference = next((e for e in all_engines if e.name == "onnxruntime"), None)
    if reference is None:
        return None
    worst = 0.0
    for ours, theirs in zip(all_engines[0].results(), reference.results()):
        assert ours.shape == theirs.shape, f"shape {ours.shape}, not {theirs.shape}"
        worst = max(worst, float(np.max(np.abs(ours - theirs) / (1e-4 + 1e-3 * np.abs(theirs)))))
    return worst


def measured_peak(args):
    """GFLOP/s of one core's multiply-add pipes, as mnnc measures it."""
    path = model_file("squeezenet1_1", args)
    out = subprocess.run([args.mnnc, "bench", path, "--runs", "5", "--json"], check=True, capture_output=True, text=True)
    result = json.loads(out.stdout)
    return result["gflops"] / result["peak_fraction"]


def flop_count(path, args):
    out = subprocess.run([args.mnnc, "inspect", path, "--json"], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)["flops"]


def cpu_name():
    with open("/proc/cpuinfo") as file:
        names = [l.split(":", 1)[1].strip() for l in file if l.startswith("model name")]
    return names[0] if names else platform.processor()


def line(row):
    times = "  ".join(f"{n} {t['min']:.2f}/{t['median']:.2f}" for n, t in row["times_ms"].items())
    spread = f"{row['ratio_p10']:.2f} to {row['ratio_p90']:.2f}"
    error = "" if row["worst_error_in_tolerances"] is None else f"  error {row['worst_error_in_tolerances']:.2f}"
    return f"{row['model']:<22} {times}  ratio {row['ratio']:.2f} ({spread})  {row['peak_fraction']:.0%} of peak{error}"


if __name__ == "__main__":
    main()
