"""What a table of names is made of."""

Rules = tuple[tuple[str, str], ...]
"""Pairs of a regular expression on our key and the replacement that gives theirs."""
