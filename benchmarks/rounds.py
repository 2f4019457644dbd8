"""Every library in turn, round after round, and what is kept of it."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

Visit = Callable[[], float]


class Session(Protocol):
    """One library, optimizer and tree. `load` puts parameters, state and gradients on the device, `unload` frees them.

    moved: the bytes a step moves, where that is what it is for.
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
    """How often and how long: rounds at most, seconds for one table, seconds for one visit, the order's seed."""

    rounds: int = 30
    seconds: float = 30.0
    visit: float = 0.05
    seed: int = 0


@dataclass
class Result:
    """One library's values, one per round; `moved` are the bytes that one step of the ceiling moves."""

    measure: str
    tree: str
    optimizer: str
    library: str
    unit: str
    values: list[float] = field(default_factory=list)
    parameters: int = 0
    moved: int | None = None


def interleave(visits: Mapping[str, Visit], plan: Plan) -> dict[str, list[float]]:
    """Visit everyone once a round, each round in another order, until the rounds or the seconds are over."""
    rng = np.random.default_rng(plan.seed)
    found: dict[str, list[float]] = {name: [] for name in visits}
    gc.collect()
    gc.freeze()  # else every collection walks through all that the libraries have imported
    start = time.perf_counter()
    for done in range(plan.rounds):
        if done >= 3 and time.perf_counter() - start > plan.seconds:
            break
        for i in rng.permutation(len(visits)):
            name = list(visits)[i]
            gc.disable()
            try:
                found[name].append(visits[name]())
            finally:
                gc.enable()
                gc.collect()
    gc.unfreeze()
    return found
