"""Muon: momentum whose matrices are orthogonalised."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import checks, tree
from ..combine.chain import chain
from ..combine.partition import partition
from ..core.registry import example, register
from ..core.stateless import init_empty_state
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, StateScalar, elementwise
from ..matrix.stacks import DimensionNumbers, as_matrices, numbers_of
from ..numerics import debias, ema, gathered, like, nesterov_mean, norm, ratio, restored, root, scalar_dtype, scaled
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, DType, MaskOrFn, Params, Scalar, ScalarOrSchedule, Updates
from .adam import adamw

Preconditioning = Literal["frobenius", "spectral", "aol", "schatten"]
_PRECONDITIONINGS = ("frobenius", "spectral", "aol", "schatten")


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


def _norm(x: Array) -> Array:
    """The Frobenius norm of each matrix."""
    return norm(x, (-2, -1), keepdims=True)


def _gram(x: Array) -> Array:
    return x @ jnp.conj(jnp.swapaxes(x, -1, -2))


def _conditioned(x: Array, preconditioning: str, eps: Scalar) -> Array:
    """Scale matrices so that no singular value exceeds 1, so that the iteration converges."""
    if preconditioning == "aol":
        rows = root(jnp.sum(jnp.abs(_gram(x)), axis=-1, keepdims=True))
        return x * ratio(jnp.ones_like(rows), rows).astype(x.dtype)
    if preconditioning == "spectral":
        size = jnp.linalg.norm(x, ord=2, axis=(-2, -1), keepdims=True)
    else:
        size = _norm(x) if preconditioning == "frobenius" else root(_norm(_gram(x)))
    out: Array = x / (size + like(size, eps)).astype(x.dtype)
    return out


def orthogonalised(x: Array, coefficients: Array, steps: int, preconditioning: str, eps: Scalar) -> Array:
    """The nearest semi-orthogonal matrices, approximately: Newton-Schulz moves all singular values close to 1.

    X <- a X + (b A + c A^2) X,  A = X X^H; tall matrices are transposed, so that A is small.
    """
    if x.size == 0:
        return x
    tall = x.shape[-2] > x.shape[-1]
    x = jnp.swapaxes(x, -1, -2) if tall else x
    x = _conditioned(x, preconditioning, eps)

    def step(x: Array, abc: Array) -> Array:
        a, b, c = (abc[i].astype(x.dtype) for i in range(3))
        gram = _gram(x)
        return a * x + (b * gram + c * (gram @ gram)) @ x

    if coefficients.ndim == 1:
        x = jax.lax.fori_loop(0, steps, lambda _, x: step(x, coefficients), x, unroll=True)
    else:
        for abc in coefficients:
            x = step(x, abc)
    return jnp.swapaxes(x, -1, -2) if tall else x


_JORDAN = (3.4445, -4.7750, 2.0315)
_COEFFICIENTS = {
    **dict.fromkeys(["jordan", "standard", "muon"], _JORDAN),  # one triple, three names in use
    "dion": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
}


def _checked(ns_coeffs: Any, preconditioning: str) -> np.ndarray[Any, Any]:
    checks.choice("preconditioning", preconditioning, _PRECONDITIONINGS)
    if isinstance(ns_coeffs, str):
        checks.choice("ns_coeffs", ns_coeffs, _COEFFICIENTS)
        ns_coeffs = _COEFFICIENTS[ns_coeffs]
    try:
        coefficients = np.asarray(ns_coeffs, float)
    except (TypeError, ValueError, OverflowError):
        coefficients = np.empty(0)
    if coefficients.ndim not in (1, 2) or coefficients.shape[-1] != 3 or coefficients.size == 0:
        checks.fail(f"ns_coeffs must be three numbers, or three for each step, got {checks.shown(ns_coeffs)}")
    return coefficients


_RANGES = {"ns_steps": checks.STEPS, "consistent_rms": checks.POSITIVE}
_ERRORS = [
    (example(ns_coeffs=(1.0, 2.0)), "ns_coeffs must be three numbers, or three for each step"),
    (example(ns_coeffs="quintic"), "ns_coeffs must be 'jordan', 'standard', 'muon' or 'dion', got 'quintic'"),
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
    ns_coeffs: Any = _JORDAN,
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
) -> GradientTransformationExtraArgs:
    """Replace each matrix of updates by the orthogonal matrix nearest to its running mean.

        mu <- beta mu + (1 - beta) g,  m = beta mu + (1 - beta) g with nesterov, else mu
        u   = X after ns_steps of  X <- a X + b A X + c A^2 X,  A = X X^H,  from X = m / (|m| + eps)

    Args:
      ns_coeffs: (a, b, c), or one such triple for each step, whose number then replaces ns_steps; "jordan" (or
        "standard", "muon") is the default, "dion" five triples that reach 1 more closely.
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
    coefficients = _checked(ns_coeffs, preconditioning)

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

    def orthogonal(x: Array, numbers: DimensionNumbers | None, ns: Array) -> Array:
        matrices, back = as_matrices(gathered(x), numbers)
        out = orthogonalised(matrices, ns, ns_steps, preconditioning, eps)
        if adaptive:
            dual = jnp.sum((jnp.conj(matrices) * out).real, axis=(-2, -1), keepdims=True)
            out = out * dual.astype(out.dtype)
        return restored(back(out), x)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        means, state = momentum.update(tree.widen(updates), state, params)
        leaves, structure = tree.flatten(means)
        numbers = numbers_of(weight_dimension_numbers, means if params is None else params, means)
        us = [x if tree.absent(x) else orthogonal(x, n, state.ns_coeffs) for x, n in zip(leaves, numbers, strict=True)]
        likes = tree.match(updates, means, "updates", "the running means")
        return tree.cast_like(structure.unflatten(us), structure.unflatten(likes)), state

    tx = GradientTransformationExtraArgs(momentum.init, update)
    return tx.declaring(grain="leafwise", state_classes=(MuonState,), slots=("mu",))


def _scale_by_shape(weight_dimension_numbers: Any, consistent_rms: Scalar | None) -> GradientTransformationExtraArgs:
    """Multiply each matrix by a factor that depends on its shape."""

    def size(x: Array, numbers: DimensionNumbers | None) -> Any:
        matrices, _ = as_matrices(x, numbers)
        rows, columns = matrices.shape[-2:]
        if consistent_rms is None:
            return max(1.0, columns / max(rows, 1)) ** 0.5
        return consistent_rms * max(rows, columns) ** 0.5

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        leaves, structure = tree.flatten(updates)
        numbers = numbers_of(weight_dimension_numbers, updates if params is None else params, updates)
        us = [x if tree.absent(x) else scaled(x, size(x, n)) for x, n in zip(leaves, numbers, strict=True)]
        return structure.unflatten(us), state

    return GradientTransformationExtraArgs(init_empty_state, update).declaring(grain="leafwise")


def _matrix_leaves(params: Params) -> Any:
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
    ns_coeffs: Any = _JORDAN,
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
) -> GradientTransformationExtraArgs:
    """Muon: `scale_by_muon` for matrices, `adamw` for all other parameters.

    The matrices' updates are multiplied by sqrt(max(1, columns / rows)), or with consistent_rms by consistent_rms
    sqrt(max(rows, columns)); then follow `add_decayed_weights` and `scale_by_learning_rate`.

    Args:
      learning_rate: learning rate of the matrices, >= 0, or a schedule. Usually 2e-2.
      weight_decay, weight_decay_mask: weight decay of the matrices, and where it acts.
      adam_b1, adam_b2, adam_eps_root: b1, b2 and eps_root of `adamw`, whose eps is eps. Usually 0.9, 0.999 and 0.
      adam_weight_decay: weight decay of the other parameters, >= 0, or a schedule. Usually 0.
      adam_learning_rate: learning rate of the other parameters, >= 0, or a schedule; None takes learning_rate.
      muon_weight_dimension_numbers: as weight_dimension_numbers of `scale_by_muon`, with None for each leaf that
        `adamw` updates; None makes matrices of leaves with two axes.
      consistent_rms: root mean square of the updates of all matrices, > 0; None scales by shape alone. Usually 0.2.
    State:   PartitionState of the groups "muon" and "adam": 4 and 8 bytes per float32 parameter.
    Source:  Jordan et al. 2024, Muon; Liu et al. 2025 for consistent_rms.
    When:    hidden layers of transformers and other networks, with `adamw` for embeddings and heads; a usual learning
             rate is 2e-2, or AdamW's with consistent_rms 0.2.
    """
    spec = _matrix_leaves if muon_weight_dimension_numbers is None else muon_weight_dimension_numbers

    def labels(params: Params) -> Any:
        numbers = numbers_of(spec, params, params)
        return tree.structure(params).unflatten(["adam" if n is None else "muon" for n in numbers])

    def group_numbers(params: Params) -> Any:
        """Dimension numbers in the structure of the group's parameters."""
        return tree.structure(params).unflatten(numbers_of(spec, params, params))

    orthogonal = chain(
        scale_by_muon(
            ns_coeffs,
            ns_steps,
            beta,
            eps,
            mu_dtype,
            nesterov=nesterov,
            adaptive=adaptive,
            preconditioning=preconditioning,
            weight_dimension_numbers=group_numbers,
            bias_correction=bias_correction,
        ),
        _scale_by_shape(group_numbers, consistent_rms),
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
    return partition({"muon": orthogonal, "adam": others}, labels)
