"""Optimizer weights from files saved by Keras 2, in the formats of all its versions."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.interop.keras import load_legacy_weights

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
KERAS = ["SGD", "RMSprop", "Adagrad", "Adadelta", "Adam", "Adamax", "Nadam"]


def legacy_file(path, tx, weights):
    """Write a file like Keras 2.2.4's `model.save`.

    The optimizer weights are datasets of the group `optimizer_weights`, whose attribute `weight_names` lists their
    names in order. The file's attribute `training_config` is JSON; `optimizer_config` in it has the optimizer's class
    and arguments.
    """
    names = [
        f"training/{tx.class_name}/{'iterations' if w.ndim == 0 else 'Variable'}_{i}:0" for i, w in enumerate(weights)
    ]
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = b"2.2.4"
        config = {"optimizer_config": optim.keras.serialize(tx), "loss": "mse", "metrics": []}
        file.attrs["training_config"] = json.dumps(config).encode()
        group = file.create_group("optimizer_weights")
        group.attrs["weight_names"] = [n.encode() for n in names]
        for name, w in zip(names, weights, strict=True):
            group.create_dataset(name, data=w)


LEAVES = [jnp.ones((4, 5)), jnp.ones(5), jnp.ones((5, 3))]


@pytest.mark.parametrize("name", KERAS)
def test_weights_of_keras_2(name, tmp_path):
    tx = getattr(optim.keras, name)()
    state = tx.init(LEAVES)
    for n in range(3):
        _, state = tx.update([jnp.sin(x + n) for x in LEAVES], state, LEAVES)
    saved = optim.keras.get_weights(tx, state)
    legacy_file(tmp_path / "model.h5", tx, saved)
    loaded = load_legacy_weights(tmp_path / "model.h5", tx, LEAVES)
    for a, b in zip(optim.keras.get_weights(tx, loaded), saved, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(saved) > 1 or name == "SGD"


FIELDS = {
    "SGD": {"momentum": "trace"},
    "RMSprop": {"rms": "nu"},
    "Adagrad": {"accumulator": "sum_of_squares"},
    "Adadelta": {"accum_grad": "e_g", "accum_var": "e_x"},
    "Adam": {"m": "mu", "v": "nu"},
    "Adamax": {"m": "mu", "v": "nu"},
    "Nadam": {"m": "mu", "v": "nu"},
}


def later_file(path, tx, state, by_parameter):
    """Write a file like a later version of Keras 2.

    The count of updates comes first for every class, and stateless optimizers have no other weights. From 2.3 on the
    weights are ordered by slot, `Adam/dense/kernel/m:0`, after Nadam's product. From 2.11 on they are ordered by
    parameter, `Adam/m/dense/kernel:0`, and the class is `Custom>Adam`.
    """
    name, paths = tx.class_name, [f"layer_{i}/kernel" for i in range(len(LEAVES))]
    count, slots = optim.tree.get_all_with_path(state, "count")[0][1], FIELDS[name]
    values = {field: optim.tree.get(state, field) for field in slots.values()}
    weights = {"iteration:0" if by_parameter else f"{name}/iter:0": np.asarray(count, np.int64)}
    if name == "Nadam" and not by_parameter:
        weights["Nadam/momentum_cache:0"] = optim.tree.get(state, "momentum_product")
    if by_parameter:
        weights |= {f"{name}/{s}/{p}:0": values[f][i] for i, p in enumerate(paths) for s, f in slots.items()}
    else:
        weights |= {f"{name}/{p}/{s}:0": values[f][i] for s, f in slots.items() for i, p in enumerate(paths)}
    with h5py.File(path, "w") as file:
        config = {"optimizer_config": {"class_name": f"Custom>{name}" if by_parameter else name, "config": {}}}
        file.attrs["training_config"] = json.dumps(config)
        group = file.create_group("optimizer_weights")
        group.attrs["weight_names"] = list(weights)
        for key, w in weights.items():
            group.create_dataset(key, data=np.asarray(w))


@pytest.mark.parametrize("by_parameter", [False, True], ids=["2.3", "2.11"])
@pytest.mark.parametrize("name", KERAS)
def test_weights_of_later_keras_2(name, by_parameter, tmp_path):
    """All parameters have the same shape, so only the values show whether they are assigned correctly."""
    leaves = [x for x in LEAVES if x.shape == (4, 5)] * 3
    tx = getattr(optim.keras, name)(**({} if name == "Nadam" else {"decay": 0.1}))
    state = tx.init(leaves)
    for n in range(3):
        _, state = tx.update([jnp.sin(i * x + n) for i, x in enumerate(leaves)], state, leaves)
    later_file(tmp_path / "model.h5", tx, state, by_parameter)
    loaded = load_legacy_weights(tmp_path / "model.h5", tx, leaves)
    if name == "Nadam" and by_parameter:  # Keras does not save it
        assert optim.tree.get(loaded, "momentum_product") == 1
        loaded = optim.tree.set(loaded, momentum_product=optim.tree.get(state, "momentum_product"))
    jax.tree.map(np.testing.assert_array_equal, loaded, state)
    assert [x.dtype for x in jax.tree.leaves(loaded)] == [x.dtype for x in jax.tree.leaves(state)]
    if name == "SGD":
        with h5py.File(tmp_path / "model.h5", "a") as file:  # without momentum there is only the count
            group = file["optimizer_weights"]
            group.attrs["weight_names"] = group.attrs["weight_names"][:1]
        loaded = load_legacy_weights(tmp_path / "model.h5", tx, leaves)
        assert {int(x) for _, x in optim.tree.get_all_with_path(loaded, "count")} == {3}
        assert not any(x.any() for x in optim.tree.get(loaded, "trace"))


def test_files_that_do_not_fit(tmp_path):
    tx = optim.keras.SGD(momentum=0.9)
    path = tmp_path / "model.h5"
    legacy_file(path, tx, optim.keras.get_weights(tx, tx.init(LEAVES)))
    with pytest.raises(ValueError, match=r"model.h5 has the weights of SGD, expected those of Adam"):
        load_legacy_weights(path, optim.keras.Adam(), LEAVES)
    with pytest.raises(ValueError, match=r"training/SGD/iterations_0:0.*Length of the specified weight list \(4\)"):
        load_legacy_weights(path, tx, LEAVES[:2])
    with pytest.raises(ValueError, match=r"Optimizer weight shape \(5,\) not compatible with provided weight shape"):
        load_legacy_weights(path, tx, [LEAVES[1], LEAVES[0], LEAVES[2]])
    with pytest.raises(TypeError, match=r"tx must be one of optim.keras, got"):
        load_legacy_weights(path, optim.adam(0.1), LEAVES)
    with h5py.File(path, "w") as file:
        file.create_group("model_weights")
    with pytest.raises(KeyError, match="has no group 'optimizer_weights'"):
        load_legacy_weights(path, tx, LEAVES)
