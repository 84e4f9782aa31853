"""The parent's side of an engine's process."""

import json
import os
import select
import signal
import subprocess
import sys

import numpy as np

import engines

HERE = os.path.dirname(os.path.abspath(__file__))
# Converting, loading and one turn take seconds; past this an engine hangs.
PATIENCE = 900


class EngineFailed(Exception):
    """What an engine said when it could not go on."""


class WorkerProcess:
    """An engine in a process that runs only during its turn, and is stopped, with all its threads, in between."""

    def __init__(self, engine, model, args):
        self.engine = engine
        stem = os.path.join(args.folder, f"{model.stem}.{engine}")
        self.results, self.log = stem + ".npz", stem + ".log"
        inputs = stem + ".inputs.npz"
        np.savez(inputs, *model.inputs.values())
        self.job = {
            "engine": engine,
            "model": os.path.abspath(model.path),
            "source": os.path.abspath(model.source),
            "stem": model.stem,
            "folder": os.path.abspath(args.folder),
            "inputs": os.path.abspath(inputs),
            "input_names": list(model.inputs),
            "shape_options": model.shape_options,
            "twin": model.twin and os.path.abspath(model.twin),
            "threads": args.threads,
            "batch": args.batch,
            "precision": args.precision,
            "isa": args.isa,
            "mnnc": os.path.abspath(args.mnnc),
            "options": args.options.split(),
            "results": os.path.abspath(self.results),
        }
        here, there = os.pipe()
        environment = {**os.environ, **engines.environment(engine, args.threads, args.isa)}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, os.path.join(HERE, "worker.py"), str(there)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[there],
                env=environment,
            )
        os.close(there)
        self.answers = os.fdopen(here, "rb")
        self.stop()

    def load(self):
        self.loaded = self.call("load", job=self.job)

    def outputs(self):
        self.call("outputs")
        with np.load(self.results) as file:
            return [file[key] for key in file.files]

    def call(self, command, **words):
        """Lets the process go on until it has answered."""
        os.kill(self.process.pid, signal.SIGCONT)
        try:
            self.process.stdin.write((json.dumps({"command": command, **words}) + "\n").encode())
            self.process.stdin.flush()
            if not select.select([self.answers], [], [], PATIENCE)[0]:
                raise EngineFailed(f"no answer to `{command}` within {PATIENCE} s")
            line = self.answers.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise EngineFailed(f"ended during `{command}`: {self.last_words()}")
        self.stop()
        answer = json.loads(line)
        if "error" in answer:
            raise EngineFailed(answer["error"])
        return answer["result"]

    def stop(self):
        """Stops all threads of the process, and waits until they are."""
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def last_words(self):
        with open(self.log, errors="replace") as log:
            lines = [line.strip() for line in log if line.strip()]
        return lines[-1] if lines else "it said nothing"

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.answers.close()
