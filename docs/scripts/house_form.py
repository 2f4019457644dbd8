"""A griffe extension: docstrings of the sources as Markdown for the reference, and defaults without private names."""

import re
from typing import Any

import facts
import griffe
import markup
import names
import reference

import optim
from optim.core.registry import Entry

ENTRIES = {f"{e.factory.__module__}.{e.factory.__qualname__}": e for e in optim.entries()}


class HouseForm(griffe.Extension):
    """Every docstring as Markdown; that of a registered factory with facts from the registry."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if not obj.path.startswith("optim."):
            return
        entry = ENTRIES.get(obj.path)
        hide_private_defaults(obj, entry)
        if obj.docstring is None:
            return
        arguments = {p.name for p in getattr(obj, "parameters", ()) or ()} - {"self", "cls"}
        if obj.is_class and "__new__" in obj.members:
            arguments |= {p.name for p in obj.members["__new__"].parameters} - {"cls"}
        doc = markup.read((entry.factory.__doc__ if entry else None) or obj.docstring.value)
        text = markup.markdown(doc, arguments, names.links(), reference.chips(entry) if entry else "")
        obj.docstring.value = "\n\n".join([text, reference.facts_of(entry)] if entry else [text])


def hide_private_defaults(obj: griffe.Object, entry: Entry | None) -> None:
    """Replace defaults that are written with a private name by their values, or by `...`."""
    for parameter in getattr(obj, "parameters", ()) or ():
        if parameter.default is not None and re.search(r"(?<![\w\"'])_[a-zA-Z]", str(parameter.default)):
            bound = entry.signature.parameters.get(parameter.name) if entry else None
            parameter.default = facts.default(bound.default) if bound else "..."
