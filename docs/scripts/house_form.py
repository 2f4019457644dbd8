"""Docstrings as the reference shows them: griffe reads the sources, this gives their docstrings another form."""

from typing import Any

import griffe
import markup
import names
import reference

import optim

ENTRIES = {f"{e.factory.__module__}.{e.factory.__qualname__}": e for e in optim.entries()}


class HouseForm(griffe.Extension):
    """The parts of a docstring as Markdown; for a registered factory also what else is known of it."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is None or not obj.path.startswith("optim."):
            return
        arguments = {p.name for p in getattr(obj, "parameters", ()) or ()} - {"self", "cls"}
        if obj.is_class and "__new__" in obj.members:
            arguments |= {p.name for p in obj.members["__new__"].parameters} - {"cls"}
        doc, entry = markup.read(obj.docstring.value), ENTRIES.get(obj.path)
        text = markup.markdown(doc, arguments, names.links(), reference.chips(entry) if entry else "")
        obj.docstring.value = "\n\n".join([text, reference.facts_of(entry)] if entry else [text])
