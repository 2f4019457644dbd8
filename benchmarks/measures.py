"""The measures of one session, made in the process of its library. Each prepares a visit, which returns its value."""

import gc
import math
import re
import time
from collections.abc import Callable
from typing import Any

from .rounds import Plan, Session

Prepare = Callable[[Any, Plan], Callable[[], Any]]


def step(session: Session, plan: Plan) -> Callable[[], float]:
    """Seconds per step, of as many as fit the visit's time, after a tenth of them to warm up."""
    times = 0

    def visit() -> float:
        nonlocal times
        if not times:
            seconds = min(_seconds(session.step, session.wait) for _ in range(3))
            times = min(5000, max(2, round(plan.visit / seconds)))
        for _ in range(math.ceil(times / 10)):
            session.step()
        session.wait()
        compiled = session.compilations()
        start = time.perf_counter()
        for _ in range(times):
            session.step()
        session.wait()
        seconds = time.perf_counter() - start
        assert session.compilations() == compiled, "a step was retraced while it was timed"
        return seconds / times

    return visit


def eager(session: Any, plan: Plan) -> Callable[[], float]:
    """Seconds per update outside jit."""

    def visit() -> float:
        session.eager()
        return _mean(session.eager, plan)

    return visit


def trace(session: Any, plan: Plan) -> Callable[[], float]:
    """Seconds for tracing and lowering with empty caches."""
    return lambda: _mean(session.lower, plan, session.forget)


def compile(session: Any, plan: Plan) -> Callable[[], float]:
    """Seconds for compiling the lowered step."""

    def visit() -> float:
        lowered = session.lower()
        return _seconds(lowered.compile)

    return visit


def memory(session: Any, plan: Plan) -> Callable[[], dict[str, tuple[float, str]]]:
    """Facts of the compiled step, with their units."""

    def visit() -> dict[str, tuple[float, str]]:
        program = session.lower().compile()
        costs, size = program.cost_analysis() or {}, session.tree.size
        return {
            "temporary": (program.memory_analysis().temp_size_in_bytes / size, "bytes/parameter"),
            "accessed": (costs.get("bytes accessed", math.nan) / size, "bytes/parameter"),
            "kernels": (float(kernels(program.as_text())), "kernels"),
        }

    return visit


STEPS = ("step", "train", "floor", "call")
"""The measures that take steps, which must reuse their buffers and compile once."""
PREPARE: dict[str, Prepare] = dict.fromkeys(STEPS, step) | {f.__name__: f for f in (eager, trace, compile, memory)}


def check(session: Session) -> bool:
    """Whether the second step of a loaded session reuses its input buffers.

    Raises: AssertionError if it compiles anything.
    """
    session.step()
    session.wait()
    before, compiled = session.buffers(), session.compilations()
    session.step()
    session.wait()
    assert session.compilations() == compiled, "the second step was retraced"
    return session.reused(before)


def kernels(program: str) -> int:
    """The number of instructions that do work in the entry computation of a compiled program."""
    entry = re.search(r"^ENTRY .*?^}", program, re.M | re.S)
    names = re.findall(r"^\s+(?:ROOT )?%?\S+ = .*?(?:\)|\]|\}|>) ([\w-]+)\(", entry[0] if entry else "", re.M)
    free = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
    return sum(name not in free for name in names)


def undisturbed(visit: Callable[[], Any]) -> Any:
    """The value of a visit without collections of garbage, which would scan all imported modules."""
    gc.disable()
    try:
        return visit()
    finally:
        gc.enable()
        gc.collect()


def _mean(call: Callable[[], Any], plan: Plan, before: Callable[[], Any] = lambda: None) -> float:
    """Seconds per call, of as many as fit the visit's time; `before` is not counted."""
    seconds: list[float] = []
    while not seconds or sum(seconds) < plan.visit:
        before()
        seconds.append(_seconds(call))
    return sum(seconds) / len(seconds)


def _seconds(*calls: Callable[[], Any]) -> float:
    start = time.perf_counter()
    for call in calls:
        call()
    return time.perf_counter() - start
