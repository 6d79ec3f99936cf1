"""The zoo's index: for every bundle its archive, sha256 and sizes, and the same of every file inside.

An index is read as strangers' input: whatever could lead outside the bundle's folder, or is not plausible, is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from monai_retina_gen.errors import ZooError, ZooUnavailableError

FORMAT = 1
BUNDLE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
MAX_BYTES = 1 << 30
"""Most that an archive, or the files in it, may hold."""
MAX_FILES = 1000

_VERSION = re.compile(r"\d{1,4}\.\d{1,4}\.\d{1,4}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class ZooEntry:
    """A bundle of the zoo in one version.

    Args:
        file: its archive beside the index, `<name>_v<version>.zip`; `sha256` and `bytes` are the archive's.
        files: sha256 and size of every file in it, by path inside the bundle.
        task: what it is for.
        modes: what the generator can do; empty for other networks.
        weights_licence: licence of the weights, and of the data that they were trained on.
        figures: headline figures, as in the bundle's metadata.
    """

    name: str
    version: str
    file: str
    sha256: str
    bytes: int
    files: Mapping[str, Mapping[str, Any]]
    task: str = ""
    modes: tuple[str, ...] = ()
    weights_licence: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def unpacked_bytes(self) -> int:
        """Size of all files together."""
        return sum(int(pin["bytes"]) for pin in self.files.values())

    @property
    def order(self) -> tuple[int, ...]:
        """The version as numbers, to sort by: 0.4.10 comes after 0.4.2."""
        return tuple(int(part) for part in self.version.split("."))

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "modes": list(self.modes), "unpacked_bytes": self.unpacked_bytes}


@dataclass(frozen=True)
class ZooIndex:
    """Everything that a zoo offers, and where the index came from."""

    entries: tuple[ZooEntry, ...]
    location: str

    def find(self, name: str, version: str | None = None) -> ZooEntry:
        """The entry of a bundle, by default of its highest version; `ZooUnavailableError` says what there is."""
        named = [entry for entry in self.entries if entry.name == name]
        found = [entry for entry in named if version in (None, entry.version)]
        if found:
            return max(found, key=lambda entry: entry.order)
        what = f"version {version} of bundle {name!r}" if named else f"bundle {name!r}"
        offered = [e.version for e in named] if named else sorted({e.name for e in self.entries})
        raise ZooUnavailableError(f"the zoo at {self.location} has no {what}; it has {', '.join(offered) or 'nothing'}")

    def latest(self) -> list[ZooEntry]:
        """The highest version of every bundle, by name."""
        return [self.find(name) for name in sorted({entry.name for entry in self.entries})]


def archive_name(name: str, version: str) -> str:
    """MONAI's name for a bundle's archive."""
    return f"{name}_v{version}.zip"


def parse_index(text: str | bytes, location: str) -> ZooIndex:
    """Read an index, JSON; a `ZooError` names the entry and the field that cannot be right."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ZooError(f"the index at {location} is not JSON: {str(error)[:200]}") from error
    if not isinstance(value, dict) or not isinstance(value.get("bundles"), list):
        raise ZooError(f"the index at {location} is not a zoo's: want an object with a list `bundles`")
    if value.get("format") != FORMAT:
        raise ZooError(
            f"the index at {location} has format {value.get('format')!r}, this package reads {FORMAT}: "
            "pip install --upgrade monai-retina-gen"
        )
    entries = tuple(_entry(item, f"{location}, bundles[{i}]") for i, item in enumerate(value["bundles"]))
    names = [entry.file for entry in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ZooError(f"the index at {location} lists {', '.join(twice)} twice")
    return ZooIndex(entries, location)


def check_member_path(path: Any, where: str) -> str:
    """A path inside a bundle that means the same file on every system and cannot lead outside.

    `ZooError` if it is absolute, climbs with `..`, or holds a back-slash, colon, control character or reserved name.
    """
    parts = path.split("/") if isinstance(path, str) else [""]
    plain = isinstance(path, str) and path.isprintable() and not re.search(r'[\\:*?"<>|]', path) and len(path) < 200
    if not plain or any(p in ("", ".", "..") or p != p.strip(" ") or p.endswith(".") for p in parts):
        raise ZooError(f"{where}: the path {path!r} could lead outside the bundle's folder; refused")
    if any(_RESERVED.fullmatch(p) for p in parts):
        raise ZooError(f"{where}: the path {path!r} holds a name that is reserved on Windows; refused")
    return str(path)


def _entry(item: Any, where: str) -> ZooEntry:
    if not isinstance(item, dict):
        raise ZooError(f"{where} is a {type(item).__name__}, want an object")
    name = _matching(item, "name", BUNDLE_NAME, where)
    version = _matching(item, "version", _VERSION, where)
    where = f"{where} ({name} {version})"
    if item.get("file") != archive_name(name, version):
        raise ZooError(f"{where}: file is {item.get('file')!r}, want {archive_name(name, version)!r}")
    entry = ZooEntry(
        name=name,
        version=version,
        file=item["file"],
        sha256=_matching(item, "sha256", _SHA256, where),
        bytes=_size(item, where),
        files=_files(item.get("files"), where),
        task=str(item.get("task", "")),
        modes=tuple(str(mode) for mode in item.get("modes") or ()),
        weights_licence=str(item.get("weights_licence", "")),
        figures=item["figures"] if isinstance(item.get("figures"), dict) else {},
    )
    if entry.unpacked_bytes > MAX_BYTES:
        raise ZooError(f"{where}: its files would fill {entry.unpacked_bytes / 2**30:.1f} GB; refused")
    return entry


def _files(value: Any, where: str) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict) or not 0 < len(value) <= MAX_FILES:
        raise ZooError(f"{where}: want an object `files` with 1 to {MAX_FILES} paths")
    found = {}
    for path, pin in value.items():
        inside = f"{where}, {path!r}"
        if not isinstance(pin, dict):
            raise ZooError(f"{inside}: want an object with sha256 and bytes")
        sha256 = _matching(pin, "sha256", _SHA256, inside)
        found[check_member_path(path, where)] = {"sha256": sha256, "bytes": _size(pin, inside)}
    if len({path.lower() for path in found}) < len(found):
        raise ZooError(f"{where}: two paths differ only in upper and lower case")
    return found


def _matching(item: dict[str, Any], key: str, pattern: re.Pattern[str], where: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ZooError(f"{where}: {key} is {str(value)[:80]!r}, want {pattern.pattern}")
    return value


def _size(item: dict[str, Any], where: str) -> int:
    value = item.get("bytes")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_BYTES:
        raise ZooError(f"{where}: bytes is {str(value)[:80]!r}, want a number up to {MAX_BYTES}")
    return value
