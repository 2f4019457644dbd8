"""Other implementations, neither Optax's nor this library's, that take the same steps.

A `Case` is a transformation and another library's object, by its dotted name, with the largest relative difference of a
step. The table in `CASES` needs none of the libraries; running a case does. Floating-point arithmetic is in float64.
"""

import dataclasses
import functools
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from pkgutil import iter_modules
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import optim
from optim.core.record import Recorded, inside

STEPS = 10

# (out, in) matrices, as in PyTorch, wide and tall; a vector
TREE = {"w": np.linspace(-1.0, 1.3, 12).reshape(4, 3), "b": np.array([0.5, -0.25, 2.0])}
MATRICES = {"tall": TREE["w"], "wide": np.cos(np.arange(6.0)).reshape(2, 3)}
VECTOR = {"b": TREE["b"]}
KERNEL = {"k": np.sin(np.arange(24.0)).reshape(2, 3, 2, 2), "b": TREE["b"]}
COMPLEX = {"z": np.array([0.5 + 1.0j, -0.25 - 2.0j, 2.0 + 0.1j])}


def gradient(params: Mapping[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
    """The gradient of step n, every fourth of them ten times smaller."""
    rng, size = np.random.default_rng(100 + n), 0.1 if n % 4 == 0 else 1.0

    def one(p: np.ndarray) -> np.ndarray:
        g = rng.normal(size=p.shape)
        return size * (g + 1j * rng.normal(size=p.shape) if np.iscomplexobj(p) else g)

    return {name: one(p) for name, p in params.items()}


def loss(n: int) -> float:
    """The loss of step n, for the optimizers that read it."""
    return 2.0 + abs(np.cos(n))


def slope(p: Any) -> Any:
    """The gradient of a quartic, for the optimizers that evaluate it: of an array of NumPy, JAX or PyTorch."""
    return 1.5 * p + 0.4 * p**3


def number(count: Any) -> Any:
    """The number of an update, 1 for the first, as a float: for schedules."""
    return jnp.asarray(count, float) + 1


Trajectory = list[dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Case:
    theirs: str
    """The dotted name of the other implementation."""
    ours: Any
    """The transformation that takes the same steps."""
    arguments: Mapping[str, Any]
    rtol: float
    """Largest difference of a step, relative to the step's largest element; about ten times what was measured."""
    params: Mapping[str, np.ndarray]
    run: Callable[..., Trajectory]
    """(their object, the arguments, the parameters) -> the parameters after each step"""
    extra: Callable[[Any], Mapping[str, Any]]
    """n -> extra arguments of `update`"""
    evaluated: bool
    """Whether the points to evaluate at are compared, in place of the parameters."""
    sloped: bool
    """Whether the gradient is `slope` of the parameters, in place of `gradient`."""

    @property
    def library(self) -> str:
        return self.theirs.partition(".")[0]

    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.library) is not None

    def their_object(self) -> Any:
        module, name = self.theirs.rsplit(".", 1)
        return getattr(importlib.import_module(module), name)

    def error(self) -> float:
        """The largest relative difference of a step."""
        mine, others = self.trajectory(), self.run(self.their_object(), self.arguments, self.params)
        return max(
            _difference(mine[n][k] - before[0][k], others[n][k] - before[1][k])
            for n in range(STEPS)
            for k in self.params
            for before in [(mine[n - 1], others[n - 1]) if n else (self.params, self.params)]
        )

    def trajectory(self) -> Trajectory:
        tx, params = self.ours, {k: jnp.asarray(p) for k, p in self.params.items()}
        stacked = jax.tree.map(lambda *gs: jnp.stack(gs), *(gradient(self.params, n) for n in range(STEPS)))

        def step(carry: Any, inputs: Any) -> Any:
            p, state = carry
            g, extra = inputs
            u, state = tx.update(jax.tree.map(slope, p) if self.sloped else g, state, p, **extra, **constant)
            p = optim.apply_updates(p, u)
            return (p, state), optim.eval_params(tx, state, p) if self.evaluated else p

        extras = [self.extra(n) for n in range(STEPS)]
        constant = {k: x for k, x in extras[0].items() if callable(x)}
        varying = {k: jnp.asarray([e[k] for e in extras]) for k in extras[0] if k not in constant}
        run = jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), (stacked, varying))[1])
        return [{k: np.asarray(x[n]) for k, x in run(params).items()} for n in range(STEPS)]


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    size = np.max(np.abs(b))
    return float(np.max(np.abs(a - b)) / (size if size > 0 else 1))


CASES: list[Case] = []


def case(
    theirs: str,
    ours: Any,
    rtol: float = 1e-12,
    *,
    params: Mapping[str, np.ndarray] = TREE,
    run: Callable[..., Trajectory] | None = None,
    extra: Callable[[Any], Mapping[str, Any]] = lambda _: {},
    evaluated: bool = False,
    sloped: bool = False,
    **arguments: Any,
) -> None:
    """Add a case. `arguments` are those of the other implementation."""
    run = run or (keras_steps if theirs.startswith("keras.") else torch_steps)
    CASES.append(Case(theirs, ours, arguments, rtol, params, run, extra, evaluated, sloped))


# Running the others


def tensors(arrays: Mapping[str, np.ndarray]) -> list[Any]:
    import torch

    return [torch.nn.Parameter(torch.tensor(p)) for p in arrays.values()]


def set_gradients(ps: list[Any], params: Mapping[str, np.ndarray], n: int) -> None:
    import torch

    for p, g in zip(ps, gradient(params, n).values(), strict=True):
        p.grad = torch.tensor(g)


def arrays_of(ps: list[Any], params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy().copy() for name, p in zip(params, ps, strict=True)}


def torch_steps(
    cls: Any,
    arguments: Mapping[str, Any],
    params: Mapping[str, np.ndarray],
    *,
    step: Callable[..., Any] = lambda optimizer, n: optimizer.step(),
    before: Callable[[list[Any]], Any] = lambda ps: None,
) -> Trajectory:
    """A PyTorch optimizer. `step` takes a step, `before` changes the gradients."""
    ps, steps = tensors(params), []
    optimizer = cls(ps, **arguments)
    for n in range(STEPS):
        set_gradients(ps, params, n)
        before(ps)
        step(optimizer, n)
        steps.append(arrays_of(ps, params))
    return steps


def stepping(step: Callable[..., Any]) -> Callable[..., Trajectory]:
    return functools.partial(torch_steps, step=step)


def changing(function: Callable[..., Any], arguments: Mapping[str, Any], params: Any) -> Trajectory:
    """SGD after a function that changes the gradients of a list of parameters in place."""
    import torch

    return torch_steps(torch.optim.SGD, {"lr": 0.1}, params, before=lambda ps: function(ps, **arguments))


def keras_steps(cls: Any, arguments: Mapping[str, Any], params: Mapping[str, np.ndarray]) -> Trajectory:
    import keras

    default = keras.config.floatx()
    keras.config.set_floatx("float64")
    try:
        return _keras_steps(cls(**arguments), params)
    finally:
        keras.config.set_floatx(default)


def _keras_steps(optimizer: Any, params: Mapping[str, np.ndarray]) -> Trajectory:
    import keras

    steps: Trajectory = []
    variables = {name: keras.Variable(p, dtype="float64", name=name) for name, p in params.items()}
    optimizer.build(list(variables.values()))
    for n in range(STEPS):
        optimizer.apply([jnp.asarray(g) for g in gradient(params, n).values()])
        steps.append({name: np.asarray(x) for name, x in variables.items()})
    return steps


# What a transformation is made of


def names_in(x: Any) -> set[str]:
    """The registered names of `x`, of the transformations in its arguments, and of those that it is composed of."""
    names: set[str] = set()
    if isinstance(x, Recorded) and x.call is not None:
        names.add(x.call.name if isinstance(x.call.name, str) else x.call.name.name)
    parts, body = inside(x), getattr(x, "body", None)
    for value in [*(parts.values if parts else ()), *([] if body is None else [body])]:
        names |= names_in(value)
    return names


for _table in iter_modules(__path__):  # new files too
    importlib.import_module(f"{__name__}.{_table.name}")
