"""Many trainings as one: trials in a journal that any number of processes share, each trial done once.

The journal is optuna's. A process takes a waiting trial, holds the trial's lock while it works, and notes what came
out. What a killed process left behind is found by its lock, which the system has let go of, and is gone on with where
it stopped. So a sweep that is killed and started again loses no trial and repeats none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fovea.errors import NumbersError, Stopped, UsageError
from fovea.experiments.locks import alone, held
from fovea.files import EXPERIMENT_FILE, make_folder, read_json, write_json
from fovea.training.stopping import stop_on_signals

if TYPE_CHECKING:
    import optuna

JOURNAL, TRIALS, LOCKS = "journal.log", "trials", "locks"
STUDY = "sweep"  # the one study in the journal
NETWORKS = "networks"  # of a plan: may grow
NAME, OUTCOME = "name", "outcome"  # what the journal notes of a trial beside optuna's own

Outcome = dict[str, Any]
Work = Callable[[str, Path], Outcome]


class Held:
    """In the stead of optuna's lock, a file that a killed process leaves behind: `Sweep` holds one of the system's."""

    def acquire(self) -> bool:
        """It is held already."""
        return True

    def release(self) -> None:
        """It is let go of later."""


@dataclass(frozen=True)
class Done:
    """How a sweep stands.

    Args:
        outcomes: What came out of each finished trial, by its name, in the order in which they were asked for; a trial
            whose numbers were not finite has the message as "diverged".
        elsewhere: Trials that other processes are at.
    """

    outcomes: dict[str, Outcome]
    elsewhere: tuple[str, ...] = ()


@dataclass
class Sweep:
    """A folder of trials.

    Args:
        folder: Holds the plan, the journal and a folder for each trial.
        plan: What decides the trials, as plain values; a folder with another plan is refused.
        names: The trials in order, each name good for a folder.

    Raises:
        UsageError: the folder holds another experiment, or other things; no name, or one twice.
        MachineError: it cannot be written.
    """

    folder: Path
    plan: Mapping[str, Any]
    names: Sequence[str]
    _study: optuna.Study | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise UsageError(f"a sweep wants trials of different names; these are {', '.join(self.names) or 'none'}")
        plan = json.loads(json.dumps(self.plan))
        path = self.folder / EXPERIMENT_FILE
        if path.is_file():
            joined_plan(path, read_json(path), plan)
        elif self.folder.exists() and not all(_is_ours(path) for path in self.folder.iterdir()):
            raise UsageError(f"{self.folder}: exists and holds other things; choose another --out")
        make_folder(self.folder / LOCKS)
        with self._alone():
            if path.is_file():
                plan = joined_plan(path, read_json(path), plan)
            write_json(path, plan)
            self._enqueue()

    def run(self, work: Work, *, told: Callable[[str, Outcome], None] | None = None) -> Done:
        """Do what is left, one trial after another, until nothing waits.

        Args:
            work: Does the trial of a name, in a folder of its own that may hold an earlier process's beginning, and
                gives plain values.
            told: Hears each trial's outcome when it is there.

        Raises:
            Stopped: a signal came; what was done is saved, and the trial is gone on with at the next start.
        """
        while (taken := self._take()) is not None:
            number, name, lock = taken
            try:
                with stop_on_signals() as stop:
                    outcome = self._done(work, name)
                    self._tell(number, outcome)
            finally:
                os.close(lock)
            if told is not None:
                told(name, outcome)
            if stop.signal_number is not None:  # it came when this trial was being finished
                raise Stopped(f"stopped after trial {name}; start it again to go on: {self.folder}", stop.signal_number)
        return self.done()

    def done(self) -> Done:
        """How it stands now."""
        with self._alone():
            trials = {trial.user_attrs[NAME]: trial for trial in self._opened().get_trials(deepcopy=False)}
        finished = {name: trials[name] for name in self.names if trials[name].state.is_finished()}
        outcomes = {name: json.loads(trial.user_attrs[OUTCOME]) for name, trial in finished.items()}
        return Done(outcomes, tuple(name for name in self.names if name not in finished))

    def _done(self, work: Work, name: str) -> Outcome:
        try:
            return work(name, self.folder / TRIALS / name)
        except NumbersError as error:  # of an experiment that is a result, too
            return {"diverged": str(error)}
        except Stopped as error:
            raise Stopped(
                f"stopped and saved in trial {name}; start it again to go on: {self.folder}", error.exit_code - 128
            ) from error

    def _enqueue(self) -> None:
        study = self._opened()
        known = {trial.user_attrs[NAME] for trial in study.get_trials(deepcopy=False)}
        for name in self.names:
            if name not in known:
                study.enqueue_trial({}, user_attrs={NAME: name})

    def _take(self) -> tuple[int, str, int] | None:
        """The next trial that nobody does: its number, name and lock; None where there is none."""
        from optuna.trial import TrialState

        with self._alone():
            study = self._opened()
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                name = trial.user_attrs[NAME]
                lock = held(self.folder / LOCKS / name)
                if lock is not None:  # whoever began it is no more
                    return trial.number, name, lock
            if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                return None
            taken = study.ask()  # the one that has waited longest
            name = taken.user_attrs[NAME]
            lock = held(self.folder / LOCKS / name)
            if lock is None:
                raise UsageError(f"{self.folder}: trial {name} is locked by another process; start it again later")
            return taken.number, name, lock

    def _tell(self, number: int, outcome: Outcome) -> None:
        from optuna.trial import Trial, TrialState

        with self._alone():
            study = self._opened()
            trial = study.get_trials(deepcopy=False)[number]
            Trial(study, trial._trial_id).set_user_attr(OUTCOME, json.dumps(outcome))
            if "value" in outcome:
                study.tell(number, float(outcome["value"]))
            else:
                study.tell(number, state=TrialState.FAIL)

    def _opened(self) -> optuna.Study:
        """The study; opened once, it reads on where it has read to."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        if self._study is None:
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            backend = JournalFileBackend(str(self.folder / JOURNAL), cast("Any", Held()))
            self._study = optuna.create_study(
                storage=JournalStorage(backend), study_name=STUDY, direction="maximize", load_if_exists=True
            )
        return self._study

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process looks into the journal meanwhile."""
        with alone(self.folder / LOCKS / ".journal"):
            _mended(self.folder / JOURNAL)
            yield


def _is_ours(path: Path) -> bool:
    """Whether it is what a process leaves that has only begun, or was killed before it wrote the plan."""
    return path.name in (LOCKS, EXPERIMENT_FILE) or path.match(".*.tmp")


def joined_plan(path: Path, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A plan in a file with what is new in another: of "networks" there may be more, all else must be the same.

    Raises:
        UsageError: something else differs; with what it was and what it is.
    """
    mine, others = dict(old.get(NETWORKS, {})), dict(new.get(NETWORKS, {}))
    parts = [(key, old.get(key), new.get(key)) for key in {**old, **new} if key != NETWORKS]
    parts += [(f"the training of {name}", mine[name], others[name]) for name in mine.keys() & others.keys()]
    for key, was, now in parts:
        if was != now:
            what, was, now = _first_difference(key, was, now)
            raise UsageError(
                f"{path}: is another experiment: {what} was {was!r} and is {now!r} now; "
                "go on with the old one, or choose another folder"
            )
    return {**old, NETWORKS: mine | others} if mine or others else old


def _first_difference(key: str, was: Any, now: Any) -> tuple[str, Any, Any]:
    if isinstance(was, dict) and isinstance(now, dict):
        for name in {**was, **now}:
            if was.get(name) != now.get(name):
                return _first_difference(f"{key}, {name}", was.get(name), now.get(name))
    return key, was, now


def _mended(journal: Path) -> None:
    """Cut off the line that a killed process left half written, before another is put behind it."""
    if not journal.is_file():
        return
    with open(journal, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
