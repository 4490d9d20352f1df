"""fovea.inspect on modules of every sort; what it prints and writes; and that it leaves no trace."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import subprocess
import sys

import pytest
import torch
from torch import nn

import fovea
from fovea.cost.memory import plans, training_memory
from fovea.cost.step import Setting
from fovea.cost.table import text
from fovea.errors import ModelError, ShapeError, UsageError

HARDEST = Setting(image_size=8, batch_size=2, precision="bf16", channels_last=True, checkpointing=True)


class Runs(nn.Module):
    """A convolution from 3 to 4 channels that keeps the size, then a function of its maps."""

    def __init__(self, function):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.function = function

    def forward(self, images):
        return self.function(self.conv(images))


class Loops(nn.Module):
    """One convolution, known by two names, run once more for larger images."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.second = self.first

    def forward(self, images):
        for _ in range(2 if images.shape[-1] > 10 else 1):
            images = self.first(images)
        return self.second(images)


class Tokens(nn.Module):
    """Patches of 4 pixels, a class token, one layer of a transformer."""

    def __init__(self, around=None):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.layer = around or nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.output = nn.Linear(16, 5)

    def forward(self, images):
        patches = self.stem(images).flatten(2).transpose(1, 2)
        return self.output(self.layer(torch.cat([self.token.expand(len(images), -1, -1), patches], 1))[:, 0])


class Attends(nn.MultiheadAttention):
    def __init__(self):
        super().__init__(16, 4, batch_first=True)

    def forward(self, tokens):
        return super().forward(tokens, tokens, tokens, need_weights=False)[0]


class WithTrainingHead(nn.Module):
    """A second head that runs in training alone."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 2)
        self.auxiliary = nn.Linear(4, 3)

    def forward(self, images):
        pooled = self.stem(images).mean((2, 3))
        return (self.head(pooled), self.auxiliary(pooled)) if self.training else self.head(pooled)


def small():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


def rows(report):
    return {row.path: row for row in report.rows}


# --- what is counted -------------------------------------------------------------------------------------------------


def test_any_module_is_counted_layer_by_layer():
    report = fovea.inspect(small(), image_size=16)
    assert [(row.path, row.kind) for row in report.rows] == [
        (str(i), type(layer).__name__) for i, layer in enumerate(small())
    ]
    assert (report.weights, report.biases, report.parameters) == (27 * 8 + 8 + 80, 8 + 10, 312 + 10)
    assert report.macs == 27 * 8 * 16 * 16 + 80
    assert report.elements == 3 * 8 * 16 * 16 + 8 + 10
    assert report.buffers == 4 * 8 * 2 + 8  # running mean and variance, and the count of batches
    assert report.widest.path == "0"
    assert report.shares("macs")["convolution"] == pytest.approx(55_296 / 55_376)
    assert sum(report.shares("parameters").values()) == pytest.approx(1)


def test_one_layer_is_a_network_too():
    report = fovea.inspect(nn.Conv2d(1, 2, 3), image_size=5, in_channels=1)
    assert (report.name, report.macs, report.parameters) == ("Conv2d", 2 * 9 * 9, 20)
    assert report.rows[0].path == ""
    assert "(network)" in str(report)


def test_a_network_of_the_catalogue_knows_its_images():
    report = fovea.inspect(fovea.create("lenet5", seed=0))
    assert (report.name, report.in_channels, report.image_size) == ("lenet5", 1, (32, 32))
    assert (report.parameters, report.macs) == (61_706, 416_520)


def test_a_module_that_does_not_say_wants_to_be_told():
    with pytest.raises(UsageError, match=r"Sequential does not say how large its images are: give image_size"):
        fovea.inspect(small())


def test_oblong_images_and_other_channels():
    network = nn.Sequential(nn.Conv2d(5, 2, (3, 1), stride=(2, 1), padding=(1, 0)))
    report = fovea.inspect(network, image_size=(8, 12), in_channels=5)
    assert report.rows[0].shape == (2, 4, 12)
    assert report.macs == 5 * 3 * 2 * 4 * 12
    assert "images of 5×8×12" in str(report)


def test_a_module_with_two_names_that_runs_twice_has_its_parameters_once_and_its_work_each_time():
    report = fovea.inspect(Loops(), image_size=8)
    assert [(row.path, row.nth) for row in report.rows] == [("first", 0), ("first", 1)]
    assert [row.parameters for row in report.rows] == [84, 0]
    assert report.macs == 2 * 81 * 64


def test_tied_weights_count_once():
    network = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    network[1].weight = network[0].weight
    report = fovea.inspect(network, image_size=6)
    assert (report.weights, report.biases, report.macs) == (36, 12, 2 * 3 * 6 * 36)


def test_control_flow_that_depends_on_the_shape_is_followed():
    assert fovea.inspect(Loops(), image_size=12).macs == 3 * 81 * 144


def test_what_nobody_knows_is_listed_and_not_silently_nothing():
    report = fovea.inspect(Runs(lambda maps: torch.fft.fft2(maps).abs()), image_size=8)
    assert report.unknown == {"_fft_c2c": 1}
    assert "\nnot counted           _fft_c2c (1×): nobody has told fovea what they cost" in str(report)
    assert report.as_json()["unknown"] == {"_fft_c2c": 1}
    assert not fovea.inspect(small(), image_size=8).unknown


def test_attention_is_counted():
    tokens, width, hidden = 5, 16, 32
    attention = tokens * width * 4 * width + 2 * tokens * tokens * width  # four projections, two products
    for around, macs in (
        (None, attention + 2 * tokens * width * hidden),
        (Attends(), attention),
    ):
        report = fovea.inspect(Tokens(around), image_size=8)
        assert report.macs == 4 * 48 * width + macs + 5 * width
        assert not report.unknown
        assert report.parameters == sum(parameter.numel() for parameter in Tokens(around).parameters())
    assert rows(report)["token"].kind == "Parameter"


def test_a_head_for_training_alone_stands_last_and_counts_as_parameters():
    report = fovea.inspect(WithTrainingHead(), image_size=8)
    assert (report.rows[-1].path, report.rows[-1].runs, report.rows[-1].macs) == ("auxiliary", False, 0)
    assert report.parameters == 112 + 10 + 15
    assert report.macs == 27 * 4 * 36 + 8
    assert "Linear, not run" in str(report)


def test_auxiliary_classifiers_of_the_catalogue_are_not_run():
    with torch.device("meta"):
        plain, trained = fovea.create("googlenet"), fovea.create("googlenet", auxiliary=True)
    one, other = fovea.inspect(plain), fovea.inspect(trained)
    assert one.macs == other.macs
    idle = [row for row in other.rows if not row.runs]
    assert other.parameters - one.parameters == sum(row.parameters for row in idle) > 0
    assert {row.path.split(".")[0] for row in idle} == {"auxiliary"}


def test_frozen_parameters_are_told():
    network = small()
    network[0].weight.requires_grad_(False)
    report = fovea.inspect(network, image_size=8)
    assert (report.frozen, report.parameters) == (216, 322)
    assert "322 (1.3 KiB), 216 of them frozen: " in str(report)


def test_dropout_and_views_give_no_numbers_but_a_row():
    found = rows(fovea.inspect(small(), image_size=8))
    assert [found[path].elements for path in ("3", "5")] == [0, 0]
    assert found["5"].shape == (8,)


def test_in_place_or_not_costs_the_same_work_and_less_memory():
    def network(inplace):
        return nn.Sequential(nn.Upsample(scale_factor=2), nn.ReLU(inplace=inplace), nn.Conv2d(3, 1, 8, stride=8))

    place, copy = (fovea.inspect(network(inplace), image_size=32) for inplace in (True, False))
    assert (place.macs, place.elements) == (copy.macs, copy.elements)
    assert place.inference < copy.inference


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_type_take_images_of_that_type(dtype):
    report, usual = (fovea.inspect(net, image_size=8, training=True) for net in (small().to(dtype), small()))
    assert report.dtype == str(dtype).removeprefix("torch.")
    assert (report.macs, report.parameters) == (usual.macs, usual.parameters)
    assert report.stored == 322 * dtype.itemsize
    assert report.rows[0].bytes == 8 * 64 * dtype.itemsize
    assert report.training[0].state == 322 * dtype.itemsize
    assert f"one image, {report.dtype}" in str(report)


def test_a_module_on_the_meta_device_costs_the_same():
    real = fovea.inspect(small(), image_size=8, batch_size=4)
    with torch.device("meta"):
        assert str(fovea.inspect(small(), image_size=8, batch_size=4)) == str(real)


def test_weights_count_once_in_the_memory_of_inference():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 1000), nn.Linear(1000, 1000))
    for found in (network, network.to("meta")):
        report = fovea.inspect(found, image_size=8)
        assert report.stored < report.inference < report.stored + 20_000


# --- what does not go ------------------------------------------------------------------------------------------------


def test_a_wrong_number_of_channels_names_the_layer_what_came_in_and_what_to_do():
    with pytest.raises(ShapeError, match=r"0 \(Conv2d\) does not take what came in \(1×1×8×8\)") as refused:
        fovea.inspect(small(), image_size=8, in_channels=1)
    assert str(refused.value).endswith("; 1 channel came in, 3 are expected: give in_channels=3")


def test_images_too_small_name_the_layer_and_what_came_in():
    network = nn.Sequential(nn.MaxPool2d(2), nn.Sequential(nn.Conv2d(3, 4, 5)))
    with pytest.raises(ShapeError, match=r"1\.0 \(Conv2d\) does not take what came in \(1×3×3×3\)"):
        fovea.inspect(network, image_size=6)


@pytest.mark.parametrize(
    "function",
    [
        lambda maps: maps * maps.max().item(),
        lambda maps: maps[maps > 0],
        lambda maps: maps if maps.sum() > 0 else -maps,
        lambda maps: torch.from_numpy(maps.numpy()),
        lambda maps: maps.tolist(),
        torch.unique,
    ],
    ids=["item", "mask", "if", "numpy", "list", "unique"],
)
def test_what_needs_the_pixels_values_says_so_and_names_the_layer(function):
    with pytest.raises(ModelError, match=r"^0 \(Runs\) cannot run without numbers: .*pixels' values$") as refused:
        fovea.inspect(nn.Sequential(Runs(function)), image_size=8)
    assert not isinstance(refused.value, ShapeError)


def test_a_mistake_in_the_module_names_the_layer():
    def fails(_):
        raise KeyError("nothing")

    with pytest.raises(ModelError, match=r"0 \(Runs\) fails when it is run: KeyError: 'nothing'"):
        fovea.inspect(nn.Sequential(Runs(fails)), image_size=8)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"image_size": 0}, "images of 3×0×0 do not exist"),
        ({"image_size": (8, -1)}, "images of 3×8×-1 do not exist"),
        ({"image_size": 8, "in_channels": 0}, "images of 0×8×8 do not exist"),
        ({"image_size": 8, "batch_size": 0}, r"batch_size \(=0\) must be 1 or more"),
    ],
)
def test_numbers_below_one_are_usage_errors(sizes, said):
    with pytest.raises(UsageError, match=said):
        fovea.inspect(small(), **sizes)


def test_sizes_of_the_wrong_kind_are_usage_errors():  # in a process whose annotations nobody checks
    code = (
        "import fovea, torch\n"
        "for size in (8.0, (8, 8, 8), '8', (8.0, 8)):\n"
        "    try: fovea.inspect(torch.nn.Conv2d(3, 4, 3), image_size=size)\n"
        "    except fovea.FoveaError as error: print(error.exit_code, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("2 image_size (=") and "must be a whole number of pixels" in line for line in lines)


# --- no trace --------------------------------------------------------------------------------------------------------


def state(network):
    """All that may not change: flags, hooks, forward functions, tensors and their values."""
    parts = [
        (path, part.training, dict(part._forward_hooks), dict(part._forward_pre_hooks), part.__dict__.get("forward"))
        for path, part in network.named_modules(remove_duplicate=False)
    ]
    tensors = [
        (name, id(tensor), tensor.device, tensor.dtype, tensor.requires_grad, tensor.grad, tensor.sum().item())
        for held in (network.named_parameters, network.named_buffers)
        for name, tensor in held(remove_duplicate=False)
    ]
    return parts, tensors


def hooked():
    network = small()
    network[1].eval()
    network[0].weight.requires_grad_(False)
    network[4].register_forward_hook(lambda *_: None)
    return network


@pytest.mark.parametrize("make", [hooked, Loops, WithTrainingHead, Tokens])
@pytest.mark.parametrize("training", [False, True])
def test_nothing_of_the_module_changes(make, training):
    network = make()
    before, global_hooks = state(network), dict(nn.modules.module._global_forward_hooks)
    fovea.inspect(network, image_size=8, batch_size=2, training=training)
    training_memory(network, HARDEST, ["adam"])
    assert state(network) == before
    assert nn.modules.module._global_forward_hooks == global_hooks
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    "function",
    [lambda maps: maps.reshape(7, -1), lambda maps: maps.max().item(), lambda maps: maps.nothing],
    ids=["shape", "numbers", "mistake"],
)
def test_nothing_changes_where_it_fails_either(function):
    network = nn.Sequential(hooked()[:3], nn.Conv2d(8, 3, 1), Runs(function)).train()
    before, global_hooks = state(network), dict(nn.modules.module._global_forward_hooks)
    with pytest.raises(ModelError):
        fovea.inspect(network, image_size=8, training=True)
    with pytest.raises(ModelError):
        training_memory(network, HARDEST, ["adam"])
    assert state(network) == before
    assert nn.modules.module._global_forward_hooks == global_hooks
    assert torch.backends.mha.get_fastpath_enabled()
    network[0](torch.rand(1, 3, 8, 8))  # and it runs as before


def test_the_generator_is_left_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Dropout())
    fovea.inspect(network, image_size=8, training=True)
    assert torch.equal(torch.rand(3), expected)


# --- the value -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report():
    network = fovea.create("resnet18", image_size=64)
    return fovea.inspect(network, image_size=64, batch_size=2, training=True)


def test_a_report_is_frozen(report):
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.name = "another"
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.rows[0].macs = 0


@pytest.mark.parametrize("depth", ["stages", "blocks", "layers"])
def test_every_depth_has_the_same_sums(report, depth):
    found = report.at_depth(depth)
    for total in ("parameters", "weights", "biases", "macs", "flops", "elements", "intensity"):
        assert getattr(found, total) == getattr(report, total)
    assert found.shares("macs") == report.shares("macs")
    assert sum(row.layers for row in found.rows) == len(report.rows)
    assert len({row.path for row in found.rows}) == len(found.rows) or depth == "layers"
    assert f"a row is a {depth[:-1]}" in str(found)


def test_stages_are_the_papers_and_blocks_are_theirs(report):
    stages = [row.path for row in report.at_depth("stages").rows]
    assert stages[:3] == ["features.conv1", "features.pool1", "features.conv2_x"]
    assert "features.conv2_x.1" in rows(report.at_depth("blocks"))


@pytest.mark.parametrize("by", ["parameters", "macs", "elements"])
def test_sorted_puts_the_largest_first_and_loses_nothing(report, by):
    found = report.sorted(by)
    values = [getattr(row, by) for row in found.rows]
    assert values == sorted(values, reverse=True)
    assert sorted(map(id, found.rows)) == sorted(map(id, report.rows))
    assert report.sorted("order") is report


def test_json_is_complete_and_plain(report):
    found = json.loads(json.dumps(report.as_json()))
    for name in ("name", "in_channels", "batch_size", "parameters", "weights", "biases", "frozen", "macs", "flops"):
        assert found[name] == getattr(report, name)
    for name in ("elements", "dtype", "depth", "unknown"):
        assert found[name] == getattr(report, name)
    assert found["image_size"] == [64, 64]
    assert found["arithmetic_intensity"] == pytest.approx(report.intensity)
    assert found["widest"]["path"] == report.widest.path
    kept = ("inference_bytes", "limit_bytes", "parameter_bytes", "buffer_bytes")
    assert [found[name] for name in kept] == [report.inference, report.limit, report.stored, report.buffers]
    assert found["shares"]["parameters"] == report.shares("parameters")
    assert [each["optimiser"] for each in found["training"]] == ["sgd", "adam"]
    assert [each["peak"] for each in found["training"]] == [memory.peak for memory in report.training]
    assert len(found["rows"]) == len(report.rows)
    names = {each.name for each in dataclasses.fields(report.rows[0])} - {"field"}
    assert names | {"parameters", "flops", "sees", "field_size", "field_stride", "field_centre"} == set(
        found["rows"][0]
    )
    assert sum(row["macs"] for row in found["rows"]) == report.macs


def test_the_comma_separated_lines_parse_back(report):
    found = list(csv.DictReader(io.StringIO(report.as_csv())))
    assert len(found) == len(report.rows)
    for line, row in zip(found, report.rows, strict=True):
        assert (line["path"], line["kind"]) == (row.path, row.kind)
        assert line["shape"] == "x".join(map(str, row.shape))
        for name in ("elements", "bytes", "weights", "biases", "macs", "flops", "parameters"):
            assert int(line[name]) == getattr(row, name)
    assert found[0]["kernel"] == "7x7"
    assert found[0]["field_size"] == "7x7"


# --- the terminal ----------------------------------------------------------------------------------------------------


@functools.cache
def inspected(name):
    with torch.device("meta"):
        return fovea.inspect(fovea.create(name))


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("name", ["lenet5", "resnet18", "nasnet_a_mobile"])
def test_on_a_terminal_every_line_fits_and_what_is_left_out_is_said(name, width):
    whole = inspected(name)
    lines = text(whole, width=width).splitlines()
    assert max(map(len, lines)) <= width
    head, end = lines[2], next(i for i, line in enumerate(lines) if line.startswith("left out for this terminal: "))
    said = " ".join(lines[end:]).partition("  parameters")[0]
    for column in str(whole).splitlines()[2].split("  "):
        assert not column or (column.strip() in head) != (f" {column.strip()}" in said)
    for kept in ("layer", "output", "weights", "multiply-adds"):
        assert kept in head
    assert f"{whole.macs:,}" in lines[end - 1]


def test_without_a_width_nothing_is_left_out(report):
    assert "left out" not in str(report)
    assert text(report) == str(report)
    assert text(report, width=1000) == str(report)


def test_long_names_are_cut_at_their_beginning_where_nothing_else_helps():
    network = nn.Sequential()
    network.add_module("a_stage_whose_name_is_longer_than_any_terminal_would_like_it_to_be", nn.Conv2d(3, 4, 3))
    lines = text(fovea.inspect(network, image_size=8), width=60).splitlines()
    assert any(line.startswith("…") and "would_like_it_to_be " in line for line in lines)
    assert "the beginnings of long names" in " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 60


def test_the_ways_of_training_fit_a_terminal_too(report):
    network = fovea.create("lenet5")
    found = plans(network, Setting(in_channels=1, image_size=32, batch_size=2))
    report = dataclasses.replace(fovea.inspect(network), training=tuple(found), limit=1 << 30)
    whole, narrow = str(report).splitlines()[-16:], text(report, width=80).splitlines()
    assert max(map(len, narrow)) <= 80
    for wide, line, memory in zip(whole, narrow[-16:], found, strict=True):
        assert wide.split()[:2] == line.split()[:2] == [memory.optimiser, memory.setting.precision]
        assert wide.split()[-1] == line.split()[-1] == f"{memory.largest_batch(1 << 30):,}"


def test_the_memory_of_training_is_told_with_its_parts(report):
    lines = str(report).splitlines()
    [sgd] = [i for i, line in enumerate(lines) if line.startswith("training, sgd  ")]
    assert "2 images at once, float32, in " in lines[sgd]
    assert " images would fit " in lines[sgd]
    parts = [part.rsplit(" ", 2)[0].split()[0] for part in lines[sgd + 1].strip().split(", ")]
    assert parts == ["weights", "buffers", "images", "state", "activations", "gradients", "working"]
    assert lines[sgd + 2].startswith("training, adam ")


def test_without_training_no_memory_of_training_is_worked_out():
    assert fovea.inspect(small(), image_size=8).training == ()


def test_a_mistake_that_mentions_metadata_is_not_taken_for_the_meta_device():
    class Mistaken(nn.Module):
        def forward(self, images):
            raise ValueError(f"the metadata of {len(images)} images is missing")

    with pytest.raises(ShapeError, match="metadata of 1 images"):
        fovea.inspect(Mistaken(), image_size=8)
