"""A docstring of the house as Markdown: the sentence, the formula, and what stands under its headings.

Args:    b1, b2 in [0, 1); eps >= 0: becomes a list with one item per argument
Source:  and the other headings become terms with their text
"""

import html
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

HEADINGS = ("Args", "State", "Raises", "Source", "Differs")


@dataclass
class Doc:
    """The parts of a docstring."""

    sentence: str = ""
    parts: list[tuple[str, str]] = field(default_factory=list)
    """("formula" or "prose", text), in their order."""
    sections: dict[str, list[str]] = field(default_factory=dict)
    """Heading -> its lines."""

    @property
    def formulas(self) -> list[str]:
        return [text for kind, text in self.parts if kind == "formula"]


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
            section.append(line.strip())
        else:
            section = None
            kind = "formula" if line.startswith("    ") else "prose"
            if line.strip() and doc.parts and doc.parts[-1][0] == kind:
                doc.parts[-1] = (kind, f"{doc.parts[-1][1]}\n{line}")
            elif line.strip():
                doc.parts.append((kind, line))
            else:
                doc.parts.append(("gap", ""))
    doc.parts = _joined(doc.parts)
    return doc


def _joined(parts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without the gaps; formulas with only a gap between them are one."""
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


def items(lines: Iterable[str], names: Iterable[str]) -> list[str]:
    """What a section says of each argument: its text is cut where a name begins a clause."""
    word = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    text = ""
    for line in lines:
        begins = word and re.match(rf"\*{{0,2}}({word})\b[^.;]*:", line)
        text += ("\n" if begins and text else " " if text else "") + line
    pieces = [text]
    if word:
        text = re.sub(rf"[;.] +(?=\*{{0,2}}(?:{word})(?:[,:(]| in | >|\b -> ))", "\n", text)
        pieces = text.split("\n")
    return [p.strip().rstrip(".;") for p in pieces if p.strip()]


def plain(text: str) -> str:
    """Text in which Markdown sees nothing but the code in backticks."""
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(p if p.startswith("`") else _escaped(p) for p in pieces)


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_\[\]$#])", r"\\\1", html.escape(text, quote=False))


def linked(text: str, links: Mapping[str, str]) -> str:
    """Names in backticks that the reference has an entry for become links to it."""

    def link(match: re.Match[str]) -> str:
        return f"[{match[0]}][{links[match[1]]}]" if match[1] in links else match[0]

    return re.sub(r"`([\w.]+)`", link, text)


def coded(text: str, names: Iterable[str]) -> str:
    """Names of arguments in backticks, where they are not yet."""
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

    out = [prose(doc.sentence), *([below] if below else [])]
    out += [formula(text) if kind == "formula" else prose(text) for kind, text in doc.parts]
    terms = []
    for heading in HEADINGS:
        if heading not in doc.sections:
            continue
        if heading == "Args":
            said = [prose(coded(item, names)) for item in items(doc.sections[heading], names)]
            body = "\n".join(f"    - {item}" for item in said)
        else:
            body = f"    {prose(' '.join(doc.sections[heading]))}"
        terms.append(f"{heading}\n\n:   {body.lstrip()}")
    return "\n\n".join([*out, *terms])
