"""One row for each way to call a loss: its arguments, its formula, and why Optax is not asked."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special as sp

import optim

from . import formulas

RNG = np.random.default_rng(7)


@dataclass(frozen=True, eq=False)
class Case:
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    formula: Callable[..., Any] = np.zeros_like
    formula_kwargs: dict[str, Any] | None = None
    not_optax: str = ""

    @property
    def id(self) -> str:
        words = [
            f"{k}={np.shape(v) if isinstance(v, np.ndarray) else getattr(v, '__name__', v)}"
            for k, v in self.kwargs.items()
        ]
        return "-".join([self.name, *words, *(["shapes"] if self.args[0].ndim != 2 else [])])

    def expected(self, *args: Any) -> Any:
        kwargs = self.kwargs if self.formula_kwargs is None else self.formula_kwargs
        return np.asarray(self.formula(*args, **kwargs))


def loss_of(namespace: Any, name: str) -> Callable[..., Any]:
    """The loss of that name; one made from its generator where the name is a generator."""
    f = getattr(namespace, name)
    return f(jax.nn.logsumexp) if name == "make_fenchel_young_loss" else f


def differentiable(args: tuple[Any, ...]) -> tuple[int, ...]:
    """The places of floating arguments."""
    return tuple(i for i, x in enumerate(args) if jnp.issubdtype(jnp.result_type(x), jnp.floating))


X, Y = RNG.normal(size=(3, 4)) * 2, RNG.normal(size=(3, 4))
CUBE, CUBE2 = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 3, 4))
P, P3 = sp.softmax(Y, -1), sp.softmax(CUBE2, -1)
LOG = sp.log_softmax(X, -1)
HOT = np.eye(4)[[1, 3, 0]]
INDEX, INDEX3 = np.array([1, 3, -4]), np.array([[0, 1, 2], [3, 3, 0]])
BITS = (Y > 0).astype(float)
SIGNS = 2 * BITS - 1
MASK = np.array([[True, True, False, True], [False, True, True, True], [True, True, True, True]])
EMPTY = MASK & np.array([[True], [False], [True]])
ROW = np.array([True, False, True, True])
ANCHOR, NEAR, FAR = X, X + 0.3 * Y, Y
EMBEDDINGS, GROUPS = RNG.normal(size=(5, 3)), np.array([0, 1, 0, 1, 1])
IMAGES, REGIONS = RNG.normal(size=(2, 3, 4, 3)), np.eye(3)[RNG.integers(0, 3, (2, 3, 4))]
FRAMES = RNG.normal(size=(3, 5, 3))
FRAME_PAD = np.array([[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 1]])
SYMBOLS, SYMBOL_PAD = np.array([[1, 1, 2], [2, 1, 0], [1, 2, 0]]), np.array([[0, 0, 0], [0, 0, 1], [0, 1, 1]])

UNBROADCAST = "Optax does not broadcast this mask"
MASKED = ({"where": EMPTY}, {"axis": None}, {"axis": 0, "where": MASK})


def variants(name: str, formula: Any, args: Any, *all_kwargs: Any, **reasons: str) -> list[Case]:
    return [
        Case(name, args, kwargs, formula, not_optax=reasons.get(f"r{i}", "")) for i, kwargs in enumerate(all_kwargs)
    ]


CASES = [
    Case("squared_error", (X, Y), {}, lambda p, t: (p - t) ** 2),
    Case("squared_error", (X,), {}, np.square),
    Case("squared_error", (X, np.array(0.5)), {}, lambda p, t: (p - t) ** 2, not_optax="Optax refuses a number"),
    Case("l2_loss", (X, Y), {}, lambda p, t: (p - t) ** 2 / 2),
    Case("l2_loss", (X,), {}, lambda p: p**2 / 2),
    *variants("huber_loss", lambda p, t, delta=1.0: sp.huber(delta, p - t), (X, Y), {}, {"delta": 0.3}),
    Case("huber_loss", (X, Y), {"delta": np.arange(1.0, 5)}, lambda p, t, delta: sp.huber(delta, p - t)),
    Case("log_cosh", (X, Y), {}, lambda p, t: np.log(np.cosh(p - t))),
    Case("log_cosh", (X,), {}, lambda p: np.log(np.cosh(p))),
    *variants("cosine_similarity", formulas.cosine, (X, Y), {}, {"epsilon": 9.0, "where": ROW}, *MASKED[::2]),
    *variants("cosine_distance", lambda *a, **k: 1 - formulas.cosine(*a, **k), (X, Y), {"where": EMPTY}),
    *variants("sigmoid_binary_cross_entropy", formulas.binary_cross_entropy, (X, P), {}),
    Case("sigmoid_binary_cross_entropy", (X, BITS.astype(int)), {}, formulas.binary_cross_entropy),
    *variants("sigmoid_focal_loss", formulas.focal, (X, BITS), {}, {"gamma": 0.0}, {"alpha": 0.25, "gamma": 1.5}),
    Case("sigmoid_focal_loss", (X, P), {"alpha": np.array([0.1, 0.2, 0.3, 0.4])}, formulas.focal),
    *variants("softmax_cross_entropy", formulas.softmax_cross_entropy, (X, P), {}, *MASKED[::2]),
    Case("softmax_cross_entropy", (X, HOT.astype(int)), {}, formulas.softmax_cross_entropy),
    Case("softmax_cross_entropy", (X, P), {"where": np.array([True, False, True])}, formulas.softmax_cross_entropy),
    Case("softmax_cross_entropy", (X, P), {"where": ROW}, formulas.softmax_cross_entropy, not_optax=UNBROADCAST),
    Case("softmax_cross_entropy", (CUBE, P3), {"axis": (0, 2)}, formulas.softmax_cross_entropy),
    Case("safe_softmax_cross_entropy", (X, P), {}, formulas.softmax_cross_entropy),
    *variants(
        "softmax_cross_entropy_with_integer_labels",
        formulas.integer_labels,
        (X, INDEX),
        *({}, {"where": np.array([[1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]], bool)}),
        {"where": np.array([True, False, True])},
    ),
    *variants(
        "softmax_cross_entropy_with_integer_labels", formulas.integer_labels, (X, np.array([0, 2, 1, 1])), {"axis": 0}
    ),
    *variants("softmax_cross_entropy_with_integer_labels", formulas.integer_labels, (CUBE, INDEX3), {}),
    *variants(
        "softmax_cross_entropy_with_integer_labels",
        formulas.integer_labels,
        (CUBE, np.array([0, 7, 5])),
        *({"axis": (0, 2)}, {"axis": (2, 0)}),
    ),
    *variants("poly_loss_cross_entropy", formulas.poly, (X, P), {}, {"epsilon": -1.0, "axis": 0}, {"where": EMPTY}),
    *variants("kl_divergence", formulas.kl, (LOG, P), {}, *MASKED),
    Case("kl_divergence", (LOG, HOT.astype(int)), {}, formulas.kl, not_optax="Optax refuses integers"),
    *variants(
        "kl_divergence_with_log_targets", lambda p, t, **k: formulas.kl(p, np.exp(t), **k), (LOG, Y), {}, *MASKED[:2]
    ),
    *variants("generalized_kl_divergence", formulas.generalized_kl, (LOG, 3 * P), {}, MASKED[0]),
    *variants("convex_kl_divergence", formulas.generalized_kl, (LOG, 3 * P), {"axis": 0, "where": MASK}),
    Case("hinge_loss", (X, SIGNS), {}, lambda s, t: np.maximum(1 - s * t, 0)),
    Case("hinge_loss", (X, SIGNS.astype(int)), {}, lambda s, t: np.maximum(1 - s * t, 0)),
    Case("perceptron_loss", (X, SIGNS), {}, lambda s, t: np.maximum(-s * t, 0)),
    Case("sparsemax_loss", (X, BITS.astype(int)), {}, formulas.binary_sparsemax),
    Case("multiclass_hinge_loss", (X, np.array([1, 3, 0])), {}, formulas.multiclass_hinge),
    Case("multiclass_hinge_loss", (CUBE, INDEX3), {}, formulas.multiclass_hinge),
    Case("multiclass_perceptron_loss", (X, np.array([1, 3, 0])), {}, lambda *a: formulas.multiclass_hinge(*a, 0.0)),
    Case("multiclass_sparsemax_loss", (X, np.array([1, 3, 0])), {}, formulas.multiclass_sparsemax),
    Case(
        "multiclass_sparsemax_loss",
        (CUBE, INDEX3),
        {},
        formulas.multiclass_sparsemax,
        not_optax="Optax has no batches of batches",
    ),
    *variants("ntxent", formulas.ntxent, (EMBEDDINGS, GROUPS), {}),
    *variants("ntxent", formulas.ntxent, (EMBEDDINGS, np.array([0, 1, 0, 1, 2])), {"temperature": 0.5}),
    *variants("triplet_margin_loss", formulas.triplet, (ANCHOR, NEAR, FAR), {}, {"axis": 0, "margin": 3.0, "eps": 0.1}),
    *variants(
        "triplet_margin_loss",
        formulas.triplet,
        (ANCHOR, NEAR, FAR),
        {"norm_degree": 1, "margin": 5.0},
        {"norm_degree": 3.5, "margin": 5.0},
        r0="Optax leaves out the absolute value",
        r1="Optax leaves out the absolute value",
    ),
    *variants("smooth_labels", formulas.smooth, (P, 0.1), {}, {"axis": 0}, {"axis": None}, {"where": MASK}),
    Case("smooth_labels", (P, np.array([[0.1], [0.2], [0.3]])), {}, formulas.smooth),
    *variants("ranking_softmax_loss", formulas.ranking, (X, 3 * P), {}, {"reduce_fn": None}, {"where": EMPTY}),
    *variants(
        "ranking_softmax_loss",
        formulas.ranking,
        (X, 3 * P),
        {"where": EMPTY, "reduce_fn": None, "weights": np.arange(1.0, 5)},
    ),
    Case(
        "ranking_softmax_loss",
        (X, P),
        {"where": ROW, "reduce_fn": jnp.sum},
        formulas.ranking,
        {"where": ROW, "reduce_fn": np.sum},
    ),
    Case("make_fenchel_young_loss", (X, P), {}, formulas.fenchel_young),
    Case("make_fenchel_young_loss", (CUBE, P3), {}, formulas.fenchel_young),
    *variants(
        "dice_loss",
        formulas.dice,
        (IMAGES, REGIONS),
        *({}, {"reduction": "sum", "smooth": 0.1, "alpha": 0.3, "beta": 0.9}, {"ignore_background": True}),
        *({"class_weights": np.array([1.0, 2.0, 3.0]), "axis": (0, 1, 2)}, {"axis": (2,), "reduction": "none"}),
    ),
    Case(
        "dice_loss",
        (sp.softmax(IMAGES, -1), REGIONS),
        {"apply_softmax": False},
        formulas.dice,
        not_optax="Optax looks at the values, and cannot be compiled",
    ),
    Case("dice_loss", (IMAGES[..., :1], REGIONS[..., :1]), {"ignore_background": True}, formulas.dice),
    *variants("binary_dice_loss", formulas.binary_dice, (IMAGES, REGIONS), {}, {"smooth": 0.1}),
    Case(
        "binary_dice_loss",
        (sp.expit(IMAGES), REGIONS),
        {"apply_sigmoid": False},
        formulas.binary_dice,
        not_optax="Optax asks for probabilities that sum to 1",
    ),
    *variants("multiclass_generalized_dice_loss", formulas.generalized_dice, (IMAGES, REGIONS), {}, {"smooth": 0.2}),
    Case(
        "multiclass_generalized_dice_loss",
        (IMAGES, REGIONS),
        {"ignore_background": True},
        formulas.generalized_dice,
        not_optax="in Optax the weights of the other classes do not sum to 1",
    ),
    Case(
        "multiclass_generalized_dice_loss",
        (IMAGES, REGIONS.astype(int) * np.array([0, 1, 1])),
        {},
        formulas.generalized_dice,
        not_optax="in Optax the absent class has all the weight",
    ),
    Case("ctc_loss", (FRAMES, FRAME_PAD, (SYMBOLS + 2) % 3, SYMBOL_PAD), {"blank_id": 2}, formulas.ctc),
    Case(
        "ctc_loss_with_forward_probs",
        (FRAMES, FRAME_PAD, SYMBOLS, SYMBOL_PAD),
        {},
        formulas.ctc,
    ),
]


def names() -> list[str]:
    return sorted(optim.losses.__all__)
