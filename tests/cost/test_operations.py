"""What torch's operations are, and what they multiply and add, against counts by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from fovea.cost.operations import KINDS, kind_of, multiply_adds, name_of
from fovea.cost.recorder import Recorder
from fovea.cost.running import forward_on_meta

aten = torch.ops.aten
KNOWN = {
    "convolution": [aten.convolution.default, aten._convolution.default, aten.convolution_backward.default],
    "matrix product": [
        aten.mm.default,
        aten.addmm.default,
        aten.bmm.default,
        aten.mv.default,
        aten._scaled_dot_product_flash_attention.default,
        aten._scaled_dot_product_flash_attention_for_cpu.default,
    ],
    "normalisation": [
        aten.native_batch_norm.default,
        aten.native_batch_norm_backward.default,
        aten.native_layer_norm.default,
        aten._softmax.default,
    ],
    "pooling": [
        aten.max_pool2d_with_indices.default,
        aten.avg_pool2d_backward.default,
        aten._adaptive_avg_pool2d.default,
    ],
    "elementwise": [
        aten.add.Tensor,
        aten.add_.Tensor,
        aten.relu.default,
        aten.hardtanh.default,
        aten.hardswish.default,
        aten.hardswish_.default,
        aten.gelu.default,
        aten.threshold_backward.default,
        aten.silu_backward.default,
    ],
    "reduction": [aten.sum.dim_IntList, aten.mean.dim, aten.amax.default, aten.argmax.default, aten.topk.default],
    "movement": [aten.cat.default, aten.constant_pad_nd.default, aten.index.Tensor, aten.clone.default],
    "view": [aten.view.default, aten.permute.default, aten.slice.Tensor, aten.expand.default, aten.as_strided_.default],
    "creation": [aten.empty.memory_format, aten.zeros_like.default, aten.arange.default],
    "unknown": [aten._fft_r2c.default, aten.lu_unpack.default, aten.stft.default],
}
EACH = [(kind, operation) for kind, operations in KNOWN.items() for operation in operations]


@pytest.mark.parametrize(("kind", "operation"), EACH, ids=[f"{kind}-{operation}" for kind, operation in EACH])
def test_each_operation_has_its_kind(kind, operation):
    assert kind_of(operation) == kind


def test_names_are_those_of_the_documentation():
    assert name_of(aten.add.Tensor) == name_of(aten.add.Scalar) == "add"
    assert name_of(aten.native_batch_norm.default) == "native_batch_norm"


def test_the_table_names_operations_that_torch_has():
    gone = {name for name in KINDS if not hasattr(aten, name)} - {
        "convolution_overrideable_backward",
        "meshgrid",
        "_record_function_enter_new",
        "_record_function_exit",
    }
    assert not gone


def test_what_torch_counts_is_a_product_or_a_convolution():
    for packet in flop_registry:
        for overload in getattr(packet, "overloads", list)():
            assert kind_of(getattr(packet, overload)) in ("convolution", "matrix product")


@torch.library.custom_op("fovea_tests::thrice", mutates_args=())
def thrice(images: torch.Tensor) -> torch.Tensor:
    return 3 * images


@thrice.register_fake
def _(images: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(images)


def traced(network, *shape):
    recorder = Recorder()
    forward_on_meta(network, torch.empty(shape, device="meta"), recorder)
    return recorder.trace.operations


class Does(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        return self.function(images)


@pytest.mark.parametrize(("function", "name"), [(thrice, "thrice"), (torch.fft.rfft2, "_fft_r2c")])
def test_an_operation_that_stands_in_no_list_is_named_not_taken_for_free(function, name):
    unknown = [operation for operation in traced(Does(function), 1, 3, 8, 8) if operation.kind == "unknown"]
    assert [operation.name for operation in unknown] == [name]
    assert unknown[0].macs == 0


# Each with its images and the multiply-adds by hand.
FORWARD = {
    "plain": (nn.Conv2d(6, 8, 3, padding=1), (2, 6, 5, 7), 2 * 8 * 5 * 7 * 6 * 9),
    "strided": (nn.Conv2d(6, 8, (3, 5), stride=2), (2, 6, 9, 11), 2 * 8 * 4 * 4 * 6 * 15),
    "grouped": (nn.Conv2d(6, 9, 3, groups=3), (2, 6, 5, 7), 2 * 9 * 3 * 5 * 2 * 9),
    "depthwise": (nn.Conv2d(6, 6, 3, padding=1, groups=6), (2, 6, 5, 7), 2 * 6 * 5 * 7 * 9),
    "dilated": (nn.Conv2d(6, 8, 3, dilation=2), (2, 6, 9, 9), 2 * 8 * 5 * 5 * 6 * 9),
    "transposed": (nn.ConvTranspose2d(6, 8, 4, stride=2, padding=1), (2, 6, 5, 7), 2 * 6 * 5 * 7 * 8 * 16),
    "transposed and grouped": (nn.ConvTranspose2d(6, 9, 2, stride=2, groups=3), (2, 6, 5, 7), 2 * 6 * 35 * 3 * 4),
    "one dimension": (nn.Conv1d(6, 8, 5, padding=2, groups=2), (2, 6, 10), 2 * 8 * 10 * 3 * 5),
    "three dimensions": (nn.Conv3d(2, 4, (1, 3, 3), padding=(0, 1, 1)), (2, 2, 3, 5, 5), 2 * 4 * 75 * 2 * 9),
    "linear": (nn.Linear(6, 8), (2, 6), 2 * 6 * 8),
    "linear on tokens": (nn.Linear(6, 8, bias=False), (2, 5, 6), 2 * 5 * 6 * 8),
    "a product of matrices": (Does(lambda images: images @ images.mT), (2, 3, 5, 7), 2 * 3 * 5 * 7 * 5),
    "a product with a vector": (Does(lambda images: images @ images[0]), (5, 5), 25),
    "attention": (Does(lambda q: F.scaled_dot_product_attention(q, q, q)), (2, 3, 10, 8), 2 * 2 * 3 * 10 * 10 * 8),
    "normalisation": (nn.BatchNorm2d(6), (2, 6, 5, 7), 0),
    "pooling": (nn.AvgPool2d(2), (2, 6, 4, 4), 0),
}


@pytest.mark.parametrize("what", FORWARD)
def test_multiply_adds_forward(what):
    network, shape, macs = FORWARD[what]
    assert sum(operation.macs for operation in traced(network, *shape)) == macs


OUTER = "a product with a vector"  # whose one gradient multiplies, but adds nothing up


@pytest.mark.parametrize("what", [what for what, (_, _, macs) in FORWARD.items() if macs and what != OUTER])
def test_each_of_the_two_gradients_costs_what_the_forward_pass_does(what):
    network, shape, macs = FORWARD[what]
    recorder = Recorder()
    images = torch.zeros(shape, requires_grad=True)
    with recorder.watching(network):
        output = network(images)
        recorder.phase = "backward"
        output.sum().backward()
    backward = sum(operation.macs for operation in recorder.trace.operations if operation.phase == "backward")
    # Attention in one step forms the similarities once more, instead of keeping them.
    assert backward == (5 * macs // 2 if what == "attention" else 2 * macs)


def test_the_gradient_of_a_grouped_convolution_is_counted_where_torch_has_it_too_high():
    layer = nn.Conv2d(8, 8, 3, padding=1, groups=4)
    images = torch.zeros(2, 8, 5, 5, requires_grad=True)
    forward = 2 * 8 * 25 * 2 * 9
    recorder = Recorder()
    with recorder.watching(layer):
        output = layer(images)
        recorder.phase = "backward"
        output.sum().backward()
    ours = sum(operation.macs for operation in recorder.trace.operations)
    with FlopCounterMode(display=False) as counter:
        layer(images).sum().backward()
    assert ours == 3 * forward
    assert counter.get_total_flops() // 2 == (1 + 1 + 4) * forward  # the weights' gradient as if there were no groups


def test_a_gradient_that_nobody_wants_costs_nothing():
    layer = nn.Conv2d(3, 8, 3)
    recorder = Recorder()
    with recorder.watching(layer):
        output = layer(torch.zeros(2, 3, 6, 6))
        recorder.phase = "backward"
        output.sum().backward()
    counts = [operation.macs for operation in recorder.trace.operations if operation.macs]
    assert counts == [2 * 8 * 16 * 3 * 9] * 2  # forward, and the weights' gradient; the images' is not wanted


def test_what_contracts_nothing_costs_nothing():
    images = torch.empty(2, 3, 4, 4)
    assert multiply_adds(aten.relu.default, (images,), {}, images) == 0
