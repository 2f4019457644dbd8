"""Which way the updates of an inner transformation point."""

import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.wrappers.cautious import _ascends

PARAMS, G = jnp.asarray([1.0, -2.0, 3.0, 0.5]), jnp.asarray([0.3, -0.1, -0.2, 0.0])


def test_every_optimizer_descends():
    """Its updates, added to the parameters; a primitive's point uphill."""
    for entry in optim.entries("transformation"):
        module = entry.factory.__module__.split(".")[1]
        if module in ("optimizers", "keras"):
            tx = entry(*entry.examples[0].args, **entry.examples[0].kwargs)
            assert _ascends(tx, None) == entry.name.startswith("scale_by_"), entry.name


def masked(tx):
    """Where an update of `tx` is not 0, after a first gradient that points the other way in one place."""
    state = tx.init(PARAMS)
    _, state = tx.update(jnp.asarray([1.0, 1.0, -1.0, 1.0]), state, PARAMS, value=1.0)
    return np.asarray(tx.update(G, state, PARAMS, value=1.0)[0] != 0)


@pytest.mark.parametrize(
    "tx",
    [
        optim.cautious(optim.adam(0.1)),
        optim.cautious(optim.scale_by_adam()),
        optim.cautious(optim.chain(optim.trace(0.9), optim.scale(-0.1))),
        optim.cautious(optim.chain(optim.trace(0.9), optim.scale(0.1))),
        optim.cautious(optim.chain(optim.trace(0.9), optim.scale_by_learning_rate(0.1, flip_sign=False))),
        optim.cautious(optim.momo(0.1)),
        optim.cautious(optim.chain(optim.scale_by_adam(), optim.hyperball(0.1))),
        optim.cautious(optim.inject_hyperparams(optim.adam)(0.1)),
        optim.cautious(optim.lookahead(optim.adam(0.1), 5, 0.5)),
        optim.cautious(optim.partition({"a": optim.adam(0.1)}, "a")),
        optim.cautious(optim.GradientTransformation(*optim.adam(0.1))),
        optim.cautious(optim.GradientTransformation(*optim.scale_by_adam()), ascending=True),
    ],
    ids=repr,
)
def test_the_sign_is_found(tx):
    np.testing.assert_array_equal(masked(tx), [True, False, True, False])


def test_a_sign_that_is_not_known_is_asked_for():
    schedule = optim.scale_by_schedule(lambda count: -0.1)
    with pytest.raises(ValueError, match="cautious: the sign of a schedule in inner is unknown: pass ascending="):
        optim.cautious(optim.chain(optim.trace(0.9), schedule))
    tx = optim.cautious(optim.chain(optim.trace(0.9), schedule), ascending=False)
    np.testing.assert_array_equal(masked(tx), [True, False, True, False])
    with pytest.raises(TypeError, match="cautious: ascending must be True, False or None, got 1"):
        optim.cautious(optim.adam(0.1), ascending=1)
