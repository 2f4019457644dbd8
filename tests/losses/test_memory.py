"""Softmax losses of a large vocabulary hold no further array of the logits' size, and are differentiable twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special as sp

import optim

from ..every.rows import as_users_compile

TOKENS, VOCABULARY = 256, 4096
VECTOR = 4 * TOKENS
"""One float32 number a token, in bytes. A float32 array of the logits' size is 4,096 of them."""


def loss(z, y, **kwargs):
    return jnp.mean(optim.softmax_cross_entropy_with_integer_labels(z, y, **kwargs))


def temporaries(f, *args):
    return as_users_compile(f).lower(*args).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_temporaries(dtype):
    """The largest logit, the normaliser, the label's logit: four numbers a token at most."""
    z, y = jax.ShapeDtypeStruct((TOKENS, VOCABULARY), dtype), jax.ShapeDtypeStruct((TOKENS,), jnp.int32)
    assert temporaries(loss, z, y) <= 4 * VECTOR
    assert temporaries(jax.value_and_grad(loss), z, y) <= 4 * VECTOR


def test_what_is_stored_between_value_and_gradient():
    """Where the loss is compiled and its derivative is not: the logits, the labels, and two numbers a token."""
    z, y = jnp.ones((TOKENS, 64), jnp.bfloat16), jnp.zeros(TOKENS, int)
    _, pull = jax.vjp(jax.jit(lambda z: loss(z, y)), z)
    stored = sorted((x.dtype.name, x.shape) for x in jax.tree.leaves(pull))
    assert stored == [("bfloat16", z.shape), ("float32", (TOKENS, 1)), ("float32", (TOKENS, 1)), ("int32", y.shape)]


@pytest.mark.parametrize("dense", [False, True], ids=["integer", "dense"])
def test_derivatives(dense, x64):
    """p - y, and p (v - <p, v>) in the direction v, in reverse, forward and over each other."""
    rng = np.random.default_rng(3)
    z, v, y = rng.normal(size=(3, 5)), rng.normal(size=(3, 5)), np.array([4, 0, 2])
    hot, p = np.eye(5)[y], sp.softmax(z, -1)

    def total(z):
        if dense:
            return jnp.sum(optim.softmax_cross_entropy(z, hot))
        return jnp.sum(optim.softmax_cross_entropy_with_integer_labels(z, y))

    slope, curvature = jax.jit(lambda z, v: jax.jvp(jax.grad(total), (z,), (v,)))(z, v)
    reverse = jax.jit(jax.grad(lambda z: jax.jvp(total, (z,), (jnp.asarray(v),))[1]))(z)
    expected = p * (v - np.sum(p * v, -1, keepdims=True))
    np.testing.assert_allclose(slope, p - hot, atol=1e-14)
    np.testing.assert_allclose(curvature, expected, atol=1e-14)
    np.testing.assert_allclose(reverse, expected, atol=1e-14)


def test_one_rounding_in_the_gradient():
    """p - 1 is rounded to bfloat16 once: the gradient of a certain label is not lost beside 1."""
    z, y = jnp.asarray([[8.0, 0.0]], jnp.bfloat16), jnp.asarray([0])
    integer = lambda z: optim.softmax_cross_entropy_with_integer_labels(z, y)[0]  # noqa: E731
    dense = lambda z: optim.softmax_cross_entropy(z, jnp.asarray([[1.0, 0.0]], z.dtype))[0]  # noqa: E731
    for slope in jax.jit(lambda z: (jax.grad(integer)(z), jax.grad(dense)(z)))(z):
        np.testing.assert_allclose(np.asarray(slope, float), [[-sp.expit(-8.0), sp.expit(-8.0)]], rtol=2**-8)


def test_labels():
    """Labels of 8 bits count more than 127 classes, -1 is the last, and a label that is out of range is NaN."""
    z = jnp.arange(200.0)[None].repeat(4, 0) / 100
    labels = jnp.asarray([127, -1, 0, -128], jnp.int8)
    value, slopes = jax.jit(jax.value_and_grad(lambda z: loss(z, labels)))(z)
    expected = -sp.log_softmax(np.arange(200) / 100)[[127, 199, 0, 72]]
    np.testing.assert_allclose(value, expected.mean(), rtol=1e-6)
    np.testing.assert_array_equal(np.argmin(slopes, 1), [127, 199, 0, 72])
    outside, padding = jnp.asarray([200, -201, 199, -200]), jnp.asarray([True, True, False, False])

    def without_padding(z):
        losses = optim.softmax_cross_entropy_with_integer_labels(z, outside)
        return jnp.sum(jnp.where(padding, 0, losses)), losses

    slopes, losses = jax.jit(jax.grad(without_padding, has_aux=True))(z)
    np.testing.assert_array_equal(np.isnan(losses), padding)
    assert np.all(np.isfinite(slopes))
