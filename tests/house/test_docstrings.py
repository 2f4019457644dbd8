"""The form of docstrings, as CONTRIBUTING.md tells it."""

import ast
import re
from collections import defaultdict

import pytest

import optim

from .parts import ROOT, TREES, dedent, docstrings, paragraphs

ENTRIES = {e.name: e for e in optim.entries()}
EVERY = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
HEADINGS = ["Args", "State", "Raises", "Source", "Differs"]


def text_of(entry):
    return dedent(entry.factory.__doc__ or "")


@EVERY
def test_first_line_is_a_sentence(entry):
    first, _, rest = text_of(entry).partition("\n")
    assert first, "no docstring"
    assert first.endswith(".")
    assert not re.search(r"\.\s", first), "more than one sentence"
    assert not rest or rest.startswith("\n"), "no empty line below it"


@EVERY
def test_length(entry):
    assert len(text_of(entry).splitlines()) <= 25


@EVERY
def test_headings(entry):
    _, _, below = text_of(entry).partition("\n")
    found = re.findall(r"^([A-Z]\w+):\s", below, re.M)
    assert found == [h for h in HEADINGS if h in found]


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


@EVERY
def test_arguments_are_explained(entry):
    texts = list(readers(entry, set()))
    wanted = [p.name for p in entry.signature.parameters.values() if p.kind is not p.VAR_POSITIONAL]
    assert [n for n in wanted if not any(mentions(t, n) for t in texts)] == []


def primitives():
    for module, tree in TREES.items():
        if module.startswith("optim.optimizers."):
            names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
            yield from (name for name in names if name.startswith("scale_by_"))


PRIMITIVES = list(primitives())


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitive_names_its_source(name):
    assert re.search(r"^Source:  \w", text_of(ENTRIES[name]), re.M)


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


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_line_budget(path):
    assert len(path.read_text().splitlines()) <= 400
