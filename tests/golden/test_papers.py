"""Every transformation against the float64 transcription of its paper, and the transcription against its bugs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import check_all, of_rows
from .papers import PAPERS, SCHEDULES

TOLERANCE = 1e-9


def updates_of(tx, grads, params, extra):
    """The update of every step; parameters move by it."""

    def step(carry, given):
        p, state = carry
        g, more = given
        u, state = tx.update(g, state, p, **more)
        return (optim.apply_updates(p, u), state), u

    return jax.lax.scan(step, (params, tx.init(params)), (grads, extra))[1]


def far(a, b):
    """The largest difference relative to the size of what is compared."""
    a, b = np.asarray(a), np.asarray(b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    scale = np.maximum(np.abs(b), 1e-3 * np.max(np.abs(b), where=np.isfinite(b), initial=0))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0, np.abs(a - b) / np.where(scale > 0, scale, 1))
    return np.max(np.nan_to_num(apart, nan=np.inf), initial=0)


@of_rows(lambda row: row.is_first, "golden")
def test_transformation_is_the_paper(row, x64):
    """Every configuration of its paper, all in one program; `register(exceptions={"golden": reason})` has none."""
    assert row.entry.name in PAPERS, "no transcription in tests/golden/papers, and no exception in the registry"
    paper = PAPERS[row.entry.name]
    grads, params = paper.stream()
    extra = paper.extra(grads) if paper.extra else {}
    txs = [optim.get(paper.name, **config) for config in paper.configs]
    given = jax.tree.map(jnp.asarray, (np.stack(grads), params, {k: np.asarray(v) for k, v in extra.items()}))
    ours = jax.jit(lambda *given: [updates_of(tx, *given) for tx in txs])(*given)
    apart = [far(u, paper.run(grads, params, **c)) for u, c in zip(ours, paper.configs, strict=True)]
    assert max(apart) < TOLERANCE, f"differences of the configurations: {apart}"


def test_the_goldens_can_fail(names):
    """Every declared mutation changes the numbers of some configuration."""

    def check(name):
        paper = PAPERS[name]
        grads, params = paper.stream()
        plain = [paper.run(grads, params, **c) for c in paper.configs]
        assert paper.mutations
        for mutation in paper.mutations:
            mutated = [paper.run(grads, params, mutation=mutation, **c) for c in paper.configs]
            assert max(map(far, mutated, plain)) > 1e5 * TOLERANCE, mutation

    check_all([n for n in names if n in PAPERS], check)


def test_schedules_are_the_papers(entries, x64):
    counts = list(range(60))

    def check(entry):
        paper = SCHEDULES[entry.name]
        plain = [[paper.run(n, **c) for n in counts] for c in paper.configs]
        for config, expected in zip(paper.configs, plain, strict=True):
            schedule = entry(**config)
            assert far(jax.jit(jax.vmap(schedule))(jnp.asarray(counts, jnp.int32)), expected) < TOLERANCE
            assert float(schedule(7)) == pytest.approx(expected[7], rel=TOLERANCE)
        for mutation in paper.mutations:
            mutated = [[paper.run(n, mutation=mutation, **c) for n in counts] for c in paper.configs]
            assert max(map(far, mutated, plain)) > 1e5 * TOLERANCE, mutation

    check_all([e for e in entries if e.kind == "schedule"], check, name=lambda entry: entry.name)


def test_every_transcription_is_of_a_factory():
    without = {e.name for e in optim.entries() if "golden" in e.exceptions}
    assert PAPERS.keys() - without == {e.name for e in optim.entries("transformation")} - without
    assert SCHEDULES.keys() == {e.name for e in optim.entries("schedule")}
