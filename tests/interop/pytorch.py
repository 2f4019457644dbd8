"""Shared by the tests with PyTorch: a small network in both, and optimizers that take the same steps."""

import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

torch = pytest.importorskip("torch", reason="torch is not installed")
STEPS = 8
X, Y = np.cos(np.arange(48.0)).reshape(16, 3), np.sin(np.arange(16.0)).reshape(16, 1)
MAPPING = {
    "hidden": {"kernel": ("0.weight", np.transpose), "bias": "0.bias"},
    "out": {"kernel": ("2.weight", np.transpose), "bias": "2.bias"},
}
FLAT = {f"{layer}/{leaf}": place for layer, leaves in MAPPING.items() for leaf, place in leaves.items()}


def network(dtype=torch.float64):
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).to(dtype)


def as_params(model):
    arrays = {n: p.detach().to(torch.float64).numpy().copy() for n, p in model.named_parameters()}
    return jax.tree.map(
        lambda place: jnp.asarray(place[1](arrays[place[0]]) if isinstance(place, tuple) else arrays[place]),
        MAPPING,
        is_leaf=lambda x: not isinstance(x, dict),
    )


def train(model, optimizer, steps, scheduler=None):
    x, y = torch.tensor(X), torch.tensor(Y)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - y).pow(2).mean().backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


def loss(params):
    hidden = jnp.tanh(X @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return jnp.mean((hidden @ params["out"]["kernel"] + params["out"]["bias"] - Y) ** 2)


def continue_training(tx, state, params, steps=STEPS):
    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return optim.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
    return params, state


def max_difference(a, b):
    return max(float(jnp.max(jnp.abs(x - y))) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def amsgrad(lr, b1, b2, eps):
    """As documented in optim/interop/torch.py, with strict dtype promotion."""
    rule = optim.inject_hyperparams(optim.scale_by_adam_eps_hat)
    core = rule(b1, b2, lambda n: eps * (1 - b2 ** jnp.asarray(n + 1, float)) ** 0.5, amsgrad=True)
    return optim.chain(core, optim.scale_by_learning_rate(lr))


def decayed(tx, weight_decay=0.1):
    return optim.chain(optim.add_decayed_weights(weight_decay), tx)


def rms(scale, *more, lr=0.01):
    return optim.chain(scale(0.99, 1e-8, eps_in_sqrt=False), *more, optim.scale_by_learning_rate(lr))


def step_decay(lr):
    return optim.exponential_decay(lr, 1, 0.9)


CASES = {
    "sgd": (lambda p: torch.optim.SGD(p, 0.1), optim.sgd(0.1)),
    "sgd_momentum": (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), optim.sgd(0.1, momentum=0.9)),
    "sgd_nesterov": (
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        decayed(optim.sgd(0.1, momentum=0.9, nesterov=True)),
    ),
    "sgd_keras": (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), optim.keras.SGD(0.1, momentum=0.9)),
    "adam": (lambda p: torch.optim.Adam(p, 0.01), optim.adam(0.01)),
    "adam_betas": (lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.95), 1e-3), optim.adam(0.01, 0.8, 0.95, 1e-3)),
    "adam_coupled": (lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1), decayed(optim.adam(0.01))),
    "adam_no_momentum": (lambda p: torch.optim.Adam(p, 0.01, (0.0, 0.95)), optim.adam(0.01, 0.0, 0.95)),
    "adam_amsgrad": (lambda p: torch.optim.Adam(p, 0.1, (0.5, 0.6), 1e-3, amsgrad=True), amsgrad(0.1, 0.5, 0.6, 1e-3)),
    "adamw": (lambda p: torch.optim.AdamW(p, 0.01), optim.adamw(0.01, weight_decay=0.01)),
    "adamw_clipped": (
        lambda p: torch.optim.AdamW(p, 0.01),
        optim.chain(optim.clip_by_global_norm(1e6), optim.adamw(0.01, weight_decay=0.01)),
    ),
    "adamw_injected": (
        lambda p: torch.optim.AdamW(p, 0.01),
        optim.inject_hyperparams(optim.adamw)(0.01, weight_decay=0.01),
    ),
    "adamw_if_finite": (
        lambda p: torch.optim.AdamW(p, 0.01),
        optim.apply_if_finite(optim.named_chain(("all", optim.adamw(0.01, weight_decay=0.01))), 3),
    ),
    "rmsprop": (lambda p: torch.optim.RMSprop(p, 0.01), rms(optim.scale_by_rms)),
    "rmsprop_momentum": (
        lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9),
        rms(optim.scale_by_rms, optim.trace(0.9)),
    ),
    "rmsprop_rate_inside": (
        lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9),
        optim.rmsprop(0.01, 0.99, eps_in_sqrt=False, momentum=0.9),
    ),
    "rmsprop_centered": (
        lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9, centered=True),
        rms(optim.scale_by_stddev, optim.trace(0.9)),
    ),
    "adagrad": (
        lambda p: torch.optim.Adagrad(p, 0.1),
        optim.chain(optim.scale_by_adagrad(0.0, 1e-10), optim.scale(-0.1)),
    ),
    "adagrad_decay": (
        lambda p: torch.optim.Adagrad(p, 0.1, lr_decay=0.1, initial_accumulator_value=0.2),
        optim.chain(
            optim.scale_by_adagrad(0.0, 1e-10), optim.scale_by_learning_rate(optim.inverse_time_decay(0.1, 1, 0.1))
        ),
    ),
}


@functools.cache
def _trained(name):
    model = network()
    optimizer = CASES[name][0](model.named_parameters())
    train(model, optimizer, 2)
    return optimizer.state_dict(), as_params(model)


def trained(name):
    """A copy of the state dict of a case after two steps, and the parameters."""
    state_dict, params = _trained(name)
    return copy.deepcopy(state_dict), params
