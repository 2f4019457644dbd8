"""Scion: steps to the best point of a ball, whose norm is that of the operator that a parameter is."""

from typing import Any

import jax.numpy as jnp

from .. import checks
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import elementwise
from ..matrix.orthogonal import JORDAN
from ..matrix.plan import MatrixPlan
from ..transforms.momentum import ema
from ..transforms.scaling import scale, scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import DType, MaskOrFn, Scalar, ScalarOrSchedule
from .matrices import groups, scaled_to_shape
from .muon import matrix_leaves, scale_by_muon
from .normuon import RANGES

_RANGES = {
    **RANGES,
    "momentum": checks.Range(0, 1, open_low=True),
    "radius": checks.Range(0, open_low=True, means="radius of the ball of a matrix, in its spectral norm"),
    "sign_radius": checks.Range(
        0, open_low=True, means="radius of the ball of any other parameter, in its largest element"
    ),
}
_EXCEPTIONS = {"independent": "pytorch_optimizer iterates in bfloat16"}


@register(example(), example(0.5, ns_coeffs="polar_express", gram=True), ranges=_RANGES, exceptions=_EXCEPTIONS)
def scale_by_scion(
    momentum: Scalar = 0.1,
    eps: Scalar = 1e-8,
    mu_dtype: DType = None,
    *,
    ns_coeffs: Any = JORDAN,
    ns_steps: int = 5,
    gram: bool = False,
    ns_dtype: DType = None,
    weight_dimension_numbers: Any = None,
    heads: Any = None,
    split: Any = None,
    plan: MatrixPlan | None = None,
) -> GradientTransformationExtraArgs:
    """Replace the running mean of each matrix by the matrix of spectral norm sqrt(columns / rows) that it points to.

        mu <- (1 - momentum) mu + momentum g,   u = sqrt(columns / rows) Newton-Schulz of mu

    Args:
      momentum: weight of g in mu, in (0, 1]. Usually 0.1.
      eps, ns_coeffs, ns_steps, weight_dimension_numbers: as in `scale_by_muon`.
    State:   that of `scale_by_muon`: 4 bytes per float32 parameter.
    Source:  Pethick et al. 2025, Scion, Alg. 1 and Table 2.
    """
    return chain(
        scale_by_muon(
            ns_coeffs,
            ns_steps,
            1 - momentum,
            eps,
            mu_dtype,
            nesterov=False,
            weight_dimension_numbers=weight_dimension_numbers,
            gram=gram,
            ns_dtype=ns_dtype,
            heads=heads,
            split=split,
            plan=plan,
        ),
        scaled_to_shape(weight_dimension_numbers, "spectral", None, heads, split),
    )


@register(
    example(0.1),
    example(0.1, 0.5, radius=50.0, weight_decay=0.1, mask=True),
    ranges=_RANGES,
    exceptions={**_EXCEPTIONS, "traced": "the iteration amplifies the rounding of an array argument"},
    usual={"learning_rate": 1e-3},
)
def scion(
    learning_rate: ScalarOrSchedule,
    momentum: Scalar = 0.1,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    radius: Scalar = 1.0,
    sign_radius: Scalar = 1.0,
    eps: Scalar = 1e-8,
    mu_dtype: DType = None,
    ns_coeffs: Any = JORDAN,
    ns_steps: int = 5,
    gram: bool = False,
    ns_dtype: DType = None,
    weight_dimension_numbers: Any = None,
    heads: Any = None,
    split: Any = None,
    plan: MatrixPlan | None = None,
) -> GradientTransformationExtraArgs:
    """Scion: `scale_by_scion` for matrices, signs of the running mean for all other parameters.

    The former are multiplied by radius, the latter by sign_radius; then follow `add_decayed_weights` and
    `scale_by_learning_rate`. With weight_decay 1 parameters stay in their balls: the constrained form of the paper.

    Args:
      weight_decay: coefficient of the weight decay: 0 is the unconstrained form, 1 the constrained one.
      weight_dimension_numbers: as muon_weight_dimension_numbers of `muon`.
    When:    in place of `muon`, with one learning rate for models of all widths; a usual learning rate is 1e-3.
    """
    last = (add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))

    def matrices(numbers: Any) -> GradientTransformationExtraArgs:
        direction = scale_by_scion(
            momentum,
            eps,
            mu_dtype,
            ns_coeffs=ns_coeffs,
            ns_steps=ns_steps,
            gram=gram,
            ns_dtype=ns_dtype,
            weight_dimension_numbers=numbers,
            heads=heads,
            split=split,
            plan=plan,
        )
        return chain(direction, scale(radius), *last)

    signs = chain(ema(1 - momentum, False, mu_dtype), elementwise(lambda g: jnp.sign(g)), scale(sign_radius), *last)
    spec = matrix_leaves if weight_dimension_numbers is None else weight_dimension_numbers
    return groups(spec, matrices, signs)
