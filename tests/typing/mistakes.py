"""What type checkers must find: an error on every line with the word `wrong` behind it, and on no other."""

from typing import Any

import jax
import jax.numpy as jnp

import optim

params = {"w": jnp.ones(3)}
tx = optim.adam(0.1)

# A factory that was not called; what is no transformation
optim.chain(optim.adam)  # wrong
optim.chain("adam")  # wrong
optim.chain([optim.adam(0.1), optim.clip(1.0)])  # wrong
optim.named_chain(optim.adam(0.1))  # wrong
optim.masked(optim.adam, True)  # wrong
optim.partition({"a": optim.adam}, "a")  # wrong
optim.MultiSteps(optim.adam, 2)  # wrong
optim.lookahead(1, 5, 0.5)  # wrong
optim.make_update(optim.adam)  # wrong
optim.inject_hyperparams(optim.adam(0.1))  # wrong
optim.inject_hyperparams("adam")  # wrong
optim.state_dict("adam", ())  # wrong

# Arguments
optim.adam()  # wrong
optim.adam("0.1")  # wrong
optim.adam(0.1, beta1=0.9)  # wrong
optim.adam(0.1, nesterov="no")  # wrong
optim.sgd(learning_rate=[0.1])  # wrong
optim.MultiSteps(tx, 2, nonfinite="drop")  # wrong
optim.elementwise(1)  # wrong
optim.wrap(tx, lambda u: u, grain="element")  # wrong
optim.make_step(1.0, tx)  # wrong

# Calls
tx.init()  # wrong
tx.update(params)  # wrong
tx.step(params)  # wrong
optim.apply_updates(params)  # wrong
moved: int = optim.apply_updates(params, params)  # wrong
updates: jax.Array = tx.update(params, tx.init(params), params)  # wrong
step: optim.GradientTransformation = optim.make_step(lambda params: jnp.ones(()), tx)  # wrong

# Names
optim.adamm(0.1)  # wrong
optim.AdamW(0.1)  # wrong
optim.tree.zeros_lik(params)  # wrong
optim.schedules.cosine(0.1)  # wrong
optim.transforms.multi_steps(tx, 2)  # wrong
optim.contrib.adam(0.1)  # wrong
optim.second_order.hessian(1)  # wrong


@optim.register()
def mine(scale: float = 1.0) -> optim.GradientTransformationExtraArgs:
    return optim.scale(scale)


mine(factor=1.0)  # wrong
rest: Any = mine(scale=1.0)
