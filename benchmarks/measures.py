"""The measures. Each takes one optimizer on one tree, and measures all libraries in rounds."""

import gc
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from . import ceiling, floor as floors
from .adapters import ADAPTERS, PLAIN, REFERENCE, JaxSession
from .optimizers import MissingError, Optimizer
from .rounds import Plan, Result, Session, Visit, interleave
from .trees import TINY, Tree

RATE = 1e-3
TOLERANCE = 1e-5
"""Tolerance for parameters after three steps, relative to the largest change of a parameter."""
RESIDENT = 0.75
"""If all libraries together need a larger part of the free memory, each visit loads its arrays and frees them again."""
STATE = 14
"""Average bytes per parameter of a session: parameter, two slots, and a gradient that the JAX sessions share."""


Skip = Callable[[str], None]
"""Reports a skipped library or table, with the reason."""


def available() -> float:
    """The free bytes on the device."""
    facts = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in facts:
        return float(facts["bytes_limit"] - facts["bytes_in_use"])
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return 8e9


# Before anything is timed


def distances(optimizer: Optimizer, libraries: list[str], skip: Skip) -> dict[str, float]:
    """The distance of each library from Optax after three steps on a small tree, relative to the largest change.

    Raises: AssertionError for a library that should agree with Optax and does not.
    """
    results, start = {}, TINY.params()
    for name, session in _sessions(optimizer, TINY, {REFERENCE, *libraries}, skip, rate=1.0).items():
        session.load()
        for _ in range(3):
            session.step()
        session.wait()
        results[name] = session.parameters()
    if optimizer.name == "adamw" and jax.default_backend() == "cpu":
        session = ceiling.session(TINY, 1.0)
        session.load()
        for _ in range(3):
            session.step()
        results[ceiling.NAME] = session.parameters()
    if REFERENCE not in results:
        return {}
    reference = results.pop(REFERENCE)
    length = max(np.abs(r - p).max() for r, p in zip(reference, start, strict=True))
    relative = {
        name: float(max(np.abs(x - r).max() for x, r in zip(xs, reference, strict=True)) / length)
        for name, xs in results.items()
    }
    for name, distance in relative.items():
        same_formula = optimizer.same_formula or name.startswith(PLAIN)
        assert not same_formula or distance < TOLERANCE, f"{optimizer.name}: {name} is {distance:.1e} from {REFERENCE}"
    return relative


_compilations: list[str] = []
"""JAX's events of tracing, lowering and compiling so far."""


def _record(event: str, duration: float, **_: Any) -> None:
    if event.startswith("/jax/core/compile/"):
        _compilations.append(event)


jax.monitoring.register_event_duration_secs_listener(_record)


def _check(what: str, name: str, session: Session, skip: Skip) -> None:
    """Run two steps; the second one must compile nothing and reuse its input buffers."""
    session.load()
    session.step()
    session.wait()
    before, compiled = session.buffers(), len(_compilations)
    session.step()
    session.wait()
    if not session.reused(before):
        assert not name.startswith(PLAIN), f"{what}: {name} did not reuse its buffers"
        skip(f"{what}: {name} does not reuse its buffers")
    assert len(_compilations) == compiled, f"{what}: the second step of {name} was retraced"


# The measures


def step(optimizer: Optimizer, tree: Tree, libraries: list[str], plan: Plan, skip: Skip) -> Iterator[Result]:
    """One jitted update with donated parameters and state: seconds per step, over many consecutive steps."""
    sessions = _sessions(optimizer, tree, libraries, skip)
    if optimizer.least is not None and sessions:
        sessions[ceiling.NAME] = ceiling.session(tree, RATE)
    yield from _timed("step", optimizer, tree, sessions, plan, skip)


def train(optimizer: Optimizer, tree: Tree, libraries: list[str], plan: Plan, skip: Skip) -> Iterator[Result]:
    """Forward pass, backward pass and update of the tree's model: seconds per step, over many consecutive steps."""
    if tree.forward is None:
        return
    yield from _timed("train", optimizer, tree, _sessions(optimizer, tree, libraries, skip, train=True), plan, skip)


def eager(optimizer: Optimizer, tree: Tree, libraries: list[str], plan: Plan, skip: Skip) -> Iterator[Result]:
    """The update outside jit, for libraries with an update that is separate from the step: seconds."""
    sessions = _sessions(optimizer, tree, [n for n in libraries if ADAPTERS[n].separate_update], skip)

    def visit(session: Any) -> float:
        session.load()
        jax.block_until_ready(session.eager())
        start = time.perf_counter()
        jax.block_until_ready(session.eager())
        session.wait()
        seconds = time.perf_counter() - start
        session.unload()
        return seconds

    yield from _results(
        "eager", optimizer, tree, sessions, {n: lambda s=s: visit(s) for n, s in sessions.items()}, plan
    )


def trace(optimizer: Optimizer, tree: Tree, libraries: list[str], plan: Plan, skip: Skip) -> Iterator[Result]:
    """Tracing and lowering the step with empty caches, as for the first step of a program: seconds."""
    sessions = _jax_sessions(optimizer, tree, libraries, skip)

    def visit(session: JaxSession) -> float:
        jax.clear_caches()
        gc.collect()
        return _seconds(session.lower)

    yield from _results(
        "trace", optimizer, tree, sessions, {n: lambda s=s: visit(s) for n, s in sessions.items()}, plan
    )


def compile(optimizer: Optimizer, tree: Tree, libraries: list[str], plan: Plan, skip: Skip) -> Iterator[Result]:
    """Compiling the lowered step: seconds."""
    sessions = _jax_sessions(optimizer, tree, libraries, skip)

    def visit(session: JaxSession) -> float:
        return _seconds(session.lower().compile)

    visits = {n: lambda s=s: visit(s) for n, s in sessions.items()}
    yield from _results("compile", optimizer, tree, sessions, visits, plan)


def memory(optimizer: Optimizer, tree: Tree, libraries: list[str], plan: Plan, skip: Skip) -> Iterator[Result]:
    """The compiled step: temporary bytes and accessed bytes per parameter, and the number of kernels."""
    for name, session in _jax_sessions(optimizer, tree, libraries, skip).items():
        program = session.lower().compile()
        costs = program.cost_analysis() or {}
        facts = {
            "temporary": (program.memory_analysis().temp_size_in_bytes / tree.size, "bytes/parameter"),
            "accessed": (costs.get("bytes accessed", math.nan) / tree.size, "bytes/parameter"),
            "kernels": (float(kernels(program.as_text())), "kernels"),
        }
        for what, (value, unit) in facts.items():
            yield Result(what, tree.name, optimizer.name, name, unit, [value], tree.size)


def floor(optimizer: Optimizer, tree: Tree, libraries: list[str], plan: Plan, skip: Skip) -> Iterator[Result]:
    """AdamW on one leaf of the tree's size, in all ways that XLA's CPU backend can run it: seconds (see floor.py)."""
    if optimizer.name == "adamw" and jax.default_backend() == "cpu":
        sessions: dict[str, Any] = {**floors.sessions(tree), ceiling.NAME: ceiling.session(tree, RATE)}
        yield from _timed("floor", optimizer, tree, sessions, plan, skip)


MEASURES = {f.__name__: f for f in (step, train, eager, trace, compile, memory, floor)}
ABOUT = {"temporary": memory, "accessed": memory, "kernels": memory, **MEASURES}


def kernels(program: str) -> int:
    """The number of instructions that do work in the entry computation of a compiled program."""
    entry = re.search(r"^ENTRY .*?^}", program, re.M | re.S)
    names = re.findall(r"^\s+(?:ROOT )?%?\S+ = .*?(?:\)|\]|\}|>) ([\w-]+)\(", entry[0] if entry else "", re.M)
    free = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
    return sum(name not in free for name in names)


# Helpers


def _sessions(
    optimizer: Optimizer, tree: Tree, libraries: Any, skip: Skip, *, rate: float = RATE, train: bool = False
) -> dict[str, Any]:
    """A session of each library that has this optimizer; for the others `skip` reports the reason."""
    sessions: dict[str, Any] = {}
    for name in ADAPTERS:
        if name not in libraries:
            continue
        try:
            sessions[name] = ADAPTERS[name].session(optimizer, tree, rate, train=train)
        except MissingError as reason:
            skip(f"{optimizer.name}: no {name}: {reason}")
    return sessions


def _jax_sessions(optimizer: Optimizer, tree: Tree, libraries: list[str], skip: Skip) -> dict[str, JaxSession]:
    """Unloaded sessions that have recorded the shapes of their arguments."""
    sessions: dict[str, JaxSession] = _sessions(optimizer, tree, [n for n in libraries if ADAPTERS[n].lowerable], skip)
    for session in sessions.values():
        session.load()
        session.shapes()
        session.unload()
    return sessions


def _timed(
    measure: str, optimizer: Optimizer, tree: Tree, sessions: dict[str, Any], plan: Plan, skip: Skip
) -> Iterator[Result]:
    resident = STATE * tree.size * len(sessions) <= RESIDENT * available()
    visits = {}
    for name, session in sessions.items():
        _check(f"{optimizer.name}, {measure} on {tree.name}", name, session, skip)
        visits[name] = _visit(session, plan, resident)
        if not resident:
            session.unload()
    yield from _results(measure, optimizer, tree, sessions, visits, plan)
    for session in sessions.values():
        session.unload()


def _visit(session: Session, plan: Plan, resident: bool) -> Visit:
    """A visit: one step to warm the caches, or three after loading, then as many as fit its time, and one wait."""
    times = 0

    def visit() -> float:
        nonlocal times
        if not resident:
            session.load()
        for _ in range(1 if resident and times else 3):
            seconds = _seconds(session.step, session.wait)
        times = times or min(1000, max(2, round(plan.visit / seconds)))
        compiled = len(_compilations)
        start = time.perf_counter()
        for _ in range(times):
            session.step()
        session.wait()
        seconds = time.perf_counter() - start
        assert len(_compilations) == compiled, "a step was retraced while it was timed"
        if not resident:
            session.unload()
        return seconds / times

    return visit


def _results(
    measure: str,
    optimizer: Optimizer,
    tree: Tree,
    sessions: Mapping[str, Session],
    visits: Mapping[str, Visit],
    plan: Plan,
) -> Iterator[Result]:
    for name, values in interleave(visits, plan).items():
        yield Result(measure, tree.name, optimizer.name, name, "s", values, tree.size, sessions[name].moved)


def _seconds(*calls: Callable[[], Any]) -> float:
    start = time.perf_counter()
    for call in calls:
        call()
    return time.perf_counter() - start
