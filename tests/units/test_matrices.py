"""Matrices stacked by shape and shared out among devices; the iterations that orthogonalise them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import optim
from optim.matrix.orthogonal import COEFFICIENTS, orthogonalised
from optim.matrix.sharing import on_stacks

from ..every.rows import close, grads

AXIS_TYPES = [AxisType.Auto, AxisType.Explicit]
NUMBERS = optim.MuonDimensionNumbers
CASES = {
    "rows": ({"a": (16, 8), "b": (16, 8), "c": (8, 16)}, {"a": P("fsdp"), "b": P("fsdp"), "c": P("fsdp")}, {}),
    "both": ({"a": (8, 16), "b": (8, 16), "c": (8, 16)}, P("fsdp", "tp"), {}),
    "one": ({"a": (16, 8), "b": (8, 8)}, {"a": P(("fsdp", "tp")), "b": P(None, ("fsdp", "tp"))}, {}),
    "layers": ({"a": (8, 8, 4), "b": (6, 8, 4)}, {"a": P("fsdp", None, "tp"), "b": P(None, "fsdp")}, {}),
    "experts": ({"a": (3, 4, 8, 4), "b": (2, 4, 4, 8)}, P(None, "fsdp", "tp"), {}),
    "heads": ({"qkv": (8, 24)}, P("fsdp", "tp"), {"heads": (4, 2, 2), "split": (12, 8, 4)}),
    "axes": (
        {"a": (8, 3, 4, 2)},
        P("fsdp", None, "tp"),
        {"weight_dimension_numbers": NUMBERS(0, (1, 2, 3)), "split": (8, 8, 8)},
    ),
    "vector": ({"v": (8,), "w": (8,), "s": ()}, {"v": P("fsdp"), "w": P("fsdp"), "s": P()}, {}),
}


def mesh(axis_type):
    return jax.make_mesh((4, 2), ("fsdp", "tp"), axis_types=(axis_type,) * 2)


def sharded(shapes, specs, axis_type):
    params = {k: jnp.asarray(np.linspace(-1, 1, int(np.prod(s))).reshape(s), float) for k, s in shapes.items()}
    specs = specs if isinstance(specs, dict) else dict.fromkeys(shapes, specs)
    here = mesh(axis_type)
    return params, {k: jax.device_put(p, NamedSharding(here, specs[k])) for k, p in params.items()}


@pytest.mark.parametrize("axis_type", AXIS_TYPES, ids=["auto", "explicit"])
@pytest.mark.parametrize("case", CASES)
def test_sharded_equals_unsharded(case, axis_type, x64):
    """In float64: the iteration amplifies rounding."""
    shapes, specs, options = CASES[case]
    params, placed = sharded(shapes, specs, axis_type)
    plain = optim.scale_by_muon(**options)
    plan = optim.matrix_plan(placed) if axis_type is AxisType.Auto else None
    shared = optim.scale_by_muon(**options, plan=plan)
    u, _ = jax.jit(plain.update)(grads(params), plain.init(params), params)
    g = jax.tree.map(lambda g, p: jax.device_put(g, p.sharding), grads(params), placed)
    step = jax.jit(shared.update)
    v, state = step(g, jax.jit(shared.init)(placed), placed)
    close(v, u, rtol=1e-9, atol=1e-12)
    for k, p in placed.items():
        assert v[k].sharding.is_equivalent_to(p.sharding, p.ndim), k
        assert state.mu[k].sharding.is_equivalent_to(p.sharding, p.ndim), k
    text = step.lower(g, jax.eval_shape(shared.init, placed), placed).as_text("hlo")
    assert "all-gather" not in text


@pytest.mark.parametrize("axis_type", AXIS_TYPES, ids=["auto", "explicit"])
def test_replicated_matrices_are_shared_out_where_asked(axis_type):
    params, placed = sharded({"a": (8, 4), "b": (8, 4), "c": (8, 4)}, P("tp"), axis_type)
    plan = optim.matrix_plan(placed, beside="fsdp")
    assert [(g.count, g.each, g.padding) for g in plan.groups] == [(3, 1, 5)]
    plain, shared = optim.scale_by_muon(), optim.scale_by_muon(plan=plan)
    u, _ = plain.update(grads(params), plain.init(params), params)
    v, _ = jax.jit(shared.update)(grads(placed), shared.init(placed), placed)
    close(v, u, rtol=1e-5, atol=2e-6)


def test_a_plan_says_who_works_on_what():
    specs = {"a": P("fsdp", "tp"), "b": P("fsdp", "tp"), "deep": P("fsdp", None, None), "s": P()}
    shapes = {"a": (8, 4), "b": (8, 4), "deep": (8, 4, 4), "s": ()}
    params = {k: jax.ShapeDtypeStruct(s, jnp.float32) for k, s in shapes.items()}
    numbers = {"a": NUMBERS(), "b": NUMBERS(), "deep": NUMBERS(1, 2), "s": None}
    plan = optim.matrix_plan(params, specs, mesh(AxisType.Auto), numbers)
    assert plan.owners == {"['a']": [(0, 0)], "['b']": [(0, 1)], "['deep']": [(), ()]}
    assert [(g.shape, g.count, g.each, g.padding, g.apart) for g in plan.groups] == [
        ((4, 8), 2, 1, 6, 1),
        ((4, 4), 2, 2, 0, 4),
    ]
    done, even = 1 * 8 * 16 + 2 * 64, (2 * 8 * 16 + 8 * 64) / 8
    assert plan.share == pytest.approx(done / even)
    # An exchange there and one back, of one matrix a device.
    assert plan.groups[0].received == 2 * 32 * 4
    assert str(plan).splitlines()[1].split() == [
        "2",
        *["4", "x", "8"],
        *["tp", "2", "x", "fsdp", "4"],
        "1",
        "6",
        "0.000256",
        "MB",
    ]
    assert str(plan).endswith("work of one device: 2.67 of an even share")
    assert plan == optim.matrix_plan(params, specs, mesh(AxisType.Auto), numbers)
    assert plan != optim.matrix_plan(params, P(), mesh(AxisType.Auto), numbers)


def test_mistakes_of_plans():
    params = {"w": jnp.ones((4, 4))}
    with pytest.raises(ValueError, match="matrix_plan: no mesh is known: give mesh="):
        optim.matrix_plan(params)
    with pytest.raises(ValueError, match=r"specs\['w'\]: the mesh has the axes fsdp, tp, got 'x'"):
        optim.matrix_plan(params, P("x"), mesh(AxisType.Auto))
    with pytest.raises(ValueError, match="beside: the mesh has the axes fsdp, tp, got 'x'"):
        optim.matrix_plan(params, P(), mesh(AxisType.Auto), beside="x")
    tx = optim.scale_by_muon(plan=optim.matrix_plan(params, P(), mesh(AxisType.Auto)))
    for other in ({"v": jnp.ones((4, 4))}, {"w": jnp.ones((4, 2))}):
        with pytest.raises(ValueError, match=r"scale_by_muon: plan: leaf\['.'\] of shape \(4, .\) is"):
            tx.update(other, tx.init(other), other)


def test_equal_shapes_are_one_stack():
    shapes = []

    def f(x, tag):
        shapes.append((x.shape, tag))
        return x

    leaves = [jnp.ones(s) for s in ((2, 3), (3, 2), (4, 2, 3), (2, 2), (3,), (1, 3))]
    out = on_stacks(f, leaves, [None] * 6)
    assert shapes == [((6, 2, 3), None), ((1, 2, 2), None), ((1, 1, 3), None), ((1, 1, 3), None)]
    close(out, leaves)


RANGES = {  # of singular values after the iteration, from [1e-2, 1] and from [1e-3, 1]
    "jordan": ((0.682, 1.134), (0.471, 1.202)),
    "quintic": ((0.978, 1.032), (0.475, 1.145)),
    "polar_express": ((0.870, 1.124), (0.846, 1.124)),
    "cans": ((0.884, 1.120), (0.884, 1.120)),
    "deepseek": ((1.000, 1.001), (1.000, 1.001)),
}


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("gram", [False, True], ids=["plain", "gram"])
def test_singular_values_lie_in_the_ranges_of_the_coefficients(name, gram, x64):
    """One matrix for all: a diagonal of singular values between orthogonal factors."""
    rng = np.random.default_rng(0)
    n = 64
    left, right = np.linalg.qr(rng.normal(size=(n, n)))[0], np.linalg.qr(rng.normal(size=(n + 8, n)))[0]
    for low, (least, most) in zip((1e-2, 1e-3), RANGES[name], strict=True):
        values = np.geomspace(low, 1, n)
        # A row of zeros with one large singular value more would change the norm: the Frobenius norm is divided out.
        x = left * values @ right.T
        numbers = jnp.asarray(COEFFICIENTS[name])
        y = orthogonalised(jnp.asarray(x * 1.0), numbers, 5, "spectral", 0.0, gram=gram)
        after = np.diag(left.T @ np.asarray(y) @ right)
        np.testing.assert_allclose(left * after @ right.T, y, atol=1e-9)  # the factors are the exact ones
        assert least - 6e-4 < after.min(), after.min()
        assert after.max() < most + 6e-4, after.max()


def test_the_gram_form_is_the_plain_form(x64):
    x = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4, 9)))
    for name, numbers in COEFFICIENTS.items():
        numbers = jnp.asarray(numbers)
        plain, gram = (orthogonalised(x, numbers, gram=g) for g in (False, True))
        np.testing.assert_allclose(gram, plain, atol=1e-10, err_msg=name)
    tall = jnp.swapaxes(x, 1, 2)
    np.testing.assert_allclose(orthogonalised(tall, numbers, gram=True), jnp.swapaxes(gram, 1, 2), atol=1e-12)


def test_the_iteration_runs_in_the_dtype_that_is_asked_for(x64):
    x = jnp.asarray(np.random.default_rng(2).normal(size=(4, 6)), jnp.float32)
    exact = orthogonalised(x.astype(jnp.float64), jnp.asarray(COEFFICIENTS["jordan"]))
    sizes = {}
    for dtype in ("bfloat16", "float32", "float64"):
        y = orthogonalised(x, jnp.asarray(COEFFICIENTS["jordan"]), dtype=dtype)
        assert y.dtype == jnp.float32
        sizes[dtype] = float(np.max(np.abs(np.asarray(y, float) - np.asarray(exact))))
    assert 1e-3 < sizes["bfloat16"] < 1e-1
    assert sizes["float64"] < sizes["float32"] < 1e-5


def test_parts_are_matrices_of_their_own():
    params = {"qkv": jnp.ones((4, 8)), "o": jnp.ones((4, 4)), "b": jnp.ones(3)}
    g = grads(params)
    apart = {"q1": g["qkv"][:, :2], "q2": g["qkv"][:, 2:4], "k": g["qkv"][:, 4:6], "v": g["qkv"][:, 6:], "o": g["o"]}
    split, heads = {"qkv": (4, 2, 2), "o": None, "b": None}, {"qkv": (2, 1, 1), "o": None, "b": None}
    whole = optim.muon(0.1, split=split, heads=heads)
    one_by_one = optim.muon(0.1)
    u, _ = whole.update(g, whole.init(params), params)
    v, _ = one_by_one.update(apart, one_by_one.init(apart), apart)
    close(u["qkv"], jnp.concatenate([v[k] for k in ("q1", "q2", "k", "v")], axis=1))
    close(u["o"], v["o"])
    for options, sentence in (
        ({"split": (4, 2)}, r"split\['o'\] must add up to the 4 columns of the matrix, got \(4, 2\)"),
        ({"heads": 3}, r"heads\['o'\] must divide the 4 columns, got 3"),
        ({"split": (2, 2), "heads": (1, 1, 1)}, r"heads\['o'\] must be one number or 2, got \(1, 1, 1\)"),
        ({"heads": 0}, r"heads\['o'\] must be a positive integer or several, got 0"),
    ):
        tx, g = optim.scale_by_muon(**options), {"o": jnp.ones((4, 4))}
        with pytest.raises(ValueError, match=sentence):
            tx.update(g, tx.init(g), g)


def test_scalings_by_name():
    params = {"tall": jnp.ones((8, 2)), "wide": jnp.ones((2, 8))}
    us = {}
    for scaling in ("jordan", "moonlight", "spectral"):
        tx = optim.muon(1.0, scaling=scaling)
        us[scaling], _ = tx.update(grads(params), tx.init(params), params)
    factors = {"jordan": (1, 2), "moonlight": (0.2 * 8**0.5, 0.2 * 8**0.5), "spectral": (0.5, 2)}
    for name, (tall, wide) in factors.items():
        close(us[name], {"tall": us["jordan"]["tall"] * tall, "wide": us["jordan"]["wide"] * wide / 2})


@pytest.mark.parametrize("factory", [optim.scale_by_normuon, optim.scale_by_adamuon, optim.scale_by_soap])
@pytest.mark.parametrize("axis_type", AXIS_TYPES, ids=["auto", "explicit"])
def test_kin_of_muon_are_the_same_sharded(factory, axis_type, x64):
    # Square and random: SOAP chooses its basis freely where a statistic is singular.
    params, placed = sharded({"a": (8, 8), "b": (8, 8)}, P("fsdp", "tp"), axis_type)
    rng = np.random.default_rng(0)
    planned = factory is not optim.scale_by_soap and axis_type is AxisType.Auto
    plain, shared = factory(), factory(**({"plan": optim.matrix_plan(placed)} if planned else {}))
    state, state_shared = plain.init(params), jax.jit(shared.init)(placed)
    for _ in range(2):
        g = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape)), params)
        u, state = jax.jit(plain.update)(g, state, params)
        g = jax.tree.map(lambda g, p: jax.device_put(g, p.sharding), g, placed)
        v, state_shared = jax.jit(shared.update)(g, state_shared, placed)
    close(v, u, rtol=1e-9, atol=1e-11)
    if planned or axis_type is AxisType.Explicit:
        assert all(v[k].sharding.is_equivalent_to(p.sharding, p.ndim) for k, p in placed.items())


def test_scion_takes_signs_of_what_is_no_matrix():
    params = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
    tx = optim.scion(0.1, 0.5, sign_radius=4.0)
    g = {"w": jnp.ones((2, 3)), "b": jnp.asarray([3.0, -2.0, 0.0])}
    u, state = tx.update(g, tx.init(params), params)
    close(u["b"], jnp.asarray([-0.4, 0.4, 0.0]))
    u, _ = tx.update({**g, "b": jnp.asarray([-2.0, 1.5, 1.0])}, state, params)
    close(u["b"], jnp.asarray([0.4, -0.4, -0.4]))  # of the means -0.25, 0.25, 0.5
