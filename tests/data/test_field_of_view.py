"""The field of view of photographs as they come: squeezed, with text and frames, on pages; and of what is no retina.

The oracle is construction: a phantom is placed, squeezed and drawn over where the test says.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from monai_retina_gen.data import FieldOfView, find_field_of_view, phantom_fundus
from monai_retina_gen.data.field_of_view import colour_fault
from monai_retina_gen.errors import ImageValueError

SIDE = 200
PHANTOM = phantom_fundus(seed=5, grade=2, size=SIDE)
RETINA = Image.fromarray((np.asarray(PHANTOM.image) * 255).astype(np.uint8).transpose(1, 2, 0))
FIELD = Image.fromarray((np.asarray(PHANTOM.masks["fov"]).reshape(SIDE, SIDE) > 0).astype(np.uint8) * 255)
RADIUS = float(np.ptp(np.flatnonzero(np.asarray(FIELD).any(0)))) / 2 + 0.5  # its top and bottom are clipped


def picture(
    size: tuple[int, int] = (300, 260), place: tuple[int, int] = (50, 30), ground: str = "black"
) -> Image.Image:
    canvas = Image.new("RGB", size, ground)
    canvas.paste(RETINA, place, FIELD)
    return canvas


def find(image: Image.Image) -> FieldOfView:
    return find_field_of_view(torch.from_numpy(np.asarray(image).astype(np.float32) / 255).permute(2, 0, 1))


def assert_at(field: FieldOfView, centre: tuple[float, float], radii: tuple[float, float]) -> None:
    assert field.border_visible
    found = (field.centre_y, field.centre_x, field.radius_y, field.radius_x)
    assert found == pytest.approx((*centre, *radii), abs=0.015 * max(radii) + 0.5)


@settings(max_examples=12, deadline=None)
@given(
    aspect=st.one_of(st.floats(1.06, 1.8), st.floats(0.55, 0.94)),
    side=st.integers(180, 700),
    ground=st.sampled_from(["black", "white", "grey"]),
)
def test_squeezed_and_stretched_photographs_are_found_as_ellipses(aspect: float, side: int, ground: str) -> None:
    size = (round(side * aspect), side)
    image = picture((240, 240), (20, 20), ground).resize(size, Image.Resampling.BILINEAR)
    radii = (RADIUS / 240 * side, RADIUS / 240 * size[0])
    field = find(image)
    assert_at(field, (side / 2, size[0] / 2), radii)
    assert field.aspect == pytest.approx(aspect, rel=0.02)


def test_a_landscape_photograph_squeezed_to_a_square() -> None:
    wide = picture((300, 200), (50, 0))
    field = find(wide.resize((200, 200), Image.Resampling.BILINEAR))
    assert_at(field, (100, 100), (RADIUS, RADIUS / 1.5))
    top, left, height, width = field.box(square=False)
    assert (top, left) == pytest.approx((0, 33), abs=3)
    assert (height, width) == pytest.approx((200, 133), abs=4)
    assert field.box()[2:] == (height, height)
    assert field.radius == field.radius_y


def with_text(image: Image.Image) -> None:
    ImageDraw.Draw(image).text((3, 22), "ID 1234567890  2019-03-01  OD", "white", font_size=14)


def with_frame(image: Image.Image) -> None:
    ImageDraw.Draw(image).rectangle((1, 1, image.width - 2, image.height - 2), outline=(0, 255, 0), width=2)


def with_white_border(image: Image.Image) -> None:
    ImageDraw.Draw(image).rectangle((0, 0, image.width - 1, image.height - 1), outline="white", width=9)


def with_bar(image: Image.Image) -> None:
    ImageDraw.Draw(image).rectangle((0, 0, image.width, 18), fill=(235, 235, 235))


@pytest.mark.parametrize("draw", [with_text, with_frame, with_white_border, with_bar])
def test_what_is_drawn_beside_the_retina_does_not_move_it(draw: object) -> None:
    image = picture()
    draw(image)  # type: ignore[operator]
    assert_at(find(image), (130, 150), (RADIUS, RADIUS))


def test_a_photograph_on_a_page_and_in_a_window() -> None:
    page = Image.new("RGB", (460, 620), "white")
    page.paste(picture(), (80, 90))
    for line in range(8):
        ImageDraw.Draw(page).text((60, 380 + 20 * line), "No apparent retinopathy, review in a year", "black")
    field = find(page)
    assert_at(field, (90 + 130, 80 + 150), (RADIUS, RADIUS))
    assert not field.dark_ground  # so that the page is painted black
    window = Image.new("RGB", (500, 400), (60, 63, 65))
    window.paste(picture(), (140, 90))
    assert_at(find(window), (90 + 130, 140 + 150), (RADIUS, RADIUS))


def external_eye() -> Image.Image:
    face = Image.new("RGB", (320, 240), (224, 172, 140))
    pen = ImageDraw.Draw(face)
    pen.ellipse((50, 70, 270, 170), fill=(235, 228, 222))
    pen.ellipse((120, 75, 200, 165), fill=(90, 60, 35))
    shade = np.linspace(0.8, 1.05, 320)[None, :, None] * np.asarray(face)
    return Image.fromarray(shade.clip(0, 255).astype(np.uint8))


def section() -> Image.Image:
    rows, columns = np.mgrid[0:192, 0:384]
    grey = 200 * np.exp(-(((rows - 95 - 10 * np.cos(columns / 60)) / 20) ** 2))
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def text_page() -> Image.Image:
    page = Image.new("RGB", (300, 400), "white")
    for line in range(18):
        ImageDraw.Draw(page).text((20, 20 + 20 * line), "No apparent retinopathy, review in a year", "black")
    return page


def magnified_with_frame() -> Image.Image:
    inner = RETINA.crop((60, 60, 140, 140)).resize((240, 240))
    ImageDraw.Draw(inner).rectangle((0, 0, 239, 239), outline="white", width=12)
    return inner


@pytest.mark.parametrize("make", [external_eye, section, text_page, magnified_with_frame])
def test_what_is_no_retina_is_refused(make: object) -> None:
    with pytest.raises(ImageValueError, match="no retina found"):
        find(make())  # type: ignore[operator]


@pytest.mark.parametrize("gap", [4, 40])
def test_two_eyes_on_one_picture_are_refused(gap: int) -> None:
    both = Image.new("RGB", (2 * SIDE + gap + 20, SIDE + 20))
    both.paste(RETINA, (10, 10))
    both.paste(RETINA.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (SIDE + gap + 10, 10))
    with pytest.raises(ImageValueError, match=r"two eyes|no retina"):
        find(both)


def test_black_bars_that_made_a_square_are_no_rim() -> None:
    inner = RETINA.crop((40, 70, 160, 130)).resize((240, 120))
    squared = Image.new("RGB", (240, 240))
    squared.paste(inner, (0, 60))
    assert not find(squared).border_visible


def test_channels_in_the_wrong_order_and_inverted_colours() -> None:
    assert find(picture()).colour_fault == ""
    red, green, blue = picture().split()
    assert "BGR" in find(Image.merge("RGB", (blue, green, red))).colour_fault
    inverted = Image.fromarray(255 - np.asarray(picture()))
    assert "inverted" in find(inverted).colour_fault


@given(colour=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), dark=st.booleans())
def test_no_fault_where_red_is_strongest(colour: tuple[float, float, float], dark: bool) -> None:
    pixels = np.array([sorted(colour, reverse=True)])
    assert colour_fault(pixels, dark_ground=dark) == ""


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(16, 90), width=st.integers(16, 90))
def test_any_picture_gives_a_field_or_one_error(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, 3, *rng.integers(1, 9, 2)))).float()
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            field = find_field_of_view(image)
        except ImageValueError as error:
            assert str(error).startswith("image: ")  # noqa: PT017
            return
    values = (field.centre_y, field.centre_x, field.radius_y, field.radius_x)
    assert np.isfinite(values).all()
    assert (field.height, field.width) == (height, width)


@pytest.mark.parametrize("share", [0.78, 0.85, 0.92])
def test_a_circle_clipped_on_all_sides_is_no_ellipse(share: float) -> None:
    image = picture()
    half = round(RADIUS * share)
    clipped = image.crop((150 - half, 130 - round(RADIUS * 0.8), 150 + half, 130 + round(RADIUS * 0.8)))
    assert_at(find(clipped), (round(RADIUS * 0.8), half), (RADIUS, RADIUS))
