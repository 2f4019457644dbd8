"""Write docs/differences.md: what this library does otherwise than Optax, from the tests and the docstrings.

python -m tests.reference.page
"""

import re
from pathlib import Path

import optim

from .differences import COARSE, COARSE_IN_FLOAT32, DIFFERS, FAULTS, TESTED_APART

PAGE = Path(__file__).parents[2] / "docs" / "differences.md"

HEAD = """# What is different here

Names, signatures, states and numbers are those that users of Optax know. `tests/reference` runs every registered
transformation that Optax 0.2.8 has as well beside it, for 20 steps in float64 (to 1e-9) and in float32. This page has
every deliberate difference; `python -m tests.reference.page` writes it, and a test says whether it is up to date.

## Everywhere

| here | in Optax | why |
|---|---|---|
| a gradient that is `None` leaves its parameter and its slots as they are | fails, or changes the state | a part of the parameters may have no gradient |
| a masked-out place is `None`, in states and in what inner functions see | `MaskedNode` | `None` is JAX's own word for nothing; leaf counts and order agree, so states restore |
| rules compute in at least float32, a chain rounds once at its end | in the gradient's dtype, between all members | a zero gradient in float16 is no NaN |
| the state's dtypes are fixed at `init`; slow averages are float32 for narrower parameters | they change with the gradient's | an average that cannot move is lost |
| the gradient's shape must be the parameter's | broadcast | a silent broadcast is a wrong update |
| hyperparameters out of their range are errors where they are given | NaN later, or nothing | the error is where the mistake is |
| `jit(init)` keeps the parameters' shardings | often loses them | state that lives elsewhere has to travel |
| no state shares a buffer with the parameters | several do | donation works |
| the derivative of an update is finite where the gradient is zero | often NaN | meta-learning, hyperparameter gradients |
| a moment whose decay is the number 0 is not stored | stored | it remembers nothing |
| a complex parameter is two real ones in every elementwise rule; in a leafwise one second moments are real | by transformation | one rule |
| updates outside `jit` run compiled, one program for equal transformations | one operation at a time | speed |
| hyperparameters in `inject_hyperparams` are float32 or wider | in the parameters' dtype | b2 = 0.999 is 1 in bfloat16 |
| averages move as x + (1 - b) (g - x), corrections are -expm1(t log b) | b x + (1 - b) g, 1 - b^t | float32 stays within 1e-6 of float64 over 1,000 steps |
"""


def lines_of(table: dict[str, object]) -> list[str]:
    """name -> reason as rows, rows of one reason together; examples of a factory by its name."""
    grouped: dict[str, list[str]] = {}
    for name, reason in table.items():
        names = grouped.setdefault(str(reason), [])
        plain = re.sub(r"-\d+$", "", name)
        if plain not in names:
            names.append(plain)
    return [f"| {', '.join(f'`{n}`' for n in names)} | {reason} |" for reason, names in grouped.items()]


def told() -> list[str]:
    """The `Differs:` paragraphs of the docstrings."""
    rows = []
    for entry in optim.entries():
        text = re.search(r"^ *Differs: (.*?)(?:\n *[A-Z][a-z]+: |\Z)", entry.factory.__doc__ or "", re.M | re.S)
        if text and "Optax" in text[1]:
            rows.append(f"| `{entry.name}` | {' '.join(text[1].split())} |")
    return rows


def page() -> str:
    def table(title: str, intro: str, rows: list[str]) -> str:
        return "\n".join([f"## {title}", "", intro, "", "| name | difference |", "|---|---|", *rows, ""])

    coarse = {name: f"compared to {tolerance:g}: Optax computes in float32 there" for name, tolerance in COARSE.items()}
    parts = [
        HEAD,
        table("Where Optax 0.2.8 departs from the paper", "Here it is the paper's.", lines_of(FAULTS)),
        table("Where examples are not compared", "For the reason given.", lines_of(DIFFERS)),
        table("What docstrings say", "Under `Differs:`.", told()),
        table("Where less is compared", "In precision.", lines_of({**coarse, **COARSE_IN_FLOAT32})),
        table("What is compared in tests of its own", "Since it needs more than a gradient.", lines_of(TESTED_APART)),
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
