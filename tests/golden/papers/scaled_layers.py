"""Factors that depend on a parameter's layer or head, and measurements that change nothing."""

import numpy as np

from . import paper


def by_row(path, shape):
    """Each row is a layer."""
    return range(shape[0])


def second(path, shape):
    return 1


@paper(
    "layerwise_decay",
    configs=(
        {"decay": 0.75, "num_layers": 6, "layer_of": by_row},
        {"decay": 0.5, "num_layers": 3, "layer_of": second},
    ),
    mutations=("sign", "no_decay", "from_the_top", "one_more"),
    source="Clark et al. 2020: eta_k = eta d^(L - 1 - k)",
)
def layerwise_decay(grads, params, *, mutation=None, decay, num_layers, layer_of):
    """u_k <- d^(L - 1 - k) u_k."""
    layers = np.broadcast_to(layer_of("", params.shape), (params.shape[0],))[:, None]
    depth = layers if mutation == "from_the_top" else num_layers - (0 if mutation == "one_more" else 1) - layers
    return [g * (1.0 if mutation == "no_decay" else decay) ** depth.astype(float) for g in grads]


def logits(grads):
    """The largest logits of two heads at every step, below the threshold at some."""
    return {"max_logits": np.asarray([[90.0 + 7 * n, 210.0 - 5 * n] for n in range(len(grads))])}


@paper(
    "qk_clip",
    configs=({"query": "*", "head_axis": 0}, {"threshold": 50.0, "query": None, "rotary_query": "*", "head_axis": 0}),
    mutations=("sign", "no_root", "never_below", "before_the_step", "one_head"),
    source="2507.20534, Algorithm 1: gamma = min(1, tau / S), W <- sqrt(gamma) W",
    extra=logits,
)
def qk_clip(grads, params, *, mutation=None, threshold=100.0, query=None, rotary_query=None, head_axis):
    """W <- gamma^a (W + u), a = 1/2, or 1 for rotary queries. Two rows a head."""
    updates, half = [], (query is not None) != (mutation == "no_root")
    for g, largest in zip(grads, logits(grads)["max_logits"], strict=True):
        largest = np.full(2, largest.max()) if mutation == "one_head" else largest
        gamma = threshold / largest if mutation == "never_below" else np.minimum(1, threshold / largest)
        factor = np.repeat(gamma ** (0.5 if half else 1.0), 2)[:, None]
        new = factor * params + g if mutation == "before_the_step" else factor * (params + g)
        updates.append(new - params)
        params = new
    return updates


@paper(
    "gradient_noise_scale",
    configs=({"batch_size": 64, "micro_batch_size": 8},),
    mutations=("sign",),
    source="McCandlish et al. 2018, App. A.1",
    extra=lambda grads: {"micro_sq_norm": np.ones(len(grads))},
)
def gradient_noise_scale(grads, params, *, mutation=None, batch_size, micro_batch_size, decay=0.99):
    """The updates are unchanged; tests/units/test_noise_scale.py tests the measurement."""
    return list(grads)
