"""AdaHessian: Adam that divides by the diagonal of the Hessian."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks, tree
from ..checks import Range
from ..combine.chain import chain
from ..core.members import around
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..lift.grains import Slot
from ..lift.wrap import wrap
from ..matrix.blocks import Blocks, axes_of_blocks
from ..numerics import abs_sq, debias, ema, like, power, ratio, root
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, DType, MaskOrFn, OptState, Scalar, ScalarOrSchedule, Updates
from .adam_mini import all_axes
from .sophia import _NO_LOSS, _quartic_loss, hutchinson_estimator_diag_hessian


class ScaleByAdahessianState(NamedTuple):
    count: Count
    mu: Updates
    nu: Updates
    hessian_fn_state: OptState


_RANGES = {"hessian_power": Range(0, open_low=True, means="exponent of the Hessian's diagonal")}
_RANDOM = {
    "golden": "its update is random: see tests/units/test_adahessian.py",
    "vmap": "random signs are drawn anew under vmap",
    "none": _NO_LOSS,
    "dtypes": _NO_LOSS,
    "magnitudes": _NO_LOSS,
    "inject": _NO_LOSS,
    "sharding": "random signs are drawn per shard layout",
}


def _averaged(estimator: GradientTransformationExtraArgs, blocks: Blocks) -> GradientTransformationExtraArgs:
    """The estimates of `estimator`, in magnitude, averaged over blocks."""

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        h, state = estimator.update(updates, state, params, **extra_args)
        leaves, structure = tree.flatten(h)

        def mean(x: Any, axes: tuple[int, ...]) -> Any:
            if tree.absent(x) or not axes or x.size == 0:
                return x
            return jnp.broadcast_to(jnp.mean(jnp.abs(x), axis=axes, keepdims=True), x.shape).astype(x.dtype)

        return structure.unflatten(list(map(mean, leaves, axes_of_blocks(blocks, h)))), state

    return around(estimator, estimator.init, update, inner=lambda state: state, check=estimator.check_state)


@register(
    example().given(obj_fn=_quartic_loss),
    example(0.8, 0.9, 1e-3, 0.5, blocks=all_axes).given(obj_fn=_quartic_loss),
    ranges=_RANGES,
    exceptions=_RANDOM,
)
def scale_by_adahessian(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-4,
    hessian_power: Scalar = 1.0,
    mu_dtype: DType = None,
    *,
    blocks: Blocks | None = None,
    hessian_diagonal_fn: Any = hutchinson_estimator_diag_hessian(),  # noqa: B008 - it never changes
) -> GradientTransformationExtraArgs:
    """Divide the running mean gradient by the running root mean square of the Hessian's diagonal.

        mu <- b1 mu + (1 - b1) g            x^ = x / (1 - b^t)
        nu <- b2 nu + (1 - b2) h^2          h: the estimated diagonal, or the mean of its magnitude over a block
        u   = mu^ / (sqrt(nu^)^hessian_power + eps)

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.9 and 0.999.
      eps: added to the root, in units of h, >= 0. Usually 1e-4.
      hessian_power: k, > 0: 1 divides as Newton's method does, 0.5 less. Usually 1.
      blocks: function (path, shape) -> the axes over which |h| is averaged, those of a convolution's window say; None
        averages nothing.
      hessian_diagonal_fn: a transformation whose update returns h. Usually `hutchinson_estimator_diag_hessian`, for
        which update needs obj_fn=..., a function params -> loss.
    State:   count; mu, nu shaped like params; the state of hessian_diagonal_fn: 8 bytes per float32 parameter.
    Source:  Yao et al. 2021, AdaHessian, Alg. 1.
    """
    estimator = taking_extra_args(hessian_diagonal_fn, "hessian_diagonal_fn")
    if blocks is not None:
        checks.function("blocks", blocks, "a function of a path and a shape", arity=2)
        estimator = _averaged(estimator, blocks)

    def rule(u: Array, g: Array, mu: Array, nu: Array, t: Count) -> Any:
        mu = ema(mu, g, b1)
        nu = ema(nu, abs_sq(u), b2)
        below = root(debias(nu, b2, t))
        if not (checks.is_number(hessian_power) and hessian_power == 1):
            below = power(below, like(below, hessian_power))
        return ratio(debias(mu, b1, t), below + like(below, eps)), (mu, nu)

    mu = Slot(dtype=mu_dtype, decay=b1, always_stored=True)
    return wrap(estimator, rule, ScaleByAdahessianState, grain="leafwise", mu=mu, nu=Slot(real=True))


@register(
    example(0.1).given(obj_fn=_quartic_loss),
    example(0.1, weight_decay=0.1, mask=True).given(obj_fn=_quartic_loss),
    ranges=_RANGES,
    exceptions=_RANDOM,
    usual={"learning_rate": 0.15},
)
def adahessian(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-4,
    hessian_power: Scalar = 1.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    mu_dtype: DType = None,
    blocks: Blocks | None = None,
    hessian_diagonal_fn: Any = hutchinson_estimator_diag_hessian(),  # noqa: B008 - it never changes
) -> GradientTransformationExtraArgs:
    """AdaHessian: `scale_by_adahessian`, `add_decayed_weights`, then `scale_by_learning_rate`.

    When:    small models whose curvature differs between parameters, at the cost of a product with the Hessian for
             every update; a usual learning rate is 0.15.
    """
    return chain(
        scale_by_adahessian(
            b1, b2, eps, hessian_power, mu_dtype, blocks=blocks, hessian_diagonal_fn=hessian_diagonal_fn
        ),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
