"""One engine in one process: reads commands as lines of JSON, answers each with one line on the file descriptor that is named."""

import gc
import json
import os
import resource
import sys
import time

import numpy as np

import engines
import memory

# Runs before those that are timed: the caches still hold another engine's data, and its threads are asleep.
WARM_UP = 2


def involuntary_switches():
    """How often any thread of this process had to leave its processor to another."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


class Worker:
    def load(self, job):
        self.job = job
        bare = memory.now()
        with np.load(job["inputs"]) as file:
            self.inputs = {name: np.ascontiguousarray(file[key]) for name, key in zip(job["input_names"], file.files)}
        self.engine = engines.make(job, self.inputs)
        loaded = memory.settled()
        gc.collect()
        gc.freeze()
        gc.disable()
        return {
            "memory": {"bare": bare, "loaded": loaded},
            "notes": self.engine.notes,
            "own_memory": self.engine.own_memory(),
            "library": getattr(self.engine, "library_file", None),
        }

    def outputs(self):
        memory.forget_peak()
        self.engine.run()
        # How much more memory running takes is told by the first runs: later ones take no more.
        self.engine.run()
        self.first_runs = memory.now()
        np.savez(self.job["results"], *[np.asarray(x) for x in self.engine.outputs()])

    def settle(self):
        """One more run, so that nothing of what came before is left for the first turn."""
        self.engine.run()

    def turn(self, seconds):
        """Times in ns: of the runs that nobody disturbed, and of those during which another process got one of our processors.

        On one thread the latter are processor time, which leaves out what the other process took.
        """
        run, clock, processor = self.engine.run, time.perf_counter_ns, time.process_time_ns
        is_single = self.job["threads"] == 1
        for _ in range(WARM_UP):
            run()
        times = {"alone": [], "disturbed": []}
        end = clock() + int(seconds * 1e9)
        runs = 0
        while clock() < end or runs < 3:
            switches = involuntary_switches()
            busy = processor()
            start = clock()
            run()
            took = clock() - start
            busy = processor() - busy
            if involuntary_switches() == switches:
                times["alone"].append(took)
            else:
                times["disturbed"].append(min(took, busy) if is_single else took)
            runs += 1
        return times

    def memory(self):
        return {"first_runs": self.first_runs, "end": memory.now(), "own": self.engine.own_memory()}


def main():
    answers = os.fdopen(int(sys.argv[1]), "w")
    worker = Worker()
    for line in sys.stdin:
        words = json.loads(line)
        try:
            answer = {"result": getattr(worker, words.pop("command"))(**words)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".strip().splitlines()[0]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
