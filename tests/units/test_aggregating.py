"""Aggregators of gradients per example against NumPy and Optax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.experimental import aggregating as agg

PARAMS = {"w": jnp.zeros(2), "b": jnp.zeros(())}
rng = np.random.default_rng(0)
GRADS = [
    {"w": jnp.asarray(rng.normal(size=(3, 2)), "float32"), "b": jnp.asarray(rng.normal(size=3), "float32")}
    for _ in range(4)
]


def run(tx, grads=GRADS, params=PARAMS):
    state, out, update = tx.init(params), [], jax.jit(lambda g, s: tx.update(g, s))
    for g in grads:
        u, state = update(g, state)
        out.append(u)
    return out, state


def close(a, b, rtol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-6), a, b)


@pytest.mark.parametrize("steps", [1, 2])
def test_running_variance(steps):
    """As NumPy computes it over all examples of `steps` steps."""
    tx = agg.add_mean_variance_to_opt(optim.sgd(0.5), 0.9, accumulation_steps=steps)
    out, state = run(tx)
    mean, variance, weight = 0.0, 0.0, 0.0
    for k in range(0, 4, steps):
        window = np.concatenate([g["w"] for g in GRADS[k : k + steps]]).astype(np.float64)
        close(out[k + steps - 1]["w"], -0.5 * window.mean(0))
        assert all(not np.any(u["w"]) for u in out[k : k + steps - 1])
        mean, variance = 0.9 * mean + 0.1 * window.mean(0), 0.9 * variance + 0.1 * window.var(0, ddof=1)
        weight = 0.9 * weight + 0.1
    means, variances = agg.get_unbiased_mean_and_variance_ema(state)
    close(means["w"], mean / weight)
    close(variances["w"], variance / weight)


def test_as_optax():
    optax = pytest.importorskip("optax", reason="Optax is a test dependency")
    theirs = getattr(optax.experimental, "aggregating", None)
    if theirs is None:
        pytest.skip("this Optax has no aggregators")

    def all_of_them(of, lib):
        yield run(of.process(lib.scale(0.5), of.average_incrementally_updates(0, 2), lib.adam(0.1)))
        yield run(of.add_mean_variance_to_opt(lib.adam(0.1), 0.9, 0, 2))

    with jax.numpy_dtype_promotion("standard"):
        expected = list(all_of_them(theirs, optax))
    ours = list(all_of_them(agg, optim))
    leaves = [jax.tree.leaves(x) for x in (ours, expected)]
    assert [jnp.shape(x) for x in leaves[0]] == [jnp.shape(x) for x in leaves[1]]
    close(*leaves)
    assert [x.dtype for x in leaves[0]] == [x.dtype for x in leaves[1]]


def test_before_the_first_update_and_without_averages():
    state = agg.add_mean_variance_to_opt(optim.sgd(0.5)).init(PARAMS)
    mean, variance = agg.get_unbiased_mean_and_variance_ema(state)
    assert not any(np.any(x) for x in jax.tree.leaves((mean, variance)))
    assert agg.get_unbiased_mean_and_variance_ema(optim.sgd(0.5).init(PARAMS)) == (None, None)
    assert not any(x.weak_type for x in jax.tree.leaves(state))


def test_several_axes_narrow_complex_and_absent_gradients():
    params = {"h": jnp.zeros(2, jnp.bfloat16), "z": jnp.zeros((), jnp.complex64), "n": None, "g": jnp.zeros(1)}
    z = jnp.asarray([[1 + 1j, 3 - 1j], [2j, 4]])
    grads = {"h": jnp.ones((2, 2, 2), jnp.bfloat16), "z": z, "n": None, "g": None}
    tx = agg.get_per_element_mean_and_sum_sq_diff_grads((0, 1), 2)
    mean, aux = run(tx, [grads, grads], params)[0][1]
    assert mean["h"].dtype == jnp.bfloat16
    assert mean["n"] is mean["g"] is None
    assert int(aux["sample_size"]) == 8
    np.testing.assert_allclose(mean["z"], 2 + 0.5j, rtol=1e-6)
    exact = 2 * (np.abs(np.asarray(z) - (2 + 0.5j)) ** 2).sum()
    np.testing.assert_allclose(aux["sum_sq_diff_grads"]["z"], exact, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: agg.accumulate_avg_updates(0), "accumulate_avg_updates: accumulation_steps must be an integer >= 1"),
        (lambda: agg.average_per_element_updates("a"), "per_elt_axis must be an int or a tuple of ints, got 'a'"),
        (lambda: agg.add_mean_variance_to_opt(1), "opt"),
        (lambda: agg.track_per_element_mean_and_variance_with_ema(1.0), r"ema_decay must be in \[0, 1\)"),
        (
            lambda: agg.get_batch_size_from_per_elt_updates({"a": jnp.ones(2), "b": jnp.ones(3)}, 0),
            r"the updates must have one number of examples, got \[2, 3\]",
        ),
        (
            lambda: run(agg.average_per_element_updates(1)),
            r"an update of shape \(3,\) has no axis 1, which per_elt_axis names",
        ),
    ],
)
def test_mistakes(call, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        call()
