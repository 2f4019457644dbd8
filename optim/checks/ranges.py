"""The vocabulary of hyperparameters: the range and the meaning of every name.

An argument's name is its contract: `RANGES` gives the values that a hyperparameter of that name may have, in every
factory; a factory whose argument means something else under that name says so where it is registered.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """An interval of the reals: the values that a hyperparameter may have.

    Args:
      schedule: whether a function of the count may stand for a number.
      integer: whether only whole numbers are allowed.
      optional: whether None is allowed where it is not the default.
      infinite: whether infinity is allowed.
      means: what a hyperparameter of a new name means, for its docstring.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    schedule: bool = False
    integer: bool = False
    optional: bool = False
    infinite: bool = False
    means: str = ""

    def __contains__(self, x: float) -> bool:
        above = x > self.low if self.open_low else x >= self.low
        below = x < self.high if self.open_high else x <= self.high
        return above and below

    def __str__(self) -> str:
        if self.integer:
            return "an integer" if math.isinf(self.low) else f"an integer >= {int(self.low)}"
        if math.isinf(self.high):
            if math.isinf(self.low):
                return "a finite number"
            return f"{'>' if self.open_low else '>='} {self.low:g}"
        return f"in {'(' if self.open_low else '['}{self.low:g}, {self.high:g}{')' if self.open_high else ']'}"

    def outside(self) -> list[float]:
        """Numbers that are refused: what the tests feed to every factory."""
        found = [math.nan, *([] if self.infinite else [math.inf])]
        if not math.isinf(self.low):
            found += [self.low - 1, *([self.low] if self.open_low else [])]
        if not math.isinf(self.high):
            found += [self.high + 0.5, *([self.high] if self.open_high else [])]
        return [*found, max(self.low, 0) + 1.5] if self.integer else found


DECAY = Range(0, 1, open_high=True)
CLOSED_UNIT = Range(0, 1)
NON_NEGATIVE = Range(0)
POSITIVE = Range(0, open_low=True)
BOUND = Range(0, open_low=True, infinite=True)
"""A largest value; infinity is without a bound."""
REAL = Range()
STEPS = Range(0, integer=True)
RATE = Range(0, schedule=True)

RANGES: dict[str, Range] = {
    **dict.fromkeys(["b1", "b2", "b3", "beta", "decay", "rho"], DECAY),
    **dict.fromkeys(["eps", "eps_root", "initial_scale", "initial_accumulator_value"], NON_NEGATIVE),
    **dict.fromkeys(["max_norm", "max_delta", "clipping", "threshold"], BOUND),
    "momentum": CLOSED_UNIT,
    "learning_rate": RATE,
    "weight_decay": RATE,
    "seed": Range(integer=True),
}

MEANINGS: dict[str, str] = {
    "learning_rate": "step size, a number or a schedule count -> number",
    "weight_decay": "coefficient of the decoupled weight decay, a number or a schedule",
    "lr": "step size",
    "momentum": "decay of the sum of past updates; None or 0 is without",
    "nesterov": "whether to look one step ahead along the momentum",
    "mask": "where it acts: True, False, a tree of these, or a function params -> such a tree; None is everywhere",
    "weight_decay_mask": "where weights decay, as `mask` in `masked`; None is everywhere",
    "mu_dtype": "dtype of mu; None is the parameter's, and float32 where bfloat16 could not move",
    "accumulator_dtype": "dtype of the accumulator; None is the parameter's, and float32 where bfloat16 could not move",
    "gram": "iterate on the Gram matrix alone, cheaper where columns and rows differ, and restart after step 2",
    "ns_dtype": "dtype of the iteration: float32, bfloat16 or float64; None is at least float32",
    "heads": "number of equal parts of the columns of a matrix, or of each part in split, that are matrices of their "
    "own; for all leaves, a tree, or a function params -> tree",
    "split": "widths of parts of the columns that are matrices of their own, as in a fused projection; given as heads",
    "plan": "which device works on which matrix, from `matrix_plan`; not needed under an Explicit mesh",
    "key": "PRNG key of the random numbers",
    "seed": "seed of the random numbers, in place of a key",
    "clipnorm": "largest norm of all gradients together; None or inf is without",
    "clipvalue": "largest magnitude of an element of a gradient; None or inf is without",
    "decay": "decay of the learning rate, lr / (1 + decay n) after n updates",
    "beta_1": "decay of the first moment",
    "beta_2": "decay of the second moment",
    "epsilon": "added to the denominator; None is 1e-7",
    "amsgrad": "whether to divide by the largest second moment so far",
}
"""The arguments that mean the same in every factory, for the docstrings that do not describe them."""
