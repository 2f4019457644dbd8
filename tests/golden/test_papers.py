"""Every transformation agrees with the float64 transcription of its paper, and every mutation of that is detected."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from .papers import PAPERS, SCHEDULES

TOLERANCE = 1e-9


def updates_of(tx, grads, params, extra):
    """The updates of all steps, in one compiled scan that applies them to the parameters."""

    def step(carry, inputs):
        p, state = carry
        g, extra_args = inputs
        u, state = tx.update(g, state, p, **extra_args)
        return (optim.apply_updates(p, u), state), u

    params, inputs = jnp.asarray(params), (jnp.asarray(grads), {k: jnp.asarray(v) for k, v in extra.items()})
    return np.asarray(jax.jit(lambda xs: jax.lax.scan(step, (params, tx.init(params)), xs)[1])(inputs))


def relative_error(a, b):
    """The largest difference relative to the element, or to 1e-3 of the largest element."""
    a, b = np.asarray(a), np.asarray(b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    scale = np.maximum(np.abs(b), 1e-3 * np.max(np.abs(b), where=np.isfinite(b), initial=0))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0, np.abs(a - b) / np.where(scale > 0, scale, 1))
    return np.max(np.nan_to_num(error, nan=np.inf), initial=0)


def case(name, i):
    return pytest.param(name, i, id=f"{name}-{i}", marks=[pytest.mark.slow] if i else [])


CASES = [case(name, i) for name, p in sorted(PAPERS.items()) for i in range(len(p.configs))]


@pytest.mark.parametrize(("name", "i"), CASES)
def test_transformation_is_the_paper(name, i, x64):
    paper = PAPERS[name]
    grads, params = paper.stream()
    extra = paper.extra(grads) if paper.extra else {}
    ours = updates_of(optim.get(name, **paper.configs[i]), grads, params, extra)
    assert relative_error(ours, paper.run(grads, params, **paper.configs[i])) < TOLERANCE


@pytest.mark.parametrize("name", sorted(PAPERS))
def test_the_golden_can_fail(name):
    paper = PAPERS[name]
    grads, params = paper.stream()
    assert paper.mutations
    for mutation in paper.mutations:
        runs = [
            relative_error(paper.run(grads, params, mutation=mutation, **c), paper.run(grads, params, **c))
            for c in paper.configs
        ]
        assert max(runs) > 1e5 * TOLERANCE, mutation


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_schedule_is_the_paper(name, x64):
    paper = SCHEDULES[name]
    for config in paper.configs:
        schedule = optim.get(name, **config)
        counts = list(range(60))
        ours = jax.jit(jax.vmap(schedule))(jnp.asarray(counts, jnp.int32))
        assert relative_error(ours, [paper.run(c, **config) for c in counts]) < TOLERANCE
        assert float(schedule(7)) == pytest.approx(paper.run(7, **config), rel=TOLERANCE)
    for mutation in paper.mutations:
        runs = [
            relative_error(*([paper.run(n, mutation=m, **c) for n in range(60)] for m in (mutation, None)))
            for c in paper.configs
        ]
        assert max(runs) > 1e5 * TOLERANCE, mutation


def test_every_optimizer_has_a_golden():
    # Without a formula, or with a random one.
    without = {"chain", "named_chain", "masked", "partition", "stateless", "stateless_with_tree_map", "add_noise"}
    without |= {"monitor", "snapshot", "sophia"}  # sophia needs a loss: tests/units/test_leafwise.py
    # Wrappers that only change the inputs of their inner transformation; reduce_on_plateau needs a loss.
    without |= {"apply_if_finite", "conditionally_mask", "conditionally_transform", "flatten", "freeze"}
    without |= {"packed", "selective_transform", "split_real_and_imaginary", "reduce_on_plateau"}
    without |= {"keras.TFOptimizer"}
    # Line searches need a function: tests/units/test_linesearch.py.
    without |= {"scale_by_backtracking_linesearch", "scale_by_zoom_linesearch"}
    named = {e.name for kind in ("transformation", "schedule") for e in optim.entries(kind)}
    assert named - without == (PAPERS.keys() | SCHEDULES.keys()) - without
