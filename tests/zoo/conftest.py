"""A miniature zoo, and a web server on this machine that can break off, lie and redirect."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from monai_retina_gen.zoo.building import build_zoo


@pytest.fixture(scope="session")
def zoo_bundle(vae_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature bundle with what an archive needs, and with what must stay out of one."""
    bundle = tmp_path_factory.mktemp("own") / "tiny_vae"
    shutil.copytree(vae_bundle, bundle)
    (bundle / "LICENSE").write_text("Apache-2.0")
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    metadata |= {"monai_version": "1.6.1", "task": "samples", "modes": ["sample"]}
    metadata |= {"weights_licence": "Weights and code: Apache-2.0."}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    for left in ("training/state.pt", "output/model.pt", "configs/__pycache__/a.json", "docs/.hidden", "eval/m.json"):
        (bundle / left).parent.mkdir(parents=True, exist_ok=True)
        (bundle / left).write_text("left behind")
    (bundle / "docs" / "README.md").write_text("# tiny_vae")
    return bundle


@pytest.fixture(scope="session")
def built_zoo(zoo_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    build_zoo([zoo_bundle], folder)
    return folder


@pytest.fixture
def zoo(built_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to spoil; nothing else is known to the process."""
    for name in ("MRG_ZOO", "MRG_BUNDLES", "MRG_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MRG_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(built_zoo, tmp_path / "zoo"))


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder with byte ranges, keeps a record of requests, and fails as its server says."""

    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Range")))
        if self.path in self.server.redirects:
            self.send_response(302)
            self.send_header("Location", self.server.redirects[self.path])
            self.end_headers()
            return
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        self._send(path.read_bytes() + self.server.surplus)

    def _send(self, content: bytes) -> None:
        asked = self.headers.get("Range") if self.server.ranges else None
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        stop = len(content)
        if self.path.endswith(".zip") and self.server.breaks:
            stop = start + self.server.breaks.pop(0)
            self.close_connection = True
        self.wfile.write(content[start:stop])

    def log_message(self, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """See `Handler`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))  # type: ignore[arg-type]
        self.requests: list[tuple[str, str | None]] = []
        self.redirects: dict[str, str] = {}
        self.breaks: list[int] = []
        self.surplus = b""
        self.ranges = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server(zoo: Path) -> Iterator[Server]:
    running = Server(zoo)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
