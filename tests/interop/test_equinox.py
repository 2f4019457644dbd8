"""Equinox: modules with functions, static fields, and `None` for untrained leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from . import examples

eqx = pytest.importorskip("equinox", reason="Equinox is not installed")
pytestmark = pytest.mark.usefixtures("standard_promotion")


class Net(eqx.Module):
    layers: list
    scale: jax.Array
    count: int
    absent: None
    size: int = eqx.field(static=True)

    def __init__(self):
        keys = jax.random.split(jax.random.key(0))
        self.layers = [eqx.nn.Linear(2, 3, key=keys[0]), jnp.tanh, eqx.nn.Linear(3, 1, use_bias=False, key=keys[1])]
        self.scale, self.count, self.absent, self.size = jnp.ones(()), 3, None, 2

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.scale * x


X = jnp.arange(8.0).reshape(4, 2)


@eqx.filter_value_and_grad
def loss_fn(model):
    return jnp.mean((jax.vmap(model)(X) - X[:, :1]) ** 2)


def trained(tx, steps=4, **extra):
    model = Net()
    state = tx.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state):
        loss, grads = loss_fn(model)
        extra_args = dict.fromkeys(extra, loss)
        updates, state = tx.update(grads, state, eqx.filter(model, eqx.is_inexact_array), **extra_args)
        return eqx.apply_updates(model, updates), state

    for _ in range(steps):
        model, state = step(model, state)
    return model, state


def test_the_example(capsys):
    model, state = examples.run("equinox_module")
    assert capsys.readouterr().out.strip().endswith("after 30 steps")
    assert model.activation is jnp.tanh
    mu = state[1].inner_states["decay"].inner_state[0].mu
    assert mu.hidden.bias is mu.activation is None
    assert mu.hidden.weight.shape == (32, 64)


def test_names_are_attributes():
    params = eqx.filter(Net(), eqx.is_inexact_array)
    tx = optim.adam(0.1)
    paths = ["layers/0/weight", "layers/0/bias", "layers/2/weight", "scale"]
    expected = {f"scale_by_adam/{slot}/{path}" for slot in ("mu", "nu") for path in paths}
    assert set(optim.state_dict(tx, tx.init(params))) == expected | {"scale_by_adam/count", "version"}
    labels = optim.label_by_path([("layers/*/bias", 1), ("layers/2/*", 2), ("*", 3)])(params)
    assert (labels.layers[0].bias, labels.layers[2].weight, labels.layers[0].weight, labels.scale) == (1, 2, 3, 3)


@pytest.mark.parametrize("name", ["adam", "adafactor", "lamb", "muon"])
def test_a_module_behaves_like_a_dict(name):
    model, state = trained(getattr(optim, name)(0.1))
    leaves = jax.tree.leaves(eqx.filter(Net(), eqx.is_inexact_array))
    structure = jax.tree.structure(eqx.filter(Net(), eqx.is_inexact_array))
    params = {f"{i}": x for i, x in enumerate(leaves)}
    tx = getattr(optim, name)(0.1)
    other = tx.init(params)
    for _ in range(4):
        whole = eqx.combine(structure.unflatten(params.values()), Net())
        grads = dict(zip(params, jax.tree.leaves(loss_fn(whole)[1]), strict=True))
        updates, other = tx.update(grads, other, params)
        params = optim.apply_updates(params, updates)
    for x, y in zip(jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)), params.values(), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    assert len(jax.tree.leaves(state)) == len(jax.tree.leaves(other))


def test_apply_updates_keeps_other_leaves():
    """`optim.apply_updates` takes the filtered module; `eqx.combine` adds the other leaves."""
    params, static = eqx.partition(Net(), eqx.is_inexact_array)
    _, grads = loss_fn(Net())
    tx = optim.sgd(0.1)
    updates, _ = tx.update(grads, tx.init(params), params)
    new = eqx.combine(optim.apply_updates(params, updates), static)
    old = eqx.apply_updates(Net(), updates)
    assert eqx.tree_equal(new, old, rtol=1e-6, atol=1e-7)
    assert (new.count, new.size, new.absent) == (3, 2, None)


def test_wrappers_and_extra_arguments():
    freeze = eqx.tree_at(
        lambda m: (m.layers[0].weight, m.layers[0].bias, m.layers[2].weight, m.scale),
        eqx.filter(Net(), eqx.is_inexact_array),
        (True, False, False, True),
    )
    tx = optim.chain(
        optim.selective_transform(optim.MultiSteps(optim.adam(0.1), 2), freeze_mask=freeze),
        optim.apply_if_finite(optim.reduce_on_plateau(patience=1), 3),
    )
    model, state = trained(tx, value=True)
    np.testing.assert_array_equal(model.layers[0].weight, Net().layers[0].weight)
    assert float(model.scale) == 1.0
    assert not np.array_equal(model.layers[0].bias, Net().layers[0].bias)
    named = optim.state_dict(tx, state)
    assert "scale_by_adam/mu/layers/0/bias" in named
    assert "scale_by_adam/mu/layers/0/weight" not in named
    fresh = tx.init(eqx.filter(Net(), eqx.is_inexact_array))
    assert eqx.tree_equal(optim.load_state_dict(tx, fresh, named), state)


def test_an_unfiltered_module_is_an_error():
    with pytest.raises(TypeError, match=r"^adam: params.layers\[1\] is .*, expected an array, or None"):
        optim.adam(0.1).init(Net())
