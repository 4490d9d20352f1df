"""A page that shows a run while it trains: one file, opened in a browser, that asks for itself again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any, Literal

from fovea.files import RUN_FILE, write_durably
from fovea.pictures.page import STYLE
from fovea.training.console import duration
from fovea.training.runs import history
from fovea.training.watching import chart
from fovea.training.watching.chart import Line, is_measured
from fovea.training.watching.layer_bars import STYLE as BARS_STYLE
from fovea.training.watching.layer_bars import layer_bars
from fovea.training.watching.layers import read_layers

PAGE = "progress.html"
AGAIN = 10  # seconds after which the browser asks again, while the run goes on
RECENT = 6  # epochs of which the pace is the mean
ROWS = 12  # of the table
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
OWN_STYLE = """
:root { --orange: #d55e00 }
@media (prefers-color-scheme: dark) { :root { --orange: #ff9447 } }
body { max-width: 80rem }
h2 { font-size: 1.05rem; margin: 0 0 .4rem }
progress { width: 100%; height: .7rem; accent-color: var(--blue) }
dl { display: flex; flex-wrap: wrap; gap: .3rem 2rem; margin: .6rem 0 0 }
dt { color: var(--grey); font-size: 12px }
dd { margin: 0; font-variant-numeric: tabular-nums }
.charts { display: grid; gap: 1.4rem 2rem }
@media (min-width: 40rem) { .charts { grid-template-columns: repeat(6, 1fr) } .chart { grid-column: span 2 }
  .chart:nth-child(-n+2) { grid-column: span 3 } }
.none { color: var(--grey) }
.scores { padding: .6rem .8rem; border-left: 4px solid var(--blue); background: var(--head) }
tr.best td { font-weight: 600 }
details summary { cursor: pointer; font-weight: 600; margin-bottom: .4rem }
"""
COLUMNS = {  # of the table: what it says above a number, and how
    "loss": ("loss", "{:.4f}"),
    "accuracy": ("accuracy", "{:.2%}"),
    "validation_loss": ("validation loss", "{:.4f}"),
    "validation_accuracy": ("validation accuracy", "{:.2%}"),
    "learning_rate": ("learning rate", "{:.3g}"),
    "gradient_norm": ("gradient norm", "{:.3g}"),
    "images_per_second": ("images/s", "{:,.0f}"),
    "data_wait": ("data wait", "{:.0%}"),
    "seconds": ("seconds", "{:,.1f}"),
}


@dataclass(frozen=True)
class _Now:
    """What the page says of the run: how it stands, the words for its end, and the seconds that are left."""

    state: Literal["running", "finished", "stopped"]
    words: str = ""
    left: float | None = None


class ProgressPage:
    """Writes progress.html into the run folder: it needs no server, no other file, and runs no script.

    Each time it is written wholly and durably from all rows, so a run that was resumed shows every epoch once. Where
    layers.csv lies beside it, the last epoch's layers are shown too.

    Args:
        run: The run folder.
        title: Stands above.
        epochs: How many there shall be.
        plan: What was said before training, as text.
    """

    def __init__(self, run: Path, title: str, epochs: int, plan: str) -> None:
        self.run, self.title, self.epochs, self.plan = run, title, epochs, plan
        self._rows: Sequence[Mapping[str, Any]] = ()
        self._seen: list[tuple[int, float]] = []  # the epochs that were finished, and when, on this process's clock

    def begin(self) -> None:
        """Write the page before the first epoch, or with those that were finished before a resume."""
        self._rows = history(self.run)
        self._note()
        self._write(_Now("running", left=self._left()))

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the page after an epoch."""
        self._rows = rows
        self._note()
        self._write(_Now("running", left=self._left()))

    def finish(self, scores: str) -> None:
        """Write the page for good, with what the run reached; the browser no longer asks again."""
        self._rows = self._rows or history(self.run)
        self._write(_Now("finished", scores))

    def stop(self, words: str) -> None:
        """Write the page of a run that ends before its time, with the way to go on."""
        self._rows = self._rows or history(self.run)
        self._write(_Now("stopped", words))

    def _note(self) -> None:
        self._seen = [*self._seen, (len(self._rows), time.monotonic())][-RECENT:]

    def _left(self) -> float | None:
        """Seconds to the end, at the pace of the last epochs; None before the first."""
        (first, began), (last, now) = self._seen[0], self._seen[-1]
        if last > first:
            pace = (now - began) / (last - first)
        elif self._rows and self._rows[-1].get("seconds") is not None:
            pace = float(self._rows[-1]["seconds"])
        else:
            return None
        return pace * max(0, self.epochs - last)

    def _write(self, now: _Now) -> None:
        epochs = [int(row["epoch"]) for row in self._rows]
        layers = read_layers(self.run, since=epochs[-1]) if epochs else []
        sections = [
            _standing(now, len(epochs), self.epochs, self._started()),
            f'<div class="charts">{_charts(self._rows, epochs)}</div>',
            f"<h2>The last epochs</h2>{_table(self._rows)}" if epochs else "",
            layer_bars(layers) if layers else "",
            f"<details open><summary>The plan</summary><pre>{escape(self.plan)}</pre></details>",
        ]
        body = "\n".join(f"<section>{section}</section>" for section in sections if section)
        write_durably(self.run / PAGE, _whole(self.title, body, again=now.state == "running").encode())

    def _started(self) -> str:
        """When the configuration was written, which is the first thing that a run does."""
        try:
            return _moment(datetime.fromtimestamp((self.run / RUN_FILE).stat().st_mtime))
        except OSError:
            return ""


def best_epoch(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """The epoch with the highest validation accuracy, of equals the lowest validation loss, then the first."""
    judged = [row for row in rows if is_measured(row.get("validation_accuracy"))]
    if not judged:
        return None
    best = max(judged, key=lambda row: (row["validation_accuracy"], -(row.get("validation_loss") or 0.0)))
    return int(best["epoch"])


def _whole(title: str, body: str, *, again: bool) -> str:
    refresh = f'<meta http-equiv="refresh" content="{AGAIN}">\n' if again else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{refresh}<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<style>{STYLE}{OWN_STYLE}{chart.STYLE}{BARS_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{body}
</body>
</html>
"""


def _standing(now: _Now, done: int, epochs: int, started: str) -> str:
    """The state, a bar, the times, and the scores of a finished run."""
    told = {"state": now.state, "epoch": f"{done} of {epochs}"}
    if now.left is not None:
        told["time left"] = f"about {duration(now.left)}"
    told |= {"started": started} if started else {}
    told["finished" if now.state == "finished" else "updated"] = _moment(datetime.now())
    listed = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in told.items())
    words = f'<pre class="scores">{escape(now.words)}</pre>' if now.words else ""
    return f'{words}<dl>{listed}</dl><p><progress value="{done}" max="{epochs}"></progress></p>'


def _charts(rows: Sequence[Mapping[str, Any]], epochs: Sequence[int]) -> str:
    def values(name: str, unit: float = 1.0) -> list[float | int | None]:
        return [unit * row[name] if is_measured(row.get(name)) else None for row in rows]

    def both(name: str, unit: float = 1.0) -> list[Line]:
        train, validation = values(name, unit), values(f"validation_{name}", unit)
        return [Line("train", "--blue", train), Line("validation", "--orange", validation)]

    def one(name: str) -> list[Line]:
        return [Line("", "--blue", values(name))]

    best = best_epoch(rows)
    return "\n".join(
        (
            chart.chart("Loss", epochs, both("loss"), best=best),
            chart.chart("Top-1 accuracy (%)", epochs, both("accuracy", 100.0), best=best),
            chart.chart("Learning rate", epochs, one("learning_rate"), floor=True),
            chart.chart("Gradient norm", epochs, one("gradient_norm")),
            chart.chart("Images/s", epochs, one("images_per_second"), floor=True),
        )
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The last epochs, the newest first, and the best one in any case."""
    best = best_epoch(rows)
    last = list(rows[-ROWS:])
    shown = last[::-1] + [row for row in rows[:-ROWS] if row["epoch"] == best]
    there = [name for name in COLUMNS if any(row.get(name) is not None for row in rows)]
    head = "".join(f'<th scope="col" class="number">{COLUMNS[name][0]}</th>' for name in there)
    lines = []
    for row in shown:
        cells = "".join(f'<td class="number">{_cell(row.get(name), COLUMNS[name][1])}</td>' for name in there)
        mark, which = (" ○ best", ' class="best"') if row["epoch"] == best else ("", "")
        lines.append(f"<tr{which}><td>{row['epoch']}{mark}</td>{cells}</tr>")
    body = "\n".join(lines)
    return (
        f'<div class="table"><table><thead><tr><th scope="col">epoch</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(value: Any, form: str) -> str:
    return form.format(value) if isinstance(value, int | float) else "–"


def _moment(when: datetime) -> str:
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
