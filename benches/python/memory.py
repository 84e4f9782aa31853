"""What the system says about this process's memory, in bytes."""

import ctypes

FIELDS = {"VmRSS": "resident", "VmHWM": "peak_resident", "RssAnon": "anonymous", "RssFile": "file"}


def parse(status):
    """The fields of /proc/PID/status that matter here."""
    figures = {}
    for line in status.splitlines():
        key, _, value = line.partition(":")
        if key in FIELDS:
            figures[FIELDS[key]] = int(value.split()[0]) * 1024
    return figures


def now():
    with open("/proc/self/status") as file:
        return parse(file.read())


def settled():
    """As [now], once the allocator has given back what loading left over: else running would seem to need less."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return now()


def forget_peak():
    """Makes the peak begin anew."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass  # The peak then includes loading.
