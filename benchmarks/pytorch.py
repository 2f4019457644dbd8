"""PyTorch behind the interface of the sessions."""

from typing import Any

import numpy as np

from .optimizers import MissingError, Optimizer, load_module
from .trees import Tree


class Torch:
    """PyTorch's optimizers, fused or foreach."""

    def __init__(self, name: str, **form: bool) -> None:
        self.name, self.form = name, form

    def library(self) -> Any:
        return load_module("torch")

    def session(self, optimizer: Optimizer, tree: Tree, rate: float, *, train: bool, platform: str) -> "TorchSession":
        torch = self.library()
        if platform != "cpu" and not torch.cuda.is_available():
            raise MissingError("torch was built without this device")
        return TorchSession(torch, self.form, optimizer, tree, rate, train, "cpu" if platform == "cpu" else "cuda")


class TorchSession:
    """Parameters with gradients in `.grad`, updated in place."""

    moved: int | None = None

    def __init__(
        self,
        torch: Any,
        form: dict[str, bool],
        optimizer: Optimizer,
        tree: Tree,
        rate: float,
        train: bool,
        device: str,
    ) -> None:
        if optimizer.torch is None:
            raise MissingError(f"torch.optim has no {optimizer.name} for leaves of every rank")
        self.torch, self.tree, self.train = torch, tree, train
        self.make = lambda params: optimizer.torch(torch, params, rate, **form)
        self.make([torch.nn.Parameter(torch.zeros(1))])
        self.device = device
        self.params: list[Any] = []
        self.update: Any = None
        self.batch: Any = None
        self.loss: Any = None

    def _put(self, x: np.ndarray) -> Any:
        return self.torch.tensor(x, device=self.device)

    def load(self) -> None:
        self.params = [self.torch.nn.Parameter(self._put(x)) for x in self.tree.params()]
        self.update = self.make(self.params)
        if self.train:
            self.batch = tuple(map(self._put, self.tree.batch()))
            return
        for p, g in zip(self.params, self.tree.grads(), strict=True):
            p.grad = self._put(g)

    def unload(self) -> None:
        self.params, self.update, self.batch, self.loss = [], None, None, None

    def step(self) -> None:
        if self.train:
            self.loss = self.tree.loss(self.tree.unflatten(self.params), self.batch, self.torch.tanh)
            self.loss.backward()
        self.update()
        if self.train:
            for p in self.params:
                p.grad = None

    def wait(self) -> None:
        if self.device != "cpu":
            self.torch.cuda.synchronize()

    def parameters(self) -> list[np.ndarray]:
        return [p.detach().cpu().numpy().copy() for p in self.params]

    def buffers(self) -> list[Any]:
        return [p.data_ptr() for p in self.params]

    def reused(self, before: list[Any]) -> bool:
        return self.buffers() == before

    def compilations(self) -> int:
        return 0


ADAPTERS = {t.name: t for t in (Torch("torch fused", fused=True), Torch("torch foreach", foreach=True))}
