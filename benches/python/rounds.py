"""What follows from the times: which engines count, how much faster one is than another, what the machine could do."""

import math
import statistics

import numpy as np

# An engine whose outputs are further than this from ONNX Runtime's, as a share of their Euclidean norm, computes something else.
# bf16 keeps 8 bits, 2^-9 of rounding in every layer: deep networks with random weights come to a few percent.
# In int8 a value that falls on the other side of a rounding is a whole step off, and an engine that brings its own quantiser has other
# scales; what would be another network is off by more than its norm.
SAME = {"fp32": 1e-3, "bf16": 1e-1, "int8": 0.5}


def verdicts(outputs, reference, precision):
    """For each engine how far it is from ONNX Runtime, and whether that is near enough to be ranked.

    `error` is relative in the Euclidean norm; `tolerances` is the worst element, in units of 1e-4 + 1e-3 |reference|.
    """
    return {name: verdict(found, reference, precision) for name, found in outputs.items()}


def verdict(found, reference, precision):
    if len(found) != len(reference):
        return {"agrees": False, "reason": f"{len(found)} outputs, not {len(reference)}"}
    error = tolerances = 0.0
    for ours, theirs in zip(found, reference):
        if ours.size != theirs.size:
            return {"agrees": False, "reason": f"shape {list(ours.shape)}, not {list(theirs.shape)}"}
        ours, theirs = ours.astype(np.float64).reshape(theirs.shape), theirs.astype(np.float64)
        difference = np.abs(ours - theirs)
        if not np.all(np.isfinite(difference)):
            return {"agrees": False, "reason": "not finite"}
        norm = float(np.linalg.norm(theirs))
        error = max(error, float(np.linalg.norm(difference)) / max(norm, 1e-30))
        tolerances = max(tolerances, float(np.max(difference / (1e-4 + 1e-3 * np.abs(theirs)), initial=0.0)))
    result = {"agrees": error <= SAME[precision], "error": error, "tolerances": tolerances}
    if not result["agrees"]:
        result["reason"] = f"outputs are off by {error:.1e} of their norm"
    return result


# Where fewer than this share of an engine's runs were alone, all runs of all engines count: the machine is busy, or an engine
# disturbs itself with more threads than processors.
ALONE = 0.2


def undisturbed(times):
    """For each engine its rounds as lists of times that count, empty where all of a round was disturbed; and the share that
    was disturbed."""
    count = lambda turns, kind: sum(len(turn[kind]) for turn in turns)
    alone = {name: count(turns, "alone") / (count(turns, "alone") + count(turns, "disturbed")) for name, turns in times.items()}
    is_busy = any(share < ALONE for share in alone.values())
    kinds = ("alone", "disturbed") if is_busy else ("alone",)
    counted = {name: [sum((turn[kind] for kind in kinds), []) for turn in turns] for name, turns in times.items()}
    return counted, {name: 1 - share for name, share in alone.items()}


def summary(times, disturbed, verdicts, flops, peak_gflops):
    """Figures of one model; `times[engine]` is a list of rounds, each a list of times in ms."""
    flat = {name: [t for turn in turns for t in turn] for name, turns in times.items()}
    row = {
        "times_ms": {name: {"min": min(t), "median": statistics.median(t)} for name, t in flat.items()},
        "rounds": max((len(turns) for turns in times.values()), default=0),
        "disturbed": disturbed,
        "verdicts": verdicts,
    }
    if "mnnc" in times:
        gflops = flops / (row["times_ms"]["mnnc"]["min"] * 1e6)
        row |= {"gflops": gflops, "peak_fraction": gflops / peak_gflops}
    rivals = [name for name in times if name != "mnnc" and verdicts[name]["agrees"]]
    if rivals:
        row["best_peer"] = min(rivals, key=lambda name: row["times_ms"][name]["median"])
        row["best_peer_by_min"] = min(rivals, key=lambda name: row["times_ms"][name]["min"])
    if rivals and "mnnc" in times and verdicts["mnnc"]["agrees"]:
        row |= ratio(times["mnnc"], times[row["best_peer"]])
        row["ratio_of_minima"] = row["times_ms"][row["best_peer_by_min"]]["min"] / row["times_ms"]["mnnc"]["min"]
    return row


def ratio(ours, theirs):
    """The peer's time over mnnc's, both the median of a turn, round by round."""
    ratios = sorted(statistics.median(b) / statistics.median(a) for a, b in zip(ours, theirs) if a and b)
    if not ratios:  # No round in which both had a run to themselves.
        ratios = [statistics.median(sum(theirs, [])) / statistics.median(sum(ours, []))]
    return {"ratio": statistics.median(ratios), "ratio_p10": quantile(ratios, 0.1), "ratio_p90": quantile(ratios, 0.9)}


def quantile(ascending, q):
    """Nearest rank."""
    return ascending[min(len(ascending) - 1, max(0, math.ceil(q * len(ascending)) - 1))]


def overall(rows):
    """Geometric mean and least ratio over the models that have one."""
    found = {}
    for key in ("ratio", "ratio_of_minima"):
        ratios = [row[key] for row in rows if key in row]
        if ratios:
            found[f"geometric_mean_{key}"] = math.exp(statistics.fmean(map(math.log, ratios)))
            found[f"least_{key}"] = min(ratios)
    return found


def peak(peaks, precision, isa):
    """GFLOP/s of one core with the instructions that may be used; `peaks` as `mnnc roofline --json` lists them."""
    fits = lambda p: p["type"] == {"fp32": "f32", "bf16": "bf16", "int8": "int8"}[precision] and (isa is None or p["isa"] == isa)
    found = [p["gflops"] for p in peaks if fits(p)] or [p["gflops"] for p in peaks if p["type"] == "f32"]
    return max(found)


def memory(at_load, at_end):
    """Bytes of one engine's process; `activations` is an estimate.

    It is the anonymous memory that the first two runs added to what loading had left: buffers that are filled only when the model
    runs. Weights lie in memory before that (or, mnnc's, in pages of a file, which do not count).
    """
    bare, loaded, runs = at_load["bare"], at_load["loaded"], at_end["first_runs"]
    return {
        "interpreter": bare["resident"],
        "loaded": loaded["resident"],
        "peak_loading": loaded["peak_resident"],
        "running": at_end["end"]["resident"],
        "peak_running": runs["peak_resident"],
        "activations": max(0, runs["anonymous"] - loaded["anonymous"]),
        "own": at_end["own"],
    }
