"""Optimizers that look at whole leaves: what the sweeps and the goldens of one matrix do not see."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import optim
from optim.interop.optax import with_optax_rules

from ..every.rows import close, close_in_size, finite, grads

MATRICES = {
    "wide": jnp.asarray(np.linspace(-1, 1, 6).reshape(2, 3), jnp.float32),
    "tall": jnp.asarray(np.linspace(0.5, -1, 8).reshape(4, 2), jnp.float32),
}


def theirs():
    return pytest.importorskip("optax.contrib", reason="Optax is a test dependency")


def compared(ours, other, params, steps=5, rtol=1e-6):
    state, state_other = ours.init(params), other.init(params)
    for n in range(steps):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            v, state_other = other.update(grads(params, n), state_other, params)
        u, state = jax.jit(ours.update)(grads(params, n), state, params)
        close_in_size(u, v, rtol=rtol, atol=1e-7)


OPTIONS = [
    {},
    {"nesterov": False, "adaptive": True},
    {"preconditioning": "aol"},
    {"preconditioning": "spectral", "ns_steps": 2},
    {"preconditioning": "schatten", "ns_coeffs": ((3.4445, -4.775, 2.0315), (1.5, -0.5, 0.0))},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_matrices_are_optax(options, x64, standard_promotion):
    contrib = theirs()
    params = {k: v.astype(jnp.float64) for k, v in MATRICES.items()}
    numbers = dict.fromkeys(params, contrib.MuonDimensionNumbers())
    ours = with_optax_rules(optim.scale_by_muon(**options, weight_dimension_numbers=optim.MuonDimensionNumbers()))
    compared(ours, contrib.scale_by_muon(**options, weight_dimension_numbers=numbers), params)


@pytest.mark.parametrize("name", ["scale_by_sm3", "sm3"])
def test_sm3_is_optax_on_matrices(name, x64, standard_promotion):
    optax = pytest.importorskip("optax", reason="Optax is a test dependency")
    params = {k: v.astype(jnp.float64) for k, v in MATRICES.items()}
    args = (0.1,) if name == "sm3" else ()
    compared(getattr(optim, name)(*args), getattr(optax, name)(*args), params)


def test_distances_are_optax(x64, standard_promotion):
    """In float64 where it is asked for: a first distance of 1e-6 is lost in float32."""
    optax = pytest.importorskip("optax", reason="Optax is a test dependency")
    ours, other = (lib.scale_by_distance_over_gradients(param_dtype=jnp.float64) for lib in (optim, optax))
    params = {**{k: v.astype(jnp.float64) for k, v in MATRICES.items()}, "s": jnp.asarray(0.5)}
    state, state_other = ours.init(params), other.init(params)
    step, step_other = jax.jit(ours.update), jax.jit(other.update)
    for n in range(20):
        u, state = step(grads(params, n), state, params)
        v, state_other = step_other(grads(params, n), state_other, params)
        close(u, v, rtol=1e-9, atol=0)
        close(jax.tree.leaves(state), jax.tree.leaves(state_other), rtol=1e-9, atol=1e-15)
        params = jax.tree.map(lambda p, x: p - 100 * x, params, u)
    restored = jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(state_other))
    last, _ = step_other(grads(params, 0), state_other, params)
    close(step(grads(params, 0), restored, params)[0], last, rtol=1e-9, atol=0)


def test_muon_takes_matrices_of_several_axes(standard_promotion):
    contrib = theirs()
    params = {"heads": jnp.asarray(np.linspace(-1, 1, 24).reshape(2, 3, 4), jnp.float32), "b": jnp.ones(3)}
    args = {"reduction_axis": 0, "output_axis": (1, 2)}
    ours = optim.muon(0.1, muon_weight_dimension_numbers={"heads": optim.MuonDimensionNumbers(**args), "b": None})
    numbers = {"heads": contrib.MuonDimensionNumbers(**args), "b": None}
    compared(with_optax_rules(ours), contrib.muon(0.1, muon_weight_dimension_numbers=numbers), params, rtol=1e-4)


@pytest.mark.parametrize("name", ["standard", "dion"])
def test_muon_knows_the_coefficients_of_optax_by_name(name, x64, standard_promotion):
    contrib = theirs()
    params = {k: v.astype(jnp.float64) for k, v in MATRICES.items()}
    ours, other = with_optax_rules(optim.muon(0.1, name)), contrib.muon(0.1, name)
    compared(ours, other, params)


def test_a_correction_of_the_mean_is_divided_out_without_nesterov_momentum():
    """It is one factor, which the orthogonalisation divides out."""
    plain, corrected = (optim.scale_by_muon(nesterov=False, eps=0.0, bias_correction=b) for b in (False, True))
    compared(plain, corrected, MATRICES, rtol=1e-4)


def test_muon_orthogonalises_stacks_and_leaves_nothing_out():
    params = {"stack": jnp.zeros((3, 4, 2)), "row": jnp.zeros(5), "none": jnp.zeros((0, 3)), "one": jnp.zeros(())}
    tx = optim.scale_by_muon(ns_steps=12, ns_coeffs=(1.5, -0.5, 0.0))
    u, _ = tx.update(grads(params), tx.init(params), params)
    for matrix in u["stack"]:
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(2), atol=1e-3)
    assert float(jnp.linalg.norm(u["row"])) == pytest.approx(1, abs=1e-3)
    assert u["none"].shape == (0, 3)


def test_muon_of_a_complex_matrix_is_unitary():
    z = jnp.asarray(np.array([[1 + 2j, 0.5], [0.1j, -1.0]]), jnp.complex64)
    tx = optim.scale_by_muon(ns_steps=12, ns_coeffs=(1.5, -0.5, 0.0))
    u, _ = tx.update(z, tx.init(z))
    np.testing.assert_allclose(u @ u.conj().T, np.eye(2), atol=1e-3)


def test_dimension_numbers_are_checked():
    params = {"w": jnp.ones((2, 3))}
    for numbers, sentence in (
        (optim.MuonDimensionNumbers(0, 0), "must be disjoint"),
        (optim.MuonDimensionNumbers(0, 5), "a leaf of 2 axes has no axis 5"),
        ({"v": None}, "must be a prefix of the parameters' tree"),
    ):
        tx = optim.scale_by_muon(weight_dimension_numbers=numbers)
        with pytest.raises(ValueError, match=sentence):
            tx.update(params, tx.init(params), params)


@pytest.mark.parametrize(
    ("side", "moment", "projector"), [("short", (64, 2), (16, 2)), ("long", (2, 16), (64, 2))], ids=["short", "long"]
)
def test_galore_keeps_small_moments(side, moment, projector):
    params = {"w": jnp.ones((64, 16)), "b": jnp.ones(16)}
    state = optim.galore(0.1, rank=2, projected_side=side).init(params)[0]
    assert state.base_optimizer_state.mu["w"].shape == moment
    assert state.projector["w"].shape == projector
    assert state.base_optimizer_state.mu["b"].shape == (16,)


def test_galore_passes_vectors_by_dimension_numbers_of_the_whole_tree():
    params = {"w": jnp.ones((4, 3)), "b": jnp.ones(3), "s": jnp.ones(())}
    g = grads(params)
    numbers = optim.GaLoreDimensionNumbers()
    expected, tx = optim.scale_by_galore(2), optim.scale_by_galore(2, weight_dimension_numbers=numbers)
    close(tx.update(g, tx.init(params), params)[0], expected.update(g, expected.init(params), params)[0])
    with pytest.raises(ValueError, match="a leaf of 1 axes has no axis 1"):
        optim.scale_by_galore(2, weight_dimension_numbers=dict.fromkeys(params, numbers)).init(params)


def test_galore_takes_sharded_matrices():
    """On an Explicit mesh a matrix is gathered for its directions; in `shard_map` each device has its own."""
    tx, params = optim.scale_by_galore(2, 1), {"w": jnp.asarray(np.linspace(-1, 1, 32).reshape(8, 4), jnp.float32)}
    g = jax.tree.map(jnp.cos, params)
    expected, _ = tx.update(g, tx.init(params), params)
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Explicit,))
    along = NamedSharding(mesh, PartitionSpec("d"))
    with jax.set_mesh(mesh):
        sharded, g_sharded = jax.device_put((params, g), along)
        u, _ = jax.jit(tx.update)(g_sharded, jax.jit(tx.init)(sharded), sharded)
    assert u["w"].sharding.is_equivalent_to(along, 2)
    close_in_size(jax.tree.map(np.asarray, u), expected, rtol=2e-6)

    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("d")
    own = jax.shard_map(lambda p, g: tx.update(g, tx.init(p), p)[0], mesh=mesh, in_specs=(spec, spec), out_specs=spec)
    halves = [jax.tree.map(lambda x, i=i: x[i : i + 4], (params, g)) for i in (0, 4)]
    apart = [tx.update(g, tx.init(p), p)[0]["w"] for p, g in halves]
    close_in_size(jax.jit(own)(params, g)["w"], jnp.concatenate(apart), rtol=2e-6)


def test_sophia_divides_by_the_curvature_and_clips():
    """On a separable quartic the estimate is exact: 12 x^2."""

    def loss(params):
        return jnp.sum(params["x"] ** 4)

    params = {"x": jnp.asarray([0.5, -0.25, 2.0])}
    tx = optim.sophia(1.0, weight_decay=0.0, gamma=0.5, clip_threshold=0.02, update_interval=2)
    state, m, h = tx.init(params), np.zeros(3), np.zeros(3)
    step = jax.jit(lambda g, s, p: tx.update(g, s, p, obj_fn=loss))
    for n in range(4):
        x = np.asarray(params["x"], np.float64)
        g = 4 * x**3
        m = 0.965 * m + 0.035 * g
        h = 0.99 * h + 0.01 * 12 * x**2 if n % 2 == 0 else h
        u, state = step(jax.grad(loss)(params), state, params)
        np.testing.assert_allclose(u["x"], -np.clip(m / np.maximum(0.5 * h, 1e-8), -0.02, 0.02), rtol=1e-4)
        params = optim.apply_updates(params, u)
    with pytest.raises(TypeError, match="update needs the parameters and obj_fn"):
        tx.update(params, state, params)


def test_what_differs_in_optax_sophia(standard_promotion):
    """Its mean is corrected, and divided by the curvature before this update's: in the first, by none."""
    x, g = jnp.asarray([0.5, -0.25, 2.0]), jnp.asarray([1e-3, -2e-3, 3e-3])
    tx, m, h = theirs().sophia(1.0, weight_decay=0.0, gamma=0.5, update_interval=2), np.zeros(3), np.zeros(3)
    state = tx.init(x)
    step = jax.jit(lambda g, s: tx.update(g, s, x, obj_fn=lambda x: jnp.sum(x**4)))
    for n in range(4):
        u, state = step(g, state)
        m = 0.965 * m + 0.035 * np.asarray(g)
        mean = m / (1 - 0.965 ** (n + 1))
        np.testing.assert_allclose(u, -np.clip(mean / np.maximum(0.5 * h, 1e-8), -1, 1), rtol=1e-4)
        h = 0.99 * h + 0.01 * 12 * np.asarray(x) ** 2 if n % 2 == 0 else h


def test_factored_moments_are_rows_and_columns():
    params = {"w": jnp.ones((256, 128)), "c": jnp.ones((3, 200, 128)), "b": jnp.ones(256)}
    state = optim.adafactor(0.1).init(params)[0]
    assert [state.v_row[k].shape for k in "wcb"] == [(128,), (3, 128), (1,)]
    assert [state.v_col[k].shape for k in "wcb"] == [(256,), (3, 200), (1,)]
    assert [state.v[k].shape for k in "wcb"] == [(1,), (1,), (256,)]


def test_masks_of_lars(x64):
    """A leaf that does not decay, and one whose steps are not scaled to its norm."""
    params = {**MATRICES, "b": jnp.ones(3), "s": jnp.ones(2)}
    params, g = (jax.tree.map(lambda x: x.astype(jnp.float64), t) for t in (params, grads(params)))
    decays, trusted = ({"wide": a, "tall": b, "b": c, "s": d} for a, b, c, d in ((1, 1, 0, 0), (1, 0, 1, 0)))
    decays, trusted = ({k: bool(v) for k, v in m.items()} for m in (decays, trusted))
    rate = optim.inverse_time_decay(0.1, 1, 0.5)
    for mask in (trusted, lambda params: trusted):
        tx = optim.lars(0.5, rate, decays, 0.01, momentum=0.0, trust_ratio_mask=mask)
        state, p = tx.init(params), params
        for n in range(2):
            u, state = tx.update(g, state, p)
            for k, x in p.items():
                w = 0.1 / (1 + 0.5 * n) * decays[k]
                size = np.linalg.norm(x) / (np.linalg.norm(g[k]) + w * np.linalg.norm(x))
                np.testing.assert_allclose(u[k], -0.5 * (0.01 * size if trusted[k] else 1) * (g[k] + w * x), rtol=1e-12)
            p = optim.apply_updates(p, u)


def test_steps_of_trust_do_not_depend_on_the_gradients_scale():
    for tx in (optim.lamb(0.1), optim.fromage(0.1), optim.novograd(0.1)):
        u, _ = tx.update(MATRICES, tx.init(MATRICES), MATRICES)
        v, _ = tx.update(jax.tree.map(lambda g: 1e3 * g, MATRICES), tx.init(MATRICES), MATRICES)
        close(u, v, rtol=1e-3)
        assert finite(u)
