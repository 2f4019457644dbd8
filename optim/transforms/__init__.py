"""Transformations shared by many optimizers, one idea per file: clip, add, scale, centralize, accumulate."""

import typing as _typing

from .. import hints as _hints

if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__)
