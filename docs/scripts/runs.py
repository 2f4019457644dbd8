"""Run every optimizer on two standard surfaces and on the digits, and cache the runs.

An optimizer is a registered factory that takes a learning rate and no other transformation. It runs with all of `RATES`
at once, and the run with the lowest final value is selected; on a surface, only runs that stay in view count. An
optimizer whose default rate is 1 or None may choose its own step size: its run with default arguments is selected,
unless one of the rates ends more than ten times lower. All optimizers have the same starting points and batches.
"""

import functools
import hashlib
import inspect
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import optim
from optim.core.registry import Entry

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
RATE_NAMES = ("learning_rate", "lr", "max_learning_rate")
ROOMS = ("optimizers", "linesearch", "keras")


def optimizers() -> Iterator[Entry]:
    return (entry for entry in optim.entries() if is_optimizer(entry))


def is_optimizer(entry: Entry) -> bool:
    room = entry.factory.__module__.split(".")[1]
    return room in ROOMS and not entry.name.startswith("scale_by_") and rate_of(entry) is not None


def why_not(entry: Entry) -> str | None:
    """The reason why an optimizer cannot run by itself; None where it can."""
    inner = [n for n, x in required(entry).items() if isinstance(x, optim.GradientTransformation)]
    return f"it wraps another optimizer, its `{inner[0]}`" if inner else None


def required(entry: Entry) -> dict[str, Any]:
    """The required arguments other than the learning rate, as in the factory's first example."""
    rate, first = rate_of(entry), entry.examples[0]
    given = entry.signature.bind(*first.args, **first.kwargs).arguments
    empty = {n for n, p in entry.signature.parameters.items() if p.default is p.empty}
    return {n: x for n, x in given.items() if n in empty and (rate is None or n != rate.name)}


def rate_of(entry: Entry) -> inspect.Parameter | None:
    """The parameter that is the learning rate."""
    return next((entry.signature.parameters[n] for n in RATE_NAMES if n in entry.signature.parameters), None)


def maker(entry: Entry) -> Callable[..., Any]:
    """learning rate -> the optimizer."""
    rate, others = rate_of(entry), required(entry)
    assert rate is not None

    def make(*value: Any) -> Any:
        return entry(**others, **({rate.name: value[0]} if value else {}))

    return make


def called(entry: Entry, rate: float | None) -> str:
    """The optimizer of a run, as code."""
    return str((maker(entry)() if rate is None else maker(entry)(rate)).call)


# Problems: a start, and the gradient and value at any point


@dataclass(frozen=True)
class Problem:
    name: str
    start: Any
    value: Callable[[Any, Any], Any]
    """value(params, batch)"""
    batches: Any
    """One entry per step."""
    observe: Callable[[Any], Any]
    """observe(params) -> (value, observation), evaluated before the first step and after every `every` steps."""
    every: int = 1
    view: Any = None
    """The range in which each number of an observation should stay."""


def rosenbrock(x: Any) -> Any:
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def beale(x: Any) -> Any:
    terms = zip((1.5, 2.25, 2.625), (1, 2, 3), strict=True)
    return sum((c - x[0] * (1 - x[1] ** k)) ** 2 for c, k in terms)


SURFACE_STEPS = 200


@dataclass(frozen=True)
class Surface:
    f: Callable[[Any], Any]
    start: tuple[float, float]
    lowest: tuple[float, float]
    view: tuple[tuple[float, float], tuple[float, float]]
    levels: tuple[float, float]
    """The lowest and the highest contour of the picture."""


SURFACES = {  # starts: More, Garbow & Hillstrom 1981
    "Rosenbrock": Surface(rosenbrock, (-1.2, 1.0), (1.0, 1.0), ((-1.9, 1.9), (-0.8, 2.6)), (0.15, 300)),
    "Beale": Surface(beale, (1.0, 1.0), (3.0, 0.5), ((-0.4, 4.3), (-1.5, 1.6)), (0.06, 120)),
}


def surface(name: str) -> Problem:
    it = SURFACES[name]
    steps = jnp.zeros(SURFACE_STEPS)
    return Problem(name, jnp.array(it.start), lambda x, _: it.f(x), steps, lambda x: (it.f(x), x), view=it.view)


DIGITS_STEPS, DIGITS_EVERY, DIGITS_ROWS, DIGITS_HIDDEN = 240, 6, 64, 32


@functools.cache
def digits() -> Problem:
    """A network of one hidden layer on scikit-learn's digits, as in examples/digits.py."""
    images, labels = load_digits(return_X_y=True)
    x, test_x, y, test_y = train_test_split(
        images.astype(np.float32) / 16, labels, test_size=0.2, random_state=0, stratify=labels
    )
    picks = np.random.default_rng(0).integers(len(y), size=(DIGITS_STEPS, DIGITS_ROWS))
    w1, w2 = jax.random.split(jax.random.key(0))
    start = {
        "hidden": {"w": jax.random.normal(w1, (64, DIGITS_HIDDEN)) * (2 / 64) ** 0.5, "b": jnp.zeros(DIGITS_HIDDEN)},
        "output": {"w": jax.random.normal(w2, (DIGITS_HIDDEN, 10)) * (2 / DIGITS_HIDDEN) ** 0.5, "b": jnp.zeros(10)},
    }

    def logits(params: Any, images: Any) -> Any:
        hidden = jax.nn.relu(images @ params["hidden"]["w"] + params["hidden"]["b"])
        return hidden @ params["output"]["w"] + params["output"]["b"]

    def loss(params: Any, batch: Any) -> Any:
        log_p = jax.nn.log_softmax(logits(params, batch[0]))
        return -jnp.mean(jnp.take_along_axis(log_p, batch[1][:, None], axis=1))

    def observe(params: Any) -> Any:
        correct = jnp.argmax(logits(params, jnp.asarray(test_x)), axis=1) == jnp.asarray(test_y)
        return loss(params, (jnp.asarray(x), jnp.asarray(y))), jnp.mean(correct)

    batches = (jnp.asarray(x[picks]), jnp.asarray(y[picks]))
    return Problem("digits", start, loss, batches, observe, DIGITS_EVERY)


# Runs


@dataclass(frozen=True)
class Run:
    """The run of one optimizer on one problem."""

    rate: float | None
    """The learning rate; None for a run with default arguments."""
    values: list[float]
    """Values before the first step and after every `Problem.every` steps."""
    observations: list[Any]
    """The observations at the same steps: points of a path, or accuracies."""


def run(entry: Entry, problem: Problem) -> Run:
    rate, make = rate_of(entry), maker(entry)
    assert rate is not None
    values, observed = jax.jit(jax.vmap(lambda r: trajectory(make(r), problem)))(np.array(RATES, np.float32))
    last = np.where(np.isfinite(np.asarray(values)[:, -1]), np.asarray(values)[:, -1], np.inf)
    if problem.view is not None:
        low, high = np.array(problem.view).T
        inside = ((low <= observed) & (observed <= high)).all(axis=(1, 2))
        last = np.where(inside, last, np.inf) if inside.any() else last
    best = int(np.argmin(last))
    tuned = Run(RATES[best], np.asarray(values)[best].tolist(), np.asarray(observed)[best].tolist())
    if rate.default in (1.0, None):
        values, observed = jax.jit(lambda: trajectory(make(), problem))()
        plain = Run(None, np.asarray(values).tolist(), np.asarray(observed).tolist())
        if math.isfinite(plain.values[-1]) and plain.values[-1] <= max(10 * tuned.values[-1], 1e-3):
            return plain
    return tuned


def trajectory(tx: Any, problem: Problem) -> Any:
    """Values and observations along a run, at the evaluation parameters."""
    per_example = takes_per_example_gradients(tx)

    def step(carry: Any, batch: Any) -> Any:
        params, state = carry

        def f(p: Any) -> Any:
            return problem.value(p, batch)

        value, grads = jax.value_and_grad(f)(params)
        updates = per_example_gradients(problem.value, params, batch) if per_example else grads
        extra = {"value": value, "grad": grads, "value_fn": f, "obj_fn": f}
        updates, state = tx.update(updates, state, params, **extra)
        return (optim.apply_updates(params, updates), state), None

    def stretch(carry: Any, batches: Any) -> Any:
        carry, _ = jax.lax.scan(step, carry, batches)
        return carry, observe(*carry)

    def observe(params: Any, state: Any) -> Any:
        return problem.observe(optim.eval_params(tx, state, params))

    carry = problem.start, tx.init(problem.start)
    parts = jax.tree.map(lambda x: x.reshape(-1, problem.every, *x.shape[1:]), problem.batches)
    first = observe(*carry)
    _, rest = jax.lax.scan(stretch, carry, parts)
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)


def takes_per_example_gradients(tx: Any) -> bool:
    """Whether a transformation takes one gradient per example, as differential privacy requires."""
    if tx.call is not None and tx.call.name == "differentially_private_aggregate":
        return True
    return any(takes_per_example_gradients(member) for member in (tx.body or tx).members or ())


def per_example_gradients(value: Any, params: Any, batch: Any) -> Any:
    """The gradients of all examples, along a new first axis; a surface is one example."""
    if not isinstance(batch, tuple):
        return jax.tree.map(lambda g: g[None], jax.grad(value)(params, batch))
    rows = jax.tree.map(lambda x: x[:, None], batch)
    return jax.vmap(jax.grad(value), in_axes=(None, 0))(params, rows)


# The cache


def key() -> str:
    """A hash of every source that a run may depend on."""
    sources = [Path(__file__), *sorted(Path(optim.__file__).parent.rglob("*.py"))]
    return hashlib.sha256(b"".join(p.read_bytes() for p in sources) + jax.__version__.encode()).hexdigest()[:16]


def all_runs(cache: Path, report: Callable[[str], None]) -> dict[str, dict[str, Run]]:
    """optimizer -> problem -> run, from `cache` where possible. Runs of older sources are deleted."""
    folder = cache / f"runs-{key()}"
    for old in cache.glob("runs-*"):
        if old != folder:
            for path in old.iterdir():
                path.unlink()
            old.rmdir()
    folder.mkdir(parents=True, exist_ok=True)
    by_optimizer = {}
    for entry in optimizers():
        if why_not(entry):
            continue
        path = folder / f"{entry.name}.json"
        if not path.exists():
            report(f"Running {entry.name}")
            problems = (*map(surface, SURFACES), digits())
            path.write_text(json.dumps({p.name: asdict(run(entry, p)) for p in problems}))
        by_optimizer[entry.name] = {name: Run(**values) for name, values in json.loads(path.read_text()).items()}
    return by_optimizer
