"""The house style of every picture, and the one way from a figure to bytes.

Colours are those of Okabe and Ito, which people with any colour vision tell apart. matplotlib's settings are the
process's own, so the style holds only inside `house_style()`, begins from matplotlib's defaults (never from the user's
file), and puts everything back; a lock keeps two threads from meeting there.
"""

from __future__ import annotations

import io
import textwrap
import threading
import warnings
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, INK, GREY, PALE = "#0072B2", "#D55E00", "#222222", "#6b6b6b", "#e6e6e6"
DOTS_PER_INCH = 150
LEFT = 0.06  # inches from the left edge to the title
LONGEST = 200  # characters of a name that are looked at
STYLE = {
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelcolor": GREY,
    "axes.edgecolor": "#b0b0b0",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "xtick.color": "#b0b0b0",
    "ytick.color": "#b0b0b0",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "image.interpolation": "nearest",
}
FALLBACKS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "PingFang SC", "Hiragino Sans")
MISSING = r"Glyph \d+"  # a character that no font here has is drawn as a box: seen, not fatal
_one_at_a_time = threading.RLock()


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save inside this; outside, matplotlib's settings are what they were."""
    import matplotlib.style

    with _one_at_a_time, matplotlib.style.context(["default", {**STYLE, "font.family": _families()}]):
        yield


@cache
def _families() -> list[str]:
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in FALLBACKS if name in installed)]


def sheet(width: float, height: float, title: str) -> Figure:
    """An empty figure of width by height inches with its title at the upper left, wrapped into at most three lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    lines = textwrap.fill(title, width=int(width * 8.5), max_lines=3, placeholder=" …")
    figure.suptitle(lines, x=LEFT / width, ha="left", fontsize=12, fontweight="bold")
    return figure


def bare(axes: Axes) -> None:
    """Without frame, ticks and labels.

    An axis that is off is measured all the same, several times a drawing; one that is not visible is not: a sheet of
    many cells takes little more than half the time.
    """
    axes.axis("off")
    axes.xaxis.set_visible(False)
    axes.yaxis.set_visible(False)


def fit(text: str, inches: float, points: float) -> str:
    """The text, cut in its middle with an ellipsis where it would be wider than so many inches at that font size."""
    text = one_line(text)
    text = text if len(text) <= LONGEST else text[: LONGEST // 2] + text[-LONGEST // 2 :]
    if len(text) <= 2 or width(text, points) <= inches:
        return text

    def cut(kept: int) -> str:
        return text[: (kept + 1) // 2].rstrip() + "…" + text[len(text) - kept // 2 :].lstrip()

    lengths = range(2, len(text))
    return cut(max(2, 1 + bisect_right(lengths, inches, key=lambda kept: width(cut(kept), points))))


def one_line(text: str) -> str:
    """The text with every run of blanks and line ends as one blank."""
    return " ".join(text.split())


def width(text: str, points: float) -> float:
    """How many inches the text takes at that font size."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=_families(), size=points)
    with _one_at_a_time, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING)
        pixels, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(pixels) / 72  # a text path is measured at 72 dots per inch


def png(figure: Figure) -> bytes:
    """The figure as a PNG without date or software, so that equal figures give equal bytes."""
    into = io.BytesIO()
    with house_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING)
        figure.savefig(
            into, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight", pad_inches=0.12, metadata={"Software": None}
        )
    return into.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as an SVG whose text is text; without date, so that equal figures give equal bytes."""
    import matplotlib

    into = io.BytesIO()
    fixed: Any = {"svg.fonttype": "none", "svg.hashsalt": "fovea"}
    with house_style(), matplotlib.rc_context(fixed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING)
        figure.savefig(into, format="svg", bbox_inches="tight", pad_inches=0.12, metadata={"Date": None})
    return into.getvalue()
