"""Adam-mini: Adam with one second moment for each block of a parameter."""

from typing import Any

import jax.numpy as jnp

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, leafwise
from ..matrix.blocks import Blocks, axes_of_blocks
from ..numerics import abs_sq, debiased_ratio, ema, full, real_dtype, saturated, widened, zeros_of_shape
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..tree.params import trainable_arrays
from ..types import Array, Count, DType, MaskOrFn, Params, Scalar, ScalarOrSchedule
from .adam import ScaleByAdamState


@register(example("dense/kernel", (4, 3)), kind="function")
def input_axis(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The last but one axis, the inputs of a unit where kernels are (inputs, outputs); none for vectors.

    Args:
      path: the path of the parameter, such as "encoder/layers/0/kernel".
      shape: its shape.
    """
    del path
    return (len(shape) - 2,) if len(shape) >= 2 else ()


@register(example("a", (2, 3)), kind="function")
def all_axes(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """All axes: one number for the whole parameter.

    Args:
      path: the path of the parameter.
      shape: its shape.
    """
    del path
    return tuple(range(len(shape)))


_ERRORS = [(example(blocks=(0,)), "blocks must be a function of a path and a shape, got (0,)")]


@register(example(), example(0.8, 0.99, 1e-3, blocks=all_axes), errors=_ERRORS)
def scale_by_adam_mini(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    mu_dtype: DType = None,
    *,
    blocks: Blocks = input_axis,
) -> GradientTransformationExtraArgs:
    """Divide the running mean gradient by a running root mean square that the elements of a block share.

        mu <- b1 mu + (1 - b1) g                                            x^ = x / (1 - b^t)
        nu <- b2 nu + (1 - b2) mean(|g|^2 over the axes of a block)
        u   = mu^ / (sqrt(nu^) + eps)

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.9 and 0.999.
      eps: added to the root, in units of g, >= 0. Usually 1e-8.
      blocks: function (path, shape) -> the axes that share one nu; () is Adam. Usually `input_axis`; for embeddings the
        axis of the features, for queries and keys all axes but that of the heads, `all_axes` outside transformers.
    State:   `ScaleByAdamState` with one float32 nu per block: 4 bytes per float32 parameter.
    Source:  Zhang et al. 2024, Adam-mini, Alg. 1.
    Differs: the authors' package finds blocks by words in the names of parameters.
    """
    checks.function("blocks", blocks, "a function of a path and a shape", arity=2)

    def rule(g: Array, mu: Array, nu: Array, t: Count) -> Any:
        if g.size == 0:
            return g, (mu, nu)
        shared = tuple(i for i, n in enumerate(g.shape) if nu.shape[i] != n)
        mu = ema(mu, g, b1)
        nu = ema(nu, saturated(jnp.mean(abs_sq(g), axis=shared, keepdims=True)), b2)
        return debiased_ratio(mu, jnp.broadcast_to(nu, g.shape), b1, b2, t, eps), (mu, nu)

    mu = Slot(dtype=mu_dtype, decay=b1, always_stored=True)
    nu = Slot(real=True, free=True, init=lambda p: full((), 0, real_dtype(p.dtype)))
    tx = leafwise(rule, ScaleByAdamState, mu=mu, nu=nu)

    def init(params: Params) -> Any:
        arrays, structure = trainable_arrays(params)

        def start(p: Any, axes: tuple[int, ...]) -> Any:
            if p is None:
                return None
            shape = tuple(1 if i in axes else n for i, n in enumerate(p.shape))
            wide = widened(p)
            return zeros_of_shape(wide, shape, nu.dtype_for(wide), lambda x: jnp.sum(x, axis=axes, keepdims=True))

        starts = map(start, arrays, axes_of_blocks(blocks, structure.unflatten(arrays)))
        return tx.init(params)._replace(nu=structure.unflatten(list(starts)))

    return tx._rebuilt(init, tx.update, tx.facts)


@register(
    example(0.1),
    example(0.1, weight_decay=0.1, mask=True, blocks=all_axes),
    errors=[(example(0.1, blocks=(0,)), _ERRORS[0][1])],
    usual={"learning_rate": 0.001},
)
def adam_mini(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    mu_dtype: DType = None,
    blocks: Blocks = input_axis,
) -> GradientTransformationExtraArgs:
    """Adam-mini: `scale_by_adam_mini`, `add_decayed_weights`, then `scale_by_learning_rate`.

    When:    models that AdamW trains, with half of its state; a usual learning rate is 1e-3, as for AdamW.
    """
    return chain(
        scale_by_adam_mini(b1, b2, eps, mu_dtype, blocks=blocks),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
