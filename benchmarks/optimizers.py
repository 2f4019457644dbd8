"""The optimizers in the API of every library.

The entry `optax` serves all libraries with that API: its first argument is the module.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

EPS = 1e-8
DECAY = 1e-2
WARM_UP, STEPS = 100, 10_000


class MissingError(Exception):
    """A library or optimizer is not available. The reason is printed and the row skipped."""


@dataclass(frozen=True)
class Optimizer:
    """One optimizer: (the library's module, learning rate) -> its object; for PyTorch also parameters and options.

    least: the minimal bytes per float32 parameter that any implementation moves, with each array read or written once
    in every pass that cannot be merged with another; None where memory is not the bottleneck.
    same_formula: whether Keras and PyTorch compute the same formula as Optax, up to rounding.
    """

    name: str
    least: int | None
    optax: Callable[[Any, float], Any]
    keras: Callable[[Any, float], Any] | None = None
    torch: Callable[..., Callable[[], Any]] | None = None
    same_formula: bool = True


def find(module: Any, name: str) -> Any:
    """An object of a library or of its `contrib`."""
    for place in (module, getattr(module, "contrib", None)):
        if hasattr(place, name):
            return getattr(place, name)
    raise MissingError(f"{module.__name__} has no {name}")


def load_module(module: str) -> Any:
    """Import a library, or raise MissingError with the reason."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingError(f"{module} cannot be imported: {error}") from error


def warm_up_cosine(count: int) -> float:
    """The schedule of clip+adamw as a factor of the learning rate."""
    if count < WARM_UP:
        return count / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (count - WARM_UP) / (STEPS - WARM_UP))))


def _clipped(lib: Any, rate: float) -> Any:
    schedule = find(lib, "warmup_cosine_decay_schedule")(0.0, rate, WARM_UP, STEPS)
    return lib.chain(lib.clip_by_global_norm(1.0), lib.adamw(schedule, eps=EPS, weight_decay=DECAY))


def _keras_clipped(keras: Any, rate: float) -> Any:
    schedule = keras.optimizers.schedules.CosineDecay(0.0, STEPS - WARM_UP, warmup_target=rate, warmup_steps=WARM_UP)
    return keras.optimizers.AdamW(schedule, epsilon=EPS, weight_decay=DECAY, global_clipnorm=1.0)


def _torch(name: str, **options: Any) -> Callable[..., Callable[[], Any]]:
    def make(torch: Any, params: list[Any], rate: float, **form: bool) -> Callable[[], Any]:
        return getattr(torch.optim, name)(params, lr=rate, **options, **form).step

    return make


def _torch_unfused(name: str, **options: Any) -> Callable[..., Callable[[], Any]]:
    def make(torch: Any, params: list[Any], rate: float, **form: bool) -> Callable[[], Any]:
        if "fused" in form:
            raise MissingError(f"torch.optim.{name} has no fused form")
        return _torch(name, **options)(torch, params, rate, **form)

    return make


def _torch_clipped(torch: Any, params: list[Any], rate: float, **form: bool) -> Callable[[], Any]:
    optimizer = torch.optim.AdamW(params, lr=rate, eps=EPS, weight_decay=DECAY, **form)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up_cosine)

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
        optimizer.step()
        schedule.step()

    return step


OPTIMIZERS = {
    o.name: o
    for o in (
        Optimizer(
            "sgd",  # with momentum
            20,
            lambda lib, rate: find(lib, "sgd")(rate, momentum=0.9),
            lambda keras, rate: keras.optimizers.SGD(rate, momentum=0.9),
            _torch("SGD", momentum=0.9),
        ),
        Optimizer(
            "rmsprop",
            20,
            lambda lib, rate: find(lib, "rmsprop")(rate, decay=0.9, eps=EPS),
            lambda keras, rate: keras.optimizers.RMSprop(rate, rho=0.9, epsilon=EPS),
            _torch_unfused("RMSprop", alpha=0.9, eps=EPS),
        ),
        Optimizer(
            "adam",
            28,
            lambda lib, rate: find(lib, "adam")(rate, eps=EPS),
            lambda keras, rate: keras.optimizers.Adam(rate, epsilon=EPS),
            _torch("Adam", eps=EPS),
        ),
        Optimizer(
            "adamw",
            28,
            lambda lib, rate: find(lib, "adamw")(rate, eps=EPS, weight_decay=DECAY),
            lambda keras, rate: keras.optimizers.AdamW(rate, epsilon=EPS, weight_decay=DECAY),
            _torch("AdamW", eps=EPS, weight_decay=DECAY),
        ),
        Optimizer("clip+adamw", 32, _clipped, _keras_clipped, _torch_clipped),
        Optimizer(
            "lion",
            20,
            lambda lib, rate: find(lib, "lion")(rate, weight_decay=DECAY),
            lambda keras, rate: keras.optimizers.Lion(rate, weight_decay=DECAY),
        ),
        Optimizer(
            "lamb",
            40,
            lambda lib, rate: find(lib, "lamb")(rate, weight_decay=DECAY),
            lambda keras, rate: keras.optimizers.Lamb(rate, epsilon=1e-6, weight_decay=DECAY),
            same_formula=False,
        ),
        Optimizer(
            "adafactor",
            24,
            lambda lib, rate: find(lib, "adafactor")(rate),
            lambda keras, rate: keras.optimizers.Adafactor(rate, relative_step=False),
            _torch_unfused("Adafactor"),
            same_formula=False,
        ),
        Optimizer(
            "muon",
            None,
            lambda lib, rate: find(lib, "muon")(rate),
            lambda keras, rate: keras.optimizers.Muon(rate),
            same_formula=False,
        ),
    )
}
