"""`LoadFundus[d]`, `resolve_image_order` and `check_image`, beside MONAI's own `LoadImage`."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import CacheDataset, DataLoader, MetaTensor
from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Transpose

from monai_retina_gen.data import write_image, write_mask
from monai_retina_gen.errors import ImageFileError, ImageValueError
from monai_retina_gen.transforms import (
    LoadFundus,
    LoadFundusD,
    LoadFundusd,
    LoadFundusDict,
    check_image,
    resolve_image_order,
)

IMAGE = torch.randint(0, 256, (3, 12, 20), generator=torch.Generator().manual_seed(0)).float() / 255


@pytest.fixture
def item(tmp_path: Path) -> dict[str, object]:
    write_image(tmp_path / "eye.png", IMAGE)
    write_mask(tmp_path / "ex.png", (IMAGE[:1] > 0.5).float())
    return {"image": str(tmp_path / "eye.png"), "ex": str(tmp_path / "ex.png"), "grade": 3}


def test_array_form_and_metadata(item: dict[str, str]) -> None:
    image = LoadFundus()(item["image"])
    assert isinstance(image, MetaTensor)
    assert torch.equal(image.as_tensor(), IMAGE)
    assert image.meta["image_order"] == "CHW"
    assert image.meta["filename_or_obj"] == item["image"]
    assert image.meta["original_size"] == [12, 20]
    assert torch.equal(LoadFundus()(Path(item["image"])), image)
    assert LoadFundus(mask=True)(item["ex"]).shape == (1, 12, 20)


def test_monai_loads_the_transpose(item: dict[str, str]) -> None:
    theirs = LoadImage(image_only=True, ensure_channel_first=True)(item["image"])
    assert torch.equal(theirs.as_tensor().transpose(1, 2) / 255, IMAGE)
    with pytest.raises(ImageValueError, match=r'"CWH".*"CHW"'):
        resolve_image_order(theirs)
    assert resolve_image_order(theirs, "CWH") == "CWH"


def test_ensure_channel_first_leaves_it_alone(item: dict[str, str]) -> None:
    assert EnsureChannelFirst()(LoadFundus()(item["image"])).shape == (3, 12, 20)


def test_dictionary_form(item: dict[str, str]) -> None:
    loaded = LoadFundusd(keys="image", mask_keys=("ex",))(item)
    assert torch.equal(loaded["image"].as_tensor(), IMAGE)
    assert torch.equal(loaded["ex"].as_tensor(), (IMAGE[:1] > 0.5).float())
    assert loaded["grade"] == 3
    assert isinstance(item["image"], str)  # the datalist is not changed
    assert LoadFundusD is LoadFundusd
    assert LoadFundusDict is LoadFundusd


def test_missing_keys(item: dict[str, str]) -> None:
    with pytest.raises(KeyError, match="se"):
        LoadFundusd(keys="image", mask_keys="se")(item)
    assert "se" not in LoadFundusd(keys="image", mask_keys="se", allow_missing_keys=True)(item)
    with pytest.raises(KeyError, match="picture"):
        LoadFundusd(keys="picture")(item)


def test_sizes_must_agree(item: dict[str, str], tmp_path: Path) -> None:
    write_mask(tmp_path / "ex.png", torch.ones(1, 12, 21))
    with pytest.raises(ImageFileError, match=r"eye\.png .*\(12, 20\).*ex\.png .*\(12, 21\)"):
        LoadFundusd(keys="image", mask_keys="ex")(item)


def test_errors_name_the_file(item: dict[str, str], tmp_path: Path) -> None:
    Path(item["image"]).write_bytes(b"")
    with pytest.raises(ImageFileError, match=r"eye\.png: the file is empty"):
        LoadFundus()(item["image"])
    with pytest.raises(ImageFileError, match="list"):
        LoadFundus()([item["image"]])
    write_image(tmp_path / "eye.png", IMAGE)
    with pytest.raises(ImageFileError, match="max_pixels=10"):
        LoadFundusd(keys="image", max_pixels=10)(item)


@pytest.mark.parametrize("workers", [0, 2])
def test_caching_and_collating(item: dict[str, str], workers: int) -> None:
    transform = pickle.loads(pickle.dumps(Compose([LoadFundusd(keys="image", mask_keys="ex")])))
    dataset = CacheDataset([item, item], transform, progress=False)
    batch = next(iter(DataLoader(dataset, batch_size=2, num_workers=workers)))
    assert batch["image"].shape == (2, 3, 12, 20)
    assert resolve_image_order(batch["image"]) == "CHW"
    assert check_image(batch["image"]) is batch["image"]


# The order of the axes


def test_image_order_argument_and_metadata() -> None:
    assert resolve_image_order(torch.zeros(3, 2, 2), "CHW") == "CHW"
    tagged = MetaTensor(torch.zeros(3, 2, 2), meta={"image_order": "CWH"})
    assert resolve_image_order(tagged) == "CWH"
    with pytest.raises(ImageValueError, match='"CHW" came, but'):
        resolve_image_order(tagged, "CHW")
    with pytest.raises(ImageValueError, match="HWC"):
        resolve_image_order(tagged, "HWC")
    with pytest.raises(ImageValueError, match="XYZ"):
        resolve_image_order(MetaTensor(torch.zeros(3, 2, 2), meta={"image_order": "XYZ"}))
    with pytest.raises(ImageValueError, match="mixes"):
        resolve_image_order(MetaTensor(torch.zeros(2, 3, 2, 2), meta={"image_order": ["CWH", "CHW"]}))


def test_stated_order_survives_monai_transforms() -> None:
    image = MetaTensor(IMAGE, meta={"image_order": "CHW"})
    assert resolve_image_order(image * 0.5) == "CHW"
    # MONAI cannot know what a transposition means: whoever transposes states the new order.
    assert resolve_image_order(Transpose([0, 2, 1])(image)) == "CHW"


# The values


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.bool]),
    value=st.one_of(st.floats(-2, 300), st.just(float("nan")), st.just(float("inf"))),
)
def test_check_image_accepts_exactly_the_convention(shape: list[int], dtype: torch.dtype, value: float) -> None:
    image = torch.full(shape, 0.5).to(dtype)
    if dtype.is_floating_point and image.numel():
        image.view(-1)[-1] = value
    stored = float(image.view(-1)[-1]) if image.numel() else 0.0
    right_shape = len(shape) in (3, 4) and shape[-3] == 3 and 0 not in shape
    if right_shape and dtype.is_floating_point and -1e-4 <= stored <= 1 + 1e-4:
        assert check_image(image) is image
    else:
        with pytest.raises(ImageValueError, match=r"^photo: "):
            check_image(image, "photo")


@pytest.mark.parametrize(
    ("image", "remedy"),
    [
        (torch.full((3, 4, 4), 255.0), "a_min=0, a_max=255, b_min=0, b_max=1"),
        (torch.full((3, 4, 4), 255, dtype=torch.uint8), "a_min=0, a_max=255, b_min=0, b_max=1"),
        (torch.zeros(1, 4, 4), "LoadFundus"),
        (torch.zeros(4, 4, 3), "EnsureChannelFirst"),
        ("eye.png", "LoadFundus"),
    ],
)
def test_check_image_names_the_remedy(image: object, remedy: str) -> None:
    with pytest.raises(ImageValueError, match=remedy):
        check_image(image)


def test_check_image_takes_arrays_and_metatensors() -> None:
    array = np.full((3, 2, 2), 0.5, np.float32)
    assert check_image(array).dtype == torch.float32
    image = MetaTensor(IMAGE, meta={"image_order": "CHW"})
    assert check_image(image) is image
