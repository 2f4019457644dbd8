"""Norms and clipping of units against Optax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.transforms import unitwise_clip, unitwise_norm

optax = pytest.importorskip("optax", reason="Optax is a test dependency")
SHAPES = [(), (3,), (1, 3), (3, 1), (2, 3), (2, 3, 4), (2, 1, 4), (2, 3, 2, 4), (2, 1, 3, 2, 2)]


def array(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.skipif(not hasattr(optax.transforms, "unitwise_norm"), reason="this Optax has no unitwise_norm")
def test_as_optax():
    def all_of_them(of):
        for shape in SHAPES:
            norm = of.unitwise_norm(array(shape))
            yield norm
            yield of.unitwise_clip(norm, jnp.ones_like(norm), array(shape, 1), div_eps=1.5)
        yield of.unitwise_norm(array((2, 3)), axis=1)

    with jax.numpy_dtype_promotion("standard"):
        theirs = jax.jit(lambda: list(all_of_them(optax.transforms)))()
    ours = jax.jit(lambda: list(all_of_them(optim.transforms)))()
    assert [x.shape for x in ours] == [x.shape for x in theirs]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_six_axes():
    """Optax has no units for them."""
    x = array((2, 1, 2, 1, 2, 3))
    np.testing.assert_allclose(
        unitwise_norm(x)[0, 0, 0, 0, 0], np.linalg.norm(np.reshape(x, (-1, 3)), axis=0), rtol=1e-6
    )


def test_adaptive_grad_clip_of_five_axes():
    g, p = array(SHAPES[-1]), array(SHAPES[-1], 1)
    tx, theirs = optim.adaptive_grad_clip(0.5), optax.adaptive_grad_clip(0.5)
    u, _ = tx.update(g, tx.init(p), p)
    with jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose(u, theirs.update(g, theirs.init(p), p)[0], rtol=1e-6)
    assert np.any(u != g)


def test_zero_half_precision_complex_and_integers():
    @jax.jit
    def all_of_them(zero, half, z, i):
        slope = jax.grad(lambda g: unitwise_clip(unitwise_norm(g), jnp.ones(2), g).sum())(zero)
        return slope, *map(unitwise_norm, (half, z, i))

    half = jnp.full(4, 200, jnp.float16)  # 4 * 200^2 overflows in float16
    slope, *norms = all_of_them(jnp.zeros(2), half, jnp.asarray([3 + 4j]), jnp.asarray([3, 4]))
    np.testing.assert_array_equal(slope, 1)
    assert [float(x[0]) for x in norms] == [400, 5, 5]
    assert [str(x.dtype) for x in norms] == ["float16", "float32", "float32"]


def test_mistakes():
    with pytest.raises(ValueError, match=r"unitwise_clip: max_norm has shape \(3,\), grad has \(2,\)"):
        unitwise_clip(jnp.ones(2), jnp.ones(3), jnp.ones(2))
    with pytest.raises(ValueError, match="unitwise_clip: div_eps must be > 0"):
        unitwise_clip(jnp.ones(2), jnp.ones(2), jnp.ones(2), 0.0)
