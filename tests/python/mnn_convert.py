"""MNN's own converter and quantiser, many times.

    mnn_convert.py JOBS.json

JOBS.json is a list of {"tool": "mnnconvert" | "mnnquant", "args": [option], "folder": path}. Each runs in a process of its
own, because the converter aborts on what it cannot do, and in its folder, because it spills weights to a file of fixed
name where it runs. A line of JSON tells for each job the exit status and the tool's last words.
"""

import json
import subprocess
import sys

# Called below the wrapper scripts of MNN's package, which report every use to a server.
CONVERT = """
import sys
import _tools
getattr(_tools, sys.argv[1])(["mnnc-tests", *sys.argv[2:]])
"""


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        jobs = json.load(file)
    for number, job in enumerate(jobs):
        done = subprocess.run([sys.executable, "-c", CONVERT, job["tool"], *job["args"]], check=False, timeout=300,
                              cwd=job["folder"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace")
        words = (done.stdout.strip().splitlines() or [""])[-1]
        print(json.dumps({"job": number, "status": done.returncode, "words": words}), flush=True)


main()
