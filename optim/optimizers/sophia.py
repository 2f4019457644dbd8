"""Sophia: momentum divided by an estimate of the Hessian's diagonal, then clipped."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import checks, tree
from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..lift.grains import Slot, elementwise
from ..numerics import branch, ema, like, ratio, safe_increment, scaled
from ..transforms.noise import as_key
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from ..types import Array, Count, DType, MaskOrFn, OptState, Params, Scalar, ScalarOrSchedule, Updates


class HutchinsonState(NamedTuple):
    key: Array


class SophiaState(NamedTuple):
    count: Count
    mu: Updates
    nu: Updates
    hessian_fn_state: OptState


class _Moments(NamedTuple):
    mu: Updates
    nu: Updates


def _quartic_loss(params: Params) -> Array:
    """A loss for the tests: the sum of the fourth powers of all parameters."""
    return sum((jnp.sum(p.real**4) for p in tree.leaves(tree.widen(params))), start=jnp.zeros(()))


_NO_LOSS = "its updates need obj_fn, whose second derivatives they contain"


@register(example(), kind="factory")
def hutchinson_estimator_diag_hessian(random_seed: Any = None) -> GradientTransformationExtraArgs:
    """Estimate the diagonal of a Hessian without bias, as z (H z) with random signs z.

    update needs obj_fn=..., a function params -> loss, and returns the estimate in place of updates.

    Args:
      random_seed: a PRNG key or an int; None is 0.
    State:   key.
    Source:  Hutchinson 1989; Liu et al. 2023, Alg. 1.
    """

    def init(params: Params) -> HutchinsonState:
        del params
        return HutchinsonState(jnp.copy(as_key(random_seed, None)))

    def update(updates: Any, state: Any, params: Any = None, *, obj_fn: Any = None, **extra_args: Any) -> Any:
        del extra_args
        if not callable(obj_fn) or params is None:
            checks.fail("update needs the parameters and obj_fn: call update(..., params, obj_fn=loss)", TypeError)
        next_key, key = jax.random.split(state.key)
        leaves = jax.tree.leaves(params)
        keys = iter(jax.random.split(key, max(len(leaves), 1)))

        def sign(p: Any) -> Array:
            return jax.random.rademacher(next(keys), jnp.shape(p)).astype(jnp.result_type(p))

        signs = jax.tree.map(sign, params)
        product = jax.jvp(jax.grad(obj_fn), (params,), (signs,))[1]
        del updates
        return jax.tree.map(jnp.multiply, signs, product), HutchinsonState(next_key)

    return GradientTransformationExtraArgs(init, update).declaring(grain="leafwise", state_classes=(HutchinsonState,))


_RANGES = {
    "gamma": checks.POSITIVE,
    "clip_threshold": checks.Range(0, open_low=True, infinite=True, optional=True),
    "update_interval": checks.Range(1, integer=True),
    "print_win_rate_every_n_steps": checks.STEPS,
}


@register(
    example(0.1).given(obj_fn=_quartic_loss),
    example(0.1, weight_decay=0.1, weight_decay_mask=True, gamma=0.5, update_interval=1).given(obj_fn=_quartic_loss),
    ranges=_RANGES,
    exceptions={
        "golden": "its update is random: see tests/units/test_leafwise.py",
        "vmap": "random signs are drawn anew under vmap",
        "grain": "random signs are drawn for each leaf",
        "none": _NO_LOSS,
        "dtypes": _NO_LOSS,
        "magnitudes": _NO_LOSS,
        "inject": _NO_LOSS,
        "sharding": "random signs are drawn per shard layout",
    },
    usual={"learning_rate": 0.0003},
)
def sophia(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.965,
    b2: Scalar = 0.99,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    weight_decay_mask: MaskOrFn = None,
    gamma: Scalar = 0.01,
    clip_threshold: Scalar | None = 1.0,
    update_interval: int = 10,
    hessian_diagonal_fn: Any = hutchinson_estimator_diag_hessian(),  # noqa: B008 - it never changes
    mu_dtype: DType = None,
    verbose: bool = False,
    print_win_rate_every_n_steps: int = 0,
) -> GradientTransformationExtraArgs:
    """Divide the running mean gradient by the running diagonal of the Hessian, clip, and decay the weights.

        mu <- b1 mu + (1 - b1) g
        nu <- b2 nu + (1 - b2) h                        every update_interval updates, h the estimated diagonal
        u   = mu / max(gamma nu, eps), clamped to [-clip_threshold, clip_threshold]

    Then follow `add_decayed_weights` and `scale_by_learning_rate`.

    Args:
      b1, b2: decays of mu and nu, in [0, 1). Usually 0.965 and 0.99.
      eps: lower bound of gamma nu, >= 0. Usually 1e-8.
      gamma: factor on nu, > 0; a larger one clips less. Usually 0.01.
      clip_threshold: largest element of u, > 0; None does not clip. Usually 1.0.
      update_interval: number of updates between estimates of h, >= 1. Usually 10.
      hessian_diagonal_fn: a transformation whose update returns h. Usually `hutchinson_estimator_diag_hessian`, for
        which update needs obj_fn=..., a function params -> loss.
      verbose, print_win_rate_every_n_steps: if both are set, print the share of unclipped elements every n updates.
    State:   SophiaState(count, mu, nu, hessian_fn_state): 8 bytes per float32 parameter.
    Source:  Liu et al. 2023, Alg. 3.
    Differs: Optax 0.2.8 corrects the bias of mu, and divides it by the nu before this update, which is 0 in the first:
             its size is clip_threshold.
    When:    language models, at the cost of a Hessian estimate every few updates; a usual learning rate is 3e-4.
    """
    estimator = taking_extra_args(hessian_diagonal_fn, "hessian_diagonal_fn")

    def rule(g: Array, mu: Array, nu: Array) -> Any:
        mu = ema(mu, g, b1)
        # With eps = 0 an update is 0 where nu <= 0.
        u = ratio(mu, jnp.maximum(scaled(nu, gamma), like(nu, eps)))
        if clip_threshold is not None:
            bound = like(u, clip_threshold)
            u = jnp.clip(u, -bound, bound)
        return u, (mu, nu)

    moments = elementwise(rule, _Moments, mu=Slot(dtype=mu_dtype, decay=b1, always_stored=True), nu=Slot(decay=1.0))

    def init(params: Params) -> SophiaState:
        averages = moments.init(params)
        return SophiaState(jnp.zeros((), jnp.int32), averages.mu, averages.nu, estimator.init(params))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        def new_curvature() -> Any:
            h, inner = estimator.update(updates, state.hessian_fn_state, params, **extra_args)
            hs = tree.match(tree.widen(h), state.nu, "the Hessian's diagonal", "state.nu")
            leaves, structure = tree.flatten(state.nu)
            pairs = zip(leaves, hs, strict=True)
            new = [x if x is None or tree.absent(v) else ema(x, v.astype(x.dtype), b2) for x, v in pairs]
            return structure.unflatten(new), inner

        due = state.count % update_interval == 0
        nu, inner = branch(due, new_curvature, lambda: (state.nu, state.hessian_fn_state))
        us, averages = moments.update(updates, _Moments(state.mu, nu), params)
        if verbose and print_win_rate_every_n_steps:
            _print_win_rate(us, state.count, clip_threshold, print_win_rate_every_n_steps)
        return us, SophiaState(safe_increment(state.count), averages.mu, averages.nu, inner)

    core = GradientTransformationExtraArgs(init, update)
    core = core.declaring(grain="leafwise", state_classes=(SophiaState,), slots=("mu", "nu"))
    return chain(core, add_decayed_weights(weight_decay, weight_decay_mask), scale_by_learning_rate(learning_rate))


def _print_win_rate(us: Updates, count: Count, threshold: Any, every: int) -> None:
    bound = jnp.inf if threshold is None else threshold
    share = sum(jnp.sum(jnp.abs(u) < bound) for u in tree.leaves(us)) / max(sum(u.size for u in tree.leaves(us)), 1)

    def print_share() -> None:
        jax.debug.print("Sophia: {share:.1%} of the updates are not clipped", share=share)

    branch(count % every == 0, print_share, lambda: None)
