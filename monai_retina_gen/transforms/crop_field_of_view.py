"""Cropping photographs to the retina, and putting cropped or edited images back.

Grounds that are not black are painted black, since generators and graders know the retina on black only.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform
from monai.utils import TransformBackends
from monai.utils.enums import TraceKeys

from monai_retina_gen.arguments import check_real, check_whole
from monai_retina_gen.data.field_of_view import FieldOfView, find_field_of_view
from monai_retina_gen.data.plain_tensor import plain_tensor
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.transforms.box_geometry import (
    box_geometry,
    box_size,
    cut,
    disc,
    overlap,
    resize_to,
)
from monai_retina_gen.transforms.image_order import check_image, file_of, naming_file, resolve_image_order, turned

META_KEY = "field_of_view"


class CropToFieldOfView(InvertibleTransform):
    """Crop a photograph to the square around the retina.

    A retina that comes as an ellipse, because a landscape photograph was squeezed to a square, becomes a circle again:
    the rectangle around it is resized to the square, and a warning names the file. Ultra-wide-field photographs are
    ellipses by nature: `unsqueeze=False` keeps their shape.

    Where the square reaches outside the photograph (clipped tops and bottoms) it is padded with black. Where the
    ground is not black, everything outside the retina is set to black; a black ground is left as it is. A
    photograph that the retina fills without a visible border is padded to a square. Deterministic, so that caching
    data sets cache its result.

    Args:
        size: side of the result in pixels (antialiased bilinear interpolation); None keeps the resolution.
        margin: widens the square on every side by this share of the radius.
        image_order: `"CHW"`, `"CWH"` (MONAI's `LoadImage`), or None to read it from the metadata.
        unsqueeze: resize an ellipse to a circle; False cuts the square around it instead.
        allow_upsampling: let `size` be larger than the longer side of the retina (by more than 5 % and 2 pixels);
            otherwise that is an error.

    Examples:
        >>> import torch
        >>> y, x = torch.meshgrid(torch.arange(96) - 39.5, torch.arange(128) - 69.5, indexing="ij")
        >>> image = torch.where(y**2 + x**2 < 36**2, 0.5, 0.0) * torch.tensor([1.0, 0.6, 0.3]).view(3, 1, 1)
        >>> crop = CropToFieldOfView(size=64, image_order="CHW")
        >>> small = crop(image)
        >>> tuple(small.shape), round(small.meta["field_of_view"]["radius_y"])
        ((3, 64, 64), 36)
        >>> tuple(crop.inverse(small).shape)
        (3, 96, 128)
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(
        self,
        *,
        size: int | None = None,
        margin: float = 0.0,
        image_order: str | None = None,
        unsqueeze: bool = True,
        allow_upsampling: bool = False,
    ) -> None:
        self.size = None if size is None else check_whole("size", size)
        self.margin = check_real("margin", margin, least=0)
        self.image_order = image_order
        self.unsqueeze = unsqueeze
        self.allow_upsampling = allow_upsampling

    def __call__(self, image: torch.Tensor) -> MetaTensor:
        """Find the retina and crop (3, H, W), or (3, W, H) for `"CWH"`, floating point in [0, 1].

        Returns:
            Square image in the same order, float32; `meta["field_of_view"]` holds the ellipse (`centre_y`, `centre_x`,
            `radius_y`, `radius_x`), the box (`top`, `left`, `box_height`, `box_width`) and the photograph's `height`
            and `width`, in its pixels.

        Raises:
            ImageValueError: not an image by the package's convention, unknown order, no retina, two, or upsampling.

        Warns:     UserWarning: the retina is an ellipse, or its colours are those of BGR or inverted channels.
        """
        return self.apply(image, self.find(image))

    def find(self, image: torch.Tensor) -> FieldOfView:
        """The circle or ellipse of the retina, in (C, H, W) terms whatever the order of the image."""
        with naming_file(image):
            order = resolve_image_order(image, self.image_order)
            pixels = check_image(image)
            if pixels.ndim != 3:
                raise ImageValueError(f"image: shape {tuple(pixels.shape)} came, wanted one image (3, H, W), no batch")
            found = find_field_of_view(turned(pixels, order))
        self._warn(found, file_of(image) or "image")
        return found

    def _warn(self, found: FieldOfView, name: str) -> None:
        if found.colour_fault:
            warnings.warn(f"{name}: {found.colour_fault}; turn them before the crop", UserWarning, stacklevel=4)
        if found.aspect != 1 and self.unsqueeze:
            warnings.warn(
                f"{name}: the retina is an ellipse, {2 * found.radius_x:.0f} x {2 * found.radius_y:.0f} pixels, and "
                "is resized to a circle; unsqueeze=False keeps its shape (ultra-wide-field photographs)",
                UserWarning,
                stacklevel=4,
            )

    def apply(self, image: torch.Tensor, field_of_view: FieldOfView, *, mask: bool = False) -> MetaTensor:
        """Crop an image, or a mask (C, H, W), by a field of view that is known. Masks are averaged over areas."""
        with naming_file(image):
            order = resolve_image_order(image, self.image_order)
            geometry = box_geometry(field_of_view, self.margin, square=not self.unsqueeze)
            pixels = cut(turned(plain_tensor(image).float(), order), geometry)
            if not (mask or field_of_view.dark_ground):
                pixels = pixels * disc(geometry, pixels.device)
            pixels = turned(self._shrink(pixels, mask), order)
        result = MetaTensor(pixels).copy_meta_from(image) if isinstance(image, MetaTensor) else MetaTensor(pixels)
        result.meta.update({"image_order": order, META_KEY: geometry})
        extra = {"geometry": dict(geometry), "order": order, "mode": "bilinear"}
        return self.push_transform(result, orig_size=tuple(image.shape[1:]), extra_info=extra)

    def inverse(self, data: torch.Tensor, background: torch.Tensor | None = None) -> MetaTensor:
        """Put a cropped image or mask, edited or not, back into a frame of the original size, in the order of `data`.

        `data` is (C, size, size) with the metadata that `__call__` gave it. Only the retina is pasted into
        `background`, the original photograph (C, H, W) in the same order: every pixel outside stays as it is, bit for
        bit; without one it is black. `ImageValueError` without a field of view in the metadata, with another transform
        to undo first, or for a background of another size.
        """
        with naming_file(data):
            geometry, order, mode = self._recall(data)
            pixels = resize_to(turned(plain_tensor(data).float(), order), box_size(geometry), mode)
            canvas, inside = self._canvas(pixels, geometry, background, order)
        frame, box = overlap(geometry)
        canvas[frame] = torch.where(inside[box], pixels[box].to(canvas), canvas[frame])
        return _without_crop(turned(canvas, order), data)

    @staticmethod
    def _canvas(
        pixels: torch.Tensor, geometry: Mapping[str, float], background: torch.Tensor | None, order: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the crop is pasted into, and which pixels of the box are."""
        size = (int(geometry["height"]), int(geometry["width"]))
        if background is None:
            everywhere = torch.ones(1, *box_size(geometry), dtype=torch.bool, device=pixels.device)
            return pixels.new_zeros((len(pixels), *size)), everywhere
        canvas = turned(plain_tensor(background), order)
        if canvas.shape != (len(pixels), *size):
            raise ImageValueError(
                f"background: shape {tuple(background.shape)} came in order {order}, wanted {len(pixels)} "
                f"channels of the photograph's height and width {size}"
            )
        return canvas.clone(), disc(geometry, canvas.device)

    def _shrink(self, pixels: torch.Tensor, mask: bool) -> torch.Tensor:
        side = max(pixels.shape[-2:])
        size = self.size or side
        # A photograph that was cropped before comes out a little smaller: the circle is known to a pixel or two.
        if size > 1.05 * side + 2 and not self.allow_upsampling:
            raise ImageValueError(
                f"size: {size} came, but the field of view has only {side} pixels; ask for a smaller "
                "size, or pass allow_upsampling=True"
            )
        return resize_to(pixels, (size, size), "area" if mask and size < side else "bilinear")

    def _recall(self, data: torch.Tensor) -> tuple[dict[str, float], str, str]:
        """Geometry, order and interpolation mode from the trace, or from the metadata where there is no trace."""
        operations = getattr(data, "applied_operations", [])
        if operations and operations[-1][TraceKeys.CLASS_NAME] != type(self).__name__:
            raise ImageValueError(
                f"image: {operations[-1][TraceKeys.CLASS_NAME]} was applied after the crop; undo it first, or call "
                "the inverse of the whole Compose"
            )
        if operations:
            extra = operations[-1][TraceKeys.EXTRA_INFO]
            return extra["geometry"], str(extra["order"]), str(extra["mode"])
        geometry = getattr(data, "meta", {}).get(META_KEY)
        if geometry is None:
            raise ImageValueError(
                f'image: meta["{META_KEY}"] is missing, so the place of the crop is unknown; keep the MetaTensor that '
                "the crop returned, or copy its meta (result.copy_meta_from(cropped))"
            )
        return geometry, resolve_image_order(data, self.image_order), "bilinear"


def _without_crop(image: torch.Tensor, data: torch.Tensor) -> MetaTensor:
    """The metadata of `data`, less what the crop wrote."""
    result = MetaTensor(image).copy_meta_from(data) if isinstance(data, MetaTensor) else MetaTensor(image)
    result.applied_operations = result.applied_operations[:-1]
    result.meta.pop(META_KEY, None)
    return result
