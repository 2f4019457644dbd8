"""Warm-up, a constant value, and a decay at the end, which may also begin at a count that the state holds."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Self

import jax.numpy as jnp
import numpy as np

from .. import checks, numerics
from ..checks import STEPS, Range
from ..core.record import Call, Recorded, ScheduleFn
from ..core.registry import example, register
from ..numerics import safe_increment
from ..types import Array, Count, Scalar
from .progress import RANGES, fraction, schedule

Tail = Literal["linear", "cosine", "1-sqrt"]
_TAILS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: 1 - x,
    "cosine": lambda x: (1 + jnp.cos(jnp.pi * x)) / 2,
    "1-sqrt": lambda x: 1 - numerics.root(x),
}
TOTAL = Range(1, integer=True, means="count at which the schedule ends")
_RANGES = {**RANGES, "total_steps": TOTAL, "decay_steps": STEPS}
_NO_TAIL = "tail must be 'linear', 'cosine' or '1-sqrt', got 'square'"


def trapezoid(begin: Any, tail: Callable[[Array], Array], count: Array, *numbers: Array) -> Array:
    """A line from init to peak in `warmup` counts, then peak; from `begin` on the tail to end in `decay` counts."""
    init, peak, warmup, end, decay = numbers
    risen = init + (peak - init) * jnp.where(warmup > 0, fraction(count, 0, warmup), 1)
    value: Array = risen + (end - risen) * (1 - tail(fraction(count, begin, decay)))
    return value


def check_length(total_steps: Any, warmup_steps: Any, decay_steps: Any) -> None:
    numbers = (total_steps, warmup_steps, decay_steps)
    if not any(map(checks.is_traced, numbers)) and total_steps < warmup_steps + decay_steps:
        least = warmup_steps + decay_steps
        checks.fail(f"total_steps must be >= warmup_steps + decay_steps = {least}, got {total_steps}")


@register(
    example(0.0, 0.1, 5, 30, 10),
    example(0.01, 0.1, 0, 30, 10, "linear", 0.01),
    example(0.0, 0.1, 5, 30, 25, "cosine"),
    kind="schedule",
    ranges=_RANGES,
    errors=[
        (example(0.0, 0.1, 5, 30, 10, "square"), _NO_TAIL),
        (example(0.0, 0.1, 5, 30, 26), "total_steps must be >= warmup_steps + decay_steps = 31, got 30"),
    ],
)
def wsd_schedule(
    init_value: Scalar,
    peak_value: Scalar,
    warmup_steps: int,
    total_steps: int,
    decay_steps: int,
    tail: Tail = "1-sqrt",
    end_value: Scalar = 0.0,
) -> ScheduleFn:
    """Warm up, stay at the peak, and decay in the last counts: warm-up, stable, decay.

        end_value + (peak_value - end_value) f(x),  x = (count - total_steps + decay_steps) / decay_steps in [0, 1]
        f(x) = 1 - x,  (1 + cos(pi x)) / 2,  or  1 - sqrt(x)

    Args:
      init_value: value at count 0. Usually 0.
      peak_value: value from the end of the warm-up to the beginning of the decay.
      warmup_steps: length of the warm-up, an integer >= 0; with 0 the first value is peak_value.
      total_steps: count at which the decay ends, an integer >= warmup_steps + decay_steps.
      decay_steps: length of the decay, an integer >= 0; with 0 there is none. Usually a tenth of all.
      tail: "linear", "cosine" or "1-sqrt". Usually "1-sqrt".
      end_value: value from total_steps on. Usually 0.
    Source:  Hu et al. 2024, MiniCPM, Sec. 4; Hägele et al. 2024, Sec. 3, for "1-sqrt".
    """
    checks.choice("tail", tail, _TAILS)
    check_length(total_steps, warmup_steps, decay_steps)
    begin, f = total_steps - decay_steps, _TAILS[tail]
    numbers = (init_value, peak_value, warmup_steps, end_value, decay_steps)
    return schedule(functools.partial(trapezoid, begin, f), *numbers)


class WsdState(NamedTuple):
    count: Count
    decay_begin: Count


NEVER = np.iinfo(np.int32).max


class BranchingWsd(Recorded):
    """A schedule with a state, whose decay begins at the count `decay_begin`; `branching_wsd_schedule` makes it."""

    def __init__(self, value: Callable[[Array, Array], Array]) -> None:
        self._value = value

    def _recorded(self, call: Call) -> Self:
        new = type(self)(self._value)
        new.call = call
        return new

    def __repr__(self) -> str:
        return repr(self.call)

    def __eq__(self, other: object) -> bool:
        return self.call == other.call if isinstance(other, BranchingWsd) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.call)

    def init(self) -> WsdState:
        return WsdState(jnp.zeros((), jnp.int32), jnp.asarray(NEVER, jnp.int32))

    def update(self, state: WsdState, **extra_args: Any) -> WsdState:
        del extra_args
        return WsdState(safe_increment(state.count), state.decay_begin)

    def __call__(self, state: WsdState, **extra_args: Any) -> Array:
        del extra_args
        return self._value(state.count, state.decay_begin)


@register(
    example(0.0, 0.1, 5, 10),
    kind="factory",
    ranges=_RANGES,
    errors=[(example(0.0, 0.1, 5, 10, "square"), _NO_TAIL)],
)
def branching_wsd_schedule(
    init_value: Scalar,
    peak_value: Scalar,
    warmup_steps: int,
    decay_steps: int,
    tail: Tail = "1-sqrt",
    end_value: Scalar = 0.0,
) -> BranchingWsd:
    """Make a `wsd_schedule` without an end, whose decay begins at a count that is set in the optimizer's state.

        tx = inject_hyperparams(adamw)(branching_wsd_schedule(0.0, 1e-3, 1_000, 10_000))
        state = optim.tree.set(state, decay_begin=jnp.int32(50_000))    # a branch of a run that goes on elsewhere

    Args:
      init_value: value at count 0. Usually 0.
      peak_value: value from the end of the warm-up to the beginning of the decay.
      warmup_steps: length of the warm-up, an integer >= 0; with 0 the first value is peak_value.
      decay_steps: length of the decay, an integer >= 0.
      tail: "linear", "cosine" or "1-sqrt". Usually "1-sqrt".
      end_value: value after the decay. Usually 0.
    State:   WsdState(count, decay_begin), in the states of `inject_hyperparams`; decay_begin is at first the largest
             integer.
    Source:  Hu et al. 2024, MiniCPM, Sec. 4.
    """
    checks.choice("tail", tail, _TAILS)
    f = _TAILS[tail]

    def value(count: Array, begin: Array) -> Array:
        numbers = (init_value, peak_value, warmup_steps, end_value, decay_steps)
        return schedule(functools.partial(trapezoid, begin, f), *numbers)(count)

    return BranchingWsd(value)


@register(
    example(0.1, 30, 0.5),
    example(0.1, 30, 2.0, 5, 10, 0.01, 0.02),
    kind="schedule",
    ranges=_RANGES,
    errors=[(example(0.1, 30, 1.0, 25, 6), "total_steps must be >= warmup_steps + decay_steps = 31, got 30")],
)
def power_schedule(
    peak_value: Scalar,
    total_steps: int,
    power: Scalar,
    warmup_steps: int = 0,
    decay_steps: int | None = None,
    init_value: Scalar = 0.0,
    end_value: Scalar = 0.0,
) -> ScheduleFn:
    """Decay as a power of the time that is left, after a warm-up and perhaps a constant value.

        end_value + (peak_value - end_value) (1 - x)^power,  x in [0, 1] over the last decay_steps counts

    Args:
      peak_value: value at the end of the warm-up.
      total_steps: count at which the decay ends, an integer >= warmup_steps + decay_steps.
      power: the exponent, > 0: 2 b - 1 for a loss whose source and capacity exponents give b. Usually 0.5 to 2.
      warmup_steps: length of the warm-up, an integer >= 0.
      decay_steps: length of the decay, an integer >= 0; None begins it after the warm-up.
      init_value: value at count 0 of a warm-up. Usually 0.
      end_value: value from total_steps on. Usually 0.
    Source:  2602.06797, power decay.
    """
    length = total_steps - warmup_steps if decay_steps is None else decay_steps
    check_length(total_steps, warmup_steps, length)
    begin = total_steps - length

    def at(count: Array, *numbers: Array) -> Array:
        *rest, exponent = numbers
        return trapezoid(begin, lambda x: numerics.power(1 - x, exponent), count, *rest)

    return schedule(at, init_value, peak_value, warmup_steps, end_value, length, power)
