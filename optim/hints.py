"""What a public module says about a name it does not have, its version, and what it lists."""

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from . import checks

ELSEWHERE: dict[str, str] = {
    # Optimizers and classes of PyTorch, Keras and TensorFlow that have another name here
    "GradientDescentOptimizer": "sgd",
    "MomentumOptimizer": "sgd",
    "SparseAdam": "adam",
    "FusedAdam": "adam",
    "Optimizer": "GradientTransformation",
    "SNOO": "outer_nesterov",
    "DiLoCo": "outer_nesterov",
    "MuonClip": "qk_clip",
    "AveragedModel": "average_params",
    "ExponentialMovingAverage": "average_params",
    "DAdaptAdam": "dadapt_adamw",
    "AdamWScheduleFree": "schedule_free_adamw",
    "SGDScheduleFree": "schedule_free_sgd",
    "MultiOptimizer": "partition",
    "param_groups": "partition",
    "GradientAccumulator": "MultiSteps",
    "LossScaleOptimizer": "apply_if_finite",
    "GradScaler": "apply_if_finite",
    "apply_gradients": "apply_updates",
    "clip_grad_norm": "clip_by_global_norm",
    "clip_grad_norm_": "clip_by_global_norm",
    "clip_grad_value": "clip",
    "clip_grad_value_": "clip",
    "clip_by_value": "clip",
    "minimize": "make_step",
    "train_step": "make_step",
    # Losses
    "MSELoss": "squared_error",
    "mse_loss": "squared_error",
    "mean_squared_error": "squared_error",
    "SmoothL1Loss": "huber_loss",
    "CrossEntropyLoss": "softmax_cross_entropy_with_integer_labels",
    "cross_entropy": "softmax_cross_entropy_with_integer_labels",
    "NLLLoss": "softmax_cross_entropy_with_integer_labels",
    "BCEWithLogitsLoss": "sigmoid_binary_cross_entropy",
    "BCELoss": "sigmoid_binary_cross_entropy",
    "binary_crossentropy": "sigmoid_binary_cross_entropy",
    "sparse_categorical_crossentropy": "softmax_cross_entropy_with_integer_labels",
    "categorical_crossentropy": "softmax_cross_entropy",
    "KLDivLoss": "kl_divergence",
    "InfoNCE": "ntxent",
    # Schedules
    "StepLR": "exponential_decay",
    "MultiStepLR": "piecewise_constant_schedule",
    "ConstantLR": "constant_schedule",
    "LinearLR": "linear_schedule",
    "ExponentialLR": "exponential_decay",
    "PolynomialLR": "polynomial_schedule",
    "CosineAnnealingLR": "cosine_decay_schedule",
    "CosineAnnealingWarmRestarts": "sgdr_schedule",
    "OneCycleLR": "cosine_onecycle_schedule",
    "CyclicLR": "cyclic_schedule",
    "ChainedScheduler": "multiply_schedules",
    "SequentialLR": "join_schedules",
    "ReduceLROnPlateau": "reduce_on_plateau",
    "CosineDecay": "cosine_decay_schedule",
    "CosineDecayRestarts": "sgdr_schedule",
    "PiecewiseConstantDecay": "piecewise_constant_schedule",
    "piecewise_constant": "piecewise_constant_schedule",
    "PolynomialDecay": "polynomial_schedule",
    "lr_scheduler": "schedules",
    "LRScheduler": "schedules",
    "LearningRateSchedule": "schedules",
    "LambdaLR": "schedules",
}
"""Names of other libraries, and the public name that does the same here."""

USES = {
    "schedules": "A schedule is a function of the count, given as learning_rate",
    "clip_by_global_norm": "It is a member of a chain, before the optimizer",
    "clip": "It is a member of a chain, before the optimizer",
    "exponential_decay": "With staircase=True it decays in steps",
    "reduce_on_plateau": "It is a member of a chain, after the optimizer",
}
"""How that is used, where a name alone does not say it."""


def surface(module: str, **lazy: Callable[[], Any]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a public module.

    A name in `__all__` that the module does not define is taken from `optim`: its code lives in a room above. An
    unknown name is an AttributeError that says what to type instead; `dir` lists `__all__`.

    Args:    lazy: names whose values are computed when they are first asked for.
    """
    names, roof = vars(sys.modules[module]), module.partition(".")[0]

    def attribute(name: str) -> Any:
        if name in lazy:
            return names.setdefault(name, lazy[name]())
        if name in names.get("__all__", ()) and module != roof:
            return names.setdefault(name, getattr(sys.modules[roof], name))
        text = f"module {module!r} has no attribute {name!r}"
        if not name.startswith("_"):
            text += _hint(module, name)
        # With `obj` Python adds no suggestion of its own.
        raise AttributeError(text, obj=sys.modules[module])

    def listed() -> list[str]:
        return [*names.get("__all__", names), *lazy]

    return attribute, listed


def _hint(module: str, name: str) -> str:
    roof = module.partition(".")[0]
    public, here = ({n: f"{m}.{n}" for n in vars(sys.modules[m]).get("__all__", ())} for m in (roof, module))
    if name in ELSEWHERE:
        name_here = ELSEWHERE[name]
        use = f" {USES[name_here]}." if name_here in USES else ""
        return f"; did you mean {public.get(name_here, name_here)}?{use}"
    folded = {_folded(n): full for names in (public, here) for n, full in names.items()}
    if _folded(name) in folded:
        return f"; did you mean {folded[_folded(name)]}?"
    for space, x in vars(sys.modules[roof]).items():
        if space in public and isinstance(x, ModuleType) and name in getattr(x, "__all__", ()):
            return f"; did you mean {roof}.{space}.{name}?"
    return checks.near(name, here or public)


def _folded(name: str) -> str:
    """A name without what differs between libraries: case, underscores, the words optimizer and schedule."""
    return re.sub(r"(optimizer|schedule)$", "", name.lower().replace("_", ""))


def version(package: str) -> str:
    """The version of the installed distribution, else that in the pyproject.toml beside the package."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        pass
    project = Path(str(sys.modules[package].__file__)).parents[1] / "pyproject.toml"
    found = re.search(r'^version = "(.*)"', project.read_text(), re.M) if project.is_file() else None
    return found[1] if found else "0+unknown"


def public_names(names: dict[str, Any], namespaces: Iterable[str] = (), above: Iterable[str] = ()) -> list[str]:
    """The public names among a module's globals, in order: no private ones, and no modules but the `namespaces`.

    Args:    above: names that `surface` takes from `optim`.
    """
    namespaces = set(namespaces)
    modules = {n for n, x in names.items() if isinstance(x, ModuleType)} - namespaces
    return sorted({n for n in names if not n.startswith("_") and n not in modules} | set(above))
