"""The rows of the sweep: every registered transformation with each of its examples, on one small tree."""

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.core.registry import Entry, Example


@dataclass(frozen=True, eq=False)
class Row:
    entry: Entry
    example: Example
    id: str

    def make(self, **changes: Any) -> Any:
        return self.given(self.entry(*self.example.args, **{**self.example.kwargs, **changes}))

    def given(self, tx: Any) -> Any:
        """`tx` whose update has the extra arguments of the example."""
        if not self.example.extra:
            return tx

        def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
            return tx.update(updates, state, params, **{**self.example.extra, **extra})

        # As one rule it would be called without them.
        facts = {**vars(tx.facts), "rule": None, "sequential": False}
        return optim.GradientTransformationExtraArgs(tx.init, update).declaring(**facts)


def all_rows() -> list[Row]:
    found = []
    for entry in optim.entries("transformation"):
        for i, example in enumerate(entry.examples):
            found.append(Row(entry, example, f"{entry.name}-{i}" if i else entry.name))
    return found


ROWS = all_rows()


def of_grain(*grains: str | None) -> list[Row]:
    return [r for r in ROWS if r.make().grain in grains]


# Columns in which another example of a factory, with other branches of its rule, may fail where the first does not.
VARIED = {"jit", "precision", "errors"}
# Columns in which a chain may fail though its members, which are rows of their own, do not.
COMPOSED = {"jit", "none", "errors"}
# What the quick part of the suite runs.
QUICK = {"jit", "none", "errors"}
# OPTIM_EVERY_CELL=1 runs every column for every example of every factory, about twice as many.
EVERY_CELL = bool(os.environ.get("OPTIM_EVERY_CELL"))


@cache
def is_alias(row: Row) -> bool:
    """Whether it is made of others, which are rows of their own."""
    return row.make().body is not None


def column(name: str, rows: list[Row] = ROWS):
    """Parametrise a test over the rows; what the registry excepts is skipped with its reason.

    The quick part of the suite runs the first example of each factory that is no alias, in some columns.
    """

    def wanted(row: Row) -> bool:
        first = row.example is row.entry.examples[0]
        return EVERY_CELL or ((first or name in VARIED) and (not is_alias(row) or name in COMPOSED))

    def param(row: Row):
        reason = row.entry.exceptions.get(name)
        marks = [pytest.mark.skip(reason=reason)] if reason else []
        quick = name in QUICK and row.example is row.entry.examples[0] and not is_alias(row)
        return pytest.param(row, id=row.id, marks=marks if quick else [*marks, pytest.mark.slow])

    return pytest.mark.parametrize("row", [param(r) for r in rows if wanted(r)])


def tree(dtype: Any = jnp.float32) -> dict[str, Any]:
    """Parameters: a matrix, a vector, and a scalar one level down."""
    return {
        "w": jnp.asarray(np.linspace(-1.0, 1.0, 6).reshape(3, 2), dtype),
        "b": jnp.asarray([0.5, -0.25], dtype),
        "deep": {"s": jnp.asarray(0.75, dtype)},
    }


def grads(params: Any, n: int = 0) -> Any:
    """Gradients of the shapes and dtypes of `params`, other ones at every step."""

    def one(p: Any) -> Any:
        flat = np.cos(np.arange(p.size) * 1.7 + n + 0.3).reshape(p.shape)
        value = flat + 0.5j * flat[::-1] if jnp.iscomplexobj(p) and p.ndim else flat
        return jnp.asarray(value, p.dtype)

    return jax.tree.map(one, params)


def run(tx: Any, params: Any, steps: int, state: Any = None, start: int = 0) -> tuple[Any, Any, Any]:
    """Eager steps: the parameters, the state, and the last update."""
    state = tx.init(params) if state is None else state
    update = None
    for n in range(start, start + steps):
        update, state = tx.update(grads(params, n), state, params)
        params = optim.apply_updates(params, update)
    return params, state, update


def close(a: Any, b: Any, rtol: float = 2e-6, atol: float = 1e-7) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(plain(x), plain(y), rtol=rtol, atol=atol)


def equal(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(plain(x), plain(y))


def plain(x: Any) -> np.ndarray:
    """A NumPy array that can be compared: key data for keys, float32 for what NumPy has no words for."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    array = np.asarray(x)
    return array.astype(np.float32) if array.dtype.kind == "V" or array.dtype.itemsize < 4 else array


def avals(tree: Any) -> list[tuple[Any, Any, bool]]:
    """Shape, dtype and weak type of every leaf."""
    return [(x.shape, x.dtype, getattr(x, "weak_type", False)) for x in jax.tree.leaves(tree)]


def finite(tree: Any) -> bool:
    return all(bool(np.all(np.isfinite(plain(x)))) for x in jax.tree.leaves(tree) if inexact(x))


def inexact(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)
