"""Attributions as they are shown: what they are worth in a table, and a row of pictures for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fovea.explain.attributing import Attribution
from fovea.explain.faithfulness import Curves
from fovea.explain.methods import METHODS
from fovea.explain.pointing import Pointing
from fovea.explain.randomising import Randomisation
from fovea.explain.showing import Showing
from fovea.pictures.faithful import faithfulness_curves, randomisation_lines
from fovea.pictures.heat_maps import Heat, heat_maps
from fovea.pictures.page import Picture, Section, Table, Text


def show_attributions(
    found: Sequence[Attribution],
    curves: Mapping[str, Curves],
    tests: Sequence[Randomisation],
    pointings: Sequence[Pointing],
) -> Showing:
    """Several methods' attributions of the same images: a table of what they are worth, and a row for each image.

    Args:
        found: One for each method.
        curves: By method, where classes are explained.
        tests: By method, where they were asked for: whether the weights matter.
        pointings: By method, where they were asked for: how well it points.
    """
    sections: list[Section] = [_table(found, curves)]
    lines = [str(each) for each in found]
    if curves:
        judged = {each.words: curves[each.method] for each in found}
        sections.append(_curves(judged))
        lines += [f"{words}: {each}" for words, each in judged.items()]
    if tests:
        sections += [_tests(tests), Text("\n".join(map(str, tests)))]
        lines += map(str, tests)
    if pointings:
        sections.append(Text("\n".join(map(str, pointings))))
        lines += map(str, pointings)
    first = found[0]
    sections += [_row(found, place) for place in range(len(first.names))]
    arrays = {f"{each.method}_maps": each.maps for each in found}
    arrays |= {f"{each.method}_detail": each.detail for each in found if each.detail is not None}
    facts: dict[str, Any] = {"images": [_facts(found, curves, place) for place in range(len(first.names))]}
    facts["randomised"] = {each.method: dict(zip(each.groups, each.similarities, strict=True)) for each in tests}
    facts["pointing"] = {each.method: {"mosaics": each.mosaics, "hits": each.hits} for each in pointings}
    return Showing(sections, arrays | {"images": first.pictures}, lines, facts)


def _curves(judged: Mapping[str, Curves]) -> Picture:
    first = next(iter(judged.values()))
    title = "The class's probability as the image is taken away, and brought back"
    drawn = faithfulness_curves(
        first.shares.tolist(),
        {words: each.deletion.mean(0).tolist() for words, each in judged.items()},
        {words: each.insertion.mean(0).tolist() for words, each in judged.items()},
        random=first.random.mean(0).tolist(),
        title=title,
    )
    return Picture(drawn, title)


def _tests(tests: Sequence[Randomisation]) -> Picture:
    title = "What is left of the picture as the weights are destroyed"
    lines = {each.method: each.similarities for each in tests}
    drawn = randomisation_lines(tests[0].groups, lines, threshold=tests[0].threshold, title=title)
    return Picture(drawn, title)


def _row(found: Sequence[Attribution], place: int) -> Picture:
    heats = []
    for each in found:
        below = f"of {each.layer}" if each.layer else ""
        heats.append(Heat(each.words, each.maps[place], each.signed, below))
        if METHODS[each.method].coloured and each.detail is not None and each.detail.shape[1] in (1, 3):
            heats.append(Heat(f"{each.words}, in colours", each.detail[place].transpose(1, 2, 0)))
    first = found[0]
    title = f"{'/'.join(Path(first.names[place]).parts[-2:])}: {first.told(place)}"
    drawn = heat_maps(first.pictures[place], heats, title=first.told(place), words="as the network sees it")
    return Picture(drawn, title)


def _table(found: Sequence[Attribution], curves: Mapping[str, Curves]) -> Table:
    columns = ["method", "layer", "worst gap to what theory promises"]
    columns += ["deletion", "random deletion", "insertion", "better than random"] if curves else []
    rows = []
    for each in found:
        row = [each.words, each.layer or "–", "–" if each.gap is None else f"{each.gap.max():.2%}"]
        if curves:
            own = curves[each.method]
            areas = (own.deletion_area, own.random_deletion, own.insertion_area)
            row += [f"{float(area.mean()):.3f}" for area in areas]
            row.append(f"{int(own.better_than_random.sum())} of {len(own.deletion)}")
        rows.append(row)
    return Table(columns, rows, "Is the explanation one? Mean probabilities as cells go (low is good) and come (high)")


def _facts(found: Sequence[Attribution], curves: Mapping[str, Curves], place: int) -> dict[str, Any]:
    first = found[0]
    methods = {}
    for each in found:
        own: dict[str, Any] = {"layer": each.layer, "gap": None if each.gap is None else float(each.gap[place])}
        if each.method in curves:
            curve = curves[each.method]
            own |= {
                "deletion": float(curve.deletion_area[place]),
                "random_deletion": float(curve.random_deletion[place]),
                "insertion": float(curve.insertion_area[place]),
            }
        methods[each.method] = own
    chance = float(first.probabilities[place])
    return {
        "path": first.names[place],
        "target": first.targets[place],
        "probability": None if np.isnan(chance) else chance,
        "methods": methods,
    }
