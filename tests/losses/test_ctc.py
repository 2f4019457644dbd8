"""CTC: paddings, and sequences without an alignment. Its values and forward variables are in test_values.py."""

import jax
import jax.numpy as jnp
import numpy as np

import optim

from .cases import FRAME_PAD, FRAMES, SYMBOL_PAD, SYMBOLS

ARGS = tuple(map(jnp.asarray, (FRAMES.astype(np.float32), FRAME_PAD, SYMBOLS, SYMBOL_PAD)))


def test_paddings_do_not_count():
    """What is in padded frames and labels changes neither the loss nor its gradient, which is 0 there."""
    frames, frame_pad, labels, label_pad = ARGS
    other = (
        jnp.where(frame_pad[..., None] == 1, -50.0, frames),
        frame_pad,
        jnp.where(label_pad == 1, 99, labels),
        label_pad,
    )
    run = jax.jit(jax.value_and_grad(lambda *args: optim.ctc_loss(*args).sum()))
    (a, slope), (b, same_slope) = run(*ARGS), run(*other)
    assert a == b
    np.testing.assert_array_equal(slope, same_slope)
    assert not np.any(slope[frame_pad == 1])
    assert np.all(np.any(slope[frame_pad == 0] != 0, -1))


def test_without_an_alignment():
    """Two frames cannot hold two equal labels; without labels all frames are blank; a label out of range is NaN."""
    frames, _, labels, label_pad = ARGS
    frames, labels, some, none = frames[:, :2], labels[:, :2], jnp.zeros((3, 2), int), jnp.ones((3, 2), int)
    all_labels, paddings = jnp.stack([labels, labels, labels + 2]), jnp.stack([some, none, some])

    @jax.jit
    def run(all_labels, paddings):
        of = lambda y, pad: optim.ctc_loss(frames, some, y, pad, log_epsilon=-1e4)  # noqa: E731
        return *jax.vmap(of)(all_labels, paddings), of(labels[:, :0], label_pad[:, :0])

    impossible, blank, outside, empty = run(all_labels, paddings)
    np.testing.assert_array_equal(impossible > 5e3, [True, False, False])
    np.testing.assert_allclose(blank, -np.sum(jax.nn.log_softmax(frames)[..., 0], 1), rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(outside), np.any(labels == 1, 1))
    np.testing.assert_allclose(empty, blank, rtol=1e-6)
