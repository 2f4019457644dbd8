"""Products with the Hessian, and diagonals, against full Hessians and Optax."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import optim
from optim import second_order

PARAMS = {"w": jnp.asarray([[0.5, -1.0], [0.25, 2.0], [1.0, -0.5]]), "b": jnp.asarray(0.75)}
INPUTS, TARGETS = jnp.linspace(-1, 1, 12).reshape(4, 3), jnp.linspace(0, 2, 8).reshape(4, 2)


def loss(params, inputs, targets):
    return jnp.mean((jnp.tanh(inputs @ params["w"] + params["b"]) ** 3 - targets) ** 2)


def full(loss, params, *data):
    """The whole Hessian."""
    flat, unravel = ravel_pytree(params)
    return jax.jit(jax.hessian(lambda x: loss(unravel(x), *data)))(flat)


def test_against_the_whole_hessian(x64):
    args = jax.tree.map(lambda x: np.asarray(x, np.float64), (PARAMS, INPUTS, TARGETS))
    v = np.linspace(1, 2, 7)

    @jax.jit
    def all_of_them(v, params, *data):
        as_tree = ravel_pytree(params)[1](v)
        products = [second_order.hvp(loss, x, params, *data) for x in (v, as_tree)]
        return full(loss, params, *data), products, second_order.hessian_diag(loss, params, *data)

    hessian, products, diagonal = all_of_them(v, *args)
    for product in products:
        assert jax.tree.map(jnp.shape, product) == jax.tree.map(jnp.shape, PARAMS)
        flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(product)])
        np.testing.assert_allclose(flat, np.asarray(hessian) @ v, rtol=1e-12)
    np.testing.assert_allclose(diagonal, np.diag(hessian), rtol=1e-12)


def test_more_columns_than_are_computed_at_once():
    x = jnp.linspace(-1, 1, 2 * second_order.AT_ONCE + 3)
    cubes = jax.jit(lambda x: second_order.hessian_diag(lambda x, a, _: a * jnp.sum(x**3), x, 2.0, None))(x)
    np.testing.assert_allclose(cubes, 12 * x, rtol=1e-6)


def test_as_optax():
    optax = pytest.importorskip("optax", reason="Optax is a test dependency")
    args = (PARAMS, INPUTS, TARGETS)

    def all_of_them(of):
        diagonals = of.hessian_diag(loss, *args), of.fisher_diag(loss, *args)
        return of.hvp(loss, jnp.linspace(1, 2, 7), *args), *diagonals

    with jax.numpy_dtype_promotion("standard"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = jax.jit(lambda: all_of_them(optax.second_order))()
    ours = jax.jit(lambda: all_of_them(second_order))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ours, theirs)


def test_a_complex_parameter_is_two_real_ones():
    z = jnp.asarray([1 + 2j, -0.5j])

    def of_pairs(pairs, inputs, targets):
        return jnp.sum(inputs * pairs[..., 0] ** 3) + jnp.sum(pairs[..., 0] * pairs[..., 1] ** 2)

    def of_complex(params, inputs, targets):
        return of_pairs(optim.numerics.as_pairs(params["z"]), inputs, targets)

    def pairs_of(x):
        return np.stack([np.real(x), np.imag(x)], axis=-1)

    pairs, params, v = jnp.asarray(pairs_of(z)), {"z": z, "b": jnp.ones(2)}, np.asarray([0, 0, 1j, 2 - 1j], "complex64")
    hessian = np.asarray(full(of_pairs, pairs, 2.0, None))
    expected = (hessian @ pairs_of(v[2:]).ravel()).reshape(2, 2)

    @jax.jit
    def all_of_them(params):
        args = (of_complex, params, 2.0, None)
        product = second_order.hvp(of_complex, v, params, 2.0, None)
        return product, second_order.hessian_diag(*args), second_order.fisher_diag(*args)

    product, diagonal, fisher = all_of_them(params)
    np.testing.assert_allclose(pairs_of(product["z"]), expected, rtol=1e-6)
    assert not product["b"].any()
    np.testing.assert_allclose(pairs_of(diagonal)[2:], np.diag(hessian).reshape(2, 2), rtol=1e-6)
    squares = jax.jit(jax.grad(of_pairs), static_argnums=2)(pairs, 2.0, None) ** 2
    np.testing.assert_allclose(pairs_of(fisher)[2:], squares, rtol=1e-6)


def test_none_integers_and_nothing():
    params = {"a": jnp.asarray([1.0, 2.0]), "n": None, "i": jnp.asarray(3)}

    def cubes(params, inputs, targets):
        return params["i"].astype(jnp.float32) * jnp.sum(params["a"] ** 3)

    @jax.jit
    def all_of_them(params):
        product = second_order.hvp(cubes, jnp.ones(2), params, None, None)
        return product, second_order.hessian_diag(cubes, params, None, None)

    product, diagonal = all_of_them(params)
    np.testing.assert_allclose(product.pop("a"), [18.0, 36.0], rtol=1e-6)
    assert product == {"n": None, "i": None}
    np.testing.assert_allclose(diagonal, [18.0, 36.0], rtol=1e-6)
    assert second_order.hessian_diag(cubes, {}, None, None).shape == (0,)
    assert second_order.fisher_diag(cubes, {}, None, None).shape == (0,)


def test_half_precision_keeps_its_dtype():
    x = jnp.asarray([300.0, 1.0], jnp.float16)
    fisher = second_order.fisher_diag(lambda x, a, _: jnp.sum(x * x), x, None, None)
    assert fisher.dtype == jnp.float16
    assert float(fisher[1]) == 4


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: second_order.hvp(loss, jnp.ones(3), PARAMS, INPUTS, TARGETS), "hvp: v must be a vector of 7 elements"),
        (
            lambda: second_order.hvp(loss, jnp.full(7, 1j), PARAMS, INPUTS, TARGETS),
            "hvp: v is complex64 where params is float32",
        ),
        (
            lambda: second_order.hessian_diag(lambda p, x, y: p["w"], PARAMS, INPUTS, TARGETS),
            "hessian_diag: the loss must be a real scalar, got an array of shape",
        ),
        (lambda: second_order.fisher_diag(1, PARAMS, INPUTS, TARGETS), "fisher_diag: loss must be a function"),
        (
            lambda: second_order.fisher_diag(lambda p: p["b"], PARAMS, INPUTS, TARGETS),
            r"loss must be a function \(params, inputs, targets\) -> real scalar",
        ),
    ],
)
def test_mistakes(call, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        call()
