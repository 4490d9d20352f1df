"""Recipes of the book Dive into Deep Learning, for Fashion-MNIST."""

from __future__ import annotations

from fovea.training.options import TrainingOptions, options


def lenet5_book() -> TrainingOptions:
    """The book's LeNet on Fashion-MNIST: ten epochs of plain gradient descent at 0.1.

    Zhang et al. 2021, Dive into Deep Learning, arXiv:2106.11342, chapter on LeNet (from memory). Command: fovea train
    lenet5_book fashion_mnist --recipe paper. Not run by us; the book shows curves alone.

    Batches of 128, no momentum, no weight decay, no augmentation, pixels of 0 to 1 as they are. Sigmoids and Xavier's
    start come from the network.
    """
    return options(
        epochs=10,
        batch_size=128,
        lr=0.1,
        momentum=0.0,
        nesterov=False,
        weight_decay=0.0,
        schedule="constant",
        warmup_epochs=0.0,
        mean=(0.0,),
        std=(1.0,),
    )


def alexnet_book() -> TrainingOptions:
    """The book's AlexNet on Fashion-MNIST enlarged to 224 pixels: ten epochs at 0.01.

    Zhang et al. 2021, Dive into Deep Learning, arXiv:2106.11342, chapter on AlexNet (from memory). Command: fovea train
    alexnet_book fashion_mnist --recipe paper. Not run by us; the book shows curves alone.

    As lenet5_book otherwise. Dropout and Xavier's start come from the network, which has one channel.
    """
    return lenet5_book().but(lr=0.01)


def vgg11_book() -> TrainingOptions:
    """The book's VGG-11 on Fashion-MNIST enlarged to 224 pixels: ten epochs at 0.05.

    Zhang et al. 2021, Dive into Deep Learning, arXiv:2106.11342, chapter on VGG (from memory). Command: fovea train
    vgg11_book_ratio_4 fashion_mnist --recipe paper, which has a quarter of the channels, as the book trains it. Not run
    by us; the book shows curves alone.

    As lenet5_book otherwise. Dropout and Xavier's start come from the network, which has one channel.
    """
    return lenet5_book().but(lr=0.05)
