"""Write docs/differences.md: what this library does otherwise than Optax, from the tests and the docstrings.

python -m tests.reference.page
"""

import re
from collections.abc import Iterator
from pathlib import Path

import optim
from optim.core.registry import entry_of

from .differences import COARSE, COARSE_IN_FLOAT32, DIFFERS, FAULTS, TESTED_APART

PAGE = Path(__file__).parents[2] / "docs" / "differences.md"

HEAD = Path(__file__).with_name("page.md").read_text()


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
    for name, docstring in sorted(docstrings()):
        text = re.search(r"^ *Differs: (.*?)(?:\n *[A-Z][a-z]+: |\Z)", docstring, re.M | re.S)
        if text and "Optax" in text[1]:
            rows.append(f"| `{name}` | {' '.join(text[1].split())} |")
    return rows


def docstrings() -> Iterator[tuple[str, str]]:
    """Those of all factories, and of the public functions that are none."""
    yield from ((entry.name, entry.factory.__doc__ or "") for entry in optim.entries())
    for room, prefix in ((optim, ""), (optim.tree, "tree."), (optim.projections, "projections.")):
        for name, x in vars(room).items():
            if callable(x) and not name.startswith("_") and entry_of(x) is None:
                yield prefix + name, x.__doc__ or ""


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
