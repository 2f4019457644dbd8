"""The measurement of one table: each library alone, then all of them in rounds."""

import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from . import machine
from .cells import MEASURES, Cell
from .libraries import CEILING, LIBRARIES, OWN, REFERENCE
from .optimizers import OPTIMIZERS, MissingError
from .processes import Pool
from .rounds import Plan, Result, interleave
from .trees import TINY, TREES

TOLERANCE = 1e-5
"""Tolerance for parameters after three steps, relative to the largest change of a parameter."""
RESIDENT = 0.75
"""If all libraries together need a larger part of the free memory, each visit loads its arrays and frees them again."""
STATE = 16
"""Bytes per parameter of a session: parameter, gradient and two slots."""

ALONE, ALONE_SECONDS = 3, 2.0
"""The fewest visits of a library alone, and the seconds after which no more are started."""


class Skipped(list[str]):
    """The reasons for libraries and tables that are left out; each is printed once."""

    def __call__(self, text: str) -> None:
        if text not in self:
            self.append(text)
            print(text, flush=True)


def available() -> float:
    """The free bytes of memory."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * float(next(x.split()[1] for x in lines if x.startswith("MemAvailable")))
    except (OSError, StopIteration):
        return 8e9


def distances(optimizer: str, libraries: Collection[str], pool: Pool, skip: Skipped) -> dict[str, float]:
    """The distance of each library from Optax after three steps on a small tree, relative to the largest change.

    Raises: AssertionError for a library that should agree with Optax and does not.
    """
    results, start = {}, TINY.params()
    names = [n for n in LIBRARIES if n in {REFERENCE, *libraries}]
    for name, worker in pool.workers([*names, *[CEILING] * (optimizer == "adamw")]).items():
        try:
            results[name] = worker.call("steps", optimizer)
        except MissingError as reason:
            skip(f"{optimizer}: no {name}: {reason}")
    if REFERENCE not in results:
        return {}
    reference = results.pop(REFERENCE)
    length = max(np.abs(r - p).max() for r, p in zip(reference, start, strict=True))
    relative = {
        name: float(max(np.abs(x - r).max() for x, r in zip(xs, reference, strict=True)) / length)
        for name, xs in results.items()
    }
    for name, distance in relative.items():
        same_formula = OPTIMIZERS[optimizer].same_formula or name in OWN
        assert not same_formula or distance < TOLERANCE, f"{optimizer}: {name} is {distance:.1e} from {REFERENCE}"
    return relative


def measured(cell: Cell, libraries: Sequence[str], pool: Pool, plan: Plan, skip: Skipped) -> Iterator[Result]:
    """The results of one table.

    Raises: AssertionError if a form of this library does not reuse its buffers, or any library is retraced.
    """
    timed, tree, load = MEASURES[cell.measure].timed, TREES[cell.tree], machine.Load(pool)
    alone = dict(_alone(cell, libraries, pool, plan, skip)) if timed else {n: [] for n in libraries}
    workers, moved = pool.workers(list(alone)), {}
    resident = STATE * tree.size * len(workers) <= RESIDENT * available()
    for name, worker in workers.items():
        try:
            moved[name] = worker.call("load", cell, plan, resident).moved
        except MissingError as reason:
            skip(f"{cell.optimizer}: no {name}: {reason}")
    visits = {name: lambda w=workers[name]: w.call("visit") for name in moved}
    if timed:
        values = interleave(visits, plan)
        others = load.others()
        for name in moved:
            yield Result(*cell, name, "s", values[name], tree.size, moved[name], alone[name], others)
    else:
        for name, visit in visits.items():
            for what, (value, unit) in visit().items():
                yield Result(what, *cell[1:], name, unit, [value], tree.size)
    for name in moved:
        workers[name].call("unload")


def _alone(
    cell: Cell, libraries: Sequence[str], pool: Pool, plan: Plan, skip: Skipped
) -> Iterator[tuple[str, list[float]]]:
    """The values of a new process of each library, while no other process of this program runs."""
    for name, peer in pool.fresh(libraries):
        try:
            loaded = peer.call("load", cell, plan, True)
        except MissingError as reason:
            skip(f"{cell.optimizer}: no {name}: {reason}")
            continue
        except AssertionError as error:
            raise AssertionError(f"{cell}: {name}: {error}") from error
        if not loaded.reused:
            assert name not in OWN, f"{cell}: {name} did not reuse its buffers"
            skip(f"{cell}: {name} does not reuse its buffers")
        start, values = time.perf_counter(), list[float]()
        while len(values) < ALONE or (len(values) < plan.alone and time.perf_counter() - start < ALONE_SECONDS):
            values.append(peer.call("visit"))
        yield name, values
