"""Dense evaluation against the crops that it stands for: how far padding moves the logits of a trained network.

    python benchmarks/dense_evaluation.py RUN --resize 128

Each image of the run's evaluation split is resized, and the network slides over the whole of it. Each place of the map
is a crop, of the network's own size, one stride further; these are judged one by one, too. Without padding the two are
equal but for rounding. With padding the network sees, at a crop's border, the image around it in the one case and zeros
in the other. Told are the largest and the typical difference of the logits, relative to the largest logit of a crop,
how often both name the same class, and the accuracy of the two means and of the crop in the centre.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace

import numpy as np
import torch
from torch import nn

import fovea
from fovea.evaluation.dense import fully_convolutional
from fovea.evaluation.metrics import wilson_interval
from fovea.evaluation.statistics import compare
from fovea.files import read_json
from fovea.runtime.find import find_bundle

GROUP = 64  # crops judged at once


def stride_of(dense: nn.Module, channels: int, size: int) -> int:
    """How many pixels lie between two places of the map: those that an image must have more for a second one."""
    with torch.inference_mode():
        return next(
            more for more in itertools.count(1) if dense(torch.zeros(1, channels, size + more, size)).shape[2] > 1
        )


def main() -> None:
    """Judge both ways and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--resize", type=int, default=None, help="the shorter side, in pixels; the run's own if none")
    parser.add_argument("--images", type=int, default=None, help="only so many, the first ones")
    asked = parser.parse_args()

    bundle = find_bundle(asked.run)
    model = fovea.load(bundle)
    data = fovea.open_data(**read_json(bundle.parent / "config.json")["data"]["source"])
    split = data.split("test" if data.test is not None else "validation")
    spec, network = model.bundle.preprocessing, model.network
    spec, size = replace(spec, resize=asked.resize or spec.resize), spec.image_size
    dense = fully_convolutional(network, spec.in_channels, size)
    stride = stride_of(dense, spec.in_channels, size)
    apart, same, places, right = [], 0, 0, {"dense": [], "crops": [], "centre": []}
    for index in range(asked.images or len(split)):
        whole = torch.from_numpy(np.array(spec.rescaled(spec.channelled(split.images[index]))))
        pixels = spec.normalise(whole.permute(2, 0, 1)[None])
        with torch.inference_mode():
            maps = dense(pixels)
            logits, (rows, columns) = maps[0].flatten(1).T, maps.shape[2:]
            views = pixels.unfold(2, size, stride).unfold(3, size, stride)[0, :, :rows, :columns]
            views = views.permute(1, 2, 0, 3, 4).flatten(0, 1)
            crops = torch.cat([network(part) for part in views.split(GROUP)])
            top, left = (pixels.shape[2] - size) // 2, (pixels.shape[3] - size) // 2
            centre = network(pixels[:, :, top : top + size, left : left + size])
        apart.append((logits - crops).abs() / crops.abs().max())
        same += int((logits.argmax(1) == crops.argmax(1)).sum())
        places += len(crops)
        for name, each in (("dense", logits), ("crops", crops), ("centre", centre)):
            right[name].append(bool(each.softmax(1).mean(0).argmax() == split.labels[index]))
    every = torch.cat([each.flatten() for each in apart])
    print(f"{model.bundle.name} on {data.name}, {split.name}: {size} pixels over {spec.resize}, stride {stride}")
    print(f"{places:,} crops of {len(apart):,} images; difference of logits: {every.max():.2g} at most, ", end="")
    print(f"{every.mean():.2g} on average, of the crops' largest; the same class in {same / places:.2%} of the crops")
    for name, answers in right.items():
        low, high = wilson_interval(sum(answers), len(answers))
        print(f"{name:<7} top-1 {sum(answers) / len(answers):.2%} (95 % interval {low:.2%} to {high:.2%})")
    print(compare(np.array(right["crops"]), np.array(right["dense"])).sentence("the mean over crops", "dense"))


if __name__ == "__main__":
    main()
