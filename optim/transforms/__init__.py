"""Transformations that are no optimizer's own, one idea per file: clip, add, scale, centre, remember."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from .. import hints as _hints

if not _TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__)
