"""Folders of generated images beside a data set, with records, checksums and a datalist."""

from monai_retina_gen.transforms.expansion.folder import expand, image_seed

__all__ = ["expand", "image_seed"]
