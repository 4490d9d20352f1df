"""How far one epoch's updates moved each layer, as a list of bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

LOW, USUAL, HIGH = 1e-6, 1e-3, 1.0  # of the scale; the usual ratio: Karpathy, CS231n, Stanford 2015
FAR = 10.0  # times more or less than usual is marked
STYLE = """
.layers { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr max-content; gap: 2px .8rem;
  max-height: 36rem; overflow: auto; font-size: 13px; font-variant-numeric: tabular-nums }
.layers > span { overflow-wrap: anywhere }
.track { position: relative; background: var(--head); min-width: 6rem }
.track b { position: absolute; inset: 15% auto 15% 0; background: var(--blue); border-radius: 0 2px 2px 0 }
.track b.far { background: var(--orange) }
.track i { position: absolute; inset: 0 auto 0 50%; border-left: 1.5px solid var(--ink) }
@media (max-width: 40rem) { .layers { font-size: 12px; gap: 2px .5rem } .track { min-width: 4rem } }
"""


def layer_bars(rows: Sequence[Mapping[str, Any]]) -> str:
    """A list of HTML: each layer of an epoch with the size of its updates against its weights.

    The scale is logarithmic from 1e-6 to 1, and the line in its middle stands at the usual 1e-3; a bar that ends more
    than a decade from it is orange.

    Args:
        rows: Of layers.csv, of one epoch.
    """
    epoch = rows[-1]["epoch"]
    lines = "\n".join(_bar(str(row["layer"]), row["update_ratio"]) for row in rows)
    return (
        f"<h2>Updates against weights in epoch {epoch}</h2>"
        f'<p class="none">Norm of the update over norm of the weights, logarithmically from {LOW:g} to {HIGH:g}. '
        f"The line is at {USUAL:g}, about which healthy training lies; what is ten times more or less is orange.</p>"
        f'<div class="layers">{lines}</div>'
    )


def _bar(layer: str, ratio: float | None) -> str:
    if ratio is None or not math.isfinite(ratio):
        return f'<span>{escape(layer)}</span><div class="track"><i></i></div><span>–</span>'
    share = math.log(min(max(ratio, LOW), HIGH) / LOW) / math.log(HIGH / LOW)
    far = "" if USUAL / FAR <= ratio <= USUAL * FAR else ' class="far"'
    bar = f'<div class="track"><b{far} style="width:{100 * share:.1f}%"></b><i></i></div>'
    return f"<span>{escape(layer)}</span>{bar}<span>{ratio:.1e}</span>"
