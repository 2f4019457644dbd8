"""Steps on spheres: radii of stacks, axes of matrices, and parameters that are not matrices."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import optim


def params():
    rng = np.random.default_rng(0)
    shapes = {"stack": (2, 3, 4), "matrix": (3, 2), "b": (3,)}
    return {k: jnp.asarray(rng.normal(size=s) * 2, jnp.float32) for k, s in shapes.items()}


def run(tx, params, steps=20):
    def step(carry, n):
        p, state = carry
        u, state = tx.update(jax.tree.map(lambda x: jnp.cos(x * 3 + n), p), state, p)
        return (optim.apply_updates(p, u), state), None

    return jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), jnp.arange(float(steps)))[0])(params)


def norms(x):
    return np.sqrt(np.sum(np.square(x), axis=(-2, -1)))


def test_every_matrix_stays_on_the_sphere_of_its_start():
    start = params()
    for tx in (optim.chain(optim.scale_by_adam(), optim.hyperball(0.1)), optim.adamh(0.1)):
        end, state = run(tx, start)
        for name in ("stack", "matrix"):
            np.testing.assert_allclose(norms(end[name]), norms(start[name]), rtol=3e-7)
            assert np.abs(end[name] - start[name]).max() > 0.1
    radius = optim.chain(optim.hyperball(0.1)).init(start)[0].radius
    assert {k: x.shape for k, x in radius.items()} == {"stack": (2,), "matrix": (), "b": ()}
    assert optim.inspect(tx, state)["learning_rate"] == 0.1


def test_the_radius_is_that_of_init():
    """Also where the parameters have left the sphere since."""
    tx, start = optim.hyperball(0.1), params()
    state, far = tx.init(start), jax.tree.map(lambda x: 3 * x, start)
    u, _ = tx.update(jax.tree.map(jnp.ones_like, far), state, far)
    np.testing.assert_allclose(norms(far["stack"] + u["stack"]), norms(start["stack"]), rtol=1e-6)


def test_other_parameters_take_adams_step():
    start = params()
    (end, _), (other, _) = (run(tx, start, 3) for tx in (optim.adamh(0.1, adam_learning_rate=0.02), optim.adam(0.02)))
    np.testing.assert_allclose(end["b"], other["b"], rtol=1e-6)


def test_axes_of_a_matrix():
    """Heads along the middle axis: each head's matrix has its own radius."""
    start = {"qkv": params()["stack"].transpose(1, 0, 2)}
    numbers = {"qkv": optim.MuonDimensionNumbers(0, 2)}
    end, _ = run(optim.muonh(0.1, weight_dimension_numbers=numbers), start)
    before, after = (norms(x["qkv"].transpose(1, 0, 2)) for x in (start, end))
    np.testing.assert_allclose(after, before, rtol=1e-6)
    assert np.abs(before[0] - before[1]) > 0.1


def test_norms_of_sharded_matrices():
    """As large as those of matrices on one device, along either axis and along the stack."""
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Auto, AxisType.Auto))
    start = {"stack": jnp.cos(jnp.arange(64.0)).reshape(4, 4, 4), "matrix": jnp.sin(jnp.arange(16.0)).reshape(4, 4)}
    specs = {"stack": PartitionSpec("a", None, "b"), "matrix": PartitionSpec("a", "b")}
    spread = {k: jax.device_put(x, NamedSharding(mesh, specs[k])) for k, x in start.items()}
    (one, a), (many, b) = (run(optim.hyperball(0.1), p) for p in (start, spread))
    for name, x in start.items():
        np.testing.assert_allclose(many[name], one[name], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(norms(many[name]), norms(x), rtol=1e-6)
        np.testing.assert_allclose(b.radius[name], a.radius[name], rtol=1e-6)
