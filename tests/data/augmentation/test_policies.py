"""Distortions one by one against torchvision's, and the policies that draw from them."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from fovea.data.augmentation import autoaugment as auto
from fovea.data.augmentation import policies
from fovea.data.augmentation.colour import GEOMETRIC, POINTWISE, apply, photometric
from fovea.data.augmentation.policies import DRAWS, distort, randaugment, trivialaugment
from fovea.data.augmentation.ranges import BINS, MODERATE, WIDE, magnitude
from fovea.data.options import Augmentation
from fovea.errors import ShapeError
from fovea.randomness import key, uniforms

THEIRS = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "colour": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterise": "Posterize",
    "solarise": "Solarize",
    "autocontrast": "AutoContrast",
    "equalise": "Equalize",
    "invert": "Invert",
}
UNIFORMS = uniforms(key(0, "distortion", 0), np.arange(3000), draws=DRAWS)
PHOTO = np.random.default_rng(0).integers(30, 220, (6, 7, 3)).astype(np.uint8)
COLOUR = Image.fromarray(PHOTO).resize((41, 32), Image.Resampling.BICUBIC)
GREY = COLOUR.convert("L")
SQUARE = COLOUR.resize((32, 32))
ALL = [Augmentation(policy=policy) for policy in ("randaugment", "trivialaugment", "autoaugment")]
ALL += [Augmentation(photometric=0.5), Augmentation(policy="randaugment", policy_operations=16, photometric=1.0)]


def strengths(name: str) -> list[float]:
    limits = [table[name] for table in (auto.LIMITS, WIDE) if name in table]
    found = {
        magnitude(each, strength, size=(41, 32), negative=negative)
        for each in limits
        for strength in np.linspace(0, 1, 11).tolist()
        for negative in (False, True)
    }
    return sorted(found)


@pytest.mark.parametrize("fill", [0, 128])
@pytest.mark.parametrize("image", [COLOUR, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("name", [*GEOMETRIC, *POINTWISE])
def test_an_operation_equals_torchvisions(name: str, image: Image.Image, fill: int) -> None:
    theirs = pytest.importorskip("torchvision.transforms.autoaugment")
    nearest = theirs.InterpolationMode.NEAREST
    for size in strengths(name):
        expected = theirs._apply_op(image, THEIRS[name], size, interpolation=nearest, fill=[float(fill)])
        found = apply(image, name, size, fill)
        assert found.mode == image.mode
        assert np.array_equal(np.asarray(found), np.asarray(expected)), (name, size)


@pytest.mark.parametrize(("table", "policy"), [(MODERATE, "RandAugment"), (WIDE, "TrivialAugmentWide")])
def test_the_ranges_are_torchvisions(table: dict, policy: str) -> None:
    theirs = pytest.importorskip("torchvision.transforms.autoaugment")
    sizes = ((32, 41),) if policy == "RandAugment" else ()
    space = getattr(theirs, policy)()._augmentation_space(31, *sizes)
    assert [THEIRS[name] for name in table] == list(space)
    for name, limits in table.items():
        magnitudes, signed = space[THEIRS[name]]
        found = [magnitude(limits, step / (BINS - 1), size=(41, 32)) for step in range(BINS)]
        assert limits.signed == signed
        assert found == pytest.approx(magnitudes.expand(31).tolist(), abs=1e-4)
        if signed:
            assert magnitude(limits, 0.5, size=(41, 32), negative=True) == -found[15]


@pytest.mark.parametrize("name", list(auto.POLICIES))
def test_the_found_policies_are_torchvisions(name: str) -> None:
    theirs = pytest.importorskip("torchvision.transforms.autoaugment")
    there = theirs.AutoAugment(getattr(theirs.AutoAugmentPolicy, name.upper()))
    assert len(auto.POLICIES[name]) == 25
    ours = tuple(tuple((THEIRS[o], p, s) for o, p, s in pair) for pair in auto.POLICIES[name])
    assert ours == tuple(tuple((o, p, s or 0) for o, p, s in pair) for pair in there.policies)
    space = there._augmentation_space(10, (32, 41))
    for operation, limits in auto.LIMITS.items():
        if operation != "identity":
            found = [magnitude(limits, step / auto.STRONGEST, size=(41, 32)) for step in range(10)]
            assert found == pytest.approx(space[THEIRS[operation]][0].expand(10).tolist(), abs=1e-4)


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """The operations that were applied, in their order, with their magnitudes."""
    seen: list[tuple[str, float]] = []

    def record(image: Image.Image, operation: str, magnitude: float = 0.0, fill: int = 0) -> Image.Image:
        seen.append((operation, magnitude))
        return apply(image, operation, magnitude, fill)

    monkeypatch.setattr(policies, "apply", record)
    monkeypatch.setattr(auto, "apply", record)
    return seen


def test_randaugment_takes_each_operation_equally_often_at_one_strength(applied: list[tuple[str, float]]) -> None:
    for draws in UNIFORMS[:2000]:
        randaugment(SQUARE, 10, draws[:6].reshape(3, 2))
    assert len(applied) == 6000
    counts = Counter(name for name, _ in applied)
    assert set(counts) == set(MODERATE)
    assert max(abs(count - 6000 / 14) for count in counts.values()) < 80
    assert {size for name, size in applied if name == "rotate"} == {-10.0, 10.0}
    assert {size for name, size in applied if name == "posterise"} == {7.0}
    negative = [size < 0 for name, size in applied if MODERATE[name].signed]
    assert abs(np.mean(negative) - 0.5) < 0.03


def test_strength_0_is_almost_nothing_and_the_greatest_is_the_range(applied: list[tuple[str, float]]) -> None:
    for strength in (0, 30):
        for draws in UNIFORMS[:200]:
            randaugment(SQUARE, strength, draws[:4].reshape(2, 2))
        sizes = {name: abs(size) for name, size in applied}
        expected = {name: limits.strongest if strength else limits.weakest for name, limits in MODERATE.items()}
        for name in MODERATE:
            unit = 32 if name.startswith("translate") else 1
            assert sizes[name] == pytest.approx(expected[name] * unit)
        applied.clear()


def test_trivialaugment_takes_one_operation_at_any_of_31_strengths(applied: list[tuple[str, float]]) -> None:
    for draws in UNIFORMS:
        trivialaugment(SQUARE, draws[:3])
    assert len(applied) == len(UNIFORMS)
    counts = Counter(name for name, _ in applied)
    assert max(abs(count - 3000 / 14) for count in counts.values()) < 60
    found = {round(abs(size) / 4.5) for name, size in applied if name == "rotate"}
    assert found == set(range(31))


def test_autoaugment_does_each_half_with_its_probability(applied: list[tuple[str, float]]) -> None:
    for draws in UNIFORMS:
        auto.autoaugment(SQUARE, draws[:5])
    expected: Counter[str] = Counter()
    for pair in auto.CIFAR10:
        for name, probability, _ in pair:
            expected[name] += probability * len(UNIFORMS) / 25
    counts = Counter(name for name, _ in applied)
    for name, often in expected.items():
        assert abs(counts[name] - often) < 5 * np.sqrt(often) + 1, name
    assert counts["shear_x"] == 0  # not in CIFAR-10's


def test_autoaugment_chooses_its_policy_by_size(applied: list[tuple[str, float]]) -> None:
    for side, policy in ((64, auto.CIFAR10), (65, auto.IMAGENET)):
        for draws in UNIFORMS[:500]:
            auto.autoaugment(SQUARE.resize((side, side)), draws[:5])
        known = {name for pair in policy for name, probability, _ in pair if probability}
        assert {name for name, _ in applied} == known
        applied.clear()
    for draws in UNIFORMS[:500]:
        auto.autoaugment(SQUARE, draws[:5], "svhn")
    assert "shear_x" in dict(applied)


def test_photometric_factors_and_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    from fovea.data.augmentation import colour

    seen: list[tuple[str, float]] = []
    monkeypatch.setattr(colour, "apply", lambda image, name, change: seen.append((name, change)) or image)
    for draws in UNIFORMS[:, policies.POLICY_DRAWS :]:
        photometric(SQUARE, 0.5, draws)
    orders = Counter(tuple(name for name, _ in seen[k : k + 3]) for k in range(0, len(seen), 3))
    assert len(orders) == 6
    assert max(abs(count - 500) for count in orders.values()) < 100
    for name in colour.LIGHT:
        changes = np.array([change for each, change in seen if each == name])
        assert -0.5 <= changes.min() < -0.49
        assert 0.49 < changes.max() < 0.5
        assert abs(changes.mean()) < 0.02


def test_photometric_by_hand() -> None:
    """Order 0: brightness by 1.2, then contrast by 0.8, then saturation by 1."""
    levels = np.array([[[100, 50, 150]] * 4] * 4, np.uint8)
    found = np.asarray(photometric(Image.fromarray(levels), 0.4, np.array([0.0, 0.75, 0.25, 0.5])))
    bright = np.array([120, 60, 180])
    grey = round(float(bright @ [0.299, 0.587, 0.114]))
    assert np.abs(found[0, 0] - (grey + 0.8 * (bright - grey))).max() <= 1


@pytest.mark.parametrize("augmentation", ALL)
@pytest.mark.parametrize("image", [SQUARE, SQUARE.convert("L")], ids=["colour", "grey"])
def test_distorted_images_keep_mode_and_size_and_depend_on_their_draws_alone(
    image: Image.Image, augmentation: Augmentation
) -> None:
    before = np.asarray(image).copy()
    found = [np.asarray(distort(image, augmentation, draws)) for draws in UNIFORMS[:60]]
    again = [np.asarray(distort(image, augmentation, draws)) for draws in UNIFORMS[:60]]
    for one, other in zip(found, again, strict=True):
        assert one.shape == before.shape
        assert one.dtype == np.uint8
        assert np.array_equal(one, other)
    assert len({each.tobytes() for each in found}) > 15
    assert np.array_equal(np.asarray(image), before)


def test_saturation_leaves_grey_alone() -> None:
    for change in (-0.9, 0.3, 0.9):
        assert np.array_equal(np.asarray(apply(GREY, "colour", change)), np.asarray(GREY))


def test_without_a_policy_nothing_changes() -> None:
    assert distort(SQUARE, Augmentation(), UNIFORMS[0]) is SQUARE


def test_switching_the_photometric_change_on_does_not_change_the_policys_draws(
    applied: list[tuple[str, float]],
) -> None:
    distort(SQUARE, Augmentation(policy="randaugment"), UNIFORMS[5])
    alone = list(applied)
    applied.clear()
    distort(SQUARE, Augmentation(policy="randaugment", photometric=0.5), UNIFORMS[5])
    assert applied == alone


def test_other_modes_are_refused() -> None:
    with pytest.raises(ShapeError, match="mode RGBA"):
        distort(SQUARE.convert("RGBA"), ALL[0], UNIFORMS[0])
