"""Behaviour: one published building block per file, each usable alone. Imports torch and fovea.errors, nothing else."""
