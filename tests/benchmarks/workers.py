"""Workers without processes."""

import os

from benchmarks import worker
from benchmarks.optimizers import MissingError
from benchmarks.rounds import Loaded
from benchmarks.trees import TINY


class Local:
    """The worker of a library, in this process."""

    def __init__(self, library, *_):
        self.worker, self.pid = worker.Worker(library), os.getpid()

    def ready(self):
        self.worker.prepare()

    def call(self, method, *arguments):
        kind, value = worker.answer(self.worker, method, arguments)
        if kind == worker.VALUE:
            return value
        raise {worker.MISSING: MissingError, worker.WRONG: AssertionError}.get(kind, RuntimeError)(value)

    def close(self):
        self.worker.unload()


class Fake:
    """Makes workers that answer without a library.

    rounds, alone: the seconds of the nth visit of a library, in a worker that stays and in a fresh one.
    log: what every worker was asked, in order.
    """

    def __init__(self, rounds=lambda library, visit: 1.0, alone=lambda library, visit: 1.0):
        self.rounds, self.alone, self.log = rounds, alone, []

    def __call__(self, library, *_):
        return _FakePeer(self, library)


class _FakePeer:
    pid = 0

    def __init__(self, made, library):
        self.made, self.library, self.visits, self.open, self.stays = made, library, 0, True, False

    def ready(self):
        pass

    def call(self, method, *arguments):
        assert self.open
        self.made.log.append((self.library, self, method))
        if method == "device":
            return "cpu", "abacus"
        if method == "steps":
            self.stays = True  # fresh workers are never asked
            return [p + 1 for p in TINY.params()]
        if method == "load":
            return Loaded(reused=True, moved=None)
        if method == "visit":
            self.visits += 1
            return (self.made.rounds if self.stays else self.made.alone)(self.library, self.visits)
        return None

    def close(self):
        self.open = False
