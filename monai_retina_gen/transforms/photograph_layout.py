"""Where MONAI's `SaveImage` writes what belongs to photographs: folders stay apart."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from monai.data.folder_layout import FolderLayoutBase

from monai_retina_gen.data import photograph_names

__all__ = ["PhotographLayout"]


class PhotographLayout(FolderLayoutBase):
    """Names a file after its photograph and the folder that it lies in (see `photograph_names`).

    MONAI's own layout takes the file name alone: `left/1.png` and `right/1.png` are written to one file. For
    `SaveImage(folder_layout=...)`.

    Args:
        photographs: paths of all photographs of the run.
        output_dir: folder to write into; its sub-folders are made.
        postfix: joined to the name with `_`.
        extension: with its dot.

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
        """Path of the file for the photograph `subject`.

        Raises:
            KeyError: for a photograph that is not of the run.
        """
        path = self.folder / f"{self.names[str(kwargs['subject'])]}{self.ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)
