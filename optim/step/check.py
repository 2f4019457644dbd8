"""How much of an update the parameters' dtype loses."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .. import checks, numerics, tree
from ..core.apply import apply_updates
from ..core.transformation import taking_extra_args
from ..types import OptState, Params, TransformationLike, Updates


class LeafNumerics(NamedTuple):
    """What rounding does to the update of one leaf.

    Args:
      stuck: the share of elements with an update that do not move, in [0, 1].
      lost: the norm of what rounding adds to or takes from the update, relative to that of the update.
      step: the root mean square of the update.
    """

    stuck: float
    lost: float
    step: float


@checks.entrance("check_numerics")
def check_numerics(
    tx: TransformationLike, params: Params, state: OptState, updates: Updates | None = None
) -> dict[str, LeafNumerics]:
    """How much of a step each leaf loses to its dtype: leaf name -> (stuck, lost, step).

        stuck = {name: x for name, x in optim.check_numerics(tx, params, state).items() if x.stuck > 0.5}

    Where the last member of `tx` rounds the parameters (`keep_residual` and its kin) nothing is lost in the long run,
    and both numbers are zero.

    Args:
      tx: a transformation.
      params, state: parameters and state; they are not changed.
      updates: gradients to take the step with; None takes +1 and -1 at random.
    Raises:  TypeError if tx is not a pair (init, update).
    """
    tx = taking_extra_args(tx, "tx")
    exact = tx.facts.exact
    rng = np.random.default_rng(0)

    def signs(p: Any) -> Any:
        p = tree.as_array(p)
        if not tree.trainable(p):
            return None
        return jnp.asarray(rng.choice([-1.0, 1.0], p.shape), numerics.wide_dtype(p.dtype))

    gradients = tree.map(signs, params) if updates is None else updates
    steps, _ = tx.update(tree.widen(gradients), state, params)
    moved = apply_updates(params, steps)
    report: dict[str, LeafNumerics] = {}
    leaves = zip(tree.names(params), tree.flatten(params)[0], tree.flatten(moved)[0], strict=True)
    for (name, p, new), u in zip(leaves, tree.match(steps, params, "updates", "params"), strict=True):
        if tree.absent(u):
            continue
        wide = np.asarray(u, np.float64)
        size = float(np.sqrt(np.sum(wide**2)))
        done = np.asarray(new, np.float64) - np.asarray(p, np.float64)
        stuck = 0.0 if exact else float(np.mean((done == 0) & (wide != 0))) if wide.size else 0.0
        lost = 0.0 if exact or size == 0 else float(np.sqrt(np.sum((done - wide) ** 2))) / size
        report[name] = LeafNumerics(stuck, lost, size / max(wide.size, 1) ** 0.5)
    return report
