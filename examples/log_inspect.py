"""Log the values in an optimizer's state to a CSV file and to TensorBoard.

    python examples/log_inspect.py runs/b               # then: tensorboard --logdir runs/b
    python examples/log_inspect.py runs/b --csv-only    # without TensorBoard

`optim.inspect` returns the values of a state by name: the step, the learning rate, measured norms, skipped steps. They
are arrays, so the compiled step returns them together with the loss. There are no host callbacks, and no step waits for
a value: the values of several steps are fetched at once. It needs the extra `tensorboard`, except with --csv-only.
"""

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import optim

Row = dict[str, float]


def make_optimizer(steps: int) -> optim.GradientTransformation:
    rate = optim.warmup_cosine_decay_schedule(0.0, 0.01, warmup_steps=steps // 10, decay_steps=steps)
    inner = optim.chain(
        optim.monitor({"grad_norm": optim.global_norm}),
        optim.clip_by_global_norm(1.0),
        optim.adamw(rate),
        optim.monitor({"update_norm": optim.global_norm}),
    )
    return optim.apply_if_finite(inner, 5)


def loss_fn(params: Any, images: Any, labels: Any) -> jax.Array:
    hidden = jnp.tanh(images @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    log_p = jax.nn.log_softmax(hidden @ params["output"]["kernel"] + params["output"]["bias"])
    return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))


def initial(seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    shapes = {"hidden": (64, 32), "output": (32, 10)}
    return {
        name: {"kernel": jnp.asarray(rng.normal(size=s) * 0.1, jnp.float32), "bias": jnp.zeros(s[1])}
        for name, s in shapes.items()
    }


class TensorBoard:
    """A writer of scalars that only needs the package `tensorboard`."""

    def __init__(self, path: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.event, self.summary, self.writer = Event, Summary, EventFileWriter(str(path))

    def write(self, step: int, row: Row) -> None:
        values = [self.summary.Value(tag=name, simple_value=value) for name, value in row.items()]
        self.writer.add_event(self.event(wall_time=time.time(), step=step, summary=self.summary(value=values)))

    def close(self) -> None:
        self.writer.close()


class Csv:
    def __init__(self, path: Path) -> None:
        self.file = (path / "log.csv").open("w", newline="")
        self.writer: Any = None

    def write(self, step: int, row: Row) -> None:
        if self.writer is None:
            self.writer = csv.DictWriter(self.file, ["step", *row])
            self.writer.writeheader()
        self.writer.writerow({"step": step, **row})

    def close(self) -> None:
        self.file.close()


def main(argv: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", type=Path, help="output directory; created if it does not exist")
    parser.add_argument("--steps", type=int, default=100, help="steps of training (default %(default)s)")
    parser.add_argument("--every", type=int, default=25, help="steps between fetches (default %(default)s)")
    parser.add_argument("--csv-only", action="store_true", help="write no TensorBoard log")
    args = parser.parse_args(argv)
    args.path.mkdir(parents=True, exist_ok=True)
    writers = [Csv(args.path)] if args.csv_only else [Csv(args.path), TensorBoard(args.path)]

    images, labels = load_digits(return_X_y=True)
    images, labels = images[:512].astype(np.float32) / 16, labels[:512].astype(np.int32)
    tx = make_optimizer(args.steps)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_fn)(params, images, labels)
        updates, state = tx.update(grads, state, params)
        return optim.apply_updates(params, updates), state, {"loss": loss, **optim.inspect(tx, state)}

    params = initial()
    state, pending, rows = tx.init(params), [], []
    for n in range(1, args.steps + 1):
        params, state, values = step(params, state)
        pending.append(values)
        if n % args.every == 0 or n == args.steps:
            for numbers in jax.device_get(pending):
                row = {name: float(x) for name, x in numbers.items()}
                number = int(row.pop("step"))
                rows.append({"step": number, **row})
                for writer in writers:
                    writer.write(number, row)
            pending = []
    for writer in writers:
        writer.close()
    print(f"{len(rows)} steps of {', '.join(rows[-1])} in {args.path}")
    return rows


if __name__ == "__main__":
    main()
