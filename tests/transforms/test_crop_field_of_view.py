"""Finding the retina's circle, cropping to it and putting it back.

The oracle is construction: photographs and phantoms pasted where the test chose, circles by an independent fit
(`scipy.optimize.least_squares`) to the field-of-view masks of the shared photographs.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import CacheDataset, DataLoader, MetaTensor, decollate_batch
from monai.transforms import Compose, Flipd, Invertd, Lambdad, LoadImaged, ScaleIntensityRanged
from scipy.optimize import least_squares

from monai_retina_gen.data import find_field_of_view, phantom_fundus, read_mask, write_image, write_mask
from monai_retina_gen.data.ellipse_fit import fit_ellipse
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.transforms import CropToFieldOfView, CropToFieldOfViewd, LoadFundus, LoadFundusd

Circle = tuple[float, float, float]
GROUNDS = {
    "black": (0, 0, 0),
    "glowing": (0.03, 0.02, 0.03),
    "grey": (0.5,) * 3,
    "white": (1,) * 3,
    "dark": (0.15,) * 3,
}


def circle_iou(first: Circle, second: Circle) -> float:
    """Closed form of intersection over union of two circles (y, x, radius)."""
    distance, r, s = np.hypot(first[0] - second[0], first[1] - second[1]), first[2], second[2]
    if distance >= r + s:
        return 0.0
    if distance <= abs(r - s):
        shared = np.pi * min(r, s) ** 2
    else:
        alpha = np.arccos((distance**2 + r**2 - s**2) / (2 * distance * r))
        beta = np.arccos((distance**2 + s**2 - r**2) / (2 * distance * s))
        shared = r**2 * (alpha - np.sin(2 * alpha) / 2) + s**2 * (beta - np.sin(2 * beta) / 2)
    return float(shared / (np.pi * r**2 + np.pi * s**2 - shared))


def box_iou(first: Circle, second: Circle) -> float:
    """Intersection over union of the squares around two circles."""
    overlap = [
        max(0.0, min(a + first[2], b + second[2]) - max(a - first[2], b - second[2]))
        for a, b in zip(first[:2], second[:2], strict=True)
    ]
    shared = overlap[0] * overlap[1]
    return shared / (4 * first[2] ** 2 + 4 * second[2] ** 2 - shared)


def circle_of_mask(mask: torch.Tensor) -> Circle:
    """Robust fit to the left and right ends of the rows, less the straight edges of a clipped circle."""
    inside = mask[0].numpy() > 0.5
    rows = np.flatnonzero(inside.any(axis=1))[3:-3]
    ends = np.array([np.flatnonzero(inside[row])[[0, -1]] + [0, 1] for row in rows])
    y, x = np.tile(rows + 0.5, 2), ends.T.ravel()
    start = [size / 2 for size in (*inside.shape, inside.shape[1])]
    fit = least_squares(lambda c: np.hypot(y - c[0], x - c[1]) - c[2], start, loss="cauchy", f_scale=0.5)
    return tuple(fit.x)


def disc_of(circle: Circle, height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return ((y - circle[0]) ** 2 + (x - circle[1]) ** 2 <= circle[2] ** 2)[None].float()


def paste(
    image: torch.Tensor, retina: torch.Tensor, circle: Circle, *, ground: str, clipped: bool, writing: bool, seed: int
) -> tuple[torch.Tensor, Circle]:
    """The retina at a random place of a larger, noisy ground; clipped at the top by 5 to 35 % of the radius."""
    rng = np.random.default_rng(seed)
    size = image.shape[1]
    height, width = (int(size * rng.uniform(1.02, 1.8)) for _ in range(2))
    colour = np.array(GROUNDS[ground])[:, None, None]
    noise = rng.normal(0, rng.choice([0.005, 0.02]), (3, height, width))
    canvas = torch.from_numpy((colour + noise).clip(0, 1)).float()
    if writing:
        canvas[:, -14:-4, 4:44] = torch.from_numpy((rng.random((10, 40)) > 0.5).astype(np.float32))
    top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
    place = (slice(None), slice(top, top + size), slice(left, left + size))
    canvas[place] = image * retina + canvas[place] * (1 - retina)
    cut = max(0, int(top + circle[0] - circle[2] * rng.uniform(0.65, 0.95))) if clipped else 0
    return canvas[:, cut:], (circle[0] + top - cut, circle[1] + left, circle[2])


def found(image: torch.Tensor) -> Circle:
    result = find_field_of_view(image)
    assert result.border_visible
    assert result.radius_y == result.radius_x
    return result.centre_y, result.centre_x, result.radius_y


def assert_found(cases: list[tuple[torch.Tensor, Circle]]) -> None:
    pairs = [(found(image), circle) for image, circle in cases]
    for measure in (circle_iou, box_iou):
        overlaps = [measure(*pair) for pair in pairs]
        assert np.median(overlaps) >= 0.98
        assert min(overlaps) >= 0.95


# Finding the circle


@pytest.mark.parametrize("ground", GROUNDS)
def test_photographs_pasted_onto_larger_canvases(mrg_data: Path, ground: str) -> None:
    files = [
        file
        for name, step in (("idrid", 17), ("hrf", 5), ("chasedb1", 2))
        for file in sorted((mrg_data / name / "256/images").glob("*.jpg"))[::step]
    ]
    cases = []
    for seed, file in enumerate(files[list(GROUNDS).index(ground) % 3 :: 3]):
        mask = read_mask(file.parents[1] / "masks/fov" / f"{file.stem}.png")
        options = {"clipped": seed % 2 == 1, "writing": seed % 3 == 0, "seed": seed}
        cases.append(paste(read_image(file), mask, circle_of_mask(mask), ground=ground, **options))
    assert len(cases) >= 18
    assert_found(cases)


def test_shared_photographs_as_they_are(mrg_data: Path) -> None:
    for name in ("idrid", "hrf"):
        files = sorted((mrg_data / name / "512/images").glob("*.jpg"))[::45]
        masks = [read_mask(file.parents[1] / "masks/fov" / f"{file.stem}.png") for file in files]
        assert_found([(read_image(file), circle_of_mask(mask)) for file, mask in zip(files, masks, strict=True)])


@pytest.mark.parametrize("ground", GROUNDS)
def test_phantoms_pasted_onto_larger_canvases(ground: str) -> None:
    cases = []
    for seed in range(4):
        phantom = phantom_fundus(seed=seed, grade=seed, size=128)
        retina = torch.as_tensor(phantom.masks["fov"]).float().reshape(1, 128, 128)
        image = torch.as_tensor(phantom.image)
        circle = circle_of_mask(retina)
        cases.append(paste(image, retina, circle, ground=ground, clipped=seed % 2 == 1, writing=seed == 0, seed=seed))
    assert_found(cases)


def test_deterministic_and_equivariant_under_flips() -> None:
    image, _ = pasted_phantom("white")
    first = found(image)
    assert found(image.clone()) == first
    y, x, radius = found(image.flip(2))
    assert (y, image.shape[2] - x, radius) == pytest.approx(first, abs=0.7)


def test_a_notch_and_a_stripe_do_not_move_the_circle() -> None:
    image, circle = pasted_phantom("black")
    y, x, radius = (round(value) for value in circle)
    image[:, y - 6 : y + 6, x + radius - 2 : x + radius + 5] = torch.tensor([0.6, 0.3, 0.2]).view(3, 1, 1)
    assert circle_iou(found(image), circle) > 0.97


def test_a_retina_that_fills_the_frame() -> None:
    image = torch.as_tensor(phantom_fundus(seed=3, size=192).image)[:, 64:120, 56:136]
    result = find_field_of_view(image)
    assert not result.border_visible
    assert result.radius_y == result.radius_x == pytest.approx(np.hypot(56, 80) / 2)
    assert result.box() == (-12, 0, 80, 80)


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(3, 64, 64),
        torch.ones(3, 64, 64),
        torch.full((3, 64, 64), 0.3),
        torch.tensor([0.7, 0.4, 0.2]).view(3, 1, 1).expand(3, 64, 64),
        torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)),
        torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.9, 0.6, 0.2]).view(3, 1, 1),
        torch.linspace(0, 1, 64).expand(3, 64, 64),
    ],
    ids=["black", "white", "grey", "red", "noise", "red noise", "ramp"],
)
def test_no_retina(image: torch.Tensor) -> None:
    with pytest.raises(ImageValueError, match="no retina found"):
        find_field_of_view(image)


@settings(max_examples=40, deadline=None)
@given(
    centre=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
    radius=st.floats(5, 80),
    aspect=st.one_of(st.just(1.0), st.floats(0.5, 2)),
    start=st.floats(0, 6.2),
    arc=st.floats(2.5, 6.2),
)
def test_fit_ellipse_with_a_chord(
    centre: tuple[float, float], radius: float, aspect: float, start: float, arc: float
) -> None:
    angle = start + np.linspace(0, arc, 160)
    points = np.stack([centre[0] + radius * np.sin(angle), centre[1] + aspect * radius * np.cos(angle)], axis=1)
    chord = np.linspace(points[0], points[-1], 40)[1:-1]
    tolerance = 0.02 * radius * min(1, aspect)
    both = np.concatenate([points, chord])
    ellipse = fit_ellipse(both, tolerance=tolerance, max_radius=500)
    assert ellipse is not None
    assert ellipse == pytest.approx((*centre, radius, aspect * radius), abs=0.03 * radius * max(1, aspect))
    if aspect == 1:
        circle = fit_ellipse(both, tolerance=tolerance, max_radius=500, circle=True)
        assert circle is not None
        assert circle == pytest.approx((*centre, radius, radius), abs=0.01 * radius)


def test_fit_ellipse_agrees_with_scikit_image() -> None:
    measure = pytest.importorskip("skimage.measure")
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 300)
    points = np.stack([40 + 30 * np.sin(angle), 60 + 45 * np.cos(angle)], axis=1) + rng.normal(0, 0.1, (300, 2))
    ours = fit_ellipse(points, tolerance=1, max_radius=100)
    theirs = measure.EllipseModel.from_estimate(points[:, ::-1])
    assert ours is not None
    assert ours == pytest.approx((*theirs.center[::-1], *theirs.axis_lengths[::-1]), abs=0.05)


def test_fit_ellipse_needs_a_curve() -> None:
    line = np.stack([np.zeros(50), np.arange(50.0)], axis=1)
    for circle in (True, False):
        assert fit_ellipse(line, tolerance=1, max_radius=100, circle=circle) is None
        assert fit_ellipse(line[:2], tolerance=1, max_radius=100, circle=circle) is None


# Cropping


def pasted_phantom(ground: str, *, clipped: bool = False, size: int = 128) -> tuple[torch.Tensor, Circle]:
    phantom = phantom_fundus(seed=7, grade=2, size=size)
    retina = torch.as_tensor(phantom.masks["fov"]).float().reshape(1, size, size)
    image, circle = torch.as_tensor(phantom.image), circle_of_mask(retina)
    return paste(image, retina, circle, ground=ground, clipped=clipped, writing=False, seed=1)


def test_crop_gives_a_square_and_keeps_values() -> None:
    image, circle = pasted_phantom("black")
    result = CropToFieldOfView(image_order="CHW")(image)
    meta = result.meta["field_of_view"]
    assert result.shape == (3, int(meta["box_height"]), int(meta["box_width"]))
    assert meta["box_height"] == meta["box_width"] == pytest.approx(2 * circle[2], abs=3)
    assert all(type(value) is float for value in meta.values())
    rows, columns = (slice(int(meta[start]), int(meta[start] + meta["box_width"])) for start in ("top", "left"))
    assert torch.equal(result.as_tensor(), image[:, rows, columns])
    assert result.meta["image_order"] == "CHW"


def test_clipped_tops_are_padded_with_black() -> None:
    image, _ = pasted_phantom("black", clipped=True)
    result = CropToFieldOfView(image_order="CHW")(image)
    top = int(result.meta["field_of_view"]["top"])
    assert top < -3
    assert result[:, :-top].abs().max() == 0
    assert result[:, -top].max() > 0


@pytest.mark.parametrize("ground", ["white", "grey", "dark"])
def test_grounds_that_are_not_black_become_black(ground: str) -> None:
    image, _ = pasted_phantom(ground)
    result = CropToFieldOfView(image_order="CHW", margin=0.1)(image)
    outside = disc_of((result.shape[1] / 2, result.shape[2] / 2, result.shape[1] / 2), *result.shape[1:]) == 0
    assert result[:, outside[0]].abs().max() == 0


def test_orders_give_the_same_crop() -> None:
    image, _ = pasted_phantom("black", clipped=True)
    upright = CropToFieldOfView(size=48, image_order="CHW")(image)
    transposed = CropToFieldOfView(size=48, image_order="CWH")(image.transpose(1, 2))
    torch.testing.assert_close(transposed.transpose(1, 2).as_tensor(), upright.as_tensor())
    assert transposed.meta["image_order"] == "CWH"
    assert transposed.meta["field_of_view"] == upright.meta["field_of_view"]
    inverse = CropToFieldOfView(image_order="CWH").inverse(transposed)
    assert inverse.shape == image.transpose(1, 2).shape
    with pytest.raises(ImageValueError, match="image_order"):
        CropToFieldOfView()(image)


def test_upsampling_is_refused_unless_allowed() -> None:
    image, _ = pasted_phantom("black")
    with pytest.raises(ImageValueError, match=r"size: 512 .*allow_upsampling"):
        CropToFieldOfView(size=512, image_order="CHW")(image)
    result = CropToFieldOfView(size=512, image_order="CHW", allow_upsampling=True)(image)
    assert result.shape == (3, 512, 512)
    assert result.max() <= 1


def test_bad_arguments_and_images() -> None:
    with pytest.raises(ValueError, match="size: 0 came"):
        CropToFieldOfView(size=0)
    with pytest.raises(ValueError, match=r"margin: -0\.1 came"):
        CropToFieldOfView(margin=-0.1)
    image, _ = pasted_phantom("black")
    crop = CropToFieldOfView(image_order="CHW")
    with pytest.raises(ImageValueError, match="no batch"):
        crop(image[None])
    with pytest.raises(ImageValueError, match="a_max=255"):
        crop(image * 255)
    with pytest.raises(ImageValueError, match="at least 16"):
        crop(image[:, :8])


# Putting back


def test_inverse_with_background_changes_nothing_outside_the_circle() -> None:
    image, _ = pasted_phantom("white", clipped=True)
    crop = CropToFieldOfView(size=64, image_order="CHW")
    small = crop(image)
    meta = small.meta["field_of_view"]
    back = crop.inverse(small * 0, background=image)
    outside = disc_of((meta["centre_y"], meta["centre_x"], meta["radius_y"]), *image.shape[1:]) == 0
    assert torch.equal(back[:, outside[0]].as_tensor(), image[:, outside[0]])
    assert back[:, ~outside[0]].abs().max() == 0


@pytest.mark.parametrize("ground", ["black", "white"])
def test_inverse_at_full_resolution_is_exact(ground: str) -> None:
    image, _ = pasted_phantom(ground, clipped=True)
    crop = CropToFieldOfView(image_order="CHW")
    assert torch.equal(crop.inverse(crop(image), background=image).as_tensor(), image)


def test_inverse_leaves_its_argument_and_forgets_the_crop() -> None:
    image, _ = pasted_phantom("black")
    crop = CropToFieldOfView(size=64, image_order="CHW")
    small = crop(image)
    back = crop.inverse(small)
    assert back.shape == image.shape
    assert "field_of_view" not in back.meta
    assert back.applied_operations == []
    assert len(small.applied_operations) == 1
    assert "field_of_view" in small.meta


def test_inverse_needs_only_the_metadata() -> None:
    image, _ = pasted_phantom("black")
    small = CropToFieldOfView(size=64, image_order="CHW")(image)
    bare = MetaTensor(small.as_tensor(), meta=dict(small.meta))
    other = pickle.loads(pickle.dumps(CropToFieldOfView()))
    assert torch.equal(other.inverse(bare), other.inverse(small))
    with pytest.raises(ImageValueError, match="field_of_view"):
        other.inverse(small.as_tensor())
    with pytest.raises(ImageValueError, match="background"):
        other.inverse(small, background=image[:, 1:])


# Ellipses and names of files


def squeezed_phantom() -> tuple[torch.Tensor, torch.Tensor]:
    """A retina on a frame 1.5 times as wide as high, and the same squeezed to a square."""
    phantom = phantom_fundus(seed=7, grade=2, size=128)
    wide = torch.nn.functional.pad(torch.as_tensor(phantom.image), (32, 32, 0, 0))
    squeezed = torch.nn.functional.interpolate(wide[None], (128, 128), mode="bilinear", antialias=True)[0]
    return wide, squeezed.clamp(0, 1)


def test_a_squeezed_retina_becomes_a_circle_again() -> None:
    wide, squeezed = squeezed_phantom()
    crop = CropToFieldOfView(size=96, image_order="CHW")
    with pytest.warns(UserWarning, match="the retina is an ellipse"):
        round_again = crop(squeezed)
    assert (round_again.as_tensor() - crop(wide).as_tensor()).abs().mean() < 0.02
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = CropToFieldOfView(image_order="CHW", unsqueeze=False)(squeezed)
    assert kept.meta["field_of_view"]["box_height"] == kept.meta["field_of_view"]["box_width"]
    side = kept.shape[1]
    assert (kept[:, :, : side // 8] == 0).all()  # the ellipse keeps its shape, with black beside it


@pytest.mark.filterwarnings("ignore:.*the retina is an ellipse")
def test_masks_of_a_squeezed_retina_follow_and_come_back() -> None:
    _, image = squeezed_phantom()
    field = (image.amax(0, keepdim=True) > 0.05).float()
    crop = CropToFieldOfViewd(keys="image", mask_keys="fov", size=96, image_order="CHW")
    cropped = crop({"image": image, "fov": field})
    outline = disc_of((48, 48, 48), 96, 96)
    assert ((cropped["fov"].as_tensor() > 0.5) != (outline > 0.5)).float().mean() < 0.1  # tops may be clipped
    back = crop.inverse(cropped)
    assert back["image"].shape == image.shape
    assert (back["image"].as_tensor() - image).abs().mean() < 0.02
    assert ((back["fov"] > 0.5) != (field > 0.5)).float().mean() < 0.02
    meta = cropped["image"].meta["field_of_view"]
    y, x = torch.meshgrid(torch.arange(128) + 0.5, torch.arange(128) + 0.5, indexing="ij")
    outside = ((y - meta["centre_y"]) / meta["radius_y"]) ** 2 + ((x - meta["centre_x"]) / meta["radius_x"]) ** 2 > 1
    pasted = CropToFieldOfView().inverse(cropped["image"] * 0, background=image)
    assert torch.equal(pasted[:, outside].as_tensor(), image[:, outside])
    assert pasted[:, ~outside].abs().max() == 0


def test_wrong_colours_are_said(tmp_path: Path) -> None:
    image, _ = pasted_phantom("black")
    write_image(tmp_path / "bgr.png", image.flip(0))
    with pytest.warns(UserWarning, match=r"bgr\.png: .*BGR"):
        CropToFieldOfView()(LoadFundus()(tmp_path / "bgr.png"))


def test_the_file_is_named_in_every_error(tmp_path: Path) -> None:
    image, _ = pasted_phantom("black")
    write_image(tmp_path / "black_left.png", torch.zeros_like(image))
    write_image(tmp_path / "eye_left.png", image)
    transform = Compose([LoadFundusd("image"), CropToFieldOfViewd("image", size=64)])
    with pytest.raises(RuntimeError) as caught:
        CacheDataset([{"image": str(tmp_path / "black_left.png")}], transform, progress=False)
    assert str(caught.value.__cause__).startswith(f"{tmp_path / 'black_left.png'}: image: no retina")
    eye = LoadFundus()(tmp_path / "eye_left.png")
    for crop, wrong in (
        (CropToFieldOfView(size=999), eye),
        (CropToFieldOfView(), eye * 255),
        (CropToFieldOfView(image_order="CWH"), eye),
    ):
        with pytest.raises(ImageValueError, match=r"eye_left\.png: "):
            crop(wrong)
    with pytest.raises(ImageValueError, match=r"eye_left\.png: "):
        CropToFieldOfView().inverse(eye)
    item = {"image": eye, "fov": torch.zeros(1, 3, 3)}
    with pytest.raises(ImageValueError, match=r"eye_left\.png: "):
        CropToFieldOfViewd(keys="image", mask_keys="fov")(item)


# The dictionary form


@pytest.fixture
def item(tmp_path: Path) -> dict[str, str]:
    image, circle = pasted_phantom("grey")
    write_image(tmp_path / "eye.png", image)
    write_mask(tmp_path / "fov.png", disc_of(circle, *image.shape[1:]))
    return {"image": str(tmp_path / "eye.png"), "fov": str(tmp_path / "fov.png")}


def test_masks_follow_the_box_and_come_back(item: dict[str, str]) -> None:
    load = LoadFundusd(keys="image", mask_keys="fov")
    crop = CropToFieldOfViewd(keys="image", mask_keys="fov", size=64)
    cropped = crop(load(item))
    side = cropped["image"].meta["field_of_view"]["box_width"]
    assert cropped["fov"].shape == (1, 64, 64)
    assert cropped["fov"].max() == 1
    assert cropped["fov"].sum() / 64**2 == pytest.approx(np.pi / 4, abs=0.02)
    assert len(cropped["fov"].unique()) > 2  # a fraction of the pixel at the rim
    back = crop.inverse(cropped)
    original = load(item)["fov"]
    assert side > 64
    assert ((back["fov"] > 0.5) != (original > 0.5)).float().mean() < 0.01
    assert back["image"].shape[1:] == original.shape[1:]


def test_caching_collating_and_decollating(item: dict[str, str]) -> None:
    crop = CropToFieldOfViewd(keys="image", mask_keys="fov", size=32)
    transform = Compose([LoadFundusd(keys="image", mask_keys="fov"), crop])
    dataset = CacheDataset([item, item, item], transform, progress=False)
    assert dataset[0]["image"].meta["field_of_view"] == transform(item)["image"].meta["field_of_view"]
    batch = next(iter(DataLoader(dataset, batch_size=3, num_workers=0)))
    assert batch["image"].shape == (3, 3, 32, 32)
    assert batch["image"].meta["field_of_view"]["radius_x"].shape == (3,)
    for single in decollate_batch(batch):
        assert torch.equal(crop.inverse(single)["image"], crop.inverse(dataset[0])["image"])


def test_inverse_of_a_compose_and_invertd(item: dict[str, str]) -> None:
    flipped = Compose([LoadFundusd(keys="image"), CropToFieldOfViewd(keys="image", size=64), Flipd("image", 1)])
    straight = Compose([LoadFundusd(keys="image"), CropToFieldOfViewd(keys="image", size=64)])
    expected = straight.inverse(straight(item))["image"]
    data = flipped(item)
    with pytest.raises(ImageValueError, match="Flip"):
        CropToFieldOfView().inverse(data["image"])
    data["pred"] = MetaTensor((data["image"].as_tensor()[:1] > 0.3).float())
    inverted = Invertd(keys="pred", transform=flipped, orig_keys="image", nearest_interp=True)(data)["pred"]
    assert inverted.shape == (1, *expected.shape[1:])
    assert set(inverted.unique().tolist()) <= {0.0, 1.0}
    assert (inverted == (expected[:1] > 0.3)).float().mean() > 0.97
    torch.testing.assert_close(flipped.inverse(data)["image"].as_tensor(), expected.as_tensor())


def test_after_monais_loader(item: dict[str, str]) -> None:
    monai_load = [
        LoadImaged(keys=["image", "fov"], ensure_channel_first=True),
        ScaleIntensityRanged(keys=["image", "fov"], a_min=0, a_max=255, b_min=0, b_max=1),
    ]
    crop = {"keys": "image", "mask_keys": "fov", "size": 48}
    theirs = Compose([*monai_load, CropToFieldOfViewd(**crop, image_order="CWH")])(item)
    ours = Compose([LoadFundusd(keys="image", mask_keys="fov"), CropToFieldOfViewd(**crop)])(item)
    for key in ("image", "fov"):
        torch.testing.assert_close(theirs[key].as_tensor().transpose(1, 2), ours[key].as_tensor())
    with pytest.raises(RuntimeError, match="CropToFieldOfViewd") as caught:
        Compose([*monai_load, CropToFieldOfViewd(**crop)])(item)
    assert isinstance(caught.value.__cause__, ImageValueError)


def test_keys_and_sizes(item: dict[str, str]) -> None:
    data = LoadFundusd(keys="image", mask_keys="fov")(item)
    with pytest.raises(KeyError, match="ex"):
        CropToFieldOfViewd(keys="image", mask_keys=("fov", "ex"))(data)
    lenient = CropToFieldOfViewd(keys=("image", "second"), mask_keys=("fov", "ex"), allow_missing_keys=True)
    assert set(lenient(data)) == {"image", "fov"}
    assert lenient({"grade": 1}) == {"grade": 1}
    with pytest.raises(KeyError, match="none of the images"):
        lenient({"fov": data["fov"]})
    smaller = Lambdad(keys="fov", func=lambda mask: mask[:, 1:], track_meta=False)(data)
    with pytest.raises(ImageValueError, match="'fov' has size"):
        CropToFieldOfViewd(keys="image", mask_keys="fov")(smaller)
