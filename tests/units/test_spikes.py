"""Which steps `skip_spikes` skips, and what stays as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

P = jnp.ones(2)


def run(norms, values=None, **options):
    """Which of these steps are skipped."""
    tx = optim.skip_spikes(optim.adam(0.1), **options)
    state, step, skipped = tx.init(P), jax.jit(tx.update), []
    for n, size in enumerate(norms):
        extra = {} if values is None else {"value": jnp.float32(values[n])}
        before = state.inner_state
        u, state = step(jnp.asarray([size, 0.0]), state, P, **extra)
        skipped.append(bool(state.last_skipped))
        same = [np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (before, state.inner_state)), strict=True)]
        assert all(same) == skipped[-1]
        assert bool(np.all(u == 0)) == skipped[-1]
    assert state.total_skipped == sum(skipped)
    return skipped


def reference(xs, window, sigmas, least):
    """The rule in NumPy, over a window of finite values."""
    past, skipped = [], []
    for x in xs:
        now = np.asarray(past[-window:])
        known = len(past) >= least
        skipped.append(not np.isfinite(x) or (known and x > now.mean() + sigmas * now.std()))
        past += [x] if np.isfinite(x) else []
    return skipped


NORMS = [1.0, 1.1, 0.9, 1.05, 9.0, 1.0, 2.0, np.nan, 1.0, 0.95, 4.0, 4.1, 4.2, 4.0, 40.0, np.inf, 1.0]


@pytest.mark.parametrize(("window", "sigmas", "least"), [(4, 2.0, 4), (8, 1.0, 2), (3, 6.0, 3)])
def test_norms(window, sigmas, least):
    skipped = run(NORMS, window=window, sigmas=sigmas, min_history=least)
    assert skipped == reference(NORMS, window, sigmas, least)
    assert 2 < sum(skipped) < len(NORMS) - 2


def test_losses():
    values = [3.0, 2.9, 3.1, 3.0, 5.0, 2.9, np.nan, 2.8]
    skipped = run([1.0] * 8, values, window=4, sigmas=2.0)
    assert skipped == reference(values, 4, 2.0, 2)
    assert skipped[4]
    assert skipped[6]


def test_half_of_the_window_is_the_history():
    assert run([1.0, 1.1, 9.0, 1.0], window=6) == [False] * 4
    assert run([1.0, 1.1, 1.0, 9.0], window=6) == [False] * 3 + [True]
