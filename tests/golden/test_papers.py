"""Every transformation agrees with the float64 transcription of its paper, and every mutation of that is detected."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import check_all, of_rows
from .papers import PAPERS, SCHEDULES

TOLERANCE = 1e-9


def updates_of(tx, grads, params, extra):
    """The updates of all steps, which are applied to the parameters."""

    def step(carry, inputs):
        p, state = carry
        g, extra_args = inputs
        u, state = tx.update(g, state, p, **extra_args)
        return (optim.apply_updates(p, u), state), u

    return jax.lax.scan(step, (params, tx.init(params)), (grads, extra))[1]


def relative_error(a, b):
    """The largest difference relative to the element, or to 1e-3 of the largest element."""
    a, b = np.asarray(a), np.asarray(b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    scale = np.maximum(np.abs(b), 1e-3 * np.max(np.abs(b), where=np.isfinite(b), initial=0))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0, np.abs(a - b) / np.where(scale > 0, scale, 1))
    return np.max(np.nan_to_num(error, nan=np.inf), initial=0)


@of_rows(lambda row: row.is_first, "golden")
def test_transformation_is_the_paper(row, x64):
    """All configurations in one program. `register(exceptions={"golden": reason})` marks factories without a paper."""
    assert row.entry.name in PAPERS, "no transcription in tests/golden/papers, and no exception in the registry"
    paper = PAPERS[row.entry.name]
    grads, params = paper.stream()
    extra = paper.extra(grads) if paper.extra else {}
    txs = [optim.get(paper.name, **config) for config in paper.configs]
    inputs = jax.tree.map(jnp.asarray, (np.stack(grads), params, {k: np.asarray(v) for k, v in extra.items()}))
    ours = jax.jit(lambda *inputs: [updates_of(tx, *inputs) for tx in txs])(*inputs)
    errors = [relative_error(u, paper.run(grads, params, **c)) for u, c in zip(ours, paper.configs, strict=True)]
    assert max(errors) < TOLERANCE, f"relative errors of the configurations: {errors}"


def test_the_goldens_can_fail(names):
    """Every declared mutation changes the numbers of some configuration."""

    def check(name):
        paper = PAPERS[name]
        grads, params = paper.stream()
        plain = [paper.run(grads, params, **c) for c in paper.configs]
        assert paper.mutations
        for mutation in paper.mutations:
            mutated = [paper.run(grads, params, mutation=mutation, **c) for c in paper.configs]
            assert max(map(relative_error, mutated, plain)) > 1e5 * TOLERANCE, mutation

    check_all([n for n in names if n in PAPERS], check)


def test_schedules_are_the_papers(entries, x64):
    counts = list(range(60))

    def check(entry):
        paper = SCHEDULES[entry.name]
        plain = [[paper.run(n, **c) for n in counts] for c in paper.configs]
        for config, expected in zip(paper.configs, plain, strict=True):
            schedule = entry(**config)
            assert relative_error(jax.jit(jax.vmap(schedule))(jnp.asarray(counts, jnp.int32)), expected) < TOLERANCE
            assert float(schedule(7)) == pytest.approx(expected[7], rel=TOLERANCE)
        for mutation in paper.mutations:
            mutated = [[paper.run(n, mutation=mutation, **c) for n in counts] for c in paper.configs]
            assert max(map(relative_error, mutated, plain)) > 1e5 * TOLERANCE, mutation

    check_all([e for e in entries if e.kind == "schedule"], check, name=lambda entry: entry.name)


def test_every_transcription_is_of_a_factory():
    without = {e.name for e in optim.entries() if "golden" in e.exceptions}
    assert PAPERS.keys() - without == {e.name for e in optim.entries("transformation")} - without
    assert SCHEDULES.keys() == {e.name for e in optim.entries("schedule")}
