"""Pictures of runs and schedules as SVG, each in the colours of the light and the dark pages.

matplotlib draws the shared background once (a surface, the axes of the digits); a run is an SVG path on top of it.
"""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from runs import DIGITS_EVERY, DIGITS_STEPS, SURFACES, Run

from optim.core.registry import Entry

# Placeholder colour -> colour on light and dark pages
TEXT, FAINT, LAND, RUN, OTHER = "#000001", "#000002", "#000003", "#000004", "#000005"
PAGES = {
    "light": {TEXT: "#3b4252", FAINT: "#c9d1dc", LAND: "#0f8b8d", RUN: "#d1495b", OTHER: "#3066be"},
    "dark": {TEXT: "#c9d1dc", FAINT: "#434c5e", LAND: "#4fc3c4", RUN: "#ff8c7a", OTHER: "#8ab4ff"},
}
SIZE = (3.6, 2.5)
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "optim",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": TEXT,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": TEXT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
}
FONTS = "font-family: system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Base:
    """A background drawing, and the transform from its data coordinates to pixels."""

    svg: str
    height: float
    box: tuple[float, float, float, float]
    to_pixels: Any

    def place(self, points: Any) -> np.ndarray:
        with np.errstate(all="ignore"):
            pixels = self.to_pixels(np.asarray(points, float))
        pixels[:, 1] = self.height - pixels[:, 1]
        return np.clip(pixels, -1e4, 1e4)


def written(figure: Figure) -> str:
    """The figure as compact SVG: no metadata, one decimal, system fonts."""
    import io

    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"(?<=[ \"(])-?\d+\.\d{2,}(?= )", lambda m: f"{float(m[0]):.1f}", text)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", rf"font-size: \1; {FONTS}", text)
    return re.sub(r">\s+<", "><", text)


def base(figure: Figure, axes: Any) -> Base:
    svg = written(figure)  # also lays out the axes
    box = axes.get_window_extent()
    height = figure.get_size_inches()[1] * 72
    left, top, right, bottom = box.x0, height - box.y1, box.x1, height - box.y0
    return Base(svg, height, (left, top, right - left, bottom - top), axes.transData.frozen().transform)


def figure() -> Figure:
    return Figure(figsize=SIZE, dpi=72, layout="constrained")


@functools.cache
def surface(name: str) -> Base:
    """A surface as filled contours: darker is lower; a cross at the minimum."""
    it = SURFACES[name]
    (x0, x1), (y0, y1) = it.view
    x, y = np.meshgrid(np.linspace(x0, x1, 60), np.linspace(y0, y1, 44))
    z = np.asarray(it.f(np.stack([x, y])))
    with mpl.rc_context(STYLE):
        drawing = figure()
        axes = drawing.subplots()
        for level in np.geomspace(*it.levels, 9):
            axes.contourf(x, y, z, levels=[-1, level], colors=[LAND], alpha=0.085)
        axes.plot(*it.lowest, "+", color=TEXT, markersize=9, markeredgewidth=1.2)
        axes.set(xlim=(x0, x1), ylim=(y0, y1))
        axes.set_axis_off()
        return base(drawing, axes)


def over(drawing: Base, marks: str) -> str:
    """`drawing` with `marks` on top, clipped at the axes."""
    x, y, width, height = drawing.box
    cut = f'<clipPath id="box"><rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/></clipPath>'
    end = drawing.svg.rindex("</svg>")
    return f'{drawing.svg[:end]}<defs>{cut}</defs><g clip-path="url(#box)">{marks}</g></svg>'


def d(points: np.ndarray) -> str:
    """Points in pixels as the data of an SVG path, up to the first non-finite point."""
    finite = np.isfinite(points).all(axis=1)
    points = points[: len(points) if finite.all() else int(np.argmin(finite))]
    return "M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def path_picture(name: str, run: Run) -> str:
    """The path on a surface: a ring at the start, a dot at each step."""
    drawing = surface(name)
    points = drawing.place(run.observations)
    line = d(points)
    dots = re.sub(r"([-\d.]+,[-\d.]+)", r"M\1h.01", line.replace("M", "", 1))
    (x, y), last = points[0], line.replace("M", "").split(" ")[-1].split(",")
    stroke = f'fill="none" stroke="{RUN}" stroke-linecap="round" stroke-linejoin="round"'
    return over(
        drawing,
        f'<path d="{line}" {stroke} stroke-width="1"/><path d="{dots}" {stroke} stroke-width="2.6"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="none" stroke="{RUN}" stroke-width="1.4"/>'
        f'<circle cx="{last[0]}" cy="{last[1]}" r="3.6" fill="{RUN}"/>',
    )


STEPS = np.arange(0, DIGITS_STEPS + 1, DIGITS_EVERY)


def digits_axes(curves: Sequence[Sequence[float]]) -> Base:
    """Axes for the loss on the digits; the background is the 10th to 90th percentile of all optimizers."""
    with np.errstate(all="ignore"):
        low, middle, high = np.nanpercentile(np.nan_to_num(np.array(curves), nan=1e3, posinf=1e3), (10, 50, 90), axis=0)
    with mpl.rc_context(STYLE):
        drawing = figure()
        axes = drawing.subplots()
        axes.fill_between(STEPS, low, high, color=LAND, alpha=0.13, linewidth=0)
        axes.plot(STEPS, middle, color=LAND, linewidth=1, linestyle=(0, (3, 2)))
        axes.set(yscale="log", xlim=(0, DIGITS_STEPS), ylim=(0.008, 4), xlabel="step", ylabel="training loss")
        axes.set_xticks(range(0, DIGITS_STEPS + 1, 60))
        axes.set_yticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
        axes.yaxis.set_minor_formatter("")
        axes.grid(axis="y")
        return base(drawing, axes)


def curve_picture(axes: Base, run: Run) -> str:
    line = d(axes.place(np.stack([STEPS, np.minimum(np.nan_to_num(run.values, nan=1e3), 1e3)], axis=1)))
    return over(axes, f'<path d="{line}" fill="none" stroke="{RUN}" stroke-width="2" stroke-linejoin="round"/>')


def schedule_picture(entry: Entry) -> str:
    """The value at every count, for the factory's first two examples."""
    schedules = [entry(*e.args, **e.kwargs) for e in entry.examples[:2]]
    counts = np.arange(29)
    with mpl.rc_context(STYLE):
        drawing = Figure(figsize=(5.4, 2.5), dpi=72, layout="constrained")
        axes = drawing.subplots()
        for schedule, colour, style in zip(schedules, (RUN, OTHER), ("-", (0, (4, 2))), strict=False):
            values = np.asarray(jax.vmap(schedule)(counts), float)
            values = np.broadcast_to(values, counts.shape)
            axes.plot(counts, values, color=colour, linewidth=1.6, linestyle=style)
            axes.plot(counts, values, "o", color=colour, markersize=2.6)
        top = axes.get_ylim()[1]
        axes.set(xlabel="count", xlim=(0, 28), ylim=(0 if top > 0 else None, top * 1.02))
        axes.grid(axis="y")
        return written(drawing)


def coloured(svg: str) -> Mapping[str, str]:
    """light and dark -> the drawing in those colours."""
    return {page: functools.reduce(lambda s, c: s.replace(*c), colours.items(), svg) for page, colours in PAGES.items()}


def number(x: float) -> str:
    """A value as the captions print it."""
    if not math.isfinite(x):
        return "not finite"
    if x == 0 or 1e-3 <= abs(x) < 1e4:
        return f"{x:.3g}"
    mantissa, exponent = f"{x:.1e}".split("e")
    return f"{mantissa} \u00d7 10<sup>{int(exponent)}</sup>".replace("-", "\u2212")
