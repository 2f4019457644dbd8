"""Interfaces that may still change: gradients per example aggregated within a transformation, and micro-batches."""

import typing as _typing

from .. import hints as _hints, microbatching as microbatching
from . import aggregating as aggregating

__all__ = ["aggregating", "microbatching"]

if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__)
