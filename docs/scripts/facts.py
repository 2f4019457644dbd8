"""Facts about a transformation that are not in its docstring: its members, and the size of its state."""

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


def sample(entry: Entry) -> Any:
    """The result of the factory's first example."""
    first = entry.examples[0]
    return entry(*first.args, **first.kwargs)


@functools.cache
def bytes_per_parameter(name: str, dtype: str = "float32") -> float | None:
    """Bytes of state per parameter of one large matrix; None where the entry makes no transformation."""
    tx = sample(optim.lookup(name))
    if not isinstance(tx, optim.GradientTransformation):
        return None
    params = {"w": jax.ShapeDtypeStruct(MATRIX, jnp.dtype(dtype))}
    return optim.summary(tx, params).bytes / math.prod(MATRIX)


def amount(number: float) -> str:
    """Bytes as text: 8, 0.5; 0 for a state that does not grow with the parameters."""
    return "0" if number < 1e-3 else f"{number:.2g}" if number < 1 else f"{number:.3g}"


def grain(entry: Entry) -> str | None:
    return getattr(sample(entry), "grain", None)


def members(tx: Any) -> list[Any]:
    """The registered transformations that an alias is made of, in order; nested chains are flattened."""
    flat = []
    for member in (tx.body or tx).members or ():
        named = member.call is not None and member.call.name
        alias = member.body is not None and member.members and not _own_formula(member)
        flat += members(member) if named == "chain" or alias else [member]
    return [m for m in flat if m.call is not None and isinstance(m.call.name, str)]


def _own_formula(tx: Any) -> bool:
    return tx.call is not None and isinstance(tx.call.name, str) and bool(_doc(tx.call.name).formulas)


def _doc(name: str) -> markup.Doc:
    return markup.read(optim.lookup(name).factory.__doc__)


def described_by(entry: Entry) -> list[str]:
    """The transformations whose docstrings describe an alias: its members, then those that its own text names."""
    tx = sample(entry)
    if not isinstance(tx, optim.GradientTransformation) or tx.body is None:
        return []
    doc = _doc(entry.name)
    text = " ".join([doc.sentence, *(part for kind, part in doc.parts if kind == "prose")])
    registered = {e.name for e in optim.entries("transformation")} - {entry.name}
    named = [name for name in re.findall(r"`([\w.]+)`", text) if name in registered]
    return list(dict.fromkeys([m.call.name for m in members(tx)] + named))


def formulas(entry: Entry) -> list[tuple[str, str]]:
    """(name, formula) of the members of an alias that has no formula of its own.

    Where no member has a formula either, (name, first sentence).
    """
    if _doc(entry.name).formulas:
        return []
    docs = [(name, _doc(name)) for name in described_by(entry)]
    with_formulas = [(name, "\n\n".join(doc.formulas)) for name, doc in docs if doc.formulas]
    return with_formulas or [(name, doc.sentence) for name, doc in docs]


def sources(entry: Entry) -> list[tuple[str, str]]:
    """(name, source) of the members of an alias that names no source itself."""
    if "Source" in _doc(entry.name).sections:
        return []
    texts = [(name, _doc(name).text("Source")) for name in described_by(entry)]
    return [(name, text) for name, text in texts if text]


def composition(tx: Any) -> str:
    """The chain that an alias returns, as code; functions are shown as `...`."""
    return re.sub(r"the function <?\w+>?(?:, the function <?\w+>?)*", "...", str(tx.body))


def default(value: Any) -> str:
    """A default as code: its value where it is data or has a public form, else `...`."""
    text = str(value.call) if getattr(value, "call", None) is not None else repr(value)
    return "..." if re.search(r" at 0x|<|\b_[a-zA-Z]", text) else text
