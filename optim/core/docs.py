"""Docstrings of factories: an alias shows the arguments of the primitives it is made of.

A docstring describes arguments in a section `Args:`, one entry a line. What it leaves out is taken from the vocabulary
in `checks`, or from the factories that it names in backticks.
"""

import inspect
import re
from collections.abc import Callable, Mapping

from ..checks import MEANINGS, Range

_HEADING = re.compile(r"^(State|Raises|Source|Differs|When):", re.M)
_ENTRY = re.compile(r"  (\*{0,2}\w+(?:, \*{0,2}\w+)*): ")

Lookup = Callable[[str], str | None]
"""The name of a factory -> its docstring."""


def composed(doc: str, signature: inspect.Signature, ranges: Mapping[str, Range], lookup: Lookup) -> str:
    """`doc` with an entry for every argument of the signature that something describes."""
    head, entries, tail = _split(inspect.cleandoc(doc))
    names = [p.name for p in signature.parameters.values() if p.kind is not p.VAR_POSITIONAL]
    described = {name for entry in entries for name in entry[0]}
    for name in names:
        if name in described:
            continue
        entry = _from_vocabulary(name, ranges) or _from_others(name, doc, lookup, set())
        if entry is not None:
            entries.append(([n for n in entry[0] if n in names and n not in described], entry[1]))
            described.update(entries[-1][0])
    if not entries:
        return inspect.cleandoc(doc)
    order = {name: i for i, name in enumerate(names)}
    entries.sort(key=lambda entry: order.get(entry[0][0], -1))
    lines = ["Args:", *(f"  {', '.join(words)}: {text}" for words, text in entries)]
    return "\n".join([head.rstrip(), "", *lines, *([tail] if tail else [])]).rstrip()


_Entry = tuple[list[str], str]


def entries_of(doc: str) -> list[_Entry]:
    """The entries of the section `Args:`: the names that each describes, and its text."""
    return _split(inspect.cleandoc(doc))[1]


def _split(doc: str) -> tuple[str, list[_Entry], str]:
    """What stands before the section `Args:`, its entries, and what stands after it."""
    lines = doc.split("\n")
    start = next((i for i, line in enumerate(lines) if line == "Args:"), None)
    if start is None:
        heading = _HEADING.search(doc)
        at = heading.start() if heading else len(doc)
        return doc[:at], [], doc[at:]
    end = next((i for i in range(start + 1, len(lines)) if lines[i][:2] != "  "), len(lines))
    entries: list[_Entry] = []
    for line in lines[start + 1 : end]:
        if match := _ENTRY.match(line):
            entries.append((match[1].replace("*", "").split(", "), line[match.end() :]))
        elif entries:
            entries[-1] = entries[-1][0], f"{entries[-1][1]}\n{line}"
    return "\n".join(lines[:start]), entries, "\n".join(lines[end:])


def _from_others(name: str, doc: str, lookup: Lookup, visited: set[str]) -> _Entry | None:
    """The entry for `name` in the first factory named in backticks, at any depth, that has one."""
    for other in re.findall(r"`([\w.]+)`", doc):
        text = None if other in visited else lookup(other)
        if text is None:
            continue
        visited.add(other)
        for entry in entries_of(text):
            if name in entry[0]:
                return entry
        match = _from_others(name, text, lookup, visited)
        if match is not None:
            return match
    return None


def _from_vocabulary(name: str, ranges: Mapping[str, Range]) -> _Entry | None:
    declared = ranges[name].means if name in ranges else ""
    text = declared or MEANINGS.get(name)
    if not text:
        return None
    return [name], f"{text}, {ranges[name]}." if name in ranges else f"{text}."
