"""Rounds: every library is measured once per round. Also the sessions, the plan and the results."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

Visit = Callable[[], float]


class Session(Protocol):
    """One library, optimizer and tree. `load` puts parameters, state and gradients on the device, `unload` frees them.

    moved: the bytes that one step moves, for sessions that measure bandwidth.
    """

    moved: int | None

    def load(self) -> None: ...
    def unload(self) -> None: ...
    def step(self) -> None: ...
    def wait(self) -> None: ...
    def parameters(self) -> list[np.ndarray]: ...
    def buffers(self) -> list[Any]: ...
    def reused(self, before: list[Any]) -> bool: ...
    def compilations(self) -> int: ...


@dataclass(frozen=True)
class Plan:
    """The number of rounds, the maximal seconds for the rounds of one table, the seconds per visit, the largest
    number of visits of each library alone, and the seed of the order."""

    rounds: int = 12
    seconds: float = 300.0
    visit: float = 0.1
    alone: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Loaded:
    """A cell that is ready for visits: whether its steps reuse their buffers, and the bytes that one step moves."""

    reused: bool
    moved: int | None


@dataclass
class Result:
    """The values of one library, one per round.

    moved: the number of bytes that one step moves, where measured.
    alone: the values of a process of this library when no other process runs.
    others: the processors that other programs used during the measurement of the table, on average.
    """

    measure: str
    tree: str
    optimizer: str
    library: str
    unit: str
    values: list[float] = field(default_factory=list)
    parameters: int = 0
    moved: int | None = None
    alone: list[float] = field(default_factory=list)
    others: float = 0.0

    @property
    def cell(self) -> tuple[str, str, str]:
        return self.measure, self.tree, self.optimizer


def interleave(visits: Mapping[str, Visit], plan: Plan) -> dict[str, list[float]]:
    """Call every visit once per round, in random order, until the rounds or the seconds are used up."""
    rng = np.random.default_rng(plan.seed)
    values: dict[str, list[float]] = {name: [] for name in visits}
    start = time.perf_counter()
    for done in range(plan.rounds):
        if done and time.perf_counter() - start > plan.seconds:
            break
        for i in rng.permutation(len(visits)):
            name = list(visits)[i]
            values[name].append(visits[name]())
    return values
