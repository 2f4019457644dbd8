"""Rounds: every library is measured once per round. Also the sessions, the plan and the results."""

import gc
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


@dataclass(frozen=True)
class Plan:
    """The maximal number of rounds, the seconds per table, the seconds per visit, and the seed of the order."""

    rounds: int = 30
    seconds: float = 30.0
    visit: float = 0.05
    seed: int = 0


@dataclass
class Result:
    """The values of one library, one per round; `moved` is the number of bytes that one step moves, where measured."""

    measure: str
    tree: str
    optimizer: str
    library: str
    unit: str
    values: list[float] = field(default_factory=list)
    parameters: int = 0
    moved: int | None = None


def interleave(visits: Mapping[str, Visit], plan: Plan) -> dict[str, list[float]]:
    """Call every visit once per round, in random order, until the rounds or the seconds are used up."""
    rng = np.random.default_rng(plan.seed)
    values: dict[str, list[float]] = {name: [] for name in visits}
    gc.collect()
    gc.freeze()  # otherwise every collection scans all imported modules
    start = time.perf_counter()
    for done in range(plan.rounds):
        if done >= 3 and time.perf_counter() - start > plan.seconds:
            break
        for i in rng.permutation(len(visits)):
            name = list(visits)[i]
            gc.disable()
            try:
                values[name].append(visits[name]())
            finally:
                gc.enable()
                gc.collect()
    gc.unfreeze()
    return values
