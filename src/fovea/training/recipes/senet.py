"""SENet's recipe of 2017."""

from __future__ import annotations

from fovea.training.options import TrainingOptions, options


def senet() -> TrainingOptions:
    """Squeeze-and-excitation networks on ImageNet: batches of 1,024 at a rate of 0.6, a tenth every 30 epochs.

    Hu, Shen and Sun 2017, arXiv:1709.01507, section 5 of the journal's text. Command: fovea train se_resnet50 imagenet
    --recipe paper; -b auto computes a batch in as many parts as memory wants. Not run by us. The paper reports for
    se_resnet50 23.29 % top-1 and 6.62 % top-5 error on ImageNet's validation images (one crop).

    Weight decay 1e-4 is from memory, and everything is decayed as in ResNet's recipe. The released models, which are
    better, had batches of 256 at 0.1, more epochs, rotations and changes of pixels.
    """
    return options(
        epochs=100,
        batch_size=1024,
        lr=0.6,
        momentum=0.9,
        nesterov=False,
        weight_decay=1e-4,
        decay_all=True,
        schedule="steps",
        milestones=(30.0, 60.0, 90.0),
        warmup_epochs=0.0,
        crop="area",
        flip=True,
    )
