"""Optimizers, one idea per file: a `scale_by_` primitive that is the paper's rule, and the names it goes by."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from .. import hints as _hints

if not _TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__)
