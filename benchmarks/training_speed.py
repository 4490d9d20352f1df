"""The training step against eager PyTorch and against timm at its best flags: one process each, in turn.

    python benchmarks/training_speed.py [--rounds 7] [--nets lenet5,mobilenet_v2] [--seconds 1.0] [--threads 1]

eager is what a script of twenty lines does: float32, channels-first, torch's SGD with its defaults. timm is timm's
network, channels-last, under bf16 autocast where the machine has bf16. ours is fovea's step in the arithmetic of the
table, with the allocator as the command line sets it. All processes stay alive and take turns, so that a busy machine
slows all of them; ratios are medians over the rounds, times the medians of milliseconds. With one thread it is CPU time
that counts, which other programs disturb less; with more, time on the clock. The share is of the ceiling: what a large
3×3 convolution reaches, in bf16 or where there is none in float32, measured in turn with the rest. FLOPs of a step are
6 × multiply-adds × images.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

WARM = 3  # steps before the first round


class Case(NamedTuple):
    """One line of the table."""

    batch: int
    size: int
    channels: int
    precision: str
    timm: str = ""


CASES = {
    "lenet5": Case(256, 32, 1, "bf16-fused"),
    "cifar_resnet20": Case(128, 32, 3, "bf16"),
    "cifar_airbench94": Case(1000, 32, 3, "bf16"),
    "resnet18": Case(16, 224, 3, "bf16-fused", "resnet18"),
    "mobilenet_v2": Case(16, 224, 3, "bf16-fused", "mobilenetv2_100"),
    "efficientnet_b0": Case(16, 224, 3, "bf16-fused", "efficientnet_b0"),
}


def our_step(name: str, case: Case) -> Callable[[], None]:
    """The step of fovea."""
    from fovea.commands.allocator import keep_memory

    keep_memory()
    import torch
    from lightning.fabric import Fabric

    import fovea
    from fovea.data.batch import Batch
    from fovea.training.arithmetic import arranged
    from fovea.training.forward import Forward
    from fovea.training.loop import Step
    from fovea.training.losses import objective
    from fovea.training.optimisers import build
    from fovea.training.options import options
    from fovea.training.ranks import Ranks

    network, told = fovea.create(name, seed=0).train(), options(batch_size=case.batch, precision=case.precision)
    images, labels = _batch(case)
    batch = Batch(images.contiguous(memory_format=torch.channels_last), labels)
    layout, fabric = ExitStack(), Fabric(accelerator="cpu", devices=1)
    layout.enter_context(arranged(network, case.precision))
    step = Step(
        fabric=fabric,
        ranks=Ranks(fabric),
        forward=fabric.setup_module(Forward(network, case.precision, fabric.device)),
        loss=objective(told.objective, label_counts=torch.ones(10, dtype=torch.int64)),
        optimiser=build(network, told.update),
        options=told,
    )
    return lambda _layout=layout: step(batch, 0, 1e-3)  # holds the layout for as long as it lasts


def eager_step(name: str, case: Case) -> Callable[[], None]:
    """What a script does."""
    import fovea

    return _plain_step(fovea.create(name, seed=0), case, best=False)


def timm_step(_: str, case: Case) -> Callable[[], None]:
    """The network of timm at the flags that are fastest on a CPU."""
    import timm

    return _plain_step(timm.create_model(case.timm, num_classes=1000), case, best=True)


def ceiling_step(_: str, _case: Case) -> Callable[[], None]:
    """A large convolution, forward and both gradients."""
    import torch

    form = {"memory_format": torch.channels_last}
    kind = torch.bfloat16 if _has_bf16() else torch.float32
    layer = torch.nn.Conv2d(256, 256, 3, padding=1, bias=False).to(dtype=kind, **form)
    images = torch.randn(16, 256, 28, 28).to(dtype=kind, **form).requires_grad_()
    gradient = torch.randn(16, 256, 28, 28).to(dtype=kind, **form)
    return lambda: layer(images).backward(gradient)


CEILING_FLOPS = 6 * 16 * 28**2 * 256**2 * 9
STEPS = {"eager": eager_step, "ours": our_step, "timm": timm_step, "ceiling": ceiling_step}


def _plain_step(network, case: Case, *, best: bool) -> Callable[[], None]:  # type: ignore[no-untyped-def]
    import torch

    images, labels = _batch(case)
    network.train()
    if best:
        network.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=best and _has_bf16()):
            loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def _batch(case: Case):  # type: ignore[no-untyped-def]
    import torch

    torch.manual_seed(0)
    return torch.randn(case.batch, case.channels, case.size, case.size), torch.randint(10, (case.batch,))


class Worker:
    """A process that runs steps when it is told so."""

    def __init__(self, how: str, name: str, threads: int) -> None:
        command = [sys.executable, __file__, "--worker", how, "--nets", name, "--threads", str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.seconds: list[float] = []
        self.first = self._answer()

    def run(self, steps: int) -> None:
        """So many steps; notes the seconds of one."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        self.seconds.append(self._answer())

    def end(self) -> None:
        """Let it go."""
        self.process.communicate()

    def _answer(self) -> float:
        assert self.process.stdout is not None
        return float(self.process.stdout.readline())


def serve(how: str, name: str, threads: int) -> None:
    """What a worker does: for each number it reads, so many steps; it writes the seconds of one."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    step = STEPS[how](name, _case(name))
    answers, sys.stdout = sys.stdout, sys.stderr
    for _ in range(WARM):
        step()
    told = 1
    while True:
        began = clock()
        for _ in range(told):
            step()
        print((clock() - began) / told, file=answers, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        told = int(line)


def measured(name: str, rounds: int, seconds: float, threads: int) -> str:
    """A line of the table."""
    case = _case(name)
    hows = [how for how in STEPS if how != "timm" or (case.timm and _has_timm())]
    workers = {how: Worker(how, name, threads) for how in hows}
    steps = {how: max(1, round(seconds / worker.first)) for how, worker in workers.items()}
    for _ in range(rounds):
        for how, worker in workers.items():
            worker.run(steps[how])
    for worker in workers.values():
        worker.end()
    took = {how: worker.seconds for how, worker in workers.items()}

    def ratio(how: str) -> str:
        if how not in took:
            return ""
        return f"{statistics.median(a / b for a, b in zip(took[how], took['ours'], strict=True)):.2f}"

    def times(how: str) -> str:
        return f"{1000 * statistics.median(took[how]):,.1f}" if how in took else ""

    flops = 6 * _multiply_adds(name, case) * case.batch
    share = statistics.median(
        (flops / own) / (CEILING_FLOPS / best) for own, best in zip(took["ours"], took["ceiling"], strict=True)
    )
    cells = [name, str(case.batch), str(case.size), case.precision, *map(times, ("eager", "timm", "ours"))]
    return "| " + " | ".join([*cells, ratio("eager"), ratio("timm"), f"{share:.0%}"]) + " |"


def _multiply_adds(name: str, case: Case) -> int:
    import fovea
    from fovea.cost.count import measure

    return measure(fovea.create(name), in_channels=case.channels, image_size=case.size).multiply_adds


def _case(name: str) -> Case:
    """A line of the table, in float32 where the machine has no bf16."""
    case = CASES[name]
    return case if _has_bf16() else case._replace(precision="float32-fused")


def _has_bf16() -> bool:
    import torch

    from fovea.training.arithmetic import has_bf16

    return has_bf16(torch.device("cpu"))


def _has_timm() -> bool:
    try:
        version("timm")
    except ImportError:
        return False
    return True


def _machine() -> str:
    named = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    peers = f", timm {version('timm')}" if _has_timm() else ""
    return (
        f"{named[0].split(':')[1].strip() if named else platform.machine()}, {os.cpu_count()} cores, "
        f"torch {version('torch')}{peers}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )


def main() -> None:
    """Measure and print the table, a line as it is ready."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn, about")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--nets", default=",".join(CASES))
    parser.add_argument("--worker", choices=STEPS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    if asked.worker:
        serve(asked.worker, asked.nets, asked.threads)
        return
    print(f"{_machine()}; {asked.threads} thread{'s' if asked.threads > 1 else ', CPU time'}")
    print()
    print(
        "| network | batch | size | arithmetic | eager ms | timm ms | ours ms | over eager | over timm | of ceiling |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in asked.nets.split(","):
        print(measured(name, asked.rounds, asked.seconds, asked.threads), flush=True)


if __name__ == "__main__":
    main()
