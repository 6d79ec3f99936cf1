"""Publishing to a GitHub release: against a server on this machine that keeps what it is sent."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from monai_retina_gen.__main__ import main
from monai_retina_gen.errors import ZooError
from monai_retina_gen.weights.zoo_download import download_bundle
from monai_retina_gen.zoo.publishing import publish_zoo, release_address

RELEASES = "/repos/me/zoo/releases"


class GitHub(BaseHTTPRequestHandler):
    """As much of GitHub's interface as publishing asks for; one release, files by name."""

    server: GitHubServer

    def _answer(self, code: int, value: Any = None) -> None:
        content = b"" if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _release(self) -> dict[str, Any]:
        assets = [
            {"id": name, "name": name, "digest": f"sha256:{hashlib.sha256(content).hexdigest()}"}
            for name, content in self.server.files.items()
        ]
        return {"upload_url": f"{self.server.address}/uploads{{?name,label}}", "assets": assets}

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        if self.path == f"{RELEASES}/tags/hosting_storage_v1":
            self._answer(200, self._release()) if self.server.tag else self._answer(404)
        else:
            self._answer(200, self.server.files[name]) if name in self.server.files else self._answer(404)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != "Bearer secret":
            self._answer(401, {"message": "Bad credentials"})
        elif self.path == RELEASES:
            self.server.tag = json.loads(content)["tag_name"]
            self._answer(201, self._release())
        else:
            name = parse_qs(urlsplit(self.path).query)["name"][0]
            assert name not in self.server.files
            self.server.files[name] = content
            self.server.uploads.append(name)
            self._answer(201, {})

    def do_DELETE(self) -> None:
        del self.server.files[self.path.rpartition("/")[2]]
        self._answer(204)

    def log_message(self, *arguments: object) -> None:
        pass


class GitHubServer(ThreadingHTTPServer):
    """See `GitHub`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), GitHub)
        self.tag = ""
        self.files: dict[str, bytes] = {}
        self.uploads: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHubServer]:
    running = GitHubServer()
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("GITHUB_API_URL", running.address)
    yield running
    running.shutdown()
    running.server_close()


ARCHIVE = "tiny_vae_v0.0.1.zip"
ALL = [ARCHIVE, "index.json", "model_info.json"]


def test_what_was_published_can_be_downloaded(github: GitHubServer, zoo: Path, tmp_path: Path) -> None:
    assert publish_zoo(zoo, "me/zoo", token="secret") == ALL
    assert (github.tag, github.uploads) == ("hosting_storage_v1", ALL)  # indices last
    assert download_bundle("tiny_vae", location=github.address, folder=tmp_path / "to").is_dir()


def test_again_only_the_indices_are_replaced(github: GitHubServer, zoo: Path) -> None:
    publish_zoo(zoo, "me/zoo", token="secret")
    github.uploads.clear()
    assert publish_zoo(zoo, "me/zoo", token="secret") == ["index.json", "model_info.json"]
    assert github.uploads == ["index.json", "model_info.json"]


def test_a_published_archive_is_never_replaced(github: GitHubServer, zoo: Path) -> None:
    publish_zoo(zoo, "me/zoo", token="secret")
    github.files[ARCHIVE] = b"other"
    digest_of_other = f"sha256:{hashlib.sha256(b'other').hexdigest()}"
    with pytest.raises(ZooError, match=rf"{ARCHIVE} \({digest_of_other}, ours has .* raise the bundle's version"):
        publish_zoo(zoo, "me/zoo", token="secret")
    assert github.files[ARCHIVE] == b"other"


def test_a_refusal_is_told_and_the_token_is_not(github: GitHubServer, zoo: Path) -> None:
    with pytest.raises(ZooError, match=r"401.*Bad credentials") as caught:
        publish_zoo(zoo, "me/zoo", token="another")
    assert "another" not in str(caught.value)


def test_the_token_goes_to_no_open_address(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "http://example.invalid")
    with pytest.raises(ZooError, match="want an https"):
        publish_zoo(zoo, "me/zoo", token="secret")


@pytest.mark.parametrize("repository", ["zoo", "me/zoo/more", "me/zoo?x", "https://github.com/me/zoo"])
def test_what_is_no_repository(repository: str) -> None:
    with pytest.raises(ZooError, match="want OWNER/NAME"):
        release_address(repository)


def test_command(
    github: GitHubServer,
    zoo_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    command = ["zoo", "publish", "me/zoo", "--bundles", str(zoo_bundle.parent), "--out", str(tmp_path / "built")]
    assert main([*command, "--dry-run"]) == 0
    assert f"would upload {ARCHIVE}" in capsys.readouterr().out
    assert github.uploads == []
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    assert main(command) == 0
    assert github.uploads == ALL
    info = json.loads(github.files["model_info.json"])
    assert info["tiny_vae_v0.0.1"]["source"] == f"{release_address('me/zoo')}/{ARCHIVE}"
