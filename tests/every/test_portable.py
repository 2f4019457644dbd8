"""Every state as a flat dict of names and arrays, through a file, and back."""

import io

import jax
import jax.numpy as jnp
import numpy as np

import optim

from .rows import column, equal, tree


def filled(state):
    """A state that no `init` makes: other numbers in every place, of every dtype."""

    def fill(i, x):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.split(x, 3 + i)[-1]
        numbers = np.arange(x.size).reshape(x.shape) + i + 1
        return jnp.asarray(numbers % 2 if x.dtype == bool else numbers / 8 if x.dtype.kind == "f" else numbers, x.dtype)

    leaves, structure = jax.tree.flatten(state)
    return structure.unflatten([fill(i, x) for i, x in enumerate(leaves)])


@column("state_dict")
def test_state_dict_through_a_file(row):
    tx, params = row.make(), tree()
    fresh = tx.init(params)
    state = filled(fresh)
    named = optim.state_dict(tx, state)
    assert len(named) == 1 + len(jax.tree.leaves(state))  # no name stands for two
    file = io.BytesIO()
    np.savez(file, **named)
    file.seek(0)
    with np.load(file) as loaded:
        equal(optim.load_state_dict(tx, fresh, loaded), state)
    within = optim.apply_if_finite(optim.chain(optim.clip(1.0), optim.masked(tx, True)), 3)
    names = optim.state_dict(within, within.init(params)).keys() - named.keys()
    assert all(name.startswith("apply_if_finite") for name in names)


@column("names")
def test_names_are_those_of_the_parameters(row):
    """Whatever is as large as a parameter is named for it."""
    tx = row.make()
    for name, x in optim.state_dict(tx, tx.init(tree())).items():
        if np.shape(x) == (3, 2):
            assert name.endswith("/w"), name
