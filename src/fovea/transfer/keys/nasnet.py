"""NASNet-A elsewhere: the tensors of timm's nasnetalarge are those of nasnet_a_large, one for one.

Its logits are not: at stride 2 its mean pooling counts the zeros that SAME padding adds, which TensorFlow's, and so the
published network's, leaves out of the mean. With that mended in theirs both agree, as a test shows; unmended they
differ at the borders. So the rules serve to bring its weights in, and the network is not listed as a peer. torchvision
has no NASNet, and neither library has AmoebaNet.
"""

from __future__ import annotations

from fovea.transfer.keys.rules import Rules

# Ours and theirs: the cells, each with one group, its number ...
CELLS: Rules = (
    (r"stem(\d)", r"cell_stem_\1"),
    (r"normal(\d+)", r"cell_\1"),
    (r"reduction(\d)", r"reduction_cell_\1"),
)
# ... and what is in them, whose groups count on from there.
PARTS: Rules = (
    (r"current\.conv\.weight", r"conv_1x1.conv.weight"),
    (r"current\.norm\.(\w+)", r"conv_1x1.bn.\2"),
    (r"previous\.conv\.weight", r"conv_prev_1x1.conv.weight"),
    (r"previous\.norm\.(\w+)", r"conv_prev_1x1.bn.\2"),
    (r"previous\.1\.first\.weight", r"path_1.conv.weight"),
    (r"previous\.1\.second\.weight", r"path_2.conv.weight"),
    (r"previous\.1\.norm\.(\w+)", r"final_path_bn.\2"),
    (r"pairs\.(\d)\.(\w+)\.first\.(\w+wise)\.weight", r"comb_iter_\2_\3.separable_1.\4_conv2d.weight"),
    (r"pairs\.(\d)\.(\w+)\.first\.norm\.(\w+)", r"comb_iter_\2_\3.bn_sep_1.\4"),
    (r"pairs\.(\d)\.(\w+)\.second\.(\w+wise)\.weight", r"comb_iter_\2_\3.separable_2.\4_conv2d.weight"),
    (r"pairs\.(\d)\.(\w+)\.second\.norm\.(\w+)", r"comb_iter_\2_\3.bn_sep_2.\4"),
)
RULES: Rules = (
    (r"features\.stem_conv\.conv\.weight", r"conv0.conv.weight"),
    (r"features\.stem_conv\.norm\.(\w+)", r"conv0.bn.\1"),
    *((rf"features\.{cell}\.{part}", rf"{their}.{theirs}") for cell, their in CELLS for part, theirs in PARTS),
    (r"head\.output\.(\w+)", r"last_linear.\1"),
)

TORCHVISION: dict[str, Rules] = {}
TIMM: dict[str, Rules] = {"nasnet_a_large": RULES}
PEERS: dict[str, dict[str, str]] = {"torchvision": {}, "timm": {}}
