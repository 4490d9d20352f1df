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
    Interpolation,
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
        name: The operation's, as `operations` has it.
        kind: What sort of work it is.
        args: What it was called with.
        output: The tensor it gave.
        fields: Of its tensor arguments those that depend on the image, by identity.

    Returns:
        The field; None where the output does not depend on the image.
    """
    if not fields or kind == "creation":
        return None
    if name in MEETING or kind == "elementwise":
        return _met(name, args, output, fields)
    if kind == "matrix product":
        return _product(name, args, output, fields)
    rule, first = RULES.get(name), args[0]
    if name in WRITING:
        return WRITING[name](args, output, fields)
    if rule is None or not isinstance(first, Tensor) or id(first) not in fields:
        return IMAGE if any(field.whole for field in fields.values()) else UNKNOWN
    return rule(fields[id(first)], args, output)


def written_through(view: Tensor, base: Tensor, field: Field, before: Field | None) -> Field | None:
    """The field of a tensor of which a part has been written over, and now has a field of its own.

    Args:
        view: The part.
        base: The whole of it.
        field: Of what was written.
        before: Of the whole, until then; None where it did not depend on the image.
    """
    if before is not None and (before.axes == field.axes and before.known == field.known):
        return before  # an activation in place, say
    places = field.places
    alike = view.dim() == base.dim() and all(view.shape[dim] == base.shape[dim] for dim in places)
    if field.whole or (alike and field.known):
        return union([field] if before is None else [before, field])
    return UNKNOWN


def _met(name: str, args: Sequence[Any], output: Tensor, fields: dict[int, Field]) -> Field:
    """Sums, products, concatenations: the union of the fields, each set to the output's dimensions."""
    tensors = args[0] if name in ("cat", "stack") and args else args
    found = []
    for tensor in tensors:
        if isinstance(tensor, Tensor) and id(tensor) in fields:
            field = fields[id(tensor)]
            found.append(_stacked(field, args, output) if name == "stack" else _broadcast(field, tensor, output))
    joined = union(found) or UNKNOWN
    if name == "cat" and len(tensors) > 1 and _dim(args, 1, 0) % output.dim() in joined.places:
        if joined.dims or len(found) > 1:
            return UNKNOWN  # side by side in space: units of one map see places of several
        return joined._replace(sides=())  # a class token before the others, say
    return joined


def _stacked(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    dim = _dim(args, 1, 0) % output.dim()
    return field.placed(lambda place: place + (dim <= place))


def _broadcast(field: Field, tensor: Tensor, output: Tensor) -> Field:
    missing = output.dim() - tensor.dim()
    if any(tensor.shape[dim] == 1 and output.shape[dim + missing] > 1 for dim in field.places):
        return IMAGE  # one unit for all places
    return field.placed(lambda dim: dim + missing)


def _product(name: str, args: Sequence[Any], output: Tensor, fields: dict[int, Field]) -> Field:
    """A matrix product over the places, as in attention, sees the image; one over channels what its factors see."""
    if any(field.whole for field in fields.values()):
        return IMAGE
    if name not in FACTORS:  # attention in one step: the values are summed over their places
        values = fields.get(id(args[2])) if "attention" in name else None
        return IMAGE if values is not None and args[2].dim() - 2 in values.places else UNKNOWN
    left, right = (args[place] for place in FACTORS[name])
    found = []
    for factor, summed in ((left, left.dim() - 1), (right, right.dim() - 2)):
        field = fields.get(id(factor))
        if field is not None and summed in field.places:
            return IMAGE
        found += [field] if field is not None else []
    if any(id(arg) in fields for arg in args[: FACTORS[name][0]]):
        return UNKNOWN  # what is added depends on the image as well
    return union(found) or UNKNOWN if left.dim() == output.dim() else UNKNOWN


def _copied(args: Sequence[Any], output: Tensor, fields: dict[int, Field]) -> Field | None:
    field = fields.get(id(args[1]))
    return None if field is None else _broadcast(field, args[1], output)


def _put(args: Sequence[Any], output: Tensor, fields: dict[int, Field]) -> Field:
    joined = _met("index_put", args, output, fields)
    written = {dim for dim, index in enumerate(args[1]) if index is not None}
    return UNKNOWN if written & set(joined.places) else joined


def _convolution(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    _, weight, _, strides, paddings, dilations, transposed = args[:7]
    kernel = weight.shape[2:]
    sizes = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    if transposed:
        if any(d > 1 for d in dilations) or any(size < stride for size, stride in zip(sizes, strides, strict=True)):
            return UNKNOWN  # some units see gaps
        enlarging = [
            Window(size / stride, 1 / stride, (size - stride - padding) / stride)
            for size, stride, padding in zip(sizes, strides, paddings, strict=True)
        ]
        return windowed(field, enlarging, output.dim())
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
    return moved(field, [dim % output.dim() for dim in args[1]])


def _transpose(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    order = list(range(output.dim()))
    one, other = (dim % output.dim() for dim in (args[1:3] if len(args) > 2 else (0, 1)))
    order[one], order[other] = other, one
    return moved(field, order)


def _slice(field: Field, args: Sequence[Any], _output: Tensor) -> Field:
    dim, start, _, step = (args[place] if len(args) > place else default for place, default in enumerate(SLICE, 1))
    size = args[0].shape[dim]
    first = range(size)[slice(start, None)].start
    return sliced(field, dim % args[0].dim(), first, int(step or 1))


def _select(field: Field, args: Sequence[Any], _output: Tensor) -> Field:
    dim = args[1] % args[0].dim()
    if dim in field.places:
        return UNKNOWN
    return field.placed(lambda place: place - (dim < place))


def _pieces(field: Field, args: Sequence[Any], _output: Tensor) -> Field:
    return UNKNOWN if _dim(args, 2, 0) % args[0].dim() in field.places else field


def _unbind(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    return _select(field, [args[0], _dim(args, 1, 0)], output)


def _unsqueeze(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    dim = args[1] % output.dim()
    return field.placed(lambda place: place + (dim <= place))


def _squeeze(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    return reshaped(field, args[0].shape, output.shape)


def _expand(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    return _broadcast(field, args[0], output)


def _pad(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    return padded(field, args[1], output.dim())


def _resized(how: Interpolation) -> Rule:
    def rule(field: Field, args: Sequence[Any], output: Tensor) -> Field:
        corners = len(args) > 2 and args[2] is True
        given = [arg for arg in args[2:] if not isinstance(arg, bool)]
        scales = given if len(given) == 2 else [None, None]
        return resampled(field, args[0].shape, output.shape, how._replace(corners=corners), scales)

    return rule


def _shuffled(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    return windowed(field, [Window(1, 1 / args[1], 0)] * 2, output.dim())


def _unshuffled(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    return windowed(field, [Window(args[1], args[1], 0)] * 2, output.dim())


def _turned(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    """A roll or a flip: along height or width the units are no longer in order."""
    dims = {dim % output.dim() for dim in args[-1]} if args[-1] is not args[0] else set()
    return field if dims and not dims & set(field.places) else _out_of_order(field)


def _picked(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    """Some of the units along one dimension, by their numbers."""
    dims = [args[1]] if isinstance(args[1], int) else [dim for dim, index in enumerate(args[1]) if index is not None]
    simple = len(dims) == 1 and output.dim() == args[0].dim() and dims[0] % output.dim() not in field.places
    return field if simple else _out_of_order(field)


def _repeated(field: Field, args: Sequence[Any], output: Tensor) -> Field:
    field = field.placed(lambda dim: dim + output.dim() - args[0].dim())
    return field if all(args[1][place] == 1 for place in field.places) else _out_of_order(field)


def _out_of_order(field: Field) -> Field:
    return field if field.whole else UNKNOWN


def _same(field: Field, _args: Sequence[Any], _output: Tensor) -> Field:
    return field


def _dim(args: Sequence[Any], place: int, default: int) -> int:
    return int(args[place]) if len(args) > place else default


SLICE = (0, 0, None, 1)  # dim, start, end, step where they are not given
MEETING = {"cat", "stack", "where", "masked_fill", "lerp"}
WRITING = {"copy_": _copied, "index_put": _put, "index_put_": _put}
FACTORS = {"mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2)}  # where the two stand
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
    "upsample_nearest2d": _resized(Interpolation(0, 0, centred=False)),
    "_upsample_nearest_exact2d": _resized(Interpolation(0, 0, centred=True)),
    "upsample_bilinear2d": _resized(Interpolation(0, 1, centred=True)),
    "upsample_bicubic2d": _resized(Interpolation(-1, 2, centred=True)),
    "pixel_shuffle": _shuffled,
    "pixel_unshuffle": _unshuffled,
    **dict.fromkeys(("roll", "flip"), _turned),
    **dict.fromkeys(("index", "_unsafe_index", "index_select"), _picked),
    "repeat": _repeated,
    **dict.fromkeys(("clone", "_to_copy", "alias", "detach", "contiguous", "native_dropout", "lift_fresh"), _same),
    "channel_shuffle": _same,
}
