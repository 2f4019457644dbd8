"""GaLore: run an optimizer on gradients projected to a low-rank subspace."""

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from .. import checks, tree
from ..combine.chain import chain
from ..core.members import around
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..lift.rules import check_updates
from ..matrix.stacks import DimensionNumbers, as_matrices, is_numbers, numbers_of
from ..numerics import branch, convert, gathered, restored, safe_increment, scaled, whole_zeros, wide_dtype
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..tree.params import of_arrays, trainable_arrays
from ..types import Array, Count, MaskOrFn, OptState, Params, Scalar, ScalarOrSchedule, TransformationLike, Tree
from .adam import scale_by_adam

Side = Literal["short", "long"]
_SIDES = ("short", "long")


class GaLoreState(NamedTuple):
    count: Count
    base_optimizer_state: OptState
    projector: Tree


class GaLoreDimensionNumbers(NamedTuple):
    """The axes of a leaf that form the rows and the columns of its matrix.

    Args:
      reduction_axis: the axis or axes that form the rows.
      output_axis: the axis or axes that form the columns.
    """

    reduction_axis: int | Sequence[int] = 0
    output_axis: int | Sequence[int] = 1


_NO_DERIVATIVE = "the singular value decomposition has no derivative at a zero gradient"
_COUNT = checks.Range(1, integer=True)
_RANGES = {"rank": _COUNT, "update_proj_gap": _COUNT, "scale": checks.REAL}


def _matrix_leaves(params: Params) -> Any:
    return tree.map(lambda p: GaLoreDimensionNumbers() if jnp.ndim(p) == 2 else None, params)


@register(
    example(1, 2),
    example(2, 3, 0.5, scale_by_adam(b1=0.5)),
    ranges=_RANGES,
    errors=[
        (example(base_optimizer=1), "base_optimizer must be a transformation (init, update), got 1"),
        (example(projected_side="left"), "projected_side must be 'short' or 'long', got 'left'"),
    ],
    exceptions={
        "init": "it projects the parameters",
        **dict.fromkeys(["derivative", "inject"], _NO_DERIVATIVE),
        "sharding": "the singular vectors of a sharded matrix are those of the whole matrix",
    },
)
def scale_by_galore(
    rank: int = 128,
    update_proj_gap: int = 200,
    scale: Scalar = 1.0,
    base_optimizer: TransformationLike | None = None,
    weight_dimension_numbers: Any = None,
    *,
    projected_side: Side = "short",
) -> GradientTransformationExtraArgs:
    """Run a transformation on gradients projected to their main singular vectors, and project its updates back.

        P = the first rank left singular vectors of g, for a g higher than wide the right ones; every update_proj_gap
        u = scale P base(P^T g),  or  scale base(g P) P^T

    Leaves that are not matrices are passed to base_optimizer unprojected.

    Args:
      rank: number of singular vectors, >= 1; at most the smaller size of the matrix is used. Usually 128.
      update_proj_gap: number of updates between new projectors, >= 1. Usually 200.
      scale: factor on the projected updates, a finite number. Usually 0.25 to 1.
      base_optimizer: a transformation that needs no parameters; None is `scale_by_adam`.
      weight_dimension_numbers: a `GaLoreDimensionNumbers` or None for each leaf, as a tree or as a function
        params -> tree; one for the whole tree leaves out vectors; None makes matrices of leaves with two axes.
      projected_side: side of the matrix whose size becomes rank: "short" is the paper's, "long" is Optax's.
    State:   count; base_optimizer_state for the projected shapes; projector, which is empty for leaves that are not
             matrices. With Adam, rank (2 long + short) numbers for a matrix, with "long" rank (2 short + long).
    Source:  Zhao et al. 2024, Alg. 1.
    Differs: Optax projects the long side: see projected_side.
    """
    member = taking_extra_args(scale_by_adam() if base_optimizer is None else base_optimizer, "base_optimizer")
    spec = _matrix_leaves if weight_dimension_numbers is None else weight_dimension_numbers
    checks.choice("projected_side", projected_side, _SIDES)

    def numbers(over: Tree, updates: Tree) -> list[DimensionNumbers | None]:
        found = numbers_of(spec, over, updates)
        if not is_numbers(spec):
            return found
        leaves = tree.flatten(updates)[0]
        return [None if tree.absent(x) or jnp.ndim(x) < 2 else n for n, x in zip(found, leaves, strict=True)]

    def left(matrix: Array) -> bool:
        """Whether the rows are projected, on the left singular vectors."""
        rows, columns = matrix.shape
        return rows <= columns if projected_side == "short" else rows >= columns

    def init(params: Params) -> GaLoreState:
        arrays, structure = trainable_arrays(params)
        projectors: list[Any] = []
        projected: list[Any] = []
        for p, n in zip(arrays, numbers(params, params), strict=True):
            if p is None:
                projectors.append(None)
                projected.append(None)
                continue
            projectors.append(zero_projector(p, n))
            projected.append(p if n is None else of_arrays(functools.partial(projected_zeros, n), p))
        base = member.init(structure.unflatten(projected))
        return GaLoreState(jnp.zeros((), jnp.int32), base, structure.unflatten(projectors))

    def zero_projector(p: Array, n: DimensionNumbers | None) -> Array:
        dtype, shape = wide_dtype(p.dtype), (0, 0)
        if n is not None:
            matrix = jax.eval_shape(functools.partial(_matrix, numbers=n), p)
            shape = matrix.shape[0 if left(matrix) else 1], min(rank, *matrix.shape)
        return whole_zeros(p, shape, dtype)

    def projected_zeros(n: DimensionNumbers, p: Array) -> Array:
        whole = gathered(p)
        return convert(down(whole, n, zero_projector(whole, n)), p.dtype)

    def singular_vectors(matrix: Array, projector: Array) -> Array:
        """The first singular vectors on the projected side of the matrix."""
        lefts, _, rights = jnp.linalg.svd(matrix, full_matrices=False)
        vectors = lefts if left(matrix) else jnp.conj(rights.T)
        return convert(vectors[:, : projector.shape[1]], projector.dtype)

    def down(x: Array, n: DimensionNumbers, projector: Array) -> Array:
        matrix = _matrix(x, n)
        p = convert(projector, matrix.dtype)
        return jnp.conj(p.T) @ matrix if left(matrix) else matrix @ p

    def up(x: Array, like: Array, n: DimensionNumbers, projector: Array) -> Array:
        matrix, back = as_matrices(like, n)
        p = convert(projector, x.dtype)
        return back(p @ x if left(matrix) else x @ jnp.conj(p.T))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        wide = tree.widen(updates)
        anchor = state.projector
        gs = tree.match(wide, anchor, "updates", "state.projector")
        over = updates if params is None else params
        check_updates(gs, tree.match(over, anchor, "params", "state.projector"), anchor)
        structure = tree.structure(anchor)
        dims = numbers(over, structure.unflatten(gs))
        leaves, gs = gs, [g if tree.absent(g) or n is None else gathered(g) for g, n in zip(gs, dims, strict=True)]
        due = state.count % update_proj_gap == 0
        old = tree.flatten(state.projector)[0]
        projectors = [
            p if tree.absent(g) or n is None else branch(due, singular_vectors, lambda m, p: p, _matrix(g, n), p)
            for g, n, p in zip(gs, dims, old, strict=True)
        ]
        projected = [
            g if tree.absent(g) or n is None else down(g, n, p) for g, n, p in zip(gs, dims, projectors, strict=True)
        ]
        new, base = member.update(structure.unflatten(projected), state.base_optimizer_state, **extra_args)
        us = tree.match(new, anchor, "updates", "state.projector")
        back = [
            u if tree.absent(u) or n is None else restored(scaled(up(u, g, n, p), scale), leaf)
            for u, g, leaf, n, p in zip(us, gs, leaves, dims, projectors, strict=True)
        ]
        likes = tree.match(updates, anchor, "updates", "state.projector")
        out = tree.cast_like(structure.unflatten(back), structure.unflatten(likes))
        return out, GaLoreState(safe_increment(state.count), base, structure.unflatten(projectors))

    return around(
        member,
        init,
        update,
        inner=lambda state: state.base_optimizer_state,
        grain="leafwise",
        state_classes=(GaLoreState,),
    )


def _matrix(x: Array, numbers: DimensionNumbers) -> Array:
    matrix, _ = as_matrices(x, numbers)
    if matrix.ndim != 2:
        checks.fail(f"weight_dimension_numbers must use all axes of a leaf, got shape {x.shape} with unused axes")
    return matrix


@register(
    example(0.1, 1, 2),
    example(0.1, 2, 3, weight_decay=0.1, mask=True),
    ranges=_RANGES,
    exceptions={
        "init": "it projects the parameters",
        **dict.fromkeys(["derivative", "inject"], _NO_DERIVATIVE),
        "sharding": "the singular vectors of a sharded matrix are those of the whole matrix",
    },
    usual={"learning_rate": 0.01},
)
def galore(
    learning_rate: ScalarOrSchedule,
    rank: int = 128,
    update_proj_gap: int = 200,
    scale: Scalar = 1.0,
    base_optimizer: TransformationLike | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    weight_dimension_numbers: Any = None,
    *,
    projected_side: Side = "short",
) -> GradientTransformationExtraArgs:
    """GaLore: `scale_by_galore`, `add_decayed_weights`, then `scale_by_learning_rate`.

    When:    large matrices whose Adam moments take too much memory; a usual learning rate is 1e-2 with scale 0.25.
    """
    return chain(
        scale_by_galore(
            rank, update_proj_gap, scale, base_optimizer, weight_dimension_numbers, projected_side=projected_side
        ),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
