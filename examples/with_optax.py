"""Use Optax and this library together: in each other's chains, and with a run that switches from one to the other.

python examples/with_optax.py
"""

import argparse

import jax
import jax.numpy as jnp
import optax

import optim
from optim.interop.optax import as_optax, convert_state


def loss(w):
    return jnp.sum((w - jnp.array([1.0, -2.0, 0.5])) ** 2)


def train(tx, w, state, steps):
    @jax.jit
    def step(w, state):
        value, grads = jax.value_and_grad(loss)(w)
        updates, state = optax.with_extra_args_support(tx).update(grads, state, w, value=value)
        return optim.apply_updates(w, updates), state

    for _ in range(steps):
        w, state = step(w, state)
    return w, state


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    steps = parser.parse_args(argv).steps
    start = jnp.zeros(3)

    plateau = optim.reduce_on_plateau(patience=30)
    for label, tx in {
        "Optax' clip in this library's chain": optim.chain(optax.clip_by_global_norm(1.0), optim.adam(0.1)),
        "this library's plateau in Optax' chain": optax.chain(optax.adam(0.1), as_optax(plateau)),
    }.items():
        w, _ = train(tx, start, tx.init(start), steps)
        print(f"{label}: loss {loss(w):.1e}")

    theirs = optax.adamw(optax.cosine_decay_schedule(0.1, 2 * steps))
    w, state = train(theirs, start, theirs.init(start), steps)
    ours = optim.adamw(optim.cosine_decay_schedule(0.1, 2 * steps))
    here, _ = train(ours, w, convert_state(state, ours, w), steps)
    there, _ = train(theirs, w, state, steps)
    print(f"switched after {steps} steps: difference {jnp.abs(here - there).max():.1e} after {steps} more")


if __name__ == "__main__":
    main()
