"""What optimizers of matrices share: a factor by shape, and AdamW for all other parameters."""

import math
from typing import Any, Literal

import jax.numpy as jnp

from .. import checks, tree
from ..combine.partition import partition
from ..core.stateless import init_empty_state
from ..core.transformation import GradientTransformationExtraArgs
from ..matrix.parts import Parts, parts_of
from ..matrix.stacks import DimensionNumbers, as_matrices, axes_of_matrices, numbers_of
from ..numerics import scaled
from ..types import Array, Params, Scalar

Scaling = Literal["jordan", "moonlight", "spectral"]
_SCALINGS = ("jordan", "moonlight", "spectral")


def scaled_to_shape(
    weight_dimension_numbers: Any, scaling: Scaling, rms: Scalar | None = None, heads: Any = None, split: Any = None
) -> GradientTransformationExtraArgs:
    """Multiply each matrix, or each part of one, by a factor that depends on its shape."""
    checks.choice("scaling", scaling, _SCALINGS)

    def size(rows: int, columns: int) -> Any:
        if rms is not None or scaling == "moonlight":
            return (0.2 if rms is None else rms) * max(rows, columns) ** 0.5
        shape = columns / max(rows, 1)
        return (max(1.0, shape) if scaling == "jordan" else shape) ** 0.5

    def scaled_by_shape(x: Array, numbers: DimensionNumbers | None, parts: Parts | None) -> Array:
        _, rows, columns = axes_of_matrices(x.shape, numbers)
        m, n = (math.prod(x.shape[i] for i in axes) for axes in (rows, columns))
        if parts is None:
            return scaled(x, size(m, n))
        matrices, back = as_matrices(x, numbers)
        factors = [jnp.full(heads * width, size(m, width), x.dtype) for heads, width in parts.shapes]
        return back(matrices * jnp.concatenate(factors))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        leaves, structure = tree.flatten(updates)
        over = updates if params is None else params
        numbers = numbers_of(weight_dimension_numbers, over, updates)
        parts = parts_of(heads, split, numbers, over, updates)
        us = [
            x if tree.absent(x) else scaled_by_shape(x, n, part)
            for x, n, part in zip(leaves, numbers, parts, strict=True)
        ]
        return structure.unflatten(us), state

    return GradientTransformationExtraArgs(init_empty_state, update).declaring(grain="leafwise")


def groups(spec: Any, matrices: Any, others: Any) -> GradientTransformationExtraArgs:
    """`matrices(numbers)` for leaves with dimension numbers in `spec`, and `others` for the rest.

    `numbers` is a function params -> dimension numbers in the structure of the group's parameters.
    """

    def labels(params: Params) -> Any:
        return tree.structure(params).unflatten(
            ["adam" if n is None else "muon" for n in numbers_of(spec, params, params)]
        )

    def numbers(params: Params) -> Any:
        return tree.structure(params).unflatten(numbers_of(spec, params, params))

    return partition({"muon": matrices(numbers), "adam": others}, labels)
