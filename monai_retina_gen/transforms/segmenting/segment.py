"""Write masks of lesions, optic disc and vessels for any photographs, at each photograph's own size, and draw them.

Each mask is written atomically and kept where it stands: stopped at any moment and started again, the command goes on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d
from tqdm import tqdm

from monai_retina_gen.data import (
    SECTIONS,
    Datalist,
    Item,
    photograph_names,
    read_mask,
    save_datalist,
    write_image,
    write_mask,
)
from monai_retina_gen.data.condition_map import MASK_COLOURS
from monai_retina_gen.data.datalist_format import IMAGE_SUFFIXES, is_image_file, warn_unread
from monai_retina_gen.data.files import begin_folder, remove_unfinished
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.data.lesion_rules import combine_masks
from monai_retina_gen.data.sampling import spread
from monai_retina_gen.engines import FundusSegmenter
from monai_retina_gen.engines.distributed import by_first, is_first, own_share
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.generators.content_record import segmenter_record
from monai_retina_gen.transforms import CropToFieldOfView, LoadFundus
from monai_retina_gen.weights import sha256_file

SETTINGS, DATALIST, OVERLAYS = "segment.json", "datalist.json", "overlays.png"
SUFFIXES = {"png": ".png", "nifti": ".nii.gz"}
FAINTEST = 0.01  # a probability below a hundredth is written as 0: 1/255 alone could be read back as 1
IN_SHEET = 12


def segment_photograph(
    image: Tensor, segmenter: FundusSegmenter, *, soft: bool = False, allow_upsampling: bool = False
) -> dict[str, Tensor]:
    """Masks `(1, H, W)` float32 of one photograph with metadata, of its own size, by name of the structure.

    The photograph is cropped to the field of view and resized to the size that the network was trained at; the
    probabilities are put back and resized before they become masks, or are kept if `soft`, from 0.01 on.
    """
    cropper = CropToFieldOfView(size=segmenter.image_size, allow_upsampling=allow_upsampling)
    crop = cropper(image)
    found = segmenter.probabilities(crop.as_tensor()[None])
    stack = MetaTensor(torch.cat([found[name][0] for name in segmenter.structures]))
    whole = cropper.inverse(stack.copy_meta_from(crop)).as_tensor()
    if soft:
        planes = torch.where(whole < FAINTEST, 0.0, whole)
    else:
        limits = torch.tensor([segmenter.thresholds[name] for name in segmenter.structures])
        planes = (whole >= limits[:, None, None]).float()
    return {name: planes[[i]] for i, name in enumerate(segmenter.structures)}


def segment(
    datalist: Mapping[str, Any],
    segmenter: FundusSegmenter,
    out: str | os.PathLike[str],
    *,
    file_format: str = "png",
    soft: bool = False,
    overlays: bool = False,
    allow_upsampling: bool = False,
    keep_annotated: bool = False,
    follow_grades: bool = False,
    progress: bool = True,
) -> Path:
    """Write masks for all photographs of a datalist, and a datalist that names them; what stands is gone on with.

    `soft` writes probabilities, `overlays` a sheet of photographs with outlines. The datalist names annotated masks
    where an item has them (`keep_annotated`), and leaves out lesions that an item's grade excludes (`follow_grades`).

    Returns:
        The folder: `masks/<structure>/<photograph>`, `datalist.json` with all keys of the items, and `overlays.png`.

    Raises:
        DatalistError: for a datalist without photographs.
        ValueError: for another format than `png` or `nifti`, or a folder that was begun with other settings.
    """
    if file_format not in SUFFIXES:
        raise ValueError(f"file_format={file_format!r}: want one of {', '.join(SUFFIXES)}")
    folder, items = Path(out), [item for section in SECTIONS for item in datalist.get(section, ())]
    if not items:
        raise DatalistError("the datalist holds no photograph")
    names = photograph_names([item["image"] for item in items])
    settings = {"format": file_format, "soft": soft, "allow_upsampling": allow_upsampling}
    by_first(lambda: begin_folder(folder, {**settings, **_contents(names, segmenter)}, name=SETTINGS))
    files = {
        path: {key: folder / "masks" / key / f"{name}{SUFFIXES[file_format]}" for key in segmenter.structures}
        for path, name in names.items()
    }
    share, hidden = own_share(list(files.items())), not (progress and is_first())
    for path, targets in tqdm(share, desc="segment", unit="photograph", disable=hidden):
        if not all(target.is_file() for target in targets.values()):
            masks = segment_photograph(LoadFundus()(path), segmenter, soft=soft, allow_upsampling=allow_upsampling)
            for key, target in targets.items():
                target.parent.mkdir(parents=True, exist_ok=True)
                write_mask(target, masks[key])
    predicted = with_masks(datalist, files, segmenter.name)
    if keep_annotated or follow_grades:
        predicted = combine_masks(datalist if keep_annotated else {}, predicted, follow_grades=follow_grades)
    by_first(lambda: _finish(folder, predicted, files if overlays else {}))
    return folder


def _contents(names: Mapping[str, str], segmenter: FundusSegmenter) -> dict[str, Any]:
    photographs = {name: sha256_file(path) for path, name in names.items()}
    return {"segmenter": segmenter_record(segmenter), "photographs": photographs}


def _finish(folder: Path, predicted: Datalist, drawn: Mapping[str, Mapping[str, Path]]) -> None:
    remove_unfinished(folder)  # of a run that was killed while it wrote
    save_datalist(predicted, folder / DATALIST)
    if drawn:
        write_image(folder / OVERLAYS, _sheet(drawn))


def with_masks(datalist: Mapping[str, Any], files: Mapping[str, Mapping[str, Path]], judge: str) -> Datalist:
    """The datalist with the files of predicted masks under their keys, and whose they are in its description."""
    described = f"{datalist.get('description', '')} Masks predicted by {judge}, not annotated.".strip()
    sections = {
        section: [{**item, **{k: os.path.abspath(p) for k, p in files[item["image"]].items()}} for item in items]
        for section in SECTIONS
        if (items := datalist.get(section))
    }
    return {**{k: v for k, v in datalist.items() if k not in SECTIONS}, "description": described, **sections}


def _sheet(files: Mapping[str, Mapping[str, Path]]) -> Tensor:
    paths = list(files)
    chosen = [paths[i] for i in spread(len(paths), IN_SHEET)]
    return overlay_sheet([(read_image(p), {k: read_mask(f) for k, f in files[p].items()}) for p in chosen])


def find_images(paths: Sequence[str]) -> list[Item]:
    """The photographs that `--images` names, by file or by folder."""
    files: list[Path] = []
    for path in (Path(path).expanduser() for path in paths):
        if path.is_dir():
            inside = sorted(path.rglob("*"))
            files += [p for p in inside if is_image_file(p)]
            warn_unread(path, inside)
        else:
            files.append(path)
    if not files:
        raise DatalistError(f"--images {' '.join(paths)}: no photographs ({', '.join(IMAGE_SUFFIXES)}) in there")
    names = photograph_names(str(path.absolute()) for path in files)
    return [{"image": path, "group": name} for path, name in names.items()]


COLOURS = {
    "vessel": (0.25, 0.55, 1.0),
    "od": (0.2, 1.0, 0.4),
    **{name: MASK_COLOURS[name] for name in ("he", "ma", "se", "ex")},
}
"""Colour of each structure, in the order in which they are drawn: lesions as in pictures of masks."""

GAP = 4


def overlay(image: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
    """Outlines of masks `(1, H, W)` by name, from 0.5 on, over a photograph `(3, H, W)`; some names have no colour."""
    result = image.clone()
    for name, colour in COLOURS.items():
        if name in masks:
            inside = (masks[name] >= 0.5).float()
            eroded = 1 - max_pool2d(1 - inside[None], 3, stride=1, padding=1)[0]
            edge = (inside > eroded).float()
            result = result * (1 - edge) + torch.tensor(colour).view(3, 1, 1) * edge
    return result


def overlay_sheet(pairs: Sequence[tuple[Tensor, Mapping[str, Tensor]]], *, tile: int = 320, columns: int = 3) -> Tensor:
    """Photographs and their overlays side by side, `columns` such pairs in a row, `tile` pixels the longer side."""
    tiles = [torch.cat([_tile(image, tile), _tile(overlay(image, masks), tile)], 2) for image, masks in pairs]
    width = tiles[0].shape[2] + GAP
    rows = -(-len(tiles) // columns)
    sheet = torch.ones(3, rows * (tile + GAP), min(columns, len(tiles)) * width)
    for index, picture in enumerate(tiles):
        top, left = index // columns * (tile + GAP), index % columns * width
        sheet[:, top : top + tile, left : left + picture.shape[2]] = picture
    return sheet


def _tile(image: Tensor, side: int) -> Tensor:
    """The picture within a square of `side`, on black."""
    scale = side / max(image.shape[1:])
    size = [max(1, round(length * scale)) for length in image.shape[1:]]
    small = interpolate(image[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)
    top, left = (side - size[0]) // 2, (side - size[1]) // 2
    square = torch.zeros(3, side, side)
    square[:, top : top + size[0], left : left + size[1]] = small
    return square
