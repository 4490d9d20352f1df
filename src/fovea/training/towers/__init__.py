"""Model parallelism: a network's two towers on two devices or ranks."""
