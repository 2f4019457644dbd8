"""The elementwise families where the sweeps and the papers' transcriptions do not look."""

from decimal import Decimal, localcontext
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.numerics import complement, cube_root, decayed, ema
from optim.optimizers.radam import _lengths


def steps_of(tx, grads, params=None):
    params = jnp.zeros(len(grads[0])) if params is None else params
    state, updates = tx.init(params), []
    for g in grads:
        u, state = tx.update(jnp.asarray(g, params.dtype), state, params)
        updates.append(u)
    return np.stack(updates), state


def test_rprop_moves_by_this_gradient():
    """At once, not at the next step; nothing at a turn, and the step after it has the shorter size."""
    u, state = steps_of(optim.rprop(0.1), [[g] for g in (1.0, 2.0, 0.5, -1.0, -1.0, -3.0, 0.0, -1.0)])
    np.testing.assert_allclose(-u[:, 0], [0.1, 0.12, 0.144, 0, -0.072, -0.0864, 0, -0.0864], rtol=1e-6)
    np.testing.assert_allclose(state[0].step_sizes, [0.0864], rtol=1e-6)


def test_rprop_agrees_in_sign_where_a_product_would_vanish():
    u, _ = steps_of(optim.scale_by_rprop(1e-6), [[1e-36], [1e-36]])
    np.testing.assert_allclose(u[:, 0], [1e-6, 1.2e-6], rtol=1e-6)


def exact_lengths(b2, t):
    with localcontext() as context:
        context.prec = 60
        b = Decimal(b2)
        rho_inf = 2 / (1 - b) - 1
        return rho_inf - 2 * t * b**t / (1 - b**t), rho_inf


@pytest.mark.parametrize("b2", [0.2, 0.5, 0.9, 0.97, 0.99, 0.999, 0.9999999])
def test_radam_knows_its_length_in_float32(b2):
    """Where rho_inf and what is subtracted from it agree in all but the last digits."""
    rho = jax.jit(jax.vmap(lambda t: _lengths(b2, t)))
    counts = [1, 2, 5, 6, 7, 20, 100, 300, 693, 1000, 1001, 2000, 10**4]
    for ours, t in zip(np.stack(rho(jnp.asarray(counts, jnp.int32)), 1), counts, strict=True):
        np.testing.assert_allclose(ours.astype(float), [float(x) for x in exact_lengths(b2, t)], rtol=3e-7)
    naive = 2 / (1 - np.float32(0.999)) - 1 - 12 * np.float32(0.999) ** 6 / (1 - np.float32(0.999) ** 6)
    assert abs(naive / float(exact_lengths(0.999, 6)[0]) - 1) > 1e-5


def test_radam_length_at_the_ends():
    np.testing.assert_array_equal(_lengths(0.0, jnp.asarray(3)), 1.0)
    for t in (1, 7, 2**31 - 1):
        slopes = jax.grad(lambda b, t=t: sum(_lengths(b, jnp.asarray(t))))
        assert all(np.isfinite(slopes(b)) for b in (0.0, 0.3, 0.999))


def test_adopt_begins_with_nothing():
    """The first update is zero whatever the gradient, and the second moment becomes its square, not a part of it."""
    for kwargs in ({}, {"use_clipping": False}, {"clip_value_fn": lambda n: n + 1.0}):
        u, state = steps_of(optim.scale_by_adopt(**kwargs), [[3.0, 1e30, 0.0]])
        np.testing.assert_array_equal(u, 0)
        np.testing.assert_allclose(state.nu[:2], [9.0, np.finfo(np.float32).max], rtol=1e-6)


def test_adopt_clips_by_a_function_with_a_name():
    assert optim.fourth_root(16.0) == 2.0
    tx = optim.adopt(0.1, clip_value_fn=optim.fourth_root)
    assert repr(tx) == "adopt(0.1, clip_value_fn=fourth_root)"
    assert optim.to_config(tx)["clip_value_fn"] == {"$factory": "fourth_root"}
    assert optim.from_config(optim.to_config(tx)) == tx == optim.adopt(0.1)


def test_lion_remembers_the_last_gradient_alone():
    """b2 = 0 keeps nothing of the mean, and yet the next update needs what it became."""
    u, _ = steps_of(optim.scale_by_lion(0.9, 0.0, mode="refined"), [[0.5], [-1.0], [0.25]])
    np.testing.assert_allclose(u[:, 0], [0.05, 0.35, -0.875], rtol=1e-6)


def test_the_first_update_has_no_change():
    """Optimistic descent and Adan look at differences; the first gradient is different from nothing."""
    u, _ = steps_of(optim.scale_by_optimistic_gradient(0.5, 2.0), [[1.0], [3.0]])
    np.testing.assert_allclose(u[:, 0], [0.5, 5.5])
    _, state = steps_of(optim.scale_by_adan(), [[1.0]])
    np.testing.assert_array_equal(state.v, 0)
    np.testing.assert_allclose(state.g, 1)


def test_what_bfloat16_parameters_leave_wide():
    """Differences, sums that never decay and slow means, also where a schedule says how slow; the copy is exact."""
    params = jnp.ones(2, jnp.bfloat16)

    def narrow(tx):
        return {n for n, x in tx.init(params)._asdict().items() if x is not None and x.dtype == jnp.bfloat16}

    assert narrow(optim.scale_by_adan()) == {"m"}
    assert narrow(optim.scale_by_ademamix()) == {"m1"}
    assert narrow(optim.scale_by_ademamix(b3=optim.linear_schedule(0.5, 0.9, 10))) == {"m1"}
    assert narrow(optim.scale_by_ademamix(mu_dtype="bfloat16")) == {"m1", "m2"}
    assert narrow(optim.scale_by_madgrad(0.1)) == {"x0"}
    assert narrow(optim.scale_by_rprop(0.1)) == narrow(optim.scale_by_optimistic_gradient()) == set()


def test_madgrad_has_a_copy_of_its_own():
    params = {"w": jnp.arange(3.0)}
    tx = optim.scale_by_madgrad(0.1)
    state = tx.init(params)
    step = jax.jit(lambda p, s: tx.update({"w": jnp.ones(3)}, s, p), donate_argnums=(0,))
    _, state = step(params, state)
    np.testing.assert_array_equal(state.x0["w"], jnp.arange(3.0))


def test_cube_root():
    x = jnp.asarray([-8.0, 0.0, 1e-30, 27.0])
    np.testing.assert_allclose(cube_root(x), [-2, 0, 1e-10, 3], rtol=1e-6)
    slope = jax.vmap(jax.grad(cube_root))
    np.testing.assert_allclose(slope(x), [1 / 12, 0, 1e20 / 3, 1 / 27], rtol=1e-6)


def test_a_decay_given_in_double_is_not_rounded_first(x64):
    """1 - 0.9999 from the float32 next to 0.9999 is off by 1.7e-4 of itself."""
    x, g, b = jnp.ones(3, jnp.float32), 2 * jnp.ones(3, jnp.float32), jnp.asarray(0.9999)
    assert complement(x, b).dtype == jnp.float32
    assert float(complement(x, b)) == pytest.approx(1e-4, rel=1e-7)
    assert float(complement(x, b.astype(jnp.float32))) != pytest.approx(1e-4, rel=1e-5)
    assert ema(0 * x, g, b)[0] == pytest.approx(2e-4, rel=1e-6)
    assert decayed(x, jnp.asarray(0.25, jnp.bfloat16))[0] == 0.25


class LagState(NamedTuple):
    g: Any


def test_a_slot_named_as_the_gradient_is():
    """The rule sees it as last_g; g is the gradient."""
    tx = optim.elementwise(lambda g, last_g: (g - last_g, g), LagState, g=optim.Slot())
    u, state = steps_of(tx, [[1.0], [3.0], [3.5]])
    np.testing.assert_allclose(u[:, 0], [1.0, 2.0, 0.5])
    assert state.g == 3.5
