"""Publishing on Hugging Face: `huggingface_hub` itself, against a server on this machine that keeps what it is sent."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from monai_retina_gen.__main__ import main
from monai_retina_gen.errors import ZooError
from monai_retina_gen.weights.zoo_download import download_bundle
from monai_retina_gen.zoo.publishing import hub_address, publish_hub

pytest.importorskip("huggingface_hub")

ARCHIVE = "tiny_vae_v0.0.1.zip"
ALL = [ARCHIVE, "index.json", "model_info.json"]
BUNDLE = "me/tiny_vae@0.0.1"


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub's interface as publishing asks for; files and tags by repository."""

    server: HubServer
    protocol_version = "HTTP/1.1"

    def _answer(self, code: int, value: Any = None) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _repository(self) -> tuple[str, str]:
        owner, name, *rest = urlsplit(self.path).path.removeprefix("/api/models").strip("/").split("/")
        return f"{owner}/{name}", "/".join(rest)

    def do_GET(self) -> None:
        repository, asked = self._repository()
        files = self.server.files.get(repository, {})
        if asked == "tree/main":
            tree = [{"type": "file", "path": path, "size": len(x), "oid": blob(x)} for path, x in files.items()]
            self._answer(200, tree)
        elif asked == "refs":
            tags = [
                {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": "0"} for tag in self.server.tags[repository]
            ]
            self._answer(200, {"branches": [], "converts": [], "tags": tags})
        else:
            name = asked.removeprefix("resolve/main/")
            self._answer(200, files[name]) if name in files else self._answer(404, {"error": "not found"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != "Bearer secret":
            self._answer(401, {"error": "Bad credentials"})
        elif self.path == "/api/repos/create":
            asked = json.loads(content)
            repository = f"{asked['organization']}/{asked['name']}"
            self.server.files.setdefault(repository, {})
            self.server.tags.setdefault(repository, [])
            self._answer(200, {"url": f"{self.server.address}/{repository}"})
        else:
            self._write(*self._repository(), content)

    def _write(self, repository: str, asked: str, content: bytes) -> None:
        files = self.server.files[repository]
        if asked == "preupload/main":
            names = [file["path"] for file in json.loads(content)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            self._answer(200, {"files": modes})
        elif asked == "tag/main":
            self.server.tags[repository].append(json.loads(content)["tag"])
            self._answer(200, {})
        else:
            assert asked == "commit/main"
            lines = [json.loads(line) for line in content.splitlines()]
            added = {x["value"]["path"]: base64.b64decode(x["value"]["content"]) for x in lines if x["key"] == "file"}
            files |= added
            self.server.commits.append((repository, sorted(added)))
            answer = {"success": True, "commitUrl": f"{self.server.address}/{repository}/commit/0", "commitOid": "0"}
            self._answer(200, answer)

    def log_message(self, *arguments: object) -> None:
        pass


class HubServer(ThreadingHTTPServer):
    """See `Hub`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hub)
        self.files: dict[str, dict[str, bytes]] = {}
        self.tags: dict[str, list[str]] = {}
        self.commits: list[tuple[str, list[str]]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def blob(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    running = HubServer()
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", running.address)
    yield running
    running.shutdown()
    running.server_close()


def test_what_was_published_can_be_downloaded(hub: HubServer, zoo: Path, tmp_path: Path) -> None:
    assert publish_hub(zoo, "me/zoo", token="secret") == [*ALL, BUNDLE]
    assert hub.commits[0] == ("me/zoo", sorted(ALL))  # one commit: no index lists what is not there
    assert download_bundle("tiny_vae", location=hub_address("me/zoo"), folder=tmp_path / "to").is_dir()


def test_each_bundle_has_a_repository_that_is_tagged(hub: HubServer, zoo: Path, tmp_path: Path) -> None:
    publish_hub(zoo, "me/zoo", token="secret")
    installed = download_bundle("tiny_vae", location=str(zoo), folder=tmp_path)
    wanted = {
        path.relative_to(installed).as_posix(): path.read_bytes() for path in installed.rglob("*") if path.is_file()
    }
    assert hub.files["me/tiny_vae"] == wanted
    assert hub.tags["me/tiny_vae"] == ["0.0.1"]


def test_again_only_the_indices_are_replaced(hub: HubServer, zoo: Path) -> None:
    publish_hub(zoo, "me/zoo", token="secret")
    assert publish_hub(zoo, "me/zoo", token="secret") == ["index.json", "model_info.json"]
    assert hub.commits[2:] == [("me/zoo", ["index.json", "model_info.json"])]


def test_a_published_archive_is_never_replaced(hub: HubServer, zoo: Path) -> None:
    publish_hub(zoo, "me/zoo", token="secret")
    hub.files["me/zoo"][ARCHIVE] = b"other"
    with pytest.raises(ZooError, match="raise the bundle's version"):
        publish_hub(zoo, "me/zoo", token="secret")
    assert hub.files["me/zoo"][ARCHIVE] == b"other"


def test_a_refusal_is_told_and_the_token_is_not(hub: HubServer, zoo: Path) -> None:
    with pytest.raises(ZooError, match=r"refuses: .*401") as caught:
        publish_hub(zoo, "me/zoo", token="another")
    assert "another" not in str(caught.value)


def test_the_token_goes_to_no_open_address(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://example.invalid")
    with pytest.raises(ZooError, match="want an https"):
        publish_hub(zoo, "me/zoo", token="secret")


def test_without_the_library_the_error_names_the_command(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ZooError, match=r"pip install \"monai-retina-gen\[hub\]\""):
        publish_hub(zoo, "me/zoo", token="secret")


def test_command(
    hub: HubServer,
    zoo_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    command = ["zoo", "publish", "me/zoo", "--to", "huggingface"]
    command += ["--bundles", str(zoo_bundle.parent), "--out", str(tmp_path / "built")]
    assert main([*command, "--dry-run"]) == 0
    assert f"would upload {ARCHIVE}" in capsys.readouterr().out
    assert hub.files == {}
    assert main(command) != 0
    assert "HF_TOKEN is not set" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert main(command) == 0
    assert BUNDLE in capsys.readouterr().out
    info = json.loads(hub.files["me/zoo"]["model_info.json"])
    assert info["tiny_vae_v0.0.1"]["source"] == f"{hub.address}/me/zoo/resolve/main/{ARCHIVE}"
