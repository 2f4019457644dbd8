"""SOAP's order, and what it does where a factorisation fails."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

import optim

from ..every.rows import close, grads

PARAMS = {"w": jnp.zeros((3, 4, 2)), "b": jnp.zeros(3)}


def jaxprs_in_params(params):
    for value in params.values():
        for x in value if isinstance(value, list | tuple) else [value]:
            if hasattr(x, "eqns") or hasattr(x, "jaxpr"):
                yield getattr(x, "jaxpr", x)


def after(tx, n, params=PARAMS):
    state = tx.init(params)
    for i in range(n):
        u, state = tx.update(grads(params, i * i), state, params)
    return u, state


def test_the_first_update_only_makes_the_bases():
    u, state = after(optim.scale_by_soap(), 1)
    close(u, jax.tree.map(jnp.zeros_like, u))
    close((state.mu, state.nu), (u, u))
    for basis in state.bases["w"]:
        eye = np.broadcast_to(np.eye(basis.shape[-1]), basis.shape)
        np.testing.assert_allclose(basis @ jnp.swapaxes(basis, 1, 2), eye, atol=1e-5)
    assert [q.shape for q in state.bases["w"]] == [(3, 4, 4), (3, 2, 2)]
    assert [q.shape for q in state.bases["b"]] == [(0, 0), (0, 0)]


def test_the_bases_change_at_every_second_of_two_updates():
    tx = optim.scale_by_soap(precondition_frequency=2)
    right = [np.asarray(after(tx, n)[1].bases["w"][1]) for n in range(1, 6)]
    changed = [not np.array_equal(a, b) for a, b in itertools.pairwise(right)]
    assert changed == [False, True, False, True]


def test_what_is_not_finite_leaves_statistics_and_bases_as_they_are():
    tx = optim.scale_by_soap(precondition_frequency=1)
    _, state = after(tx, 3)
    assert int(state.failures) == 0
    bad = {"w": PARAMS["w"].at[1].set(jnp.nan), "b": PARAMS["b"]}
    _, new = tx.update(bad, state, PARAMS)
    assert int(new.failures) >= 2
    for old, now in zip(state.statistics["w"], new.statistics["w"], strict=True):
        np.testing.assert_array_equal(old[1], now[1])
        assert np.isfinite(now).all()
    assert all(np.isfinite(q).all() for q in new.bases["w"])


def test_a_step_without_new_bases_has_no_factorisation():
    """It is one branch of a conditional: what runs at every step has products of matrices only."""
    tx = optim.scale_by_soap()
    program = jax.make_jaxpr(tx.update)(PARAMS, tx.init(PARAMS), PARAMS)
    everywhere, outside = primitives(program.jaxpr, branches=True), primitives(program.jaxpr, branches=False)
    assert {"eigh", "qr"} <= everywhere
    assert not {"eigh", "qr"} & outside
    assert {"dot_general", "cond"} <= outside


def primitives(jaxpr, *, branches):
    found = set()
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        found.add(name)
        if branches or name != "cond":
            for inner in jaxprs_in_params(equation.params):
                found |= primitives(inner, branches=branches)
    return found
