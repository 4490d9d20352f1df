"""The doctor's report as a person reads it in a terminal of 100 columns."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from fovea.data.doctor.wording import columns, in_bytes, several, share, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fovea.data.doctor.finding import Finding
    from fovea.data.doctor.report import Report, Sizes

WIDTH: Final = 100
EXAMPLES: Final = 10  # of each finding
ROWS: Final = 20  # of the table of classes, shown whole up to here
ENDS: Final = 5  # classes shown of each end of a longer table
CELL: Final = 12  # columns of a number in it
HEADS: Final = {
    "bad": "Bad: these files make the check fail",
    "warning": "Warnings: worth mending before training",
    "note": "Notes: good to know",
}


def text(report: Report) -> str:
    """The whole report."""
    lines = [*_head(report), "", verdict(report)]
    for severity, head in HEADS.items():
        findings = report.of(severity)
        if findings:
            lines += ["", head, *(line for finding in findings for line in _finding(finding))]
    return "\n".join([*lines, "", *_table(report)]).rstrip()


def verdict(report: Report) -> str:
    """What it comes to, in a line: "397 images, none bad; 4 warnings, 1 note"."""
    bad = f"{report.bad_count:,} bad" if report.bad_count else "none bad"
    counts = [several(len(report.of(severity)), severity) for severity in ("warning", "note") if report.of(severity)]
    others = "nothing to say against the others" if report.bad_count else "nothing to say against them"
    return f"{several(report.files, 'image')}, {bad}; {', '.join(counts) or others}"


def described(report: Report) -> list[tuple[str, str]]:
    """What the set is: a few lines, each with its head."""
    where = f"{report.layout} in {report.root}" if report.root else report.layout
    kinds = [", ".join(f"{name} {n:,}" for name, n in counts.items()) for counts in (report.formats, report.modes)]
    lines = [
        ("set", f"{several(report.usable, 'usable image')} in {_classes(report)}, {in_bytes(report.bytes)}"),
        ("where", where),
        ("splits", ", ".join(f"{name} {count:,}" for name, count in report.splits.items()) or "none"),
        ("kinds", "; ".join(filter(None, kinds)) or "none"),
    ]
    return lines + ([("sizes", _sizes(report.sizes, report.usable))] if report.sizes else [])


def _classes(report: Report) -> str:
    return several(len(report.classes), "class", "classes")


def _head(report: Report) -> list[str]:
    about = dict(described(report))
    first = f"{report.name}: {about['set']}"
    third = f"{about['splits']}; {about['kinds']}"
    return [shortened(line, WIDTH) for line in (first, about["where"], third, about.get("sizes", "")) if line]


def _sizes(sizes: Sizes, images: int) -> str:
    (least, width, most), (low, height, high) = sizes.width, sizes.height
    if (least, low) == (most, high):
        return f"all {width} × {height} pixels"
    first, second, count = sizes.common[0]
    common = f"most often {first} × {second} ({share(count, images)})"
    return f"widths {least:,} to {most:,} (median {width:,}), heights {low:,} to {high:,} ({height:,}), {common}"


def _finding(finding: Finding) -> Iterator[str]:
    yield from _wrapped(finding.title, "  ", "    ")
    shown = finding.examples[:EXAMPLES]
    yield from ("      " + _example(parts, finding.joint, WIDTH - 6) for parts in shown)
    if finding.examples and finding.count > len(shown):
        yield f"      and {finding.count - len(shown):,} more"
    yield from _wrapped(f"→ {finding.advice}", "    ", "      ")


def _wrapped(words: str, first: str, other: str) -> list[str]:
    return textwrap.wrap(words, WIDTH, initial_indent=first, subsequent_indent=other, break_on_hyphens=False)


def _example(parts: tuple[str, ...], joint: str, room: int) -> str:
    """The parts on one line; what is too long is cut in its middle, the longest first."""
    room -= len(joint) * (len(parts) - 1)
    sides = [columns(part) for part in parts]
    while sum(sides) > room:
        longest = sides.index(max(sides))
        second = max([side for side in sides if side < sides[longest]], default=0)
        alike = sides.count(sides[longest])
        cut = min(-(-(sum(sides) - room) // alike), max(sides[longest] - second, 1))
        sides = [side - cut if side == sides[longest] else side for side in sides]
    return joint.join(shortened(part, side) for part, side in zip(parts, sides, strict=True))


def _table(report: Report) -> list[str]:
    if not report.classes:
        return []
    heads = list(report.splits)
    shown, left = _chosen(report.classes)
    names = [
        f"    and {several(left, 'class', 'classes')} between" if name is None else report.called(name)
        for name in shown
    ]
    side = min(WIDTH - CELL * len(heads), max(columns(name) for name in [*names, "Class", "all classes"]))
    lines = [_line("Class", heads, side)]
    for name, label in zip(shown, names, strict=True):
        lines.append(label if name is None else _line(label, [f"{n:,}" for n in report.classes[name].values()], side))
    return [*lines, _line("all classes", [f"{count:,}" for count in report.splits.values()], side)]


def _line(name: str, cells: list[str], side: int) -> str:
    name = shortened(name, side)
    return name + " " * (side - columns(name)) + "".join(f"{cell:>{CELL}}" for cell in cells)


def _chosen(classes: dict[str, dict[str, int]]) -> tuple[list[str | None], int]:
    """All classes, or of many the largest and the smallest, None for those between, and how many those are."""
    if len(classes) <= ROWS:
        return list(classes), 0
    ordered = sorted(classes, key=lambda name: (-next(iter(classes[name].values()), 0), -sum(classes[name].values())))
    return [*ordered[:ENDS], None, *ordered[-ENDS:]], len(classes) - 2 * ENDS
