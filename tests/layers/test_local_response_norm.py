"""Local response normalisation, in both readings of alpha."""

import pytest
import torch

from fovea.errors import ShapeError, UsageError
from fovea.layers.local_response_norm import LocalResponseNorm

MAPS = 30 * torch.randn(2, 12, 3, 4, generator=torch.Generator().manual_seed(0))


def by_the_formula(maps, *, size, alpha, beta, k):
    """The paper's sum, map by map: from max(0, i - n/2) to min(N - 1, i + n/2)."""
    out, last = torch.empty_like(maps), maps.shape[1] - 1
    for i in range(last + 1):
        window = maps[:, max(0, i - size // 2) : min(last, i + size // 2) + 1]
        out[:, i] = maps[:, i] / (k + alpha * window.square().sum(dim=1)) ** beta
    return out


@pytest.mark.parametrize("size", [1, 3, 5, 25])
def test_the_papers_formula_sums_neighbouring_maps(size):
    layer = LocalResponseNorm(size, alpha=1e-2, beta=0.75, k=2.0)
    assert torch.allclose(layer(MAPS), by_the_formula(MAPS, size=size, alpha=1e-2, beta=0.75, k=2.0), rtol=1e-5)


@pytest.mark.parametrize(("size", "k"), [(1, 1.0), (3, 2.0), (5, 2.0), (5, 1.0)])
def test_scaled_as_code_does_it_equals_torch(size, k):
    layer = LocalResponseNorm(size, alpha=1e-2, beta=0.75, k=k, scaling="code")
    assert torch.allclose(layer(MAPS), torch.nn.LocalResponseNorm(size, 1e-2, 0.75, k)(MAPS), rtol=1e-5)


def test_the_two_readings_differ_by_the_size():
    formula = LocalResponseNorm(5, alpha=1e-4)
    code = LocalResponseNorm(5, alpha=5e-4, scaling="code")
    assert torch.allclose(formula(MAPS), code(MAPS), rtol=1e-6)
    assert not torch.allclose(formula(MAPS), LocalResponseNorm(5, alpha=1e-4, scaling="code")(MAPS), rtol=1e-3)


def test_the_papers_constants_are_the_defaults():
    layer = LocalResponseNorm()
    assert (layer.size, layer.alpha, layer.beta, layer.k) == (5, 1e-4, 0.75, 2.0)
    assert (layer.scaling, layer.groups) == ("formula", 1)


def test_towers_do_not_see_each_other():
    both = LocalResponseNorm(5, alpha=1e-2, groups=2)(MAPS)
    alone = LocalResponseNorm(5, alpha=1e-2)
    assert torch.equal(both, torch.cat([alone(MAPS[:, :6]), alone(MAPS[:, 6:])], dim=1))
    assert not torch.allclose(both, alone(MAPS))


def test_the_gradient_is_right():
    maps = MAPS[:1, :, :2, :2].double().requires_grad_()
    assert torch.autograd.gradcheck(LocalResponseNorm(5, alpha=1e-2, groups=2), maps)


@pytest.mark.parametrize("size", [0, 4, -1])
def test_a_size_without_a_middle_is_refused(size):
    with pytest.raises(ShapeError, match=rf"size \(={size}\) must be odd"):
        LocalResponseNorm(size)


def test_impossible_constants_are_refused():
    with pytest.raises(UsageError, match=r"k \(=0.0\) must be above 0"):
        LocalResponseNorm(5, k=0.0)
    with pytest.raises(UsageError, match="must be 'formula' or 'code'"):
        LocalResponseNorm(5, scaling="caffe")
    with pytest.raises(ShapeError, match=r"channels \(=12\) must be divisible by groups \(=5\)"):
        LocalResponseNorm(5, groups=5)(MAPS)
