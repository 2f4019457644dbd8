"""Layers by path and by leading axis, and where the factor has an effect."""

import jax.numpy as jnp
import numpy as np
import pytest

import optim


def test_the_factor_reaches_the_update():
    params = {"embed": jnp.ones(2), "blocks": {"w": jnp.ones((3, 2))}, "layers": [{"w": jnp.ones(2)}] * 3}

    def layer_of(path, shape):
        if path == "embed":
            return 0
        return [1 + k for k in range(shape[0])] if path.startswith("blocks") else 1 + int(path.split("/")[1])

    tx = optim.chain(optim.adam(1.0), optim.layerwise_decay(0.5, 4, layer_of))
    u, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_allclose(u["embed"], -(0.5**3) * np.ones(2), rtol=1e-6)
    np.testing.assert_allclose(u["blocks"]["w"], -(0.5 ** np.asarray([[2.0], [1], [0]])) * np.ones(2), rtol=1e-6)
    for k in range(3):
        np.testing.assert_allclose(u["layers"][k]["w"], -(0.5 ** (2 - k)) * np.ones(2), rtol=1e-6)


def test_layers_out_of_range():
    params = {"layers": {"3": {"w": jnp.ones(2)}}}
    tx = optim.layerwise_decay(0.5, 3)
    with pytest.raises(ValueError, match=r"layer_of\('layers/3/w', \(2,\)\) must be in 0, ..., 2, got 3"):
        tx.update(params, tx.init(params), params)
    two = optim.layerwise_decay(0.5, 3, lambda path, shape: [0, 1, 2])
    with pytest.raises(ValueError, match="must give a layer for each entry of the leading axis"):
        two.update(params, two.init(params), params)
