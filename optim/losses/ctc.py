"""Connectionist temporal classification: the probability of a label sequence, summed over all alignments."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .. import checks, numerics
from ..types import Array, Scalar
from .operands import floating, integers, real, widened
from .softmax import softmax

_BELOW_ZERO = checks.Range(high=0.0, open_high=True)


@checks.entrance("ctc_loss_with_forward_probs")
def ctc_loss_with_forward_probs(
    logits: ArrayLike,
    logit_paddings: ArrayLike,
    labels: ArrayLike,
    label_paddings: ArrayLike,
    *,
    blank_id: int = 0,
    log_epsilon: Scalar = -1e5,
) -> tuple[Array, Array, Array]:
    """`ctc_loss`, and the forward variables that it is computed from.

        blank_t[n] = log p_t(blank)   + logadd(blank_t-1[n], emit_t-1[n - 1])
        emit_t[n]  = log p_t(label_n) + logadd(emit_t-1[n], blank_t-1[n], emit_t-1[n - 1] if label_n != label_n-1)

    Args:
      logits: [batch, frames, classes], floating.
      logit_paddings: [batch, frames], 0 for frames and 1 for padding.
      labels: integers [batch, labels], not blank_id.
      label_paddings: [batch, labels], 0 for labels and 1 for padding, which follows the labels.
      blank_id: the class of the blank, an integer in [0, classes).
      log_epsilon: what stands for log 0, < 0. Usually -1e5.
    Returns: the losses [batch]; blank [frames, batch, labels + 1], the log probability to have emitted n labels and to
      stand on a blank, in the last row on a blank or a label; emit [frames, batch, labels], that to stand on label n.
      They are float32, or float64 for logits of float64.
    Raises:  ValueError for other shapes, for blank_id or log_epsilon out of range; TypeError for labels that are not
      integers.
    Source:  Graves et al. 2006, Eqs. 5 to 8.
    """
    z, skipped, y, unused = _sequences(logits, logit_paddings, labels, label_paddings)
    if not checks.is_number(blank_id) or blank_id != int(blank_id) or not 0 <= blank_id < z.shape[-1]:
        checks.fail(f"blank_id must be an integer in [0, {z.shape[-1]}), got {checks.shown(blank_id)}")
    checks.argument("log_epsilon", log_epsilon, _BELOW_ZERO)
    nothing = jnp.asarray(numerics.like(z, log_epsilon), z.dtype)
    logs = jnp.maximum(softmax(z, None, (2,)).log_probabilities(), nothing)
    of_blank = logs[:, :, int(blank_id)].T[..., None]
    y = jnp.where(unused & ((y < 0) | (y >= z.shape[2])), 0, y)  # padding may be anything; a label out of range is NaN
    of_labels = jnp.take_along_axis(logs, y[:, None], 2, mode="fill").swapaxes(0, 1)
    repeated = jnp.where(y[:, 1:] == y[:, :-1], nothing, 0)

    batch, n = y.shape
    column = jnp.full((batch, 1), nothing)

    def frame(before: tuple[Array, Array], row: Any) -> Any:
        (blank, emit), (log_blank, log_labels, skip) = before, row
        other_label = jnp.concatenate([column, emit[:, :-1] + repeated], 1)[:, :n]
        entered = jnp.logaddexp(blank[:, :-1], other_label)
        after = log_blank + either(blank, emit), log_labels + jnp.logaddexp(emit, entered)
        kept = jax.tree.map(lambda new, old: jnp.where(skip[:, None], old, new), after, before)
        return kept, kept

    def either(blank: Array, emit: Array) -> Array:
        """On a blank or on a label, after n labels."""
        return jnp.logaddexp(blank, jnp.concatenate([column, emit], 1))

    emit = jnp.full((batch, n), nothing)
    blank = jnp.concatenate([0 * column, emit], 1)
    (blank, emit), (blanks, emits) = lax.scan(frame, (blank, emit), (of_blank, of_labels, skipped.T))
    last = either(blank, emit)
    loss = -jnp.take_along_axis(last, jnp.sum(~unused, 1, keepdims=True), 1)[:, 0]
    return loss, jnp.concatenate([blanks[:-1], last[None]])[: z.shape[1]], emits


def _sequences(
    logits: ArrayLike, logit_paddings: ArrayLike, labels: ArrayLike, label_paddings: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    """Logits in at least float32, labels, and both paddings as booleans."""
    (z,) = widened(floating("logits", logits))
    if z.ndim != 3:
        checks.fail(f"logits must have shape [batch, frames, classes], got {z.shape}")
    shape = jnp.shape(labels)
    if len(shape) != 2 or shape[0] != len(z):
        checks.fail(f"labels must have shape [batch, labels] with batch = {len(z)} as in logits, got {shape}")
    y = integers("labels", labels, (shape[0], shape[1]))
    paddings = []
    for name, given, wanted in (
        ("logit_paddings", logit_paddings, z.shape[:2]),
        ("label_paddings", label_paddings, y.shape),
    ):
        padding = real(name, given)
        if padding.shape != wanted:
            checks.fail(f"{name} must have shape {wanted}, got {padding.shape}")
        paddings.append(padding != 0)
    return z, paddings[0], y, paddings[1]


@checks.entrance("ctc_loss")
def ctc_loss(
    logits: ArrayLike,
    logit_paddings: ArrayLike,
    labels: ArrayLike,
    label_paddings: ArrayLike,
    *,
    blank_id: int = 0,
    log_epsilon: Scalar = -1e5,
) -> Array:
    """Negative log probability of a label sequence that is shorter than its input and not aligned with it.

        loss = -log(sum over alignments of prod_t p_t(alignment_t)),   p_t = softmax(logits_t)

    An alignment has one class for each frame; without repetitions and then without blanks it is the label sequence.

    Args:
      logits: [batch, frames, classes], floating.
      logit_paddings: [batch, frames], 0 for frames and 1 for padding.
      labels: integers [batch, labels], not blank_id.
      label_paddings: [batch, labels], 0 for labels and 1 for padding, which follows the labels.
      blank_id: the class of the blank, an integer in [0, classes).
      log_epsilon: what stands for log 0, < 0. Usually -1e5.
    Returns: the losses [batch], float32, or float64 for logits of float64. About -log_epsilon where there are too few
      frames, NaN for a label that is out of range.
    Raises:  ValueError for other shapes, for blank_id or log_epsilon out of range; TypeError for labels that are not
      integers.
    Source:  Graves et al. 2006, Eq. 12.
    Differs: Optax treats a label out of range as certain; a logit of -inf gives NaN.
    When:    speech or handwriting.
    """
    return ctc_loss_with_forward_probs(
        logits, logit_paddings, labels, label_paddings, blank_id=blank_id, log_epsilon=log_epsilon
    )[0]
