"""Muon: momentum whose matrices are orthogonalised."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks, tree
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, StateScalar, elementwise
from ..matrix.orthogonal import (
    JORDAN,
    Preconditioning,
    check_orthogonalisation,
    coefficients_of,
    orthogonalised,
)
from ..matrix.parts import Parts, in_parts, parts_of
from ..matrix.plan import MatrixPlan, check_plan
from ..matrix.sharing import over_leaves
from ..matrix.stacks import numbers_of
from ..numerics import debias, ema, nesterov_mean, scalar_dtype
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, DType, MaskOrFn, Params, Scalar, ScalarOrSchedule, Updates
from .adam import adamw
from .matrices import Scaling, groups, scaled_to_shape


class MuonState(NamedTuple):
    count: Count
    mu: Updates
    ns_coeffs: Array


class MuonDimensionNumbers(NamedTuple):
    """The axes of a leaf that form the rows and the columns of a matrix; the other axes index a stack of matrices.

    Args:
      reduction_axis: the axis or axes that form the rows: the inputs of a layer.
      output_axis: the axis or axes that form the columns: its outputs.
    """

    reduction_axis: int | Sequence[int] = 0
    output_axis: int | Sequence[int] = 1


_RANGES = {"ns_steps": checks.STEPS, "consistent_rms": checks.POSITIVE}
_ERRORS = [
    (example(ns_coeffs=(1.0, 2.0)), "ns_coeffs must be three numbers, or three for each step"),
    (example(ns_coeffs="cubic"), "ns_coeffs must be 'jordan', 'quintic', 'polar_express', 'cans', 'deepseek', "),
    (example(ns_dtype="float16"), "ns_dtype must be 'float32', 'bfloat16' or 'float64', got 'float16'"),
    (
        example(preconditioning="none"),
        "preconditioning must be 'frobenius', 'spectral', 'aol' or 'schatten', got 'none'",
    ),
]


@register(
    example(),
    example(ns_steps=2, nesterov=False, adaptive=True, preconditioning="aol"),
    example(((3.4445, -4.775, 2.0315), (1.5, -0.5, 0.0)), preconditioning="schatten", bias_correction=True),
    ranges=_RANGES,
    errors=_ERRORS,
)
def scale_by_muon(
    ns_coeffs: Any = JORDAN,
    ns_steps: int = 5,
    beta: Scalar = 0.95,
    eps: Scalar = 1e-8,
    mu_dtype: DType = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: Preconditioning = "frobenius",
    weight_dimension_numbers: Any = None,
    bias_correction: bool = False,
    gram: bool = False,
    ns_dtype: DType = None,
    heads: Any = None,
    split: Any = None,
    plan: MatrixPlan | None = None,
) -> GradientTransformationExtraArgs:
    """Replace each matrix of updates by the orthogonal matrix nearest to its running mean.

        mu <- beta mu + (1 - beta) g,  m = beta mu + (1 - beta) g with nesterov, else mu
        u   = X after ns_steps of  X <- a X + b A X + c A^2 X,  A = X X^H,  from X = m / (|m| + eps)

    Args:
      ns_coeffs: (a, b, c), or one such triple for each step, whose number then replaces ns_steps; or by name: "jordan"
        (or "standard", "muon") is the default; "quintic" (or "dion"), "polar_express" and "cans" are five triples,
        "deepseek" ten, which reach 1 more closely.
      ns_steps: number of iterations, >= 0. Usually 5.
      beta: decay of mu, in [0, 1). Usually 0.95.
      eps: added to |m|, in units of g, >= 0. Usually 1e-8.
      adaptive: multiply u by <m, u>, so that its size follows the gradient's. Usually False.
      preconditioning: divisor of the first X: its "frobenius" or "spectral" norm, its "schatten" 4-norm, or with "aol"
        for each row the root of the row's sum in |A|. Usually "frobenius".
      weight_dimension_numbers: a `MuonDimensionNumbers` for each leaf, as a tree or as a function params -> tree; None
        makes matrices of the last two axes, and one row of a vector.
      bias_correction: correct mu and g in m as in `scale_by_adam`. Usually False; True gives Optax's numbers.
    State:   count; mu shaped like params: 4 bytes per float32 parameter; ns_coeffs.
    Source:  Jordan et al. 2024, Muon; Bernstein & Newhouse 2024 for adaptive; Boissin et al. 2025 for "aol".
    Differs: Optax corrects the bias of m: see bias_correction. It requires weight_dimension_numbers, and fails on empty
             leaves.
    """
    check_plan(plan)
    coefficients = coefficients_of(ns_coeffs)
    check_orthogonalisation(preconditioning, ns_dtype)

    def average(g: Array, mu: Array, t: Count) -> Any:
        mu = ema(mu, g, beta)
        if bias_correction:
            return (nesterov_mean(mu, g, beta, t) if nesterov else debias(mu, beta, t)), mu
        return (ema(mu, g, beta) if nesterov else mu), mu

    # The coefficients are state, so that checkpoints contain them.
    momentum = elementwise(
        average,
        MuonState,
        mu=Slot(dtype=mu_dtype, decay=beta, always_stored=True),
        ns_coeffs=StateScalar(lambda _: jnp.asarray(coefficients, scalar_dtype())),
    )

    def orthogonal(x: Array, parts: Parts | None, ns: Array) -> Array:
        polar = functools.partial(
            orthogonalised,
            coefficients=ns,
            steps=ns_steps,
            preconditioning=preconditioning,
            eps=eps,
            gram=gram,
            dtype=ns_dtype,
        )
        out = in_parts(polar, x, parts)
        if adaptive:
            dual = jnp.sum((jnp.conj(x) * out).real, axis=(-2, -1), keepdims=True)
            out = out * dual.astype(out.dtype)
        return out

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        means, state = momentum.update(tree.widen(updates), state, params)
        over = means if params is None else params
        numbers = numbers_of(weight_dimension_numbers, over, means)
        parts = parts_of(heads, split, numbers, over, means)
        us = over_leaves(orthogonal, means, numbers, state.ns_coeffs, plan=plan, tags=parts)
        likes = tree.match(updates, means, "updates", "the running means")
        return tree.cast_like(us, tree.structure(means).unflatten(likes)), state

    tx = GradientTransformationExtraArgs(momentum.init, update)
    return tx.declaring(grain="leafwise", state_classes=(MuonState,), slots=("mu",))


def matrix_leaves(params: Params) -> Any:
    """Muon's default: `MuonDimensionNumbers()` for leaves with two axes, None for all others."""
    return tree.map(lambda p: MuonDimensionNumbers() if jnp.ndim(p) == 2 else None, params)


@register(
    example(0.1),
    example(0.1, nesterov=False, weight_decay=0.1, weight_decay_mask=True, consistent_rms=0.2),
    ranges={
        **_RANGES,
        **dict.fromkeys(["adam_b1", "adam_b2"], checks.DECAY),
        "adam_eps_root": checks.NON_NEGATIVE,
        "adam_weight_decay": checks.RATE,
        "adam_learning_rate": checks.RATE,
    },
    errors=[(example(0.1, preconditioning="none"), _ERRORS[-1][1])],
    exceptions={"traced": "the iteration amplifies the rounding of an array argument"},
    usual={"learning_rate": 0.02},
)
def muon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: Any = JORDAN,
    ns_steps: int = 5,
    beta: Scalar = 0.95,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: MaskOrFn = None,
    mu_dtype: DType = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: Preconditioning = "frobenius",
    adam_b1: Scalar = 0.9,
    adam_b2: Scalar = 0.999,
    adam_eps_root: Scalar = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    muon_weight_dimension_numbers: Any = None,
    consistent_rms: Scalar | None = None,
    bias_correction: bool = False,
    gram: bool = False,
    ns_dtype: DType = None,
    heads: Any = None,
    split: Any = None,
    scaling: Scaling = "jordan",
    plan: MatrixPlan | None = None,
) -> GradientTransformationExtraArgs:
    """Muon: `scale_by_muon` for matrices, `adamw` for all other parameters.

    The matrices' updates are multiplied by a factor that depends on their shape, see scaling; then follow
    `add_decayed_weights` and `scale_by_learning_rate`.

    Args:
      learning_rate: learning rate of the matrices, >= 0, or a schedule. Usually 2e-2.
      weight_decay, weight_decay_mask: weight decay of the matrices, and where it acts.
      adam_b1, adam_b2, adam_eps_root: b1, b2 and eps_root of `adamw`, whose eps is eps. Usually 0.9, 0.999 and 0.
      adam_weight_decay: weight decay of the other parameters, >= 0, or a schedule. Usually 0.
      adam_learning_rate: learning rate of the other parameters, >= 0, or a schedule; None takes learning_rate.
      muon_weight_dimension_numbers: as weight_dimension_numbers of `scale_by_muon`, with None for each leaf that
        `adamw` updates; None makes matrices of leaves with two axes.
      scaling: "jordan" multiplies by sqrt(max(1, columns / rows)), "moonlight" by 0.2 sqrt(max(rows, columns)),
        "spectral" by sqrt(columns / rows), where columns are the outputs. Usually "jordan".
      consistent_rms: root mean square of the updates of all matrices, > 0: the factor of "moonlight" in place of 0.2.
        None takes scaling. Usually 0.2.
    State:   PartitionState of the groups "muon" and "adam": 4 and 8 bytes per float32 parameter.
    Source:  Jordan et al. 2024, Muon; Liu et al. 2025 for consistent_rms.
    When:    hidden layers of transformers and other networks, with `adamw` for embeddings and heads; a usual learning
             rate is 2e-2, or AdamW's with consistent_rms 0.2.
    """
    spec = matrix_leaves if muon_weight_dimension_numbers is None else muon_weight_dimension_numbers

    def matrices(numbers: Any) -> GradientTransformationExtraArgs:
        return chain(
            scale_by_muon(
                ns_coeffs,
                ns_steps,
                beta,
                eps,
                mu_dtype,
                nesterov=nesterov,
                adaptive=adaptive,
                preconditioning=preconditioning,
                weight_dimension_numbers=numbers,
                bias_correction=bias_correction,
                gram=gram,
                ns_dtype=ns_dtype,
                heads=heads,
                split=split,
                plan=plan,
            ),
            scaled_to_shape(numbers, scaling, consistent_rms, heads, split),
            add_decayed_weights(weight_decay, weight_decay_mask),
            scale_by_learning_rate(learning_rate),
        )

    others = adamw(
        learning_rate if adam_learning_rate is None else adam_learning_rate,
        adam_b1,
        adam_b2,
        eps,
        adam_eps_root,
        mu_dtype,
        adam_weight_decay,
        nesterov=nesterov,
    )
    return groups(spec, matrices, others)
