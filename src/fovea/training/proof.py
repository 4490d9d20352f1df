"""The proof that resuming works, on one's own configuration: the run is killed and resumed, and compared."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fovea.errors import FoveaError, MachineError, ModelError, UsageError
from fovea.files import BUNDLE_FILE, BUNDLE_FOLDER, RUN_FILE, read_json
from fovea.training import checkpoints

STEPS, KILLS = 24, 3
POLL = 0.002  # seconds between two looks at how far a run is


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the kill test found.

    Args:
        equal: Whether the killed run ended as the one that was left alone.
        steps: Of each run.
        killed_after: The last step saved when each kill came.
        difference: The first file or tensor that differs; nothing where all are equal.
    """

    equal: bool
    steps: int
    killed_after: tuple[int, ...]
    difference: str = ""

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return asdict(self) | {"killed_after": list(self.killed_after)}

    def __str__(self) -> str:
        kills = f"killed {len(self.killed_after)} times, after steps {', '.join(map(str, self.killed_after))}"
        told = f"{self.steps} steps, {kills} of them, and resumed each time"
        if self.equal:
            return f"resume is exact: {told}; weights, optimiser and bundle equal the uninterrupted run's to the bit"
        return f"resume is NOT exact: {told}; {self.difference} differs from the uninterrupted run's"


def prove_resume(command: Sequence[str], *, steps: int = STEPS, kills: int = KILLS, seed: int | None = None) -> Verdict:
    """Train twice for a few steps, once left alone and once killed at random moments and resumed; compare.

    Args:
        command: What begins the run, without a run folder: python -m fovea train …
        steps: Of each of the two runs.
        kills: By SIGKILL; drawn evenly over the steps, and within a step over its duration.
        seed: Of the moments; another each time where None.

    Raises:
        FoveaError: the run does not end by itself; its own message is passed on.
        MachineError: it ended before it could be killed, or no kill came between its first and last step.
        UsageError: under torchrun, whose processes would each begin a proof.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--prove-resume starts its runs by itself; run it without torchrun")
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="fovea-proof-") as place:
        alone, killed = Path(place) / "alone", Path(place) / "killed"
        bounded = ["--max-steps", str(steps), "--save-steps", "1", "--out"]
        _ended([*command, *bounded, str(alone)])
        reached = checkpoints.progress_of(alone / checkpoints.LAST)
        done, again = reached.step, command[: command.index("train") + 1]
        pause = sum(row["seconds"] for row in reached.history) / done
        moments = sorted(draw.sample(range(done), min(kills, done)))
        after: list[int] = []
        for moment in moments:
            how = ["--resume", str(killed)] if after else ["--config", str(alone / RUN_FILE), "--out", str(killed)]
            after.append(_killed([*again, *how], killed, moment, pause * draw.random()))
        if not any(0 < step < done for step in after):  # nothing was learned before one, or nothing after it
            raise MachineError(
                "every kill came before the first step was saved or after the last, which proves nothing; "
                "try again, with a larger batch where steps are short"
            )
        _ended([*again, "--resume", str(killed)])
        difference = _difference(alone, killed)
    return Verdict(equal=not difference, steps=done, killed_after=tuple(after), difference=difference)


def _ended(command: Sequence[str]) -> None:
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        said = (made.stderr.strip().splitlines() or ["nothing was said"])[-1].removeprefix("fovea: ")
        kind = next((each for each in FoveaError.__subclasses__() if each.exit_code == made.returncode), ModelError)
        raise kind(said)


def _killed(command: Sequence[str], run: Path, moment: int, pause: float) -> int:
    """Start, wait until so many steps are saved and a moment longer, and kill; the step that was saved by then."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and _saved(run) < moment:
            time.sleep(POLL)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            raise MachineError(
                f"the run ended before it could be killed (exit code {process.returncode}); its steps are too short: "
                "try again with a larger batch"
            )
    return _saved(run)


def _saved(run: Path) -> int:
    try:
        return checkpoints.progress_of(run / checkpoints.LAST).step
    except FoveaError:  # nothing is there yet
        return -1


def _difference(one: Path, other: Path) -> str:
    """The first tensor of the last checkpoint, field of the bundle, or file of it, that is not the same in both."""
    tensor = checkpoints.first_difference(one / checkpoints.LAST, other / checkpoints.LAST)
    if tensor:
        return f"{tensor} in {checkpoints.LAST}"
    files = [{path.name: path.read_bytes() for path in (run / BUNDLE_FOLDER).iterdir()} for run in (one, other)]
    if all(BUNDLE_FILE in each for each in files):
        said = [read_json(run / BUNDLE_FOLDER / BUNDLE_FILE) for run in (one, other)]
        field = _first_field(said[0], said[1])
        if field:
            return f"{field} in {BUNDLE_FOLDER}/{BUNDLE_FILE}"
    odd = (name for name in sorted(files[0].keys() | files[1].keys()) if files[0].get(name) != files[1].get(name))
    return next((f"{BUNDLE_FOLDER}/{name}" for name in odd), "")


def _first_field(one: Any, other: Any, path: str = "") -> str:
    """The dotted name of the first value that differs between two JSON objects, with both; nothing where none does."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = sorted(one.keys() | other.keys())
        inside = (_first_field(one.get(name), other.get(name), f"{path}.{name}".lstrip(".")) for name in names)
        return next((found for found in inside if found), "")
    return "" if one == other else f"{path} ({one!r} and {other!r})"
