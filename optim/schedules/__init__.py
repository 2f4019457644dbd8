"""Schedules: functions of the count, the number of updates done so far, which starts at 0.

Every schedule computes in float32 (float64 where JAX has it enabled) and takes Python ints, arrays and tracers. It is
registered, so it prints as the call that made it and can be stored in a config.
"""

import typing as _typing

from .. import hints as _hints
from ..types import Schedule as Schedule, StatefulSchedule as StatefulSchedule
from .arithmetic import (
    add_schedules as add_schedules,
    clip_schedule as clip_schedule,
    multiply_schedules as multiply_schedules,
    shift_schedule as shift_schedule,
)
from .constant import constant_schedule as constant_schedule
from .cosine import (
    cosine_decay_schedule as cosine_decay_schedule,
    sgdr_schedule as sgdr_schedule,
    warmup_cosine_decay_schedule as warmup_cosine_decay_schedule,
)
from .cyclic import cyclic_schedule as cyclic_schedule
from .exponential import exponential_decay as exponential_decay
from .falling import inverse_sqrt_schedule as inverse_sqrt_schedule, rex_schedule as rex_schedule
from .interpolate import (
    cosine_onecycle_schedule as cosine_onecycle_schedule,
    linear_onecycle_schedule as linear_onecycle_schedule,
    piecewise_interpolate_schedule as piecewise_interpolate_schedule,
)
from .inverse_time import inverse_time_decay as inverse_time_decay
from .join import join_schedules as join_schedules
from .piecewise import piecewise_constant_schedule as piecewise_constant_schedule
from .polynomial import linear_schedule as linear_schedule, polynomial_schedule as polynomial_schedule
from .stable import (
    WsdState as WsdState,
    branching_wsd_schedule as branching_wsd_schedule,
    power_schedule as power_schedule,
    wsd_schedule as wsd_schedule,
)
from .warmup import (
    warmup_constant_schedule as warmup_constant_schedule,
    warmup_exponential_decay_schedule as warmup_exponential_decay_schedule,
)

if _typing.TYPE_CHECKING:
    from .. import (
        InjectHyperparamsState as InjectHyperparamsState,
        InjectStatefulHyperparamsState as InjectStatefulHyperparamsState,
        WrappedSchedule as WrappedSchedule,
        inject_hyperparams as inject_hyperparams,
        inject_stateful_hyperparams as inject_stateful_hyperparams,
    )

_ABOVE = (  # code in a higher room, which is not imported here
    "InjectHyperparamsState",
    "InjectStatefulHyperparamsState",
    "WrappedSchedule",
    "inject_hyperparams",
    "inject_stateful_hyperparams",
)

__all__ = _hints.public_names(globals(), above=_ABOVE)

if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__)
