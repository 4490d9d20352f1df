"""How far explanations can be trusted: deletion and insertion curves, and similarity as weights are destroyed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fovea.errors import DataError, ShapeError
from fovea.pictures.figure import GREY, fit, house_style, png, sheet
from fovea.pictures.overlay import COLOURS, DASHES, MOST

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL, GROUP = 3.0, 1.1  # inches of a method's name in the legend, and of a group's below the axis
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INTACT = "intact"

Lines = Mapping[str, Sequence[float]]  # by method, one number for each point


def faithfulness_curves(
    shares: Sequence[float], deletion: Lines, insertion: Lines, *, random: Sequence[float] | None = None, title: str
) -> bytes:
    """A PNG of a class's probability as the image is taken away (left) and brought back (right), in per cent.

    Left the lowest curve is best, right the highest.

    Args:
        shares: Of the image that is gone, or back, at each point, in [0, 1].
        deletion: By method the mean probability at each point, in [0, 1]; at most 28.
        insertion: The same of the same methods.
        random: Of deletion in random order; None draws no such line.
        title: Stands above both panels.

    Raises:
        ShapeError: a line of another length than the shares.
        DataError: no method, more than can be told apart, or other methods left than right.
    """
    return png(draw_curves(shares, deletion, insertion, random=random, title=title))


def draw_curves(
    shares: Sequence[float], deletion: Lines, insertion: Lines, *, random: Sequence[float] | None = None, title: str
) -> Figure:
    """The figure of `faithfulness_curves`."""
    if list(deletion) != list(insertion):
        raise DataError(
            f"deletion is of {', '.join(deletion)} and insertion of {', '.join(insertion)}; give both of each method, "
            "in the same order"
        )
    _check(deletion, len(shares))
    _check({**insertion, **({} if random is None else {"random order": random})}, len(shares))
    with house_style():
        columns = 1 + (len(deletion) > 1)
        figure = sheet(9.0, 3.9 + 0.2 * -(-(len(deletion) + 1) // columns), title)
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, lines in ((left, deletion), (right, insertion)):
            _draw(axes, _per_cent(shares), {name: _per_cent(line) for name, line in lines.items()})
        if random is not None:
            left.plot(_per_cent(shares), _per_cent(random), "--", color=GREY, label="random order")
        left.set(title="Deletion: lower is better", xlabel="image removed, most important first (%)")
        left.set(ylabel="probability of the class (%)", ylim=(0, 102))
        right.set(title="Insertion: higher is better", xlabel="image shown, most important first (%)")
        _legend(figure, left, columns)
    return figure


def randomisation_lines(groups: Sequence[str], lines: Lines, *, threshold: float, title: str) -> bytes:
    """A PNG of how much each method's maps stay as they were while the weights are destroyed, group after group.

    Args:
        groups: What is destroyed in turn.
        lines: By method the similarity after each group, in [-1, 1]; at most 28. At "intact", before the first, it is
            1.
        threshold: Above which in the end a method fails.
        title: Stands above the picture.

    Raises:
        ShapeError: a line of another length than the groups.
        DataError: no method, or more than can be told apart.
    """
    return png(draw_randomisation(groups, lines, threshold=threshold, title=title))


def draw_randomisation(groups: Sequence[str], lines: Lines, *, threshold: float, title: str) -> Figure:
    """The figure of `randomisation_lines`."""
    _check(lines, len(groups))
    places = list(range(len(groups) + 1))
    with house_style():
        columns = 1 + (len(lines) > 1)
        figure = sheet(max(6.0, 1.5 + 0.42 * len(places)), 4.2 + 0.2 * -(-(len(lines) + 1) // columns), title)
        axes = figure.subplots()
        _draw(axes, places, {name: [1.0, *line] for name, line in lines.items()})
        axes.axhline(threshold, color=GREY, linestyle="--", label="ends above it: fails")
        names = [INTACT, *(fit(group, GROUP, 9.0) for group in groups)]
        axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
        lowest = min((min(line) for line in lines.values() if len(line)), default=0.0)
        axes.set(xlabel="weights destroyed, from the top down", ylabel="rank correlation with the intact map")
        axes.set_ylim(min(0.0, lowest) - 0.02, 1.02)
        _legend(figure, axes, columns)
    return figure


def _check(lines: Lines, points: int) -> None:
    if not lines or len(lines) > MOST:
        raise DataError(f"{len(lines)} methods cannot be drawn; give 1 to {MOST}, which can be told apart")
    for name, line in lines.items():
        if len(line) != points:
            raise ShapeError(f"the line {name!r} has {len(line)} points where there are {points}")


def _per_cent(values: Sequence[float]) -> list[float]:
    return [100 * float(value) for value in values]


def _draw(axes: Axes, places: Sequence[float], lines: Lines) -> None:
    """A line for each method, in a colour, dash and marker of its own."""
    for number, (name, line) in enumerate(lines.items()):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(places, line, label=name, color=colour, linestyle=dash, marker=marker, markersize=4, linewidth=1.6)
    axes.grid(True)


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    labels = [fit(label, LABEL, 9.0) for label in labels]
    figure.legend(handles, labels, loc="outside lower left", ncols=columns, handlelength=3)
