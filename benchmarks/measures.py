"""What is measured, of one optimizer on one tree, and how: every library in turn, round after round."""

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
ALIKE = 1e-5
"""How far two libraries' parameters may be apart after three steps, by the longest way that one has gone."""
RESIDENT = 0.75
"""Where the libraries together need more than this of the free memory, each visit loads its own and frees it again."""
STATE = 14
"""Bytes a parameter that a session holds on the average: parameter, two slots, and a gradient that JAX's share."""


Say = Callable[[str], None]


def available() -> float:
    """The bytes that are free on the device."""
    facts = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in facts:
        return float(facts["bytes_limit"] - facts["bytes_in_use"])
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return 8e9


# Before anything is timed


def distances(optimizer: Optimizer, libraries: list[str], say: Say) -> dict[str, float]:
    """How far each library is from Optax after three steps on a small tree, by the longest way gone.

    Raises: AssertionError for a library that should be there and is not.
    """
    found, start = {}, TINY.params()
    for name, session in _sessions(optimizer, TINY, {REFERENCE, *libraries}, say, rate=1.0).items():
        session.load()
        for _ in range(3):
            session.step()
        session.wait()
        found[name] = session.parameters()
    if optimizer.name == "adamw" and jax.default_backend() == "cpu":
        session = ceiling.session(TINY, 1.0)
        session.load()
        for _ in range(3):
            session.step()
        found[ceiling.NAME] = session.parameters()
    if REFERENCE not in found:
        return {}
    reference = found.pop(REFERENCE)
    length = max(np.abs(r - p).max() for r, p in zip(reference, start, strict=True))
    apart = {
        name: float(max(np.abs(x - r).max() for x, r in zip(xs, reference, strict=True)) / length)
        for name, xs in found.items()
    }
    for name, distance in apart.items():
        alike = optimizer.alike or name.startswith(PLAIN)
        assert not alike or distance < ALIKE, f"{optimizer.name}: {name} is {distance:.1e} from {REFERENCE}"
    return apart


_compiled: list[str] = []
"""What JAX has traced, lowered or compiled so far."""


def _note(event: str, duration: float, **_: Any) -> None:
    if event.startswith("/jax/core/compile/"):
        _compiled.append(event)


jax.monitoring.register_event_duration_secs_listener(_note)


def _settle(what: str, name: str, session: Session, say: Say) -> None:
    """Two steps: the second one compiles nothing, and overwrites what it was given."""
    session.load()
    session.step()
    session.wait()
    before, compiled = session.buffers(), len(_compiled)
    session.step()
    session.wait()
    if not session.reused(before):
        assert not name.startswith(PLAIN), f"{what}: {name} has not reused its buffers"
        say(f"{what}: {name} does not reuse its buffers")
    assert len(_compiled) == compiled, f"{what}: the second step of {name} was traced again"


# The measures


def step(optimizer: Optimizer, tree: Tree, libraries: list[str], plan: Plan, say: Say) -> Iterator[Result]:
    """One update, jitted, parameters and state donated: seconds a step, many steps in a row."""
    sessions = _sessions(optimizer, tree, libraries, say)
    if optimizer.least is not None and sessions:
        sessions[ceiling.NAME] = ceiling.session(tree, RATE)
    yield from _timed("step", optimizer, tree, sessions, plan, say)


def train(optimizer: Optimizer, tree: Tree, libraries: list[str], plan: Plan, say: Say) -> Iterator[Result]:
    """Forward, backward and update of the tree's model: seconds a step, many steps in a row."""
    if tree.forward is None:
        return
    yield from _timed("train", optimizer, tree, _sessions(optimizer, tree, libraries, say, train=True), plan, say)


def eager(optimizer: Optimizer, tree: Tree, libraries: list[str], plan: Plan, say: Say) -> Iterator[Result]:
    """The update outside jit, of the libraries that know an update apart from the step: seconds."""
    sessions = _sessions(optimizer, tree, [n for n in libraries if ADAPTERS[n].apart], say)

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


def trace(optimizer: Optimizer, tree: Tree, libraries: list[str], plan: Plan, say: Say) -> Iterator[Result]:
    """Tracing and lowering the step with JAX's caches empty, as a program's first step does: seconds."""
    sessions = _jax_sessions(optimizer, tree, libraries, say)

    def visit(session: JaxSession) -> float:
        jax.clear_caches()
        gc.collect()
        return _seconds(session.lower)

    yield from _results(
        "trace", optimizer, tree, sessions, {n: lambda s=s: visit(s) for n, s in sessions.items()}, plan
    )


def compile(optimizer: Optimizer, tree: Tree, libraries: list[str], plan: Plan, say: Say) -> Iterator[Result]:
    """Compiling the lowered step: seconds."""
    sessions = _jax_sessions(optimizer, tree, libraries, say)

    def visit(session: JaxSession) -> float:
        return _seconds(session.lower().compile)

    visits = {n: lambda s=s: visit(s) for n, s in sessions.items()}
    yield from _results("compile", optimizer, tree, sessions, visits, plan)


def memory(optimizer: Optimizer, tree: Tree, libraries: list[str], plan: Plan, say: Say) -> Iterator[Result]:
    """What the compiled step says of itself: temporary bytes and bytes accessed a parameter, and its kernels."""
    for name, session in _jax_sessions(optimizer, tree, libraries, say).items():
        program = session.lower().compile()
        costs = program.cost_analysis() or {}
        facts = {
            "temporary": (program.memory_analysis().temp_size_in_bytes / tree.size, "bytes/parameter"),
            "accessed": (costs.get("bytes accessed", math.nan) / tree.size, "bytes/parameter"),
            "kernels": (float(kernels(program.as_text())), "kernels"),
        }
        for what, (value, unit) in facts.items():
            yield Result(what, tree.name, optimizer.name, name, unit, [value], tree.size)


def floor(optimizer: Optimizer, tree: Tree, libraries: list[str], plan: Plan, say: Say) -> Iterator[Result]:
    """AdamW on one leaf of the tree's size, in the ways that XLA's CPU backend knows: seconds (see floor.py)."""
    if optimizer.name == "adamw" and jax.default_backend() == "cpu":
        sessions: dict[str, Any] = {**floors.sessions(tree), ceiling.NAME: ceiling.session(tree, RATE)}
        yield from _timed("floor", optimizer, tree, sessions, plan, say)


MEASURES = {f.__name__: f for f in (step, train, eager, trace, compile, memory, floor)}
ABOUT = {"temporary": memory, "accessed": memory, "kernels": memory, **MEASURES}


def kernels(program: str) -> int:
    """The instructions of a compiled program's entry that do something, not counting inner computations'."""
    entry = re.search(r"^ENTRY .*?^}", program, re.M | re.S)
    found = re.findall(r"^\s+(?:ROOT )?%?\S+ = .*?(?:\)|\]|\}|>) ([\w-]+)\(", entry[0] if entry else "", re.M)
    free = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
    return sum(name not in free for name in found)


# Their parts


def _sessions(
    optimizer: Optimizer, tree: Tree, libraries: Any, say: Say, *, rate: float = RATE, train: bool = False
) -> dict[str, Any]:
    """A session of each library that has this optimizer; of the others the reason is said."""
    found: dict[str, Any] = {}
    for name in ADAPTERS:
        if name not in libraries:
            continue
        try:
            found[name] = ADAPTERS[name].session(optimizer, tree, rate, train=train)
        except MissingError as reason:
            say(f"{optimizer.name}: no {name}: {reason}")
    return found


def _jax_sessions(optimizer: Optimizer, tree: Tree, libraries: list[str], say: Say) -> dict[str, JaxSession]:
    """Sessions that know the shapes of what they hold, and hold nothing."""
    found: dict[str, JaxSession] = _sessions(optimizer, tree, [n for n in libraries if ADAPTERS[n].lowered], say)
    for session in found.values():
        session.load()
        session.shapes()
        session.unload()
    return found


def _timed(
    measure: str, optimizer: Optimizer, tree: Tree, sessions: dict[str, Any], plan: Plan, say: Say
) -> Iterator[Result]:
    resident = STATE * tree.size * len(sessions) <= RESIDENT * available()
    visits = {}
    for name, session in sessions.items():
        _settle(f"{optimizer.name}, {measure} on {tree.name}", name, session, say)
        visits[name] = _visit(session, plan, resident)
        if not resident:
            session.unload()
    yield from _results(measure, optimizer, tree, sessions, visits, plan)
    for session in sessions.values():
        session.unload()


def _visit(session: Session, plan: Plan, resident: bool) -> Visit:
    """A visit: one step for the caches, or three for fresh memory, then as many as fill its time and one wait."""
    times = 0

    def visit() -> float:
        nonlocal times
        if not resident:
            session.load()
        for _ in range(1 if resident and times else 3):
            one = _seconds(session.step, session.wait)
        times = times or min(1000, max(2, round(plan.visit / one)))
        compiled = len(_compiled)
        start = time.perf_counter()
        for _ in range(times):
            session.step()
        session.wait()
        seconds = time.perf_counter() - start
        assert len(_compiled) == compiled, "a step was traced again while it was timed"
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
