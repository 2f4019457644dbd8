"""The code on the site's pages runs: the Python blocks of a page in order, in one namespace.

A block of text or JSON shows what the block above it prints. Line breaks may differ, and `...` matches anything.
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
    text, parsed = page.read_text(), []
    for match in FENCE.finditer(text):
        language, *marks = match[1].split()
        parsed.append(Block(text[: match.start()].count("\n") + 2, language, tuple(marks), match[2]))
    return parsed


def is_installed(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its package is missing
        return False


def has_code(page):
    return any(b.language == "python" for b in blocks(page))


def test_pages_were_found():
    assert len([p for p in PAGES if has_code(p)]) > 15


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(DOCS)))
def test_every_block_says_what_it_is(page):
    """Every block has a language and only valid marks, so that none is skipped by mistake; no fence is indented."""
    for block in blocks(page):
        assert block.language in LANGUAGES, f"line {block.line}"
        assert all(m.startswith("needs=") for m in block.marks), f"line {block.line}"
    assert page.read_text().count("```") == 2 * len(blocks(page)), "an indented fence, which would not run"


def fits(printed, shown):
    pattern = " ".join(shown.split()).replace("[", "[[]").replace("*", "[*]").replace("?", "[?]").replace("...", "*")
    return fnmatch.fnmatchcase(" ".join(printed.split()), pattern)


def test_fits():
    assert fits("a  b\nc [1] *\n", "a b c [1] *")
    assert fits("a b c d", "a ... d")
    assert not fits("a b c", "a c")
    assert not fits("aXc", "a?c")


def param(page):
    """Pages in folders are slow tests; the quick tests run the pages at the top."""
    marks = [pytest.mark.slow] if page.parent != DOCS else []
    return pytest.param(page, id=str(page.relative_to(DOCS)), marks=marks)


@pytest.mark.parametrize("page", [param(p) for p in PAGES if has_code(p)])
def test_code_runs(page, tmp_path, monkeypatch):
    """Each page runs in a folder of its own; its registrations are undone afterwards."""
    monkeypatch.chdir(tmp_path)
    entries, missing, namespace = dict(optim.core.registry._entries), set(), {"__name__": "page"}
    printed = ""
    try:
        for block in blocks(page):
            if block.language in ("text", "json") and printed:
                assert fits(printed, block.text), f"line {block.line}: the output is {printed}"
            if block.language != "python":
                continue
            printed = ""
            uninstalled = [n for n in block.needs if not is_installed(n)]
            missing.update(uninstalled)
            if not uninstalled:
                # Keep the line numbers of the page, so that errors point to it.
                code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
                # Other libraries rely on JAX's default dtype promotion.
                promotion = jax.numpy_dtype_promotion("standard" if block.needs else "strict")
                with promotion, contextlib.redirect_stdout(io.StringIO()) as out:
                    exec(code, namespace)
                printed = out.getvalue()
    finally:
        optim.core.registry._entries.clear()
        optim.core.registry._entries.update(entries)
    if missing:
        pytest.skip(f"skipped the blocks that need {', '.join(sorted(missing))}")
