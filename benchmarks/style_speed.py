"""Style transfer's time, loss and memory, against the algorithm of PyTorch's published tutorial on the same layers.

    python benchmarks/style_speed.py vgg19 --rounds 3
    python benchmarks/style_speed.py vgg19 --memory --sizes 256 512 1024

The tutorial's algorithm, written anew here: images channels-first in float32, max pooling, a loss module behind each
layer whose target it computes once, weights of 1 and 1,000,000, L-BFGS of torch without a line search, pixels clamped
to [0, 1] before each pass. Both take 256×256 pixels, content conv4_2, style conv1_1 to conv5_1, 200 steps from the
content; ours passes through the network a few times more than it takes steps. Each run is a process of its own, in
turns, with threads that do not spin, as the command has it; time is that of the search, without loading.

With --memory: the most that a process has held beyond what it held before, beside what was foreseen.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_sample_images
from style_pictures import write
from torch import Tensor, nn
from torch.nn import functional as F

import fovea
from fovea.commands.allocator import keep_memory
from fovea.commands.main import SPIN
from fovea.data.pixels import read_image
from fovea.runtime.model import Model
from fovea.style.inputs import Pictures
from fovea.style.options import StyliseOptions
from fovea.style.perception import numberless
from fovea.style.sizing import as_images, fitted
from fovea.style.stylist import Stylist

STYLE, CONTENT = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"), "conv4_2"


def square(path: Path, side: int) -> Any:
    """The middle square of a picture, so many pixels a side."""
    picture = read_image(path)
    least = min(picture.shape[:2])
    top, left = ((each - least) // 2 for each in picture.shape[:2])
    return fitted(picture[top : top + least, left : left + least].copy(), side)


class Compared(nn.Module):
    """Passes maps on, and keeps how far they, or their Gram matrix, are from what they were for another picture."""

    def __init__(self, maps: Tensor, *, style: bool) -> None:
        super().__init__()
        self.style, self.loss = style, torch.zeros(())
        self.wanted = self._of(maps).detach()

    def _of(self, maps: Tensor) -> Tensor:
        if not self.style:
            return maps
        rows = maps.flatten(0, 1).flatten(1)
        return rows @ rows.T / maps.numel()

    def forward(self, maps: Tensor) -> Tensor:
        """The maps themselves."""
        self.loss = F.mse_loss(self._of(maps), self.wanted)
        return maps


class Normalised(nn.Module):
    """Pixels in [0, 1] as the network has them."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        spec = model.bundle.preprocessing
        self.mean, self.std = (torch.tensor(each).view(-1, 1, 1) for each in (spec.mean, spec.std))

    def forward(self, images: Tensor) -> Tensor:
        """The network's numbers."""
        return (images - self.mean) / self.std


def tutorial(model: Model, content: Tensor, style: Tensor, steps: int) -> dict[str, float]:
    """The tutorial's search: seconds, passes."""
    chain, own, other = [Normalised(model)], content, style
    compared: list[Compared] = []
    own, other = chain[0](own), chain[0](other)
    for stage, layers in model.network.features.named_children():
        for name, layer in layers.named_children() if isinstance(layers, nn.Sequential) else [("", layers)]:
            if isinstance(layer, nn.Conv2d):
                layer = _plain(layer)
            chain.append(layer)
            with torch.no_grad():
                own, other = layer(own), layer(other)
            called = f"{stage}_{name.removeprefix('relu')}"
            for style_too in (called in STYLE) * [True] + (called == CONTENT) * [False]:
                compared.append(Compared(other if style_too else own, style=style_too))
                chain.append(compared[-1])
            if called == STYLE[-1]:
                break
        else:
            continue
        break
    network = nn.Sequential(*chain).eval().requires_grad_(False)
    images = content.clone().contiguous().requires_grad_()
    optimiser = torch.optim.LBFGS([images])
    passes = 0
    started = time.perf_counter()
    while passes < steps:

        def closure() -> Tensor:
            nonlocal passes
            with torch.no_grad():
                images.clamp_(0, 1)
            optimiser.zero_grad()
            network(images)
            loss = sum((1e6 if each.style else 1.0) * each.loss for each in compared)
            loss.backward()
            passes += 1
            return loss

        optimiser.step(closure)
    return {"seconds": time.perf_counter() - started, "passes": passes}


def _plain(layer: nn.Conv2d) -> nn.Conv2d:
    """The convolution with its weights channels-first, as they are loaded elsewhere."""
    copy = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding)
    copy.weight.data = layer.weight.data.clone(memory_format=torch.contiguous_format)
    copy.bias.data = layer.bias.data
    return copy


def ours(model: Model, pictures: Pictures, options: StyliseOptions) -> dict[str, float]:
    """Our search: seconds of it, passes, and the loss at its end as a share of that at its start."""
    stylist = Stylist(model, options)
    marks: list[float] = []
    result = stylist.stylise(pictures, watch=lambda _: marks.append(time.perf_counter()))
    first, last = result.history[0], result.history[-1]
    each = (marks[-1] - marks[0]) / (last.evaluations - first.evaluations)  # and one for the start, timed with no other
    return {
        "seconds": marks[-1] - marks[0] + each,
        "passes": last.evaluations,
        "share": last.total / first.total,
        "foreseen": result.plans[-1].bytes / 2**20,
    }


def memory() -> tuple[float, float]:
    """MiB that the process holds, and the most it has held."""
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(told["VmRSS"].split()[0]) / 1024, int(told["VmHWM"].split()[0]) / 1024


def run_one(asked: argparse.Namespace) -> None:
    """What a process of its own does; its result as a line of JSON."""
    folder = Path(asked.pictures)
    if asked.kind != "tutorial":
        keep_memory()
    model = fovea.load(asked.model)
    content, style = square(folder / "china.png", asked.size), square(folder / "strokes.png", asked.size)
    if asked.kind == "tutorial":
        found = tutorial(model, as_images(content), as_images(style), asked.steps)
    else:
        options = StyliseOptions(size=(asked.size,), steps=asked.steps, precision=asked.kind, memory=asked.limit)
        with numberless():  # what it imports is no picture's
            load_sample_images()
        Path("/proc/self/clear_refs").write_text("5")  # the most held is counted anew
        before = memory()[0]
        found = ours(model, Pictures(content, (style,)), options)
        found["held"] = memory()[1] - before
    print(json.dumps(found))


def measured(asked: argparse.Namespace, folder: str, kind: str, size: int, steps: int, limit: float = 0.0) -> Any:
    """A run in a process of its own."""
    command = [sys.executable, __file__, asked.model, "--kind", kind, "--pictures", folder, "--size", str(size)]
    command += ["--steps", str(steps), "--limit", str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | dict([SPIN]))
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a bundle of VGG-19")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--pictures", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, default=0.0, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.kind:
        run_one(asked)
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {time.strftime('%Y-%m-%d')}")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        if asked.memory:
            for size in asked.sizes:
                for kind, limit in (("float32", 0.0), ("bf16", 0.0), ("bf16", 0.5)):
                    found = measured(asked, folder, kind, size, 3, limit)
                    within = f" within {limit} GiB" if limit else ""
                    told = f"foreseen {found['foreseen']:6.0f} MiB, held {found['held']:6.0f}"
                    print(
                        f"{size:5} pixels, {kind:8}{within}: {told}, {found['seconds'] / found['passes']:.2f} s a pass"
                    )
            return
        kinds = ("tutorial", "float32", "bf16")
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for n in range(asked.rounds):
            for kind in kinds[n % 3 :] + kinds[: n % 3]:
                found = measured(asked, folder, kind, asked.size, asked.steps)
                times[kind].append(found["seconds"])
                print(
                    f"round {n + 1}: {kind:8} {found['seconds']:7.1f} s, {found['passes']} passes",
                    *_share(found),
                    flush=True,
                )
        for kind in kinds[1:]:
            ratios = [own / other for own, other in zip(times[kind], times["tutorial"], strict=True)]
            median, least, most = statistics.median(ratios), min(ratios), max(ratios)
            print(f"{kind}: {median:.2f} of the tutorial's time ({least:.2f} to {most:.2f})")


def _share(found: dict[str, float]) -> list[str]:
    return [f"loss {100 * found['share']:.2f} % of the start's"] if "share" in found else []


if __name__ == "__main__":
    main()
