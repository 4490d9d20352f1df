"""Numbers and names as a report says them: plurals, bytes, shares, names shortened in their middle."""

from __future__ import annotations

import unicodedata

from fovea.data.reading import printable


def several(count: int, one: str, many: str = "") -> str:
    """A count with its noun: "1 image", "1,200 images", "2 classes"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def share(part: int, whole: int) -> str:
    """Per cent, never 0 where there is something and never 100 where something is missing: "0.9 %", "> 99.9 %"."""
    per_cent = 100 * part / max(whole, 1)
    if part and per_cent < 0.1:
        return "< 0.1 %"
    if part < whole and per_cent > 99.9:
        return "> 99.9 %"
    return f"{per_cent:.1f} %" if 0 < per_cent < 10 or 99 < per_cent < 100 else f"{per_cent:.0f} %"


def in_bytes(count: int) -> str:
    """Bytes with the unit that leaves one to four digits: "512 bytes", "44.9 MiB"."""
    if count < 1024:
        return several(count, "byte")
    value, units = count / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while value >= 1000 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.1f} {units[0]}" if value < 100 else f"{value:,.0f} {units[0]}"


def in_words(parts: list[str]) -> str:
    """Parts as people list them: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def columns(text: str) -> int:
    """How many columns of a terminal the text takes: two for a character of Chinese or an emoji, none for an accent."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shortened(text: str, most: int) -> str:
    """The text on one line, printable, cut in its middle with an ellipsis where it takes more columns than that."""
    text = printable(text)
    if columns(text) <= most:
        return text
    room, first = most - 1, (most - 1) * 2 // 5  # the end of a path says more than its beginning
    head = _as_much(text, first)
    tail = _as_much(text[::-1], room - columns(head))[::-1]
    return f"{head}…{tail}"


def _as_much(text: str, most: int) -> str:
    """The longest beginning that takes at most so many columns."""
    taken = 0
    for place, character in enumerate(text):
        taken += _columns(character)
        if taken > most:
            return text[:place]
    return text
