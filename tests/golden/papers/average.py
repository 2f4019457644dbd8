"""Averages of the parameters."""

from . import paper


@paper(
    "average_params",
    configs=({}, {"decay": 0.9}),
    mutations=("sign",),
    source="Polyak & Juditsky 1992, Eq. 7",
)
def average_params(grads, params, *, mutation=None, decay=None):
    """The updates are unchanged; tests/units/test_average.py tests the average."""
    return list(grads)
