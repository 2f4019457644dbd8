"""All the leaves there are: nothing, empty, scalar, weak, of every dtype, zero, tiny, huge, infinite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters import partial_eval

import optim

from .rows import avals, column, equal, finite, grads, inexact, plain, tree

NARROW = ["float16", "bfloat16"]
MIXED = [
    ("bfloat16", "float32"),
    ("float32", "bfloat16"),
    ("float16", "float32"),
    ("float32", "float16"),
    ("float64", "float32"),
    ("float32", "float64"),
]


def of_every_dtype():
    """One tree with a parameter of each dtype, float64 among them where it is enabled."""
    dtypes = ["float16", "bfloat16", "float32", "float64", "complex64"]
    return {d: jnp.asarray([0.5, -0.25, 1.0], d) for d in dtypes}


def stepper(tx):
    def step(params, state, g):
        u, state = tx.update(g, state, params)
        return optim.apply_updates(params, u), state, u

    return jax.jit(step)


@column("dtypes")
def test_every_dtype(row, x64):
    """A zero gradient first, then others: finite, and every dtype stays what it was at init."""
    tx, params = row.make(), of_every_dtype()
    state, step = tx.init(params), stepper(tx)
    before = avals(params), avals(state)
    g = jax.tree.map(jnp.zeros_like, params)
    for n in range(3):
        params, state, u = step(params, state, g)
        assert [x.dtype for x in jax.tree.leaves(u)] == [x.dtype for x in jax.tree.leaves(g)]
        assert finite((params, state, u))
        g = grads(params, n)
    assert (avals(params), avals(state)) == before


@column("dtypes")
def test_mixed_dtypes(row, x64):
    tx = row.make()
    for p_dtype, g_dtype in MIXED:
        params, g = tree(p_dtype), grads(tree(g_dtype))
        state = tx.init(params)
        u, new = jax.eval_shape(tx.update, g, state, params)
        assert avals(new) == avals(state), (p_dtype, g_dtype)
        assert [x.dtype for x in jax.tree.leaves(u)] == [x.dtype for x in jax.tree.leaves(g)]
        assert avals(jax.eval_shape(optim.apply_updates, params, u)) == avals(params)


@column("dtypes")
def test_slow_averages_are_not_narrow(row):
    """bfloat16 parameters: only a fast first moment is, the parameters at init, a gradient, or what is asked for."""
    allowed = {"grad", "mu", "trace", "ema", "m", "m1", "x0", "cache", "init_params", "init_particles", "params0"}
    state = row.make().init(tree(jnp.bfloat16))
    for path, x in jax.tree_util.tree_flatten_with_path(state)[0]:
        names = {getattr(k, "name", getattr(k, "key", None)) for k in path}
        if x.dtype == jnp.bfloat16:
            assert names & allowed, path


@column("magnitudes")
def test_tiny_and_huge_gradients_leave_no_nan(row):
    tx, params = row.make(), tree()
    for size in (1e-38, 1e-20, 1e20, 1e30):
        state = tx.init(params)
        for n, scale in enumerate((size, 1.0, 0.0)):
            g = jax.tree.map(lambda x, scale=scale: x * scale, grads(params, n))
            u, state = tx.update(g, state, params)
            assert not any(np.isnan(plain(x)).any() for x in jax.tree.leaves((u, state)) if inexact(x)), size


@column("magnitudes", "elementwise")
@pytest.mark.parametrize("bad", [np.inf, np.nan], ids=["inf", "nan"])
def test_a_bad_element_stays_where_it_is(row, bad):
    """Elementwise rules keep an infinite or undefined element to itself."""
    tx, params = row.make(), {"w": jnp.linspace(-1, 1, 6).reshape(3, 2), "b": jnp.array([0.5, -0.25])}
    g = grads(params)
    poisoned = {**g, "w": g["w"].at[1, 1].set(bad)}
    state = tx.init(params)
    good, good_state = tx.update(g, state, params)
    u, new = tx.update(poisoned, state, params)
    mask = np.ones((3, 2), bool)
    mask[1, 1] = False
    for a, b in zip(jax.tree.leaves((u, new)), jax.tree.leaves((good, good_state)), strict=True):
        where = mask if a.shape == (3, 2) else ...
        np.testing.assert_array_equal(plain(a)[where], plain(b)[where])


@column("none")
def test_none_gradient_leaves_everything_as_it_is(row):
    """One operation at a time: a program for each tree with another leaf missing would be compiled."""
    tx, params = row.make(), tree()
    with jax.disable_jit():
        none_gradients(tx, params)


def none_gradients(tx, params):
    state = tx.init(params)
    _, state = tx.update(grads(params), state, params)
    g = {**grads(params, 1), "b": None}
    u, new = tx.update(g, state, params)
    assert u["b"] is None
    assert jax.tree.structure(new) == jax.tree.structure(state)
    for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(new)[0], jax.tree.leaves(state), strict=True):
        if any(getattr(k, "key", None) == "b" for k in path):
            np.testing.assert_array_equal(a, b)
    equal(optim.apply_updates(params, u)["b"], params["b"])
    moved = optim.apply_updates(params, u)
    assert moved["w"].shape == params["w"].shape

    branch = {**grads(params, 1), "deep": None}
    u, new = tx.update(branch, state, params)
    assert jax.tree.leaves(u["deep"]) == []
    assert jax.tree.structure(new) == jax.tree.structure(state)
    equal(optim.apply_updates(params, u)["deep"], params["deep"])

    every = jax.tree.map(lambda _: None, params)
    u, new = tx.update(every, state, params)
    assert jax.tree.leaves(u) == []
    assert jax.tree.structure(new) == jax.tree.structure(state)


@column("none")
def test_none_parameter_has_no_slots(row):
    tx, params = row.make(), {**tree(), "b": None}
    state = tx.init(params)
    assert not any(
        getattr(k, "key", None) == "b" for path, _ in jax.tree_util.tree_flatten_with_path(state)[0] for k in path
    )
    u, new = jax.eval_shape(tx.update, {**grads(tree()), "b": None}, state, params)
    assert u["b"] is None
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert avals(new) == avals(state)
    assert jax.eval_shape(optim.apply_updates, params, u)["b"] is None


@column("none")
def test_float0_and_integers_are_carried_along(row):
    """JAX's own word for no gradient: what `jax.grad(..., allow_int=True)` gives for an integer leaf."""
    tx, params = row.make(), {"w": jnp.ones(3), "n": jnp.arange(3)}
    state = tx.init(params)
    g = {"w": jnp.ones(3), "n": np.zeros(3, jax.dtypes.float0)}
    u, _ = tx.update(g, state, params)
    equal(optim.apply_updates(params, u)["n"], params["n"])


@column("leaves")
def test_empty_scalar_weak_and_bare_leaves(row):
    tx = row.make()
    step = stepper(tx)
    for params in (
        {},
        [],
        {"e": jnp.zeros((0,)), "f": jnp.zeros((0, 3)), "w": jnp.ones(2)},
        jnp.ones((2, 3)),
        jnp.asarray(0.5, jnp.float32),
    ):
        state = tx.init(params)
        for n in range(2):
            params, state, u = step(params, state, grads(params, n))
        assert finite((params, state, u))
        assert jax.tree.structure(u) == jax.tree.structure(params)


@column("leaves")
def test_weak_scalar_stays_weak_in_one_trace(row):
    tx, traces = row.make(), []

    @jax.jit
    def step(params, state):
        traces.append(1)
        u, state = tx.update(jax.grad(lambda p: (p - 0.3) ** 2)(params), state, params)
        return optim.apply_updates(params, u), state

    params, state = 2.0, tx.init(2.0)
    assert not any(weak for _, _, weak in avals(state))
    for _ in range(3):
        params, state = step(params, state)
    assert len(traces) == 1
    assert params.weak_type


@column("derivative")
def test_derivative_is_finite_where_the_gradient_is_zero(row):
    """Through two updates, with respect to the gradients and to the parameters."""
    tx, params = row.make(), tree()
    zeros = jax.tree.map(jnp.zeros_like, params)
    partly = {**grads(params), "b": jnp.zeros(2)}

    def total(g, p):
        u, state = tx.update(g, tx.init(p), p)
        u2, _ = tx.update(jax.tree.map(lambda x: 0.5 * x, g), state, optim.apply_updates(p, u))
        return sum(jnp.sum(x) for x in jax.tree.leaves((u, u2)))

    slope = jax.jit(jax.grad(total, argnums=(0, 1)))
    for g in (zeros, partly):
        assert finite(slope(g, params))


@column("purity")
def test_reading_params_is_an_error_without_them(row):
    """Without params an update is the same or a sentence, never something else."""
    tx, params = row.make(), tree()
    state = tx.init(params)
    if reads_params(row.given(tx), state, params):
        needs = f"^{row.entry.name}: update needs the parameters(: call update| and obj_fn)"
        with pytest.raises((ValueError, TypeError), match=needs):
            tx.update(grads(params), state)
    else:
        row.close(tx.update(grads(params), state)[0], tx.update(grads(params), state, params)[0])


def reads_params(tx, state, params):
    """Whether the update or the state after it depends on the parameters, from its jaxpr."""

    def total(p):
        leaves = jax.tree.leaves(tx.update(grads(params), state, p))
        return sum(jnp.sum(x.astype(jnp.float32)) for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact))

    jaxpr = jax.make_jaxpr(total)(params).jaxpr
    return any(partial_eval.dce_jaxpr(jaxpr, [True])[1])


@column("complex", "elementwise", "treewise")
def test_a_complex_parameter_is_two_real_ones(row):
    tx = row.make()
    params = {"z": jnp.asarray([0.5 - 1j, 2 + 0.25j, -1 + 1j], jnp.complex64), "x": jnp.ones(2)}
    step = jax.jit(lambda g, s, p: tx.update(g, s, p))

    def apart(t):
        return {**t, "z": {"re": t["z"].real, "im": t["z"].imag}}

    state, state_apart = tx.init(params), tx.init(apart(params))
    sizes = [sum(x.nbytes for x in jax.tree.leaves(s)) for s in (state, state_apart)]
    if sizes[0] > sizes[1] and "dtype" in repr(tx):
        pytest.skip("there is no complex bfloat16, so the slot is wider")
    assert sizes[0] == sizes[1]
    for n in range(3):
        g = {"z": jnp.asarray([1 - 2j, 0.1j, n + 1j], jnp.complex64), "x": jnp.asarray([0.5, n - 1.0])}
        u, state = step(g, state, params)
        u_apart, state_apart = step(apart(g), state_apart, apart(params))
        row.close(apart(u), u_apart)
        params = optim.apply_updates(params, u)
