"""A mistake shows the user's own lines, at most one frame of this library, then one sentence."""

import os
import re
import traceback

import jax  # noqa: F401 - in the texts below
import jax.numpy as jnp
import pytest

import optim

LIBRARY = os.path.join(os.path.dirname(optim.__file__), "")
P = {"w": jnp.ones(3)}
WIDER = {"w": jnp.ones(4)}
ADAM = optim.adam(0.1)
CHAIN = optim.chain(optim.clip_by_global_norm(1.0), ADAM)


def update(tx, updates=WIDER, **extra):
    return tx.update(updates, tx.init(P), P, **extra)


def step(loss_fn, params=P, **options):
    return optim.make_step(loss_fn, ADAM, **options)(params, ADAM.init(P))


def loss(params):
    return jnp.sum(params["w"])


def wrong_schedule(count):
    return optim.tree.add(P, WIDER)["w"]


SHAPES = "updates['w'] has shape (4,), params['w'] has (3,)"
MISTAKES = {
    # An argument
    "optim.adam(1.0, b1=2)": "adam: b1 must be in [0, 1), got 2",
    "optim.adam(0.1, beta1=0.9)": "adam: no argument 'beta1'; did you mean 'b1'?",
    "optim.inject_hyperparams(optim.adam)(0.1, b3=0)": "inject_hyperparams(adam): no argument 'b3'; it takes",
    "optim.MultiSteps(ADAM, 0)": "MultiSteps: every_k_schedule must be an integer >= 1, got 0",
    "optim.keras.Adam(learning=0.1)": "Unexpected keyword argument passed to optimizer: learning",
    "optim.keras.get('adamm')": "Unknown optimizer: adamm; did you mean 'adam'",
    "optim.get('adamm')": "optim: no factory named 'adamm' is registered; did you mean 'adam'",
    "optim.from_config({'name': 'chain', 'args': [{'name': 'adam'}]})": "adam: missing a required argument",
    "optim.to_config(optim.sgd(lambda count: 0.1))": "which has no form in JSON",
    "optim.register()(lambda name: name)": "has an argument 'name', a word that configs need",
    "optim.replace(ADAM, 'scale_by_adam', b2=2.0)": "scale_by_adam: b2 must be in [0, 1), got 2.0",
    "optim.replace(ADAM, 'trace', decay=0.5)": "replace: there is no 'trace' in adam(0.1)",
    "optim.with_extra_args_support(1)": "with_extra_args_support: tx must be a transformation (init, update), got 1",
    "optim.projections.projection_box(P, 1.0, 0.0)": "projection_box: lower must be <= upper",
    "optim.pack(P, max_leaf=-1)": "pack: max_leaf must be an integer >= 0",
    "optim.microbatch(loss, 0, 2)(P)": "microbatch: microbatch_size 2 must divide the batch of 3",
    # A tree, a state
    "update(ADAM)": f"adam: {SHAPES}",
    "update(CHAIN)": f"chain[1] adam: {SHAPES}",
    "jax.jit(update, static_argnums=0)(ADAM)": f"adam: {SHAPES}",
    "jax.jit(lambda g: update(CHAIN, g))(WIDER)": f"chain[1] adam: {SHAPES}",
    "jax.vmap(lambda g: update(ADAM, {'w': g}))(jnp.ones((2, 4)))": f"adam: {SHAPES}",
    "update(optim.masked(ADAM, True))": f"masked[0] scale_by_adam: {SHAPES}",
    "optim.adam(0.1).init({'w': jnp.tanh})": "adam: params['w'] is the function tanh, expected an array",
    "optim.apply_updates(P, WIDER)": f"apply_updates: {SHAPES}",
    "jax.jit(optim.apply_updates)(P, WIDER)": f"apply_updates: {SHAPES}",
    "optim.tree.add(P, WIDER)": "tree.add: tree_y['w'] has shape (4,), tree_x['w'] has (3,)",
    "optim.tree.norm(P, 3)": "tree.norm: ord must be None, 1, 2 or 'inf', got 3",
    "optim.tree.set(ADAM.init(P), mu=1)": "tree.set: ",
    "optim.tree.get((ADAM.init(P), ADAM.init(WIDER)), 'mu')": "tree.get: state[0][0].mu and state[1][0].mu are several",
    "optim.state_dict(ADAM, P)": "state_dict: state is not one of adam(0.1): state must be a tuple of 2",
    "optim.load_state_dict(ADAM, ADAM.init(P), {})": "load_state_dict: d must be a mapping",
    "optim.inspect(1, ())": "inspect: tx must be a transformation (init, update), got 1",
    "optim.eval_params(ADAM, P, P)": "eval_params: state must be a tuple of 2",
    "optim.label_by_path([('v', 0)])(P)": "label_by_path: no pattern matches 'w'",
    "update(optim.sgd(wrong_schedule), P)": "tree_y['w'] has shape (4,)",
    # A step
    "optim.make_step(1, ADAM)": "make_step: loss_fn must be a function, got 1",
    "optim.make_update(ADAM)(P, ADAM.init(P), WIDER)": f"adam: {SHAPES}",
    "optim.make_update(ADAM)(P, ADAM.init(P), {'w': loss})": "make_update: grads['w'] is the function loss, expected",
    "step(loss, {'w': P['w'], 'f': jnp.tanh})": "make_step: params['f'] is the function tanh, expected an array; ",
    "step(lambda p: p['w'])": "the result of loss_fn must be a scalar, got an array of shape (3,) and dtype float32; ",
    "step(lambda p: (loss(p), 1))": "must be a scalar, got a tuple of an array of shape () and dtype float32, 1;"
    " with has_aux=True it may be (loss, aux)",
    "step(loss, has_aux=True)": "make_step: loss_fn must return (loss, aux), as has_aux=True says, got an array",
    "step(lambda p: None)": "make_step: the result of loss_fn must be a scalar, got None",
    "step(lambda p: jax.lax.complex(loss(p), 0.0))": "the result of loss_fn must be real and floating, got complex64",
    "step(lambda p: (p['w'], 1), has_aux=True)": "make_step: the loss that loss_fn returns must be a scalar, got an",
    "step(lambda p: optim.tree.sum(optim.tree.add(p, WIDER)))": "tree.add: tree_y['w'] has shape (4,)",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_traceback_is_short(mistake):
    with pytest.raises(Exception, match=re.escape(MISTAKES[mistake])) as raised:
        eval(mistake)
    frames = [frame.filename for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert sum(name.startswith(LIBRARY) for name in frames) <= 1
    assert not any(f"{os.sep}jax{os.sep}" in name for name in frames[1:] if "lambda" not in mistake)
    text = "".join(traceback.format_exception(raised.value))
    assert "JAX has removed its internal frames" not in text
    assert "The above exception" not in text


def test_the_line_in_a_loss_is_shown():
    def wrong(params):
        return optim.tree.sum(optim.tree.add(params, WIDER))

    with pytest.raises(ValueError, match="tree_y") as raised:
        step(wrong)
    assert "wrong" in [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
