"""Optimizers that Optax does not have, beside packages for PyTorch, Keras and `torch.optim`."""

from typing import Any

import optim

from . import MATRICES, STEPS, arrays_of, case, set_gradients, tensors, torch_steps

L = 0.1
rate = optim.scale_by_learning_rate

# It adds eps to the uncorrected root, and never sees a schedule.
case("pytorch_optimizer.AdamC", optim.adamc(L, eps=0.0, weight_decay=0.1), 1e-6, lr=L, eps=0.0, weight_decay=0.1)
case("pytorch_optimizer.Grams", optim.grams(optim.adam(L, eps=1e-6)), 1e-6, lr=L)
case("pytorch_optimizer.LaProp", optim.laprop(L), 5e-7, lr=L)
# eps is added to the uncorrected root there.
small = {"lr": L, "eps": 1e-15, "weight_decay": 0.1}
case("pytorch_optimizer.MARS", optim.mars(L, eps=1e-15, weight_decay=0.1), 5e-8, params=MATRICES, **small)
case("pytorch_optimizer.QHAdam", optim.qhadam(L), 1e-6, lr=L, nus=(0.7, 1.0))
case("pytorch_optimizer.QHAdam", optim.qhadam(L, nu2=0.5), 1e-6, lr=L, nus=(0.7, 0.5))
case("came_pytorch.CAME", optim.came(L, weight_decay=0.1), lr=L, weight_decay=0.1, betas=(0.9, 0.999, 0.9999))

for interval in (1000, 4):
    tx = optim.stable_spam(L, reset_interval=interval)
    case("pytorch_optimizer.StableSPAM", tx, lr=L, update_proj_gap=interval)


def by_name(cls: Any, arguments: Any, params: Any) -> Any:
    """A package that finds blocks by the names of parameters: matrices here are those of an MLP, (outputs, inputs)."""
    named = [(f"mlp.{n}.weight" if p.ndim == 2 else f"{n}.bias", p) for n, p in params.items()]
    return torch_steps(
        lambda ps, **kw: cls([(n, p) for (n, _), p in zip(named, ps, strict=True)], **kw), arguments, params
    )


def of_rows(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) if len(shape) == 2 else ()


mini = {"lr": L, "weight_decay": 0.1, "dim": 4, "n_heads": 1, "verbose": False}
# It does not decay biases.
ours = optim.adam_mini(L, weight_decay=0.1, mask={"w": True, "b": False}, blocks=of_rows)
case("adam_mini.Adam_mini", ours, run=by_name, **mini)


def uncompiled(cls: Any, arguments: Any, params: Any) -> Any:
    import heavyball

    heavyball.utils.compile_mode = None
    return torch_steps(cls, arguments, params)


# It has no first moment, and keeps the norms in float32.
ball = {"lr": L, "betas": (0.0, 0.999), "eps": 1e-12}
ours = optim.adamh(L, b1=0.0, eps=1e-12)
case("heavyball.HyperBallAdamW", ours, 2e-6, run=uncompiled, params=MATRICES, **ball)

case("keras.optimizers.Ftrl", optim.ftrl(L), learning_rate=L)
case(
    "keras.optimizers.Ftrl",
    optim.ftrl(L, -0.75, 0.5, 0.1, 0.2, 0.3),
    learning_rate=L,
    learning_rate_power=-0.75,
    initial_accumulator_value=0.5,
    l1_regularization_strength=0.1,
    l2_regularization_strength=0.2,
    beta=0.3,
)


def averages(cls: Any, arguments: Any, params: Any) -> Any:
    """The averages that `torch.optim.ASGD` keeps."""
    ps, steps = tensors(params), []
    optimizer = cls(ps, **arguments)
    for n in range(STEPS):
        set_gradients(ps, params, n)
        optimizer.step()
        steps.append(arrays_of([optimizer.state[p]["ax"] for p in ps], params))
    return steps


case("torch.optim.ASGD", optim.asgd(L), lr=L)
late = {"lr": L, "lambd": 0.5, "alpha": 0.5, "t0": 2.0, "weight_decay": 0.1}
case("torch.optim.ASGD", optim.asgd(L, 0.5, 0.5, 2.0, 0.1), **late)
case("torch.optim.ASGD", optim.asgd(L, 0.5, 0.5, 2.0, 0.1), run=averages, evaluated=True, **late)
