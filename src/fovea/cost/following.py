"""The receptive field through each of torch's operations: which rule of `receptive_field` an operation obeys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from fovea.cost.operations import Kind
from fovea.cost.receptive_field import (
    IMAGE,
    UNKNOWN,
    Field,
    Window,
    adaptive,
    contracted,
    moved,
    padded,
    resampled,
    reshaped,
    sliced,
    union,
    windowed,
)

Rule = Callable[[Field, Sequence[Any], Tensor], Field]  # the first tensor's field, the arguments, the output
POOLINGS = ("max_pool2d_with_indices", "avg_pool2d", "avg_pool3d", "max_pool3d_with_indices")


def follow(name: str, kind: Kind, args: Sequence[Any], output: Tensor, fields: dict[int, Field]) -> Field | None:
    """The field of an operation's output.

    Args:
        name, kind: The operation, as `operations` has it.
        args: What it was called with.
        output: The tensor it gave.
        fields: Of its tensor arguments those that depend on the image, by identity.

    Returns:
        The field; None where the output does not depend on the image.
    """
    if not fields:
        return None
    if name in MEETING or kind == "elementwise" or name in ("index_put", "index_put_"):
        return _met(name, args, output, fields)
    rule, first = RULES.get(name), args[0]
    if kind == "matrix product":
        return IMAGE
    if rule is None or not isinstance(first, Tensor) or id(first) not in fields:
        return _kept(kind, args, output, fields)
    return rule(fields[id(first)], args, output)


def _kept(kind: Kind, args: Sequence[Any], output: Tensor, fields: dict[int, Field]) -> Field:
    """No rule: what cannot be known, but where the whole image is seen already."""
    if any(field.whole for field in fields.values()):
        return IMAGE
    same = isinstance(args[0], Tensor) and args[0].shape == output.shape
    return union(list(fields.values())) or UNKNOWN if kind == "movement" and same else UNKNOWN


def _met(name: str, args: Sequence[Any], output: Tensor, fields: dict[int, Field]) -> Field:
    """Sums, products, concatenations: the union of the fields, each set to the output's dimensions."""
    tensors = args[0] if name in ("cat", "stack") and args else args
    found = []
    for tensor in tensors:
        if isinstance(tensor, Tensor) and id(tensor) in fields:
            found.append(_broadcast(fields[id(tensor)], tensor, output))
    joined = union(found) or UNKNOWN
    if name == "cat" and len(tensors) > 1 and joined.dims and _dim(args, 1, 0) % output.dim() in joined.dims:
        return UNKNOWN  # side by side in space: units of one map see places of several
    return joined


def _broadcast(field: Field, tensor: Tensor, output: Tensor) -> Field:
    missing = output.dim() - tensor.dim()
    if not field.dims:
        return field
    if any(tensor.shape[dim] == 1 and output.shape[dim + missing] > 1 for dim in field.dims):
        return IMAGE  # one unit for all places
    return field._replace(dims=tuple(dim + missing for dim in field.dims))


def _convolution(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    _, weight, _, strides, paddings, dilations, transposed = args[:7]
    kernel = weight.shape[2:]
    sizes = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    if transposed:
        if any(size != stride or padding for size, stride, padding in zip(sizes, strides, paddings, strict=True)):
            return UNKNOWN
        return windowed(field, [Window(1, 1 / stride, 0) for stride in strides], output.dim())
    return windowed(field, [Window(*each) for each in zip(sizes, strides, paddings, strict=True)], output.dim())


def _pooling(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    count = 3 if len(args[1]) == 3 else 2
    kernel, stride, padding, dilation = (
        _sides(args, place, default, count) for place, default in ((1, 1), (2, None), (3, 0), (4, 1))
    )
    if not isinstance(args[4] if len(args) > 4 else 1, (list, tuple)):
        dilation = (1,) * count  # mean pooling has ceil_mode in its place
    sizes = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    windows = [Window(*each) for each in zip(sizes, stride or kernel, padding, strict=True)]
    return windowed(field, windows, output.dim())


def _sides(args: Sequence[Any], place: int, default: int | None, count: int) -> tuple[int, ...]:
    value = args[place] if len(args) > place else default
    if value is None or (isinstance(value, (list, tuple)) and not value):
        return tuple(args[1]) * (count // len(args[1]))
    return (int(value),) * count if isinstance(value, (int, bool)) else tuple(value) * (count // len(value))


def _adaptive(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    inside, outside = args[0].shape, output.shape
    windows = [adaptive(inside[dim], outside[dim]) for dim in range(output.dim() - len(args[1]), output.dim())]
    known = [window for window in windows if window is not None]
    return windowed(field, known, output.dim()) if len(known) == len(windows) else IMAGE


def _over(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    dims = args[1] if len(args) > 1 and args[1] is not None else []
    listed = [dims] if isinstance(dims, int) else list(dims)
    return contracted(field, listed, args[0].dim(), keep=output.dim() == args[0].dim())


def _softmax(field: Field, args: Sequence[Any], _output: Tensor) -> Field:
    return contracted(field, [args[1]], args[0].dim(), keep=True)


def _layer_norm(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    return contracted(field, range(output.dim() - len(args[1]), output.dim()), output.dim(), keep=True)


def _batch_norm(field: Field, args: Sequence[Any], _output: Tensor) -> Field:
    in_training = len(args) > 5 and args[5] is True
    return IMAGE if in_training else field


def _view(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    return reshaped(field, args[0].shape, output.shape)


def _permute(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    return moved(field, [dim % output.dim() for dim in args[1]]) if field.dims else field


def _transpose(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    order = list(range(output.dim()))
    one, other = (dim % output.dim() for dim in (args[1:3] if len(args) > 2 else (0, 1)))
    order[one], order[other] = other, one
    return moved(field, order) if field.dims else field


def _slice(field: Field, args: Sequence[Any], _output: Tensor) -> Field:
    dim, start, _, step = (args[place] if len(args) > place else default for place, default in enumerate(SLICE, 1))
    size = args[0].shape[dim]
    return sliced(field, dim % args[0].dim(), min(start + size if (start or 0) < 0 else start or 0, size), step)


def _select(field: Field, args: Sequence[Any], _output: Tensor) -> Field:
    dim = args[1] % args[0].dim()
    if not field.dims:
        return field
    if dim in field.dims:
        return UNKNOWN
    return field._replace(dims=tuple(place - (dim < place) for place in field.dims))


def _pieces(field: Field, args: Sequence[Any], _output: Tensor) -> Field:
    return UNKNOWN if _dim(args, 2, 0) % args[0].dim() in field.dims else field


def _unbind(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    return _select(field, [args[0], _dim(args, 1, 0)], output)


def _unsqueeze(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    dim = args[1] % output.dim()
    return field._replace(dims=tuple(place + (dim <= place) for place in field.dims))


def _squeeze(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    return reshaped(field, args[0].shape, output.shape)


def _expand(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    return _broadcast(field, args[0], output)


def _pad(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    return padded(field, args[1], output.dim())


def _nearest(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    return resampled(field, args[0].shape, output.shape, blends=False)


def _blended(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    return resampled(field, args[0].shape, output.shape, blends=True)


def _same(field: Field, _args: Sequence[Any], _output: Tensor) -> Field:
    return field


def _dim(args: Sequence[Any], place: int, default: int) -> int:
    return int(args[place]) if len(args) > place else default


SLICE = (0, 0, None, 1)  # dim, start, end, step where they are not given
MEETING = {"cat", "where", "copy_", "masked_fill", "lerp"}
RULES: dict[str, Rule] = {
    **dict.fromkeys(POOLINGS, _pooling),
    **dict.fromkeys(("convolution", "_convolution", "convolution_overrideable"), _convolution),
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_max_pool2d", "_adaptive_avg_pool3d"), _adaptive),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "var_mean", "std", "argmax"), _over),
    **dict.fromkeys(("linalg_vector_norm",), lambda field, args, output: _over(field, [args[0], *args[2:]], output)),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax", "cumsum"), _softmax),
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit"), _batch_norm),
    "_native_batch_norm_legit_no_training": _same,
    "native_layer_norm": _layer_norm,
    "native_group_norm": lambda _field, _args, _output: IMAGE,
    **dict.fromkeys(("view", "_unsafe_view", "_reshape_alias", "_reshape_copy"), _view),
    "permute": _permute,
    **dict.fromkeys(("transpose", "t"), _transpose),
    "slice": _slice,
    "select": _select,
    **dict.fromkeys(("split", "split_with_sizes", "unsafe_split"), _pieces),
    "unbind": _unbind,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "expand": _expand,
    "constant_pad_nd": _pad,
    **dict.fromkeys(("reflection_pad2d", "replication_pad2d"), _pad),
    "upsample_nearest2d": _nearest,
    **dict.fromkeys(("upsample_bilinear2d", "upsample_bicubic2d"), _blended),
    **dict.fromkeys(("clone", "_to_copy", "alias", "detach", "contiguous", "native_dropout", "lift_fresh"), _same),
}
