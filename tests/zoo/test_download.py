"""Bundles from a folder and over the network: resumed, checked, all or nothing; by name, last, for `load_generator`."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import torch

from monai_retina_gen.errors import BundleNotFoundError, ZooError, ZooUnavailableError
from monai_retina_gen.generators import load_generator
from monai_retina_gen.weights import find_bundle, read_index, zoo_location
from monai_retina_gen.weights.zoo_download import PUBLIC_ZOO, download_bundle
from monai_retina_gen.weights.zoo_transfer import _Part

if TYPE_CHECKING:
    from .conftest import Server

ARCHIVE = "tiny_vae_v0.0.1.zip"


def _left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def test_from_a_folder(zoo: Path, zoo_bundle: Path, tmp_path: Path) -> None:
    found = download_bundle("tiny_vae", location=str(zoo), folder=tmp_path / "to")
    assert found == tmp_path / "to" / "tiny_vae"
    assert (found / "models/model.pt").read_bytes() == (zoo_bundle / "models/model.pt").read_bytes()
    assert not (found / "training").exists()
    assert _left(tmp_path / "to") == ["tiny_vae"]
    assert (zoo / ARCHIVE).is_file()
    assert download_bundle("tiny_vae", location=f"file://{zoo}", folder=tmp_path / "other").is_dir()


def test_over_the_network_and_again_without_it(zoo: Path, server: Server, tmp_path: Path) -> None:
    download_bundle("tiny_vae", location=server.address, folder=tmp_path / "to")
    assert [path for path, _ in server.requests] == ["/index.json", f"/{ARCHIVE}"]
    server.requests.clear()
    download_bundle("tiny_vae", location=server.address, folder=tmp_path / "to")
    assert [path for path, _ in server.requests] == ["/index.json"]
    assert _left(tmp_path / "to") == ["tiny_vae"]


def test_a_broken_transfer_goes_on_by_itself(server: Server, zoo: Path, tmp_path: Path) -> None:
    server.breaks = [20_000, 10_000]  # what is written comes in pieces of 8192
    download_bundle("tiny_vae", location=server.address, folder=tmp_path / "to")
    assert [asked for path, asked in server.requests if path != "/index.json"] == [None, "bytes=16384-", "bytes=24576-"]


def test_a_transfer_that_was_given_up_goes_on_at_the_next_call(server: Server, zoo: Path, tmp_path: Path) -> None:
    server.breaks = [9000, 0, 0]
    with pytest.raises(ZooUnavailableError, match=r"8192 of .* start again"):
        download_bundle("tiny_vae", location=server.address, folder=tmp_path / "to")
    assert not (tmp_path / "to" / "tiny_vae").exists()
    server.requests.clear()
    download_bundle("tiny_vae", location=server.address, folder=tmp_path / "to")
    assert server.requests[-1] == (f"/{ARCHIVE}", "bytes=8192-")
    assert _left(tmp_path / "to") == ["tiny_vae"]


def test_a_server_without_ranges_sends_all_again(server: Server, zoo: Path, tmp_path: Path) -> None:
    server.breaks, server.ranges = [9000], False
    assert download_bundle("tiny_vae", location=server.address, folder=tmp_path / "to").is_dir()


def test_a_part_of_another_file_is_not_installed(server: Server, zoo: Path, tmp_path: Path) -> None:
    sha256 = read_index(str(zoo)).find("tiny_vae").sha256
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / f".{ARCHIVE}.{sha256[:16]}.part").write_bytes(b"x" * 100)
    with pytest.raises(ZooError, match="changed or is incomplete"):
        download_bundle("tiny_vae", location=server.address, folder=tmp_path / "to")
    assert _left(tmp_path / "to") == []
    assert download_bundle("tiny_vae", location=server.address, folder=tmp_path / "to").is_dir()


@pytest.mark.parametrize("damage", ["changed", "truncated", "longer", "absent"])
@pytest.mark.parametrize("way", ["folder", "network"])
def test_another_archive_than_the_index_lists_is_refused(
    damage: str, way: str, server: Server, zoo: Path, tmp_path: Path
) -> None:
    content = (zoo / ARCHIVE).read_bytes()
    spoilt = {"changed": content[:-1] + b"x", "truncated": content[:5000], "longer": content + b"x"}
    if damage == "absent":
        (zoo / ARCHIVE).unlink()
    else:
        (zoo / ARCHIVE).write_bytes(spoilt[damage])
    expected = "changed or is incomplete|of .* bytes are there|sends more|not there|answers 404"
    with pytest.raises(ZooError, match=expected):
        download_bundle("tiny_vae", location=server.address if way == "network" else str(zoo), folder=tmp_path / "to")
    assert not (tmp_path / "to" / "tiny_vae").exists()


def test_endless_answers_are_cut_off(server: Server, zoo: Path, tmp_path: Path) -> None:
    server.surplus = b" " * (9 << 20)
    with pytest.raises(ZooError, match="sends more than"):
        download_bundle("tiny_vae", location=server.address, folder=tmp_path / "to")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("file:///etc/passwd", "want an https"),
        ("ftp://127.0.0.1/x", "want an https"),
        ("http://example.invalid/index.json", "want an https"),
        ("/index.json", "redirects to where"),
    ],
)
def test_redirects_to_elsewhere_are_refused(target: str, message: str, server: Server, zoo: Path) -> None:
    server.redirects["/index.json"] = target
    with pytest.raises(ZooError, match=message):
        read_index(server.address)


def test_a_redirect_from_https_to_http_is_refused(tmp_path: Path) -> None:
    response = requests.Response()
    response.status_code, response.url = 302, "https://example.org/zoo/index.json"
    response.headers["location"] = "http://127.0.0.1/index.json"
    with _Part(tmp_path / "part", 10, response.url) as part, pytest.raises(ZooError, match="not encrypted"):
        part.check_response(response)


def test_other_bytes_than_were_asked_for_are_refused(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"begun")
    response = requests.Response()
    response.status_code, response.url = 206, "https://example.org/zoo/index.json"
    response.headers["Content-Range"] = "bytes 4-9/10"
    with _Part(tmp_path / "part", 10, response.url) as part:
        assert part.wanted == {"Range": "bytes=5-"}
        with pytest.raises(ZooError, match="other bytes than were asked for"):
            part.check_response(response)
    assert (tmp_path / "part").read_bytes() == b"begun"


def test_a_redirect_on_the_same_terms_is_followed(server: Server, zoo: Path, tmp_path: Path) -> None:
    (zoo / "moved.zip").write_bytes((zoo / ARCHIVE).read_bytes())
    server.redirects[f"/{ARCHIVE}"] = f"{server.address}/moved.zip"
    assert download_bundle("tiny_vae", location=server.address, folder=tmp_path / "to").is_dir()


@pytest.mark.parametrize(
    "address", ["http://example.org/zoo", "ftp://example.org/zoo", "s3://bucket/zoo", "https:///x"]
)
def test_addresses_that_cannot_be_trusted_are_refused(address: str) -> None:
    with pytest.raises(ZooError, match="want an https"):
        zoo_location(address)


def test_a_folder_that_is_there_is_kept_unless_told(zoo: Path, tmp_path: Path) -> None:
    half = tmp_path / "to" / "tiny_vae" / "configs"
    half.mkdir(parents=True)
    (half / "mine.json").write_text("{}")
    with pytest.raises(ZooError, match=r"is missing.*Use --replace"):
        download_bundle("tiny_vae", location=str(zoo), folder=tmp_path / "to")
    download_bundle("tiny_vae", location=str(zoo), folder=tmp_path / "to", replace=True)
    assert _left(tmp_path / "to") == ["tiny_vae", "tiny_vae.replaced1"]
    assert (tmp_path / "to" / "tiny_vae.replaced1" / "configs" / "mine.json").is_file()


def test_a_changed_file_is_noticed_and_an_added_one_is_not(zoo: Path, tmp_path: Path) -> None:
    bundle = download_bundle("tiny_vae", location=str(zoo), folder=tmp_path / "to")
    (bundle / "output").mkdir()
    assert download_bundle("tiny_vae", location=str(zoo), folder=tmp_path / "to") == bundle
    config = bundle / "configs" / "inference.json"
    config.write_bytes(config.read_bytes().replace(b"64", b"65"))
    with pytest.raises(ZooError, match=r"inference\.json is changed"):
        download_bundle("tiny_vae", location=str(zoo), folder=tmp_path / "to")


def test_what_a_killed_process_left_is_removed(zoo: Path, tmp_path: Path) -> None:
    left = tmp_path / "to" / ".tiny_vae.abc.part" / "tiny_vae" / "configs"
    left.mkdir(parents=True)
    download_bundle("tiny_vae", location=str(zoo), folder=tmp_path / "to")
    assert _left(tmp_path / "to") == ["tiny_vae"]


def test_two_processes_download_once(server: Server, zoo: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    options = {"location": server.address, "folder": str(tmp_path / "to")}
    both = [context.Process(target=download_bundle, args=("tiny_vae",), kwargs=options) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert [path for path, _ in server.requests].count(f"/{ARCHIVE}") == 1


def test_versions_are_numbers(zoo: Path) -> None:
    index = json.loads((zoo / "index.json").read_text())
    entry = index["bundles"][0]
    for version in ("0.0.10", "0.0.9"):
        index["bundles"].append({**entry, "version": version, "file": f"tiny_vae_v{version}.zip"})
    (zoo / "index.json").write_text(json.dumps(index))
    assert read_index(str(zoo)).find("tiny_vae").version == "0.0.10"
    with pytest.raises(ZooUnavailableError, match=r"no version 9\.9\.9 .* it has 0\.0\.1, 0\.0\.10, 0\.0\.9"):
        read_index(str(zoo)).find("tiny_vae", "9.9.9")


# --- by name


def test_generator_by_name_comes_from_the_zoo_last(
    zoo: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MRG_ZOO", server.address)
    with caplog.at_level(logging.INFO):
        generator = load_generator("tiny_vae")
    assert generator.sample([2], seeds=[0]).image.shape == (1, 3, 64, 64)
    assert f"downloading tiny_vae 0.0.1 from {server.address}" in caplog.text
    assert "Apache-2.0" in caplog.text
    server.requests.clear()
    again = load_generator("tiny_vae")  # now in the cache: the zoo is not asked
    assert server.requests == []
    torch.testing.assert_close(again.sample([2], seeds=[0]).image, generator.sample([2], seeds=[0]).image)


def test_offline_forbids_addresses_and_allows_folders(
    zoo: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MRG_ZOO", server.address)
    monkeypatch.setenv("MRG_OFFLINE", "1")
    with pytest.raises(BundleNotFoundError, match="MRG_OFFLINE forbids downloads"):
        load_generator("tiny_vae")
    assert server.requests == []
    monkeypatch.setenv("MRG_ZOO", str(zoo))
    assert load_generator("tiny_vae").name == "tiny_vae"


def test_a_zoo_in_the_cache_is_found(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cache").mkdir()
    zoo.rename(tmp_path / "cache" / "zoo")
    assert find_bundle("tiny_vae") == tmp_path / "cache" / "tiny_vae"


def test_not_found_says_what_the_zoo_has(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if PUBLIC_ZOO is None:
        with pytest.raises(BundleNotFoundError, match="no model zoo is known"):
            find_bundle("retina_none")
    monkeypatch.setenv("MRG_ZOO", str(zoo))
    with pytest.raises(BundleNotFoundError, match="has no bundle 'retina_none'; it has tiny_vae"):
        find_bundle("retina_none")
    with pytest.raises(BundleNotFoundError, match="not asked"):
        find_bundle("tiny_vae", download=False)
    monkeypatch.setenv("MRG_ZOO", str(tmp_path / "nowhere"))
    with pytest.raises(BundleNotFoundError, match="is no model zoo"):
        find_bundle("tiny_vae")


def test_a_changed_zoo_is_an_error_and_not_a_bundle_that_is_absent(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MRG_ZOO", str(zoo))
    (zoo / ARCHIVE).write_bytes(b"x" * (zoo / ARCHIVE).stat().st_size)
    with pytest.raises(ZooError, match="Nothing was unpacked"):
        load_generator("tiny_vae")


# --- hostile archives: each has the sha256 and the sizes that its index lists, so that only the unpacking can refuse it


def _repack(zoo: Path, members: dict[str, bytes | tuple[zipfile.ZipInfo, bytes]], **changed: Any) -> None:
    """Replace the archive by one with these members, and let the index tell the truth about its bytes."""
    with zipfile.ZipFile(zoo / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            if isinstance(content, tuple):
                archive.writestr(*content)
            else:
                archive.writestr(name, content)
    _relist(zoo, **changed)


def _relist(zoo: Path, **changed: Any) -> None:
    index = json.loads((zoo / "index.json").read_text())
    content = (zoo / ARCHIVE).read_bytes()
    truth = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    index["bundles"][0] |= truth | changed
    (zoo / "index.json").write_text(json.dumps(index))


def _members(zoo: Path) -> dict[str, Any]:
    with zipfile.ZipFile(zoo / ARCHIVE) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _files(members: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name.removeprefix("tiny_vae/"): {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in members.items()
    }


def _refused(zoo: Path, tmp_path: Path, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        download_bundle("tiny_vae", location=str(zoo), folder=tmp_path / "to")
    assert _left(tmp_path / "to") == []
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "name",
    ["../evil", "tiny_vae/../../evil", "/tmp/evil", "tiny_vae/models/../../../evil", "C:/evil", "tiny_vae\\..\\evil"],
)
def test_members_that_lead_outside(name: str, zoo: Path, tmp_path: Path) -> None:
    _repack(zoo, {**_members(zoo), name: b"evil"})
    _refused(zoo, tmp_path, "the index does not list")


@pytest.mark.parametrize("name", ["tiny_vae/scripts/__init__.py", "other/LICENSE", "tiny_vae/models/model.pt#.txt"])
def test_members_that_the_index_does_not_list(name: str, zoo: Path, tmp_path: Path) -> None:
    _repack(zoo, {**_members(zoo), name: b"import os"})
    # a null byte, at which zipfile cuts names
    (zoo / ARCHIVE).write_bytes((zoo / ARCHIVE).read_bytes().replace(b"#.txt", b"\0.txt"))
    _relist(zoo)
    _refused(zoo, tmp_path, "the index does not list")


def test_links(zoo: Path, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("tiny_vae/LICENSE")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    _repack(zoo, {**_members(zoo), "tiny_vae/LICENSE": (link, b"/etc/passwd")})
    _refused(zoo, tmp_path, "is a link")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_come_twice(zoo: Path, tmp_path: Path) -> None:
    members = _members(zoo)
    with zipfile.ZipFile(zoo / ARCHIVE, "a") as archive:
        archive.writestr("tiny_vae/LICENSE", members["tiny_vae/LICENSE"])
    _relist(zoo)
    _refused(zoo, tmp_path, "twice")


def test_missing_members(zoo: Path, tmp_path: Path) -> None:
    members = _members(zoo)
    del members["tiny_vae/LICENSE"]
    _repack(zoo, members)
    _refused(zoo, tmp_path, "lacks LICENSE")


def test_a_bomb_that_the_index_hides(zoo: Path, tmp_path: Path) -> None:
    _repack(zoo, {**_members(zoo), "tiny_vae/LICENSE": b"0" * (64 << 20)})
    assert (zoo / ARCHIVE).stat().st_size < 1 << 20
    _refused(zoo, tmp_path, "unpacks to 67108864 bytes")


def test_a_bomb_that_states_a_small_size(zoo: Path, tmp_path: Path) -> None:
    """The header says as many bytes as the index; what is behind it is more, and is cut off."""
    members = _members(zoo)
    size = len(members["tiny_vae/LICENSE"])
    _repack(zoo, {**members, "tiny_vae/LICENSE": b"0" * (8 << 20)})
    content = (zoo / ARCHIVE).read_bytes().replace((8 << 20).to_bytes(4, "little"), size.to_bytes(4, "little"))
    (zoo / ARCHIVE).write_bytes(content)
    _relist(zoo)
    _refused(zoo, tmp_path, "sha256|CRC|more than")


def test_a_bomb_that_the_index_announces(zoo: Path, tmp_path: Path) -> None:
    files = {**_files(_members(zoo)), "docs/big": {"sha256": "0" * 64, "bytes": 1 << 30}}
    _relist(zoo, files=files)
    with pytest.raises(ZooError, match=r"would fill 1\.0 GB"):
        read_index(str(zoo))


def test_files_with_other_bytes(zoo: Path, tmp_path: Path) -> None:
    _repack(zoo, {**_members(zoo), "tiny_vae/LICENSE": b"other-2.00"})
    _refused(zoo, tmp_path, "the index lists")


def test_not_a_zip(zoo: Path, tmp_path: Path) -> None:
    (zoo / ARCHIVE).write_bytes(b"PK\x03\x04" + b"x" * 5000)
    _relist(zoo)
    _refused(zoo, tmp_path, "not a readable zip")


def test_an_encrypted_member(zoo: Path, tmp_path: Path) -> None:
    content = bytearray((zoo / ARCHIVE).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    (zoo / ARCHIVE).write_bytes(content)
    _relist(zoo)
    _refused(zoo, tmp_path, "encrypted")


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, (f"open({str(self.path)!r}, 'w')",))


@pytest.mark.parametrize("kind", ["pickle", "truncated", "not finite"])
def test_weights_that_are_not_tensors_are_refused_before_installation(kind: str, zoo: Path, tmp_path: Path) -> None:
    """Even where the index, the metadata and the archive agree."""
    members, weights = _members(zoo), tmp_path / "w.pt"
    if kind == "pickle":
        torch.save({"weight": Evil(tmp_path / "evil")}, weights)
    elif kind == "truncated":
        weights.write_bytes(members["tiny_vae/models/model.pt"][:2000])
    else:
        torch.save({"weight": torch.tensor([float("inf")])}, weights)
    members["tiny_vae/models/model.pt"] = weights.read_bytes()
    metadata = json.loads(members["tiny_vae/configs/metadata.json"])
    metadata["weights"]["models/model.pt"]["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    members["tiny_vae/configs/metadata.json"] = json.dumps(metadata).encode()
    _repack(zoo, members, files=_files(members))
    _refused(zoo, tmp_path, "weights_only|infinite")


def test_another_version_than_the_index_says(zoo: Path, tmp_path: Path) -> None:
    members = _members(zoo)
    members["tiny_vae/configs/metadata.json"] = members["tiny_vae/configs/metadata.json"].replace(b"0.0.1", b"0.0.9")
    _repack(zoo, members, files=_files(members))
    _refused(zoo, tmp_path, "its metadata says version '0.0.9'")
