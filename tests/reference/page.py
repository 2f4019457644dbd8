"""Write docs/differences.md, the differences from Optax, from the tables of the tests and the docstrings.

python -m tests.reference.page
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import optim
from optim.core.registry import entry_of

from .differences import COARSE, COARSE_IN_FLOAT32, DIFFERS, FAULTS, OPTIONS, TESTED_APART

PAGE = Path(__file__).parents[2] / "docs" / "differences.md"

HEAD = Path(__file__).with_name("page.md").read_text()


def lines_of(table: dict[str, object]) -> list[str]:
    """name -> reason as table rows: one row per reason, with the numbers of examples removed from the names."""
    grouped: dict[str, list[str]] = {}
    for name, reason in table.items():
        names = grouped.setdefault(str(reason), [])
        plain = re.sub(r"-\d+$", "", name)
        if plain not in names:
            names.append(plain)
    return [f"| {', '.join(f'`{n}`' for n in names)} | {reason} |" for reason, names in grouped.items()]


def differs_rows() -> list[str]:
    """The `Differs:` paragraphs of the docstrings."""
    rows = []
    for name, docstring in sorted(docstrings()):
        text = re.search(r"^ *Differs: (.*?)(?:\n *[A-Z][a-z]+:\s|\n\s*\n|\s*\Z)", docstring, re.M | re.S)
        if text and "Optax" in text[1]:
            rows.append(f"| `{name}` | {' '.join(text[1].split())} |")
    return rows


def docstrings() -> Iterator[tuple[str, str]]:
    """Name and docstring of every factory and every other public function."""
    yield from ((entry.name, entry.factory.__doc__ or "") for entry in optim.entries())
    seen = set()
    for room in (optim, *(x for x in map(vars(optim).get, optim.__all__) if inspect.ismodule(x))):
        prefix = room.__name__.removeprefix("optim").lstrip(".")
        for name in getattr(room, "__all__", ()):
            x = getattr(room, name)
            second_name = getattr(x, "__name__", name) != name
            if callable(x) and entry_of(x) is None and id(x) not in seen and not second_name:
                seen.add(id(x))
                yield f"{prefix}.{name}".lstrip("."), x.__doc__ or ""


def page() -> str:
    def table(title: str, intro: str, rows: list[str]) -> str:
        return "\n".join([f"## {title}", "", intro, "", "| name | difference |", "|---|---|", *rows, ""])

    coarse = {name: f"compared to {tolerance:g}: Optax computes in float32 there" for name, tolerance in COARSE.items()}
    parts = [
        HEAD,
        table(
            "Where Optax 0.2.8 departs from the paper, and an argument gives its numbers",
            "This library follows the paper under the name. To continue a run of Optax with the same numbers, pass the "
            "argument,\nor let `optim.interop.optax.with_optax_rules(tx)` set all of them.",
            lines_of(OPTIONS),
        ),
        table(
            "Where Optax 0.2.8 departs from the paper otherwise", "This library follows the paper.", lines_of(FAULTS)
        ),
        table("Examples that are not compared", "The reason is given for each.", lines_of(DIFFERS)),
        table("Differences in the docstrings", "From the sections `Differs:`.", differs_rows()),
        table(
            "Lower precision", "These are compared with a larger tolerance.", lines_of({**coarse, **COARSE_IN_FLOAT32})
        ),
        table("Separate tests", "These need more than a gradient.", lines_of(TESTED_APART)),
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
