"""The code on the site's pages runs: every Python block of a page in its turn, in one namespace.

A block of text or JSON below one is what it prints, but for the width of lines; `...` stands for anything.
"""

import contextlib
import fnmatch
import importlib.util
import io
import re
from dataclasses import dataclass
from pathlib import Path

import jax
import pytest

import optim

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md"))
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.M | re.S)
LANGUAGES = {"python", "text", "sh", "json"}


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    marks: tuple[str, ...]
    text: str

    @property
    def needs(self):
        return [n for m in self.marks if m.startswith("needs=") for n in m.removeprefix("needs=").split(",")]


def blocks(page):
    text, found = page.read_text(), []
    for match in FENCE.finditer(text):
        language, *marks = match[1].split()
        found.append(Block(text[: match.start()].count("\n") + 2, language, tuple(marks), match[2]))
    return found


def is_there(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def has_code(page):
    return any(b.language == "python" for b in blocks(page))


def test_pages_were_found():
    assert len([p for p in PAGES if has_code(p)]) > 15


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(DOCS)))
def test_every_block_says_what_it_is(page):
    """So that none is left out: its language, and no marks but those that are known; and none is cut in two."""
    for block in blocks(page):
        assert block.language in LANGUAGES, f"line {block.line}"
        assert all(m.startswith("needs=") for m in block.marks), f"line {block.line}"
    assert page.read_text().count("```") == 2 * len(blocks(page)), "an indented fence, which nobody would run"


def fits(printed, shown):
    pattern = " ".join(shown.split()).replace("[", "[[]").replace("*", "[*]").replace("?", "[?]").replace("...", "*")
    return fnmatch.fnmatchcase(" ".join(printed.split()), pattern)


def test_fits():
    assert fits("a  b\nc [1] *\n", "a b c [1] *")
    assert fits("a b c d", "a ... d")
    assert not fits("a b c", "a c")
    assert not fits("aXc", "a?c")


def param(page):
    """The quick part has the pages that everybody reads; those in folders are read by some."""
    marks = [pytest.mark.slow] if page.parent != DOCS else []
    return pytest.param(page, id=str(page.relative_to(DOCS)), marks=marks)


@pytest.mark.parametrize("page", [param(p) for p in PAGES if has_code(p)])
def test_code_runs(page, tmp_path, monkeypatch):
    """What it registers is forgotten again; what it writes is in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    known, missing, namespace = dict(optim.core.registry._entries), set(), {"__name__": "page"}
    printed = ""
    try:
        for block in blocks(page):
            if block.language in ("text", "json") and printed:
                assert fits(printed, block.text), f"line {block.line}: it prints {printed}"
            if block.language != "python":
                continue
            printed = ""
            absent = [n for n in block.needs if not is_there(n)]
            missing.update(absent)
            if not absent:
                # With the line numbers of the page, so that an error points there.
                code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
                # Other libraries count on JAX's default promotion of dtypes.
                promotion = jax.numpy_dtype_promotion("standard" if block.needs else "strict")
                with promotion, contextlib.redirect_stdout(io.StringIO()) as out:
                    exec(code, namespace)
                printed = out.getvalue()
    finally:
        optim.core.registry._entries.clear()
        optim.core.registry._entries.update(known)
    if missing:
        pytest.skip(f"all but the blocks that need {', '.join(sorted(missing))} ran")
