"""How other libraries call the tensors of our networks: one table of rules per family, for each library."""

from __future__ import annotations

import re

from fovea.errors import ModelError

Rules = tuple[tuple[str, str], ...]
"""Pairs of a regular expression on our key and the replacement that gives theirs."""


def theirs(key: str, rules: Rules) -> str:
    """Their key for one of ours: the first rule that matches the whole key wins.

    Args:
        key: A key of our state dict, such as `features.conv1.conv.weight`.
        rules: Their library's table for the network.

    Raises:
        ModelError: no rule matches the key.
    """
    for pattern, replacement in rules:
        match = re.fullmatch(pattern, key)
        if match is not None:
            return match.expand(replacement)
    raise ModelError(f"no rule gives {key} its foreign name; the table has {len(rules)} rules, and needs one for it")
