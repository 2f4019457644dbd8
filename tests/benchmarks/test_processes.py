"""Each library in a process of its own, of which only the one whose turn it is runs."""

import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.cells import Cell
from benchmarks.libraries import CEILING
from benchmarks.machine import Load, cpu_seconds
from benchmarks.processes import ROOT, Pool, Process, WorkerError
from benchmarks.rounds import Plan
from benchmarks.trees import TINY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
STEP = Cell("step", "tiny", "adamw")
SPINNING = "import threading\ndef spin():\n while True: pass\nthreading.Thread(target=spin, daemon=True).start()\n"
"""A thread that waits in a loop, as those of PyTorch do. The file's name makes Python import it at start-up."""


@pytest.fixture
def process(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(SPINNING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = Process(CEILING, "cpu")
    yield process
    process.close()


def test_an_idle_process_uses_no_processor(process):
    process.ready()
    seconds = []
    for _ in range(2):
        time.sleep(0.05)  # until the signal has arrived
        before = cpu_seconds(process.pid)
        time.sleep(0.3)
        seconds.append(cpu_seconds(process.pid) - before)
        assert process.call("load", STEP, Plan(visit=0.05), True).moved == 28 * TINY.size
        assert 0 < process.call("visit") < 1
    assert seconds == [0, 0]
    assert cpu_seconds(process.pid) > before, "it does run when it is called"
    with pytest.raises(WorkerError, match=r"(?s)ceiling failed:.*no such"):
        process.call("load", STEP._replace(tree="no such"), Plan(), True)
    process._process.kill()
    with pytest.raises(WorkerError, match="the process of ceiling ended with status -9"):
        process.call("visit")


def test_processes_of_other_libraries_do_not_load_jax():
    code = "import sys, benchmarks.worker, benchmarks.pytorch, benchmarks.ceiling; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


class Peer:
    pid = 0

    def __init__(self, library, log):
        self.library, self.log = library, log
        log.append(("start", library))

    def ready(self):
        self.log.append(("ready", self.library))

    def close(self):
        self.log.append(("close", self.library))


def test_fresh_workers_are_used_one_by_one_and_closed():
    log = []
    pool = Pool(lambda library: Peer(library, log))
    (stays,) = pool.workers(["a"]).values()
    assert pool.workers(["a"])["a"] is stays
    for library, peer in pool.fresh("ab"):
        assert peer is not stays
        log.append(("use", library))
    assert [x for x in log if x[0] in ("use", "close")] == [(w, n) for n in "ab" for w in ("use", "close")]
    fresh = pool.fresh("cd")
    next(fresh)
    fresh.close()
    pool.close()
    assert sorted(n for w, n in log if w == "start") == sorted(n for w, n in log if w == "close")


def test_processor_time_of_others_is_counted():
    """A child that this process has not waited for counts as another program."""
    load = Load(Pool(Process))
    code = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.4: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert load.others() * (time.perf_counter() - load.start) > 0.35
        load.own = type("Own", (), {"pids": staticmethod(lambda: [child.pid])})
        counted = load._foreign()
        load.own = type("Own", (), {"pids": staticmethod(list)})
        np.testing.assert_array_less(0.35, load._foreign() - counted)
        child.stdin.close()
