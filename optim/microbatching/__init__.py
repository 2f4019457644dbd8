"""Functions on a batch, evaluated on one micro-batch after another: sums, means, gradients per example."""

import typing as _typing

from .. import hints as _hints
from .accumulators import AccumulationType as AccumulationType, Accumulator as Accumulator
from .batches import microbatch as microbatch, reshape_batch_axis as reshape_batch_axis
from .examples import micro_grad as micro_grad, micro_vmap as micro_vmap

__all__ = _hints.public_names(globals())

if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__)
