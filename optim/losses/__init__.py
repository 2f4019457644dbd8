"""Losses: functions of predictions and targets, mostly one loss for each example.

They compute in at least float32 and return the dtype of their operands. Values and derivatives are finite at the edges:
zero vectors, probabilities 0 and 1, masks without an element, large logits.
"""

import typing as _typing

from .. import hints as _hints
from .cross_entropy import (
    poly_loss_cross_entropy,
    safe_softmax_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)
from .ctc import ctc_loss, ctc_loss_with_forward_probs
from .divergence import (
    convex_kl_divergence,
    generalized_kl_divergence,
    kl_divergence,
    kl_divergence_with_log_targets,
)
from .fenchel_young import make_fenchel_young_loss
from .margin import (
    hinge_loss,
    multiclass_hinge_loss,
    multiclass_perceptron_loss,
    multiclass_sparsemax_loss,
    perceptron_loss,
    sparsemax_loss,
)
from .ranking import ranking_softmax_loss
from .regression import huber_loss, l2_loss, log_cosh, squared_error
from .segmentation import binary_dice_loss, dice_loss, multiclass_generalized_dice_loss
from .sigmoid import sigmoid_binary_cross_entropy, sigmoid_focal_loss
from .similarity import cosine_distance, cosine_similarity, ntxent, triplet_margin_loss
from .smoothing import smooth_labels

__all__ = [
    "binary_dice_loss",
    "convex_kl_divergence",
    "cosine_distance",
    "cosine_similarity",
    "ctc_loss",
    "ctc_loss_with_forward_probs",
    "dice_loss",
    "generalized_kl_divergence",
    "hinge_loss",
    "huber_loss",
    "kl_divergence",
    "kl_divergence_with_log_targets",
    "l2_loss",
    "log_cosh",
    "make_fenchel_young_loss",
    "multiclass_generalized_dice_loss",
    "multiclass_hinge_loss",
    "multiclass_perceptron_loss",
    "multiclass_sparsemax_loss",
    "ntxent",
    "perceptron_loss",
    "poly_loss_cross_entropy",
    "ranking_softmax_loss",
    "safe_softmax_cross_entropy",
    "sigmoid_binary_cross_entropy",
    "sigmoid_focal_loss",
    "smooth_labels",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
    "sparsemax_loss",
    "squared_error",
    "triplet_margin_loss",
]

if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__)
