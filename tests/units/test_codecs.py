"""Stored slots: what a code loses and what it must not lose, and where a coded slot goes."""

import io
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.lift.codecs import Blocks, random_bits, rounded
from optim.tree.coded import Coded, decoded, is_coded

from ..every.rows import equal

CODECS = [
    Blocks(name, sign, block) for name in ("int8", "int4", "float8") for sign in (False, True) for block in (256,)
]
SHAPES = [(3, 600), (2, 257), (7,), (5, 1), ()]
WIDE = {"w": (16, 300), "v": (5000,), "b": (10,)}


def numbers(shape, non_negative, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape) * np.exp(2 * rng.normal(size=shape))
    return jnp.asarray(x * x if non_negative else x, jnp.float32)


def coded_again(codec, x):
    code = codec.encode(x)
    y = codec.decode(code, x.shape)
    return code, y, codec.encode(y)


def half_steps(codec, x):
    """Half the distance to the next code, at the size of each number, and the largest number of its block."""
    flat = np.atleast_1d(np.abs(np.asarray(x, np.float64)))
    blocks = [flat[..., i : i + codec.block].max(-1, keepdims=True) for i in range(0, flat.shape[-1], codec.block)]
    s = np.concatenate([np.broadcast_to(b, (*b.shape[:-1], codec.block)) for b in blocks], -1)[..., : flat.shape[-1]]
    y = flat / s
    if codec.name == "float8":
        root = np.sqrt(y) if codec.non_negative else y
        step = np.maximum(2.0 ** np.floor(np.log2(np.maximum(root, 1e-30) * 448) - 3), 2.0**-9) / 448
        low, high = np.maximum(root - step / 2, 0), root + step / 2
        back = np.square if codec.non_negative else np.asarray
    elif codec.non_negative:
        levels, root, back = {"int8": 255, "int4": 15}[codec.name], np.sqrt(y), np.square
        low, high = np.maximum(root - 0.5 / levels, 0), np.maximum(root + 0.5 / levels, 1 / levels)
    else:
        levels, root = {"int8": 127, "int4": 7}[codec.name], 2 * y / (1 + y)
        low, high = np.maximum(root - 0.5 / levels, 0), np.minimum(root + 0.5 / levels, 1)

        def back(c):
            return c / (2 - c)

    if codec.non_negative and codec.name == "float8":
        high = np.maximum(high, 2.0**-9 / 448)
    return (back(low) * s).reshape(x.shape), (back(high) * s).reshape(x.shape)


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_a_code_is_the_nearest(codec):
    for shape in SHAPES:
        x = numbers(shape, codec.non_negative)
        _, y, _ = coded_again(codec, x)
        low, high = half_steps(codec, x)
        size = np.abs(np.asarray(y, np.float64))
        # Older compilers round to float8 by way of float16, whose half step is 2^-12 (float8's is 2^-4).
        slack = 2e-3 if codec.name == "float8" else 1e-5
        # Below half the first code, a non-negative number is rounded up.
        assert (size >= low * (1 - slack)).all(), shape
        assert (size <= high * (1 + slack)).all(), shape
        assert (np.sign(y) * np.sign(x) >= 0).all()


@pytest.mark.parametrize("scale_dtype", ["float32", "bfloat16"])
def test_a_number_that_has_a_code_keeps_it(scale_dtype):
    for codec in (Blocks(c.name, c.non_negative, 64, scale_dtype) for c in CODECS):
        for shape in SHAPES:
            code, _, again = coded_again(codec, numbers(shape, codec.non_negative))
            equal(code, again)


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_zero_and_what_is_not_zero(codec):
    x = jnp.asarray([0.0, 1e-12, 1.0, 0.0, 1e-30, 1e-3], jnp.float32)
    y = codec.decode(codec.encode(x), x.shape)
    assert (np.asarray(y)[[0, 3]] == 0).all()
    if codec.non_negative:
        assert (np.asarray(y)[[1, 2, 4, 5]] > 0).all()
        # 1e-45, 1e-40 and 2e-38 by their bits: the first two are subnormal, and a processor may be set to flush them.
        tiny = jnp.asarray(np.asarray([1, 71362, 14274360, 0], np.uint32).view(np.float32))
        assert (np.asarray(codec.decode(codec.encode(tiny), (4,)))[:3] > 0).all()
    zeros = codec.decode(codec.encode(jnp.zeros((2, 300))), (2, 300))
    assert (np.asarray(zeros) == 0).all()


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_a_bad_number_stays_in_its_block(codec):
    x = numbers((2, 600), codec.non_negative)
    good = np.asarray(codec.decode(codec.encode(x), x.shape))
    for bad in (np.inf, np.nan):
        y = np.asarray(codec.decode(codec.encode(x.at[0, 300].set(bad)), x.shape))
        assert not np.isfinite(y[0, 300])
        np.testing.assert_array_equal(y[1], good[1])
        np.testing.assert_array_equal(y[0, :256], good[0, :256])
        np.testing.assert_array_equal(y[0, 512:], good[0, 512:])


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_tiny_and_huge_blocks(codec):
    unit = jnp.abs(numbers((64,), False)) if codec.non_negative else numbers((64,), False)
    for size in (1e-30, 1e-10, 1e10, 1e30):
        x = unit * jnp.float32(size)
        y = codec.decode(codec.encode(x), x.shape)
        one = codec.decode(codec.encode(unit), x.shape)
        if codec.non_negative and size < 1e-25 and codec.name == "float8":
            continue  # below the smallest scale
        np.testing.assert_allclose(np.asarray(y) / size, one, rtol=0.1, atol=1e-6)
    subnormal = codec.decode(codec.encode(jnp.full((8,), 1e-40, jnp.float32)), (8,))
    assert (np.asarray(subnormal) < 1e-30).all()


def test_rounding_is_unbiased():
    x = jnp.asarray([1.0 + 0.3 * 2**-7, -3.14159, 1e-3, 0.1, 0.0], jnp.float32)
    for dtype, atol in ((jnp.bfloat16, 1e-3), (jnp.float16, 1e-3)):
        every = jax.jit(jax.vmap(partial(rounded, x, dtype)))
        many = every(jnp.arange(4096, dtype=jnp.uint32))
        mean = np.asarray(many, np.float64).mean(0)
        np.testing.assert_allclose(mean, x, rtol=atol * 2**-4, atol=0)
        near = np.asarray(x.astype(dtype), np.float64)
        assert len({*np.asarray(many[:, 1], np.float64)}) == 2  # a neighbour above and one below
        assert (np.abs(np.asarray(many, np.float64) - near) <= np.abs(near) * 2**-6).all()
    special = jnp.asarray([np.inf, -np.inf, np.nan, 3.4e38], jnp.float32)
    out = np.asarray(rounded(special, jnp.bfloat16, jnp.uint32(7)), np.float32)
    assert out[0] == np.inf
    assert out[1] == -np.inf
    assert np.isnan(out[2])
    exact = jnp.asarray([1.0, -0.5, 3.0], jnp.float32)
    np.testing.assert_array_equal(rounded(exact, jnp.bfloat16, jnp.uint32(3)).astype(jnp.float32), exact)


def test_bits_do_not_depend_on_the_shape_alone():
    bits = np.asarray(random_bits((64, 64), jnp.uint32(1)))
    assert len({*bits.ravel().tolist()}) == 4096
    assert abs(float((bits / 2.0**32).mean()) - 0.5) < 0.02
    assert (bits != np.asarray(random_bits((64, 64), jnp.uint32(2)))).all()


# In transformations


def params():
    return {k: jnp.full(shape, 0.5, jnp.float32) for k, shape in WIDE.items()}


def gradients(n=0):
    rng = np.random.default_rng(n)
    return {k: jnp.asarray(rng.normal(size=shape), jnp.float32) for k, shape in WIDE.items()}


def stepped(tx, steps=3):
    p, state = params(), tx.init(params())
    update = jax.jit(tx.update)
    for n in range(steps):
        u, state = update(gradients(n), state, p)
        p = optim.apply_updates(p, u)
    return p, state


def codes(state):
    return [x for x in jax.tree.leaves(state, is_leaf=is_coded) if is_coded(x)]


WHOLE = [
    (optim.adamw(0.01), {"mu": "int8", "nu": "int8"}, 4),
    (optim.lion(0.01), {"mu": "int8"}, 2),
    (optim.sgd(0.01, momentum=0.9), {"trace": "bfloat16"}, 2),
    (optim.ademamix(0.01), {"m1": "int8", "m2": "bfloat16", "nu": "int8"}, 6),
    (optim.schedule_free_adamw(0.01), {"z": "bfloat16", "nu": "int8"}, 4),
    (optim.muon(0.01), {"mu": "int8"}, 2),
    (optim.MultiSteps(optim.adam(0.01), 2), {"acc_grads": "int8", "mu": "int8"}, 4),
    (optim.ema(0.9), {"ema": "float8"}, 2),
    (optim.masked(optim.adam(0.01), {"w": True, "v": False, "b": True}), {"nu": "int8"}, 1),
    (optim.inject_hyperparams(optim.adam)(0.01), {"nu": "int4"}, 2),
    (
        optim.partition({"a": optim.adam(0.01), "b": optim.lion(0.01)}, {"w": "a", "v": "b", "b": "a"}),
        {"mu": "int8"},
        2,
    ),
]


@pytest.mark.parametrize(("tx", "slots", "count"), WHOLE, ids=lambda x: str(x)[:20])
def test_composition(tx, slots, count):
    """Coded slots come out of init, jit(init) and update in one form, and move almost as float32 ones do."""
    small = optim.stored(tx, **slots)
    state = small.init(params())
    assert len(codes(state)) == count
    equal(jax.jit(small.init)(params()), state)
    p, new = stepped(small)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    plain, _ = stepped(tx)
    for k in WIDE:
        far = np.abs(np.asarray(p[k] - plain[k]))
        assert far.mean() < 0.1 * np.abs(np.asarray(plain[k]) - 0.5).mean() + 1e-3, k
    d = optim.state_dict(small, new)
    equal(optim.load_state_dict(small, state, d), new)


def test_scalars_see_the_numbers():
    class Mean(NamedTuple):
        mu: Any

    def rule(g, mu, size):
        return g / size, mu + g

    def scalars(mu):
        return {"size": 1 + optim.tree.norm(mu)}

    tx = optim.stored(optim.treewise(rule, Mean, scalars=scalars, mu=optim.Slot()), mu="int8")
    _, state = tx.update(gradients(), tx.init(params()))
    u, _ = tx.update(gradients(1), state)
    expected = 1 + float(optim.tree.norm(decoded(state.mu)))
    np.testing.assert_allclose(u["w"], gradients(1)["w"] / expected, rtol=1e-5)


def test_a_coded_slot_is_one_leaf():
    tx = optim.stored(optim.scale_by_adam(), mu="int8", nu="int4")
    state = tx.init(params())
    assert optim.tree.names(state.mu) == ["b", "v", "w"]
    assert is_coded(optim.tree.get(state, "mu")["w"])
    assert optim.tree.match(state.mu, params(), "mu", "params")[2] is state.mu["w"]
    equal(optim.tree.cast(state, jnp.bfloat16).mu["w"], state.mu["w"])
    assert state.mu["w"].shape == (16, 300)
    specs = optim.tree.map_params(tx, lambda _, name: name, state, {"w": "W", "v": "V", "b": "B"})
    assert [*jax.tree.leaves(specs.mu)] == ["B", "V", "V", "W", "W"]
    text = str(optim.summary(tx, params()))
    assert "int8 in blocks of 256 (2 of 3 leaves)" in text
    assert "float32 (1 of 3 leaves)" in text


def test_bytes():
    one = {"w": jax.ShapeDtypeStruct((64, 4096), jnp.float32)}

    def each(tx):
        return (optim.summary(tx, one).bytes - 4) / (64 * 4096)

    assert each(optim.adamw(1e-3)) == 8
    assert each(optim.stored(optim.adamw(1e-3), mu="int8", nu="int8")) == 2 + 8 / 256
    assert each(optim.stored(optim.adamw(1e-3), mu="int4", nu="int4", block=128)) == 1 + 8 / 128
    half = optim.stored(optim.adamw(1e-3), mu="int8", nu="int8", scale_dtype="bfloat16")
    assert each(half) == 2 + 4 / 256


def test_states_load_across_codecs():
    txs = [optim.stored(optim.adamw(0.01), mu=c, nu=c) for c in ("int8", "float8", "bfloat16")]
    txs += [optim.adamw(0.01), optim.stored(optim.adamw(0.01), mu="int8", nu="int4", block=64)]
    states = [stepped(tx)[1] for tx in txs]
    for tx, state in zip(txs, states, strict=True):
        file = io.BytesIO()
        np.savez(file, **optim.state_dict(tx, state))
        for other in txs:
            file.seek(0)
            loaded = optim.load_state_dict(other, jax.eval_shape(other.init, params()), np.load(file))
            if other is tx:
                equal(loaded, state)
            a, b = decoded(state)[0].mu["w"], decoded(loaded)[0].mu["w"]
            np.testing.assert_allclose(a, b, atol=0.05 * float(jnp.max(jnp.abs(a))))
            assert jax.tree.structure(loaded) == jax.tree.structure(other.init(params()))


def test_a_codec_of_ones_own():
    class Half:
        def encode(self, x, last):
            return {"half": x.astype(jnp.float16)}

        def decode(self, code, shape):
            return code["half"].astype(jnp.float32)

    tx = optim.stored(optim.sgd(0.1, momentum=0.9), trace=Half())
    p, state = stepped(tx)
    assert isinstance(codes(state)[0], Coded)
    assert codes(state)[0].code["half"].dtype == jnp.float16
    plain, _ = stepped(optim.sgd(0.1, momentum=0.9))
    np.testing.assert_allclose(p["w"], plain["w"], atol=1e-3)
    loaded = optim.load_state_dict(tx, tx.init(params()), optim.state_dict(tx, state))
    equal(loaded, state)


def test_scan_vmap_and_donation():
    tx = optim.stored(optim.adamw(0.01), mu="int8", nu="bfloat16", min_size=0)
    p = {"w": jnp.ones((3, 8, 64))}
    states = jax.vmap(tx.init)(p)
    g = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 64)), jnp.float32)}
    u, new = jax.jit(jax.vmap(tx.update))(g, states, p)

    def layer(_, row):
        return None, tx.update(*row)

    _, (u_scan, new_scan) = jax.lax.scan(layer, None, (g, states, p))
    equal((u, new), (u_scan, new_scan))
    step = optim.make_update(tx)
    first = {"w": p["w"][0]}
    moved, _ = step(first, tx.init({"w": p["w"][0]}), {"w": g["w"][0]})
    np.testing.assert_allclose(moved["w"], p["w"][0] + u["w"][0], rtol=1e-5)


def test_a_slot_that_nobody_has():
    with pytest.raises(ValueError, match=r"stored: no member has a slot 'trace'; there are mu, nu"):
        optim.stored(optim.adam(0.1), trace="int8")
