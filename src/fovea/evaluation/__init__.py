"""Logits to numbers: accuracy with its interval, confusion, and the images a model is most wrong about."""
