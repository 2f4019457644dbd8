"""The form of docstrings, as CONTRIBUTING.md tells it."""

import ast
import re
from collections import defaultdict

import optim

from ..every.rows import check_all
from .parts import ROOT, TREES, dedent, docstrings, paragraphs

ENTRIES = {e.name: e for e in optim.entries()}
HEADINGS = ["Args", "State", "Raises", "Source", "Differs"]


def text_of(entry):
    return dedent(entry.factory.__doc__ or "")


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
        assert len(text_of(entry).splitlines()) <= 25

    check_all(ENTRIES.values(), check, name=lambda entry: entry.name)


def test_headings():
    def check(entry):
        _, _, below = text_of(entry).partition("\n")
        found = re.findall(r"^([A-Z]\w+):\s", below, re.M)
        assert found == [h for h in HEADINGS if h in found]

    check_all(ENTRIES.values(), check, name=lambda entry: entry.name)


def mentions(text, name):
    spaced = name.replace("_", " ")
    return re.search(rf"\b({name}|{spaced})\b", text) is not None


def readers(entry, seen):
    """The docstrings that a reader of this one is sent to: its own, and those of the factories in backticks."""
    seen.add(entry.name)
    text = text_of(entry)
    yield text
    for name in re.findall(r"`([\w.]+)`", text):
        if name in ENTRIES and name not in seen:
            yield from readers(ENTRIES[name], seen)


def test_arguments_are_explained():
    def check(entry):
        texts = list(readers(entry, set()))
        wanted = [p.name for p in entry.signature.parameters.values() if p.kind is not p.VAR_POSITIONAL]
        assert [n for n in wanted if not any(mentions(t, n) for t in texts)] == []

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
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in CODE}
    assert {path: n for path, n in lines.items() if n > 400} == {}
