"""The libraries by name. A process imports only the library that it measures."""

from typing import Any

from .optimizers import Optimizer
from .trees import Tree

PLAIN = "optim"
REFERENCE = "optax"
TORCH = "torch fused"
OWN = (PLAIN, "optim make_update", "optim packed", "optim pack")
"""The forms of this library."""
LOWERABLE_OWN = (PLAIN, "optim packed", "optim pack")
"""The forms that have an update without its application, and a program that can be lowered before it runs."""
PEERS = (REFERENCE, "keras", TORCH, "torch foreach")
LIBRARIES = (*OWN, *PEERS)
CEILING = "ceiling"
"""The bandwidth of the memory (see ceiling.py)."""
KERNELS = ("three kernels", "first moment", "second moment", "parameter", "loop of pieces")
"""AdamW on one leaf, in all ways that XLA's CPU backend can run it (see floor.py)."""
CALLS = ("one array", "identity", "add one", "ahead of time", "flat tuples")
"""What a call costs (see calls.py)."""
RATE = 1e-3


def adapters(library: str) -> dict[str, Any]:
    """The adapters of the module that a library needs."""
    if library.startswith("torch"):
        from . import pytorch as module
    elif library in KERNELS:
        from . import floor as module
    elif library == CEILING:
        from . import ceiling as module
    elif library in CALLS:
        from . import calls as module
    else:
        from . import adapters as module
    return module.ADAPTERS


def session(
    library: str, optimizer: Optimizer, tree: Tree, *, rate: float = RATE, train: bool = False, platform: str = "cpu"
) -> Any:
    """A session of the library on this tree.

    Raises: MissingError with the reason, if the library is not installed or has no such optimizer.
    """
    return adapters(library)[library].session(optimizer, tree, rate, train=train, platform=platform)
