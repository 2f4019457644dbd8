"""The rows of the sweep: every registered transformation with each of its examples, on one small tree."""

import os
import traceback
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.core.registry import Entry, Example

from ..flags import DEFAULTS


@dataclass(frozen=True, eq=False)
class Row:
    entry: Entry
    example: Example
    id: str

    def make(self, **changes: Any) -> Any:
        return self.given(self.build(**changes))

    def build(self, **changes: Any) -> Any:
        """The transformation as the factory returns it, without the extra arguments of the example."""
        return self.entry(*self.example.args, **{**self.example.kwargs, **changes})

    def given(self, tx: Any) -> Any:
        """`tx` whose update has the extra arguments of the example."""
        if not self.example.extra:
            return tx

        def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
            return tx.update(updates, state, params, **{**self.example.extra, **extra})

        # As one rule it would be called without them.
        facts = {**(vars(tx.facts) if hasattr(tx, "facts") else {}), "rule": None, "sequential": False}
        return optim.GradientTransformationExtraArgs(tx.init, update).declaring(**facts)

    def close(self, a: Any, b: Any, rtol: float = 2e-6, atol: float = 1e-7) -> None:
        """`close`, or `close_in_size` for a rule on whole leaves, which may factorise them."""
        same = close_in_size if self.grain == "leafwise" else close
        same(a, b, rtol, atol)

    def excepted(self, column: str) -> str | None:
        """The reason why the registry excepts this row from a column."""
        i = self.entry.examples.index(self.example)
        return self.entry.exceptions.get(column) or self.entry.exceptions.get(f"{column}-{i}")

    @property
    def is_first(self) -> bool:
        return self.example is self.entry.examples[0]

    @cached_property
    def grain(self) -> str | None:
        return self.make().grain

    @cached_property
    def is_alias(self) -> bool:
        """Whether it is composed of others, which are rows of their own."""
        return self.make().body is not None


ROWS = [
    Row(entry, example, f"{entry.name}-{i}" if i else entry.name)
    for entry in optim.entries("transformation")
    for i, example in enumerate(entry.examples)
]

# Columns in which another example of a factory, with other branches of its rule, may fail where the first does not.
VARIED = {"jit", "precision", "errors"}
# Columns in which a chain may fail though its members, which are rows of their own, do not.
COMPOSED = {"jit", "none", "errors"}
# OPTIM_EVERY_CELL=1 runs every column for every example of every factory, about twice as many.
EVERY_CELL = bool(os.environ.get("OPTIM_EVERY_CELL"))


def column(name: str, *grains: str, where: Callable[[Row], bool] = lambda _: True) -> Any:
    """Run a test for every row, or for those of these grains; what the registry excepts is skipped with its reason.

    Rows are made when pytest asks for them, those of the wanted factories only.
    """

    def wanted(row: Row) -> bool:
        if not (EVERY_CELL or row.is_first or name in VARIED):
            return False
        if not (EVERY_CELL or name in COMPOSED) and row.is_alias:
            return False
        return (not grains or row.grain in grains) and where(row)

    return of_rows(wanted, name)


def of_rows(wanted: Callable[[Row], bool], name: str = "") -> Any:
    """Run a test for the rows that `wanted` takes."""

    def params(names: Container[str] | None) -> list[Any]:
        return [param(r) for r in ROWS if (names is None or r.entry.name in names) and wanted(r)]

    def param(row: Row) -> Any:
        reason = row.excepted(name)
        return pytest.param(row, id=row.id, marks=[pytest.mark.skip(reason=reason)] if reason else [])

    return pytest.mark.column.with_args(params)


def check_all(cases: Iterable[Any], check: Callable[..., None], name: Callable[[Any], str] = str) -> None:
    """Run `check` on every case; one failure tells of all cases that failed, by name."""
    failures = []
    for case in cases:
        try:
            check(case)
        except (Exception, pytest.fail.Exception) as error:
            line = traceback.extract_tb(error.__traceback__)[-1]
            failures.append(f"{name(case)}: {type(error).__name__}: {error} (line {line.lineno} of {line.name})")
    if failures:
        pytest.fail(f"{len(failures)} failed\n" + "\n".join(failures), pytrace=False)


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


def close_in_size(a: Any, b: Any, rtol: float, atol: float = 0.0) -> None:
    """Every array to `rtol` of its largest element: the results of factorisations, inverse roots and long sums.

    They differ between processors by this much, in small elements too.
    """
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(map(plain, jax.tree.leaves(a)), map(plain, jax.tree.leaves(b)), strict=True):
        size = np.max(np.abs(y), initial=0, where=np.isfinite(y)) if y.dtype.kind in "fc" else 0
        np.testing.assert_allclose(x, y, rtol=0 if size else rtol, atol=atol + rtol * size)


def as_users_compile(f: Callable[..., Any]) -> Any:
    """`jax.jit(f)` with XLA's own options in place of the suite's fast ones (tests/conftest.py)."""
    return jax.jit(f, compiler_options=DEFAULTS)


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
