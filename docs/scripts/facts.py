"""What is known of a transformation besides its docstring: what it is made of, and what its state takes."""

import functools
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import markup

import optim
from optim.core.registry import Entry

MATRIX = (1024, 1024)


def made(entry: Entry) -> Any:
    """What its first example makes."""
    first = entry.examples[0]
    return entry(*first.args, **first.kwargs)


@functools.cache
def bytes_per_parameter(name: str, dtype: str = "float32") -> float | None:
    """Bytes of state for each parameter of one large matrix; None for what needs other parameters."""
    tx = made(optim.lookup(name))
    if not isinstance(tx, optim.GradientTransformation):
        return None
    params = {"w": jax.ShapeDtypeStruct(MATRIX, jnp.dtype(dtype))}
    return optim.summary(tx, params).bytes / math.prod(MATRIX)


def amount(number: float) -> str:
    """Bytes as they are read: 8, 0.5, 0 for what does not grow with the parameters."""
    return "0" if number < 1e-3 else f"{number:.2g}" if number < 1 else f"{number:.3g}"


def grain(entry: Entry) -> str | None:
    return getattr(made(entry), "grain", None)


def members(tx: Any) -> list[Any]:
    """The registered transformations that an alias stands for, those of chains inside one another in their order."""
    found = []
    for member in (tx.body or tx).members or ():
        named = member.call is not None and member.call.name
        alias = member.body is not None and member.members and not _own_formula(member)
        found += members(member) if named == "chain" or alias else [member]
    return [m for m in found if m.call is not None and isinstance(m.call.name, str)]


def _own_formula(tx: Any) -> bool:
    return tx.call is not None and isinstance(tx.call.name, str) and bool(_doc(tx.call.name).formulas)


def _doc(name: str) -> markup.Doc:
    return markup.read(optim.lookup(name).factory.__doc__)


def told_by(entry: Entry) -> list[str]:
    """Whose docstrings tell what an alias does: those of its members, then those that it names itself."""
    tx = made(entry)
    if not isinstance(tx, optim.GradientTransformation) or tx.body is None:
        return []
    known = {e.name for e in optim.entries("transformation")}
    named = [n for n in re.findall(r"`([\w.]+)`", entry.factory.__doc__ or "") if n in known and n != entry.name]
    return list(dict.fromkeys([m.call.name for m in members(tx)] + named))


def formulas(entry: Entry) -> list[tuple[str, str]]:
    """(name, formula) of the members of an alias that has none of its own; their sentences where none has one."""
    if _doc(entry.name).formulas:
        return []
    told = [(name, _doc(name)) for name in told_by(entry)]
    found = [(name, "\n\n".join(doc.formulas)) for name, doc in told if doc.formulas]
    return found or [(name, doc.sentence) for name, doc in told]


def sources(entry: Entry) -> list[tuple[str, str]]:
    """(name, source) of the members of an alias that names no source itself."""
    if "Source" in _doc(entry.name).sections:
        return []
    said = [(name, _doc(name).sections.get("Source")) for name in told_by(entry)]
    return [(name, " ".join(lines)) for name, lines in said if lines]
