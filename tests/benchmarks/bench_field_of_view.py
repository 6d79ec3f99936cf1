"""Finds the field of view in photographs as they come: squeezed, with text, frames and borders, on pages, clipped.

    python tests/benchmarks/bench_field_of_view.py --data SHARED_DATA [--step 10] [--only NAME]

Prints for each kind of picture how many came out right (intersection over union of at least 0.95 with the mask of the
field of view, moved as the photograph was moved), the median and worst overlap, and the time; for pictures that show no
single retina, how many were refused.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from monai_retina_gen.data import FieldOfView, find_field_of_view
from monai_retina_gen.errors import ImageValueError

Picture = Image.Image
Case = tuple[Picture, Picture]  # photograph, and its field of view in white


def pasted(case: Case, size: tuple[int, int], place: tuple[int, int], ground: str = "black") -> Case:
    """The retina on a larger ground."""
    image, field = Image.new("RGB", size, ground), Image.new("L", size)
    image.paste(case[0], place, case[1])
    field.paste(case[1], place)
    return image, field


def centred(case: Case, *, margin: float = 0.1, ground: str = "black") -> Case:
    """The retina on a 4 : 3 ground with room above and below."""
    side = case[0].width
    size = (round(side * (1 + 2 * margin) * 4 / 3), round(side * (1 + 2 * margin)))
    return pasted(case, size, ((size[0] - side) // 2, (size[1] - side) // 2), ground)


def squeezed(case: Case, aspect: float) -> Case:
    """A landscape photograph brought to a square."""
    side = case[0].width
    wide = pasted(case, (round(side * aspect), side), (round(side * (aspect - 1) / 2), 0))
    return wide[0].resize((side, side), Image.Resampling.BILINEAR), wide[1].resize((side, side))


def stretched(case: Case, aspect: float) -> Case:
    """An ellipse wider than high, as ultra-wide-field photographs show."""
    image, field = centred(case)
    size = (round(image.width * aspect), image.height)
    return image.resize(size, Image.Resampling.BILINEAR), field.resize(size)


def clipped(case: Case, share: float) -> Case:
    """Top and bottom cut off, this share of the height each."""
    image, field = centred(case, margin=0)
    rows = round(image.height * share)
    box = (0, rows, image.width, image.height - rows)
    return image.crop(box), field.crop(box)


def drawn(case: Case, draw: Callable[[ImageDraw.ImageDraw, int, int], None]) -> Case:
    image, field = centred(case, margin=0.05)
    draw(ImageDraw.Draw(image), image.width, image.height)
    return image, field


def on_page(case: Case) -> Case:
    """The photograph with its black ground on a white page with lines of text."""
    inner = centred(case, margin=0.03)
    size = (round(inner[0].width * 1.4), round(inner[0].width * 1.9))
    page, field = Image.new("RGB", size, "white"), Image.new("L", size)
    place = (round(inner[0].width * 0.2), round(inner[0].width * 0.3))
    page.paste(inner[0], place)
    field.paste(inner[1], place)
    pen = ImageDraw.Draw(page)
    for line in range(12):
        top = round(size[1] * (0.62 + line * 0.025))
        pen.text((place[0], top), "No apparent diabetic retinopathy. Review in a year." * 2, "black", font_size=14)
    pen.text((place[0], place[1] // 2), "Report of the reading centre", "black", font_size=28)
    return page, field


def screenshot(case: Case) -> Case:
    """A viewer's grey window: a bar above, a panel at the side, the photograph on black."""
    inner = centred(case, margin=0.03)
    size = (inner[0].width + 160, inner[0].height + 60)
    window, field = Image.new("RGB", size, (60, 63, 65)), Image.new("L", size)
    window.paste(inner[0], (150, 50))
    field.paste(inner[1], (150, 50))
    pen = ImageDraw.Draw(window)
    pen.rectangle((0, 0, size[0], 30), fill=(235, 235, 235))
    pen.text((10, 8), "File  Edit  View  Image_0132.dcm", "black", font_size=14)
    for row in range(10):
        pen.text((10, 60 + 30 * row), f"Series {row}", "white", font_size=14)
    return window, field


TEXT = "ID 1234567890   2019-03-01   OD"


def small_text(pen: ImageDraw.ImageDraw, width: int, height: int) -> None:
    pen.text((5, 5), TEXT, "white", font_size=height // 40)


def text_over_rim(pen: ImageDraw.ImageDraw, width: int, height: int) -> None:
    pen.text((5, height // 50), TEXT, "white", font_size=height // 22)


def text_at_both_ends(pen: ImageDraw.ImageDraw, width: int, height: int) -> None:
    for top in (5, height - height // 16):
        pen.text((5, top), TEXT, "yellow", font_size=height // 25)


def green_frame(pen: ImageDraw.ImageDraw, width: int, height: int) -> None:
    pen.rectangle((2, 2, width - 3, height - 3), outline=(0, 255, 0), width=4)


def white_border(pen: ImageDraw.ImageDraw, width: int, height: int) -> None:
    pen.rectangle((0, 0, width - 1, height - 1), outline="white", width=height // 40)


def squeezed_and_clipped(case: Case) -> Case:
    image, field = clipped(case, 0.08)
    return image.resize((image.height, image.height)), field.resize((image.height, image.height))


POSITIVES: dict[str, Callable[[Case], Case]] = {
    "as it is": lambda case: case,
    "4:3 on black": centred,
    "4:3 on white": lambda case: centred(case, ground="white"),
    **{f"squeezed {aspect}": lambda case, a=aspect: squeezed(case, a) for aspect in (1.1, 1.2, 1.33, 1.5)},
    **{f"ellipse {aspect} wide": lambda case, a=aspect: stretched(case, a) for aspect in (1.25, 1.5)},
    "clipped 5 %": lambda case: clipped(case, 0.05),
    "clipped 12 %": lambda case: clipped(case, 0.12),
    "squeezed and clipped": squeezed_and_clipped,
    "small text": lambda case: drawn(case, small_text),
    "text over the rim": lambda case: drawn(case, text_over_rim),
    "text at both ends": lambda case: drawn(case, text_at_both_ends),
    "green frame": lambda case: drawn(case, green_frame),
    "white border": lambda case: drawn(case, white_border),
    "page": on_page,
    "screenshot": screenshot,
}


def two_eyes(case: Case) -> Picture:
    side = case[0].width
    both = Image.new("RGB", (2 * side + 20, side))
    both.paste(case[0], (0, 0))
    both.paste(case[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT), (side + 20, 0))
    return both


def external_eye(skin: tuple[int, int, int]) -> Callable[[Case], Picture]:
    """Lids, white and iris, with noise and a slow shade."""

    def draw(case: Case) -> Picture:
        rng = np.random.default_rng(case[0].width)
        picture = Image.new("RGB", (640, 480), skin)
        pen = ImageDraw.Draw(picture)
        pen.ellipse((100, 140, 540, 340), fill=(235, 228, 222))
        pen.ellipse((240, 150, 400, 330), fill=(90, 60, 35))
        pen.ellipse((285, 205, 355, 275), fill=(8, 8, 8))
        shade = np.linspace(0.8, 1.05, 640)[None, :, None] * np.asarray(picture) + rng.normal(0, 4, (480, 640, 3))
        return Image.fromarray(shade.clip(0, 255).astype(np.uint8))

    return draw


def oct_strip(case: Case) -> Picture:
    """Layers of a grey section on black."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:384, 0:768]
    depth = rows - 190 - 20 * np.cos(columns / 120)
    grey = 160 * np.exp(-((depth / 40) ** 2)) + 60 * np.exp(-(((depth - 50) / 12) ** 2)) + rng.gamma(1, 12, rows.shape)
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")


NEGATIVES: dict[str, Callable[[Case], Picture]] = {
    "two eyes": two_eyes,
    "external eye, light": external_eye((224, 172, 140)),
    "external eye, brown": external_eye((172, 120, 85)),
    "OCT section": oct_strip,
}


def natural_pictures() -> dict[str, Picture]:
    """What scikit-image brings along that is no retina."""
    import skimage.data

    names = ("astronaut", "chelsea", "coffee", "rocket", "page", "coins", "moon", "immunohistochemistry", "brick")
    return {name: Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in names}


def as_tensor(picture: Picture) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255).permute(2, 0, 1)


def overlap(found: FieldOfView, field: Picture) -> float:
    """Intersection over union of ellipse and mask, between the rows and columns that the mask has."""
    mask = np.asarray(field) > 127
    y, x = np.ogrid[0.5 : mask.shape[0], 0.5 : mask.shape[1]]
    inside = ((y - found.centre_y) / found.radius_y) ** 2 + ((x - found.centre_x) / found.radius_x) ** 2 <= 1
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    seen = np.zeros_like(mask)
    seen[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    # What clipping took away is no error; what reaches beyond a rim that shows is.
    inside &= seen
    return float((inside & mask).sum() / (inside | mask).sum())


def photographs(data: Path, step: int, size: int) -> Iterator[Case]:
    for name in ("idrid", "hrf", "chasedb1"):
        for file in sorted((data / name / str(size) / "images").glob("*.jpg"))[::step]:
            mask = file.parents[1] / "masks/fov" / f"{file.stem}.png"
            yield Image.open(file).convert("RGB"), Image.open(mask).convert("L")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--step", type=int, default=10)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    cases = list(photographs(args.data, args.step, args.size))
    print(f"{len(cases)} photographs, {args.size} px")
    for name, make in POSITIVES.items():
        if args.only in name:
            overlaps, times, refused = [], [], 0
            for case in cases:
                image, field = make(case)
                tensor, start = as_tensor(image), time.process_time()
                try:
                    found = find_field_of_view(tensor)
                    overlaps.append(overlap(found, field) if found.border_visible else 0.0)
                except ImageValueError:
                    refused += 1
                times.append(time.process_time() - start)
            right = sum(value >= 0.95 for value in overlaps)
            figures = f"{np.median(overlaps):.3f} / {min(overlaps):.3f}" if overlaps else "-"
            print(
                f"| {name} | {right} of {len(cases)} | {len(overlaps) - right} wrong | {refused} refused | {figures} | "
                f"{1000 * np.median(times):.0f} ms |",
                flush=True,
            )
    no_retina = {name: [make(case) for case in cases[:10]] for name, make in NEGATIVES.items()}
    no_retina["natural pictures"] = list(natural_pictures().values())
    for name, pictures in no_retina.items():
        if args.only in name:
            refused = 0
            for picture in pictures:
                try:
                    find_field_of_view(as_tensor(picture))
                except ImageValueError:
                    refused += 1
            print(f"| {name} | {refused} of {len(pictures)} refused |", flush=True)


if __name__ == "__main__":
    main()
