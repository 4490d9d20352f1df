"""Progressive resizing: how large the images of an epoch are, and that batches follow."""

from __future__ import annotations

import pytest
import torch

import fovea
from fovea.data.batch import Batch
from fovea.errors import ShapeError
from fovea.training.options import options
from fovea.training.resizing import resized, side_in


def test_images_grow_by_sixteens_and_end_at_the_networks_size():
    told = options(epochs=8, smallest_size=128)
    sides = [side_in(epoch, told, 224) for epoch in range(8)]
    assert sides == [128, 144, 160, 176, 192, 208, 224, 224]


@pytest.mark.parametrize("smallest", [0, 224, 300])
def test_without_a_smaller_size_all_have_the_networks(smallest):
    told = options(epochs=4, smallest_size=smallest)
    assert {side_in(epoch, told, 224) for epoch in range(4)} == {224}


def test_odd_sizes_stay_between_the_two():
    told = options(epochs=10, smallest_size=20)
    sides = [side_in(epoch, told, 33) for epoch in range(10)]
    assert sides == sorted(sides)
    assert (min(sides), max(sides), sides[-1]) == (20, 33, 33)


def test_a_batch_is_resized_with_its_labels_and_left_alone_where_it_fits():
    batch = Batch(torch.rand(2, 3, 32, 32), torch.tensor([0, 1]))
    small = resized(batch, 16)
    assert small.images.shape == (2, 3, 16, 16)
    assert small.labels is batch.labels
    assert torch.allclose(small.images.mean(), batch.images.mean(), atol=0.01)
    assert resized(batch, 32) is batch


@pytest.mark.usefixtures("no_pictures")
def test_a_network_sees_growing_images_and_is_judged_at_its_own_size(tmp_path, arrays, quick):
    network, seen = fovea.create("cifar_resnet20", num_classes=3, in_channels=1, image_size=32, seed=2), []

    def note(module, given):
        if type(given[0]) is torch.Tensor:  # the account of memory runs it without numbers
            seen.append((module.training, given[0].shape[-1]))

    network.register_forward_pre_hook(note)
    told = quick.but(epochs=3, smallest_size=16, precision="float32")
    fovea.train(network, arrays, told, out=tmp_path / "run", quiet=True)
    expected = [side_in(epoch, told, 32) for epoch in range(3) for _ in range(3)]
    assert [side for training, side in seen if training] == expected == [16] * 3 + [expected[3]] * 3 + [32] * 3
    assert {side for training, side in seen[2:] if not training} == {32}  # after both sizes were tried


@pytest.mark.usefixtures("no_pictures")
def test_a_network_of_fixed_size_is_refused_before_the_first_step(tmp_path, arrays, quick, network):
    with pytest.raises(ShapeError, match=r"smallest_size \(=8\)"):
        fovea.train(network, arrays, quick.but(smallest_size=8), out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
