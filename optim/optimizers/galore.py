"""GaLore: moments of gradients projected to a few directions."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import checks, tree
from ..combine.chain import chain
from ..core.members import around
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..lift.rules import check_updates
from ..matrix.stacks import DimensionNumbers, as_matrices, numbers_of
from ..numerics import convert, gathered, restored, safe_increment, scaled, wide_dtype
from ..transforms.scale import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, MaskOrFn, OptState, Params, Scalar, ScalarOrSchedule, TransformationLike, Tree
from .adam import scale_by_adam


class GaLoreState(NamedTuple):
    count: Count
    base_optimizer_state: OptState
    projector: Tree


class GaLoreDimensionNumbers(NamedTuple):
    """Which axes of a leaf are the rows and the columns of a matrix.

    Args:    reduction_axis: the axes that the matrix takes, an int or several; output_axis: those that it gives.
    """

    reduction_axis: int | Sequence[int] = 0
    output_axis: int | Sequence[int] = 1


_NO_DERIVATIVE = "the directions are those of a singular value decomposition, which has none at zero"
_COUNT = checks.Range(1, integer=True)
_RANGES = {"rank": _COUNT, "update_proj_gap": _COUNT, "scale": checks.REAL}


def _plain(params: Params) -> Any:
    return tree.map(lambda p: GaLoreDimensionNumbers() if jnp.ndim(p) == 2 else None, params)


@register(
    example(1, 2),
    example(2, 3, 0.5, scale_by_adam(b1=0.5)),
    ranges=_RANGES,
    errors=[(example(base_optimizer=1), "base_optimizer must be a transformation (init, update), got 1")],
    exceptions={
        **dict.fromkeys(["derivative", "inject"], _NO_DERIVATIVE),
        "sharding": "the directions of a sharded matrix are the whole matrix's",
    },
)
def scale_by_galore(
    rank: int = 128,
    update_proj_gap: int = 200,
    scale: Scalar = 1.0,
    base_optimizer: TransformationLike | None = None,
    weight_dimension_numbers: Any = None,
) -> GradientTransformationExtraArgs:
    """Run a transformation on gradients projected to their main directions, and project its updates back.

        P = the first rank left singular vectors of g, for a g wider than high the right ones; every update_proj_gap
        u = scale P base(P^T g),  or  scale base(g P) P^T

    Other leaves than matrices go to the base as they are.

    Args:    rank >= 1, of which at most the smaller size is used; update_proj_gap >= 1 updates between projectors;
             scale: a finite number; base_optimizer: a transformation that needs no parameters, by default
             `scale_by_adam`; weight_dimension_numbers: a `GaLoreDimensionNumbers` or None for each leaf, a tree or a
             function params -> tree; by default leaves of two axes are matrices.
    State:   count; the base's, of the projected shapes; projector, of size zero where there is none.
    Source:  Zhao et al. 2024, Alg. 1.
    """
    member = taking_extra_args(scale_by_adam() if base_optimizer is None else base_optimizer, "base_optimizer")
    given = _plain if weight_dimension_numbers is None else weight_dimension_numbers

    def numbers(over: Tree, updates: Tree) -> list[DimensionNumbers | None]:
        return numbers_of(given, over, updates)

    def init(params: Params) -> GaLoreState:
        leaves, structure = tree.flatten(params)
        projectors: list[Any] = []
        small: list[Any] = []
        for p, n in zip(leaves, numbers(params, params), strict=True):
            if not tree.trainable(p):
                projectors.append(None)
                small.append(None)
                continue
            p = tree.as_array(p)
            dtype = wide_dtype(p.dtype)
            if n is None:
                projectors.append(jnp.zeros((0, 0), dtype))
                small.append(p)
                continue
            # A select that never picks the parameter makes it vary over the devices that the parameter varies over.
            whole = gathered(p)
            start = jnp.zeros(_projector_shape(whole, n), dtype)
            projector = jnp.where(False, jnp.sum(convert(whole, dtype)), start)
            projectors.append(projector)
            small.append(convert(_down(whole, n, projector), p.dtype))
        base = member.init(structure.unflatten(small))
        return GaLoreState(jnp.zeros((), jnp.int32), base, structure.unflatten(projectors))

    def _projector_shape(p: Array, n: DimensionNumbers) -> tuple[int, int]:
        rows, columns = _matrix(p, n).shape
        return max(rows, columns), min(rank, rows, columns)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        wide = tree.widen(updates)
        home = state.projector
        gs = tree.match(wide, home, "updates", "state.projector")
        over = updates if params is None else params
        check_updates(gs, tree.match(over, home, "params", "state.projector"), home)
        structure = tree.structure(home)
        every = numbers(over, structure.unflatten(gs))
        leaves, gs = gs, [g if tree.absent(g) or n is None else gathered(g) for g, n in zip(gs, every, strict=True)]
        fresh = state.count % update_proj_gap == 0
        old = tree.flatten(state.projector)[0]
        projectors = [
            p if tree.absent(g) or n is None else jax.lax.cond(fresh, _directions, lambda m, p: p, _matrix(g, n), p)
            for g, n, p in zip(gs, every, old, strict=True)
        ]
        small = [
            g if tree.absent(g) or n is None else _down(g, n, p) for g, n, p in zip(gs, every, projectors, strict=True)
        ]
        new, base = member.update(structure.unflatten(small), state.base_optimizer_state, **extra_args)
        us = tree.match(new, home, "updates", "state.projector")
        back = [
            u if tree.absent(u) or n is None else restored(scaled(_up(u, g, n, p), scale), leaf)
            for u, g, leaf, n, p in zip(us, gs, leaves, every, projectors, strict=True)
        ]
        likes = tree.match(updates, home, "updates", "state.projector")
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
        checks.fail(f"weight_dimension_numbers leave axes of a leaf of shape {x.shape} that are no matrix's")
    return matrix


def _directions(matrix: Array, projector: Array) -> Array:
    """The first singular vectors on the longer side."""
    rows, columns = matrix.shape
    left, _, right = jnp.linalg.svd(matrix, full_matrices=False)
    vectors = left if rows >= columns else jnp.conj(right.T)
    return convert(vectors[:, : projector.shape[1]], projector.dtype)


def _down(x: Array, numbers: DimensionNumbers, projector: Array) -> Array:
    matrix = _matrix(x, numbers)
    p = convert(projector, matrix.dtype)
    return jnp.conj(p.T) @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ p


def _up(x: Array, like: Array, numbers: DimensionNumbers, projector: Array) -> Array:
    matrix, back = as_matrices(like, numbers)
    p = convert(projector, x.dtype)
    return back(p @ x if matrix.shape[0] >= matrix.shape[1] else x @ jnp.conj(p.T))


@register(
    example(0.1, 1, 2),
    example(0.1, 2, 3, weight_decay=0.1, mask=True),
    ranges=_RANGES,
    exceptions={
        **dict.fromkeys(["derivative", "inject"], _NO_DERIVATIVE),
        "sharding": "the directions of a sharded matrix are the whole matrix's",
    },
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
) -> GradientTransformationExtraArgs:
    """GaLore: `scale_by_galore`, `add_decayed_weights`, then minus the learning rate."""
    return chain(
        scale_by_galore(rank, update_proj_gap, scale, base_optimizer, weight_dimension_numbers),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
