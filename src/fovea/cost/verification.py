"""Paper against ours: every published figure of a network, recounted on the real module without weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from fovea.architectures.catalogue import Published
from fovea.cost.count import measure, parameters, stages_of

PRINTED_TOLERANCE = 0.01  # papers round what they print


@dataclass(frozen=True, kw_only=True)
class Check:
    """One figure: what is published, what ours is, and whether the difference is none or explained.

    Args:
        figure: Its name: parameters, macs, stages, or "printed ..." for what the paper itself prints, to 1 %.
        published, ours: Both figures; for stages the list of (name, shape).
        reason: Why they differ, where that is known and exact.
        holds: Equal, or off by exactly the number that the facts explain.
    """

    figure: str
    published: Any
    ours: Any
    reason: str
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The checks of one network."""

    name: str
    checks: tuple[Check, ...]

    @property
    def explained(self) -> bool:
        """Whether every figure is met, or its exact difference explained."""
        return all(check.holds for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        return {"name": self.name, "explained": self.explained, "checks": [asdict(check) for check in self.checks]}

    def __str__(self) -> str:
        lines = []
        width = max(len(check.figure) for check in self.checks)
        for check in self.checks:
            verdict = ("equal" if not check.reason else "explained") if check.holds else "UNEXPLAINED"
            if check.figure == "stages":
                shown = f"{len(check.ours)} shapes"
                if not check.holds:
                    shown = f"published {check.published}, ours {check.ours}"
            else:
                shown = f"published {check.published:>15,}  ours {check.ours:>15,}"
                if check.ours != check.published:
                    shown += f"  ({check.ours - check.published:+,})"
            lines.append(
                f"  {check.figure:<{width}} {shown:<66} {verdict}{': ' + check.reason if check.reason else ''}"
            )
        return "\n".join([self.name, *lines])


def verify(known: Published, network: nn.Module) -> Verification:
    """Recount a network and compare it with what is published; the network may lie on the meta device."""
    cost = measure(network, in_channels=known.in_channels, image_size=known.image_size)
    ours = {"parameters": cost.parameters, "macs": cost.multiply_adds}
    places = stages_of(network)
    for figure in known.printed:
        place = figure.removeprefix("parameters of ")
        ours[f"printed {figure}"] = ours[figure] if figure in ours else parameters(places[place])
    found = [[stage, list(shape)] for stage, shape in cost.shapes.items() if stage in known.stages]
    published = [[stage, shape] for stage, shape in known.stages.items()]
    stages = Check(figure="stages", published=published, ours=found, reason="", holds=found == published)
    figures = [_check(known, figure, value) for figure, value in ours.items()]
    return Verification(name=known.name, checks=(*figures, stages))


def _check(known: Published, figure: str, ours: int) -> Check:
    printed = figure.startswith("printed ")
    published = known.printed[figure.removeprefix("printed ")] if printed else getattr(known, figure)
    deviation = known.deviations.get(figure)
    if deviation is not None:
        holds, reason = ours - published == deviation.difference, deviation.reason
    else:
        holds, reason = abs(ours - published) <= (PRINTED_TOLERANCE * published if printed else 0), ""
    return Check(figure=figure, published=published, ours=ours, reason=reason, holds=holds)
