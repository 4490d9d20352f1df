"""Memory: what there is, what a step takes, and what is said where it does not suffice."""

from __future__ import annotations

import resource

import pytest
import torch
from torch import nn

from fovea.errors import MachineError, NumbersError
from fovea.training import memory
from fovea.training.memory import Memory, available, check_memory, explained_memory, memory_of, parts_that_fit
from fovea.training.options import options

CPU = torch.device("cpu")
IMAGE = (1, 16)
GIGABYTE = 10**9
PLENTY = Memory(step=GIGABYTE, available=2 * GIGABYTE, largest=160)


class Unknowable(nn.Module):
    """Asks for a number in its forward pass, which tensors without numbers do not have."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(256, 3)

    def forward(self, images):
        return self.out(images.flatten(1)) * float(images.max().item() > 0)


# What there is.


def test_a_limit_of_address_space_is_heeded(monkeypatch):
    assert available(CPU) > 0
    taken = available(CPU)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, 1))
    assert available(CPU) == 0
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert available(CPU) == pytest.approx(taken, rel=0.3)


def test_the_limit_of_a_container_is_heeded(monkeypatch):
    monkeypatch.setattr(memory, "machine_memory", lambda: 12_345)
    assert available(CPU) == 12_345


def test_ranks_on_one_machine_share_it(monkeypatch):
    monkeypatch.setattr(memory, "machine_memory", lambda: 12_000)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert available(CPU) == 4_000


# What a step takes.


def test_the_account_grows_with_images_state_and_averages(network):
    def step(images=32, **told):
        return memory_of(network, IMAGE, images, options(device="cpu", **told), CPU, free=GIGABYTE).step

    plain = step()
    weights = sum(parameter.numel() * 4 for parameter in network.parameters())
    assert step(64) > plain
    assert step(optimiser="adam") - plain == pytest.approx(weights, rel=0.1)
    assert step(ema=0.9) - plain == pytest.approx(weights, rel=0.1)
    assert step(swa_epochs=2) == step(ema=0.9)


def test_the_largest_batch_takes_no_more_than_its_share_and_one_more_image_does(network):
    told = options(device="cpu")
    found = memory_of(network, IMAGE, 32, told, CPU, free=20_000_000)
    assert found.available == 20_000_000
    fits = memory_of(network, IMAGE, found.largest, told, CPU).step
    more = memory_of(network, IMAGE, found.largest + 1, told, CPU).step
    assert fits <= memory.SHARE * 20_000_000 < more
    assert found.fits(found.largest)
    assert not found.fits(found.largest + 1)


def test_where_not_even_one_image_fits_the_largest_batch_is_none(network):
    assert memory_of(network, IMAGE, 4, options(device="cpu"), CPU, free=1000).largest == 0


def test_of_a_network_that_wants_numbers_nothing_is_known():
    found = memory_of(Unknowable(), IMAGE, 4, options(device="cpu"), CPU)
    assert (found.step, found.largest) == (None, None)
    assert found.available > 0
    assert not found.fits(1)
    check_memory(found, 4)


@pytest.mark.parametrize(
    ("images", "largest", "parts"),
    [
        (64, 64, 1),
        (64, 1000, 1),
        (64, 63, 2),
        (64, 31, 4),
        (64, 1, 64),
        (64, 0, None),
        (60, 25, 3),
        (7, 6, 7),
        (1, 1, 1),
    ],
)
def test_the_fewest_equal_parts_that_fit(images, largest, parts):
    assert parts_that_fit(images, largest) == parts


# What is said.


def test_what_cannot_fit_is_refused_with_what_it_takes_what_there_is_and_what_fits():
    check_memory(PLENTY, 320)
    with pytest.raises(MachineError) as refused:
        check_memory(Memory(step=3 * GIGABYTE, available=2 * GIGABYTE, largest=170), 320)
    assert refused.value.exit_code == 5
    assert str(refused.value) == (
        "a step of 320 images does not fit into memory: it takes 3.00 GB, 2.00 GB are free; 170 fit: choose -b 170, "
        "or --batch-size auto to compute it in parts"
    )


def test_ranks_are_told_the_batch_of_all_of_them(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(MachineError, match=r"170 fit: choose -b 340,"):
        check_memory(Memory(step=3 * GIGABYTE, available=2 * GIGABYTE, largest=170), 320)


def test_where_no_image_fits_a_smaller_network_is_advised():
    with pytest.raises(MachineError, match=r"not even one image fits; choose a smaller network or --image-size"):
        check_memory(Memory(step=3 * GIGABYTE, available=GIGABYTE, largest=0), 320)


OUT = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("std::bad_alloc"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
]


def known(network, images, free):
    return memory_of(network, IMAGE, images, options(device="cpu"), CPU, free=free)


@pytest.mark.parametrize("error", OUT, ids=["python", "torch", "c++", "cuda"])
def test_memory_that_runs_out_is_a_machine_error_with_a_batch_that_fits(error, network):
    found = known(network, 50_000, 20_000_000)
    with (
        pytest.raises(
            MachineError, match=r"out of memory in a step of 50,000 images: it takes .*choose -b \d+"
        ) as stopped,
        explained_memory(found, 50_000, CPU),
    ):
        raise error
    assert stopped.value.exit_code == 5
    assert stopped.value.__cause__ is error


def test_where_it_ran_out_though_it_should_have_fitted_half_is_advised(network):
    found = known(network, 64, 10 * GIGABYTE)
    with pytest.raises(MachineError, match=r"32 fit: choose -b 32"), explained_memory(found, 64, CPU):
        raise MemoryError


def test_of_a_network_that_wants_numbers_parts_are_advised():
    found = known(Unknowable(), 64, GIGABYTE)
    said = r"a step of 64 images; try --batch-size auto .* --accumulate 2, 4"
    with pytest.raises(MachineError, match=said), explained_memory(found, 64, CPU):
        raise MemoryError


def test_onednn_that_cannot_say_why_is_believed_only_where_memory_is_short(network):
    """It says "could not create a primitive" where memory runs out, and where an operation is impossible."""
    error = RuntimeError("could not create a primitive")
    with pytest.raises(MachineError), explained_memory(known(network, 50_000, 20_000_000), 50_000, CPU):
        raise error
    plenty = known(network, 64, 10 * GIGABYTE)
    with pytest.raises(RuntimeError, match=r"^could not create a primitive$"), explained_memory(plenty, 64, CPU):
        raise error


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not match"), NumbersError("NaN"), MachineError("disk"), ValueError("x")]
)
def test_other_errors_pass_as_they_are(error):
    with pytest.raises(type(error)) as passed, explained_memory(PLENTY, 4, CPU):
        raise error
    assert passed.value is error
