"""Gradient accumulation: several micro-steps per optimizer step."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp

from .. import checks, tree
from ..core.members import around
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..lift.grains import Slot, elementwise
from ..numerics import now, safe_increment, scalar_dtype, scaled
from ..transforms.momentum import ema
from ..tree.coded import decoded, is_coded
from ..types import Array, Count, DType, Params, Scalar, Schedule, TransformationLike, Updates
from .gate import either, finite, fitted, present, restored, seeing_all, zero_updates
from .skip import skip_not_finite


class MultiStepsState(NamedTuple):
    mini_step: Count
    gradient_step: Count
    inner_opt_state: Any
    acc_grads: Any
    skip_state: Any = ()


class _Sum(NamedTuple):
    acc_grads: Updates


def one_then_two(gradient_step: Count) -> Any:
    return jnp.where(gradient_step < 1, 1, 2)


@register(
    example(ema(0.9), 2),
    example(ema(0.9), one_then_two, use_grad_mean=False),
    example(ema(0.9), 2, should_skip_update_fn=skip_not_finite),
    example(ema(0.9), 2, nonfinite="skip"),
    ranges={"every_k_schedule": checks.Range(1, integer=True, schedule=True)},
    errors=[
        (example(1, 2), "opt must be a transformation (init, update), got 1"),
        (example(ema(0.9), 2, nonfinite="no"), "nonfinite must be 'propagate' or 'skip', got 'no'"),
        (
            example(ema(0.9), 2, should_skip_update_fn=1),
            "should_skip_update_fn must be a function (updates",
        ),
    ],
)
class MultiSteps(GradientTransformationExtraArgs):
    """Accumulate the gradients of several micro-steps, then take one step of `opt` with their mean.

        a <- a + (g - a) / n  at the n-th micro-step of a window; u = opt(a) at its end, 0 before

    It is a transformation and may be a member of a chain. `has_updated` tells whether the last call took a step;
    `flush` takes a step with the gradients of an unfinished window.

    Args:
      opt: the transformation that receives the mean.
      every_k_schedule: number of micro-steps in a window, an integer >= 1 or a function of the steps taken so far.
      use_grad_mean: whether opt receives the mean; False for the sum.
      should_skip_update_fn: function (updates, gradient_step, params) -> (skip, state), such as `skip_not_finite`; a
        micro-step that it skips does not count.
      accumulator_dtype: dtype of acc_grads; None keeps the parameter's, at least float32.
      nonfinite: "skip" leaves non-finite gradients out of the mean without lengthening the window; "propagate" keeps
        them.
    State:   MultiStepsState(mini_step, gradient_step, inner_opt_state, acc_grads, skip_state): acc_grads shaped like
             params, 4 bytes per float32 parameter.
    Differs: after a skipped micro-step `has_updated` is False, where Optax may return True. Each window starts from
             zero, where a NaN stays in Optax's accumulator for good.
    When:    the batch that the optimizer needs does not fit into memory.
    """

    def __new__(
        cls,
        opt: TransformationLike,
        every_k_schedule: Scalar | Schedule,
        use_grad_mean: bool = True,
        should_skip_update_fn: Any = None,
        accumulator_dtype: DType = None,
        *,
        nonfinite: Literal["propagate", "skip"] = "propagate",
    ) -> Self:
        member = taking_extra_args(opt, "opt")
        checks.choice("nonfinite", nonfinite, ("propagate", "skip"))
        if should_skip_update_fn is not None:
            checks.function(
                "should_skip_update_fn",
                should_skip_update_fn,
                "a function (updates, gradient_step, params) -> (skip, state)",
                arity=3,
            )
        counts = nonfinite == "skip"
        window = _Window(member, every_k_schedule, use_grad_mean, should_skip_update_fn, accumulator_dtype, counts)
        plain = around(
            member,
            window.init,
            window.update,
            inner=lambda state: state.inner_opt_state,
            grain=window.grain,
            state_classes=(MultiStepsState,),
            slots=("acc_grads",),
        )
        new = tuple.__new__(cls, plain)._rebuilt(*plain, plain.facts)
        new.inner_opt, new.window = member, window
        return new

    inner_opt: GradientTransformationExtraArgs
    window: "_Window"

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        assert self.call is not None
        return self.call.args, self.call.kwargs

    def has_updated(self, state: MultiStepsState) -> Array:
        """Whether the last call of `update` took a step of `opt`.

        Args:
          state: the state that the call returned.
        """
        return self.window.has_updated(state)

    @checks.entrance("MultiSteps")
    def flush(self, state: MultiStepsState, params: Any = None, **extra_args: Any) -> tuple[Any, MultiStepsState]:
        """Take a step with the gradients of an unfinished window; the update is zero if the window is empty.

        Args:
          state: the state of the last update.
          params: the parameters, if `opt` needs them.
          extra_args: passed to the update of `opt`.
        """
        return self.window.flush(state, params, extra_args)

    def gradient_transformation(self) -> Self:
        """This transformation itself; Optax's `MultiSteps` needs the conversion."""
        return self


class _Window:
    """The micro-steps between two steps of `opt`."""

    def __init__(
        self, member: GradientTransformationExtraArgs, every_k: Any, mean: bool, judge: Any, dtype: DType, counts: bool
    ) -> None:
        self.member, self.every_k, self.judge, self.counts = member, every_k, judge, counts
        self.grain = None if judge is not None and judge is not skip_not_finite else seeing_all(member)
        if judge is None and not self.counts:
            self.grain = member.grain

        def rule(g: Array, acc_grads: Array, weight: Array) -> Any:
            return g, acc_grads + (scaled(g - acc_grads, weight) if mean else g)

        slot = Slot(dtype=dtype, decay=1.0)
        self.fold = elementwise(rule, _Sum, scalars=lambda weight: {"weight": weight}, acc_grads=slot)

    def init(self, params: Params) -> MultiStepsState:
        acc_grads = self.fold.init(params).acc_grads
        skip_state: Any = ()
        if self.judge is not None:
            like = jax.eval_shape(lambda: self.judge(decoded(acc_grads), jnp.zeros((), jnp.int32), params)[1])
            skip_state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
        if self.counts:
            skip_state = {"counted": jnp.zeros((), jnp.int32), "by_function": skip_state}
        mini_step, gradient_step = (jnp.zeros((), jnp.int32) for _ in range(2))
        return MultiStepsState(mini_step, gradient_step, self.member.init(params), acc_grads, skip_state)

    def update(self, updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        k = now(self.every_k, state.gradient_step) if callable(self.every_k) else self.every_k
        folded: Any = True
        advances: Any = True
        skip_state, n = self._judged(state), self._counted(state)
        if self.judge is not None:
            skip, skip_state = self.judge(updates, state.gradient_step, params)
            folded = advances = jnp.logical_not(skip)
        if self.counts:
            folded &= finite(updates)

        here, weight = present(updates), 1 / (n + 1).astype(scalar_dtype())

        def fold() -> Any:
            return self.fold.update(here, _Sum(state.acc_grads), weight=weight)[1].acc_grads

        def accumulated() -> Any:
            return either(folded, fold, lambda: state.acc_grads)

        n = jnp.where(folded, n + 1, n)
        mini_step = jnp.where(advances, safe_increment(state.mini_step), state.mini_step)
        closes = advances & (mini_step >= k)
        steps = closes & (n > 0)
        new, inner_state, acc = self._step(steps, accumulated, state, params, extra_args, here)
        return restored(new, updates), self._state(state, closes, steps, mini_step, n, inner_state, acc, skip_state)

    @checks.entrance("MultiSteps")
    def flush(self, state: MultiStepsState, params: Any, extra_args: Any) -> tuple[Any, MultiStepsState]:
        n = self._counted(state)
        acc_grads = decoded(state.acc_grads)
        like = tree.cast_like(acc_grads, acc_grads if params is None else params)
        updates, inner_state, acc = self._step(n > 0, lambda: state.acc_grads, state, params, extra_args, like)
        return updates, self._state(state, True, n > 0, state.mini_step, n, inner_state, acc, self._judged(state))

    def has_updated(self, state: MultiStepsState) -> Array:
        updated: Array = (state.mini_step == 0) & (state.gradient_step > 0)
        judged = self._judged(state)
        if isinstance(judged, Mapping) and "should_skip" in judged:
            updated &= ~judged["should_skip"]
        if self.counts:
            updated &= state.skip_state["counted"] > 0
        return updated

    def _judged(self, state: MultiStepsState) -> Any:
        return state.skip_state["by_function"] if self.counts else state.skip_state

    def _counted(self, state: MultiStepsState) -> Count:
        """Number of gradients in the current window.

        A closed window's count is kept in the state until here, because `has_updated` reads it.
        """
        return jnp.where(state.mini_step == 0, 0, state.skip_state["counted"]) if self.counts else state.mini_step

    def _step(
        self, taken: Any, accumulated: Any, state: Any, params: Any, extra_args: Any, updates: Any
    ) -> tuple[Any, Any, Any]:
        """Take a step if `taken`; return the update, the inner state and the accumulator after it."""
        like = state.acc_grads
        places = tree.structure(like).unflatten(tree.match(updates, like, "updates", "state.acc_grads"))

        # Accumulate inside the branches: where no step is taken, XLA then adds in place.
        def do() -> Any:
            acc = accumulated()
            mean = tree.map(lambda _, a: a, places, decoded(acc))
            new, inner_state = self.member.update(mean, state.inner_opt_state, params, **extra_args)
            emptied = tree.map(lambda a, m: a if m is None else _zeros(a), acc, mean)
            return jax.tree.leaves(restored(new, updates)), fitted(inner_state, state.inner_opt_state), emptied

        def leave() -> Any:
            return jax.tree.leaves(zero_updates(updates)), state.inner_opt_state, accumulated()

        new, inner_state, acc = either(taken, do, leave)
        return restored(new, updates), inner_state, acc

    def _state(
        self, old: Any, closes: Any, stepped: Any, mini_step: Any, n: Any, inner_state: Any, acc: Any, judged: Any
    ) -> MultiStepsState:
        gradient_step = jnp.where(stepped, safe_increment(old.gradient_step), old.gradient_step)
        judged = fitted(judged, self._judged(old))
        skip_state = {"counted": n, "by_function": judged} if self.counts else judged
        return MultiStepsState(jnp.where(closes, 0, mini_step), gradient_step, inner_state, acc, skip_state)


def _zeros(x: Any) -> Any:
    return x.emptied() if is_coded(x) else zero_updates(x)
