"""What is observed of a running module, and that nothing of it is changed."""

import copy
import threading

import pytest
import torch
from torch import nn
from torch.nn.modules import module as hooks

from fovea.cost.recorder import FIELD, Recorder, Spec
from fovea.cost.running import forward_on_meta, image_batch
from fovea.errors import ModelError, ShapeError


def observed(network, shape=(3, 8), **options):
    recorder = Recorder(**options)
    forward_on_meta(network, image_batch(*shape), recorder)
    return recorder.trace


class Twice(nn.Module):
    """A layer that runs twice, and one that has two names."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.inner = nn.Sequential(self.first, nn.ReLU())

    def forward(self, images):
        return self.inner(self.first(self.first(images))) * 2


class Fails(nn.Module):
    def __init__(self, error=None):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)
        self.error = error

    def forward(self, images):
        maps = self.layer(images)
        if self.error is not None:
            raise self.error
        return maps[:, :2].matmul(maps[:, :, :2])


def nothing_left():
    return not hooks._global_forward_hooks and not hooks._global_forward_pre_hooks


def test_operations_belong_to_the_layer_that_performs_them():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
    trace = observed(network)
    assert [(o.name, o.call.path) for o in trace.operations if o.kind != "creation"] == [
        ("convolution", "0"),
        ("native_batch_norm", "1.0"),
        ("relu", "1.1"),
    ]
    assert [(call.path, call.leaf, call.shape) for call in trace.calls] == [
        ("", False, (1, 4, 6, 6)),
        ("0", True, (1, 4, 6, 6)),
        ("1", False, (1, 4, 6, 6)),
        ("1.0", True, (1, 4, 6, 6)),
        ("1.1", True, (1, 4, 6, 6)),
    ]
    assert trace.calls[3].parent is trace.calls[2]
    assert trace.calls[1].inputs == (Spec((1, 3, 8, 8), torch.float32, False),)


def test_each_run_of_a_layer_is_a_call_of_its_own():
    calls = observed(Twice()).calls
    first = [call for call in calls if isinstance(call.module, nn.Conv2d)]
    assert [call.nth for call in first] == [0, 1, 2]
    assert [call.at for call in first] == [0, 1, 2]


def test_a_layer_with_two_names_has_that_of_the_module_that_calls_it():
    trace = observed(Twice())
    assert [call.path for call in trace.calls] == ["", "first", "first", "inner", "inner.0", "inner.1"]
    assert trace.operations[-1].name == "mul"
    assert trace.operations[-1].call.path == ""


def test_a_function_between_layers_belongs_to_the_module_around_it():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 1)

        def forward(self, images):
            return torch.relu(self.layer(images) + images)

    trace = observed(nn.Sequential(Block()))
    assert [(o.name, o.call.path) for o in trace.operations] == [
        ("convolution", "0.layer"),
        ("add", "0"),
        ("relu", "0"),
    ]


def test_the_backward_pass_belongs_to_the_layers_too():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    recorder = Recorder()
    with recorder.watching(network):
        logits = network(torch.zeros(2, 3, 8, 8))
        recorder.phase = "backward"
        logits.sum().backward()
    backward = [o for o in recorder.trace.operations if o.phase == "backward"]
    assert {o.call.path for o in backward if o.name == "convolution_backward"} == {"0"}
    assert {o.call.path for o in backward if o.name == "threshold_backward"} == {"1"}
    assert {o.call.path for o in backward if o.name == "mm"} == {"3"}


def test_what_an_operation_reads_is_told_apart_by_whether_it_grows_with_the_batch():
    trace = observed(nn.Conv2d(3, 4, 3), fields=True)
    (convolution,) = trace.operations
    assert convolution.fixed == 4 * (4 * 3 * 9 + 4)
    assert [spec.shape for spec in convolution.tensors] == [(1, 3, 8, 8), (4, 3, 3, 3), (4,)]
    assert convolution.outputs[0].bytes == 4 * 4 * 36


def test_a_spec_knows_its_layout_and_its_bytes():
    recorder = Recorder()
    with recorder.watching(nn.Identity()):
        torch.zeros(2, 3, 4, 4, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last).relu()
    output = recorder.trace.operations[-1].outputs[0]
    assert output == Spec((2, 3, 4, 4), torch.bfloat16, True)
    assert output.bytes == 2 * 96


def test_every_operation_and_its_output_is_shown_to_who_watches():
    shown = []
    observed(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), after=lambda operation, output: shown.append((operation, output))
    )
    assert [operation.name for operation, _ in shown] == ["convolution", "relu"]
    assert all(tuple(output.shape) == operation.outputs[0].shape for operation, output in shown)


def test_who_runs_the_operations_says_how_long_they_take():
    recorder = Recorder(run=lambda function, args, kwargs: (function(*args, **kwargs), 0.25))
    with recorder.watching(nn.ReLU()) as _:
        nn.ReLU()(torch.zeros(3))
    assert [operation.seconds for operation in recorder.trace.operations][-1] == 0.25


def test_a_layer_that_counts_itself_is_asked():
    class Own(nn.Conv2d):
        def multiply_adds(self, output):
            return 7 * output.shape[1]

    calls = observed(nn.Sequential(Own(3, 4, 3))).calls
    assert [call.macs for call in calls] == [None, 28]


@pytest.mark.parametrize("error", [None, RuntimeError("no"), KeyError("no"), KeyboardInterrupt()])
def test_hooks_are_removed_whatever_happens(error):
    network = Fails(error)
    expected = ShapeError if error is None or isinstance(error, RuntimeError) else ModelError
    with pytest.raises(expected if not isinstance(error, KeyboardInterrupt) else KeyboardInterrupt):
        observed(network, (3, 9))
    assert nothing_left()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
    seen = Recorder()
    nn.Conv2d(3, 3, 1)(torch.zeros(1, 3, 4, 4))
    assert not seen.trace.operations
    assert observed(nn.Conv2d(3, 4, 3)).operations  # and the next one is observed as ever


def test_nothing_of_a_module_is_changed():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Sequential(nn.ReLU()))
    network.train()
    network[1].eval()
    network[0].weight.requires_grad_(False)
    state = copy.deepcopy(network.state_dict())
    identities = {name: id(tensor) for name, tensor in (*network.named_parameters(), *network.named_buffers())}
    attributes = {name: set(vars(part)) for name, part in network.named_modules()}
    generator = torch.get_rng_state()
    observed(network, fields=True)
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
    assert identities == {name: id(t) for name, t in (*network.named_parameters(), *network.named_buffers())}
    assert attributes == {name: set(vars(part)) for name, part in network.named_modules()}
    assert [part.training for part in network.modules()] == [True, True, False, True, True, True]
    assert [p.requires_grad for p in network.parameters()] == [False, True, True, True]
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(hasattr(tensor, FIELD) for tensor in (*network.parameters(), *network.buffers()))
    assert torch.equal(generator, torch.get_rng_state())
    assert nothing_left()


def test_other_networks_and_other_threads_are_left_alone():
    network, other = nn.Conv2d(3, 4, 3), nn.ReLU()
    recorder = Recorder()

    def elsewhere():
        with torch.no_grad():
            network(torch.zeros(1, 3, 8, 8))

    with recorder.watching(network):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        other(torch.zeros(3))
    assert not recorder.trace.calls
    assert {operation.name for operation in recorder.trace.operations} <= {"zeros", "relu"}


def test_a_tensor_that_a_module_holds_beside_its_state_follows_to_the_meta_device():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = torch.ones(3, 1, 1)

        def forward(self, images):
            return torch.cat([images - self.mean, self.mean.expand(1, 3, 8, 8)])

    network = Shifted()
    assert observed(network).calls[0].shape == (2, 3, 8, 8)
    assert network.mean.device.type == "cpu"
