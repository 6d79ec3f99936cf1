"""The record that every generated or edited image carries, and folders of such images with a manifest.

From the record alone the image can be made again. It travels as one JSON string, because strings collate, decollate and
survive every MONAI pipeline, in `MetaTensor.meta["generated"]`, in the dictionary item, in the PNG and in the manifest.
An empty string means "real".
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from monai_retina_gen.data.files import sha256_file, write_json
from monai_retina_gen.errors import DatalistError, ImageValueError

RECORD_KEY = "generated"
"""Key of the record in `MetaTensor.meta` and in the text of a PNG."""

_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 Iptc4xmpExt:DigitalSourceType="{source_type}"/></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True, kw_only=True)
class GenerationRecord:
    """How an image was made.

    Args:
        generator: name of the bundle.
        version: version of the bundle.
        weights_sha256: sha256 of its weights.
        mode: `sample`, `reconstruct`, `edit` or `synthesize`.
        grade: grade 0-4 that was asked for.
        seed: seed of the latent.
        image_size: side in pixels at which the generator made it.
        source: identifier of the source photograph (`""` for a sample).
        options: further arguments of the call, plain values.
        label: `"unverified"`, or by which gate the label was verified.

    Examples:
        >>> record = GenerationRecord(generator="retina_vae", version="0.1.0", weights_sha256="00", mode="sample",
        ...                           grade=3, seed=7, image_size=128)
        >>> GenerationRecord.from_json(record.to_json()) == record, "trainedAlgorithmicMedia" in record.to_xmp()
        (True, True)
    """

    generator: str
    version: str
    weights_sha256: str
    mode: str
    grade: int
    seed: int
    image_size: int
    source: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    label: str = "unverified"

    def to_json(self) -> str:
        """The record as one line of JSON with sorted keys."""
        return json.dumps(vars(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> GenerationRecord:
        """Read a record; raises `ValueError` where the text is not one."""
        try:
            return cls(**json.loads(text))
        except (TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a generation record: {text[:200]!r} ({error})") from error

    def to_xmp(self) -> str:
        """XMP packet with IPTC's digital source type: generated, or a photograph edited by a generator."""
        edited = self.mode in ("edit", "reconstruct") or self.options.get("canvas")
        kind = "compositeWithTrainedAlgorithmicMedia" if edited else "trainedAlgorithmicMedia"
        return _XMP.format(source_type=_SOURCE_TYPES + kind)


def read_record(item: Any) -> GenerationRecord | None:
    """The record of an image, or `None` for a real one.

    Args:
        item: a `MetaTensor`, its `meta`, a record's JSON text, or the text chunks of a PNG.

    Raises:
        ImageValueError: if `item` can carry no record.

    Examples:
        >>> read_record({"generated": ""}) is None
        True
    """
    meta = getattr(item, "meta", item)
    if isinstance(meta, Mapping):
        meta = meta.get(RECORD_KEY, "")
    if not isinstance(meta, str):
        raise ImageValueError(
            f"a {type(item).__name__} carries no record; pass a MetaTensor, its meta or the JSON text"
        )
    return GenerationRecord.from_json(meta) if meta else None


MANIFEST = "manifest.json"


def write_manifest(
    folder: Path, entries: Iterable[tuple[str, GenerationRecord]], masks: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Write `manifest.json`: for every image its path in the folder, sha256 of its bytes, grade and record.

    `masks` are paths of masks by image and mask key, where there are any.
    """
    images = []
    for name, record in entries:
        entry = {"image": name, "grade": record.grade, "sha256": sha256_file(folder / name), "record": asdict(record)}
        files = (masks or {}).get(name, {})
        if files:
            entry["masks"] = {k: {"image": file, "sha256": sha256_file(folder / file)} for k, file in files.items()}
        images.append(entry)
    write_json({"format": 1, "note": "generated images, not photographs", "images": images}, folder / MANIFEST)


def read_manifest(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Entries of a folder's manifest, with `image` as an absolute path.

    `DatalistError` if there is no manifest, it cannot be read, or a path leaves the folder.
    """
    root = Path(folder).resolve()
    path = root / MANIFEST
    if not path.is_file():
        raise DatalistError(f"{root} has no {MANIFEST}: make it with `monai-retina-gen expand --out {root}`")
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["images"]
        found = [_absolute(entry, root) for entry in entries]
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DatalistError(f"{path} is not a manifest of generated images: {error!r}") from error
    files = [file["image"] for entry in found for file in (entry, *entry.get("masks", {}).values())]
    outside = [file for file in files if not Path(file).is_relative_to(root)]
    if outside:
        raise DatalistError(f"{path} names files outside its folder: {outside[:3]}")
    return found


def _absolute(entry: dict[str, Any], root: Path) -> dict[str, Any]:
    found = {**entry, "image": str((root / entry["image"]).resolve()), "grade": int(entry["grade"])}
    if "masks" in entry:
        masks: dict[str, Any] = entry["masks"]
        found["masks"] = {k: {**m, "image": str((root / m["image"]).resolve())} for k, m in masks.items()}
    return found


def verify_file(entry: dict[str, Any]) -> None:
    """Raise `DatalistError` where an entry's file is missing or its bytes have changed."""
    path = Path(entry["image"])
    if not path.is_file():
        raise DatalistError(f"{path} is in the manifest and not on disk; run `expand` again")
    if sha256_file(path) != entry["sha256"]:
        raise DatalistError(
            f"{path} was changed after it was generated (sha256 differs); delete it and run `expand` again"
        )


class SyntheticDataset(Dataset[Any]):
    """Items of a folder that `expand` made: `{"image": path, "grade": int, "generated": record as JSON}`.

    Images that were made from masks have these too, as paths under their mask keys. `transform` is applied to each
    item. `DatalistError` if the manifest is missing or any image was changed or removed.
    """

    def __init__(self, folder: str | os.PathLike[str], transform: Callable[[Any], Any] | None = None) -> None:
        self.transform, self.data = transform, []
        for entry in read_manifest(folder):
            masks = entry.get("masks", {})
            for file in (entry, *masks.values()):
                verify_file(file)
            record = GenerationRecord(**entry["record"]).to_json()
            item = {"image": entry["image"], "grade": entry["grade"], "generated": record}
            self.data.append({**item, **{key: file["image"] for key, file in masks.items()}})

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        item = dict(self.data[index])
        return item if self.transform is None else self.transform(item)


def with_versions(items: Sequence[dict[str, Any]], file: str | os.PathLike[str] | None) -> list[dict[str, Any]]:
    """Items with their painted versions under `versions`; none where `file` is None.

    `file` is a JSON list of `{"image": name of a photograph's file, "versions": [{"image": path, "grade": 0-4,
    "lesion": kind that was painted, "" where all were erased}]}`; paths are relative to its folder. `DatalistError` for
    other content.
    """
    if file is None:
        return [{**item, "versions": []} for item in items]
    folder = Path(file).parent
    try:
        rows = {
            row["image"]: [dict(each) for each in row["versions"]]
            for row in json.loads(Path(file).read_text(encoding="utf-8"))
        }
        for each in (version for versions in rows.values() for version in versions):
            each["image"], each["grade"] = str(folder / each["image"]), int(each["grade"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatalistError(f"{os.fspath(file)} is no list of painted versions: {error!r}") from error
    return [{**item, "versions": rows.get(Path(str(item["image"])).name, [])} for item in items]
