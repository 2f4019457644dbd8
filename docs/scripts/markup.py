"""Docstrings as Markdown: the first sentence, the formula, and the sections.

`Args:` becomes a definition list with one entry per argument, every other section a term with its text. Two forms of
`Args:` are read. In the first, the heading stands alone and every entry has a line of its own:

    Args:
      b1, b2: decays of the moments, in [0, 1).
      eps: added to the denominator, in units of g;
        usually 1e-8.

In the second, the entries are clauses of a paragraph: `Args:    b1, b2 in [0, 1); eps >= 0`.
"""

import html
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

HEADINGS = ("Args", "State", "Returns", "Raises", "Source", "Differs", "When")
ENTRY = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*): +(.*)")
"""The first line of an entry: its names and the beginning of its text."""


class Argument(NamedTuple):
    """An entry of `Args:`: the arguments it describes, none where the text names them itself, and the text."""

    names: tuple[str, ...]
    text: str


@dataclass
class Doc:
    """The parts of a docstring."""

    sentence: str = ""
    parts: list[tuple[str, str]] = field(default_factory=list)
    """("formula" or "prose", text), in order of appearance."""
    sections: dict[str, list[str]] = field(default_factory=dict)
    """Heading -> its lines. The first is the rest of the heading's line; the others keep their indentation."""

    @property
    def formulas(self) -> list[str]:
        return [text for kind, text in self.parts if kind == "formula"]

    def text(self, heading: str) -> str:
        """A section as one paragraph."""
        return " ".join(line.strip() for line in self.sections.get(heading, ())).strip()


def read(docstring: str | None) -> Doc:
    lines = inspect.cleandoc(docstring or "").splitlines()
    doc = Doc(lines[0] if lines else "")
    section: list[str] | None = None
    for line in lines[1:]:
        heading = re.match(rf"({'|'.join(HEADINGS)}): *(.*)", line)
        if heading:
            section = doc.sections.setdefault(heading[1], [])
            section.append(heading[2])
        elif section is not None and line.startswith(" "):
            section.append(line)
        else:
            section = None
            kind = "formula" if line.startswith("    ") else "prose"
            if line.strip() and doc.parts and doc.parts[-1][0] == kind:
                doc.parts[-1] = (kind, f"{doc.parts[-1][1]}\n{line}")
            elif line.strip():
                doc.parts.append((kind, line))
            else:
                doc.parts.append(("gap", ""))
    doc.parts = _without_gaps(doc.parts)
    return doc


def _without_gaps(parts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Drop the gaps; formulas with only a gap between them are joined."""
    out: list[tuple[str, str]] = []
    gap = False
    for kind, text in parts:
        if kind == "gap":
            gap = True
            continue
        if out and out[-1][0] == kind == "formula":
            out[-1] = (kind, out[-1][1] + ("\n\n" if gap else "\n") + text)
        else:
            out.append((kind, text))
        gap = False
    return out


def arguments(lines: list[str], names: Iterable[str]) -> list[Argument]:
    """The entries of an `Args:` section, in either form. `names` are the arguments of the function."""
    if lines and not lines[0].strip():
        return _entries(lines[1:])
    return [Argument((), text) for text in _clauses(lines, names)]


def _entries(lines: list[str]) -> list[Argument]:
    """One entry a line; a line that is indented further continues the entry above it."""
    lines = [line for line in lines if line.strip()]
    depth = min((_indentation(line) for line in lines), default=0)
    entries: list[Argument] = []
    for line in lines:
        if entries and _indentation(line) > depth:
            names, text = entries[-1]
            entries[-1] = Argument(names, f"{text} {line.strip()}")
        elif match := ENTRY.fullmatch(line.strip()):
            entries.append(Argument(tuple(match[1].split(", ")), match[2]))
        else:
            entries.append(Argument((), line.strip()))
    return entries


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


def _clauses(lines: Iterable[str], names: Iterable[str]) -> list[str]:
    """A paragraph, cut where an argument's name begins a clause."""
    word = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    text = ""
    for line in map(str.strip, lines):
        begins = word and re.match(rf"\*{{0,2}}({word})\b[^.;]*:", line) and not text.endswith((",", "("))
        text += ("\n" if begins and text else " " if text else "") + line
    pieces = [text]
    if word:
        text = re.sub(rf"[;.] +(?=\*{{0,2}}(?:{word})(?:[,:(]| in | >|\b -> ))", "\n", text)
        pieces = text.split("\n")
    return [p.strip().rstrip(".;") for p in pieces if p.strip()]


def plain(text: str) -> str:
    """Text without Markdown, except for code in backticks."""
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(p if p.startswith("`") else _escaped(p) for p in pieces)


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_\[\]$#])", r"\\\1", html.escape(text, quote=False))


def linked(text: str, links: Mapping[str, str]) -> str:
    """Text whose names in backticks are links, where the reference has an entry for them."""

    def link(match: re.Match[str]) -> str:
        return f"[{match[0]}][{links[match[1]]}]" if match[1] in links else match[0]

    return re.sub(r"`([\w.]+)`", link, text)


def coded(text: str, names: Iterable[str]) -> str:
    """Text whose argument names are all in backticks."""
    word = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    if not word:
        return text
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(p if p.startswith("`") else re.sub(rf"(?<![\w.])({word})(?!\w)", r"`\1`", p) for p in pieces)


def formula(text: str) -> str:
    return f"```{{.text .formula}}\n{inspect.cleandoc(text)}\n```"


def markdown(doc: Doc, names: Iterable[str], links: Mapping[str, str], below: str = "") -> str:
    """The whole docstring as Markdown, with `below` after its first sentence."""
    names = list(names)

    def prose(text: str) -> str:
        return linked(plain(text), links)

    def argument(entry: Argument) -> str:
        text = prose(coded(entry.text, names))
        if not entry.names:
            return f"    - {text}"
        return f"    {', '.join(f'`{name}`' for name in entry.names)}\n    :   {text}"

    out = [prose(doc.sentence), *([below] if below else [])]
    out += [formula(text) if kind == "formula" else prose(text) for kind, text in doc.parts]
    for heading in HEADINGS:
        if heading not in doc.sections:
            continue
        if heading == "Args":
            entries = arguments(doc.sections[heading], names)
            gap = "\n\n" if any(entry.names for entry in entries) else "\n"
            body = gap.join(map(argument, entries))
        else:
            body = prose(doc.text(heading))
        out.append(f"{heading}\n\n:   {body.lstrip()}")
    return "\n\n".join(out)
