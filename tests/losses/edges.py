"""Where losses break: zero vectors, probabilities 0 and 1, empty masks, ties, and the largest numbers of a dtype.

Each row is a call and the losses it returns. `h` is huge for the dtype: 1e30, or 6e4 in float16.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

INF, LOG2 = np.inf, np.log(2)
NONE_LEFT = np.array([[True, True, True], [False, False, False]])

Call = tuple[tuple[Any, ...], dict[str, Any], Any]


def a(*rows: Any) -> np.ndarray:
    return np.array(rows, np.float64)


def poisoned(where: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The arrays with NaN where the mask is False: what is left out must not count."""
    return tuple(np.where(where, x, np.nan) for x in arrays)


def regression(at_h: Callable[[float], float]) -> Callable[[float], list[Call]]:
    """Equal predictions and targets, and one huge error whose loss is `at_h`."""
    return lambda h: [((a(0, h, -h, h), a(0, h, -h, 0)), {}, [0, 0, 0, at_h(h)]), ((a(0, 1 / h),), {}, [0, 0])]


def cross_entropy(h: float) -> list[Call]:
    z = a([h, 0, 0], [h, 0, 0], [h, h, 0], [0, -INF, 0], [0, 0, 0], [1, 2, -INF])
    y = a([1, 0, 0], [0, 1, 0], [0.5, 0.5, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0])
    return [(z, y), [0, h, LOG2, LOG2, np.log(3), 0]]


def soft(h: float) -> list[Call]:
    (z, y), expected = cross_entropy(h)
    return [((z, y), {}, expected), (poisoned(NONE_LEFT, z[4:], y[4:]), {"where": NONE_LEFT}, [np.log(3), 0])]


def poly(h: float) -> list[Call]:
    (z, y), _ = cross_entropy(h)
    expected = [0, h, LOG2 + 1, LOG2 + 1, np.log(3) + 4 / 3, 0]
    return [((z, y), {}, expected), (poisoned(NONE_LEFT, z[4:], y[4:]), {"where": NONE_LEFT}, [np.log(3) + 4 / 3, 0])]


def integer_labels(h: float) -> list[Call]:
    (z, _), expected = cross_entropy(h)
    labels = np.array([0, 1, 1, 0, 0])
    where = {"where": NONE_LEFT}
    return [((z[:5], labels), {}, expected[:5]), ((*poisoned(NONE_LEFT, z[3:5]), labels[3:]), where, [LOG2, 0])]


def ranking(h: float) -> list[Call]:
    (z, y), expected = cross_entropy(h)
    where = np.zeros(z.shape, bool)
    return [
        ((z, y), {"reduce_fn": None}, expected),
        (poisoned(where, z, y), {"where": where}, 0),
        (poisoned(where, z, y), {"where": where, "reduce_fn": None}, [0] * 6),
    ]


def logits(h: float) -> list[Call]:
    x, y = a(h, -h, INF, -INF, 0, h, -h), a(1, 0, 1, 0, 0.5, 0, 1)
    return [((x, y), {}, [0, 0, 0, 0, LOG2, h, h])]


def focal(h: float) -> list[Call]:
    x, y = a(h, -h, INF, -INF, 0, h, -h), np.array([1, 0, 1, 0, 1, 0, 1])
    return [((x, y), {"gamma": g}, [0, 0, 0, 0, LOG2 / 2**g, h, h]) for g in (0.5, 0.0)]


def divergence(at_zero: float) -> Callable[[float], list[Call]]:
    """`at_zero` is the loss of the target 0 for the log prediction 0, in the third row."""

    def calls(h: float) -> list[Call]:
        p, t = a([0, -INF], [0, -h], [0, 0], [-LOG2, -LOG2]), a([1, 0], [1, 0], [1, 0], [0.5, 0.5])
        where = np.array([[True, False], [False, False], [True, True], [False, False]])
        return [((p, t), {}, [0, 0, at_zero, 0]), (poisoned(where, p, t), {"where": where}, [0, 0, at_zero, 0])]

    return calls


def log_targets(h: float) -> list[Call]:
    p, t = a([0, -INF], [0, -h], [0, 0], [-h, 0]), a([0, -INF], [0, -h], [0, -INF], [-INF, 0])
    where = np.zeros((4, 2), bool)
    return [((p, t), {}, [0, 0, 0, 0]), (poisoned(where, p, t), {"where": where}, [0, 0, 0, 0])]


def scores(margin: float) -> Callable[[float], list[Call]]:
    x, y = (lambda h: a(h, -h, 0, -h)), a(1, -1, 1, 1)
    return lambda h: [((x(h), y), {}, [0, 0, margin, h])]


def classes(tie: float, *, hinge: float = 0.0) -> Callable[[float], list[Call]]:
    """`tie` is the loss of three equal scores."""

    def calls(h: float) -> list[Call]:
        s = a([h, 0, -h], [h, 0, -h], [0, 0, 0], [h, h, h], [5, 0, -INF])
        return [((s, np.array([0, 1, 0, 2, 0])), {}, [0, h + hinge, tie, tie, 0])]

    return calls


def cosine(sign: float, shift: float) -> Callable[[float], list[Call]]:
    """shift + sign cos."""

    def calls(h: float) -> list[Call]:
        p, t = a([0, 0], [0, 0], [h, 0], [h, h], [1 / h, 0]), a([0, 0], [3, 4], [0, h], [h, h], [1 / h, 0])
        similarities = np.array([0, 0, 0, 1, 1])
        where = np.array([[True, True], [False, False], [False, True], [False, False], [True, False]])
        masked = (poisoned(where, p, t), {"where": where}, shift + sign * a(0, 0, 0, 0, 1))
        return [((p, t), {}, shift + sign * similarities), masked]

    return calls


def ntxent(h: float) -> list[Call]:
    e = a([0, 0], [0, 0], [h, 0], [h, 0], [1 / h, 0])
    pairs = np.log(1 + 3 * np.exp(0)), np.log(1 + 2 * np.exp(-1))
    return [
        ((e, np.arange(5)), {}, 0),
        ((e, np.array([0, 0, 1, 1, 1])), {"temperature": 1.0}, (2 * pairs[0] + 6 * pairs[1]) / 8),
        ((e[:1], np.zeros(1, int)), {}, 0),
    ]


def triplet(h: float) -> list[Call]:
    x = a([0, 0], [h, h], [h, 0], [1, 2])
    other = a([0, 0], [h, h], [0, h], [1, 2])
    degrees = [{}, {"eps": 0.0}, {"norm_degree": 1.5, "eps": 0.0}]
    return [((x, other, other), kwargs, [1, 1, 1, 1]) for kwargs in degrees]


def smoothing(h: float) -> list[Call]:
    y = a([1, 0, 0], [1, 0, 0])
    return [
        ((y, 0.3), {"where": NONE_LEFT}, [[0.8, 0.1, 0.1], [0.7, 0, 0]]),
        ((y, 0.0), {}, y),
        ((y, 1.0), {}, np.full((2, 3), 1 / 3)),
    ]


def dice(h: float) -> list[Call]:
    z, t = a([[h, -h], [-h, h]], [[h, 0], [h, 0]]), a([[1, 0], [0, 1]], [[1, 0], [1, 0]])
    nothing = {"smooth": 0.0, "apply_softmax": False, "reduction": "none"}
    return [((z, t), {}, [0, 0]), ((0 * z, 0 * t), nothing, np.zeros((2, 2)))]


def generalized_dice(h: float) -> list[Call]:
    z, t = a([[h, -h], [-h, h]], [[h, 0], [h, 0]]), a([[1, 0], [0, 1]], [[1, 0], [1, 0]])
    nothing = {"smooth": 0.0, "apply_softmax": False}
    return [((z, t), {}, 0), ((z, t * a(1, 0)), {}, None), ((0 * z, 0 * t), nothing, 0)]


def binary_dice(h: float) -> list[Call]:
    z, t = a([h, -h], [h, h]), a([1, 0], [1, 1])
    return [((z, t), {}, [0, 0]), ((0 * z, 0 * t), {"smooth": 0.0, "apply_sigmoid": False}, [0, 0])]


def ctc(h: float) -> list[Call]:
    """Certain frames; too few frames; no frames and no labels; logits of -inf."""
    z = a([[-h, h, 0], [h, 0, -h]], [[0, 0, 0], [0, 0, 0]], [[1, 2, 3], [1, 2, 3]], [[0, 0, -INF], [-INF, 0, -INF]])
    skipped = a([0, 0], [0, 1], [1, 1], [0, 0])
    labels, unused = np.array([[1, 1], [1, 2], [1, 2], [1, 2]]), a([0, 1], [0, 0], [1, 1], [0, 1])
    return [((z, skipped.astype(int), labels, unused.astype(int)), {}, [0, None, 0, 0])]


def fenchel_young(h: float) -> list[Call]:
    (z, y), expected = cross_entropy(h)
    return [((z[[0, 1, 4]], y[[0, 1, 4]]), {}, np.array(expected)[[0, 1, 4]])]


EDGES: dict[str, Callable[[float], list[Call]]] = {
    "squared_error": lambda h: [((a(0, h), a(0, h)), {}, [0, 0])],
    "l2_loss": lambda h: [((a(0, h), a(0, h)), {}, [0, 0])],
    "huber_loss": regression(lambda h: h),
    "log_cosh": regression(lambda h: h),
    "cosine_similarity": cosine(1, 0),
    "cosine_distance": cosine(-1, 1),
    "sigmoid_binary_cross_entropy": logits,
    "sigmoid_focal_loss": focal,
    "softmax_cross_entropy": soft,
    "safe_softmax_cross_entropy": lambda h: soft(h)[:1],
    "softmax_cross_entropy_with_integer_labels": integer_labels,
    "poly_loss_cross_entropy": poly,
    "ranking_softmax_loss": ranking,
    "kl_divergence": divergence(0),
    "generalized_kl_divergence": divergence(1),
    "convex_kl_divergence": divergence(1),
    "kl_divergence_with_log_targets": log_targets,
    "hinge_loss": scores(1),
    "perceptron_loss": scores(0),
    "sparsemax_loss": lambda h: [((a(h, -h, 0, h), np.array([1, 0, 1, 0])), {}, [0, 0, 0.25, h])],
    "multiclass_hinge_loss": classes(1, hinge=1),
    "multiclass_perceptron_loss": classes(0),
    "multiclass_sparsemax_loss": classes(1 / 3),
    "ntxent": ntxent,
    "triplet_margin_loss": triplet,
    "smooth_labels": smoothing,
    "make_fenchel_young_loss": fenchel_young,
    "dice_loss": dice,
    "multiclass_generalized_dice_loss": generalized_dice,
    "binary_dice_loss": binary_dice,
    "ctc_loss": ctc,
    "ctc_loss_with_forward_probs": ctc,
}
