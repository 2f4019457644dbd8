"""Wrong operands and parameters are errors that name the loss, the argument, and what was expected."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim
from optim.checks import CLOSED_UNIT, NON_NEGATIVE, POSITIVE, REAL, Range

from ..every.rows import check_all
from .cases import CASES, loss_of, names
from .test_values import cast

RANGES = {
    "alpha": {"smooth_labels": CLOSED_UNIT, "sigmoid_focal_loss": CLOSED_UNIT, "dice_loss": NON_NEGATIVE},
    **dict.fromkeys(["beta", "eps", "gamma", "margin", "smooth"], NON_NEGATIVE),
    **dict.fromkeys(["delta", "temperature"], POSITIVE),
    "epsilon": {"poly_loss_cross_entropy": REAL, "cosine_similarity": NON_NEGATIVE, "cosine_distance": NON_NEGATIVE},
    "log_epsilon": Range(high=0, open_high=True),
    "norm_degree": Range(1),
}
OTHERS = {
    *("apply_sigmoid", "apply_softmax", "ignore_background"),  # flags
    *("axis", "blank_id", "class_weights", "reduce_fn", "reduction", "weights", "where"),  # tested below
}
SPOKEN = {"make_fenchel_young_loss": "fenchel_young_loss"}


def first_case(name):
    case = next(c for c in CASES if c.name == name)
    return loss_of(optim.losses, name), cast(case.args, "float32"), dict(case.kwargs)


def parameters(name):
    """The arguments that are no operands."""
    given = list(inspect.signature(getattr(optim.losses, name)).parameters)
    return given[len(first_case(name)[1]) :] if name != "make_fenchel_young_loss" else []


def fails(name, kind, text, *args, **kwargs):
    """The call fails with this text behind the loss's name, and so does its trace."""
    loss = loss_of(optim.losses, name) if isinstance(name, str) else name
    spoken = SPOKEN.get(name, name) if isinstance(name, str) else name.__name__
    with pytest.raises(kind, match=rf"^{spoken}: .*{text}"):
        loss(*args, **kwargs)


def test_parameters_out_of_range():
    def check(name):
        _, args, kwargs = first_case(name)
        for word in set(parameters(name)) - OTHERS:
            if word == "targets":
                continue
            ranges = RANGES[word]
            range_ = ranges[name] if isinstance(ranges, dict) else ranges
            for value in range_.outside():
                fails(name, ValueError, f"{word} must be", *args, **{**kwargs, word: value})
                fails(name, ValueError, f"{word} must be", *args, **{**kwargs, word: jnp.asarray(value)})
            fails(name, TypeError, f"{word} must be", *args, **{**kwargs, word: "a"})

    check_all(names(), check)


def test_parameters_are_traced():
    """A tracer is not checked, and the derivative with respect to it is finite."""

    def check(name):
        loss, args, kwargs = first_case(name)
        for word in set(parameters(name)) - OTHERS - {"targets", "log_epsilon"}:
            defaults = inspect.signature(getattr(optim.losses, name)).parameters
            value = {"alpha": 0.5}.get(word, defaults[word].default)
            shape = jax.eval_shape(lambda v, w=word: loss(*args, **{**kwargs, w: v}), jnp.float32(value))
            assert shape == jax.eval_shape(lambda: loss(*args, **kwargs))

    check_all(names(), check)


def test_operands_of_other_kinds():
    """Integers in place of predictions, complex numbers, lists, other shapes."""

    def check(name):
        _, args, kwargs = first_case(name)
        given = args[0]
        fails(
            name,
            TypeError,
            "must be a floating array of at least 16 bits, got .*int32",
            given.astype(jnp.int32),
            *args[1:],
            **kwargs,
        )
        fails(name, TypeError, "must be a floating array .*complex64", given.astype(jnp.complex64), *args[1:], **kwargs)
        fails(name, TypeError, r"must be an array, got \[", given.tolist(), *args[1:], **kwargs)
        for i in range(1, len(args)):
            if np.ndim(args[i]):
                part, complex_one = jnp.asarray(args[i])[:-1], jnp.asarray(args[i], jnp.complex64)
                fails(name, ValueError, "shape", *args[:i], part, *args[i + 1 :], **kwargs)
                kind = "must be an array of (integers|real numbers), got .*complex64"
                fails(name, TypeError, kind, *args[:i], complex_one, *args[i + 1 :], **kwargs)

    check_all(names(), check)


def test_nothing_is_broadcast():
    """A row in place of a matrix is an error that names both shapes; a number is allowed for elementwise losses."""

    def check(name):
        _, args, kwargs = first_case(name)
        for i in range(1, len(args)):
            if args[i].shape == args[0].shape:
                bad = [*args[:i], args[i][:1], *args[i + 1 :]]
                fails(name, ValueError, r"has shape \(1, [\d, ]+\), \w+ has \(\d, [\d, ]+\)$", *bad, **kwargs)

    check_all(names(), check)


X = jnp.ones((2, 3))
LABELS = jnp.zeros(2, int)
CE, INTEGER = "softmax_cross_entropy", "softmax_cross_entropy_with_integer_labels"
SENTENCES = [
    (CE, ValueError, r"axis must name dimensions of logits, which has shape \(2, 3\), got 2", (X, X), {"axis": 2}),
    (CE, ValueError, r"axis must name every dimension once, got \(1, -1\)", (X, X), {"axis": (1, -1)}),
    (CE, TypeError, r"axis must be an integer, a tuple of integers or None, got 'a'", (X, X), {"axis": "a"}),
    (CE, ValueError, r"axis must name dimensions of logits, which has shape \(\)", (X[0, 0], X[0, 0]), {}),
    (CE, TypeError, r"where must be a boolean array, got .*float32", (X, X), {"where": X}),
    (
        CE,
        ValueError,
        r"where must broadcast to the shape \(2, 3\) of logits, got shape \(4,\)",
        (X, X),
        {"where": jnp.ones(4, bool)},
    ),
    ("kl_divergence", ValueError, r"where must broadcast", (X, X), {"where": jnp.ones((5, 2, 3), bool)}),
    (INTEGER, ValueError, r"labels must have shape \(2,\), got \(2, 1\)", (X, LABELS[:, None]), {}),
    (INTEGER, ValueError, r"labels must have shape \(3,\), got \(2,\)", (X, LABELS), {"axis": 0}),
    (INTEGER, TypeError, r"labels must be an array of integers, got .*float32", (X, X[:, 0]), {}),
    (
        "multiclass_hinge_loss",
        ValueError,
        r"scores must have shape \[..., classes\], got \(\)",
        (X[0, 0], LABELS[0]),
        {},
    ),
    (
        "multiclass_hinge_loss",
        ValueError,
        r"scores must have shape \[..., classes\], got \(2, 0\)",
        (X[:, :0], LABELS),
        {},
    ),
    (
        "huber_loss",
        ValueError,
        r"delta must broadcast to the shape \(2, 3\) of predictions",
        (X, X),
        {"delta": jnp.ones(2)},
    ),
    ("huber_loss", ValueError, r"delta must be > 0, got an array with an element 0", (X, X), {"delta": jnp.zeros(3)}),
    ("huber_loss", TypeError, r"delta must be an array of real numbers", (X, X), {"delta": X > 0}),
    ("ntxent", ValueError, r"embeddings must have shape \[examples, features\], got \(3,\)", (X[0], LABELS), {}),
    ("dice_loss", ValueError, r"reduction must be 'mean', 'sum' or 'none', got 'max'", (X, X), {"reduction": "max"}),
    (
        "dice_loss",
        ValueError,
        r"class_weights must have shape \(3,\), one for each class, got \(2,\)",
        (X, X),
        {"class_weights": X[:, 0]},
    ),
    ("dice_loss", ValueError, r"class_weights must be >= 0", (X, X), {"class_weights": -X[0]}),
    ("dice_loss", ValueError, r"axis may have the last dimension", (X, X), {"axis": 1}),
    ("dice_loss", ValueError, r"predictions must have shape \[batch, ..., classes\], got \(\)", (X[0, 0], X[0, 0]), {}),
    ("ranking_softmax_loss", TypeError, r"reduce_fn must be a function", (X, X), {"reduce_fn": 3}),
    ("ranking_softmax_loss", ValueError, r"weights must be >= 0", (X, X), {"weights": -1.0}),
    (
        "ctc_loss",
        ValueError,
        r"blank_id must be an integer in \[0, 3\), got 3",
        (X[None], X[None, :, 0], LABELS[None], X[None, :, 0]),
        {"blank_id": 3},
    ),
    ("ctc_loss", ValueError, r"logits must have shape \[batch, frames, classes\], got \(2, 3\)", (X, X, LABELS, X), {}),
]


def test_sentences():
    def check(row):
        name, kind, text, args, kwargs = row
        fails(name, kind, text, *args, **kwargs)

    check_all(SENTENCES, check, name=lambda row: f"{row[0]}: {row[2]}")


def test_fenchel_young():
    with pytest.raises(TypeError, match=r"^make_fenchel_young_loss: max_fun must be a function of scores, got 3"):
        optim.losses.make_fenchel_young_loss(3)
    loss = optim.losses.make_fenchel_young_loss(lambda s: s)
    with pytest.raises(ValueError, match=r"max_fun must return a scalar for scores of shape \(3,\), got \(3,\)"):
        loss(X, X)
    scaled = optim.losses.make_fenchel_young_loss(lambda s, factor, *, shift: jnp.max(s) * factor + shift)
    np.testing.assert_array_equal(scaled(X, 0 * X, 2.0, shift=1.0), [3, 3])


def test_the_traceback_ends_with_the_users_line():
    with pytest.raises(ValueError, match=re.escape("targets has shape (3,), predictions has (2, 3)")) as error:
        jax.jit(optim.l2_loss)(X, X[0])
    assert error.traceback[-1].path.name == "errors.py"
