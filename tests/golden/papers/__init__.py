"""Float64 NumPy transcriptions of the papers: oracles that share no code with the library.

A transcription runs on one array. `PAPERS[name].run(grads, params, **hyperparameters)` returns the
updates of all steps, with the sign with which they are added to the parameters. If a formula reads
the parameters, the transcription updates its own copy. A mutation is the formula with one typical
bug; a test shows that the golden detects it. `SCHEDULES[name].run(count, **arguments)` returns one
value. Hyperparameters have the library's names; `configs` reach every branch of the formula.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules

import numpy as np


def stream(steps=25, seed=0):
    """Gradients that reach every branch: tiny ones first, some huge, one zero, one partly zero."""
    rng = np.random.default_rng(seed)
    params = 0.5 * rng.normal(size=(4, 3))
    params[:, 2] *= 1e-5  # a column below adaptive_grad_clip's floor
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
    """One formula, its configurations, and its mutations."""

    name: str
    run: Callable
    configs: tuple[dict, ...]
    mutations: tuple[str, ...]
    source: str
    stream: Callable = stream  # gradients that detect the mutations
    extra: Callable | None = None  # gradients -> extra arguments of update by name, one value per step


PAPERS: dict[str, Paper] = {}
SCHEDULES: dict[str, Paper] = {}


def _guarded(name, formula, mutations):
    """Check that a mutation is declared, and implement the mutation `sign`."""

    def run(*args, mutation=None, **hyperparameters):
        if mutation is not None and mutation not in mutations:
            raise ValueError(f"{name}: mutation must be one of {mutations}, got {mutation!r}")
        result = formula(*args, mutation=mutation, **hyperparameters)
        if mutation == "sign":
            return [-u for u in result]
        return result

    return run


def paper(name, *, configs, mutations, source, stream=stream, extra=None):
    """Register the transcription of a transformation, and return the function unchanged."""

    def register(formula):
        run = _guarded(name, formula, mutations)
        PAPERS[name] = Paper(name, run, tuple(configs), tuple(mutations), source, stream, extra)
        return formula

    return register


def schedule(name, *, configs, mutations, source):
    """Register the transcription of a schedule, a function of the number of previous updates."""

    def register(formula):
        run = _guarded(name, formula, mutations)
        SCHEDULES[name] = Paper(name, run, tuple(configs), tuple(mutations), source)
        return formula

    return register


for _family in iter_modules(__path__):  # imports new files too
    import_module(f"{__name__}.{_family.name}")
