"""The processes of the libraries. Only the one whose turn it is runs; all others are stopped.

A library's threads wait for each other in loops, which takes time from whatever is measured next. A stopped process has
no running threads, whatever their settings, so that every library runs with the settings that its users have.
"""

import contextlib
import itertools
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from .optimizers import MissingError
from .trees import FOLDER
from .worker import FAILED, MISSING, WRONG

ROOT = Path(__file__).parents[1]
PATIENCE = 10.0
"""Seconds that a process has to end."""


class WorkerError(Exception):
    """The process of a library failed or ended."""


class Peer(Protocol):
    """A worker, in a process of its own or not."""

    pid: int

    def ready(self) -> None: ...
    def call(self, method: str, *arguments: Any) -> Any: ...
    def close(self) -> None: ...


class Process:
    """The process of one library. It runs during a call only."""

    def __init__(self, library: str, platform: str, folder: Path | None = None, cached: bool = True) -> None:
        """Start the process; `ready` waits for it.

        folder: for arrays that the processes share and, if `cached`, for compiled programs.
        """
        self.library = library
        env = dict(os.environ)
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
        if folder is not None:
            env[FOLDER] = str(folder)
            if cached:
                env["JAX_COMPILATION_CACHE_DIR"] = str(folder / "programs")
                env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
                env["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
        command = [sys.executable, "-m", "benchmarks.worker", library, platform]
        self._process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid, self._is_ready = self._process.pid, False

    def ready(self) -> None:
        """Wait until the library is imported, then stop."""
        if not self._is_ready:
            self._answer()
            self._is_ready = True

    def call(self, method: str, *arguments: Any) -> Any:
        """Continue the process, let it run a method of `Worker`, and stop it again.

        Raises: MissingError if the library has no such thing; AssertionError if a check failed; WorkerError.
        """
        self.ready()
        self._process.send_signal(signal.SIGCONT)
        try:
            pickle.dump((method, arguments), self._in)
            self._in.flush()
        except BrokenPipeError:
            raise self._ended() from None
        kind, value = self._answer()
        if kind == MISSING:
            raise MissingError(value)
        if kind == WRONG:
            raise AssertionError(value)
        if kind == FAILED:
            raise WorkerError(f"{self.library} failed:\n{value}")
        return value

    def close(self) -> None:
        """End the process."""
        self._process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):
            self._in.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._out.close()

    def _answer(self) -> tuple[str, Any]:
        try:
            message: tuple[str, Any] = pickle.load(self._out)
        except (EOFError, pickle.UnpicklingError):
            raise self._ended() from None
        self._process.send_signal(signal.SIGSTOP)
        return message

    def _ended(self) -> WorkerError:
        return WorkerError(f"the process of {self.library} ended with status {self._process.wait()}")

    @property
    def _in(self) -> Any:
        return self._process.stdin

    @property
    def _out(self) -> Any:
        return self._process.stdout


class Pool:
    """One worker for each library, started when it is first needed, and fresh ones for the times alone."""

    def __init__(self, start: Callable[[str], Peer]) -> None:
        self.start = start
        self._workers: dict[str, Peer] = {}

    def workers(self, libraries: Sequence[str]) -> dict[str, Peer]:
        """The workers that stay."""
        missing = [n for n in libraries if n not in self._workers]
        for batch in _batches(missing):
            self._workers |= {n: self.start(n) for n in batch}
            for n in batch:
                self._workers[n].ready()
        return {n: self._workers[n] for n in libraries}

    def fresh(self, libraries: Sequence[str]) -> Iterator[tuple[str, Peer]]:
        """A new worker for each library. As many as there are cores start together; they are used one by one."""
        for batch in _batches(libraries):
            peers = {n: self.start(n) for n in batch}
            try:
                for peer in peers.values():
                    peer.ready()
                for n in batch:
                    yield n, peers[n]
                    peers.pop(n).close()
            finally:
                for peer in peers.values():
                    peer.close()

    def pids(self) -> list[int]:
        return [peer.pid for peer in self._workers.values()]

    def close(self) -> None:
        """End all workers; later ones are new."""
        while self._workers:
            self._workers.popitem()[1].close()


def _batches(libraries: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(libraries)
    while batch := list(itertools.islice(rest, os.cpu_count() or 1)):
        yield batch
