"""Which weights QK-clip scales, in the layouts of attention layers."""

import jax.numpy as jnp
import numpy as np
import pytest

import optim

S = np.asarray([50.0, 400.0])
C = np.minimum(1, 100 / S)


def after(params, max_logits=S, **options):
    """The parameters after a step of -0.5."""
    tx = optim.chain(optim.sgd(0.5), optim.qk_clip(**options))
    g = {k: jnp.ones_like(p) for k, p in params.items()}
    u, _ = tx.update(g, tx.init(params), params, max_logits=max_logits)
    return optim.apply_updates(params, u)


def weight(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape), jnp.float32)


def test_heads_of_flax():
    params = {
        "attn/query/kernel": weight(5, 2, 3),
        "attn/key/bias": weight(2, 3),
        "attn/value/kernel": weight(5, 2, 3),
    }
    new = after(params)
    for name, p in params.items():
        factor = 1.0 if "value" in name else np.sqrt(C)[:, None]
        np.testing.assert_allclose(new[name], factor * (p - 0.5), rtol=1e-6, atol=2e-7)


def test_flat_heads_and_rotary_queries():
    params = {"q": weight(5, 6), "k": weight(5, 6), "q_rope": weight(5, 4), "k_rope": weight(5, 3)}
    new = after(params, query="q", key="k", rotary_query="q_rope", head_axis=-1)
    for name, factor in {"q": np.sqrt(C), "k": np.sqrt(C), "q_rope": C, "k_rope": np.ones(2)}.items():
        size = 3 if name == "k_rope" else params[name].shape[1]
        repeated = np.ones(3) if name == "k_rope" else np.repeat(factor, size // 2)
        np.testing.assert_allclose(new[name], repeated * (params[name] - 0.5), rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("flat", [True, False])
def test_latent_attention(flat):
    """Per head: two features of a query, then one rotary; two of a key, then two of a value."""
    shapes = {"q_b": (5, 2, 3), "kv_b": (5, 2, 4)}
    params = {k: weight(*s).reshape(5, -1) if flat else weight(*s) for k, s in shapes.items()}
    axis = -1 if flat else -2
    new = after(params, query=None, key=None, mla_query="q_b", mla_key_value="kv_b", nope_features=2, head_axis=axis)
    root, one = np.sqrt(C)[:, None], np.ones((2, 1))
    factors = {"q_b": np.hstack([root, root, C[:, None]]), "kv_b": np.hstack([root, root, one, one])}
    for name, factor in factors.items():
        wide = (np.asarray(params[name]) - 0.5).reshape(shapes[name])
        np.testing.assert_allclose(np.reshape(new[name], shapes[name]), factor * wide, rtol=1e-6, atol=2e-7)


def test_layers():
    stacked, first = {"key": weight(3, 5, 2, 3)}, {"a/key": weight(5, 2, 3), "b/key": weight(5, 2, 3)}
    logits = np.asarray([[50.0, 400.0], [200.0, 90.0], [100.0, 1600.0]])
    c = np.sqrt(np.minimum(1, 100 / logits))
    new = after(stacked, logits)
    np.testing.assert_allclose(new["key"], c[:, None, :, None] * (stacked["key"] - 0.5), rtol=1e-6, atol=2e-7)
    tx = optim.qk_clip()
    zeros = {k: jnp.zeros_like(p) for k, p in first.items()}
    u, _ = tx.update(zeros, tx.init(first), first, max_logits={"a": logits[0], "b/*": logits[1]})
    for i, name in enumerate(first):
        np.testing.assert_allclose(first[name] + u[name], c[i][:, None] * first[name], rtol=1e-6, atol=2e-7)


def test_small_and_infinite_logits_change_nothing():
    params = {"key": weight(5, 2, 3)}
    for logits in ([3.0, -5.0], [np.inf, np.nan]):
        np.testing.assert_allclose(after(params, np.asarray(logits))["key"], params["key"] - 0.5, rtol=1e-6, atol=2e-7)


def test_what_does_not_fit():
    params = {"key": weight(5, 3, 3)}
    with pytest.raises(ValueError, match=r"'key' of shape \(5, 3, 3\) does not fit max_logits of \(2,\) along axis -2"):
        after(params)
    with pytest.raises(ValueError, match="qk_clip: no parameter fits a pattern of queries or keys; there are 'w'"):
        after({"w": weight(2, 2)})
    with pytest.raises(TypeError, match="update needs max_logits: call update"):
        optim.qk_clip().update(params, optim.EmptyState(), params)
    with pytest.raises(ValueError, match=r"max_logits must have one entry for 'key', got \[\] of \['other'\]"):
        after(params, {"other": S})
