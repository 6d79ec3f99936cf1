"""`BatchSpread`: its value in closed form, what each band sees, and where its gradient leads."""

from __future__ import annotations

import pytest
import torch

from monai_retina_gen.losses import BatchSpread


def images(count: int = 8, size: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize(("factor", "wanted"), [(0.5, 0.5), (0.25, 0.75), (1.0, 0.0), (2.0, 0.0)])
def test_it_is_the_missing_share_of_the_deviation(bands: int, factor: float, wanted: float) -> None:
    real = images()
    mean = real.mean(0, keepdim=True)
    term = BatchSpread(weight=3.0, bands=bands).distance(mean + factor * (real - mean), real)
    assert term.item() == pytest.approx(3 * wanted, abs=1e-3)


def test_different_colours_do_not_make_up_for_the_same_vessels() -> None:
    real, term = images(), BatchSpread(weight=1.0, bands=4)
    coloured = real[:1] + 5 * torch.randn(8, 3, 1, 1, generator=torch.Generator().manual_seed(1))
    assert term.distance(coloured, real).item() == pytest.approx(3 / 4, abs=1e-3)  # the coarsest band alone is wide


def test_its_gradient_moves_images_apart() -> None:
    torch.manual_seed(0)
    real, fake = images(), (images()[:1] + 0.01 * torch.randn(8, 3, 32, 32)).requires_grad_()
    term = BatchSpread()
    (gradient,) = torch.autograd.grad(term.distance(fake, real), fake)
    assert term.distance(fake - 100 * gradient, real) < 0.9 * term.distance(fake, real)


def test_bands_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="bands: 0 came"):
        BatchSpread(bands=0)
