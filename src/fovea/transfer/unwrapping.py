"""What stands around foreign tensors is taken off, and what they are made of becomes float32."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from fovea.errors import ModelError

PLAIN: Final = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "module")
AVERAGES: Final = ("state_dict_ema", "model_ema", "ema", "ema_state_dict", "model_ema_state_dict")
PREFIXES: Final = ("module.", "_orig_mod.", "model.", "network.", "net.", "backbone.")
COUNT: Final = "n_averaged"  # what torch's AveragedModel keeps beside "module."

DEPTH: Final = 8  # dictionaries in dictionaries
NAMED: Final = 10  # names in a message
EXPANSION: Final = 32  # times the file's size that its tensors may take in memory; float32 from 8 bits take 4
SMALL: Final = 256 << 20  # bytes that they may take however small the file is

EIGHT_BITS: Final = (torch.uint8, torch.int8)
WHOLE: Final = (*EIGHT_BITS, torch.int16, torch.int32, torch.int64, torch.bool)
FLOATING: Final = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def only(names: Iterable[object]) -> str:
    """The first ten names, quoted, and how many more there are."""
    quoted = [repr(name)[:100] for name in names]  # they come from the file, so they may be anything
    more = f" and {len(quoted) - NAMED:,} more" if len(quoted) > NAMED else ""
    return ", ".join(quoted[:NAMED]) + more


def check_expansion(path: Path, needed: int) -> None:
    """Refuse a file whose content would take far more memory than the file is long.

    Args:
        path: The file.
        needed: Bytes that its content takes.

    Raises:
        ModelError: that is above 32 times its size, and above 256 MiB.
    """
    size = path.stat().st_size
    if needed > max(SMALL, EXPANSION * size):
        raise ModelError(
            f"{path}: has {size:,} bytes and would take {needed:,} in memory, more than {EXPANSION} times as many; "
            "no weights are packed so tightly: save them uncompressed"
        )


def unwrapped(path: Path, held: object) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors by their names, out of whichever dictionary holds them, and notes of what was left aside.

    Raises:
        ModelError: no tensors, tensors in several places, or a name that is no text.
    """
    notes: list[str] = []
    for _ in range(DEPTH):
        if not isinstance(held, dict):
            raise ModelError(f"{path}: holds {type(held).__name__}, not tensors by their names; {_SAVE}")
        taken = _wrapper(path, held)
        if taken is None:
            return _direct(path, held, notes)
        averages = [key for key in AVERAGES if isinstance(held.get(key), dict) and taken in PLAIN]
        notes.append(f"taken from {taken!r}" + (", an average" if taken in AVERAGES else ""))
        notes += [f"an average of the weights is there under {key!r}; the plain ones were taken" for key in averages]
        notes += _left_aside(key for key in held if key != taken and key not in averages)
        held = held[taken]
    raise ModelError(f"{path}: its dictionaries lie more than {DEPTH} deep; {_SAVE}")


_SAVE: Final = "save model.state_dict() by itself"


def _wrapper(path: Path, held: dict[object, object]) -> str | None:
    """The key of the dictionary in which the tensors are; None where they are in this one, or nowhere."""
    inner = [key for key, value in held.items() if isinstance(value, dict) and _holds_tensors(value)]
    known = next((key for key in (*PLAIN, *AVERAGES) if key in inner), None)
    if known is not None:
        return known
    if any(isinstance(value, Tensor) for value in held.values()) or not inner:
        return None
    if len(inner) > 1:
        raise ModelError(f"{path}: holds tensors in several dictionaries ({only(inner)}); {_SAVE}")
    return _text(path, inner[0])


def _holds_tensors(held: dict[object, object]) -> bool:
    """Whether tensors are in it, or in dictionaries in it that are known to hold them."""
    seen: set[int] = set()  # a pickled dictionary may hold itself
    waiting = [held]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if any(isinstance(value, Tensor) for value in each.values()):
            return True
        waiting += [value for key in (*PLAIN, *AVERAGES) if isinstance(value := each.get(key), dict)]
    return False


def _direct(path: Path, held: dict[object, object], notes: list[str]) -> tuple[dict[str, Tensor], list[str]]:
    tensors = {_text(path, key): value for key, value in held.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ModelError(f"{path}: holds no tensors; {_SAVE}")
    return tensors, notes + _left_aside(key for key in held if key not in tensors)


def _text(path: Path, key: object) -> str:
    if not isinstance(key, str):
        raise ModelError(f"{path}: the name {only([key])} of a tensor must be text, not {type(key).__name__}")
    return key


def _left_aside(keys: Iterable[object]) -> list[str]:
    named = only(keys)
    return [f"left aside: {named}"] if named else []


def without_prefixes(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors without the prefixes that all of them share and that wrappers put there, and notes of them."""
    made, notes = dict(tensors), []
    if COUNT in made and len(made) > 1 and all(name.startswith("module.") for name in made if name != COUNT):
        del made[COUNT]
        notes += _left_aside([COUNT])
    while found := [p for p in PREFIXES if all(name.startswith(p) and name != p for name in made)]:
        made = {name.removeprefix(found[0]): tensor for name, tensor in made.items()}
        notes.append(f"prefix {found[0]!r} removed")
    return made, notes


def as_float32(path: Path, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors as finite float32 in memory of their own, whole numbers as they are, and notes of what was converted.

    Tensors K of 8 bits become K * K_scale + K_min, where scale and minimum are one number, or one for each of K's
    first axis, or of a shape that broadcasts to K's.

    Raises:
        ModelError: tensors that are sparse, quantised or of another type; 8 bits without scale and minimum; NaN or
            infinity, or numbers beyond float32. The first ten are named.
    """
    for name, tensor in tensors.items():
        if reason := _refusal(tensor):
            raise ModelError(f"{path}: {only([name])} {reason}; save it as a dense tensor of float32")
    check_expansion(path, sum(each.numel() * max(4, each.element_size()) for each in tensors.values()))
    wide = [name for name, tensor in tensors.items() if tensor.dtype == torch.float64]
    notes = [
        f"{str(dtype).removeprefix('torch.')} became float32"
        for dtype in FLOATING[1:]
        if any(tensor.dtype == dtype for tensor in tensors.values())
    ]
    made = {name: _own(tensor) for name, tensor in tensors.items()}
    too_wide = [name for name in wide if not made[name].isfinite().all() and tensors[name].isfinite().all()]
    if too_wide:
        raise ModelError(f"{path}: float64 numbers beyond the range of float32 in {only(too_wide)}; save float32")
    eight = [name for name, tensor in made.items() if tensor.dtype in EIGHT_BITS]
    if eight:
        made = _from_eight_bits(path, made, eight)
        notes.append("8-bit tensors with scale and minimum became float32")
    broken = [name for name, tensor in made.items() if not tensor.isfinite().all()]
    if broken:
        raise ModelError(f"{path}: NaN or infinity in {only(broken)}; the training that wrote it had diverged")
    return made, notes


def _refusal(tensor: Tensor) -> str:
    """Why a tensor is none that we read; "" where it is one."""
    if tensor.is_quantized:
        return "is quantised by torch"
    if tensor.layout != torch.strided or tensor.is_nested:
        return "is sparse or nested"
    if tensor.device.type != "cpu":
        return "has a shape but no numbers"
    if type(tensor) not in (Tensor, nn.Parameter):
        return f"is a {type(tensor).__name__}"
    if tensor.dtype not in (*WHOLE, *FLOATING):
        return f"is {str(tensor.dtype).removeprefix('torch.')}"
    return ""


def _own(tensor: Tensor) -> Tensor:
    """A contiguous copy: what was read may be a map of the file."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return torch.empty(tensor.shape, dtype=dtype).copy_(tensor.detach())


def _from_eight_bits(path: Path, tensors: Mapping[str, Tensor], eight: Iterable[str]) -> dict[str, Tensor]:
    made = dict(tensors)
    for name in eight:
        keys = f"{name}_scale", f"{name}_min"
        missing = [key for key in keys if key not in tensors]
        if missing:
            raise ModelError(
                f"{path}: {only([name])} has 8 bits a number, and {only(missing)}, by which they are read, is missing"
            )
        scale, minimum = (_along(path, name, tensors[name], tensors[key]) for key in keys)
        made[name] = tensors[name] * scale + minimum
        for key in keys:
            made.pop(key, None)
    return made


def _along(path: Path, name: str, tensor: Tensor, factor: Tensor) -> Tensor:
    """A scale or minimum in a shape that multiplies a tensor without enlarging it."""
    if factor.numel() == 1:
        return factor.reshape(()).float()
    if factor.ndim == 1 and tensor.ndim > 0 and len(factor) == len(tensor):
        return factor.reshape(-1, *[1] * (tensor.ndim - 1)).float()
    pairs = zip(factor.shape, tensor.shape, strict=False)
    if factor.ndim == tensor.ndim and all(theirs in (1, ours) for theirs, ours in pairs):
        return factor.float()
    raise ModelError(
        f"{path}: {only([name])} is {tuple(tensor.shape)}, and its scale or minimum is {tuple(factor.shape)}; "
        "it must be one number, or one for each of the first axis"
    )
