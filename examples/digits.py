"""Train a digit classifier with each of the Keras optimizers, and compare them.

    python examples/digits.py                                               # all seven, with their defaults
    python examples/digits.py sgd:lr=0.1,momentum=0.9,nesterov=True adam    # two of them, one with options

The data are scikit-learn's 1,797 digits of 8 x 8 pixels; nothing is downloaded. The results are a table on standard
output and the learning curves in a PNG. The same seed gives the same numbers, except for the speed.
"""

import argparse
import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import optim

OPTIMIZERS = ("SGD", "RMSprop", "Adagrad", "Adadelta", "Adam", "Adamax", "Nadam")

Params = dict[str, dict[str, jax.Array]]


class Batch(NamedTuple):
    images: Any
    labels: Any


# The data


def load(seed: int) -> tuple[Batch, Batch]:
    """80% training and 20% test data, with pixels scaled to [0, 1]."""
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        images.astype(np.float32) / 16, labels.astype(np.int32), test_size=0.2, random_state=seed, stratify=labels
    )
    return Batch(train_x, train_y), Batch(test_x, test_y)


def batches(data: Batch, size: int, rng: np.random.Generator) -> list[Batch]:
    """One epoch of shuffled batches, on the device. An incomplete last batch is dropped."""
    order = rng.permutation(len(data.labels))
    full = range(0, len(order) - size + 1, size)
    return jax.device_put([Batch(*(x[order[i : i + size]] for x in data)) for i in full])


# The network


def init_network(key: jax.Array, hidden: int) -> Params:
    """64 pixels, one hidden layer with ReLU, 10 classes."""
    w1, w2 = jax.random.split(key)
    return {
        "hidden": {"w": jax.random.normal(w1, (64, hidden)) * (2 / 64) ** 0.5, "b": jnp.zeros(hidden)},
        "output": {"w": jax.random.normal(w2, (hidden, 10)) * (2 / hidden) ** 0.5, "b": jnp.zeros(10)},
    }


def logits(params: Params, images: jax.Array) -> jax.Array:
    hidden = jax.nn.relu(images @ params["hidden"]["w"] + params["hidden"]["b"])
    return hidden @ params["output"]["w"] + params["output"]["b"]


def loss(params: Params, batch: Batch) -> jax.Array:
    """Mean cross-entropy."""
    log_p = jax.nn.log_softmax(logits(params, batch.images))
    return -jnp.mean(jnp.take_along_axis(log_p, batch.labels[:, None], axis=1))


def accuracy(params: Params, batch: Batch) -> jax.Array:
    return jnp.mean(jnp.argmax(logits(params, batch.images), axis=1) == batch.labels)


# Training


def make_step(tx: optim.GradientTransformation) -> Any:
    """A training step as one compiled program; parameters and state are donated."""

    def step(params: Params, state: optim.OptState, batch: Batch) -> tuple[Params, optim.OptState, jax.Array]:
        value, grads = jax.value_and_grad(loss)(params, batch)
        updates, state = tx.update(grads, state, params)
        return optim.apply_updates(params, updates), state, value

    return jax.jit(step, donate_argnums=(0, 1))


@dataclass(frozen=True)
class Run:
    """The results of one optimizer."""

    label: str
    losses: list[float]
    """Mean loss over the batches of each epoch."""
    accuracies: list[float]
    """On the test data, after each epoch."""
    final_loss: float
    """On all training data, at the end."""
    steps_per_second: float


def train(
    label: str,
    tx: optim.GradientTransformation,
    data: tuple[Batch, Batch],
    args: argparse.Namespace,
    report: Callable[[float], None] = lambda loss: None,
) -> Run:
    """Train a new network; `report` is called with the mean loss of each epoch."""
    training, test = data
    rng = np.random.default_rng(args.seed)
    params = init_network(jax.random.key(args.seed), args.hidden)
    state = tx.init(params)
    # Compile once, before timing. A compiled step raises an error for a batch of another shape, and never retraces.
    example = Batch(*(x[: args.batch_size] for x in training))
    step = make_step(tx).lower(params, state, example).compile()
    score = jax.jit(accuracy)

    losses, accuracies, seconds, steps = [], [], 0.0, 0
    for _ in range(args.epochs):
        epoch, values = batches(training, args.batch_size, rng), []
        start = time.perf_counter()
        for batch in epoch:
            params, state, value = step(params, state, batch)
            values.append(value)
        jax.block_until_ready(params)  # JAX dispatches asynchronously
        seconds += time.perf_counter() - start
        steps += len(epoch)
        losses.append(float(np.mean(values)))
        accuracies.append(float(score(params, test)))
        report(losses[-1])
    return Run(label, losses, accuracies, float(jax.jit(loss)(params, training)), steps / seconds)


# The command line


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line, without argparse's usage message."""
        self.exit(2, f"{self.prog}: {message}\n")


def number(text: str) -> float | bool | None:
    """The value of an option. The optimizer checks its range."""
    words: dict[str, bool | None] = {"True": True, "False": False, "None": None}
    return words[text] if text in words else float(text)


def optimizer(spec: str) -> optim.GradientTransformation:
    """The optimizer that `name` or `name:key=value,key=value` describes.

    Raises: ValueError for another form, and the library's errors for a wrong name, option or value.
    """
    name, colon, rest = spec.partition(":")
    options: dict[str, Any] = {}
    for part in rest.split(",") if colon else ():
        key, equals, value = part.partition("=")
        if not (key and equals):
            raise ValueError(f"expected key=value, got {part!r}")
        if key in options:
            raise ValueError(f"{key} is given twice")
        try:
            options[key] = number(value)
        except ValueError:
            raise ValueError(f"{key} must be a number, True, False or None, got {value!r}") from None
    return optim.keras.get({"class_name": name, "config": options})


def whole(low: int, high: int) -> Callable[[str], int]:
    """The type of an argument: an integer from low to high."""

    def parse(text: str) -> int:
        if not (text.isdecimal() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"must be an integer from {low} to {high}, got {text!r}")
        return int(text)

    return parse


def parser() -> Parser:
    about, _, more = (__doc__ or "").partition("\n\n")
    out = Parser(description=about, epilog=more, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument(
        "optimizers",
        nargs="*",
        default=OPTIMIZERS,
        metavar="NAME[:KEY=VALUE,...]",
        help="a Keras optimizer, case-insensitive, with options; default: all seven",
    )
    out.add_argument("--epochs", type=whole(1, 10_000), default=30, help="passes over the data (default %(default)s)")
    out.add_argument("--batch-size", type=whole(1, 1_437), default=16, help="rows per step (default %(default)s)")
    out.add_argument("--hidden", type=whole(1, 65_536), default=64, help="hidden units (default %(default)s)")
    out.add_argument("--seed", type=whole(0, 2**32 - 1), default=0, help="seed of split, network and order (default 0)")
    out.add_argument("--png", type=Path, default=Path("digits.png"), help="learning curves (default %(default)s)")
    out.add_argument("--list", action="store_true", help="list the optimizers and their options, without training")
    return out


# Output


def listing() -> str:
    """Every optimizer with its default options, in the form of the command line."""
    lines = []
    for name in OPTIMIZERS:
        options = inspect.signature(getattr(optim.keras, name)).parameters.values()
        lines.append(f"{name.lower()}:{','.join(f'{o.name}={o.default}' for o in options)}")
    return "\n".join(lines)


def table(runs: Sequence[Run]) -> Table:
    out = Table("optimizer")
    for column in ("final loss", "test accuracy", "steps/s"):
        out.add_column(column, justify="right")
    for run in runs:
        numbers = f"{run.final_loss:.6f}", f"{run.accuracies[-1]:.1%}", f"{run.steps_per_second:,.0f}"
        out.add_row(Text(run.label, overflow="fold"), *numbers)
    return out


def plot(runs: Sequence[Run], path: Path) -> None:
    """Loss and accuracy by epoch for all optimizers, in one figure."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for run in runs:
        epochs = range(1, len(run.losses) + 1)
        left.plot(epochs, run.losses, label=run.label)
        right.plot(epochs, run.accuracies, label=run.label)
    left.set(title="training", xlabel="epoch", ylabel="mean cross-entropy", yscale="log")
    right.set(title="test", xlabel="epoch", ylabel="accuracy")
    right.legend()
    figure.savefig(path, format="png", dpi=120)


def main(argv: Sequence[str] | None = None) -> list[Run]:
    """Train with each optimizer named in `argv`; print the table, draw the curves, and return the runs."""
    command_line = parser()
    args = command_line.parse_args(argv)
    if args.list:
        print(listing())
        return []
    if args.png.is_dir() or not args.png.parent.is_dir():
        command_line.error(f"argument --png: cannot be written: {args.png}")
    transformations = []
    for spec in args.optimizers:
        try:
            transformations.append(optimizer(spec))
        except (KeyError, TypeError, ValueError) as error:
            command_line.error(f"{spec}: {error.args[0]}")

    data, runs = load(args.seed), []
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), TextColumn("loss {task.fields[loss]:.4f}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        for spec, tx in zip(args.optimizers, transformations, strict=True):
            task = progress.add_task(spec, total=args.epochs, loss=float("nan"))
            runs.append(train(spec, tx, data, args, lambda loss, t=task: progress.update(t, advance=1, loss=loss)))
    Console().print(table(runs))
    plot(runs, args.png)
    print(f"learning curves: {args.png}")
    return runs


if __name__ == "__main__":
    main()
