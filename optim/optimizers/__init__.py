"""Optimizers, one idea per file: the paper's rule as a `scale_by_` primitive, and the optimizers made from it."""

import typing as _typing

from .. import hints as _hints

if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__)
