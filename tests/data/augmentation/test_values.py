"""Changes of normalised numbers: each image's own, whatever its batch, and by the papers' definitions."""

import numpy as np
import pytest
import torch

from fovea.data.augmentation.normals import normals
from fovea.data.augmentation.values import cutout, erase, pca_noise, principal_components, vary_values
from fovea.data.options import Augmentation
from fovea.data.preprocessing import Preprocessing
from fovea.errors import ShapeError
from fovea.randomness import key, uniforms

KEY = key(0, "augmentation", 0)
SPEC = Preprocessing(image_size=12, resize=12, in_channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
EVERYTHING = Augmentation(pca_noise=0.1, cutout=4, erasing=0.5)
OPTIONS = [Augmentation(pca_noise=0.1), Augmentation(cutout=5), Augmentation(erasing=0.7), EVERYTHING]


def pixels(n: int = 40, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    own = torch.randint(0, 150, (n, channels, 12, 12), generator=generator)
    return (own + torch.randint(0, 100, (n, 1, 12, 12), generator=generator)).to(torch.uint8)


def images(n: int = 40) -> torch.Tensor:
    return SPEC.normalise(pixels(n).contiguous(memory_format=torch.channels_last))


COMPONENTS = principal_components(pixels(), SPEC)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_batch_around_an_image_does_not_matter(options: Augmentation, last: bool) -> None:
    given = images() if last else images().contiguous()
    before = given.clone()
    whole = vary_values(given, np.arange(40), options, KEY, COMPONENTS)
    assert whole.dtype == torch.float32
    assert not torch.equal(whole, given)
    assert torch.equal(given, before)
    for n in (1, 2, 7, 16, 33, 40):
        chosen = np.random.default_rng(n).permutation(40)[:n]
        part = vary_values(given[torch.from_numpy(chosen)], chosen, options, KEY, COMPONENTS)
        assert torch.equal(part, whole[torch.from_numpy(chosen)])


@pytest.mark.parametrize("options", OPTIONS)
def test_seed_epoch_and_index_each_matter(options: Augmentation) -> None:
    first = vary_values(images(), np.arange(40), options, KEY, COMPONENTS)
    for indices, draw_key in ((np.arange(40), KEY + 1), (np.arange(1, 41), KEY)):
        assert not torch.equal(vary_values(images(), indices, options, draw_key, COMPONENTS), first)


def test_switching_one_on_does_not_change_the_others_draws() -> None:
    erased = vary_values(images(), np.arange(40), Augmentation(erasing=0.5), KEY)
    both = vary_values(images(), np.arange(40), Augmentation(erasing=0.5, cutout=3), KEY)
    changed = erased != images()
    assert torch.equal(both[changed], erased[changed])


def test_nothing_asked_for_changes_nothing() -> None:
    given = images()
    assert vary_values(given, np.arange(40), Augmentation(), KEY) is given


def test_normal_numbers_are_normal() -> None:
    found = normals(KEY, np.arange(100_000), draws=2)
    assert np.isfinite(found).all()
    assert np.abs(found.mean(axis=0)).max() < 0.015
    assert np.abs(found.std(axis=0) - 1).max() < 0.01
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.01
    assert abs((np.abs(found) < 1).mean() - 0.6827) < 0.005
    assert np.array_equal(normals(KEY, np.array([7, 3]), draws=2), found[[7, 3]])


def test_a_draw_of_0_is_no_infinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fovea.randomness.uniforms", lambda *_: np.array([[0.0, 1 - 2.0**-53]]))
    found = normals(0, [0], 2)
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 8.4


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_components_are_those_of_the_covariance(channels: int) -> None:
    spec = Preprocessing(image_size=12, resize=12, in_channels=channels, std=(0.2,))
    given = pixels(700, channels)
    found = principal_components(given, spec)
    values = given.permute(1, 0, 2, 3).reshape(channels, -1).numpy() / 255
    covariance = np.atleast_2d(np.cov(values, bias=True))
    assert found.directions @ np.diag(found.variances) @ found.directions.T == pytest.approx(covariance)
    assert found.directions.T @ found.directions == pytest.approx(np.eye(channels))
    assert (np.diff(found.variances) <= 0).all()
    assert (found.directions[np.abs(found.directions).argmax(axis=0), np.arange(channels)] > 0).all()
    assert np.array_equal(found.shifts(), found.directions * found.variances / 0.2)


def test_colour_noise_is_the_papers() -> None:
    """[p1 p2 p3] [a1 l1, a2 l2, a3 l3]^T is added to each pixel over 255; the network's are divided by std."""
    indices = np.arange(40)
    found = pca_noise(images(), indices, 0.1, KEY, COMPONENTS)
    alphas = 0.1 * normals(KEY, indices, draws=3)
    for place in range(40):
        added = COMPONENTS.directions @ (alphas[place] * COMPONENTS.variances) / np.array(SPEC.std)
        difference = (found[place] - images()[place]).numpy()
        assert difference == pytest.approx(np.broadcast_to(added[:, None, None], (3, 12, 12)), abs=1e-6)


def test_colour_noise_varies_as_the_components_do() -> None:
    many = np.arange(5000)
    added = pca_noise(torch.zeros(5000, 3, 1, 1), many, 0.1, KEY, COMPONENTS)[:, :, 0, 0].numpy() * SPEC.std
    along = added @ COMPONENTS.directions
    assert along.std(axis=0) == pytest.approx(0.1 * COMPONENTS.variances, rel=0.04)


def test_colour_noise_needs_components_of_as_many_channels() -> None:
    with pytest.raises(ShapeError, match="got none"):
        vary_values(images(), np.arange(40), Augmentation(pca_noise=0.1), KEY)
    with pytest.raises(ShapeError, match="1 channels, but got those of 3"):
        pca_noise(torch.zeros(2, 1, 4, 4), np.arange(2), 0.1, KEY, COMPONENTS)


@pytest.mark.parametrize("side", [1, 4, 5, 30])
def test_cutout_equals_the_plain_definition(side: int) -> None:
    given = torch.rand(50, 3, 9, 9, generator=torch.Generator().manual_seed(0)) + 0.1
    found = cutout(given, np.arange(50), side, KEY)
    for place, draws in enumerate(uniforms(KEY, np.arange(50), draws=2)):
        expected = given[place].clone()
        down, right = (int(draw * 9) - side // 2 for draw in draws)
        expected[:, max(0, down) : max(0, down + side), max(0, right) : max(0, right + side)] = 0
        assert torch.equal(found[place], expected)


def test_cutout_centres_lie_anywhere() -> None:
    found = cutout(torch.ones(4000, 1, 8, 8), np.arange(4000), 1, KEY) == 0
    assert (found.sum((1, 2, 3)) == 1).all()
    counts = found.sum((0, 1))
    assert counts.min() > 30
    assert counts.max() < 100


def erased(n: int, share: float, size: int = 40) -> tuple[np.ndarray, ...]:
    """Which images were erased, and their rectangles' heights, widths, tops and lefts."""
    changed = erase(torch.zeros(n, 1, size, size), np.arange(n), share, KEY)[:, 0].numpy() != 0
    rows, columns = changed.any(2), changed.any(1)
    assert (changed == rows[:, :, None] & columns[:, None, :]).all()  # rectangles
    return changed.any((1, 2)), rows.sum(1), columns.sum(1), rows.argmax(1), columns.argmax(1)


def test_erased_rectangles_are_those_of_the_paper() -> None:
    chosen, heights, widths, tops, lefts = (each for each in erased(3000, 0.6))
    assert abs(chosen.mean() - 0.6) < 0.03
    heights, widths, tops, lefts = (each[chosen] for each in (heights, widths, tops, lefts))
    shares, aspects = heights * widths / 1600, np.log(heights / widths)
    assert shares.min() > 0.015
    assert shares.max() < 0.345
    assert abs(shares.mean() - 0.17) < 0.015
    assert np.abs(aspects).max() < np.log(1 / 0.3) + 0.25
    assert abs(aspects.mean()) < 0.05
    for first, lengths in ((tops, heights), (lefts, widths)):
        assert abs((first / (40 - lengths)).mean() - 0.5) < 0.03


def test_erasing_puts_normal_noise_into_every_channel() -> None:
    given = torch.full((500, 3, 20, 20), 9.0)
    found = erase(given, np.arange(500), 1.0, KEY)
    changed = found != 9.0
    assert (changed.all(1) == changed.any(1)).all()
    noise = found[changed].numpy()
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    assert len(np.unique(noise)) > 0.99 * len(noise)


def test_erasing_none_or_all() -> None:
    given = images()
    assert torch.equal(erase(given, np.arange(40), 0.0, KEY), given)
    assert erased(500, 1.0)[0].mean() > 0.99


@pytest.mark.parametrize("channels", [1, 3])
def test_the_smallest_images_can_be_varied(channels: int) -> None:
    given = torch.ones(5, channels, 1, 1)
    options = Augmentation(cutout=1, erasing=1.0)
    assert vary_values(given, np.arange(5), options, KEY).shape == given.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("options", OPTIONS)
def test_a_gpu_gives_the_same(options: Augmentation) -> None:
    there = vary_values(images().cuda(), np.arange(40), options, KEY, COMPONENTS)
    assert torch.equal(there.cpu(), vary_values(images(), np.arange(40), options, KEY, COMPONENTS))


def test_no_global_generator_is_touched() -> None:
    torch_before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    vary_values(images(), np.arange(40), EVERYTHING, KEY, COMPONENTS)
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
