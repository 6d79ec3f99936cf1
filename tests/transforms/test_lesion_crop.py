from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_retina_gen.transforms import RandLesionCropd, StackMasksd, UnpackMasksd

KEYS = ["ma", "he", "ex", "se", "od", "vessel"]


def item(*keys: str, size: int = 40) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(len(keys))
    masks = {key: (torch.rand(1, size, size, generator=generator) < 0.02).float() for key in keys}
    return {"image": torch.rand(3, size, size, generator=generator), **masks}


def test_what_is_not_annotated() -> None:
    lesions = UnpackMasksd()(StackMasksd(structures=KEYS)(item("ex", "od")))["label"]
    assert [float(channel.min()) for channel in lesions] == [0, 0, 0, 0, 0, -1]
    assert lesions[0].max() == 0  # annotated for exudates, so known to have no microaneurysms
    vessels = UnpackMasksd()(StackMasksd(structures=KEYS)(item("vessel")))["label"]
    assert [float(channel.min()) for channel in vessels] == [-1, -1, -1, -1, -1, 0]


def test_packing_keeps_bytes_and_soft_masks() -> None:
    original = item("ex")
    original["ex"] = torch.linspace(0, 1, 1600).view(1, 40, 40)
    original["image"] = (original["image"] * 255).round() / 255
    packed = StackMasksd(structures=["ex"])(original)
    assert packed["image"].dtype == packed["label"].dtype == torch.uint8
    unpacked = UnpackMasksd()(packed)
    torch.testing.assert_close(unpacked["image"], original["image"])
    assert (unpacked["label"] - original["ex"]).abs().max() <= 0.5 / 254 + 1e-6


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(1, 40), share=st.floats(0, 1))
def test_crops_are_parts_of_the_photograph(seed: int, size: int, share: float) -> None:
    packed = StackMasksd(structures=KEYS)(item("ma", "vessel"))
    crop = RandLesionCropd(size=size, structures=KEYS, share=share).set_random_state(seed)
    found = crop(packed)
    top, left = crop.set_random_state(seed).randomize(packed["label"])
    assert found["image"].shape == (3, size, size)
    assert found["label"].shape == (6, size, size)
    whole = UnpackMasksd()(packed)
    torch.testing.assert_close(found["label"], whole["label"][:, top : top + size, left : left + size])
    torch.testing.assert_close(found["image"], whole["image"][:, top : top + size, left : left + size])
    if share == 1:
        assert found["label"][0].max() > 0


def test_a_single_lesion_is_always_found_and_never_in_one_place() -> None:
    packed = StackMasksd(structures=KEYS)({**item("ex"), "ex": torch.zeros(1, 40, 40)})
    packed["label"][2, 20, 20] = 254
    crop = RandLesionCropd(size=16, structures=KEYS, share=1.0).set_random_state(0)
    corners = set()
    for _ in range(20):
        found = crop(packed)["label"][2]
        assert found.max() == 1
        corners.add(tuple(found.nonzero()[0].tolist()))
    assert len(corners) > 5, "the lesion is at many places of the crop"


def test_reproducible_picklable_and_checked() -> None:
    packed = StackMasksd(structures=KEYS)(item("he"))
    crop = RandLesionCropd(size=8, structures=KEYS)
    first = [crop.set_random_state(7)(packed)["image"] for _ in range(2)]
    torch.testing.assert_close(*first)
    pickle.loads(pickle.dumps(crop))
    with pytest.raises(ValueError, match="share: 2 came"):
        RandLesionCropd(size=8, structures=KEYS, share=2)
    with pytest.raises(ValueError, match=r"larger than the photograph \(40, 40\)"):
        RandLesionCropd(size=64, structures=KEYS)(packed)
