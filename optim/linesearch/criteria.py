"""When a step is long enough and goes down far enough; the minimizers of interpolating polynomials."""

import jax.numpy as jnp

from .. import checks
from ..types import Array, Scalar
from .ray import Point, scalar


def decrease_error(
    at: Point, start: Point, slope_rtol: Scalar, approx_dec_rtol: Scalar | None = None, rtol: Scalar = 0.0
) -> Array:
    """How far a point is from sufficient decrease: 0 where it is, infinite where the loss is not finite.

    The loss is at most (1 + rtol) f + slope_rtol step f'; or, where approx_dec_rtol is given, at most
    f + approx_dec_rtol |f| while its slope is at most (2 slope_rtol - 1) f'.
    """
    c = scalar(slope_rtol)
    error = at.value - (1 + scalar(rtol)) * start.value - c * at.step * start.slope
    if approx_dec_rtol is not None:
        flat = at.slope - (2 * c - 1) * start.slope
        near = at.value - start.value - scalar(approx_dec_rtol) * jnp.abs(start.value)
        error = jnp.minimum(error, jnp.maximum(flat, near))
    return _error(error, at.value)


def curvature_error(at: Point, start: Point, curv_rtol: Scalar) -> Array:
    """How much the slope is, in magnitude, above curv_rtol times that at the start."""
    bound = scalar(curv_rtol)
    # inf * 0 is not a bound
    allowed = jnp.where(jnp.isinf(bound), bound, jnp.where(jnp.isinf(bound), 0, bound) * jnp.abs(start.slope))
    return _error(jnp.abs(at.slope) - allowed, at.slope)


def _error(error: Array, seen: Array) -> Array:
    return jnp.where(jnp.isfinite(seen) & ~jnp.isnan(error), jnp.maximum(error, 0), jnp.inf)


def quadratic_minimizer(low: Point, high: Point) -> Array:
    """Where the parabola through both values with the slope of `low` has its minimum; not finite if it has none."""
    width = high.step - low.step
    slope = low.slope * width
    return low.step - width * slope / (2 * (high.value - low.value - slope))


def cubic_minimizer(low: Point, high: Point, other: Point) -> Array:
    """Where the cubic through three values with the slope of `low` has its minimum; not finite if it has none.

    In units of high - low it is f + c x + b x^2 + a x^3, with its values at x = 1 and x = r known.
    """
    width = high.step - low.step
    r = (other.step - low.step) / width
    c = low.slope * width
    at_1, at_r = high.value - low.value - c, other.value - low.value - c * r
    a = (at_r - at_1 * r * r) / (r * r * (r - 1))
    b = at_1 - a
    root = jnp.sqrt(b * b - 3 * a * c)
    # Both are the same root; each is accurate where the other cancels.
    x = jnp.where(b > 0, -c / (b + root), (root - b) / (3 * a))
    return low.step + width * x


def inside(x: Array, low: Point, high: Point, margin: float) -> Array:
    """Whether x is between both steps, and not near either."""
    ends = jnp.minimum(low.step, high.step), jnp.maximum(low.step, high.step)
    edge = margin * (ends[1] - ends[0])
    return jnp.logical_and(x > ends[0] + edge, x < ends[1] - edge)


def or_infinite(name: str, value: Scalar, range_: checks.Range) -> None:
    """Refuse what is outside the range, infinity apart."""
    if not (checks.is_number(value) and value == float("inf")):
        checks.argument(name, value, range_)
