"""Shared by Keras' optimizers: arguments, configuration, `lr` in the state."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, ParamSpec

from .. import checks
from ..checks import BOUND, NON_NEGATIVE, Range
from ..core.registry import Example, example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..wrappers.inject import inject_hyperparams

P = ParamSpec("P")

EPSILON = 1e-7
"""Value of `epsilon=None`: Keras' K.epsilon()."""

_EXCEPTIONS = {
    "inject": "its learning rate is injected already",
    "independent": "it repeats recordings of Keras 2.2.4: see tests/golden/test_keras_recordings.py",
}
RANGES: dict[str, Range] = {
    **dict.fromkeys(["lr", "decay", "epsilon", "schedule_decay"], NON_NEGATIVE),
    **dict.fromkeys(["beta_1", "beta_2", "rho"], checks.DECAY),
    **dict.fromkeys(["clipnorm", "clipvalue"], BOUND),
}


class KerasOptimizer(GradientTransformationExtraArgs):
    """A transformation with Keras' class name and configuration."""

    class_name: str = ""
    settings: Mapping[str, Any] = {}
    weights: tuple[str, ...] = ()
    """State fields in the order of Keras' list of weights."""

    def get_config(self, state: Any = None) -> dict[str, Any]:
        """The arguments as Keras writes them.

        Args:
          state: a state of this optimizer, from which `lr` is taken; None takes the `lr` it was made with.
        """
        config = {k: v for k, v in self.settings.items() if v is not None or not k.startswith("clip")}
        if state is not None:
            config["lr"] = state.hyperparams["lr"]
        return {k: v.item() if hasattr(v, "item") else v for k, v in config.items()}


class KerasFactory(Generic[P]):
    """One of Keras' optimizer classes: a call with its arguments returns the transformation.

    Args:
      build: function from the arguments to the transformation.
    """

    def __init__(self, build: Callable[P, KerasOptimizer]) -> None:
        functools.update_wrapper(self, build)
        self.__name__ = build.__name__
        self.__signature__ = inspect.signature(build)
        self._build = build

    @checks.entrance()
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> KerasOptimizer:
        return self._build(*args, **self._translated(kwargs))

    def __repr__(self) -> str:
        return f"keras.{self.__name__}"

    def from_config(self, config: Mapping[str, Any]) -> KerasOptimizer:
        """The optimizer that `get_config` described.

        Args:
          config: a dict of arguments.
        """
        return self(**config)  # type: ignore[call-arg]

    def _translated(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        parameters, out = self.__signature__.parameters, dict(kwargs)
        if "learning_rate" in out and "lr" in out:
            raise checks.mistake("lr and learning_rate are one argument: give one of them", TypeError)
        if "learning_rate" in out:
            out["lr"] = out.pop("learning_rate")
        for word in out:
            if word not in parameters:
                hint = checks.suggest(word, parameters)
                raise checks.mistake(f"Unexpected keyword argument passed to optimizer: {word}{hint}", TypeError)
        return out


def keras_optimizer(
    *examples: Example, weights: tuple[str, ...]
) -> Callable[[Callable[P, GradientTransformationExtraArgs]], KerasFactory[P]]:
    """Decorator that makes a Keras optimizer of a function from its arguments to a chain of primitives."""

    def decorate(compose: Callable[P, GradientTransformationExtraArgs]) -> KerasFactory[P]:
        signature = inspect.signature(compose)
        name = compose.__name__
        injected = inject_hyperparams(compose, static_args=[n for n in signature.parameters if n != "lr"])

        @register(*(examples or (example(),)), name=f"keras.{name}", ranges=RANGES, exceptions=_EXCEPTIONS)
        @functools.wraps(compose)
        def build(*args: P.args, **kwargs: P.kwargs) -> KerasOptimizer:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            settings = bound.arguments
            if settings.get("epsilon", 0) is None:
                settings["epsilon"] = EPSILON
            tx = injected(*bound.args, **bound.kwargs)
            new = KerasOptimizer(*tx)._rebuilt(*tx, tx.facts)
            new.class_name, new.settings, new.weights = name, dict(settings), weights
            return new

        return KerasFactory(build)

    return decorate
