"""One self-contained page of HTML: texts, tables that a click sorts, pictures.

Everything stands in the one file; its content security policy lets the browser load nothing and run no script but ours.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from fovea.errors import UsageError

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #222; --grey: #6b6b6b; --line: #ddd; --head: #f3f3f3;
  --blue: #0072b2 }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181b; --ink: #e4e4e4; --grey: #a0a0a0; --line: #3a3d42; --head: #24272c; --blue: #56b4e9 }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 90rem; font: 15px/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--paper) }
h1 { font-size: 1.4rem; overflow-wrap: anywhere }
section { margin: 1.8rem 0 }
pre { margin: 0; font: 13px/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
figure { margin: 0 }
figcaption { margin-bottom: .4rem; font-weight: 600; overflow-wrap: anywhere }
.picture, .table { overflow: auto; border: 1px solid var(--line); border-radius: 6px }
.picture { padding: .5rem; background: #fff }
.picture > * { display: block; margin: auto; max-width: 100%; height: auto }
@media (max-width: 40rem) { .picture > svg { min-width: 36rem } }
.table { max-height: 85vh; width: fit-content; max-width: 100% }
table { border-collapse: separate; border-spacing: 0; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .7rem; text-align: left; white-space: pre; border-bottom: 1px solid var(--line) }
th { position: sticky; top: 0; background: var(--head) }
@media screen and (min-width: 60rem) {
  td:first-child, th:first-child { position: sticky; left: 0; background: var(--paper) }
  th:first-child { z-index: 1; background: var(--head) }
}
.number { text-align: right }
tr:last-child td { border-bottom: 0 }
tbody tr:hover { background: var(--head) }
th button { all: unset; cursor: pointer; font-weight: 600 }
th button:focus-visible { outline: 2px solid var(--blue) }
th button:after { content: " ↕"; color: var(--grey) }
th[aria-sort=ascending] button:after { content: " ↑"; color: var(--blue) }
th[aria-sort=descending] button:after { content: " ↓"; color: var(--blue) }
@media print {
  :root { color-scheme: light; --paper: #fff; --ink: #000; --grey: #555; --line: #ccc; --head: #fff }
  body { max-width: none; padding: 0 }
  .table, .picture { overflow: visible; max-height: none; border: 0 }
  table { font-size: 8pt } th { position: static } th button:after { content: "" !important }
  th, td { white-space: pre-wrap } tr, .picture { break-inside: avoid }
  .picture > * { min-width: 0 }
}
"""

# A click on a head sorts its column, numbers first from the largest; cells without a value stay last; a third click
# restores the order in which the rows came.
SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const words = new Intl.Collator(undefined, {numeric: true});
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const first = head.className ? "descending" : "ascending", second = head.className ? "ascending" : "descending";
    const order = {[first]: second, [second]: "none"}[head.getAttribute("aria-sort")] || first;
    heads.forEach(each => each.removeAttribute("aria-sort"));
    if (order === "none") return body.append(...rows);
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rank = cell => cell.dataset.value ? 0 : cell.textContent.trim().match(/^[–—-]?$/) ? 2 : 1;
    body.append(...[...rows].sort((one, other) => {
      const a = one.cells[column], b = other.cells[column];
      if (rank(a) !== rank(b)) return rank(a) - rank(b);
      if (rank(a) === 0) return sign * (a.dataset.value - b.dataset.value);
      return sign * words.compare(a.textContent, b.textContent);
    }));
  }));
}
"""

UNITS = {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
UNITS |= {"": 1.0, "B": 1.0, "bytes": 1.0, "%": 1.0, "×": 1.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}
NUMBER = re.compile(rf"([-+−]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*({'|'.join(UNITS)})")
EMPTY = ("", "–", "—", "-")
PNG = b"\x89PNG\r\n\x1a\n"


class Text(NamedTuple):
    """Lines as a terminal shows them."""

    text: str


class Table(NamedTuple):
    """Rows of cells below their heads; a column of numbers, with units or not, is set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


class Picture(NamedTuple):
    """The bytes of an SVG or of a PNG."""

    content: bytes
    caption: str = ""


Section = Text | Table | Picture


def page(title: str, *, sections: Sequence[Section]) -> str:
    """The sections below each other as one page of HTML that needs no other file and no network.

    Raises:
        UsageError: no section at all, a row with more or fewer cells than heads, or a picture that is no SVG or PNG.
    """
    if not sections:
        raise UsageError("there is nothing to put on the page; it wants at least one section")
    ours = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{ours}'"
    body = "\n".join(f"<section>\n{_section(each, place)}\n</section>" for place, each in enumerate(sections))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{body}
<script>{SCRIPT}</script>
</body>
</html>
"""


def number(cell: str) -> float | None:
    """The value of a cell that holds one number, perhaps with a unit: "1,234.5", "3.2 MiB", "12.3%"."""
    found = NUMBER.fullmatch(cell.strip())
    if found is None:
        return None
    return float(found[1].replace(",", "").replace("−", "-")) * UNITS[found[2]]


def _section(section: Section, place: int) -> str:
    if isinstance(section, Text):
        return f"<pre>{escape(section.text)}</pre>"
    inside = _table(section) if isinstance(section, Table) else _picture(section, place)
    caption = f"<figcaption>{escape(section.caption)}</figcaption>\n" if section.caption else ""
    return f"<figure>\n{caption}{inside}\n</figure>"


def _table(table: Table) -> str:
    for row in table.rows:
        if len(row) != len(table.columns):
            raise UsageError(f"a row of {table.caption!r} has {len(row)} cells; it must have {len(table.columns)}")
    numeric = [_numeric([row[place] for row in table.rows]) for place in range(len(table.columns))]
    style = [' class="number"' if each else "" for each in numeric]
    heads = "".join(
        f'<th scope="col"{how}><button type="button">{escape(head)}</button></th>'
        for head, how in zip(table.columns, style, strict=True)
    )
    rows = "\n".join(f"<tr>{''.join(map(_cell, row, style))}</tr>" for row in table.rows)
    return f'<div class="table"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>'


def _numeric(cells: Sequence[str]) -> bool:
    """Whether most of the cells that hold something hold a number."""
    filled = [cell for cell in cells if cell.strip() not in EMPTY]
    return 2 * sum(number(cell) is not None for cell in filled) > len(filled)


def _cell(cell: str, style: str) -> str:
    value = number(cell)
    rank = "" if value is None else f' data-value="{value}"'
    return f"<td{style}{rank}>{escape(cell)}</td>"


def _picture(picture: Picture, place: int) -> str:
    """The SVG itself, its names made the page's own, or the PNG as text."""
    if picture.content.startswith(PNG):
        data = base64.b64encode(picture.content).decode()
        image = f'<img src="data:image/png;base64,{data}" alt="{escape(picture.caption)}">'
    else:
        image = _svg(picture, place)
    return f'<div class="picture">{image}</div>'


def _svg(picture: Picture, place: int) -> str:
    drawn = picture.content.decode("utf-8", errors="replace")
    start, end = drawn.find("<svg"), drawn.rfind("</svg>")
    if start < 0 or end < 0:
        raise UsageError(f"the picture {picture.caption!r} must be an SVG or a PNG; it is neither")
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn[start : end + len("</svg>")], flags=re.DOTALL)
    own = rf"\g<1>picture{place}-"
    drawn = re.sub(r"<[^>]*>", lambda tag: re.sub(r'(\sid="|url\(#|href="#)', own, tag[0]), drawn)
    return drawn.replace("<svg", f'<svg role="img" aria-label="{escape(picture.caption)}"', 1)
