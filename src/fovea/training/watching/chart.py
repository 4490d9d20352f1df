"""A light line chart as SVG, written by hand: drawn after every epoch, so that it must cost next to nothing.

Its colours are the page's own, light or dark; a point tells its number where the pointer rests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple, TypeGuard

WIDTH, HEIGHT = 480, 220  # of the drawing
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 10, 24  # margins
TICKS = 5  # of an axis, about
DOTS = 40  # points of a line that are dots; of more every so many answers the pointer, unseen
TWO_DECADES = 100.0  # what spans more is drawn on a logarithmic scale
STYLE = """
.chart svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif }
.chart text { fill: var(--grey) }
.chart .grid { stroke: var(--line); stroke-width: 1 }
.chart .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.chart .best { stroke: var(--grey); stroke-dasharray: 3 3 }
.chart .ring { fill: none; stroke: var(--ink); stroke-width: 1.6 }
.chart .hit { fill: transparent }
.chart .hit:hover { fill: var(--ink) }
.chart figcaption span { font-weight: 400; white-space: nowrap; margin-left: .9em; font-variant-numeric: tabular-nums }
.chart figcaption i { display: inline-block; width: 1.1em; height: 3px; margin-right: .35em; vertical-align: .25em }
"""


Number = float | int | None


class Line(NamedTuple):
    """Values by epoch; what was not measured is None or not finite.

    Args:
        name: In the legend; "" where there is one line.
        colour: A colour of the page: "--blue".
        values: One for each epoch.
    """

    name: str
    colour: str
    values: Sequence[Number]

    def points(self, epochs: Sequence[int]) -> list[tuple[int, float]]:
        """What was measured, with its epoch."""
        return [(epoch, float(value)) for epoch, value in zip(epochs, self.values, strict=True) if is_measured(value)]


class Scale(NamedTuple):
    """From values to shares of an axis, 0 to 1."""

    low: float
    high: float
    logarithmic: bool = False

    def place(self, value: float | int) -> float:
        """Where a value lies."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values within."""
        if not self.logarithmic:
            step = round_step((self.high - self.low) / TICKS)
            first = math.ceil(self.low / step - 1e-9)
            return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        return [10.0**power for power in range(first, last + 1, max(1, (last - first) // TICKS))]


def chart(
    title: str, epochs: Sequence[int], lines: Sequence[Line], *, best: int | None = None, floor: bool = False
) -> str:
    """A figure of HTML: the title with the legend, and below it the lines over the epochs.

    Args:
        title: What is drawn, with its unit.
        epochs: Their numbers, rising.
        lines: What is drawn, the marked one last; logarithmically where all together span more than two decades.
        best: The epoch that is marked.
        floor: The scale is linear and begins at 0.
    """
    measured = [line.points(epochs) for line in lines]
    head = f"<figcaption>{escape(title)}{''.join(map(_legend, lines, measured))}</figcaption>"
    values = [value for points in measured for _, value in points]
    if not values:
        return f'<figure class="chart">{head}<p class="none">not measured yet</p></figure>'
    across, up = _across(epochs), _up(values, floor=floor)
    inside = [_grid(across, up), *(_drawn(*each, across, up) for each in zip(lines, measured, strict=True))]
    if best is not None:
        inside.append(_mark(best, dict(measured[-1]).get(best), across, up))
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)} by epoch"'
    return f'<figure class="chart">{head}<svg {box}>{"".join(inside)}</svg></figure>'


def is_measured(value: Number) -> TypeGuard[float | int]:
    """Whether there is a number to draw."""
    return value is not None and math.isfinite(value)


def round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, … and their decimal fractions that is not below a positive number."""
    decade = 10.0 ** math.floor(math.log10(least))
    return next(factor * decade for factor in (1.0, 2.0, 5.0, 10.0) if factor * decade >= least * (1 - 1e-9))


def told(value: float) -> str:
    """A number in four digits, thousands set apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _legend(line: Line, points: Sequence[tuple[int, float]]) -> str:
    value = told(points[-1][1]) if points else "–"
    return f'<span><i style="background:var({line.colour})"></i>{escape(line.name)} {value}</span>'


def _across(epochs: Sequence[int]) -> Scale:
    first, last = float(epochs[0]), float(epochs[-1])
    return Scale(first, last) if last > first else Scale(first - 0.5, first + 0.5)


def _up(values: Sequence[float], *, floor: bool) -> Scale:
    low, high = min(values), max(values)
    if not floor and low > 0 and high / low > TWO_DECADES:
        return Scale(low / 1.1, high * 1.1, logarithmic=True)
    low = min(0.0, low) if floor else low
    margin = 0.06 * (high - low) or max(abs(high) * 0.1, 1e-9)
    return Scale(low if floor else low - margin, high + margin)


def _x(share: float) -> float:
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _grid(across: Scale, up: Scale) -> str:
    drawn = []
    for value in up.ticks():
        y = _y(up.place(value))
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        drawn.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{_short(value)}</text>')
    for value in across.ticks():
        if value == int(value):
            x = _x(across.place(value))
            drawn.append(f'<text x="{x}" y="{HEIGHT - 6}" text-anchor="middle">{value:g}</text>')
    return "".join(drawn)


def _short(value: float) -> str:
    """A tick: its rounding errors gone."""
    value = float(f"{value:.6g}")
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def _drawn(line: Line, points: Sequence[tuple[int, float]], across: Scale, up: Scale) -> str:
    placed = [(epoch, value, _x(across.place(epoch)), _y(up.place(value))) for epoch, value in points]
    path = " ".join(f"{x},{y}" for _, _, x, y in placed)
    dots, every = len(points) <= DOTS, max(1, len(points) // DOTS)
    form = f'r="3" style="fill:var({line.colour})"' if dots else 'r="7" class="hit"'
    circles = [
        f'<circle cx="{x}" cy="{y}" {form}><title>{escape(line.name)} {told(value)}, epoch {epoch}</title></circle>'
        for epoch, value, x, y in placed[::-every]
    ]
    return f'<polyline class="line" style="stroke:var({line.colour})" points="{path}"/>' + "".join(circles)


def _mark(best: int, value: float | None, across: Scale, up: Scale) -> str:
    x = _x(across.place(best))
    mark = f'<line class="best" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    if value is not None:
        mark += f'<circle class="ring" cx="{x}" cy="{_y(up.place(value))}" r="6"/>'
    return mark
