"""Muon whose orthogonal matrices are divided by a running root mean square: of each neuron, or of each element."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import checks, tree
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..lift.grains import Slot, elementwise
from ..matrix.orthogonal import JORDAN, check_orthogonalisation, coefficients_of, orthogonalised
from ..matrix.parts import in_parts, parts_of
from ..matrix.plan import MatrixPlan, check_plan
from ..matrix.sharing import over_leaves
from ..matrix.stacks import axes_of_matrices, numbers_of
from ..numerics import abs_sq, convert, ema, full_like, norm, ratio, real_dtype, root_ratio, wide_dtype, zeros_of_shape
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..tree.params import trainable_arrays
from ..types import Array, Count, DType, MaskOrFn, Params, Scalar, ScalarOrSchedule, Updates
from .adam import adamw
from .matrices import Scaling, groups, scaled_to_shape
from .muon import matrix_leaves


class ScaleByNormuonState(NamedTuple):
    count: Count
    mu: Updates
    nu: Updates


class _Momentum(NamedTuple):
    count: Count
    mu: Updates


RANGES = {"ns_steps": checks.STEPS, "b2": checks.DECAY}
ADAM = {**dict.fromkeys(["adam_b1", "adam_b2"], checks.DECAY), "adam_learning_rate": checks.RATE}
AMPLIFIES = {"traced": "the iteration amplifies the rounding of an array argument"}
_BFLOAT16 = {"independent": "pytorch_optimizer and Emerging-Optimizers iterate in bfloat16"}


def normalised_polar(
    state_class: Any,
    beta: Scalar,
    b2: Scalar,
    eps: Scalar,
    *,
    per_neuron: bool,
    before: Callable[[Array], Array],
    size: Callable[[Array, tuple[int, ...], Array], Array],
    nesterov: bool,
    mu_dtype: DType,
    weight_dimension_numbers: Any,
    ns_coeffs: Any,
    ns_steps: int,
    gram: bool,
    ns_dtype: DType,
    heads: Any,
    split: Any,
    plan: MatrixPlan | None,
) -> GradientTransformationExtraArgs:
    """O = NS(before(m)),  nu <- b2 nu + (1 - b2) O^2 or its mean over a neuron's inputs,  u = O / (sqrt(nu) + eps).

    `size(O, axes, u)` is the norm over these axes that each matrix of u has in the end.
    """
    coefficients = jnp.asarray(coefficients_of(ns_coeffs), float)
    check_orthogonalisation("frobenius", ns_dtype)
    check_plan(plan)

    def average(g: Array, mu: Array) -> Any:
        mu = ema(mu, g, beta)
        ahead = ema(mu, g, beta) if nesterov else mu
        return ahead, mu

    momentum = elementwise(average, _Momentum, mu=Slot(dtype=mu_dtype, decay=beta, always_stored=True))

    def inputs(x: Array, numbers: Any) -> tuple[int, ...]:
        return axes_of_matrices(x.shape, numbers)[1] if per_neuron else ()

    def init(params: Params) -> Any:
        arrays, structure = trainable_arrays(params)
        numbers = numbers_of(weight_dimension_numbers, params, params)
        nu: list[Any] = [None if p is None else zeros(p, n) for p, n in zip(arrays, numbers, strict=True)]
        start = momentum.init(params)
        return state_class(start.count, start.mu, structure.unflatten(nu))

    def zeros(p: Array, numbers: Any) -> Array:
        axes, dtype = inputs(p, numbers), real_dtype(wide_dtype(p.dtype))
        if not axes:
            return full_like(p, 0, dtype)
        shape = tuple(1 if i in axes else n for i, n in enumerate(p.shape))
        return zeros_of_shape(p, shape, dtype, lambda z: jnp.sum(z, axes, keepdims=True))

    def polar(x: Array, parts: Any, ns: Array) -> Array:
        return in_parts(lambda y: orthogonalised(y, ns, ns_steps, gram=gram, dtype=ns_dtype), x, parts)

    def divided(o: Array, nu: Array, numbers: Any) -> tuple[Array, Array]:
        axes = inputs(o, numbers)
        squares = abs_sq(o)
        now = jnp.mean(squares, axes, keepdims=True) if axes and o.size else squares if not axes else nu
        new = ema(convert(nu, real_dtype(o.dtype)), now, b2)
        inverse = root_ratio(jnp.ones_like(new), new, eps, 0.0)
        u = o * convert(inverse, o.dtype)
        _, rows, columns = axes_of_matrices(o.shape, numbers)
        matrix = rows + columns
        factor = ratio(size(o, matrix, u), norm(u, matrix, keepdims=True) if matrix else jnp.abs(u))
        return u * convert(factor, u.dtype), convert(new, nu.dtype)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        del extra_args
        means, new = momentum.update(tree.widen(updates), _Momentum(state.count, state.mu), params)
        over = means if params is None else params
        numbers = numbers_of(weight_dimension_numbers, over, means)
        parts = parts_of(heads, split, numbers, over, means)
        ready = tree.map(lambda m: m if tree.absent(m) else before(m), means)
        os = tree.flatten(over_leaves(polar, ready, numbers, coefficients, plan=plan, tags=parts))[0]
        nus = tree.match(state.nu, means, "state.nu", "the running means")
        us = [(o, nu) if tree.absent(o) else divided(o, nu, n) for o, nu, n in zip(os, nus, numbers, strict=True)]
        structure = tree.structure(means)
        likes = tree.match(updates, means, "updates", "the running means")
        out = tree.cast_like(structure.unflatten([u for u, _ in us]), structure.unflatten(likes))
        return out, state_class(new.count, new.mu, structure.unflatten([nu for _, nu in us]))

    tx = GradientTransformationExtraArgs(init, update)
    return tx.declaring(grain="leafwise", state_classes=(state_class,), slots=("mu", "nu"))


@register(example(), example(nesterov=True, ns_coeffs="polar_express", gram=True), ranges=RANGES, exceptions=_BFLOAT16)
def scale_by_normuon(
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
    """Orthogonalise the running mean of each matrix, and give all its neurons updates of like size.

        mu <- beta mu + (1 - beta) g,   O = Newton-Schulz of mu, or with nesterov of beta mu + (1 - beta) g
        nu <- b2 nu + (1 - b2) mean of |O|^2 over the inputs of each neuron,   v = O / (sqrt(nu) + eps)
        u   = v |O| / |v|

    Args:
      beta, b2: decays of mu and nu, in [0, 1). Usually 0.95.
      eps: added to sqrt(nu), >= 0. Usually 1e-8.
      ns_coeffs, ns_steps, weight_dimension_numbers: as in `scale_by_muon`.
    State:   count; mu shaped like params; nu with one number for each neuron, an output: 4 bytes per float32 parameter,
             and 4 / rows.
    Source:  Li et al. 2025, NorMuon, Alg. 1.
    Differs: the paper's updates have the root mean square 0.2; its code keeps the norm of O, as here. nu needs no
             correction of its bias: it cancels.
    """
    return normalised_polar(
        ScaleByNormuonState,
        beta,
        b2,
        eps,
        per_neuron=True,
        before=lambda m: m,
        size=lambda o, axes, u: norm(o, axes, keepdims=True) if axes else jnp.abs(o),
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
    example(0.1, nesterov=True, weight_decay=0.1, weight_decay_mask=True, scaling="spectral"),
    ranges={**RANGES, **ADAM},
    exceptions={**AMPLIFIES, **_BFLOAT16},
)
def normuon(
    learning_rate: ScalarOrSchedule = 0.01,
    beta: Scalar = 0.95,
    b2: Scalar = 0.95,
    weight_decay: ScalarOrSchedule = 0.0,
    nesterov: bool = False,
    *,
    eps: Scalar = 1e-8,
    mu_dtype: DType = None,
    weight_decay_mask: MaskOrFn = None,
    ns_coeffs: Any = JORDAN,
    ns_steps: int = 5,
    gram: bool = False,
    ns_dtype: DType = None,
    scaling: Scaling = "jordan",
    adam_b1: Scalar = 0.9,
    adam_b2: Scalar = 0.999,
    adam_learning_rate: ScalarOrSchedule | None = None,
    weight_dimension_numbers: Any = None,
    heads: Any = None,
    split: Any = None,
    plan: MatrixPlan | None = None,
) -> GradientTransformationExtraArgs:
    """NorMuon: `scale_by_normuon` for matrices, `adamw` for all other parameters.

    The matrices' updates are multiplied by a factor of `muon`, see scaling; then follow `add_decayed_weights` and
    `scale_by_learning_rate`.

    Args:
      scaling, weight_dimension_numbers: as scaling and muon_weight_dimension_numbers of `muon`.
      adam_b1, adam_b2, adam_learning_rate: b1, b2 and the learning rate of `adamw`; None takes learning_rate.
    When:    in place of `muon`, where some neurons get much larger updates than others; a usual learning rate is 1e-2.
    """

    def matrices(numbers: Any) -> GradientTransformationExtraArgs:
        return chain(
            scale_by_normuon(
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
            scaled_to_shape(numbers, scaling, None, heads, split),
            add_decayed_weights(weight_decay, weight_decay_mask),
            scale_by_learning_rate(learning_rate),
        )

    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    spec = matrix_leaves if weight_dimension_numbers is None else weight_dimension_numbers
    return groups(spec, matrices, adamw(rate, adam_b1, adam_b2, mu_dtype=mu_dtype, weight_decay=0.0))
