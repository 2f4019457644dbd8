"""Trees: leaves and paths, arithmetic and norms, reading and setting fields of a state.

`None` is a leaf here: an absent gradient or parameter. So is an array of dtype float0, JAX's type of absent gradients.
"""

import typing as _typing

from .. import hints as _hints
from .arithmetic import (
    add as add,
    add_scale as add_scale,
    clip as clip,
    conj as conj,
    div as div,
    mul as mul,
    real as real,
    scale as scale,
    sub as sub,
    where as where,
)
from .dtypes import (
    batch_shape as batch_shape,
    cast as cast,
    cast_like as cast_like,
    compute as compute,
    dtype as dtype,
    full_like as full_like,
    ones_like as ones_like,
    size as size,
    widen as widen,
    zeros_like as zeros_like,
)
from .fields import NamedTupleKey as NamedTupleKey, get as get, get_all_with_path as get_all_with_path, set as set
from .keys import (
    random_like as random_like,
    split_key_like as split_key_like,
    unwrap_random_key_data as unwrap_random_key_data,
)
from .moments import (
    bias_correction as bias_correction,
    update_infinity_moment as update_infinity_moment,
    update_moment as update_moment,
    update_moment_per_elem_norm as update_moment_per_elem_norm,
)
from .params import (
    map_params as map_params,
    stands_for_params as stands_for_params,
)
from .places import (
    absent as absent,
    aligned as aligned,
    as_array as as_array,
    flatten as flatten,
    is_function as is_function,
    is_none as is_none,
    leaves as leaves,
    map as map,
    match as match,
    names as names,
    paths as paths,
    spread as spread,
    structure as structure,
    together as together,
    trainable as trainable,
)
from .reductions import (
    allclose as allclose,
    global_norm as global_norm,
    max as max,
    min as min,
    norm as norm,
    sum as sum,
    sum_sq as sum_sq,
    total as total,
    vdot as vdot,
)

__all__ = _hints.public_names(globals())

if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__)
