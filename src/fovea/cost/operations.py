"""What torch's operations are, and which of them multiply and add: the one table that every count goes by.

A multiply-add is counted where weights or feature maps are contracted: convolutions, linear layers, matrix products.
Normalisation, pooling, activations and sums have none, as in the papers. An operation that stands in no list here is
`unknown` and named by the inspector, never taken for free.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

Kind = Literal[
    "convolution",
    "matrix product",
    "normalisation",
    "pooling",
    "elementwise",
    "reduction",
    "movement",
    "view",
    "creation",
    "unknown",
]

# By the name of the operation, without its overload; what torch itself tags as pointwise or as a view is not listed.
KINDS: dict[str, Kind] = dict.fromkeys(("convolution", "convolution_overrideable", "_convolution"), "convolution")
for _kind, _names in {
    "convolution": "convolution_backward convolution_overrideable_backward",
    "normalisation": (
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training native_batch_norm_backward "
        "_batch_norm_with_update _batch_norm_no_update batch_norm_backward native_layer_norm native_group_norm "
        "native_layer_norm_backward native_group_norm_backward _fused_rms_norm _softmax _log_softmax "
        "_softmax_backward_data _log_softmax_backward_data linalg_vector_norm _weight_norm_interface _safe_softmax"
    ),
    "pooling": (
        "max_pool2d_with_indices max_pool2d_with_indices_backward avg_pool2d avg_pool2d_backward avg_pool3d "
        "avg_pool3d_backward _adaptive_avg_pool2d _adaptive_avg_pool2d_backward adaptive_max_pool2d "
        "adaptive_max_pool2d_backward max_pool3d_with_indices _adaptive_avg_pool3d avg_pool1d"
    ),
    "reduction": (
        "sum mean amax amin max min argmax argmin var var_mean std prod any all norm cumsum topk sort logsumexp "
        "nll_loss_forward nll_loss_backward nll_loss2d_forward nll_loss2d_backward equal _cdist_forward"
    ),
    "movement": (
        "cat stack copy_ clone contiguous _to_copy constant_pad_nd reflection_pad2d replication_pad2d index gather "
        "scatter index_select index_put index_put_ _unsafe_index_put roll flip repeat embedding im2col col2im "
        "upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa "
        "grid_sampler_2d channel_shuffle pixel_shuffle pixel_unshuffle _unsafe_view slice_backward select_backward "
        "slice_scatter select_scatter embedding_dense_backward as_strided_scatter reflection_pad2d_backward "
        "replication_pad2d_backward upsample_nearest2d_backward upsample_bilinear2d_backward tril triu _reshape_copy "
        "_unsafe_index index_add index_add_ meshgrid native_dropout native_dropout_backward masked_fill "
        "unfold_backward unsafe_split unsafe_split_with_sizes _upsample_nearest_exact2d "
        "bernoulli_ normal_ uniform_ _fused_sgd_ _fused_adam_ _fused_adamw_"
    ),
    "view": (
        "_reshape_alias lift_fresh set_ resize_ detach_ _local_scalar_dense sym_size is_same_size "
        "_record_function_enter_new _record_function_exit as_strided_ _assert_async"
    ),
    "matrix product": "mv dot vdot addmv",
    "elementwise": "hardtanh_backward hardswish hardswish_ hardswish_backward floor_divide",
    "creation": (
        "empty empty_like empty_strided zeros zeros_like ones ones_like full full_like arange linspace scalar_tensor "
        "new_empty new_zeros new_ones new_full new_empty_strided eye rand rand_like randn randn_like randint randperm "
        "fill_ zero_ fill tril_indices triu_indices bernoulli"
    ),
}.items():
    KINDS.update(dict.fromkeys(_names.split(), _kind))  # type: ignore[arg-type]  # the keys are kinds


# Attention in one step has other names on other devices; torch counts it by one.
SAME: dict[str, Any] = {
    name + backward: getattr(torch.ops.aten, f"_scaled_dot_product_flash_attention{backward}")
    for name in ("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_fused_attention_overrideable")
    for backward in ("", "_backward")
}
SUMMED_OVER = {"mv": 0, "dot": 0, "vdot": 0, "addmv": 1}  # products with a vector: each number of this argument once


@functools.cache
def name_of(operation: Any) -> str:
    """The operation's name as the documentation has it, without namespace and overload: convolution, add."""
    return str(operation._schema.name).partition("::")[2]


@functools.cache
def kind_of(operation: Any) -> Kind:
    """What sort of work an operation of torch's is."""
    name = name_of(operation)
    if name in KINDS:
        return KINDS[name]
    if name in SAME or operation._overloadpacket in flop_registry:
        return "matrix product"
    if operation.is_view:
        return "view"
    if torch.Tag.pointwise in operation.tags:
        return "elementwise"
    if torch.Tag.reduction in operation.tags:
        return "reduction"
    return "unknown"


def multiply_adds(operation: Any, args: Any, kwargs: Any, output: Any) -> int:
    """Multiply-adds of one call, for the whole batch; 0 where nothing is contracted.

    Forward products are counted by `torch.utils.flop_counter`. The gradients of a convolution are counted here: each
    of the two costs what the forward pass does, also with groups, where the counter has it too high.

    Args:
        operation: The operation that was called.
        args: What it was called with.
        kwargs: What it was called with by name.
        output: What it gave.
    """
    name = name_of(operation)
    if name == "convolution_backward":
        return _convolution_backward(args)
    if name in SUMMED_OVER:
        return int(args[SUMMED_OVER[name]].numel())
    count = flop_registry.get(SAME.get(name, operation._overloadpacket))
    return 0 if count is None else int(count(*args, **kwargs, out_val=output)) // 2


def _convolution_backward(args: Any) -> int:
    gradient, maps, weight, *_ = args
    transposed, wanted = args[7], args[10]
    per_position: int = weight[0].numel()
    positions: Tensor = maps if transposed else gradient
    return positions.numel() * per_position * (int(wanted[0]) + int(wanted[1]))
