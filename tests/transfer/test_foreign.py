"""Foreign weight files: every format gives its numbers, nothing is executed, and damage is one sentence."""

from __future__ import annotations

import builtins
import io
import json
import os
import pickle
import random
import struct
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from fovea.errors import MachineError, ModelError
from fovea.transfer.foreign import HEADER_LIMIT, read_foreign

WEIGHTS = Path(__file__).parents[3] / "shared" / "data" / "weights"


def numbers():
    """A small state: a kernel, a bias and a count."""
    drawn = torch.Generator().manual_seed(3)
    return {
        "conv.weight": torch.randn(4, 3, 2, 2, generator=drawn),
        "conv.bias": torch.randn(4, generator=drawn),
        "norm.num_batches_tracked": torch.tensor(7),
    }


def same(foreign, expected):
    assert set(foreign.tensors) == set(expected)
    for name, tensor in foreign.tensors.items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name]), name


def refused(path, match):
    """The sentence of a refusal, which names the file."""
    with pytest.raises(ModelError, match=match) as caught:
        read_foreign(path)
    assert caught.value.exit_code == 4
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def safetensors_file(path, tensors=None, metadata=None):
    safetensors.torch.save_file(tensors or numbers(), path, metadata)
    return path


def torch_file(path, held=None, *, zipped=True):
    torch.save(numbers() if held is None else held, path, _use_new_zipfile_serialization=zipped)
    return path


def npz_file(path, arrays=None):
    with open(path, "wb") as file:
        np.savez(file, **({name: tensor.numpy() for name, tensor in numbers().items()} if arrays is None else arrays))
    return path


def hdf5_file(path):
    with h5py.File(path, "w") as file:
        for name, tensor in numbers().items():
            file[name] = tensor.numpy()
    return path


WRITERS = {
    "a.safetensors": safetensors_file,
    "zipped.pth": torch_file,
    "plain.pt": lambda path: torch_file(path, zipped=False),
    "a.npz": npz_file,
    "a.h5": hdf5_file,
}


@pytest.fixture(params=WRITERS)
def written(request, tmp_path):
    path = tmp_path / request.param
    WRITERS[request.param](path)
    return path


# Formats


def test_every_format_gives_its_numbers(written):
    foreign = read_foreign(written)
    same(foreign, numbers())
    assert foreign.notes == ()
    assert foreign.licence == ""


@pytest.mark.parametrize("suffix", [".pth", ".th", ".bin", ".ckpt", ".tar", ".h5", ".onnx", ""])
def test_the_content_decides_and_not_the_suffix(written, suffix):
    same(read_foreign(written.rename(written.with_suffix(suffix))), numbers())


def test_what_is_called_safetensors_and_is_not_is_refused(written):
    path = written.rename(written.with_suffix(".safetensors"))
    if written.suffix == ".safetensors":
        same(read_foreign(path), numbers())
    else:
        refused(path, r"is called \.safetensors, but is no such file by its content")


def test_a_header_that_looks_like_a_pickle_is_that_of_safetensors(tmp_path):
    content = safetensors.torch.save(numbers())
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].ljust(0x280)
    path = tmp_path / "a.bin"
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    assert path.read_bytes()[:2] == pickle.PROTO + b"\2"
    same(read_foreign(path), numbers())


@pytest.mark.parametrize("key", ["licence", "license"])
def test_the_licence_is_what_the_metadata_says(tmp_path, key):
    assert read_foreign(safetensors_file(tmp_path / "a.safetensors", metadata={key: "CC0"})).licence == "CC0"


def test_what_was_read_stays_when_the_file_is_overwritten(written):
    foreign = read_foreign(written)
    with open(written, "r+b") as file:
        file.write(bytes(written.stat().st_size))
    same(foreign, numbers())


def test_a_compressed_npz_and_one_in_another_byte_order_and_layout_are_read(tmp_path):
    array = np.arange(6, dtype=">f8").reshape(2, 3)
    np.savez_compressed(tmp_path / "a.npz", a=np.asfortranarray(array), b=np.array(2.5, "f4"))
    foreign = read_foreign(tmp_path / "a.npz")
    same(foreign, {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(2.5)})
    assert foreign.tensors["a"].is_contiguous()
    assert foreign.notes == ("float64 became float32",)


def test_keras_2_paths_are_kept_and_the_optimiser_is_left_aside(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["model_weights/conv/conv/kernel:0"] = np.ones((3, 3, 1, 2), "f4")
        file["model_weights/top/empty/bias:0"] = np.zeros(0, "f4")
        file["optimizer_weights/Adam/m:0"] = np.ones(4, "f4")
        file.attrs["model_config"] = b"{}"
    foreign = read_foreign(tmp_path / "a.h5")
    same(foreign, {"conv/conv/kernel:0": torch.ones(3, 3, 1, 2), "top/empty/bias:0": torch.zeros(0)})
    assert foreign.notes == ("taken from 'model_weights'",)


def test_keras_3_paths_are_kept_and_the_optimiser_is_left_aside(tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file["layers/conv2d/vars/0"] = np.ones((3, 3), "f2")
        file["layers/dense/vars/0"] = np.array(3)
        file["optimizer/vars/0"] = np.ones(4, "f4")
    foreign = read_foreign(tmp_path / "a.weights.h5")
    same(foreign, {"layers/conv2d/vars/0": torch.ones(3, 3), "layers/dense/vars/0": torch.tensor(3)})
    assert foreign.notes == ("left aside: 'optimizer'", "float16 became float32")


def test_links_in_hdf5_are_not_followed_and_circles_end(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.ones(3, "f4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["layer/kernel"] = np.ones(2, "f4")
        file["layer/again"] = file["/"]
        file["soft"] = h5py.SoftLink("/layer/kernel")
        file["outside"] = h5py.ExternalLink("other.h5", "secret")
    foreign = read_foreign(tmp_path / "a.h5")
    same(foreign, {"layer/kernel": torch.ones(2)})
    assert foreign.notes == ("links that were not followed: 'outside', 'soft'",)


def test_hdf5_data_that_lie_in_other_files_are_refused(tmp_path):
    (tmp_path / "raw").write_bytes(bytes(16))
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("kernel", (4,), "f4", external=[(tmp_path / "raw", 0, 16)])
    refused(tmp_path / "external.h5", "'kernel' lies in another file")
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "external.h5"), "kernel", (4,))
        file.create_virtual_dataset("bias", layout)
    refused(tmp_path / "virtual.h5", "'bias' lies in another file")


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (h5py.string_dtype(), "text"),
        (h5py.vlen_dtype(np.dtype("f4")), np.ones(2, "f4")),
        ("S4", b"abcd"),
        ("c8", 1j),
        ("u4", 1),
        ([("a", "f4")], (1.0,)),
    ],
)
def test_hdf5_of_other_types_is_refused_by_name(tmp_path, dtype, value):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("layer/odd", (1,), dtype)[0] = value
    refused(tmp_path / "a.h5", "'layer/odd' holds ")


def test_hdf5_without_a_shape_is_refused_by_name(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["nothing"] = h5py.Empty("f4")
    refused(tmp_path / "a.h5", "'nothing' has no shape")


def test_without_h5py_the_message_says_what_to_install(tmp_path, monkeypatch):
    path, whole = hdf5_file(tmp_path / "a.h5"), builtins.__import__

    def without(name, *rest):
        if name == "h5py":
            raise ImportError(name)
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MachineError, match=r"pip install 'fovea-vision\[keras\]'"):
        read_foreign(path)


# What stands around the tensors


@pytest.mark.parametrize(
    ("held", "notes"),
    [
        ({"state_dict": numbers()}, ["taken from 'state_dict'"]),
        ({"network": {"model_state": numbers()}}, ["taken from 'network'", "taken from 'model_state'"]),
        ({"epoch": 3, "model": numbers()}, ["taken from 'model'", "left aside: 'epoch'"]),
        ({"best": torch.tensor(0.5), "net": numbers()}, ["taken from 'net'", "left aside: 'best'"]),
        ({"anything": numbers(), "epoch": 3}, ["taken from 'anything'", "left aside: 'epoch'"]),
        ({"generator": {"model": numbers()}}, ["taken from 'generator'", "taken from 'model'"]),
        ({**numbers(), "epoch": 3}, ["left aside: 'epoch'"]),
        ({"ema": numbers()}, ["taken from 'ema', an average"]),
        (
            {"model_ema": {"a": torch.ones(1)}, "state_dict": numbers(), "ema": None},
            [
                "taken from 'state_dict'",
                "an average of the weights is there under 'model_ema'; the plain ones were taken",
                "left aside: 'ema'",
            ],
        ),
        (
            {"model": {}, "state_dict_ema": numbers()},
            ["taken from 'state_dict_ema', an average", "left aside: 'model'"],
        ),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_wrappers_are_taken_off_and_noted(tmp_path, held, notes, zipped):
    foreign = read_foreign(torch_file(tmp_path / "a.pth", held, zipped=zipped))
    same(foreign, numbers())
    assert list(foreign.notes) == notes


def test_a_training_state_gives_its_network_and_leaves_the_optimiser(tmp_path):
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.eye(3)).square().sum().backward()
    optimiser.step()
    held = {"model": network.state_dict(), "optimizer": optimiser.state_dict(), "scheduler": {"last_epoch": 1}}
    foreign = read_foreign(torch_file(tmp_path / "a.pth.tar", held))
    same(foreign, network.state_dict())
    assert foreign.notes == ("taken from 'model'", "left aside: 'optimizer', 'scheduler'")


def test_parameters_become_plain_tensors(tmp_path):
    parameter = nn.Parameter(torch.ones(2, 2).t())
    tensor = read_foreign(torch_file(tmp_path / "a.pt", {"w": parameter})).tensors["w"]
    assert type(tensor) is torch.Tensor
    assert not tensor.requires_grad


@pytest.mark.parametrize(
    ("prefix", "notes"),
    [
        ("module.", ["module."]),
        ("_orig_mod.", ["_orig_mod."]),
        ("model.module.backbone.net.network.", ["model.", "module.", "backbone.", "net.", "network."]),
        ("features.", []),
    ],
)
def test_prefixes_that_all_share_are_removed_and_noted(tmp_path, prefix, notes):
    held = {f"{prefix}{name}": tensor for name, tensor in numbers().items()}
    foreign = read_foreign(safetensors_file(tmp_path / "a.safetensors", held))
    same(foreign, numbers() if notes else held)
    assert foreign.notes == tuple(f"prefix {each!r} removed" for each in notes)


def test_a_prefix_that_one_tensor_lacks_or_that_is_a_whole_name_stays(tmp_path):
    for name, held in {"a": {"module.a": torch.ones(1), "b": torch.ones(1)}, "b": {"module.": torch.ones(1)}}.items():
        same(read_foreign(torch_file(tmp_path / name, held)), held)


def test_torchs_averaged_model_comes_without_its_count(tmp_path):
    network = nn.Linear(2, 2)
    averaged = torch.optim.swa_utils.AveragedModel(network)
    foreign = read_foreign(torch_file(tmp_path / "a.pt", averaged.state_dict()))
    same(foreign, network.state_dict())
    assert foreign.notes == ("left aside: 'n_averaged'", "prefix 'module.' removed")


@pytest.mark.parametrize(
    ("held", "match"),
    [
        (torch.ones(2), "holds Tensor, not tensors by their names"),
        ([torch.ones(2)], "holds list, not tensors"),
        (3, "holds int, not tensors"),
        ({}, "holds no tensors"),
        ({"epoch": 3, "optimizer": {"state": {0: {"m": torch.ones(2)}}}}, "holds no tensors"),
        ({0: torch.ones(2)}, "the name 0 of a tensor must be text, not int"),
        ({0: {"a": torch.ones(2)}}, "the name 0 of a tensor must be text"),
        ({"state_dict": {("a", 1): torch.ones(2)}}, r"the name \('a', 1\) of a tensor"),
        ({"a": {"w": torch.ones(2)}, "b": {"w": torch.ones(2)}}, r"several dictionaries \('a', 'b'\)"),
    ],
)
def test_what_is_no_dictionary_of_tensors_is_refused(tmp_path, held, match):
    refused(torch_file(tmp_path / "a.pth", held), match)


def test_a_dictionary_that_holds_itself_is_refused(tmp_path):
    circle = {}
    circle["model"] = circle
    refused(torch_file(tmp_path / "a.pth", circle), "holds no tensors")
    deep = {"w": torch.ones(1)}
    for _ in range(9):
        deep = {"model": deep}
    refused(torch_file(tmp_path / "b.pth", deep), "more than 8 deep")


# Types


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_become_float32(tmp_path, dtype):
    held = {"a": torch.tensor([0.5, -3.0]).to(dtype), "b": torch.ones(2)}
    for path in (torch_file(tmp_path / "a.pth", held), safetensors_file(tmp_path / "a.safetensors", held)):
        foreign = read_foreign(path)
        same(foreign, {"a": torch.tensor([0.5, -3.0]), "b": torch.ones(2)})
        assert foreign.notes == (f"{str(dtype)[6:]} became float32",)


def test_float64_beyond_float32_is_refused_by_name(tmp_path):
    held = {"a": torch.ones(2), "b": torch.tensor([1.0, -1e39], dtype=torch.float64)}
    refused(safetensors_file(tmp_path / "a.safetensors", held), "beyond the range of float32 in 'b'")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_refused_and_ten_named(tmp_path, value):
    held = {f"t{i:02}": torch.tensor([1.0, value if i else 0.0]) for i in range(13)}
    message = refused(safetensors_file(tmp_path / "a.safetensors", held), "NaN or infinity in 't01', 't02'")
    assert "'t10' and 2 more" in message
    assert "t00" not in message
    assert "t11" not in message


def test_eight_bits_become_float32_by_one_scale_or_one_for_each_channel(tmp_path):
    drawn = torch.randint(0, 256, (4, 3, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    scales, minima = torch.tensor([0.5, 0.25, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 3.0, -8.0])
    held = {"one": drawn, "one_scale": torch.tensor(0.5), "one_min": torch.tensor([-4.0])}
    held |= {"each": drawn, "each_scale": scales, "each_min": minima}
    held |= {"full": drawn, "full_scale": scales.half().reshape(4, 1, 1), "full_min": torch.tensor(0.0)}
    held |= {"logit": torch.ones(2), "logit_scale": torch.tensor(4.0), "logit_min": torch.tensor(1.0)}
    held = {f"module.{name}": tensor.clone() for name, tensor in held.items()}
    foreign = read_foreign(safetensors_file(tmp_path / "a.safetensors", held))
    expected = {
        "one": drawn.float() * 0.5 - 4,
        "each": torch.stack([drawn[i].float() * scales[i] + minima[i] for i in range(4)]),
        "full": torch.stack([drawn[i].float() * scales[i] for i in range(4)]),
        "logit": torch.ones(2),
        "logit_scale": torch.tensor(4.0),
        "logit_min": torch.tensor(1.0),
    }
    same(foreign, expected)
    notes = (
        "prefix 'module.' removed",
        "float16 became float32",
        "8-bit tensors with scale and minimum became float32",
    )
    assert foreign.notes == notes


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8])
@pytest.mark.parametrize("missing", ["scale", "min"])
def test_eight_bits_without_scale_or_minimum_are_refused_by_name(tmp_path, dtype, missing):
    held = {"a.weight": torch.ones(3, dtype=dtype), "a.weight_scale": torch.ones(1), "a.weight_min": torch.ones(1)}
    del held[f"a.weight_{missing}"]
    path = safetensors_file(tmp_path / "a.safetensors", held)
    refused(path, rf"'a\.weight' has 8 bits a number, and 'a\.weight_{missing}'")


@pytest.mark.parametrize("shape", [(3,), (4, 2), (1, 4), (4, 1, 1), (1, 1, 1, 4), (0,)])
def test_a_scale_of_another_shape_is_refused(tmp_path, shape):
    held = {"a": torch.ones(4, 3, dtype=torch.uint8), "a_scale": torch.ones(shape), "a_min": torch.zeros(1)}
    refused(safetensors_file(tmp_path / "a.safetensors", held), r"'a' is \(4, 3\), and its scale or minimum is")


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (lambda ones: ones.to_sparse(), "is sparse"),
        (lambda ones: ones.to_sparse_csr(), "is sparse"),
        (lambda ones: torch.quantize_per_tensor(ones, 0.1, 0, torch.qint8), "is quantised"),
        (lambda ones: ones.to(torch.complex64), "is complex64"),
        (lambda ones: ones.to(torch.float8_e4m3fn), "is float8_e4m3fn"),
        (lambda ones: ones.to(torch.uint16), "is uint16"),
        (lambda ones: ones.to("meta"), "has a shape but no numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # torch's own, of what it is about to drop
def test_tensors_of_other_kinds_are_refused_by_name(tmp_path, made, match):
    refused(torch_file(tmp_path / "a.pth", {"a": torch.ones(2), "odd": made(torch.ones(2, 2))}), f"'odd' {match}")


def test_whole_numbers_stay_as_they_are(tmp_path):
    held = {str(dtype)[6:]: torch.ones(2, dtype=dtype) for dtype in (torch.int16, torch.int32, torch.int64, torch.bool)}
    same(read_foreign(torch_file(tmp_path / "a.pth", held)), held)


# What is no weight file


def test_a_missing_file_a_folder_a_pipe_and_an_empty_file_are_said_to_be_that(tmp_path):
    refused(tmp_path / "a.pth", "there is no such file")
    refused(tmp_path, "is a folder")
    os.mkfifo(tmp_path / "pipe.pth")
    refused(tmp_path / "pipe.pth", "is a device or a pipe")
    for suffix in (".pth", ".safetensors", ".npz", ".h5"):
        (tmp_path / f"empty{suffix}").touch()
        refused(tmp_path / f"empty{suffix}", "is empty")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("a.caffemodel", r"numpy\.savez\(path"),
        ("a.prototxt", "holds no weights"),
        ("a.onnx", r"onnx\.numpy_helper"),
        ("a.tflite", "with its interpreter"),
        ("A.PB", "in TensorFlow write"),
        ("a.txt", "is no weight file by its content"),
        ("a.h5", "is no weight file by its content"),
        ("a.safetensors", "its header is said to have"),
    ],
)
def test_formats_that_are_not_read_say_what_to_do(tmp_path, name, match):
    (tmp_path / name).write_bytes(b"\x0a\x05abcdefghijkl")
    refused(tmp_path / name, match)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"\x1c\0\0\0TFL3\0\0", "TensorFlow Lite is not read"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS's pointer"),
        (b"<!DOCTYPE html>", "is a web page"),
        (b"\x1f\x8b\x08\0", "compressed by gzip"),
        (b"\x80", "is no weight file"),
        (b"P", "is no weight file"),
        (b"PK\x03\x04", "is damaged, or no zip archive"),
        (b"\x80\x02", "is damaged, or no file of torch"),
        (b"\x89HDF\r\n\x1a\n", "is damaged, or no HDF5 file"),
        (b"PK\x05\x06" + bytes(18), "neither torch nor NumPy wrote"),
    ],
)
@pytest.mark.parametrize("suffix", [".bin", ".pth"])
def test_contents_that_are_no_weights_are_told_apart(tmp_path, content, match, suffix):
    (tmp_path / f"a{suffix}").write_bytes(content)
    refused(tmp_path / f"a{suffix}", match)


def test_a_lone_array_and_foreign_archives_say_what_to_do(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    refused(tmp_path / "a.npy", "one array without a name")
    for name, member, match in (
        ("a.keras", "model.weights.h5", "is a Keras archive"),
        ("a.zip", "readme.txt", "neither torch nor NumPy wrote"),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, b"x")
        refused(tmp_path / name, match)


# Headers that lie


def raw_safetensors(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": ENTRY | {"shape": [-2]}},
        {"a": ENTRY | {"shape": [3]}},
        {"a": ENTRY | {"shape": [2**62, 8]}},
        {"a": ENTRY | {"shape": [2.0]}},
        {"a": ENTRY | {"shape": "2"}},
        {"a": ENTRY | {"dtype": "F33"}},
        {"a": ENTRY | {"data_offsets": [8, 0]}},
        {"a": ENTRY | {"data_offsets": [-8, 0]}},
        {"a": ENTRY | {"data_offsets": [4, 12]}},
        {"a": ENTRY | {"data_offsets": [0, 2**40], "shape": [2**38]}},
        {"a": {"dtype": "F32"}},
        {"a": None},
        {"a": ENTRY, "b": ENTRY},
        {"a": ENTRY, "b": ENTRY | {"data_offsets": [4, 12]}},
        {"a": ENTRY, "__metadata__": {"licence": 3}},
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        b'{"a": {"dtype":"F32","shape":[2],"shape":[1,2],"data_offsets":[0,8]}}',
        b"{" + b'"a":{' * 100_000 + b"}" * 100_001,
        b'{"a": 1' + b"0" * 9999 + b"}",
        b"{not JSON}",
        b"{\xff\xfe}",
        b"[]",
        b"{",
    ],
    ids=lambda each: str(each)[:60],
)
def test_a_safetensors_header_that_lies_is_refused(tmp_path, header):
    path = raw_safetensors(tmp_path / "a.safetensors", header, bytes(8))
    refused(path, "is damaged, or no safetensors file")


@pytest.mark.parametrize("length", [0, 1, 3, 300, HEADER_LIMIT + 1, 2**31, 2**62, 2**64 - 1])
def test_a_safetensors_header_of_another_length_is_refused(tmp_path, length):
    path = raw_safetensors(tmp_path / "a.safetensors", {"a": ENTRY}, bytes(8), length)
    refused(path, "is damaged, or no safetensors file")


def test_a_safetensors_file_without_tensors_is_refused(tmp_path):
    refused(raw_safetensors(tmp_path / "a.safetensors", {}), "holds no tensors")


def npy(header, data=b""):
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


@pytest.mark.parametrize(
    "content",
    [
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }", bytes(8)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", bytes(8)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -1), }", bytes(8)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", bytes(8)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", bytes(8)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').getpid(),), }", bytes(8)),
        b"\x93NUMPY\x03\x00" + npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", bytes(8))[8:],
        b"",
        b"not an array",
    ],
    ids=lambda each: str(each[10:90]),
)
def test_an_array_whose_header_lies_is_refused(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("w.npy", content)
    refused(tmp_path / "a.npz", r"is damaged, or no file of numpy\.savez")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_npz_with_one_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for _ in range(2):
            archive.writestr("w.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", bytes(8)))
    refused(tmp_path / "a.npz", "a name stands twice")


def test_arrays_of_other_types_are_refused_by_name(tmp_path):
    for value in (np.ones(2, "c8"), np.array(["text"]), np.ones(2, "u4"), np.ones(2, "M8[s]")):
        refused(npz_file(tmp_path / "a.npz", {"odd": value}), "'odd' holds ")


def test_what_would_fill_the_memory_is_refused_before_it_does(tmp_path):
    large = 1 << 29
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("w.npy", "w") as member,
    ):
        member.write(npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({large},), }}"))
        for _ in range(large >> 24):
            member.write(bytes(1 << 24))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("w", (1 << 40,), "f4", chunks=(1 << 20,))
    with h5py.File(tmp_path / "chunk.h5", "w") as file:
        file.create_dataset("w", (1,), "f4", chunks=(1 << 29,), maxshape=(None,))
    torch_file(tmp_path / "a.pth", {"w": torch.ones(1).expand(1 << 20, 1 << 20)})
    torch_file(tmp_path / "plain.pth", {"w": torch.ones(1).expand(1 << 20, 1 << 20)}, zipped=False)
    for path in tmp_path.iterdir():
        assert path.stat().st_size < 1 << 20
        refused(path, "would take [0-9,]{9,} in memory")


def test_a_record_shorter_than_its_tensor_is_refused(tmp_path):
    torch_file(tmp_path / "whole.pth", {"w": torch.ones(4096)})
    source, target = tmp_path / "whole.pth", tmp_path / "short.pth"
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(target, "w") as short:
        for entry in whole.infolist():
            content = whole.read(entry)
            short.writestr(entry.filename, content[:4] if len(content) == 4 * 4096 else content)
    refused(target, "is damaged, or no file of torch")


def test_a_compressed_archive_of_torch_is_refused(tmp_path):
    torch_file(tmp_path / "stored.pth")
    source, target = tmp_path / "stored.pth", tmp_path / "packed.pth"
    with zipfile.ZipFile(source) as stored, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in stored.infolist():
            packed.writestr(entry.filename, stored.read(entry))
    refused(target, "is compressed, as torch never writes it")


def test_a_pickle_that_asks_for_memory_is_refused(tmp_path):
    class Greedy:
        def __reduce__(self):
            return bytearray, (10,)

    for zipped in (True, False):
        refused(torch_file(tmp_path / "a.pth", {"w": torch.ones(1), "x": Greedy()}, zipped=zipped), "holds a bytearray")


# Code


class Payload:
    """An object whose unpickling would leave a file behind."""

    def __init__(self, canary, caller=os.system):
        self.call = caller, (f"touch {canary}" if caller is os.system else f"open({str(canary)!r}, 'w')",)

    def __reduce__(self):
        return self.call


@pytest.fixture
def canary(tmp_path):
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "what was in the file was executed"


def test_the_payload_works(tmp_path):
    for caller in (os.system, eval):
        pickle.loads(pickle.dumps(Payload(tmp_path / caller.__name__, caller)))
        assert (tmp_path / caller.__name__).exists()


@pytest.mark.parametrize("caller", [os.system, eval, exec])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.bin", "a.tar", "a.safetensors", "a.npz", "a.npy", "a.h5", "a"])
def test_a_plain_pickle_is_never_executed(tmp_path, canary, name, protocol, caller):
    for held in (Payload(canary, caller), {"w": Payload(canary, caller)}):
        (tmp_path / name).write_bytes(pickle.dumps(held, protocol))
        refused(tmp_path / name, "is no weight file|holds '|is called|is damaged")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_torch_with_code_is_refused_with_what_to_do(tmp_path, canary, zipped):
    for held in ({"w": torch.ones(2), "x": Payload(canary)}, Payload(canary)):
        path = torch_file(tmp_path / "a.pth", held, zipped=zipped)
        message = refused(path, r"holds '(posix|nt)\.system', which holds code, not weights alone")
        assert "nothing of it was executed" in message
        assert "model.state_dict()" in message


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_pickled_module_is_refused_with_what_to_do(tmp_path, zipped):
    path = torch_file(tmp_path / "a.pth", nn.Sequential(nn.Linear(2, 2)), zipped=zipped)
    refused(path, r"'torch\.nn\.modules\.container\.Sequential', which holds code.* save model\.state_dict\(\) instead")


def test_an_archive_whose_pickle_was_replaced_is_not_executed(tmp_path, canary):
    torch_file(tmp_path / "whole.pth")
    for member in ("data.pkl", "byteorder", "version"):
        source, target = tmp_path / "whole.pth", tmp_path / f"{member}.pth"
        with zipfile.ZipFile(source) as whole, zipfile.ZipFile(target, "w") as changed:
            for entry in whole.infolist():
                evil = entry.filename.endswith(member)
                changed.writestr(entry.filename, pickle.dumps(Payload(canary), 2) if evil else whole.read(entry))
        if member == "data.pkl":
            refused(target, r"'(posix|nt)\.system', which holds code")
        else:
            refused(target, "is damaged")


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_is_refused_with_what_to_do(tmp_path):
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "a.pt")
    refused(tmp_path / "a.pt", r"is a TorchScript archive, which holds code.* save model\.state_dict\(\) instead")


@pytest.mark.parametrize("first", [b"", b"\x80\x02"])
def test_the_tar_archives_of_old_torch_are_refused_and_not_executed(tmp_path, canary, first):
    path = tmp_path / "a.pth.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("storages", "tensors", "pickle"):
            content = pickle.dumps(Payload(canary), 2)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    content = path.read_bytes()
    path.write_bytes(first + content[len(first) :])
    refused(path, "is damaged, or no file of torch" if first else "is a tar archive")


def test_pickles_in_an_npz_are_not_executed(tmp_path, canary):
    objects = np.array([Payload(canary)], dtype=object)
    refused(npz_file(tmp_path / "a.npz", {"fine": np.ones(2), "odd": objects}), "'odd' holds pickled objects")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("w.npy", pickle.dumps(Payload(canary)))
    refused(tmp_path / "b.npz", "is damaged, or no file of")
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr("w.npy", b"\x93NUMPY\x01\x00" + pickle.dumps(Payload(canary)))
    refused(tmp_path / "c.npz", "is damaged, or no file of")


def test_pickles_in_hdf5_are_not_executed(tmp_path, canary):
    content = pickle.dumps(Payload(canary))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("odd", (1,), h5py.vlen_dtype(np.uint8))[0] = np.frombuffer(content, np.uint8)
        file.attrs["training_config"] = np.void(content)
    refused(tmp_path / "a.h5", "'odd' holds pickled objects")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["odd"] = np.void(content)
    refused(tmp_path / "b.h5", "'odd' holds void")


def test_what_a_file_writes_to_the_terminal_is_quoted(tmp_path):
    name = "\x1b[2Jclear"
    message = refused(torch_file(tmp_path / "a.pth", {name: torch.tensor([float("nan")])}), "NaN")
    assert "\x1b" not in message
    message = refused(raw_safetensors(tmp_path / "a.safetensors", {name: {"dtype": name}}), "is damaged")
    assert "\x1b" not in message


# Damage


def variants(content, count=200):
    """Copies with flipped, cut, added, repeated or emptied bytes, most of them where the headers are."""
    drawn = random.Random(5)
    ends = [*range(min(len(content), 600)), *range(max(0, len(content) - 600), len(content))]
    for i in range(count):
        changed = bytearray(content)
        place = drawn.choice(ends) if i % 4 else drawn.randrange(len(content))
        match i % 5:
            case 0:
                del changed[place:]
            case 1:
                changed[place : place + drawn.randrange(1, 9)] = drawn.randbytes(drawn.randrange(9))
            case 2:
                changed[place : place + 8] = drawn.choice([bytes(8), b"\xff" * 8])
            case _:
                changed[place] ^= 1 << drawn.randrange(8)
        yield bytes(changed)


def test_a_damaged_file_is_read_or_refused_and_nothing_else(written):
    expected = numbers()
    content, counts = written.read_bytes(), {"read": 0, "refused": 0}
    for changed in variants(content):
        written.write_bytes(changed)
        try:
            foreign = read_foreign(written)
        except ModelError as error:
            assert str(error).startswith(f"{written}: ")  # noqa: PT017  # either outcome is allowed, and each is checked
            counts["refused"] += 1
        else:
            assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in foreign.tensors.values())
            assert sum(tensor.numel() for tensor in foreign.tensors.values()) <= 10 * len(expected) * 48
            counts["read"] += 1
    assert counts["refused"] > 40  # every fifth was cut
    assert sum(counts.values()) == 200


@pytest.mark.shared
@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the shared weights are not beside the checkout")
def test_the_shared_weights_are_read_as_their_records_say():
    network = read_foreign(WEIGHTS / "mobilenet_v2.fp16.safetensors")
    assert network.notes == ("float16 became float32",)
    assert network.tensors["features.0.0.weight"].shape == (32, 3, 3, 3)
    vgg = read_foreign(WEIGHTS / "vgg19_to_conv5_1.uint8.safetensors")
    assert vgg.notes == ("8-bit tensors with scale and minimum became float32",)
    raw = safetensors.torch.load_file(WEIGHTS / "vgg19_to_conv5_1.uint8.safetensors")
    assert len(vgg.tensors) * 3 == len(raw)
    for name, tensor in vgg.tensors.items():
        assert tensor.dtype == torch.float32
        minimum, scale = raw[f"{name}_min"], raw[f"{name}_scale"]
        assert torch.equal(tensor, raw[name].float() * scale + minimum)
