"""The optimizers of Keras 2.2.4, reproduced number by number, as transformations.

Each is a chain of this library's primitives, stores `lr` in its state (`optim.tree.set(state, lr=0.001)` acts from the
next update on), and has Keras' configuration, lookup by name and order of weights. `TFOptimizer` wraps native
TensorFlow optimizers.
"""

import typing as _typing

from .. import hints as _hints
from .front import KerasFactory, KerasOptimizer
from .host import TFVariablesState
from .identify import deserialize, get, serialize
from .optimizers import SGD, Adadelta, Adagrad, Adam, Adamax, Nadam, RMSprop
from .tensorflow import TFOptimizer, TFOptimizerState
from .weights import get_weights, set_weights

sgd, rmsprop, adagrad, adadelta, adam, adamax, nadam = SGD, RMSprop, Adagrad, Adadelta, Adam, Adamax, Nadam
tfoptimizer = TFOptimizer

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "Adamax",
    "KerasFactory",
    "KerasOptimizer",
    "Nadam",
    "RMSprop",
    "TFOptimizer",
    "TFOptimizerState",
    "TFVariablesState",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "deserialize",
    "get",
    "get_weights",
    "nadam",
    "rmsprop",
    "serialize",
    "set_weights",
    "sgd",
    "tfoptimizer",
]

if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__)
