"""`torch.optim`, `torch.nn.utils` and `torch.optim.swa_utils`."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

import optim

from . import (
    COMPLEX,
    MATRICES,
    STEPS,
    TREE,
    VECTOR,
    arrays_of,
    case,
    changing,
    gradient,
    loss,
    number,
    set_gradients,
    slope,
    tensors,
    torch_steps,
)

L = 0.1
rate = optim.scale_by_learning_rate
decayed = optim.add_decayed_weights

case("torch.optim.SGD", optim.sgd(L), lr=L)
case("torch.optim.SGD", optim.sgd(L, 0.9), lr=L, momentum=0.9)
case("torch.optim.SGD", optim.sgd(L, 0.9, True), lr=L, momentum=0.9, nesterov=True)
case("torch.optim.SGD", optim.chain(decayed(0.1), optim.sgd(L)), lr=L, weight_decay=0.1)
case("torch.optim.Adam", optim.adam(L), lr=L)
case("torch.optim.Adam", optim.adam(L), params=COMPLEX, lr=L)
case("torch.optim.Adam", optim.split_real_and_imaginary(optim.adam(L)), params=COMPLEX, lr=L)
case("torch.optim.AdamW", optim.adamw(L, weight_decay=0.1), lr=L, weight_decay=0.1)
case("torch.optim.Adamax", optim.adamax(L), lr=L)
case("torch.optim.Adagrad", optim.chain(optim.scale_by_adagrad(0.0, 1e-10), rate(L)), lr=L)
case("torch.optim.Adadelta", optim.adadelta(L), lr=L)
case("torch.optim.RMSprop", optim.rmsprop(L, 0.99, eps_in_sqrt=False, momentum=0.9), lr=L, momentum=0.9)
case("torch.optim.RMSprop", optim.rmsprop(L, 0.99, eps_in_sqrt=False, centered=True), lr=L, centered=True)
case("torch.optim.Rprop", optim.rprop(L), lr=L)
case("torch.optim.NAdam", optim.chain(optim.scale_by_nadam(eps=1e-8), rate(L)), lr=L)
# A momentum that has stopped rising is a constant momentum.
case("torch.optim.NAdam", optim.nadam(L), lr=L, momentum_decay=1e9)
case(
    "torch.optim.NAdam",
    optim.nadamw(L, weight_decay=0.1),
    lr=L,
    momentum_decay=1e9,
    weight_decay=0.1,
    decoupled_weight_decay=True,
)


def corrected(count: Any, b2: float = 0.999) -> Any:
    """1 - b2^t."""
    return 1 - b2 ** number(count)


# There eps is added to the uncorrected root.
case("torch.optim.RAdam", optim.radam(L, eps=0.0), 1e-10, lr=L, eps=0.0)
case(
    "torch.optim.RAdam",
    optim.chain(optim.inject_hyperparams(optim.scale_by_radam)(eps=lambda n: 1e-2 / corrected(n) ** 0.5), rate(L)),
    1e-10,
    lr=L,
    eps=1e-2,
)
# There, as here, the largest uncorrected moment is corrected. In the paper nothing is.
case(
    "torch.optim.Adam",
    optim.chain(optim.scale_by_adam_eps_hat(eps=0.0, amsgrad=True), rate(L)),
    lr=L,
    eps=0.0,
    amsgrad=True,
)
case(
    "torch.optim.Adam",
    optim.amsgrad(
        lambda n: L * corrected(n) ** 0.5 / corrected(n, 0.9),
        eps=0.0,
        bias_correction_mu=False,
        bias_correction_nu=False,
    ),
    lr=L,
    eps=0.0,
    amsgrad=True,
)
# There the learning rate is at most 1 / sqrt(t), and the factored axes are the last two, here the two longest.
case("torch.optim.Adafactor", optim.adafactor(L, min_dim_size_to_factor=2), lr=L)
case("torch.optim.Adafactor", optim.adafactor(lambda n: number(n) ** -0.5, min_dim_size_to_factor=2), lr=1.0)


def averaged_sgd(lr: float, decay: float, alpha: float) -> Any:
    return optim.chain(
        decayed(decay), optim.sgd(lambda n: lr / (1 + decay * lr * (number(n) - 1)) ** alpha), optim.average_params()
    )


case("torch.optim.ASGD", averaged_sgd(L, 0.01, 0.75), lr=L, lambd=0.01)


def asgd_averages(cls: Any, arguments: Any, params: Any) -> Any:
    ps, steps = tensors(params), []
    optimizer = cls(ps, **arguments)
    for n in range(STEPS):
        set_gradients(ps, params, n)
        optimizer.step()
        steps.append(arrays_of([optimizer.state[p]["ax"] for p in ps], params))
    return steps


case(
    "torch.optim.ASGD", averaged_sgd(L, 0.01, 0.75), 1e-11, run=asgd_averages, evaluated=True, lr=L, lambd=0.01, t0=-1.0
)


def one_iteration(cls: Any, arguments: Any, params: Any) -> Any:
    """One iteration a step, without a line search, and without the tests that end it early."""
    ps, steps = tensors(params), []
    optimizer = cls(ps, max_iter=1, tolerance_grad=0.0, tolerance_change=0.0, **arguments)

    def closure() -> float:
        for p in ps:
            p.grad = slope(p.detach())
        return 1.0

    for _ in range(STEPS):
        optimizer.step(closure)
        steps.append(arrays_of(ps, params))
    return steps


# The first step is divided by |g|_1 there and by |g|_2 here.
first = np.concatenate([np.ravel(slope(p)) for p in TREE.values()])
ratio = float(np.linalg.norm(first) / np.sum(np.abs(first)))
case(
    "torch.optim.LBFGS",
    optim.lbfgs(lambda n: jnp.where(number(n) == 1, 0.5 * ratio, 0.5), 3, linesearch=None),
    1e-10,
    run=one_iteration,
    sloped=True,
    lr=0.5,
    history_size=3,
)


def in_float64(cls: Any, arguments: Any, params: Any) -> Any:
    """With matrices that are orthogonalised in float64, in place of bfloat16."""
    import torch

    rounded = torch.Tensor.bfloat16
    torch.Tensor.bfloat16 = lambda x: x.clone()
    try:
        return torch_steps(cls, arguments, params)
    finally:
        torch.Tensor.bfloat16 = rounded


layout = {"muon_weight_dimension_numbers": optim.MuonDimensionNumbers(1, 0)}  # (out, in)
muon = functools.partial(case, params=MATRICES, run=in_float64, lr=L, weight_decay=0.1)
muon("torch.optim.Muon", optim.muon(L, eps=0.0, weight_decay=0.1, **layout))
muon("torch.optim.Muon", optim.muon(L, eps=0.0, weight_decay=0.1, nesterov=False, **layout), nesterov=False)
muon(
    "torch.optim.Muon",
    optim.muon(L, eps=0.0, weight_decay=0.1, consistent_rms=0.2, **layout),
    adjust_lr_fn="match_rms_adamw",
)
muon("muon.SingleDeviceMuon", optim.muon(L, eps=1e-7, weight_decay=0.1, **layout))

# Gradients

case("torch.nn.utils.clip_grad_value_", optim.chain(optim.clip(0.5), optim.sgd(L)), run=changing, clip_value=0.5)
# There 1e-6 is added to the norm.
case(
    "torch.nn.utils.clip_grad_norm_",
    optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(L)),
    1e-5,
    run=changing,
    max_norm=1.0,
)


def normalized(function: Any, arguments: Any, params: Any) -> Any:
    def change(ps: list[Any]) -> None:
        for p in ps:
            p.grad = function(p.grad, dim=0, **arguments)

    return changing(change, {}, params)


# There the norm is at least eps, here eps is added to it.
unit = functools.partial(case, "torch.nn.functional.normalize", run=normalized, params=VECTOR)
unit(optim.chain(optim.normalize(), optim.sgd(L)), eps=0.0)
unit(optim.chain(optim.normalize_by_update_norm(eps=0.0), optim.sgd(L)), eps=0.0)


def on_the_mean(cls: Any, arguments: Any, params: Any) -> Any:
    return accumulated(cls, arguments, params, 3)


def accumulated(cls: Any, arguments: Any, params: Any, divisor: int = 1) -> Any:
    """A step on the sum of three gradients, each divided by `divisor`."""
    import torch

    ps, steps = tensors(params), []
    optimizer = cls(ps, **arguments)
    for n in range(STEPS):
        for p, g in zip(ps, gradient(params, n).values(), strict=True):
            (p * torch.tensor(g)).sum().div(divisor).backward()
        if n % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
        steps.append(arrays_of(ps, params))
    return steps


case("torch.optim.Adam", optim.MultiSteps(optim.adam(L), 3), run=on_the_mean, lr=L)
case("torch.optim.SGD", optim.chain(optim.sgd(L), optim.apply_every(3)), run=accumulated, lr=L)


def on_plateaus(cls: Any, arguments: Any, params: Any) -> Any:
    """SGD whose scheduler sees the loss before each step."""
    import torch

    schedulers: list[Any] = []

    def make(ps: list[Any]) -> Any:
        optimizer = torch.optim.SGD(ps, L)
        schedulers.append(cls(optimizer, **arguments))
        return optimizer

    def step(optimizer: Any, n: int) -> None:
        schedulers[0].step(loss(n))
        optimizer.step()

    return torch_steps(make, {}, params, step=step)


# Its patience is the number of updates without progress that change nothing, here the number that changes the rate.
case(
    "torch.optim.lr_scheduler.ReduceLROnPlateau",
    optim.chain(optim.sgd(L), optim.reduce_on_plateau(0.5, 2, cooldown=1)),
    run=on_plateaus,
    extra=lambda n: {"value": loss(n)},
    factor=0.5,
    patience=1,
    cooldown=1,
    eps=0.0,
)


# Parameters


def of_groups(cls: Any, arguments: Any, params: Any) -> Any:
    """A group of parameters with another learning rate, one without weight decay."""

    def grouped(ps: list[Any], **more: Any) -> Any:
        return cls([{"params": ps[:1], "lr": 0.01}, {"params": ps[1:], "weight_decay": 0.0}], **more)

    return torch_steps(grouped, arguments, params)


case(
    "torch.optim.AdamW",
    optim.partition({"w": optim.adamw(0.01, weight_decay=0.1), "b": optim.adam(L)}, {"w": "w", "b": "b"}),
    run=of_groups,
    lr=L,
    weight_decay=0.1,
)


def of_frozen(cls: Any, arguments: Any, params: Any) -> Any:
    """The first parameter has no gradient."""

    def no_gradient(ps: list[Any]) -> None:
        ps[0].grad = None

    return torch_steps(cls, arguments, params, before=no_gradient)


case(
    "torch.optim.Adam",
    optim.selective_transform(optim.adam(L), freeze_mask={"w": True, "b": False}),
    run=of_frozen,
    lr=L,
)
case(
    "torch.optim.Adam",
    optim.chain(optim.masked(optim.adam(L), {"w": False, "b": True}), optim.freeze({"w": True, "b": False})),
    run=of_frozen,
    lr=L,
)


def averages(cls: Any, arguments: Any, params: Any) -> Any:
    """The average of the points of SGD; of decaying ones with the first parameters, as here."""
    import torch

    ps = tensors(params)
    model = torch.nn.ParameterDict(dict(zip(params, ps, strict=True)))
    decay, steps = arguments.get("decay"), []
    function = None if decay is None else torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
    average, optimizer = cls(model, multi_avg_fn=function), torch.optim.SGD(ps, 0.1)
    if decay is not None:
        average.update_parameters(model)
    for n in range(STEPS):
        set_gradients(ps, params, n)
        optimizer.step()
        average.update_parameters(model)
        steps.append(arrays_of([average.module[name] for name in params], params))
    return steps


swa = functools.partial(case, "torch.optim.swa_utils.AveragedModel", run=averages, evaluated=True)
swa(optim.chain(optim.sgd(L), optim.average_params()), 1e-10)
swa(optim.chain(optim.sgd(L), optim.average_params(0.9)), 1e-10, decay=0.9)
