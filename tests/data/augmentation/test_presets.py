"""Presets by their papers' names."""

import subprocess
import sys

import pytest

from fovea.data.augmentation.presets import PRESETS, preset
from fovea.data.options import Augmentation
from fovea.errors import UsageError

NAMES = (
    "alexnet autoaugment cifar cifar_reflect cutmix cutout howard inception mixup randaugment resnet trivialaugment vgg"
)


def test_the_names() -> None:
    assert " ".join(sorted(PRESETS)) == NAMES


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_is_an_augmentation_with_its_paper(name: str) -> None:
    assert isinstance(preset(name), Augmentation)
    assert preset(name) != Augmentation()
    assert "Source: " in (PRESETS[name].__doc__ or "")


def test_the_papers_numbers() -> None:
    assert preset("alexnet") == Augmentation(crop="random", sides=(256, 256), flip=True, pca_noise=0.1)
    assert preset("vgg").sides == (256, 512)
    assert preset("resnet").sides == (256, 480)
    assert preset("cifar") == Augmentation(shift=4, flip=True)
    assert preset("cifar_reflect").border == "reflect"
    assert preset("cutout").cutout == 16
    assert preset("mixup").mixup == 0.2
    assert preset("cutmix").cutmix == 1.0


def test_an_unknown_name_is_answered_with_a_close_one() -> None:
    with pytest.raises(UsageError, match=r"unknown augmentation 'randaug'.* Did you mean randaugment"):
        preset("randaug")


def test_presets_come_without_torch() -> None:
    code = (
        "import sys; import fovea.data.augmentation.presets; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
