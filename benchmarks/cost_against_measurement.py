"""What the inspector predicts of a training step, memory and time, beside what is measured on this machine.

    python benchmarks/cost_against_measurement.py                 the networks and batches of docs/results.md
    python benchmarks/cost_against_measurement.py lenet5:64 resnet18:8
    python benchmarks/cost_against_measurement.py --ways          memory alone, in the other ways of training

Memory: the peak of live tensor bytes by the profiler's allocation events, weights, buffers, images and the optimiser's
state included; resident memory stands beside it and is not judged. Time: the fastest of at least five steps (forward,
backward, update by SGD with momentum, float32) and forward passes in evaluation. Each network runs in a process of its
own, one with short steps in five, of which the median counts. Prints a table and the median errors.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

NETWORKS = ("lenet5", "alexnet", "vgg11", "resnet18", "resnet50", "densenet121", "mobilenet_v2", "efficientnet_b0")
BATCHES = {"lenet5": (64, 256), "alexnet": (8, 32), "vgg11": (4, 8), "resnet18": (8, 32)}
USUAL = (4, 16)
WAYS = ("lenet5:64", "alexnet:8", "resnet18:8", "mobilenet_v2:8", "densenet121:4", "googlenet:4")
DEPTHWISE = ("mobilenet_v2", "efficientnet_b0")
OTHER_WAYS: tuple[tuple[Any, Any, bool, bool], ...] = (  # optimiser, precision, channels last, checkpointing
    ("adam", "float32", False, False),
    ("sgd", "float32", True, False),
    ("sgd", "float32", False, True),
    ("sgd", "bf16", False, False),
    ("sgd", "bf16", True, False),
    ("sgd", "bf16", True, True),
)
TIMED = ("step", "forward")
PROCESSES, SHORT = 5, 0.05  # seconds of a step; one process in four has short steps slower by half, all the time
RUNS, LONG_ENOUGH = 5, 0.5  # seconds
MB = 1e6


def main() -> None:
    """Measure each network in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help="NAME:BATCH")
    parser.add_argument("--ways", action="store_true", help="memory: Adam, bf16, channels last, checkpointing")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        name, _, batch = asked.networks[0].partition(":")
        print(json.dumps(compared(name, int(batch))))
        return
    if asked.ways:
        ways(asked.networks or WAYS)
        return
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command fovea has it
    given = asked.networks or [f"{name}:{batch}" for name in NETWORKS for batch in BATCHES.get(name, USUAL)]
    from fovea.cost.calibration import calibration, hardware

    made = calibration(precision="float32", channels_last=False)
    print(f"{hardware()}; calibrated {made.date}\n")
    heads = "network | batch | predicted MB | measured MB | error | resident MB"
    times = "bound ms | estimate ms | measured ms | error"
    print(f"| {heads} | step: {times} | forward: {times} |\n|---{'|---:' * 13}|")
    found = []
    for each in given:
        found.append(in_processes(each))
        print(line(found[-1]), flush=True)
    for title, chosen in (("convolution-bound", False), ("depthwise", True)):
        for what in TIMED:
            errors = [abs(error(f, what)) for f in found if (f["name"] in DEPTHWISE) == chosen]
            if errors:
                print(f"\n{title}, {what}: median error {statistics.median(errors):.1%}, largest {max(errors):.1%}")
    errors = [abs(f["predicted"] / f["measured"] - 1) for f in found]
    print(f"\nmemory: median error {statistics.median(errors):.1%}, largest {max(errors):.1%}")


def in_processes(network: str) -> dict[str, Any]:
    """What a process of its own finds; where steps are short, the one of five processes with the median step."""
    found: list[dict[str, Any]] = []
    while not found or (found[0]["step"][-1] < SHORT and len(found) < PROCESSES):
        command = [sys.executable, __file__, "--one", network]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return sorted(found, key=lambda each: each["step"][-1])[len(found) // 2]


def line(f: dict[str, Any]) -> str:
    """A row of the table."""
    memory = f"{f['predicted'] / MB:.1f} | {f['measured'] / MB:.1f} | {f['predicted'] / f['measured'] - 1:+.1%}"
    step, forward = (" | ".join([*(f"{1000 * t:.1f}" for t in f[of]), f"{error(f, of):+.1%}"]) for of in TIMED)
    return f"| {f['name']} | {f['batch']} | {memory} | {f['resident'] / MB:.0f} | {step} | {forward} |"


def error(f: dict[str, Any], what: str) -> float:
    """Of the estimate of a step or a forward pass."""
    _, estimate, measured = f[what]
    return float(estimate / measured - 1)


def compared(name: str, batch: int) -> dict[str, Any]:
    """Prediction and measurement of one network."""
    import fovea
    from fovea.cost.calibration import calibration
    from fovea.cost.measuring import Workout
    from fovea.cost.memory import training_memory
    from fovea.cost.step import Setting
    from fovea.cost.timing import expected

    network = fovea.create(name, seed=0)
    told = network.architecture
    setting = Setting(in_channels=told.in_channels, image_size=told.image_size, batch_size=batch)
    [memory] = training_memory(network, setting, ["sgd"])
    bound, estimate = expected(network, setting, calibration(precision="float32", channels_last=False))
    workout = Workout(network, setting)
    del network
    measured = measured_memory(workout)
    return {
        "name": name,
        "batch": batch,
        "predicted": memory.peak,
        "measured": measured,
        "resident": resident_peak(),
        "step": (bound.step, estimate.step, fastest(workout.step)),
        "forward": (bound.forward, estimate.forward, fastest(workout.forward)),
    }


def fastest(run: Callable[[], None]) -> float:
    """The fewest seconds of a run, of at least five runs and half a second."""
    seconds: list[float] = []
    while len(seconds) < RUNS or sum(seconds) < LONG_ENOUGH:
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def resident_peak() -> int:
    """The most of this process that lay in memory; not getrusage's, which starts from its parent's."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def ways(networks: Sequence[str]) -> None:
    """Predicted and measured memory of each network in the ways of training that the main table leaves out."""
    import fovea
    from fovea.cost.measuring import Workout
    from fovea.cost.memory import blocks_of, training_memory
    from fovea.cost.step import Setting, checkpointed

    heads = (
        "network | batch | optimiser | precision | memory format | checkpointing | predicted MB | measured MB | error"
    )
    print(f"| {heads} |\n|---|---:|---|---|---|---|{'---:|' * 3}")
    errors = []
    for each in networks:
        name, _, batch = each.partition(":")
        network = fovea.create(name, seed=0)
        told = network.architecture
        for optimiser, precision, last, again in OTHER_WAYS:
            setting = Setting(
                in_channels=told.in_channels,
                image_size=told.image_size,
                batch_size=int(batch),
                precision=precision,
                channels_last=last,
                checkpointing=again,
            )
            [memory] = training_memory(network, setting, [optimiser])
            workout = Workout(network, setting, optimiser=optimiser)
            with checkpointed(blocks_of(workout.network) if again else ()):
                measured = measured_memory(workout)
            errors.append(memory.peak / measured - 1)
            how = f"{optimiser} | {precision} | {'channels last' if last else ''} | {'yes' if again else ''}"
            sizes = f"{memory.peak / MB:.1f} | {measured / MB:.1f} | {errors[-1]:+.1%}"
            print(f"| {name} | {batch} | {how} | {sizes} |", flush=True)
    print(f"\nmedian error {statistics.median(map(abs, errors)):.1%}, largest {max(map(abs, errors)):.1%}")


def measured_memory(workout: Any) -> int:
    """The most bytes of live tensors in a step, by the profiler's allocation events."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    workout.step()
    workout.optimiser.zero_grad()
    network = workout.network
    held = [*network.parameters(), *network.buffers(), workout.images, workout.labels]
    held += [each for state in workout.optimiser.state.values() for each in state.values() if torch.is_tensor(each)]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        workout.step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    return most + sum(tensor.untyped_storage().nbytes() for tensor in held)


if __name__ == "__main__":
    main()
