"""Runs killed from outside and resumed, against the same runs left alone: bundle and checkpoints, bit by bit.

    python benchmarks/durability.py [--kills 50] [--nets lenet5 cifar_resnet20 mobilenet_v2] [--rank-kills 10]

Three networks: LeNet-5 on the digits; ResNet-20 on a few of CIFAR-10's images as a folder of PNG; MobileNetV2 on the
same with flips, shifts, MixUp and an exponential average. Every process is a real `python -m fovea train`, ended by
SIGKILL from outside. Moments are drawn evenly over the steps, and within a save interval over its duration; two fifths
of them wait for the writer's temporary file to appear, and kill a drawn moment later. A process that ended before its
kill is not counted and drawn again. A checkpoint is due after every third step, so that a resumed run has steps to do
again; no more than one interval, for what a kill leaves is one of the checkpoints that the run left alone had written.

Then two ranks over gloo, under torchrun: launcher and ranks killed at once, or one rank alone, after which all must be
gone within a minute. And two ranks against one with the whole batch: the images of each step, the first gradients, and
the accuracies at the end over three seeds. Prints tables, and ends with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

FOVEA = (sys.executable, "-m", "fovea", "train")
TWO = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
EVERY = 3  # steps between two checkpoints
CHAIN = 6  # kills of one run, at most
IN_WRITER = 0.4  # share of the kills that are aimed at the writer
PATIENCE = 240.0  # seconds that any process may take
GONE = 60.0  # seconds after which no rank may be left
AGREE = 1e-4  # of gradients, against the largest


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network and how it is trained; on the digits, or on the folder of small photographs."""

    name: str
    net: str
    flags: str
    steps: int
    photos: bool = True
    ranks: int = 1


SMALL = "-b 64 --epochs 6 --shift 1"
CASES = (
    Case(name="lenet5", net="lenet5", flags=SMALL, steps=90, photos=False),
    Case(name="cifar_resnet20", net="cifar_resnet20", flags="-b 32 --epochs 4 --flip --shift 4", steps=57),
    Case(
        name="mobilenet_v2",
        net="mobilenet_v2",
        flags="--image-size 32 -b 32 --epochs 4 --flip --shift 4 --mixup 0.2 --ema 0.95",
        steps=57,
    ),
)
RANKED = Case(name="lenet5, two ranks", net="lenet5", flags=SMALL + " --device cpu", steps=90, photos=False, ranks=2)


@dataclass(kw_only=True)
class Found:
    """What the kills of one case gave."""

    bytes: int = 0
    runs: int = 0
    kills: int = 0
    in_writer: int = 0
    ended_before: int = 0
    gone: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """What the run left alone showed: the steps it saved, and seconds of an interval and of the writer's file."""

    saved: frozenset[int]
    interval: float
    writing: float


def step_of(run: Path) -> int:
    """The step in the last checkpoint's header, read without torch; -1 where there is none."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError), open(run / "last.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return int(json.loads(header["__metadata__"]["progress"])["step"])
    return -1


class Watch:
    """A run folder seen from outside; quick enough for a loop that does nothing else."""

    def __init__(self, run: Path) -> None:
        self.run, self._last = run, run / "last.safetensors"
        self._seen: tuple[int, int] | None = None
        self._step = step_of(run)
        self._before = self._temporary()

    def step(self) -> int:
        """The last saved step; the file is opened only when it is another one."""
        with contextlib.suppress(FileNotFoundError):
            status = self._last.stat()
            if (status.st_ino, status.st_mtime_ns) != self._seen:
                self._seen, self._step = (status.st_ino, status.st_mtime_ns), step_of(self.run)
        return self._step

    def writing(self) -> bool:
        """Whether a temporary file is there that was not at the beginning."""
        return bool(self._temporary() - self._before)

    def _temporary(self) -> set[str]:
        with contextlib.suppress(FileNotFoundError):
            return {name for name in os.listdir(self.run) if name.endswith(".tmp")}
        return set()


@contextlib.contextmanager
def started(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process, one thread each, whose words go to a file; nothing of it is left afterwards."""
    quiet = os.environ | {"OMP_NUM_THREADS": "1"}
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=quiet)
    try:
        yield process
    finally:
        kill([process.pid, *descendants(process.pid)] if process.poll() is None else [])
        process.wait()


def kill(processes: Sequence[int]) -> None:
    """SIGKILL to each that is still there."""
    for each in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def descendants(ancestor: int) -> list[int]:
    """Every process below one."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parents[int(entry)] = int(Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[1])
    found, layer = list[int](), {ancestor}
    while layer:
        layer = {each for each, parent in parents.items() if parent in layer}
        found += sorted(layer)
    return found


def alive(process: int) -> bool:
    """Whether a process runs; what has ended and was only not asked for yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def finished(command: Sequence[str], log: Path) -> str:
    """Run to the end; what was said."""
    with started(command, log) as process:
        code = process.wait(2 * PATIENCE)
    if code:
        raise SystemExit(f"{' '.join(map(str, command))}\nended with {code}:\n{log.read_text()[-3000:]}")
    return log.read_text()


def left_alone(command: Sequence[str], run: Path, log: Path) -> Rhythm:
    """The run that nobody kills, watched."""
    watch, began = Watch(run), dict[int, float]()
    lives, since = list[float](), 0.0
    with started(command, log) as process:
        while process.poll() is None:
            now = time.perf_counter()
            began.setdefault(watch.step(), now)
            if watch.writing():
                since = since or now
            elif since:
                lives, since = [*lives, now - since], 0.0
    if process.returncode:
        raise SystemExit(f"the run left alone ended with {process.returncode}:\n{log.read_text()[-3000:]}")
    times = [moment for _, moment in sorted(began.items())][1:]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return Rhythm(saved=frozenset(began), interval=statistics.median(gaps), writing=statistics.median(lives))


class Killing:
    """Kills of one case's runs, each run killed a few times, then finished and compared."""

    def __init__(self, case: Case, place: Path, source: str, seed: int) -> None:
        self.case, self.place, self.log = case, place, place / f"{case.name}.log"
        self.draws, self.found = random.Random(seed), Found()
        prefix = [*TWO, "-m", "fovea", "train"] if case.ranks > 1 else FOVEA
        told = f"{case.net} {source} {case.flags} --save-steps {EVERY} --precision float32 --max-steps {case.steps}"
        self.begin, self.resume = [*prefix, *told.split(), "--out"], [*prefix, "--resume"]

    def done(self, kills: int) -> Found:
        """Until so many kills have hit."""
        whole = self.place / f"{self.case.name}-alone"
        self.rhythm = left_alone([*self.begin, str(whole)], whole, self.log)
        self.found.bytes = (whole / "last.safetensors").stat().st_size
        if max(later - earlier for earlier, later in itertools.pairwise(sorted(self.rhythm.saved))) > EVERY:
            self.found.faults.append(f"saved at {sorted(self.rhythm.saved)} only")
        while self.found.kills < kills and len(self.found.faults) < 3:
            run = self.place / f"{self.case.name}-{self.found.runs}"
            self.found.runs += 1
            moments = (self.draws.randrange(self.case.steps) // EVERY * EVERY for _ in range(CHAIN))
            for moment in sorted(moments)[: kills - self.found.kills]:
                if step_of(run) >= self.case.steps or not self.once(run, moment):
                    break
            self._finish(run, whole)
        return self.found

    def once(self, run: Path, moment: int) -> bool:
        """Start, kill once so many steps are saved, and look at what is left; False where it ended before."""
        before, watch = step_of(run), Watch(run)
        moment = max(moment, min(before + 1, self.case.steps))
        in_writer = self.draws.random() < IN_WRITER
        pause = self.draws.random() * (self.rhythm.writing if in_writer else self.rhythm.interval)
        with started(self._command(run), self.log) as process:
            seen, killed = self._kill_at(process, watch, moment, in_writer, pause)
        self.found.in_writer += killed and watch.writing()
        if killed:
            self.found.kills += 1
            self._look(run, max(before, seen))
        else:
            self.found.ended_before += 1
        return killed

    def _kill_at(
        self, process: subprocess.Popen[bytes], watch: Watch, moment: int, in_writer: bool, pause: float
    ) -> tuple[int, bool]:
        """The step that was seen saved before the kill, and whether the kill hit."""
        deadline = time.perf_counter() + PATIENCE
        while process.poll() is None and watch.step() < moment:
            time.sleep(0.0002)
            if time.perf_counter() > deadline:
                raise SystemExit(f"{watch.run}: no step {moment} within {PATIENCE:g} s\n{self.log.read_text()[-2000:]}")
        there = descendants(process.pid) if self.case.ranks > 1 else []
        while in_writer and process.poll() is None and not watch.writing():
            pass
        until = time.perf_counter() + pause
        while process.poll() is None and time.perf_counter() < until:
            pass
        seen = watch.step()
        if process.poll() is not None:
            return seen, False
        if self.case.ranks > 1:
            return seen, self._kill_ranks(process, there)
        process.kill()
        return seen, process.wait(PATIENCE) == -signal.SIGKILL

    def _kill_ranks(self, process: subprocess.Popen[bytes], there: list[int]) -> bool:
        """Launcher and ranks at once, or every other time one of the ranks; then none may be left."""
        ranks = [each for each in there if b"RANK=" in environment_of(each)]
        if len(ranks) < 2:
            return False
        one = self.found.kills % 2 == 1
        kill([self.draws.choice(ranks)] if one else [process.pid, *there])
        began = time.perf_counter()
        while time.perf_counter() - began < GONE and (process.poll() is None or any(map(alive, there))):
            time.sleep(0.05)
        if one:
            self.found.gone.append(time.perf_counter() - began)
        left = [each for each in there if alive(each)]
        if left or process.poll() is None:
            self.found.faults.append(f"{len(left)} processes are left {GONE:g} s after {'one' if one else 'all'} died")
            kill(left)
        return process.returncode != 0

    def _look(self, run: Path, saved: int) -> None:
        """What a kill leaves is whole, not older than what was saved before it, and one that was due."""
        from fovea.training import checkpoints

        left, last = step_of(run), run / checkpoints.LAST
        if left < saved or (left >= 0 and left not in self.rhythm.saved and self.case.ranks == 1):
            self.found.faults.append(f"{run.name}: step {left} is left, step {saved} was saved")
        if left >= 0:
            checkpoints.first_difference(last, last)  # reads it whole, and checks its hash

    def _command(self, run: Path) -> list[str]:
        return [*(self.resume if (run / "config.json").exists() else self.begin), str(run)]

    def _finish(self, run: Path, whole: Path) -> None:
        finished(self._command(run), self.log)
        said = difference(whole, run)
        debris = [str(path.relative_to(run)) for path in run.rglob("*.tmp")]
        self.found.faults += [f"{run.name}: {said}"] if said else []
        self.found.faults += [f"{run.name}: debris {', '.join(debris)}"] if debris else []
        shutil.rmtree(run)


def environment_of(process: int) -> bytes:
    """A process's environment; nothing where it is gone."""
    try:
        return Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return b""


def difference(one: Path, other: Path) -> str:
    """What is not the same in two finished runs: the bundle's bytes, the checkpoints' bits, the rows but for clocks."""
    from fovea.training import checkpoints

    files = [
        {p.name: p.read_bytes() for p in (each / "bundle").iterdir() if p.suffix != ".tmp"} for each in (one, other)
    ]
    for name in sorted(files[0].keys() | files[1].keys()):
        if files[0].get(name) != files[1].get(name):
            return f"bundle/{name} differs"
    for name in (checkpoints.LAST, checkpoints.BEST, checkpoints.HEALTHY):
        tensor = checkpoints.first_difference(one / name, other / name)
        if tensor:
            return f"{name}: {tensor} differs"
        pair = [checkpoints.progress_of(each / name) for each in (one, other)]
        rows = [[{k: v for k, v in row.items() if k not in CLOCKS} for row in each.history] for each in pair]
        if rows[0] != rows[1] or (pair[0].step, pair[0].running) != (pair[1].step, pair[1].running):
            return f"{name}: its history differs"
    return ""


CLOCKS = ("images_per_second", "data_wait", "seconds")


def photographs(place: Path) -> str:
    """A folder of 10 classes of 32×32 PNG: a few of CIFAR-10's where it is there, else drawn at random."""
    from PIL import Image

    root, random_ = place / "photographs", np.random.default_rng(0)
    real = Path.home() / ".cache/fovea/data/cifar10"
    names = sorted(each.name for each in (real / "train").iterdir()) if (real / "train").is_dir() else []
    for label, name in enumerate(names or [f"class{n}" for n in range(10)]):
        files = sorted((real / "train" / name).iterdir())[:72] if names else []
        for n in range(72):
            target = root / ("train" if n < 48 else "val" if n < 60 else "test") / name / f"{n}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            if files:
                shutil.copyfile(files[n], target)
            else:
                Image.fromarray((random_.integers(0, 128, (32, 32, 3)) + 12 * label).astype(np.uint8)).save(target)
    return str(root)


def first_gradients(out: str) -> None:
    """What one process of a run sees: the images of each step of two epochs, and the first gradients.

    ReLU is SiLU here: at a kink the rounding of a sum changes gradients of ResNet-20 by a hundredth, with one rank too
    (float32 against float64: 6e-3 of a tensor's largest).
    """
    import torch

    import fovea
    from fovea.training.forward import Forward
    from fovea.training.options import options
    from fovea.training.planning import prepare
    from fovea.training.shared_norm import shared_statistics

    data, found = fovea.open_data(str(Path(out) / "photographs")), {}
    for net in ("lenet5", "cifar_resnet20"):
        network = fovea.create(net, num_classes=10, in_channels=3, image_size=32, seed=1)
        for module in list(network.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, torch.nn.ReLU):
                    setattr(module, name, torch.nn.SiLU())
        told = options(batch_size=64, flip=True, shift=4, device="cpu", precision="float32")
        made = prepare(network, data, told, run=Path(out) / "none")
        torch.manual_seed(0)
        with shared_statistics(network) if made.fabric.world_size > 1 else contextlib.nullcontext():
            forward = made.fabric.setup_module(Forward(network.train(), "float32", made.fabric.device))
            batch = next(made.batches.epoch(0))
            made.fabric.backward(made.loss(forward(batch.images), batch))
        found |= {f"{net} {name}": weight.grad.numpy() for name, weight in network.named_parameters()}
        shares = [made.batches.share(epoch, step) for epoch in (0, 1) for step in range(len(made.batches))]
        found[f"images of {net}"] = np.stack(shares)
    np.savez(f"{out}/ranks{made.fabric.world_size}-{made.fabric.global_rank}.npz", **found)


def one_against_two(place: Path) -> tuple[list[str], list[str]]:
    """Rows of a table, and faults: the same images in each step, the same first gradients, the same accuracies."""
    here = [str(Path(__file__).resolve()), "--gradients", str(place)]
    finished([sys.executable, *here], place / "one.log")
    finished([*TWO, *here], place / "two.log")
    one, two, other = (np.load(place / f"ranks{name}.npz") for name in ("1-0", "2-0", "2-1"))
    rows, faults, worst = list[str](), list[str](), 0.0
    for name in one.files:
        if name.startswith("images"):
            both = np.sort(np.concatenate([two[name], other[name]], axis=1), axis=1)
            same = np.array_equal(both, np.sort(one[name], axis=1))
            rows.append(f"| {name}, {len(both)} steps of two epochs | {'the same' if same else 'DIFFER'} |")
            faults += [] if same else [f"{name} differ between one and two ranks"]
        else:
            worst = max(worst, float(np.abs(one[name] - two[name]).max() / max(1e-8, np.abs(one[name]).max())))
    rows.append(f"| first gradients, largest difference against the largest of each tensor | {worst:.1e} |")
    faults += [f"first gradients differ by {worst:.1e}"] if worst > AGREE else []
    reached: dict[int, list[float]] = {1: [], 2: []}
    for ranks, seed in ((ranks, seed) for ranks in (1, 2) for seed in (1, 2, 3)):
        told = (
            f"lenet5 digits -b 64 --epochs 8 --shift 1 --device cpu --seed {seed} --json --out {place}/r{ranks}s{seed}"
        )
        said = finished([*(FOVEA if ranks == 1 else [*TWO, "-m", "fovea", "train"]), *told.split()], place / "seed.log")
        reached[ranks].append(json.loads(next(x for x in said.splitlines() if x.startswith("{")))["test"]["top1"])
    means, spread = [statistics.mean(reached[ranks]) for ranks in (1, 2)], max(reached[1]) - min(reached[1])
    for ranks, mean in zip((1, 2), means, strict=True):
        each = ", ".join(f"{top1:.2%}" for top1 in reached[ranks])
        rows.append(f"| test accuracy of {ranks} rank{'s' * (ranks - 1)}, three seeds | {each}; mean {mean:.2%} |")
    faults += [f"means {means} lie further apart than {spread}"] if abs(means[0] - means[1]) > spread else []
    return rows, faults


def row_of(case: Case, found: Found) -> str:
    """One line of the table."""
    gone = f"; all gone {max(found.gone):.1f} s after one was killed at most" if found.gone else ""
    result = "; ".join(found.faults) if found.faults else f"equal to the bit{gone}"
    size = f"{found.bytes / 1e6:.2f} MB"
    return (
        f"| {case.name} | {size} | {case.steps} | {found.kills} | {found.in_writer} | {found.ended_before} "
        f"| {found.runs} | {result} |"
    )


def main() -> int:
    """Kill, resume, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rank-kills", type=int, default=10, help="0 leaves out all that is about two ranks")
    parser.add_argument("--nets", nargs="+", default=[case.name for case in CASES])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gradients", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.gradients:
        first_gradients(asked.gradients)
        return 0
    import torch

    began, faults = time.perf_counter(), list[str]()
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"
    )
    with tempfile.TemporaryDirectory(prefix="fovea-durability-") as folder:
        place = Path(folder)
        photos = photographs(place)
        chosen = [case for case in CASES if case.name in asked.nets]
        plan = [(case, asked.kills // len(chosen) + (n < asked.kills % len(chosen))) for n, case in enumerate(chosen)]
        plan += [(RANKED, asked.rank_kills)] if asked.rank_kills else []
        print("\n| run | checkpoint | steps | kills | in the writer | ended before | runs | bundle and checkpoints |")
        print("|---|---|---|---|---|---|---|---|")
        for n, (case, kills) in enumerate(plan):
            found = Killing(case, place, photos if case.photos else "digits", asked.seed + n).done(kills)
            print(row_of(case, found), flush=True)
            faults += found.faults
        if asked.rank_kills:
            rows, more = one_against_two(place)
            print("\n| two ranks against one | |\n|---|---|\n" + "\n".join(rows))
            faults += more
    print(f"\n{time.perf_counter() - began:.0f} s; {'; '.join(faults) or 'nothing differs'}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
