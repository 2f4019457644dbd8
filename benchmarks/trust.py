"""When a table is not published: what was measured must be what each library does on its own."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .rounds import Result

ROUNDS = 10
"""The fewest rounds."""
WIDEST = 1.5
"""The largest ratio of the upper to the lower quartile."""
APART = 1.2
"""The largest ratio between the median of the rounds and the median of the library's times alone."""
OTHERS = 0.1
"""The most that other programs may use of one processor."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over the rounds."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def spread(values: Sequence[float]) -> Spread:
    if len(values) < 2:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def duration(x: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if x >= size:
            return f"{x / size:.3g} {unit}"
    return f"{x / 1e-6:.2g} us"


def reason(results: Sequence[Result], busy: bool = False) -> str:
    """Why the results of one table must not be published; empty if they may.

    busy: accept other programs on the machine.
    """
    timed = [r for r in results if r.unit == "s"]
    reasons = [text for r in timed if (text := _reason(r))]
    others = max((r.others for r in timed), default=0.0)
    if others > OTHERS and not busy:
        reasons.append(f"other programs used {others:.2f} processors")
    return "; ".join(reasons)


def _reason(result: Result) -> str:
    name, rounds = result.library, len(result.values)
    if rounds < ROUNDS:
        return f"{name}: {rounds} rounds, at least {ROUNDS} are needed"
    over = spread(result.values)
    if over.high > WIDEST * over.low:
        return f"{name}: quartiles {duration(over.low)} and {duration(over.high)}, a factor {over.high / over.low:.2f}"
    if not result.alone:
        return f"{name}: no time alone"
    alone = spread(result.alone).median
    if max(alone, over.median) > APART * min(alone, over.median):
        return f"{name}: alone {duration(alone)}, in rounds {duration(over.median)}"
    return ""
