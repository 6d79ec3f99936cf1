"""The record that every generated or edited image carries: from it alone the image can be made again.

It travels as one JSON string, because strings collate, decollate and survive every MONAI pipeline, in
`MetaTensor.meta["generated"]`, in the dictionary item, in the PNG and in the manifest. An empty string means "real".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monai_retina_gen.errors import ImageValueError

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
