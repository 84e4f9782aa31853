"""Tables for people."""

MIB = 1024 * 1024


def line(row):
    """One model, as soon as it is measured."""
    times = "  ".join(f"{name} {ms(t['min'])}/{ms(t['median'])}" for name, t in row["times_ms"].items())
    parts = [f"{row['model']:<22} {times}"]
    if "ratio" in row:
        parts.append(f"ratio {ratio(row)}")
    if max(row["disturbed"].values(), default=0) > 0.1:
        parts.append(f"({max(row['disturbed'].values()):.0%} of an engine's runs disturbed)")
    for name, reason in row["failures"].items():
        parts.append(f"\n    {name} failed: {reason}")
    for name, verdict in row["verdicts"].items():
        if not verdict["agrees"]:
            parts.append(f"\n    {name} is not ranked: {verdict['reason']}")
    for name, notes in row["notes"].items():
        parts += [f"\n    {name}: {note}" for note in notes]
    return "  ".join(parts)


def tables(rows, about):
    engines = list(dict.fromkeys(name for row in rows for name in row["times_ms"]))
    held = f", held to {about['isa']}" if about["isa"] else ""
    threads = "1 thread" if about["threads"] == 1 else f"{about['threads']} threads"
    head = f"{about['cpu']}: {about['precision']}{held}, {threads}, batch {about['batch']}"
    parts = [
        f"{head}; ms, minimum / median; peak {about['peak_gflops']:.0f} GFLOP/s",
        speed(rows, engines),
        means(about),
        "Memory, MiB: most that is resident while loading / while running, less a bare interpreter's; (activations, estimated)",
        memory(rows, engines),
    ]
    if any("first_inference" in row for row in rows):
        parts += ["First inference of a freshly loaded library, ms", first(rows)]
    return "\n\n".join(part for part in parts if part)


def speed(rows, engines):
    lines = [["network", *engines, "best peer", "best peer / mnnc (10 to 90 %)", "of minima", "of peak", "error"]]
    for row in rows:
        times = [time(row, name) for name in engines]
        error = row["verdicts"].get("mnnc", {}).get("error")
        lines.append(
            [
                row["model"],
                *times,
                row.get("best_peer", ""),
                ratio(row) if "ratio" in row else "",
                f"{row['ratio_of_minima']:.2f}" if "ratio_of_minima" in row else "",
                f"{row['peak_fraction']:.0%}" if "peak_fraction" in row else "",
                "" if error is None else f"{error:.0e}",
            ]
        )
    return aligned(lines)


def time(row, name):
    if name not in row["times_ms"]:
        return "failed" if name in row["failures"] else ""
    t = row["times_ms"][name]
    return f"{ms(t['min'])} / {ms(t['median'])}" + ("" if row["verdicts"][name]["agrees"] else " (differs)")


def ms(value):
    """Three figures or more."""
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def ratio(row):
    return f"{row['ratio']:.2f} ({row['ratio_p10']:.2f} to {row['ratio_p90']:.2f})"


def means(about):
    if "geometric_mean_ratio" not in about:
        return ""
    return (
        f"geometric mean {about['geometric_mean_ratio']:.3f}, least {about['least_ratio']:.3f}; "
        f"of minima {about['geometric_mean_ratio_of_minima']:.3f}, least {about['least_ratio_of_minima']:.3f}"
    )


def memory(rows, engines):
    lines = [["network", "workspace", *engines]]
    for row in rows:
        workspace = row["workspace_bytes"]
        cells = [figures(row["memory"].get(name)) for name in engines]
        lines.append([row["model"], "" if workspace is None else f"{workspace / MIB:.2f}", *cells])
    return aligned(lines)


def figures(m):
    if m is None:
        return ""
    net = lambda key: (m[key] - m["interpreter"]) / MIB
    return f"{net('peak_loading'):.0f} / {net('peak_running'):.0f} ({m['activations'] / MIB:.1f})"


def first(rows):
    lines = [["network", "load", "first", "warm", "first / warm"]]
    for row in rows:
        f = row.get("first_inference")
        if f is None or "error" in f:
            lines.append([row["model"], "", "", "", (f or {}).get("error", "")])
        else:
            lines.append([row["model"], *(ms(f[k]) for k in ("load_ms", "first_ms", "warm_ms")), f"{f['ratio']:.2f}"])
    return aligned(lines)


def aligned(lines):
    """Columns of equal width, figures to the right."""
    widths = [max(len(line[c]) for line in lines) for c in range(len(lines[0]))]
    pad = lambda c, cell: cell.ljust(widths[c]) if c == 0 else cell.rjust(widths[c])
    return "\n".join("  ".join(pad(c, cell) for c, cell in enumerate(line)).rstrip() for line in lines)
