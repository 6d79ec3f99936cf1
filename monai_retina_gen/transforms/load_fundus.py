"""Loading fundus photographs and their masks in MONAI pipelines.

MONAI's own `LoadImage` returns PNG and JPEG as (C, W, H), does not apply the EXIF orientation, returns
palette indices for palette files, four channels for RGBA and CMYK, and values in the units of the file.
`LoadFundus` returns RGB (3, H, W) in [0, 1] and says so in the metadata.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.folder_layout import FolderLayoutBase
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, ensure_tuple

from monai_retina_gen.data import photograph_names
from monai_retina_gen.data.image_io import MAX_PIXELS, read_image, read_mask
from monai_retina_gen.errors import ImageFileError

PathLike = str | os.PathLike[str]


class LoadFundus(Transform):
    """Load a photograph, or a mask, from a PNG, JPEG, TIFF, BMP, WebP, NIfTI or DICOM file.

    Args:
        mask: read a mask (1, H, W) instead of a photograph (3, H, W).
        max_pixels: refuse larger files, see `monai_retina_gen.data.image_io.read_image`.

    Examples:
        >>> import tempfile, torch
        >>> from monai_retina_gen.data import write_image
        >>> file = f"{tempfile.mkdtemp()}/eye.png"
        >>> write_image(file, torch.zeros(3, 4, 6))
        >>> image = LoadFundus()(file)
        >>> tuple(image.shape), image.meta["image_order"], image.meta["original_size"]
        ((3, 4, 6), 'CHW', [4, 6])
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012

    def __init__(self, *, mask: bool = False, max_pixels: int = MAX_PIXELS) -> None:
        self.mask = mask
        self.max_pixels = max_pixels

    def __call__(self, filename: PathLike) -> MetaTensor:
        """Read one file; `ImageFileError` names the file and the remedy.

        (3, H, W), or (1, H, W) for a mask, float32 in [0, 1], with `meta["image_order"] = "CHW"`,
        `meta["filename_or_obj"]` and `meta["original_size"] = [H, W]`.
        """
        if not isinstance(filename, (str, os.PathLike)):
            raise ImageFileError(f"filename: {type(filename).__name__} came, wanted the path of one image file")
        image = (read_mask if self.mask else read_image)(filename, max_pixels=self.max_pixels)
        meta = {
            "image_order": "CHW",
            "filename_or_obj": os.fspath(filename),
            "original_size": list(image.shape[1:]),
            "original_channel_dim": 0,  # so that EnsureChannelFirst leaves it alone
        }
        return MetaTensor(image, meta=meta)


class LoadFundusd(MapTransform):
    """Dictionary form of `LoadFundus`.

    Args:
        keys: photographs.
        mask_keys: masks; each must have the size of the first photograph, else `ImageFileError` names both files.
        max_pixels: refuse larger files.
        allow_missing_keys: leave out keys that an item lacks (an absent mask key: no such lesion).

    Examples:
        >>> import tempfile, torch
        >>> from monai_retina_gen.data import write_image, write_mask
        >>> folder = tempfile.mkdtemp()
        >>> item = {"image": f"{folder}/eye.png", "ex": f"{folder}/ex.png", "grade": 2}
        >>> write_image(item["image"], torch.zeros(3, 4, 6))
        >>> write_mask(item["ex"], torch.ones(1, 4, 6))
        >>> item = LoadFundusd(keys="image", mask_keys="ex")(item)
        >>> tuple(item["image"].shape), tuple(item["ex"].shape), item["grade"]
        ((3, 4, 6), (1, 4, 6), 2)
    """

    backend = LoadFundus.backend

    def __init__(
        self,
        keys: KeysCollection,
        *,
        mask_keys: KeysCollection = (),
        max_pixels: int = MAX_PIXELS,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_keys: tuple[Hashable, ...] = ensure_tuple(mask_keys)
        self.image_loader = LoadFundus(max_pixels=max_pixels)
        self.mask_loader = LoadFundus(mask=True, max_pixels=max_pixels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the paths under `keys` and `mask_keys` by images and masks."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.image_loader(item[key])
        reference = next((item[key] for key in self.keys if key in item), None)
        for key in self.mask_keys:
            if key not in item and self.allow_missing_keys:
                continue
            if key not in item:
                raise KeyError(f"mask_keys: the item has no key {key!r}; it has {sorted(map(str, item))}")
            item[key] = self.mask_loader(item[key])
            _check_same_size(reference, item[key])
        return item


def _check_same_size(image: MetaTensor | None, mask: MetaTensor) -> None:
    if image is not None and image.shape[1:] != mask.shape[1:]:
        names = (f"{x.meta['filename_or_obj']} (H, W) = {tuple(x.shape[1:])}" for x in (image, mask))
        raise ImageFileError(f"photograph and mask differ in size: {' and '.join(names)}; export them at one size")


LoadFundusD = LoadFundusDict = LoadFundusd


class PhotographLayout(FolderLayoutBase):
    """Names a file after its photograph and the folder that it lies in, for `SaveImage(folder_layout=...)`.

    MONAI's own layout takes the file name alone: `left/1.png` and `right/1.png` are written to one file. `photographs`
    are the paths of all photographs of the run (see `photograph_names`).

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> layout = PhotographLayout(["/eyes/a/1.png", "/eyes/b/1.png"], output_dir=folder)
        >>> os.path.relpath(layout.filename(subject="/eyes/b/1.png"), folder)
        'b/1_masks.nii.gz'
    """

    def __init__(
        self,
        photographs: Iterable[str],
        *,
        output_dir: str | os.PathLike[str],
        postfix: str = "masks",
        extension: str = ".nii.gz",
    ) -> None:
        self.names, self.folder = photograph_names(photographs), Path(output_dir)
        self.ending = f"_{postfix}{extension}"

    def filename(self, **kwargs: Any) -> str:
        """Path of the file for the photograph `subject`; `KeyError` for one that is not of the run."""
        path = self.folder / f"{self.names[str(kwargs['subject'])]}{self.ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)
