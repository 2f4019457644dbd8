"""The machine: what it is, and what else runs on it."""

import datetime
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Protocol

from .libraries import PLAIN

PACKAGES = ("optim", "jax", "jaxlib", "numpy", "optax", "keras", "torch")
PLATFORM = "JAX runs on"


def about(device: tuple[str, str], imports: bool = True) -> dict[str, str]:
    """The date, the machine without its name, and the versions.

    device: JAX's platform and device kind.
    imports: whether to measure the time to import this library.
    """
    facts = {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "CPU": _cpu()}
    facts["cores"] = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    facts[PLATFORM] = ", ".join(device)
    facts["Python"] = platform.python_version()
    if imports:
        facts["import optim"] = f"{_import_seconds():.2f} s after jax and chex"
    for name in PACKAGES:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = "this checkout" if name == PLAIN else "none"
    return facts


def _import_seconds() -> float:
    """The median of three imports, each in a new process, with bytecode cached by an earlier import."""
    code = "import time, jax, jax.numpy, chex; t = time.perf_counter(); import optim; print(time.perf_counter() - t)"
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        runs = [subprocess.check_output([sys.executable, "-c", code], env=env, text=True) for _ in range(4)]
    return statistics.median(map(float, runs[1:]))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), platform.machine())


# What else runs


class HasPids(Protocol):
    def pids(self) -> list[int]: ...


class Load:
    """The processor time that other programs use from now on. It is 0 where Linux does not say."""

    def __init__(self, own: HasPids) -> None:
        self.own = own
        self.start, self.before = time.perf_counter(), self._foreign()

    def others(self) -> float:
        """Processors in use by others since the start, on average."""
        return max(0.0, self._foreign() - self.before) / (time.perf_counter() - self.start)

    def _foreign(self) -> float:
        """Busy seconds of all processors without those of this process and its children."""
        try:
            line = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        except OSError:
            return 0.0
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(x) for x in line)
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return busy - sum(os.times()[:4]) - sum(map(cpu_seconds, self.own.pids()))


def cpu_seconds(pid: int) -> float:
    """The processor time of a process so far, in steps of 10 ms."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
