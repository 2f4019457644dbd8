"""AdaHessian with a Hessian that is known, and its estimate."""

import jax
import jax.numpy as jnp
import numpy as np

import optim
from optim.optimizers.adam_mini import all_axes

H = {"w": jnp.asarray([[1.0, -4.0], [0.5, 2.0]]), "b": jnp.asarray([3.0, 0.25])}
PARAMS = jax.tree.map(lambda h: h + 1, H)


def loss(p):
    """Its Hessian is diagonal, so that the estimate of its diagonal is exact."""
    return sum(jnp.sum(h * x**2) / 2 for h, x in zip(jax.tree.leaves(H), jax.tree.leaves(p), strict=True))


def expected(g, h, *, b1=0.9, b2=0.99, eps=1e-3, power=1.0, steps=3):
    m = v = 0 * g
    for _ in range(steps):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * h**2
    return m / (1 - b1**steps) / (np.sqrt(v / (1 - b2**steps)) ** power + eps)


def update(**options):
    tx = optim.scale_by_adahessian(0.9, 0.99, 1e-3, **options)
    state, g = tx.init(PARAMS), jax.grad(loss)(PARAMS)
    for _ in range(3):
        u, state = tx.update(g, state, PARAMS, obj_fn=loss)
    return g, u


def test_the_hessian_divides():
    for power in (1.0, 0.5):
        g, u = update(hessian_power=power)
        for k in H:
            np.testing.assert_allclose(u[k], expected(np.asarray(g[k]), np.asarray(H[k]), power=power), rtol=1e-5)


def test_blocks_average_magnitudes():
    g, u = update(blocks=all_axes)
    for k in H:
        mean = np.mean(np.abs(H[k])) + 0 * H[k]
        np.testing.assert_allclose(u[k], expected(np.asarray(g[k]), np.asarray(mean)), rtol=1e-5)


def test_the_optimizer_minimises():
    tx = optim.adahessian(0.5)
    params, state = jax.tree.map(jnp.ones_like, H), None

    def quartic(p):
        return sum(jnp.sum((1 + h**2) * x**4) for h, x in zip(jax.tree.leaves(H), jax.tree.leaves(p), strict=True))

    @jax.jit
    def step(params, state):
        u, state = tx.update(jax.grad(quartic)(params), state, params, obj_fn=quartic)
        return optim.apply_updates(params, u), state

    state = tx.init(params)
    for _ in range(40):
        params, state = step(params, state)
    assert quartic(params) < 1e-3 * quartic(jax.tree.map(jnp.ones_like, H))
