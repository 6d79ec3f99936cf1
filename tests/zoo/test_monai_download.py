"""MONAI's own `download`, unmodified, gets our archives in every way that it has, from servers on this machine.

MONAI does not let one choose GitHub's address: a proxy on this machine answers as github.com, with a certificate made
for the test, which only the test's process trusts.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from monai.bundle import download

from monai_retina_gen.weights import CHECKPOINT, load_state, pinned_sha256
from monai_retina_gen.zoo.building import build_zoo

if TYPE_CHECKING:
    from .conftest import Server

VERSION = "0.0.1"


@pytest.fixture
def named(zoo: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Adds the miniature bundle to the zoo under another name, and gives the archive."""

    def build(name: str) -> Path:
        with zipfile.ZipFile(zoo / f"tiny_vae_v{VERSION}.zip") as archive:
            archive.extractall(tmp_path / "unpacked")
        if name != "tiny_vae":
            build_zoo([(tmp_path / "unpacked" / "tiny_vae").rename(tmp_path / name)], zoo)
        return zoo / f"{name}_v{VERSION}.zip"

    return build


def _is_whole(bundle: Path) -> None:
    load_state(bundle / CHECKPOINT, sha256=pinned_sha256(bundle, CHECKPOINT))
    assert json.loads((bundle / "configs" / "metadata.json").read_text())["version"] == VERSION
    assert not (bundle / "training").exists()


def test_from_a_folder(zoo: Path, tmp_path: Path) -> None:
    url = f"file://{zoo}/tiny_vae_v{VERSION}.zip"
    download(name="tiny_vae", url=url, bundle_dir=tmp_path / "to", progress=False)
    _is_whole(tmp_path / "to" / "tiny_vae")


def test_from_a_web_server(server: Server, zoo: Path, tmp_path: Path) -> None:
    url = f"{server.address}/tiny_vae_v{VERSION}.zip"
    download(name="tiny_vae", url=url, bundle_dir=tmp_path / "to", progress=False)
    _is_whole(tmp_path / "to" / "tiny_vae")


# --- Hugging Face, by HF_ENDPOINT


class Hub(BaseHTTPRequestHandler):
    """The part of a hub that a download of a snapshot asks for: tags, list of files, files."""

    root: Path
    commit = "a" * 40

    def _files(self) -> list[str]:
        return sorted(p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file())

    def _answer(self, value: Any) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{len(content)}-{hash(content)}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/api/models/me/tiny_vae/refs":
            tag = {"name": VERSION, "ref": f"refs/tags/{VERSION}", "targetCommit": self.commit}
            branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": self.commit}
            self._answer({"branches": [branch], "converts": [], "tags": [tag]})
        elif path.startswith("/api/models/me/tiny_vae/tree/"):
            sizes = [{"type": "file", "path": f, "size": (self.root / f).stat().st_size} for f in self._files()]
            self._answer([{**entry, "oid": "b" * 40} for entry in sizes])
        elif path.startswith("/api/models/me/tiny_vae"):
            files = [{"rfilename": f} for f in self._files()]
            self._answer({"id": "me/tiny_vae", "modelId": "me/tiny_vae", "sha": self.commit, "siblings": files})
        elif "/resolve/" in path and (self.root / path.split("/", 5)[5]).is_file():
            self._answer((self.root / path.split("/", 5)[5]).read_bytes())
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


def _address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def _serve(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return running


@pytest.mark.slow
def test_from_hugging_face(zoo: Path, named: Callable[[str], Path], tmp_path: Path) -> None:
    """By the command, as the hub's address is read when its package is imported."""
    pytest.importorskip("huggingface_hub")
    named("tiny_vae")  # a repository there holds the unpacked bundle
    running = _serve(type("OurHub", (Hub,), {"root": tmp_path / "unpacked" / "tiny_vae"}))
    command = [sys.executable, "-m", "monai.bundle", "download", "--name", "tiny_vae", "--repo", "me/tiny_vae"]
    command += ["--source", "huggingface_hub", "--bundle_dir", str(tmp_path / "to")]
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment |= {"HF_ENDPOINT": _address(running), "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    running.shutdown()
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    _is_whole(tmp_path / "to" / "tiny_vae")


# --- GitHub


class GitHubProxy(BaseHTTPRequestHandler):
    """A proxy that takes the connection to GitHub's hosts itself, and knows one release."""

    zoo: Path
    context: ssl.SSLContext
    asked: list[str]
    host = ""

    def do_CONNECT(self) -> None:
        self.host = self.path.partition(":")[0]
        self.send_response(200)
        self.end_headers()
        self.connection = self.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")  # type: ignore[assignment]
        self.close_connection = False

    def do_GET(self) -> None:
        url = f"https://{self.host}{self.path}"
        self.asked.append(url)
        assets = [{"name": p.name, "browser_download_url": "unused"} for p in self.zoo.glob("*.zip")]
        release = "https://github.com/me/zoo/releases/download"
        known = {f"{release}/{tag}/{p.name}": p for p in self.zoo.glob("*.zip") for tag in ("hosting_storage_v1", "v1")}
        known["https://raw.githubusercontent.com/me/zoo/v1/models/model_info.json"] = self.zoo / "model_info.json"
        if url == "https://api.github.com/repos/me/zoo/releases":
            content = json.dumps([{"tag_name": "hosting_storage_v1", "assets": assets}]).encode()
        elif url in known:
            content = known[url].read_bytes()
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key in one file, for GitHub's names, that nobody else trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the test's certificate, is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    names = "DNS:github.com,DNS:api.github.com,DNS:raw.githubusercontent.com"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", f"subjectAltName={names}", "-keyout", str(folder / "key"), "-out", str(folder / "cert")]
    subprocess.run(command, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "cert").read_bytes() + (folder / "key").read_bytes())
    return both


@pytest.fixture
def github(zoo: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The addresses that were asked, in order."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    asked: list[str] = []
    running = _serve(type("OurGitHub", (GitHubProxy,), {"zoo": zoo, "context": context, "asked": asked}))
    monkeypatch.setenv("https_proxy", _address(running))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    urllib.request.install_opener(None)  # type: ignore[arg-type]  # it remembers the proxies that there were
    yield asked
    urllib.request.install_opener(None)  # type: ignore[arg-type]
    running.shutdown()


@pytest.mark.parametrize("tag", ["hosting_storage_v1", "v1"])
def test_from_the_latest_github_release(
    tag: str, github: list[str], named: Callable[[str], Path], tmp_path: Path
) -> None:
    pytest.importorskip("requests")  # MONAI asks by it
    archive = named("tiny_net").name
    download(name="tiny_net", source="github", repo=f"me/zoo/{tag}", bundle_dir=tmp_path / "to", progress=False)
    assert github[1:] == [f"https://github.com/me/zoo/releases/download/{tag}/{archive}"]
    _is_whole(tmp_path / "to" / "tiny_net")


def test_from_a_github_release_by_version(github: list[str], zoo: Path, tmp_path: Path) -> None:
    repo = {"source": "github", "repo": "me/zoo/hosting_storage_v1", "bundle_dir": tmp_path / "to", "progress": False}
    download(name="tiny_vae", version=VERSION, **repo)
    assert len(github) == 1
    _is_whole(tmp_path / "to" / "tiny_vae")


def test_a_name_with_v_needs_its_version_on_github(github: list[str], zoo: Path, tmp_path: Path) -> None:
    """MONAI takes `_v` of `tiny_vae` for the start of its version; `docs/zoo.md` says so."""
    pytest.importorskip("requests")
    repo = {"source": "github", "repo": "me/zoo/hosting_storage_v1", "bundle_dir": tmp_path / "to", "progress": False}
    with pytest.raises(ValueError, match="is not existing"):
        download(name="tiny_vae", **repo)
