"""`inspect`, `eval_params`, `summary`: values of a state by name, evaluation parameters, memory."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from .. import checks, tree
from ..tree.coded import is_coded
from ..tree.places import unboxed
from ..types import OptState, Params, TransformationLike
from .members import parts, title, walk
from .transformation import GradientTransformation, taking_extra_args

P = TypeVar("P")
_Value = tuple[tuple[str, ...], str, Any]


@checks.entrance("inspect")
def inspect(tx: TransformationLike, state: OptState) -> dict[str, Any]:
    """Scalars of a state by name: `step`, `learning_rate`, and the other scalars of the members.

    `step` is the number of updates done. `learning_rate` is the one that the last update used, or the first will. Every
    other scalar of a member's state has its field's name: counters of skipped steps, a plateau's scale, an injected
    hyperparameter, a measured norm. A name that several members use is preceded by the member's: a partition with two
    learning rates has `decay/learning_rate` and `rest/learning_rate`.

    The values are the state's own arrays: nothing is copied, nothing waits for a device, and it works inside `jit`.

        optim.inspect(tx, state)  # {'step': Array(3), 'learning_rate': Array(0.1)}

    Args:
      tx: a transformation.
      state: its state.
    Raises:  TypeError for an argument that is not an (init, update) pair, or another transformation's state.
    """
    tx = taking_extra_args(tx, "tx")
    named: dict[str, dict[tuple[str, ...], Any]] = {}
    for path, name, value in _reported(tx, state):
        uses = named.setdefault(name, {})
        if not any(value is other for other in uses.values()):
            uses[path] = value
    report: dict[str, Any] = {}
    for name, uses in named.items():
        if name == "step":
            report[name] = next(iter(uses.values()))
            continue
        for path, short in zip(uses, _shortened(list(uses)), strict=True):
            report["/".join((*short, name))] = uses[path]
    return report


def _shortened(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The paths without the names with which all of them begin and end."""
    start = _shared(paths)
    rests = [path[start:] for path in paths]
    end = _shared([rest[::-1] for rest in rests])
    return [rest[: len(rest) - end] for rest in rests]


def _shared(paths: list[tuple[str, ...]]) -> int:
    """The number of names with which all paths begin."""
    return next((i for i, words in enumerate(zip(*paths, strict=False)) if len({*words}) > 1), min(map(len, paths)))


def _reported(tx: GradientTransformation, state: Any) -> Iterator[_Value]:
    """The values that a transformation and its members expose, and the scalars in their states, with their paths."""
    for path, part in walk(tx, state):
        exposed = dict(part.tx.facts.exposes(part.state)) if part.tx.facts.exposes else {}
        yield from ((path, name, unboxed(value)) for name, value in exposed.items())
        yield from _scalars(part.state, path, {*part.tx.facts.slots, *exposed}, deep=not part.parts)


def _scalars(state: Any, path: tuple[str, ...], reported: set[str], deep: bool) -> Iterator[_Value]:
    """The scalar fields of a state that are not reported yet; with `deep`, also those of the states inside."""
    if not isinstance(state, tuple):
        return
    for i, field_value in enumerate(state):
        field = state._fields[i] if hasattr(state, "_fields") else None
        if field in reported:
            continue
        value = unboxed(field_value)
        if field and isinstance(value, jax.Array) and value.shape == () and not checks.is_key(value):
            yield path, "step" if field == "count" else field, value
        elif deep:
            yield from _scalars(field_value, path, reported, deep)


@checks.entrance("eval_params")
def eval_params(tx: TransformationLike, state: OptState, params: P) -> P:
    """The parameters to evaluate with: an average, lookahead's slow or schedule-free's; else `params` themselves.

    Members replace parameters in their order; a member of a partition, those of its group.

    Args:
      tx: a transformation.
      state: its state.
      params: the parameters that are trained.
    Raises:  TypeError for an argument that is not an (init, update) pair.
    """
    tx = taking_extra_args(tx, "tx")
    tx.check_state(state)
    if tx.facts.evaluates is not None:
        evaluated: P = tx.facts.evaluates(state, params)
        return evaluated
    for part in parts(tx, state, params):
        other = eval_params(part.tx, part.state, part.params)
        if other is not part.params:
            leaves, structure = tree.flatten(params)
            new = tree.match(other, params, "the evaluated parameters", "params")
            params = structure.unflatten([p if n is None else n for p, n in zip(leaves, new, strict=True)])
    return params


@dataclass(frozen=True)
class SummaryRow:
    """One line of a summary.

    Args:
      name: the path of the member: groups and links by their names.
      grain: elementwise, treewise, leafwise, or None where it is unknown.
      parameters: how many numbers it updates.
      fields: the fields of its own state, without its members': name, dtypes, bytes.
    """

    name: str
    grain: str | None
    parameters: int
    fields: tuple[tuple[str, str, int], ...]

    @property
    def bytes(self) -> int:
        return sum(size for _, _, size in self.fields)


@dataclass(frozen=True)
class Summary:
    """The members of a transformation and what their states take; it prints as a table."""

    members: tuple[SummaryRow, ...]

    @property
    def bytes(self) -> int:
        """All the bytes of the state."""
        return sum(row.bytes for row in self.members)

    def __str__(self) -> str:
        rows = [("member", "grain", "parameters", "state", "bytes")]
        for m in self.members:
            fields = ", ".join(f"{name}: {dtypes}" for name, dtypes, _ in m.fields) or "-"
            rows.append((m.name, m.grain or "?", f"{m.parameters:,}", fields, f"{m.bytes:,}"))
        rows.append(("total", "", "", "", f"{self.bytes:,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = [
            "  ".join(
                cell.rjust(w) if i in (2, 4) else cell.ljust(w)
                for i, (cell, w) in enumerate(zip(r, widths, strict=True))
            )
            for r in rows
        ]
        return "\n".join(line.rstrip() for line in lines)


@checks.entrance("summary")
def summary(tx: TransformationLike, params: Params) -> Summary:
    """A table of the members: grain, parameters, slots with their dtypes, bytes of state; nothing is allocated.

        print(optim.summary(tx, params))

    Args:
      tx: a transformation.
      params: arrays, or `jax.ShapeDtypeStruct`s as `jax.eval_shape` gives them.
    Raises:  TypeError for an argument that is not an (init, update) pair.
    """
    tx = taking_extra_args(tx, "tx")
    shapes = jax.eval_shape(lambda p: p, params)
    return Summary(tuple(_rows(tx, jax.eval_shape(tx.init, params), shapes)))


def _rows(tx: GradientTransformation, state: Any, params: Any) -> Iterator[SummaryRow]:
    for path, part in walk(tx, state, params):
        inner = {id(x) for p in part.parts for x in jax.tree.leaves(p.state)}
        fields = []
        named = part.state._asdict() if hasattr(part.state, "_asdict") else {"state": part.state}
        for field, value in named.items():
            leaves = jax.tree.leaves(value, is_leaf=is_coded)
            own = [x for x in leaves if all(id(y) not in inner for y in jax.tree.leaves(x))]
            if own:
                arrays = jax.tree.leaves(own)
                fields.append((field, _dtypes(own), sum(math.prod(x.shape) * x.dtype.itemsize for x in arrays)))
        if fields or not part.parts:
            size = sum(math.prod(jnp.shape(p)) for p in tree.leaves(part.params))
            yield SummaryRow("/".join((title(tx, "tx"), *path)), part.tx.grain, size, tuple(fields))


def _dtypes(leaves: list[Any]) -> str:
    """The dtypes and codecs of the leaves of a field; where some are coded, how many leaves have each."""
    names = [str(x.codec) if is_coded(x) else str(x.dtype) for x in leaves]
    if not any(map(is_coded, leaves)):
        return "/".join(dict.fromkeys(names))
    sizes = Counter(names)
    return "/".join(name if len(sizes) == 1 else f"{name} ({n} of {len(names)} leaves)" for name, n in sizes.items())
