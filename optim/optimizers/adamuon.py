"""AdaMuon: orthogonalised signs of the momentum, divided by a running root mean square of every element."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..matrix.orthogonal import JORDAN
from ..matrix.plan import MatrixPlan
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, DType, MaskOrFn, Scalar, ScalarOrSchedule, Updates
from .adam import adamw
from .matrices import groups
from .muon import matrix_leaves
from .normuon import ADAM, AMPLIFIES, RANGES, normalised_polar

_NO_SIGN = {"independent": "pytorch_optimizer leaves out the sign"}


class ScaleByAdamuonState(NamedTuple):
    count: Count
    mu: Updates
    nu: Updates


def _size(o: Array, axes: tuple[int, ...], u: Array) -> Array:
    """0.2 sqrt(m n): the norm of a matrix whose root mean square is 0.2."""
    del u
    shape = [1 if i in axes else n for i, n in enumerate(o.shape)]
    return jnp.full(shape, 0.2 * math.prod(o.shape[i] for i in axes) ** 0.5, jnp.abs(o).dtype)


@register(example(), example(nesterov=True, ns_coeffs="cans", b2=0.5), ranges=RANGES, exceptions=_NO_SIGN)
def scale_by_adamuon(
    beta: Scalar = 0.95,
    b2: Scalar = 0.95,
    eps: Scalar = 1e-8,
    mu_dtype: DType = None,
    *,
    nesterov: bool = False,
    ns_coeffs: Any = JORDAN,
    ns_steps: int = 5,
    gram: bool = False,
    ns_dtype: DType = None,
    weight_dimension_numbers: Any = None,
    heads: Any = None,
    split: Any = None,
    plan: MatrixPlan | None = None,
) -> GradientTransformationExtraArgs:
    """Orthogonalise the signs of the running mean of each matrix, and divide each element by its running size.

        mu <- beta mu + (1 - beta) g,   O = Newton-Schulz of sign(mu), or with nesterov of sign(beta mu + (1 - beta) g)
        nu <- b2 nu + (1 - b2) |O|^2,   v = O / (sqrt(nu) + eps),   u = 0.2 sqrt(m n) v / |v|

    Args:
      beta, b2: decays of mu and nu, in [0, 1). Usually 0.95.
      eps: added to sqrt(nu), >= 0. Usually 1e-8.
      ns_coeffs, ns_steps, weight_dimension_numbers: as in `scale_by_muon`.
    State:   count; mu and nu shaped like params: 8 bytes per float32 parameter.
    Source:  Si et al. 2025, AdaMuon, Alg. 1.
    Differs: several packages leave out the sign. nu needs no correction of its bias: it cancels.
    """
    return normalised_polar(
        ScaleByAdamuonState,
        beta,
        b2,
        eps,
        per_neuron=False,
        before=jnp.sign,
        size=_size,
        nesterov=nesterov,
        mu_dtype=mu_dtype,
        weight_dimension_numbers=weight_dimension_numbers,
        ns_coeffs=ns_coeffs,
        ns_steps=ns_steps,
        gram=gram,
        ns_dtype=ns_dtype,
        heads=heads,
        split=split,
        plan=plan,
    )


@register(
    example(0.1),
    example(0.1, nesterov=True, weight_decay=0.1, weight_decay_mask=True),
    ranges={**RANGES, **ADAM},
    exceptions={**AMPLIFIES, **_NO_SIGN},
    usual={"learning_rate": 1e-3},
)
def adamuon(
    learning_rate: ScalarOrSchedule,
    beta: Scalar = 0.95,
    b2: Scalar = 0.95,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: MaskOrFn = None,
    mu_dtype: DType = None,
    *,
    nesterov: bool = False,
    ns_coeffs: Any = JORDAN,
    ns_steps: int = 5,
    gram: bool = False,
    ns_dtype: DType = None,
    adam_b1: Scalar = 0.9,
    adam_b2: Scalar = 0.999,
    adam_learning_rate: ScalarOrSchedule | None = None,
    weight_dimension_numbers: Any = None,
    heads: Any = None,
    split: Any = None,
    plan: MatrixPlan | None = None,
) -> GradientTransformationExtraArgs:
    """AdaMuon: `scale_by_adamuon` for matrices, `adamw` for all other parameters.

    Then follow, for the matrices, `add_decayed_weights` and `scale_by_learning_rate`.

    Args:
      weight_dimension_numbers: as muon_weight_dimension_numbers of `muon`.
      adam_b1, adam_b2, adam_learning_rate: b1, b2 and the learning rate of `adamw`; None takes learning_rate.
    When:    in place of `muon`, with updates of the root mean square 0.2, as `adamw` has them; a usual learning rate is
             1e-3.
    """

    def matrices(numbers: Any) -> GradientTransformationExtraArgs:
        return chain(
            scale_by_adamuon(
                beta,
                b2,
                eps,
                mu_dtype,
                nesterov=nesterov,
                ns_coeffs=ns_coeffs,
                ns_steps=ns_steps,
                gram=gram,
                ns_dtype=ns_dtype,
                weight_dimension_numbers=numbers,
                heads=heads,
                split=split,
                plan=plan,
            ),
            add_decayed_weights(weight_decay, weight_decay_mask),
            scale_by_learning_rate(learning_rate),
        )

    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    spec = matrix_leaves if weight_dimension_numbers is None else weight_dimension_numbers
    return groups(spec, matrices, adamw(rate, adam_b1, adam_b2, mu_dtype=mu_dtype, weight_decay=0.0))
