"""Machine code of our own for training in bf16 on a CPU, made by numba, run on torch's threads."""
