"""The process of one library: it loads a cell, visits it and unloads it, as the parent says (see processes.py).

    python -m benchmarks.worker LIBRARY PLATFORM

Messages are pickles: (method, arguments) on the standard input, (kind, value) on the standard output. The process
ends with its input.
"""

import contextlib
import ctypes
import gc
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from . import libraries, measures
from .cells import Cell
from .optimizers import OPTIMIZERS, MissingError
from .rounds import Loaded, Plan
from .trees import TINY, TREES

READY, VALUE, MISSING, WRONG, FAILED = "ready", "value", "missing", "wrong", "failed"
"""The kinds of answers."""


class Worker:
    """What the process of a library does; also usable without a process."""

    def __init__(self, library: str, platform: str = "cpu") -> None:
        self.library, self.platform = library, platform
        self.session: Any = None
        self.take: Callable[[], Any] | None = None

    def prepare(self) -> None:
        """Import the library."""
        with contextlib.suppress(MissingError):  # the reason is given when a cell is loaded
            libraries.adapters(self.library)[self.library].library()

    def device(self) -> tuple[str, str]:
        """JAX's platform and the kind of its device."""
        import jax

        return jax.default_backend(), jax.devices()[0].device_kind

    def steps(self, optimizer: str) -> list[np.ndarray]:
        """The parameters of a small tree after three steps of size one."""
        session = libraries.session(self.library, OPTIMIZERS[optimizer], TINY, rate=1.0, platform=self.platform)
        session.load()
        for _ in range(3):
            session.step()
        session.wait()
        return session.parameters()

    def load(self, cell: Cell, plan: Plan, resident: bool) -> Loaded:
        """Prepare the visits of a cell. Its arrays stay on the device between them if `resident`."""
        session = libraries.session(
            self.library,
            OPTIMIZERS[cell.optimizer],
            TREES[cell.tree],
            train=cell.measure == "train",
            platform=self.platform,
        )
        session.load()
        reused = cell.measure not in measures.STEPS or measures.check(session)
        visit = measures.PREPARE[cell.measure](session, plan)
        with_arrays = cell.measure in measures.STEPS or cell.measure == "eager"
        if not (resident and with_arrays):
            session.unload()

        def load_and_visit() -> Any:
            session.load()
            value = visit()
            session.unload()
            return value

        self.session, self.take = session, load_and_visit if with_arrays and not resident else visit
        gc.collect()
        gc.freeze()
        return Loaded(reused, session.moved)

    def visit(self) -> Any:
        """The value of one visit of the loaded cell."""
        assert self.take is not None, "no cell is loaded"
        return measures.undisturbed(self.take)

    def unload(self) -> None:
        """Free the arrays and programs of the cell."""
        if self.session is not None:
            self.session.unload()
            if hasattr(self.session, "forget"):
                self.session.forget()
        self.session = self.take = None
        gc.unfreeze()
        gc.collect()


def answer(worker: Worker, method: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return VALUE, getattr(worker, method)(*arguments)
    except MissingError as reason:
        return MISSING, str(reason)
    except AssertionError as error:
        return WRONG, str(error)
    except Exception:
        return FAILED, traceback.format_exc()


def serve(worker: Worker) -> None:
    """Answer messages until the input ends. What libraries print goes to the error output."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _end_with_parent()
    worker.prepare()
    message: tuple[str, Any] = (READY, None)
    while True:
        pickle.dump(message, answers)
        answers.flush()
        try:
            method, arguments = pickle.load(requests)
        except EOFError:
            return
        message = answer(worker, method, arguments)


def _end_with_parent() -> None:
    """On Linux, end when the parent is killed: a stopped process would not read the end of its input."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


if __name__ == "__main__":
    serve(Worker(*sys.argv[1:]))
