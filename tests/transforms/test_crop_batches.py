from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from monai_retina_gen.transforms import LesionCropBatches, UnpackMasksd

KEYS = ["ma", "od"]


def item(seed: int = 0, size: int = 40, spot: tuple[int, int] | None = (20, 30)) -> dict[str, Tensor]:
    """Noise with one microaneurysm; the disc is not annotated."""
    image = torch.randint(0, 256, (3, size, size), generator=torch.Generator().manual_seed(seed)).byte()
    label = torch.zeros(2, size, size).byte()
    label[1] = 255
    if spot:
        label[0, spot[0] : spot[0] + 2, spot[1] : spot[1] + 2] = 254
    return {"image": image, "label": label}


def batch(items: list[dict[str, Tensor]], **options: Any) -> dict[str, Tensor]:
    settings: dict[str, Any] = {"size": 16, "batch_size": 32, "batches": 1, "structures": KEYS, "augment": False}
    return next(iter(LesionCropBatches(items, **{**settings, **options})))


def windows(whole: Tensor, size: int) -> Tensor:
    """All crops of a photograph, `(number, C, size, size)`."""
    return whole.unfold(1, size, 1).unfold(2, size, 1).flatten(1, 2).transpose(0, 1)


def nearest(crops: Tensor, whole: Tensor) -> Tensor:
    """Largest difference to the most similar crop, for each."""
    every = windows(whole, crops.shape[-1])
    return torch.stack([(every - crop).abs().amax((1, 2, 3)).min() for crop in crops])


def test_plain_crops_are_parts_of_the_photograph_around_its_lesions() -> None:
    one = item()
    found = batch([one], share=1.0)
    whole = UnpackMasksd()(one)
    assert nearest(found["image"], whole["image"]).max() < 1e-3
    both = torch.cat([found["image"], found["label"][:, :1]], 1)
    assert nearest(both, torch.cat([whole["image"], whole["label"][:1]])).max() < 1e-3  # the mask goes with it
    assert (found["label"][:, 0].amax((1, 2)) > 0.99).all()  # each shows the microaneurysm
    assert (found["label"][:, 1] == -1).all()


def test_turned_crops_keep_image_and_mask_together() -> None:
    one = item(spot=(18, 18))
    one["image"][:] = one["label"][:1]  # the image is the mask
    found = batch([one], augment=True, share=1.0, batch_size=64)
    lit = (found["image"] > 0.02).float().mean(1, keepdim=True)
    apart = (lit > 0.5) != (found["label"][:, :1] > 0.05)
    assert apart.float().mean() < 0.02
    assert found["image"].amin() >= 0
    assert found["image"].amax() <= 1


def test_quarter_turns_are_exact() -> None:
    one = item()
    data = LesionCropBatches([one], size=16, batch_size=64, batches=1, structures=KEYS)
    data._other_light = lambda image: image  # type: ignore[method-assign]
    images = next(iter(data))["image"]
    whole = UnpackMasksd()(one)["image"]
    turned = [torch.rot90(w, k, (1, 2)) for w in (whole, whole.flip(2)) for k in range(4)]
    apart = torch.stack([nearest(images, each) for each in turned])
    exact = (apart < 1e-3).any(0)
    assert 0.25 < exact.float().mean() < 0.75  # every second one
    assert ((apart < 1e-3).sum(1) > 0).sum() >= 6  # in all directions


def test_weights_share_and_seeds() -> None:
    items = [item(0), item(1, spot=None)]
    dark = [dict(one, image=torch.full_like(one["image"], 255 * number)) for number, one in enumerate(items)]
    found = batch(dark, weights=[3.0, 1.0], batch_size=400)
    assert float(found["image"].mean()) == pytest.approx(0.25, abs=0.06)
    assert batch([items[1]], share=1.0)["label"][:, 0].amax() == 0  # no lesion to lie around
    anywhere = batch([items[0]], share=0.0, batch_size=200)["label"][:, 0].amax((1, 2))
    assert 0.1 < float((anywhere > 0.5).float().mean()) < 0.9
    assert torch.equal(batch(items, seed=3)["image"], batch(items, seed=3)["image"])
    assert not torch.equal(batch(items, seed=3)["image"], batch(items, seed=4)["image"])
    data = LesionCropBatches(items, size=16, batch_size=2, batches=3, structures=KEYS)
    assert len(data) == len(list(data)) == 3
    assert not torch.equal(next(iter(data))["image"], next(iter(data))["image"])  # other crops in the next epoch


@pytest.mark.parametrize("options", [{"size": 15}, {"size": 42}, {"weights": [1.0, 2.0]}])
def test_bad_arguments(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="want"):
        batch([item()], **options)
