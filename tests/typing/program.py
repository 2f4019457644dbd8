"""A user's program, as type checkers see it: every line must pass."""

from typing import Any, NamedTuple, assert_type

import jax
import jax.numpy as jnp

import optim
from optim import tree


class Model(NamedTuple):
    w: jax.Array
    b: jax.Array


Batch = tuple[jax.Array, jax.Array]


def loss_fn(params: Model, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean((x @ params.w + params.b - y) ** 2)


schedule = optim.warmup_cosine_decay_schedule(0.0, 1e-3, 100, 1000)
assert_type(schedule(0), jax.Array)
tx = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(schedule, b1=0.95, mask=lambda params: params))
assert_type(tx, optim.GradientTransformationExtraArgs)


def train_step(params: Model, state: optim.OptState, batch: Batch) -> tuple[Model, optim.OptState]:
    grads = jax.grad(loss_fn)(params, *batch)
    updates, state = tx.update(grads, state, params, value=jnp.ones(()))
    assert_type(optim.apply_updates(params, updates), Model)
    return optim.apply_updates(params, updates), state


# Whole steps
step, apply = optim.make_step(loss_fn, tx), optim.make_update(tx, donate=False)


def train(params: Model, batch: Batch) -> Model:
    state = tx.init(params)
    params, state, loss = step(params, state, *batch)
    assert_type(params, Model)
    params, state = apply(params, state, params, value=loss)
    step.lower(params, state, *batch).compile()
    params = optim.eval_params(tx, state, params)
    return optim.incremental_update(params, params, 0.5)


# Combinations
named = optim.named_chain(("clip", optim.clip(1.0)), ("adam", optim.adam(0.1)))
labels = optim.label_by_path([("*/b", "plain"), ("*", "decayed")])
parts = optim.partition({"plain": optim.sgd(0.1, 0.9), "decayed": optim.adamw(0.1)}, labels)
masked = optim.masked(optim.add_decayed_weights(0.1), lambda params: jax.tree.map(jnp.ndim, params))
pair = optim.chain((tx.init, tx.update), optim.lookahead(named, 5, 0.5), optim.apply_if_finite(parts, 3))
several = optim.MultiSteps(tx, every_k_schedule=4)
assert_type(several, optim.MultiSteps)
assert_type(several.has_updated(several.init({})), jax.Array)
injected = optim.inject_hyperparams(optim.adam)(learning_rate=schedule, b1=0.9)
assert_type(injected, optim.GradientTransformationExtraArgs)
assert_type(tree.set(several.init({}), mini_step=0), Any)
saved: dict[str, Any] = optim.state_dict(several, several.init({}))
assert_type(optim.replace(several, "adamw", b1=0.9), optim.MultiSteps)


# Namespaces
assert_type(optim.transforms.MultiSteps(tx, 4), optim.MultiSteps)
assert_type(optim.transforms.clip(1.0), optim.GradientTransformationExtraArgs)
assert_type(optim.contrib.prodigy(), optim.GradientTransformationExtraArgs)
assert_type(optim.schedules.inject_hyperparams(optim.adam)(0.1), optim.GradientTransformationExtraArgs)
skip: optim.ShouldSkipUpdateFunction = optim.transforms.skip_not_finite
pairs: tuple[jax.Array, jax.Array] = optim.assignment.hungarian_algorithm(jnp.ones((2, 3)))
diagonal: jax.Array = optim.second_order.hessian_diag(lambda p, x, y: jnp.sum(p * x), jnp.ones(2), jnp.ones(2), None)
in_parts = optim.experimental.microbatching.micro_grad(loss_fn, accumulator=optim.AccumulationType.MEAN)


# Rules
class TraceState(NamedTuple):
    trace: optim.Updates


def momentum(decay: float = 0.9) -> optim.GradientTransformationExtraArgs:
    def rule(g: jax.Array, trace: jax.Array) -> tuple[jax.Array, jax.Array]:
        trace = decay * trace + g
        return trace, trace

    return optim.elementwise(rule, TraceState, trace=optim.Slot(decay=decay))


def cautious(inner: optim.GradientTransformation) -> optim.GradientTransformation:
    return optim.wrap(inner, lambda u, g: jnp.where(u * g < 0, u, 0))


@optim.register(optim.example(0.1))
def mine(learning_rate: optim.ScalarOrSchedule, decay: float = 0.9) -> optim.GradientTransformationExtraArgs:
    return optim.chain(cautious(momentum(decay)), optim.scale_by_learning_rate(learning_rate))


assert_type(mine(0.1, decay=0.5), optim.GradientTransformationExtraArgs)
version: str = optim.__version__
