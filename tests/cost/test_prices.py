"""Prices: a base, a correction learned from samples, and never below the roofline."""

import math

import pytest
import torch
from torch import nn

from fovea.cost.prices import Ceilings, Prices, Sample, family_of, features_of, moved
from fovea.cost.recorder import Recorder
from fovea.cost.running import image_batch
from fovea.cost.step import Setting, training_step

CEILINGS = Ceilings(flops=1e11, bandwidth=((1 << 20, 1e11), (1 << 28, 1e10)), overhead=1e-5)


def operations(network, **setting):
    return training_step(network, Setting(**setting)).trace.operations


def samples(factor, *, family="dense forward", count=40):
    """Timings that are the base times a factor of the sizes."""
    prices = Prices(CEILINGS, [])
    for number in range(count):
        features = (float(number % 7), float((number * 5) % 11))
        macs, size = 10**6 * (1 + number), 10**5
        yield Sample(family, features, macs, size, prices.base(macs, size) * factor(*features))


def test_the_roofline_takes_the_slower_of_arithmetic_and_memory():
    assert CEILINGS.bound(5 * 10**10, 0) == 1.0
    assert CEILINGS.bound(0, 1 << 28) == pytest.approx((1 << 28) / 1e10)


def test_the_bound_uses_the_best_bandwidth_for_so_many_bytes_or_more():
    assert CEILINGS.bytes_per_second(1000) == 1e11
    assert CEILINGS.bytes_per_second(1 << 22) == 1e10
    assert CEILINGS.bytes_per_second(1 << 30) == 1e10


def test_a_correction_of_the_sizes_is_learned():
    prices = Prices(CEILINGS, samples(lambda a, b: 2 + 0.2 * a + 0.1 * b))
    base = prices.base(10**7, 10**5)
    assert prices.price("dense forward", (3.5, 4.5), 10**7, 10**5) == pytest.approx(base * 3.15, rel=0.05)


def test_outside_the_samples_the_nearest_sizes_hold():
    prices = Prices(CEILINGS, samples(lambda a, _: 2 + 0.2 * a))
    base = prices.base(10**7, 10**5)
    assert prices.price("dense forward", (99.0, 5.0), 10**7, 10**5) == pytest.approx(base * 3.2, rel=0.1)


def test_a_kind_of_work_stands_in_for_an_operation_without_samples():
    prices = Prices(CEILINGS, samples(lambda *_: 3.0, family="elementwise/relu"))
    base = prices.base(0, 10**6)
    assert prices.price("elementwise/gelu", (3.0, 5.0), 0, 10**6) == pytest.approx(base * 3, rel=0.01)
    assert prices.price("pooling/other", (3.0, 5.0), 0, 10**6) == pytest.approx(base)


def test_no_price_is_below_the_bound():
    prices = Prices(CEILINGS, samples(lambda *_: 0.01))
    assert prices.price("dense forward", (3.0, 5.0), 10**9, 10**5) == CEILINGS.bound(10**9, 10**5)


def test_convolutions_are_told_apart_by_form_and_direction():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1, groups=2), nn.Flatten(), nn.Linear(288, 4)
    )
    found = [family_of(o) for o in operations(network, image_size=10, batch_size=2) if o.kind == "convolution"]
    assert found == [
        "dense forward",
        "depthwise forward",
        "dense forward",
        "dense backward",
        "depthwise backward",
        "dense backward of weights",
    ]


def test_the_features_of_a_convolution_are_its_sizes_in_both_directions():
    network = nn.Conv2d(4, 16, 3, stride=2, padding=1, groups=2)
    step = operations(nn.Sequential(nn.Conv2d(3, 4, 1), network), image_size=8, batch_size=2)
    _, forward, backward, _ = (operation for operation in step if operation.kind == "convolution")
    sizes = (2, 16, 2, 8, 2, 9, 2)  # images, places, channels in and out of a group, groups, kernel, stride
    assert features_of(forward) == features_of(backward) == tuple(map(math.log2, sizes))


def test_every_operation_of_a_step_has_features_and_a_price():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.SiLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 5), nn.Dropout()
    )
    prices = Prices(CEILINGS, [])
    for operation in operations(network, image_size=8, batch_size=2):
        assert all(math.isfinite(feature) for feature in features_of(operation))
        assert prices.estimate(operation) >= prices.bound(operation)


def test_moved_bytes_are_those_read_and_written():
    recorder = Recorder()
    network = nn.ReLU()
    with recorder.watching(network):
        network(image_batch(3, 4, 2))
    operation = next(operation for operation in recorder.trace.operations if operation.name == "relu")
    assert moved(operation) == 2 * 2 * 3 * 16 * torch.float32.itemsize
