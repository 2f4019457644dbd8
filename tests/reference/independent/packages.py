"""Packages of optimizers for PyTorch, most of them their authors', and Keras."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import optim

from . import (
    KERNEL,
    MATRICES,
    STEPS,
    TREE,
    VECTOR,
    arrays_of,
    case,
    changing,
    loss,
    number,
    set_gradients,
    slope,
    stepping,
    tensors,
    torch_steps,
)

L = 0.1
rate = optim.scale_by_learning_rate

# Weight decay that is not decoupled is added to the gradient.
case("lion_pytorch.Lion", optim.lion(L, weight_decay=0.1), lr=L, weight_decay=0.1)
case("madgrad.MADGRAD", optim.madgrad(L), lr=L)
case("madgrad.MADGRAD", optim.madgrad(L, weight_decay=0.1), lr=L, weight_decay=0.1)
case("parameterfree.COCOB", optim.cocob())

# Adaptive learning rates. The first two sum up in float32.
corrected = {"use_bias_correction": True, "weight_decay": 0.1}
case("prodigyopt.Prodigy", optim.prodigy(weight_decay=0.1), 1e-8, **corrected)
case("pytorch_optimizer.Prodigy", optim.prodigy(), 1e-9, bias_correction=True)
case("dadaptation.DAdaptAdam", optim.dadapt_adamw(weight_decay=0.1), 1e-8, decouple=True, **corrected)
case("dog.DoG", optim.dog(weight_decay=0.1), weight_decay=0.1)
case("dog.DoG", optim.dog(init_step=("learning_rate", 0.01)), init_eta=0.01)
case("dog.LDoG", optim.chain(optim.scale_by_distance_over_gradients(param_dtype=jnp.float64), rate(1.0)), 1e-9)
case("dowg.DoWG", optim.dowg(), 1e-11)

# The loss
losses = functools.partial(case, extra=lambda n: {"value": loss(n)})


def with_loss(optimizer: Any, n: int) -> None:
    import torch

    optimizer.step(loss=torch.tensor(loss(n)))


for bound in ({"lb": 0.5}, {"lb": 1.0, "use_fstar": True}):
    ours = {
        "weight_decay": 0.1,
        "lower_bound": bound.get("lb", 0.0),
        "adapt_lower_bound": bound.get("use_fstar", False),
    }
    for lr in (0.3, 10.0):
        more = {"run": stepping(with_loss), "lr": lr, "weight_decay": 0.1, **bound}
        losses("momo.Momo", optim.momo(lr, **ours), **more)
        losses("momo.MomoAdam", optim.momo_adam(lr, **ours), **more)
# It adds 1e-5 to the square of the norm.
losses(
    "pytorch_optimizer.AliG",
    optim.polyak_sgd(L, eps=1e-5),
    1e-11,
    run=stepping(lambda optimizer, n: optimizer.step(lambda: loss(n))),
    max_lr=L,
)


# Schedule-free


def to_train(optimizer: Any, n: int) -> None:
    optimizer.train()
    optimizer.step()


def to_evaluate(cls: Any, arguments: Any, params: Any) -> Any:
    ps, steps = tensors(params), []
    optimizer = cls(ps, **arguments)
    for n in range(STEPS):
        optimizer.train()
        set_gradients(ps, params, n)
        optimizer.step()
        optimizer.eval()
        steps.append(arrays_of(ps, params))
    return steps


for name, run in (("train", stepping(to_train)), ("eval", to_evaluate)):
    free = functools.partial(case, run=run, evaluated=name == "eval", lr=L)
    free(
        "schedulefree.SGDScheduleFree",
        optim.schedule_free_sgd(L, 4, weight_decay=0.1),
        warmup_steps=4,
        weight_decay=0.1,
    )
    free("schedulefree.AdamWScheduleFree", optim.schedule_free_adamw(L, weight_decay=0.1), weight_decay=0.1)
    free("schedulefree.AdamWScheduleFree", optim.schedule_free_adamw(L, 4), warmup_steps=4)

# Adam's kin
po = functools.partial(case, lr=L)
po("pytorch_optimizer.AdaMax", optim.adamaxw(L, weight_decay=0.1), weight_decay=0.1, weight_decouple=True)
po("pytorch_optimizer.SignSGD", optim.signum(L), momentum=0.9)
po("pytorch_optimizer.SignSGD", optim.sign_sgd(L), momentum=0.0)
po("pytorch_optimizer.AdaBelief", optim.adabelief(L, eps=1e-3, eps_root=1e-3), rectify=False, eps=1e-3)
po("pytorch_optimizer.Adan", optim.adan(L, eps_root=0.0, weight_decay=0.1), weight_decay=0.1)
po(
    "pytorch_optimizer.Adan",
    optim.adan(L, eps_root=0.0, weight_decay=0.1, proximal_decay=False),
    weight_decay=0.1,
    weight_decouple=True,
)
po("pytorch_optimizer.AdEMAMix", optim.ademamix(L, weight_decay=0.1), weight_decay=0.1, weight_decouple=True)
# It counts the first gradient, which only starts the second moment.
po("pytorch_optimizer.ADOPT", optim.adopt(L), clip_lambda=lambda n: (n - 1) ** 0.25)
po("pytorch_optimizer.ADOPT", optim.adopt(L, use_clipping=False), clip_lambda=None)
po("pytorch_optimizer.Yogi", optim.yogi(L))
po("pytorch_optimizer.Fromage", optim.fromage(L))
# Its eps is 1e-30 unless given.
po("pytorch_optimizer.SM3", optim.sm3(L), momentum=0.9, eps=1e-8)
po("pytorch_optimizer.SM3", optim.chain(optim.scale_by_sm3(eps=1e-30), rate(L)), momentum=0.9)
# (1 - nu) g + nu m^ is Simplified AdEMAMix' m + alpha g for a certain alpha, up to the learning rate. Its weights are
# float32.


def mass(n: Any) -> Any:
    """The sum of the weights in m."""
    return (1 - 0.9 ** number(n)) / (1 - 0.9)


po(
    "pytorch_optimizer.QHAdam",
    optim.simplified_ademamix(lambda n: L * 0.7 / mass(n), 0.9, 0.999, lambda n: 0.3 / 0.7 * mass(n)),
    1e-6,
    nus=(0.7, 1.0),
)

# Layers
po(
    "torch_optimizer.NovoGrad",
    optim.novograd(L, 0.95, 0.98, 1e-8, weight_decay=0.1),
    betas=(0.95, 0.98),
    weight_decay=0.1,
)
po(
    "torch_optimizer.LARS",
    optim.lars(L, 0.1, trust_coefficient=0.01, eps=1e-8),
    momentum=0.9,
    weight_decay=0.1,
)

# Keras: eps is added to the uncorrected root in Adam, Adamax and Lamb; its weight decay is not in Lamb's ratio.
keras = functools.partial(case, learning_rate=L)
keras("keras.optimizers.Lamb", optim.lamb(L, eps=1e-7))
keras("keras.optimizers.Adagrad", optim.adagrad(L))
keras("keras.optimizers.RMSprop", optim.rmsprop(L, eps=1e-7), epsilon=1e-7)
keras("keras.optimizers.RMSprop", optim.rmsprop(L, eps=1e-7, momentum=0.9, centered=True), momentum=0.9, centered=True)
keras("keras.optimizers.Adam", optim.chain(optim.scale_by_adam_eps_hat(), rate(L)))
keras("keras.optimizers.Adam", optim.chain(optim.scale_by_adam_eps_hat(amsgrad=True), rate(L)), amsgrad=True)
keras("keras.optimizers.Adamax", optim.chain(optim.scale_by_adamax_eps_hat(), rate(L)))

# Curvature that is given: SophiaG makes it of gradients, SophiaH takes it.
CURVATURE = {name: 0.1 + np.abs(np.sin(3 * p)) for name, p in TREE.items()}
given = optim.stateless(lambda updates, params: jax.tree.map(jnp.asarray, CURVATURE))
sophia = functools.partial(optim.sophia, L, weight_decay=0.1, update_interval=1, hessian_diagonal_fn=given)


def with_curvature(optimizer: Any, n: int) -> None:
    import torch

    optimizer.step(hessian=[torch.tensor(h) for h in CURVATURE.values()])


def with_gradients_of_curvature(cls: Any, arguments: Any, params: Any) -> Any:
    import torch

    ps, steps = tensors(params), []
    optimizer = cls(ps, **arguments)
    for n in range(STEPS):
        for p, h in zip(ps, CURVATURE.values(), strict=True):
            p.grad = torch.tensor(np.sqrt(h))
        optimizer.update_hessian()
        set_gradients(ps, params, n)
        optimizer.step(bs=1)
        steps.append(arrays_of(ps, params))
    return steps


po(
    "sophia_opt.SophiaG",
    sophia(gamma=0.04, eps=1e-15),
    1e-11,
    run=with_gradients_of_curvature,
    betas=(0.965, 0.99),
    rho=0.04,
    weight_decay=0.1,
)
po(
    "pytorch_optimizer.SophiaH",
    sophia(b1=0.96, gamma=1.0, eps=1e-12),
    run=stepping(with_curvature),
    weight_decay=0.1,
    update_period=1,
    p=1.0,
)

# Low rank. Its singular vectors are float32.


def projected(cls: Any, arguments: Any, params: Any) -> Any:
    """A PyTorch optimizer on the projections of gradients, whose steps are projected back."""
    import torch

    make, side, gap = arguments["make"], arguments["side"], arguments["gap"]
    projectors = [cls(rank=2, update_proj_gap=gap, scale=0.25, projection_type=side) for _ in params]
    ps, low, steps = tensors(params), {}, []
    for n in range(STEPS):
        set_gradients(ps, params, n)
        for i, (p, projector) in enumerate(zip(ps, projectors, strict=True)):
            g = projector.project(p.grad, n)
            if i not in low:
                low[i] = torch.nn.Parameter(torch.zeros_like(g))
                low[i].optimizer = getattr(torch.optim, make)([low[i]], lr=L)
            low[i].grad, before = g, low[i].detach().clone()
            low[i].optimizer.step()
            p.data.add_(projector.project_back(low[i].detach() - before))
        steps.append(arrays_of(ps, params))
    return steps


galore = functools.partial(
    case, "pytorch_optimizer.optimizer.utils.galore.GaLoreProjector", rtol=1e-4, params=MATRICES, run=projected
)
galore(optim.galore(L, 2, 100, 0.25), make="Adam", side="std", gap=100)
galore(optim.galore(L, 2, 100, 0.25, projected_side="long"), make="Adam", side="reverse_std", gap=100)
# The signs of singular vectors are not unique, so that a new projector needs an optimizer without memory.
galore(optim.galore(L, 2, 3, 0.25, optim.identity()), make="SGD", side="std", gap=3)

# Functions of gradients, whose kernels have the shape (out, in, height, width)


def centralized(function: Any, arguments: Any, params: Any) -> Any:
    return changing(lambda ps: [function(p.grad) for p in ps], arguments, params)


def clipped(function: Any, arguments: Any, params: Any) -> Any:
    def change(ps: list[Any]) -> None:
        for p in ps:
            p.grad = function(p, p.grad, **arguments)

    return changing(change, {}, params)


case(
    "pytorch_optimizer.centralize_gradient",
    optim.chain(optim.centralize(output_axis=0), optim.sgd(L)),
    run=centralized,
    params=KERNEL,
)
agc = functools.partial(case, "pytorch_optimizer.agc", run=clipped, agc_clip_val=0.1)
agc(optim.chain(optim.adaptive_grad_clip(0.1, axis=1), optim.sgd(L)), params=MATRICES)
agc(optim.chain(optim.adaptive_grad_clip(0.1), optim.sgd(L)), params=VECTOR)

# Wrappers


def ahead(cls: Any, arguments: Any, params: Any) -> Any:
    import torch

    return torch_steps(lambda ps: cls(torch.optim.SGD(ps, L, momentum=0.9), **arguments), {}, params)


case("pytorch_optimizer.Lookahead", optim.lookahead(optim.sgd(L, 0.9), 3, 0.5), 1e-11, run=ahead, k=3, alpha=0.5)


def sharpness_aware(cls: Any, arguments: Any, params: Any) -> Any:
    import torch

    ps, steps = tensors(params), []
    optimizer = cls(ps, torch.optim.SGD, lr=L, momentum=0.9, **arguments)
    for _ in range(STEPS):
        for take in (optimizer.first_step, optimizer.second_step):
            for p in ps:
                p.grad = slope(p.detach())
            take()
        steps.append(arrays_of(ps, params))
    return steps


case(
    "pytorch_optimizer.SAM",
    optim.sam(optim.sgd(L, 0.9), optim.chain(optim.normalize(), optim.sgd(0.05)), opaque_mode=True),
    1e-7,
    run=sharpness_aware,
    sloped=True,
    extra=lambda n: {"grad_fn": lambda params, i: jax.tree.map(slope, params)},
    rho=0.05,
    perturb_eps=0.0,
)
