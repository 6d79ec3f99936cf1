"""Smooth phantoms drawn by a generator of photographs: factors, mirroring, colour, and the store."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_retina_gen.data.phantom.smooth import FACTORS
from monai_retina_gen.generators import RENDERED_FACTORS, DRGANGenerator, PhantomGenerator, RenderedEyeGenerator
from monai_retina_gen.generators.phantom_generator import COLOUR
from monai_retina_gen.networks import DRGAN

SIZE = 32


@pytest.fixture(scope="module")
def renderer() -> DRGANGenerator:
    torch.manual_seed(0)
    return DRGANGenerator(DRGAN(base_width=4, residual_blocks=1, grading_vectors=False).eval(), image_size=64)


@pytest.fixture
def teacher(renderer: DRGANGenerator) -> RenderedEyeGenerator:
    return RenderedEyeGenerator(renderer, image_size=SIZE)


def factors(**values: float) -> torch.Tensor:
    return torch.tensor([[{"side": -1.0, **values}.get(name, 0.0) for name in RENDERED_FACTORS]])


def test_lesions_follow_latent_and_grade_as_phantoms_do(teacher: RenderedEyeGenerator) -> None:
    latents, grades = teacher.latents([1, 2, 3]), torch.tensor([0, 1, 4])
    found = teacher.factors(latents, grades)
    plain = PhantomGenerator(image_size=SIZE).factors(latents, grades)
    torch.testing.assert_close(found[:, : len(FACTORS)], plain)
    assert set(found[:, RENDERED_FACTORS.index("side")].tolist()) <= {-1.0, 1.0}


@pytest.mark.parametrize("lesion", ["ma", "he", "ex", "se"])
def test_more_of_a_lesion_is_more_of_its_mask_alone(teacher: RenderedEyeGenerator, lesion: str) -> None:
    made = [teacher.draw(factors(**{lesion: amount}))[1] for amount in (0.0, 0.5, 1.0)]
    areas = [float(masks[lesion].sum()) for masks in made]
    assert areas[0] == 0 < areas[1] < areas[2]
    for name in ("od", "vessel", "fov"):
        torch.testing.assert_close(made[0][name], made[2][name])
    assert bool((made[2][lesion] <= made[2]["sites"] + 1e-5).all())


def test_the_other_side_is_the_mirror_image(teacher: RenderedEyeGenerator) -> None:
    (left, left_masks), (right, right_masks) = (teacher.draw(factors(side=side, ex=0.7)) for side in (-1.0, 1.0))
    torch.testing.assert_close(left.flip(-1), right)
    torch.testing.assert_close(left_masks["ex"].flip(-1), right_masks["ex"])


def test_colours_are_those_of_photographs(teacher: RenderedEyeGenerator) -> None:
    image, masks = teacher.draw(factors())
    mean = (image * masks["fov"]).sum((0, 2, 3)) / masks["fov"].sum()
    torch.testing.assert_close(mean, torch.tensor(COLOUR), atol=0.05, rtol=0)
    brighter, _ = teacher.draw(factors(brightness=0.5))
    assert float(brighter.mean()) > 1.1 * float(image.mean())
    lit, _ = teacher.draw(factors(light=0.5))  # brighter on the right
    assert float((lit - image)[..., SIZE // 2 :].mean()) > 0 > float((lit - image)[..., : SIZE // 2].mean())


def test_spots_cover_about_what_the_discs_did(teacher: RenderedEyeGenerator) -> None:
    """Scattered lesions lie where the phantoms' discs lie, and are no larger."""
    amount = dict.fromkeys(("he", "ex", "se"), 1.0)
    scattered = teacher.draw(factors(**amount))[1]
    plain = PhantomGenerator(image_size=SIZE).draw(factors(**amount)[:, : len(FACTORS)])[1]
    for name in amount:
        overlap = (scattered[name] * plain[name]).sum() / scattered[name].sum()
        assert float(overlap) > 0.6
        assert 0.2 < float(scattered[name].sum() / plain[name].sum()) < 1.2


def test_what_was_drawn_is_drawn_once(
    renderer: DRGANGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = RenderedEyeGenerator(renderer, image_size=SIZE, store=tmp_path / "store")
    first = stored.sample([3, 4], seeds=[1, 2])
    fresh = RenderedEyeGenerator(renderer, image_size=SIZE).sample([3, 4], seeds=[1, 2])
    torch.testing.assert_close(first.image, fresh.image, atol=0.5 / 255 + 1e-6, rtol=0)

    def fail(*args: object) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(renderer, "images", fail)
    again = RenderedEyeGenerator(renderer, image_size=SIZE, store=tmp_path / "store").sample([3, 4], seeds=[1, 2])
    assert torch.equal(first.image, again.image)
    assert len(list((tmp_path / "store").iterdir())) == 2


def test_masks_cost_no_rendering(teacher: RenderedEyeGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = factors(ex=0.4, side=1.0)
    drawn = teacher.draw(wanted)[1]
    monkeypatch.setattr(teacher.renderer, "images", None)
    for name, mask in teacher.draw_masks(wanted).items():
        torch.testing.assert_close(mask, drawn[name])


def test_too_few_entries(renderer: DRGANGenerator) -> None:
    with pytest.raises(ValueError, match="z_dim is 12: the renderings have 13 factors"):
        RenderedEyeGenerator(renderer, z_dim=12)
