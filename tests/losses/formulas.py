"""The formulas of the losses in NumPy and SciPy, in float64, example by example."""

import itertools

import numpy as np
import scipy.special as sp


def rows(formula, axis, where, *arrays):
    """`formula` on the elements along `axis` of every row, those that are masked out aside; 0 for a row of none."""
    shape = arrays[0].shape
    over = range(len(shape)) if axis is None else [a % len(shape) for a in np.atleast_1d(axis)]
    rest = [a for a in range(len(shape)) if a not in over]
    used = np.ones(shape, bool) if where is None else where
    used = used.reshape(used.shape + (1,) * (len(shape) - used.ndim)) if used.shape != shape[-used.ndim :] else used
    arrays = [np.transpose(x, [*rest, *over]).reshape(-1, *[shape[a] for a in over]) for x in arrays]
    used = np.transpose(np.broadcast_to(used, shape), [*rest, *over]).reshape(arrays[0].shape)
    out = [formula(*(x[u] for x in row)) if u.any() else 0.0 for u, *row in zip(used, *arrays, strict=True)]
    return np.array(out).reshape([shape[a] for a in rest])


def cross_entropy(z, y):
    return -np.sum(y * sp.log_softmax(z))


def softmax_cross_entropy(z, y, axis=-1, where=None):
    return rows(cross_entropy, axis, where, z, y)


def integer_labels(z, y, axis=-1, where=None):
    over = tuple(a % z.ndim for a in np.atleast_1d(axis))
    moved = np.moveaxis(z, over, range(z.ndim - len(over), z.ndim))
    flat = moved.reshape(*moved.shape[: z.ndim - len(over)], -1)
    hot = np.eye(flat.shape[-1])[y].reshape(moved.shape)
    return softmax_cross_entropy(z, np.moveaxis(hot, range(z.ndim - len(over), z.ndim), over), axis, where)


def fenchel_young(z, y):
    return sp.logsumexp(z, -1) - np.sum(z * y, -1)


def poly(z, y, epsilon=2.0, axis=-1, where=None):
    first = rows(lambda z, y: np.sum(y * (1 - sp.softmax(z))), axis, where, z, y)
    return softmax_cross_entropy(z, y, axis, where) + epsilon * first


def binary_cross_entropy(x, y):
    return -y * np.log(sp.expit(x)) - (1 - y) * np.log(sp.expit(-x))


def focal(x, y, alpha=None, gamma=2.0):
    p = sp.expit(x)
    weight = 1 if alpha is None else y * alpha + (1 - y) * (1 - alpha)
    return weight * (1 - y * p - (1 - y) * (1 - p)) ** gamma * binary_cross_entropy(x, y)


def kl(log_p, t, axis=-1, where=None):
    return rows(lambda q, t: np.sum(sp.rel_entr(t, np.exp(q))), axis, where, log_p, t)


def generalized_kl(log_p, t, axis=-1, where=None):
    return rows(lambda q, t: np.sum(sp.kl_div(t, np.exp(q))), axis, where, log_p, t)


def cosine(p, t, epsilon=0.0, axis=-1, where=None):
    def one(p, t):
        return np.sum(p * t) / np.sqrt(max(np.sum(p * p), epsilon) * max(np.sum(t * t), epsilon))

    return rows(one, axis, where, p, t)


def ntxent(e, labels, temperature=0.07):
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    s = unit @ unit.T / temperature
    pairs = [(i, j) for i, j in itertools.permutations(range(len(e)), 2) if labels[i] == labels[j]]
    return np.mean([sp.logsumexp(np.append(s[i][labels != labels[i]], s[i, j])) - s[i, j] for i, j in pairs])


def triplet(a, p, n, axis=-1, norm_degree=2, margin=1.0, eps=1e-6):
    near, far = (np.sum(np.abs(a - b) ** norm_degree, axis) + eps for b in (p, n))
    return np.maximum(near ** (1 / norm_degree) - far ** (1 / norm_degree) + margin, 0)


def sparsemax(v):
    """By the sorted prefix, as in Martins & Astudillo 2016, Alg. 1."""
    falling = np.sort(v)[::-1]
    sums = np.cumsum(falling)
    k = np.flatnonzero(1 + np.arange(1, len(v) + 1) * falling > sums)[-1] + 1
    tau = (sums[k - 1] - 1) / k
    return np.maximum(v - tau, 0), tau


def multiclass_sparsemax(s, y):
    def one(v, label):
        p, tau = sparsemax(v)
        return -v[label] + np.sum(v[p > 0] ** 2 - tau**2) / 2 + 0.5

    flat = [one(v, label) for v, label in zip(s.reshape(-1, s.shape[-1]), y.ravel(), strict=True)]
    return np.array(flat).reshape(y.shape)


def binary_sparsemax(x, y):
    """The loss of the scores (x, 0), of which the first is the label where y is 1."""
    pairs = np.stack([x, np.zeros_like(x)], -1)
    return multiclass_sparsemax(pairs, (1 - y).astype(int))


def multiclass_hinge(s, y, margin=1.0):
    others = margin * (np.eye(s.shape[-1])[y] == 0)
    return np.max(s + others, -1) - np.take_along_axis(s, y[..., None], -1)[..., 0]


def ranking(z, y, where=None, weights=None, reduce_fn=np.mean):
    losses = softmax_cross_entropy(z, y * (1 if weights is None else weights), -1, where)
    if reduce_fn is None or where is None:
        return losses if reduce_fn is None else reduce_fn(losses)
    return reduce_fn(losses[np.broadcast_to(where, z.shape).any(-1)])


def tversky(p, t, over, smooth, alpha, beta):
    hits, extra, missed = np.sum(p * t, over), np.sum(p * (1 - t), over), np.sum((1 - p) * t, over)
    return 1 - (hits + smooth) / (hits + alpha * extra + beta * missed + smooth)


def dice(
    z,
    t,
    class_weights=1.0,
    smooth=1.0,
    alpha=0.5,
    beta=0.5,
    apply_softmax=True,
    reduction="mean",
    ignore_background=False,
    axis=None,
):
    p = (sp.softmax(z, -1) if z.shape[-1] > 1 else sp.expit(z)) if apply_softmax else z
    over = tuple(range(1, z.ndim - 1)) if axis is None else axis
    losses = class_weights * tversky(p, t, over, smooth, alpha, beta)
    losses = losses[..., 1:] if ignore_background and z.shape[-1] > 1 else losses
    return losses if reduction == "none" else {"mean": np.mean, "sum": np.sum}[reduction](losses, -1)


def binary_dice(z, t, smooth=1.0, apply_sigmoid=True):
    p = sp.expit(z) if apply_sigmoid else z
    over = tuple(range(1, z.ndim))
    return 1 - (2 * np.sum(p * t, over) + 2 * smooth) / (np.sum(p, over) + np.sum(t, over) + 2 * smooth)


def generalized_dice(z, t, smooth=1.0, apply_softmax=True, ignore_background=False):
    losses = dice(z, t, 1.0, smooth, 0.5, 0.5, apply_softmax, "none", ignore_background)
    volumes = np.sum(t, tuple(range(t.ndim - 1)))[-losses.shape[-1] :]
    volumes = np.where(volumes > 0, volumes, np.min(volumes[volumes > 0]))
    return np.mean(losses @ volumes**-2.0) / np.sum(volumes**-2.0)


def smooth(labels, alpha, axis=-1, where=None):
    used = np.ones(labels.shape, bool) if where is None else np.broadcast_to(where, labels.shape)
    return (1 - alpha) * labels + alpha / np.sum(used, axis, keepdims=True)


def ctc(z, z_pad, labels, label_pad, blank_id=0):
    """The sum over every alignment: all sequences of classes that collapse to the labels."""

    def one(logs, y):
        total = -np.inf
        for alignment in itertools.product(range(logs.shape[1]), repeat=len(logs)):
            collapsed = [c for c, _ in itertools.groupby(alignment) if c != blank_id]
            if collapsed == list(y):
                total = np.logaddexp(total, sum(row[c] for row, c in zip(logs, alignment, strict=True)))
        return -total

    logs = sp.log_softmax(z, -1)
    return np.array([one(x[p == 0], y[q == 0]) for x, p, y, q in zip(logs, z_pad, labels, label_pad, strict=True)])
