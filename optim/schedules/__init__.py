"""Schedules: functions of the count, the number of updates done so far, which starts at 0.

Every schedule computes in float32 (float64 where JAX has it enabled) and takes Python ints, arrays and tracers. It is
registered, so it prints as the call that made it and can be stored in a config.
"""

import typing as _typing

from .. import hints as _hints
from .constant import constant_schedule
from .cosine import cosine_decay_schedule, sgdr_schedule, warmup_cosine_decay_schedule
from .exponential import exponential_decay
from .interpolate import cosine_onecycle_schedule, linear_onecycle_schedule, piecewise_interpolate_schedule
from .inverse_time import inverse_time_decay
from .join import join_schedules
from .piecewise import piecewise_constant_schedule
from .polynomial import linear_schedule, polynomial_schedule
from .warmup import warmup_constant_schedule, warmup_exponential_decay_schedule

__all__ = [
    "constant_schedule",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "exponential_decay",
    "inverse_time_decay",
    "join_schedules",
    "linear_onecycle_schedule",
    "linear_schedule",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polynomial_schedule",
    "sgdr_schedule",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
]

if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__)
