"""Recipes for a folder of one's own photographs."""

from __future__ import annotations

from fovea.training.options import TrainingOptions, options


def photos() -> TrainingOptions:
    """A start for a folder of one's own images, from scratch: flips, small shifts and zooms, forty epochs.

    Ours. Command: fovea train NET FOLDER. Not run by us for figures: accuracies depend on the folder. From scratch on a
    few hundred photographs expect little.
    """
    return options(
        epochs=40,
        batch_size=32,
        lr=0.02,
        weight_decay=1e-3,
        warmup_epochs=2.0,
        label_smoothing=0.1,
        shift=3,
        rotate=10.0,
        zoom=0.1,
        flip=True,
    )
