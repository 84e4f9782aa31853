"""Times mnnc and other engines side by side: same model, same input, same threads, outputs compared first.

Each engine lives in a process of its own, pinned to the same processors, and is stopped while another one's turn lasts: no
engine's waiting threads take time from the next, and each one's memory can be told. A round gives every engine a turn, in an
order that rotates; the ratio is that of the fastest peer to mnnc, round by round, so that a drift of the machine's clock touches
both sides. Runs during which another process took one of the processors do not count; where hardly any run is
left alone all count, on one thread by the processor time that they took. The share of such runs is told. Prints tables and, with --json, writes every figure.
"""

import argparse
import json
import os
import platform
import sys
import time

import engines
import first_inference
import models
import report
import rounds
from worker_process import EngineFailed, WorkerProcess

def main():
    args = parse(sys.argv[1:])
    cpus = sorted(os.sched_getaffinity(0))
    if not 1 <= args.threads <= len(cpus):
        sys.exit(f"error: --threads must be 1 to {len(cpus)}, the processors that this process may use")
    os.sched_setaffinity(0, cpus[-args.threads :])
    os.makedirs(args.folder, exist_ok=True)
    mnnc = models.Mnnc(args.mnnc)
    about = {
        "cpu": cpu_name(),
        "threads": args.threads,
        "precision": args.precision,
        "isa": args.isa,
        "batch": args.batch,
        "seconds": args.seconds,
        "roofline": mnnc.roofline(),
    }
    about["peak_gflops"] = rounds.peak(about["roofline"]["peaks"], args.precision, args.isa) * args.threads
    rows = []
    for spec in args.models:
        try:
            model = models.resolve(spec, args, mnnc)
        except models.BadModel as error:
            print(f"{spec}: {error}", flush=True)
            continue
        row = compare(model, args, about["peak_gflops"])
        rows.append(row)
        print(report.line(row), flush=True)
    about.update(rounds.overall(rows))
    print("\n" + report.tables(rows, about))
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"about": about, "rows": rows}, file, indent=1)
    sys.exit(0 if rows else 1)


def parse(argv):
    parser = argparse.ArgumentParser(prog="benches/run", description=__doc__)
    parser.add_argument(
        "models",
        nargs="*",
        default=["zoo"],
        help="names of the zoo or .onnx files, with a picture size where wanted: resnet50@160x160; `zoo` for all of those that the"
        " README lists, `unlisted` for the networks of benches/python/networks, or one's name",
    )
    parser.add_argument("--mnnc", required=True, help="the mnnc binary")
    parser.add_argument("--folder", required=True, help="where compiled and converted models go")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=positive(int), default=1)
    parser.add_argument("--seconds", type=positive(float), default=6.0, help="measuring time for each model")
    parser.add_argument("--precision", choices=["fp32", "bf16", "int8"], default="fp32")
    parser.add_argument("--isa", choices=["avx2"], help="compare with engines that can be held to this instruction set")
    parser.add_argument("--peers", type=peers, default=None, help="some of: " + ", ".join(engines.PEERS))
    parser.add_argument("--twin", type=twin, action="append", default=[], metavar="NAME=FILE.tflite", help="TFLite form of a model")
    parser.add_argument("--options", default="", help="further options of mnnc compile")
    parser.add_argument("--json", help="file for all figures")
    args = parser.parse_args(argv)
    args.models = [name for word in args.models for name in models.SETS.get(word, [word])]
    args.peers = [p for p in args.peers or engines.PEERS if engines.can_compare(p, args.precision, args.isa)]
    args.twin = dict(args.twin)
    return args


def positive(kind):
    def number(text):
        value = kind(text)
        if not 0 < value < 1e6:
            raise ValueError
        return value

    return number


def peers(text):
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in engines.PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no peer is called {', '.join(unknown)}; there are {', '.join(engines.PEERS)}")
    return names


def twin(text):
    name, separator, file = text.partition("=")
    if not separator or not os.path.isfile(file):
        raise argparse.ArgumentTypeError(f"{text}: write NAME=FILE.tflite, with a file that exists")
    return name, file


def compare(model, args, peak_gflops):
    """Every figure of one model."""
    workers, failures = start(model, args)
    try:
        verdicts = rounds.verdicts(outputs(workers, failures), model.reference, args.precision)
        for worker in workers.values():
            worker.call("settle")
        times = interleave(workers, failures, args.seconds)
        memory = {name: worker.call("memory") for name, worker in workers.items() if name not in failures}
        notes = {name: worker.loaded["notes"] for name, worker in workers.items()}
        if args.precision == "bf16":
            for name in notes:
                if verdicts[name]["agrees"] and verdicts[name]["error"] < rounds.SAME["fp32"]:
                    notes[name] = ["computes in f32, by its error"]
        loaded = {name: worker.loaded for name, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.end()
    row = {
        "model": model.name,
        "inputs": {name: list(x.shape) for name, x in model.inputs.items()},
        "flops": model.flops,
        "failures": failures,
        "notes": notes,
        **rounds.summary(*rounds.undisturbed(times), verdicts, model.flops, peak_gflops),
        "memory": {name: rounds.memory(loaded[name]["memory"], figures) for name, figures in memory.items()},
        "workspace_bytes": loaded["mnnc"]["own_memory"].get("workspace_bytes") if "mnnc" in loaded else None,
    }
    if "mnnc" in loaded and args.threads == 1:
        row["first_inference"] = first_inference.measure(loaded["mnnc"]["library"], model)
    return row


def start(model, args):
    workers, failures = {}, {}
    for name in ["mnnc", *args.peers]:
        if name == "litert" and model.twin is None:
            continue
        worker = WorkerProcess(name, model, args)
        try:
            worker.load()
            workers[name] = worker
        except EngineFailed as error:  # A peer that cannot run the model does not stop the others.
            failures[name] = str(error)
            worker.end()
    return workers, failures


def outputs(workers, failures):
    found = {}
    for name, worker in list(workers.items()):
        try:
            found[name] = worker.outputs()
        except EngineFailed as error:
            failures[name] = str(error)
            workers.pop(name).end()
    return found


def interleave(workers, failures, seconds):
    """For each engine a list of rounds, each the times in ms of the runs that were alone and of those that were disturbed."""
    times = {name: [] for name in workers}
    order = list(workers)
    # A turn long enough for several runs of the slowest, short enough for a dozen rounds.
    turn = max(0.02, seconds / max(1, len(order)) / 15)
    deadline = time.perf_counter() + seconds
    while order and (time.perf_counter() < deadline or min(len(times[name]) for name in order) < 3):
        for name in list(order):
            try:
                found = workers[name].call("turn", seconds=turn)
                times[name].append({kind: [t / 1e6 for t in ns] for kind, ns in found.items()})
            except EngineFailed as error:
                failures[name] = str(error)
                order.remove(name)
                del times[name]
        order = order[1:] + order[:1]
    return times


def cpu_name():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
