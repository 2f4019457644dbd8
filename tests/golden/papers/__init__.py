"""Float64 NumPy transcriptions of the papers: oracles that share no code with the library.

A transcription runs on one array. `PAPERS[name].run(grads, params, **hyperparameters)` returns the
update of every step, signed as it is added to the parameters; where a formula reads the parameters
the transcription moves its own copy. A mutation repeats the formula with one typical bug, so that
a test can show that the golden is able to fail. `SCHEDULES[name].run(count, **arguments)` is one
value. Hyperparameters bear the library's names; `configs` reach every branch of the formula.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules

import numpy as np


def stream(steps=25, seed=0):
    """Gradients that reach every branch: tiny at first, some huge, one zero, one partly zero."""
    rng = np.random.default_rng(seed)
    params = 0.5 * rng.normal(size=(4, 3))
    params[:, 2] *= 1e-5  # a column below the floor of adaptive_grad_clip
    grads = []
    for n in range(steps):
        g = rng.normal(size=(4, 3))
        g *= 1e-3 if n < 3 else 30.0 if n % 9 == 6 else 1.0
        if n < 4:
            g[0, 0] = 0.0  # a zero accumulator
        if n % 25 == 10:
            g[:] = 0.0
        if n % 25 == 13:
            g[:, 1] = 0.0
        grads.append(g)
    return grads, params


@dataclass(frozen=True)
class Paper:
    """One formula: how to run it, what to run it with, and the bugs it can imitate."""

    name: str
    run: Callable
    configs: tuple[dict, ...]
    mutations: tuple[str, ...]
    source: str
    stream: Callable = stream  # the gradients on which the mutations show
    extra: Callable | None = None  # the gradients -> extra arguments of update by name, one value a step


PAPERS: dict[str, Paper] = {}
SCHEDULES: dict[str, Paper] = {}


def _guarded(name, formula, mutations):
    """Refuse a mutation that is not declared; `sign` is the same for every formula."""

    def run(*args, mutation=None, **hyperparameters):
        if mutation is not None and mutation not in mutations:
            raise ValueError(f"{name}: mutation must be one of {mutations}, got {mutation!r}")
        result = formula(*args, mutation=mutation, **hyperparameters)
        if mutation == "sign":
            return [-u for u in result]
        return result

    return run


def paper(name, *, configs, mutations, source, stream=stream, extra=None):
    """Register the transcription of a transformation; the function itself stays as written."""

    def register(formula):
        run = _guarded(name, formula, mutations)
        PAPERS[name] = Paper(name, run, tuple(configs), tuple(mutations), source, stream, extra)
        return formula

    return register


def schedule(name, *, configs, mutations, source):
    """Register the transcription of a schedule, a function of the number of updates done before."""

    def register(formula):
        run = _guarded(name, formula, mutations)
        SCHEDULES[name] = Paper(name, run, tuple(configs), tuple(mutations), source)
        return formula

    return register


for _family in iter_modules(__path__):  # a new file is found, not listed
    import_module(f"{__name__}.{_family.name}")
