"""Updates scaled by the depth of their layer."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from .. import checks, tree
from ..checks import Range
from ..core.registry import example, register
from ..core.stateless import init_empty_state
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.rules import check_updates
from ..numerics import hyperparameter, scaled
from ..types import Array, Scalar


@register(example("layers/2/kernel", (3, 2)), kind="function")
def layer_of_path(path: str, shape: tuple[int, ...]) -> int:
    """The first whole number in a path: 2 for "layers/2/kernel", and 0 where there is none.

    Args:
      path: the path of the parameter.
      shape: unused.
    """
    del shape
    return next((int(part) for part in path.split("/") if part.isdigit()), 0)


@register(example("blocks/kernel", (2, 3, 2)), kind="function")
def layers_of_axis(path: str, shape: tuple[int, ...]) -> int | Sequence[int]:
    """One layer for each entry of the leading axis, for parameters of stacked layers.

    Args:
      path: unused.
      shape: the shape of the parameter.
    """
    del path
    return range(shape[0]) if shape else 0


@register(
    example(0.5, 8),
    example(0.5, 64, layers_of_axis),
    ranges={
        "decay": Range(0, 1, open_low=True),
        "num_layers": Range(1, integer=True, means="number of layers"),
    },
    exceptions={"independent": "packages choose learning rates, not factors"},
    errors=[(example(0.5, 3, "layers"), "layer_of must be a function of a path and a shape, got 'layers'")],
)
def layerwise_decay(
    decay: Scalar, num_layers: int, layer_of: Callable[[str, tuple[int, ...]], Any] = layer_of_path
) -> GradientTransformationExtraArgs:
    """Multiply the updates of layer k by decay^(num_layers - 1 - k), so that early layers move less.

        chain(adamw(1e-3), layerwise_decay(0.75, 14, layer_of))

    Put it after whatever normalises updates, or it has no effect.

    Args:
      decay: factor from one layer to the one before, in (0, 1]. Usually 0.65 to 0.9.
      num_layers: number of layers, with the embedding and the head if they are some, an integer >= 1.
      layer_of: function (path, shape) -> k, or a list with one k for each entry of the leading axis of stacked layers.
        Usually a function of the user's; `layer_of_path` and `layers_of_axis` are simple ones.
    Raises:  ValueError for a layer that is not one of 0, ..., num_layers - 1, naming the path.
    Source:  Clark et al. 2020, ELECTRA; Bao et al. 2022, BEiT.
    When:    fine-tuning of pretrained transformers.
    """
    checks.function("layer_of", layer_of, "a function of a path and a shape", arity=2)

    def factor(path: str, g: Array) -> Array:
        layers = layer_of(path, g.shape)
        whole = isinstance(layers, int)
        listed: list[Any] = [layers] if whole else list(layers) if isinstance(layers, Sequence) else [None]
        if not all(isinstance(k, int) and 0 <= k < num_layers for k in listed):
            checks.fail(
                f"layer_of({path!r}, {g.shape}) must be in 0, ..., {num_layers - 1}, got {checks.shown(layers)}"
            )
        if not whole and (not g.shape or len(listed) != g.shape[0]):
            checks.fail(f"layer_of({path!r}, {g.shape}) must give a layer for each entry of the leading axis")
        powers = hyperparameter(decay) ** jnp.asarray([num_layers - 1 - k for k in listed], hyperparameter(decay).dtype)
        return powers[0] if whole else powers.reshape(-1, *[1] * (g.ndim - 1))

    def moved(path: str, g: Any) -> Any:
        if tree.absent(g):
            return g
        wide = tree.widen(tree.as_array(g))
        return scaled(wide, factor(path, wide))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        places = updates if params is None else params
        gs = tree.match(updates, places, "updates", "params")
        if params is not None:
            check_updates(gs, tree.flatten(params)[0], params)
        structure = tree.structure(places)
        new = structure.unflatten(list(map(moved, tree.names(places), gs)))
        return tree.cast_like(new, structure.unflatten(gs)), state

    return GradientTransformationExtraArgs(init_empty_state, update).declaring(grain="leafwise")
