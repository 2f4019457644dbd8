"""The form of docstrings, as CONTRIBUTING.md tells it."""

import ast
import inspect
import re
from collections import defaultdict

import optim
from optim.core.docs import entries_of

from ..every.rows import check_all
from .parts import ROOT, TREES, dedent, docstrings, paragraphs

ENTRIES = {e.name: e for e in optim.entries()}
HEADINGS = ["Args", "State", "Returns", "Raises", "Source", "Differs", "When"]
SOURCES = {
    node.name: dedent(ast.get_docstring(node, clean=False) or "")
    for tree in TREES.values()
    for node in tree.body
    if isinstance(node, ast.FunctionDef | ast.ClassDef)
}
"""What is written in the source. A factory's `__doc__` has more: the arguments of the primitives it is made of."""


def text_of(entry):
    return entry.factory.__doc__ or ""


def test_first_line_is_a_sentence():
    def check(entry):
        first, _, rest = text_of(entry).partition("\n")
        assert first, "no docstring"
        assert first.endswith(".")
        assert not re.search(r"\.\s", first), "more than one sentence"
        assert not rest or rest.startswith("\n"), "no empty line below it"

    check_all(ENTRIES.values(), check, name=lambda entry: entry.name)


def test_length():
    def check(entry):
        assert len(SOURCES[entry.name.removeprefix("keras.")].splitlines()) <= 25

    check_all(ENTRIES.values(), check, name=lambda entry: entry.name)


def test_headings():
    def check(entry):
        _, _, below = text_of(entry).partition("\n")
        found = re.findall(r"^([A-Z]\w+):(?:\s|$)", below, re.M)
        assert found == [h for h in HEADINGS if h in found]

    check_all(ENTRIES.values(), check, name=lambda entry: entry.name)


def test_every_argument_has_an_entry():
    def check(entry):
        described = [name for names, _ in entries_of(text_of(entry)) for name in names]
        wanted = [p.name for p in entry.signature.parameters.values() if p.kind is not p.VAR_POSITIONAL]
        assert entry.kind == "function" or [n for n in wanted if n not in described] == []
        assert len(described) == len(set(described))

    check_all(ENTRIES.values(), check, name=lambda entry: entry.name)


def test_losses_have_this_form_too():
    def check(name):
        text = getattr(optim.losses, name).__doc__
        first, _, below = text.partition("\n")
        assert first.endswith(".")
        assert not re.search(r"\.\s", first), "more than one sentence"
        assert len(text.splitlines()) <= 28
        found = re.findall(r"^ *([A-Z]\w+):(?:\s|$)", below, re.M)
        assert found == [h for h in HEADINGS if h in found]
        assert {"Args", "Returns", "Raises"} <= set(found)
        described = [n for names, _ in entries_of(text) for n in names]
        assert described == list(inspect.signature(getattr(optim.losses, name)).parameters)

    check_all(optim.losses.__all__, check)


def test_an_alias_shows_the_arguments_of_its_primitives():
    """Composed from their docstrings, and not copied."""
    alias, primitive = (
        {n: text for names, text in entries_of(f.__doc__) for n in names} for f in (optim.adamw, optim.scale_by_adam)
    )
    assert {n: alias[n] for n in ("b1", "b2", "eps", "eps_root")} == {
        n: primitive[n] for n in ("b1", "b2", "eps", "eps_root")
    }
    assert "b1" not in SOURCES["adamw"]
    names = [n for names, _ in entries_of(optim.adamw.__doc__) for n in names]
    assert names == list(inspect.signature(optim.adamw).parameters)


def test_optimizers_say_when_to_use_them():
    def check(entry):
        module = entry.factory.__module__
        if module.startswith("optim.optimizers.") and entry.kind == "transformation" and "scale_by" not in entry.name:
            assert re.search(r"^When:    \w", text_of(entry), re.M)

    check_all(ENTRIES.values(), check, name=lambda entry: entry.name)


def primitives():
    for module, tree in TREES.items():
        if module.startswith("optim.optimizers."):
            names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
            yield from (name for name in names if name.startswith("scale_by_"))


PRIMITIVES = list(primitives())


def test_primitives_name_their_sources():
    assert [n for n in PRIMITIVES if not re.search(r"^Source:  \w", text_of(ENTRIES[n]), re.M)] == []


def test_primitives_were_found():
    assert len(PRIMITIVES) > 10


def test_no_paragraph_stands_twice():
    places = defaultdict(list)
    for where, text in docstrings():
        for paragraph in paragraphs(text):
            if len(paragraph.splitlines()) > 2:
                places[re.sub(r"\s+", " ", paragraph)].append(where)
    assert len(places) > 30
    assert {p: w for p, w in places.items() if len(w) > 1} == {}


CODE = [p for top in ("optim", "tests", "examples", "benchmarks") for p in sorted((ROOT / top).rglob("*.py"))]


def test_line_budget():
    roof = ROOT / "optim/__init__.py"  # a list of names, one a line
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in CODE if path != roof}
    assert {path: n for path, n in lines.items() if n > 400} == {}
