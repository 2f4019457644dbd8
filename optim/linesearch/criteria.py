"""Criteria for a step length, and minimizers of interpolating polynomials."""

import jax.numpy as jnp

from ..types import Array, Scalar
from .ray import Point, scalar


def decrease_error(
    at: Point, start: Point, slope_rtol: Scalar, approx_dec_rtol: Scalar | None = None, rtol: Scalar = 0.0
) -> Array:
    """Distance of a point from sufficient decrease: 0 if satisfied, infinite if the loss is not finite.

    The loss is at most (1 + rtol) f + slope_rtol step f'; or, where approx_dec_rtol is given, at most f +
    approx_dec_rtol |f| while its slope is at most (2 slope_rtol - 1) f'.
    """
    c = scalar(slope_rtol)
    error = at.value - (1 + scalar(rtol)) * start.value - c * at.step * start.slope
    if approx_dec_rtol is not None:
        flat = at.slope - (2 * c - 1) * start.slope
        near = at.value - start.value - scalar(approx_dec_rtol) * jnp.abs(start.value)
        error = jnp.minimum(error, jnp.maximum(flat, near))
    return _error(error, at.value)


def curvature_error(at: Point, start: Point, curv_rtol: Scalar) -> Array:
    """Excess of |slope| over curv_rtol times the magnitude of the initial slope."""
    bound = scalar(curv_rtol)
    # avoid inf * 0
    allowed = jnp.where(jnp.isinf(bound), bound, jnp.where(jnp.isinf(bound), 0, bound) * jnp.abs(start.slope))
    return _error(jnp.abs(at.slope) - allowed, at.slope)


def _error(error: Array, finite_if: Array) -> Array:
    return jnp.where(jnp.isfinite(finite_if) & ~jnp.isnan(error), jnp.maximum(error, 0), jnp.inf)


def quadratic_minimizer(low: Point, high: Point) -> Array:
    """Minimum of the parabola through both values with the slope of `low`; non-finite if it has none."""
    width = high.step - low.step
    slope = low.slope * width
    return low.step - width * slope / (2 * (high.value - low.value - slope))


def cubic_minimizer(low: Point, high: Point) -> Array:
    """Minimum of the cubic through both values and slopes; non-finite if it has none.

    In units of high - low the cubic is f + c x + b x^2 + a x^3.
    """
    width = high.step - low.step
    rise, c, end = high.value - low.value, low.slope * width, high.slope * width
    a = (end - c) - 2 * (rise - c)
    b = (rise - c) - a
    root = jnp.sqrt(b * b - 3 * a * c)
    # Both formulas give the same root; each is accurate where the other cancels.
    return low.step + width * jnp.where(b > 0, -c / (b + root), (root - b) / (3 * a))


def inside(x: Array, low: Point, high: Point, margin: float = 0.1) -> Array:
    """Whether x lies between both steps, at a distance of more than `margin` times the interval from either."""
    ends = jnp.minimum(low.step, high.step), jnp.maximum(low.step, high.step)
    edge = margin * (ends[1] - ends[0])
    return jnp.logical_and(x > ends[0] + edge, x < ends[1] - edge)
