"""fovea shape: what a user types, and what comes back."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fovea.commands.shape import EXAMPLES, layer_of
from fovea.cost.arithmetic import Layer, Maps, work
from fovea.cost.chain import chain
from fovea.cost.inverse import inverse
from fovea.errors import UsageError

ONE = [
    *["--size", "227", "--kernel", "11", "--stride", "4", "--padding", "2"],
    *["--in-channels", "3", "--out-channels", "64"],
]
ALEXNET = [
    *["conv11s4p2-64", "pool3s2", "conv5p2-192", "pool3s2", "conv3p1-384", "conv3p1-256", "conv3p1-256", "pool3s2"],
    *["fc4096", "fc4096", "fc1000"],
]
CONV = Layer(kind="conv", kernel=(11, 11), stride=(4, 4), padding=((2, 2), (2, 2)), out_channels=64)


def test_one_layer_is_worked_out_step_by_step(fovea):
    expected = str(work(CONV, Maps(3, 227, 227)))
    assert fovea("shape", *ONE) == (0, expected + "\n", "")
    for told in ("56 · 56 · 64 = 200,704 elements", "784 KiB, or 802.8 kB", "23,232 + 64 biases = 23,296"):
        assert told in expected


def test_layers_are_worked_out_as_a_table(fovea):
    code, out, err = fovea("shape", "--size", "227", *ALEXNET)
    assert (code, err) == (0, "")
    assert out == str(chain([(word, layer_of(word)) for word in ALEXNET], Maps(3, 227, 227))) + "\n"
    assert out.splitlines()[2].split()[:4] == ["conv11s4p2-64", "56×56×64", "200,704", "784.0"]


def test_backwards(fovea):
    asked = ["--output", "55", "--kernel", "11", "--stride", "4"]
    assert fovea("shape", *asked) == (0, f"{inverse(55, 11, stride=4)}\n", "")
    assert fovea("shape", *asked, "--size", "224") == (0, f"{inverse(55, 11, stride=4, size=224)}\n", "")
    one = inverse(55, 11, stride=4, padding=(1, 2))
    assert fovea("shape", *asked, "--padding", "1:2") == (0, f"{one}\n", "")


def test_backwards_each_axis_is_answered_where_they_differ(fovea):
    _, out, _ = fovea("shape", "--output", "55x27", "--kernel", "11x3", "--stride", "4x2")
    assert out == f"height: {inverse(55, 11, stride=4)}\n\nwidth: {inverse(27, 3, stride=2)}\n"


def test_machines_get_objects(fovea):
    assert json.loads(fovea("shape", *ONE, "--json")[1]) == work(CONV, Maps(3, 227, 227)).as_json()
    found = json.loads(fovea("shape", "--size", "227", *ALEXNET, "--json")[1])
    assert (found["total"]["parameters"], found["total"]["macs"]) == (61_100_840, 716_767_232)
    found = json.loads(fovea("shape", "--output", "55x3", "--kernel", "11x3", "--json")[1])
    assert found == {"height": inverse(55, 11).as_json(), "width": inverse(3, 3).as_json()}


@pytest.mark.parametrize(
    ("arguments", "layer", "maps"),
    [
        ("--size 28x33 --kernel 3x4 --stride 2x1", {"kernel": (3, 4), "stride": (2, 1)}, (3, 28, 33)),
        ("--size 28 --kernel 3 --padding 1x0", {"padding": ((1, 1), (0, 0))}, (3, 28, 28)),
        ("--size 28 --kernel 3 --padding 0:1x2:0", {"padding": ((0, 1), (2, 0))}, (3, 28, 28)),
        ("--size 28 --kernel 3 --padding same --stride 2", {"padding": "same", "stride": (2, 2)}, (3, 28, 28)),
        ("--size 28 --kernel 3 --padding valid", {}, (3, 28, 28)),
        ("--size 28 --kernel 3 --padding full", {"padding": "full"}, (3, 28, 28)),
        ("--size 28 --kernel 3 --dilation 2", {"dilation": (2, 2)}, (3, 28, 28)),
        (
            "--size 9 --kernel 3 --groups 2 --in-channels 4 --out-channels 6 --no-bias",
            {"groups": 2, "out_channels": 6, "bias": False},
            (4, 9, 9),
        ),
        (
            "--size 12 --kernel 3 --stride 2 --pool max --ceil",
            {"kind": "max", "stride": (2, 2), "ceil": True},
            (3, 12, 12),
        ),
        ("--size 12 --kernel 3 --pool avg", {"kind": "avg", "stride": (3, 3)}, (3, 12, 12)),
    ],
)
def test_options_say_what_the_layer_is(arguments, layer, maps, fovea):
    told = {"kind": "conv", "kernel": (3, 3)} | layer
    assert fovea("shape", *arguments.split()) == (0, f"{work(Layer(**told), Maps(*maps))}\n", "")


def test_a_batch_is_summed_up(fovea):
    assert (
        "batch of 32    6,422,528 elements: 24.5 MiB, or 25.7 MB; 2,331,377,664 multiply-adds"
        in fovea("shape", *ONE, "-b", "32")[1]
    )
    assert "batch of 2     1,433,534,464 multiply-adds" in fovea("shape", "--size", "227", *ALEXNET, "-b", "2")[1]


def test_no_bias_holds_for_all_layers_and_b0_for_one(fovea):
    totals = []
    for words in (["conv3-8", "fc10"], ["conv3b0-8", "fc10"], ["conv3-8", "fc10", "--no-bias"]):
        totals.append(json.loads(fovea("shape", "--size", "9", *words, "--json")[1])["total"]["biases"])
    assert totals == [18, 10, 0]


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("conv11s4p2-64", {"kernel": (11, 11), "stride": (4, 4), "padding": ((2, 2), (2, 2)), "out_channels": 64}),
        ("Conv3same-8", {"kernel": (3, 3), "padding": "same", "out_channels": 8}),
        ("conv3x1p1x0s2x1-8", {"kernel": (3, 1), "padding": ((1, 1), (0, 0)), "stride": (2, 1), "out_channels": 8}),
        ("conv3×1full-8", {"kernel": (3, 1), "padding": "full", "out_channels": 8}),
        ("conv3d2g4b0-8", {"kernel": (3, 3), "dilation": (2, 2), "groups": 4, "bias": False, "out_channels": 8}),
        ("conv2p0:1-8", {"kernel": (2, 2), "padding": ((0, 1), (0, 1)), "out_channels": 8}),
        ("dw3s2p1", {"kind": "dw", "kernel": (3, 3), "stride": (2, 2), "padding": ((1, 1), (1, 1))}),
        ("pool2", {"kind": "max", "kernel": (2, 2), "stride": (2, 2)}),
        ("pool3s2ceil", {"kind": "max", "kernel": (3, 3), "stride": (2, 2), "ceil": True}),
        ("maxpool3s2valid", {"kind": "max", "kernel": (3, 3), "stride": (2, 2)}),
        ("avgpool3x2", {"kind": "avg", "kernel": (3, 2), "stride": (3, 2)}),
        ("gap", {"kind": "gap"}),
        ("fc4096", {"kind": "fc", "out_channels": 4096}),
        ("fc-10", {"kind": "fc", "out_channels": 10}),
        ("fc10b0", {"kind": "fc", "out_channels": 10, "bias": False}),
    ],
)
def test_a_word_says_a_layer(word, told):
    assert layer_of(word) == Layer(**{"kind": "conv"} | told)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("cnov11s4p2-64", "the layer 'cnov11s4p2-64' cannot be read. Did you mean conv11s4p2-64?"),
        ("pol3s2", "Did you mean pool3s2?"),
        ("avgpol3", "Did you mean avgpool3?"),
        ("fcc10", "Did you mean fc10?"),
        ("dense10", "Did you mean fc10?"),
        ("max3s2", "Did you mean maxpool3s2?"),
        ("conv3s2p1", "the layer 'conv3s2p1' lacks its output channels; it is written conv3s2p1-64"),
        ("conv-64", "lacks its kernel"),
        ("pool3-64", "takes no output channels; it is written pool3s2p1"),
        ("gap7", "takes no kernel"),
        ("fc", "lacks its output channels; it is written fc1000"),
        ("pool3g2", "g2 in the layer 'pool3g2': the layer does not take it"),
        ("conv3s2s1-8", "s1 in the layer 'conv3s2s1-8': the layer has it twice"),
        ("conv3samep1-8", "the layer has it twice"),
        ("conv3ceil-8", "ceil in the layer 'conv3ceil-8': the layer does not take it"),
        ("conv3z2-8", "It is written conv3s2p1-64"),
        ("cnov3z2-8", "It is written conv3s2p1-64"),
        ("conv3b2-8", "b in conv3b2-8 (='2') must be 0, without biases, or 1"),
        ("conv0-8", "the kernel of conv0-8 (='0') must be a whole number from 1 to 100,000"),
        ("conv3s1:2-8", "s in conv3s1:2-8 (='1:2') must be a whole number"),
        ("conv3-0", "the channels of conv3-0 (=0) must be a whole number from 1"),
        ("conv3g2x2-8", "g in conv3g2x2-8 (=2x2) must be a whole number from 1"),
        ("fc9999999", "the channels of fc9999999 (=9999999) must be a whole number from 1 to 100,000"),
        ("relu", "Leave relu away: it changes no shape"),
        ("320", "sizes of two sides are written --size 224x320"),
        ("transformer", "Layers are conv, dw, maxpool, avgpool, pool, gap, fc"),
        ("", "A layer begins with its name"),
    ],
)
def test_a_word_that_cannot_be_read_is_told_what_it_may_have_meant(word, said):
    with pytest.raises(UsageError) as refused:
        layer_of(word)
    assert said in str(refused.value)


# --- errors ----------------------------------------------------------------------------------------------------------


def test_without_arguments_it_says_what_it_can_do_and_its_examples_run(fovea):
    for json_too in ([], ["--json"]):
        assert fovea("shape", *json_too) == (2, "", f"fovea: {EXAMPLES}\n")
    examples = [line.split()[1:] for line in EXAMPLES.splitlines() if line.startswith("  fovea")]
    assert len(examples) == 3
    assert [fovea(*example)[0] for example in examples] == [0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("--size 227", 2, "--kernel is missing"),
        ("conv3-6", 2, "--size is missing"),
        ("--kernel 3", 2, "--size is missing"),
        ("--output 55", 2, "--kernel is missing"),
        (
            "--size abc --kernel 3",
            2,
            "--size (='abc') must be a whole number from 1 to 100,000, or two as HEIGHTxWIDTH",
        ),
        ("--size 0 --kernel 3", 2, "--size (='0') must be a whole number from 1"),
        ("--size 100001 --kernel 3", 2, "--size (='100001') must be"),
        ("--size 9 --kernel 3x3x3", 2, "--kernel (='3x3x3') must be"),
        ("--size 9 --kernel 3 --padding sme", 2, "Did you mean same?"),
        ("--size 9 --kernel 3 --padding 1:2:3", 2, "--padding (='1:2:3') must be a number of pixels"),
        ("--size 9 --kernel 3 --in-channels 0", 2, "--in-channels (=0) must be a whole number from 1"),
        ("--size 9 --kernel 3 --out-channels -1", 2, "--out-channels (=-1) must be a whole number from 1"),
        ("--size 9 --kernel 3 --groups 0", 2, "--groups (=0) must be a whole number from 1"),
        ("--size 9 --kernel 3 -b 0", 2, "--batch-size (=0) must be a whole number from 1"),
        ("--size 9 --kernel 3 --pool median", 2, "median"),
        ("--size 9 --kernel 3 --pool max --out-channels 4", 2, "--pool keeps the channels"),
        ("--size 9 --kernel 3 conv3-6", 2, "layers as words carry their own numbers and go without --kernel"),
        ("--output 5 --kernel 3 --no-bias conv3-6", 2, "--output asks backwards and goes without layers, --no-bias"),
        ("--output 5 --kernel 3 --padding same", 2, "--padding same depends on the size"),
        ("--output 5 --kernel 9999 --stride 9", 2, "kernel times stride (=9999 · 9 pixels) must be at most 10,000"),
        ("--sise 9", 2, "Did you mean --size?"),
        ("--size 224 320 conv3-6", 2, "sizes of two sides are written --size 224x320"),
        ("--size 5 --kernel 11", 4, "the kernel (=11) must fit the padded input, and 5 − 11 = −6 is below 0"),
        ("--size 9 --kernel 3 --groups 4 --out-channels 8", 4, "in_channels (=3) must be divisible by groups (=4)"),
        ("--size 9 --kernel 3 --pool max --padding 2", 4, "must be at most half its kernel (=3)"),
        ("--size 9 conv5-6 pool2 conv5-6", 4, "layer 3, conv5-6, on 2×2×6: the kernel (=5) must fit"),
        ("--size 100 --output 55 --kernel 11 --stride 4", 4, "sizes from 207 to 230 would do"),
    ],
)
def test_what_does_not_go_is_one_sentence_and_its_code(arguments, code, said, fovea):
    found = fovea("shape", *arguments.split())
    assert found[:2] == (code, "")
    assert said in found[2]
    assert len(found[2].splitlines()) == 1


# --- as a process ----------------------------------------------------------------------------------------------------


def test_it_answers_without_torch_or_numpy():
    asked = [(ONE, 0), (["--size", "227", *ALEXNET, "--json"], 0), (["--output", "55", "--kernel", "11"], 0), ([], 2)]
    asked += [(["--help"], 0), (["--size", "9", "cnov3-6"], 2), (["--size", "5", "conv11-6"], 4)]
    code = (
        "import sys\nfrom fovea.commands.main import main\n"
        f"for arguments, expected in {asked!r}:\n"
        "    try:\n        found = main(['shape', *arguments])\n"
        "    except SystemExit as stop:\n        found = stop.code or 0\n"
        "    assert found == expected, (arguments, found)\n"
        "    heavy = {'torch', 'numpy'} & set(sys.modules)\n"
        "    assert not heavy, (arguments, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["arithmetic", "chain", "inverse"])
def test_the_arithmetic_imports_no_torch(module):
    code = f"import sys, fovea.cost.{module}; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_leaves_early_is_no_error(shell):
    done = shell("{ $FOVEA shape --output 1000 --kernel 1000 --stride 2; echo $? >&2; } | head -1")
    assert done.stderr == b"0\n"
    assert done.stdout.decode() == "Which sizes give 1000 with kernel 1000, stride 2?\n"
