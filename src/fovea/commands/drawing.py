"""What fovea inspect draws: a network as its stages, the catalogue as bubbles, a page with everything."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from fovea.architectures.catalogue import Published, PublishedError, published

if TYPE_CHECKING:
    from torch import nn

    from fovea.cost.report import Report
    from fovea.pictures.bubbles import Bubble

Form = Literal["png", "svg"]
TOGETHER = re.compile(
    r"\b([2-9]|\d\d) (nets|networks|models)\b|ensemble"
)  # several networks vote: not one's own figure
VIEWS = re.compile(r"\b(10|144)[ -]crops?|multi|dense|average")  # one network looks several times


def drawing(network: nn.Module, report: Report, form: Form) -> bytes:
    """The network as its stages."""
    from fovea.cost.outline import outline
    from fovea.pictures.network import network as draw

    stages = outline(network, in_channels=report.in_channels, image_size=report.image_size)
    about = f"{report.parameters:,} parameters, {report.macs:,} multiply-adds for an image"
    shape = (report.in_channels, *report.image_size)
    return draw(stages, title=report.name, subtitle=about, input_shape=shape, form=form)


def catalogue_bubbles() -> list[Bubble]:
    """A bubble for each network whose source prints its top-1 error on ImageNet's validation images."""
    from fovea.pictures.bubbles import Bubble

    found = []
    for name, each in published().items():
        error = _own_error(each)
        if error is not None and error.top1 is not None:
            views = "several views" if VIEWS.search(error.protocol) else "one view"
            found.append(Bubble(name, each.family, each.macs, each.parameters, 100 - error.top1, views))
    return found


def bubble_picture(form: Form) -> bytes:
    """Accuracy against multiply-adds over the catalogue."""
    from fovea.pictures.bubbles import bubbles

    note = "Top-1 accuracy on ImageNet's validation images as each paper prints it; protocols and training differ."
    return bubbles(catalogue_bubbles(), title="Accuracy against multiply-adds", note=note, form=form)


def report_page(networks: Sequence[nn.Module], reports: Sequence[Report]) -> str:
    """Everything about the networks on one page."""
    from fovea.cost.comparison import figures_of
    from fovea.cost.table import columns_of, plan_lines, summary
    from fovea.pictures.page import Picture, Section, Table, Text, page

    sections: list[Section] = []
    if len(reports) > 1:
        columns = [figures_of(report) for report in reports]
        names = list(dict.fromkeys(name for column in columns for name in column))
        rows = [(name, *(column.get(name, "") for column in columns)) for name in names]
        sections.append(Table(("", *(report.name for report in reports)), rows, "Side by side"))
    for network, report in zip(networks, reports, strict=True):
        shape = (report.in_channels, *report.image_size)
        sections.append(
            Picture(drawing(network, report, "svg"), f"{report.name}, images of {'×'.join(map(str, shape))}")
        )
        sections.append(Text("\n".join(summary(report))))
        if len(report.training) > 2:
            sections.append(Text("\n".join(plan_lines(report))))
        cells = columns_of(report)
        rows = [tuple(column.text(row) for column in cells) for row in report.rows]
        caption = f"{report.name}: a row is a {report.depth[:-1]}, for one image"
        sections.append(Table(tuple(column.head for column in cells), rows, caption))
    return page(" · ".join(report.name for report in reports), sections=sections)


def _own_error(each: Published) -> PublishedError | None:
    """One network's error on ImageNet's validation images: with one view where that is printed."""
    errors = [
        error
        for error in each.errors
        if error.top1 is not None
        and error.data.startswith(("ImageNet val", "ILSVRC-2012 val"))
        and not TOGETHER.search(error.protocol)
    ]
    return min(errors, key=lambda error: bool(VIEWS.search(error.protocol)), default=None)
