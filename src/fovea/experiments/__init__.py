"""Many runs: seeds, and what they say together."""
