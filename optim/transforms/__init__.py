"""Transformations that no single optimizer owns: clip, add, scale, combine, mask, accumulate.

These are the names that Optax has here. All other transformations are names of `optim` only.
"""

import typing as _typing

from .. import hints as _hints
from ..combine.chain import chain as chain, named_chain as named_chain
from ..combine.masked import MaskedNode as MaskedNode, MaskedState as MaskedState, masked as masked
from ..combine.partition import PartitionState as PartitionState, partition as partition
from ..types import ConditionFn as ConditionFn, ShouldSkipUpdateFunction as ShouldSkipUpdateFunction
from .clipping import (
    adaptive_grad_clip as adaptive_grad_clip,
    clip as clip,
    clip_by_block_rms as clip_by_block_rms,
    clip_by_global_norm as clip_by_global_norm,
    unitwise_clip as unitwise_clip,
    unitwise_norm as unitwise_norm,
)
from .constrain import (
    NonNegativeParamsState as NonNegativeParamsState,
    keep_params_nonnegative as keep_params_nonnegative,
)
from .momentum import EmaState as EmaState, TraceState as TraceState, ema as ema, trace as trace
from .monitoring import (
    MonitorState as MonitorState,
    SnapshotState as SnapshotState,
    measure_with_ema as measure_with_ema,
    monitor as monitor,
    snapshot as snapshot,
)
from .nans import ZeroNansState as ZeroNansState, zero_nans as zero_nans
from .noise import AddNoiseState as AddNoiseState, add_noise as add_noise
from .privacy import (
    per_example_global_norm_clip as per_example_global_norm_clip,
    per_example_layer_norm_clip as per_example_layer_norm_clip,
)
from .weight_decay import add_decayed_weights as add_decayed_weights

if _typing.TYPE_CHECKING:
    from .. import (
        ApplyIfFiniteState as ApplyIfFiniteState,
        ConditionallyMaskState as ConditionallyMaskState,
        ConditionallyTransformState as ConditionallyTransformState,
        MultiSteps as MultiSteps,
        MultiStepsState as MultiStepsState,
        apply_if_finite as apply_if_finite,
        conditionally_mask as conditionally_mask,
        conditionally_transform as conditionally_transform,
        flatten as flatten,
        freeze as freeze,
        selective_transform as selective_transform,
        skip_large_updates as skip_large_updates,
        skip_not_finite as skip_not_finite,
    )

_ABOVE = (  # code in higher rooms, which are not imported here
    "ApplyIfFiniteState",
    "ConditionallyMaskState",
    "ConditionallyTransformState",
    "MultiSteps",
    "MultiStepsState",
    "apply_if_finite",
    "conditionally_mask",
    "conditionally_transform",
    "flatten",
    "freeze",
    "selective_transform",
    "skip_large_updates",
    "skip_not_finite",
)

__all__ = _hints.public_names(globals(), above=_ABOVE)

if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__)
