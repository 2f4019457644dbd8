"""Every argument of every factory, given values of twenty kinds that are wrong for most: a sentence of this library."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim import checks

from .rows import check_all, grads, tree


class Nothing:
    pass


class UsersError(Exception):
    pass


def failing(*args, **kwargs):
    raise UsersError


WRONG = {
    "a word": "nonsense",
    "an empty word": "",
    "None": None,
    "True": True,
    "a negative number": -1,
    "a huge integer": 10**400,
    "a fraction": 0.5,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "a complex number": 1j,
    "a list": [1, 2],
    "a dict": {"a": 1},
    "an empty tuple": (),
    "a set": {1, 2},
    "bytes": b"x",
    "a class": Nothing,
    "a built-in class": int,
    "an object": Nothing(),
    "a vector": jnp.ones(3),
    "a matrix of NumPy's": np.ones((2, 2)),
    "an array of words": np.array(["a", "b"]),
    "a shape": jax.ShapeDtypeStruct((2,), jnp.float32),
    "a function without arguments": lambda: None,
    "a function that returns its argument": lambda x: x,
    "a function that fails": failing,
}


def calls(entry, value):
    """Pairs (argument, call) with `value` in the place of one argument of the first example."""
    example, signature = entry.examples[0], inspect.signature(entry.factory)
    given = signature.bind(*example.args, **example.kwargs).arguments
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            yield name, (lambda: entry(value))
        elif parameter.kind is not parameter.VAR_KEYWORD:
            kwargs = {**given, name: value}
            yield name, (lambda kwargs=kwargs: entry(**kwargs))


@pytest.mark.parametrize("kind", WRONG)
def test_no_raw_text(entries, kind):
    params = tree()
    updates = grads(params)

    def check(case):
        entry, _, call = case
        try:
            made = call()
            repr(made)
            if isinstance(made, optim.GradientTransformation):
                state = jax.eval_shape(made.init, params)
                extra = entry.examples[0].extra
                jax.eval_shape(lambda g, s, p: made.update(g, s, p, **extra), updates, state, params)
            elif entry.kind == "schedule":
                jax.eval_shape(made, jnp.int32(3))
        except (checks.Mistake, UsersError):
            pass

    made_by = [entry for entry in entries if entry.kind != "function"]
    cases = [(entry, *pair) for entry in made_by for pair in calls(entry, WRONG[kind])]
    check_all(cases, check, name=lambda case: f"{case[0].name}({case[1]}={kind})")
