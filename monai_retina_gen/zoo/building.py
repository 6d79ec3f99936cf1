"""Building a zoo: a folder with every bundle's archive, our index, and MONAI's `model_info.json`."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from monai_retina_gen import __version__
from monai_retina_gen.data import write_json
from monai_retina_gen.data.files import write_atomically
from monai_retina_gen.errors import ZooError
from monai_retina_gen.weights import CHECKPOINT, INDEX_FILE, PUBLIC_ZOO, ZooEntry, parse_index
from monai_retina_gen.zoo.packing import pack_bundle

MODEL_INFO = "model_info.json"
"""MONAI's index: `{"<name>_v<version>": {"checksum": sha1, "source": address}}`."""

logger = logging.getLogger(__name__)


def find_bundles(folder: Path) -> list[Path]:
    """The bundles in a folder that have weights; logs those that have none. `ZooError` if there is none."""
    bundles = sorted(path.parent.parent for path in folder.glob("*/configs/metadata.json"))
    without = [bundle.name for bundle in bundles if not (bundle / CHECKPOINT).is_file()]
    if without:
        logger.warning(f"without weights, left out: {', '.join(without)}")
    found = [bundle for bundle in bundles if bundle.name not in without]
    if not found:
        raise ZooError(
            f"{folder.absolute()} holds no bundle with {CHECKPOINT}: set MRG_BUNDLES to the folder that holds your "
            "bundles, or name it (`zoo build --bundles FOLDER`, `zoo verify FOLDER/retina_vae`)"
        )
    return found


def build_zoo(
    bundles: Iterable[Path], out: Path, *, address: str | None = PUBLIC_ZOO, replace: bool = False
) -> list[ZooEntry]:
    """Pack bundles and write the indices; versions that are in `out` already stay. Returns the new index's entries.

    Args:
        bundles: their folders.
        out: folder to write; equal bundles in an empty folder give equal bytes.
        address: where the archives will be found; `model_info.json` needs it, and has bare file names without.
        replace: overwrite an archive of the same version and other content.

    Raises:
        ZooError: if a bundle cannot be packed, or was changed under a version that is in `out` already.
    """
    out.mkdir(parents=True, exist_ok=True)
    entries = {entry.file: entry for entry in _present(out)}
    with tempfile.TemporaryDirectory(dir=out, prefix=".packing.") as work:
        for bundle in bundles:
            entry = pack_bundle(bundle.resolve(), Path(work))
            parse_index(_index([entry]), str(bundle))  # what we write, we read
            before = entries.get(entry.file)
            if before is not None and before.sha256 != entry.sha256 and not replace:
                raise ZooError(
                    f"{entry.name} was changed, and version {entry.version} is in {out} already: raise the version in "
                    "its metadata and say why in the changelog, or use --replace if that version was never published"
                )
            entries[entry.file] = entry
            (Path(work) / entry.file).replace(out / entry.file)
    found = sorted(entries.values(), key=lambda entry: (entry.name, entry.order))
    write_atomically(out / INDEX_FILE, _index(found))
    write_json(_model_info(found, out, address), out / MODEL_INFO)
    return found


def _index(entries: list[ZooEntry]) -> str:
    """The index as text, equal for equal entries."""
    index = {"format": 1, "package": f"monai_retina_gen {__version__}", "bundles": [e.as_dict() for e in entries]}
    return json.dumps(index, indent=4, sort_keys=True) + "\n"


def _present(out: Path) -> list[ZooEntry]:
    path = out / INDEX_FILE
    if not path.is_file():
        return []
    return [entry for entry in parse_index(path.read_bytes(), str(out)).entries if (out / entry.file).is_file()]


def _model_info(entries: list[ZooEntry], out: Path, address: str | None) -> dict[str, dict[str, Any]]:
    prefix = f"{address.rstrip('/')}/" if address else ""
    return {
        Path(entry.file).stem: {"checksum": _sha1(out / entry.file), "source": f"{prefix}{entry.file}"}
        for entry in entries
    }


def _sha1(path: Path) -> str:
    """MONAI's format asks for sha1; nothing of ours trusts it."""
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
