"""Commands in a fresh Python process that need not import torch and MONAI first.

The import takes longer than most of what the tests run. A server (`multiprocessing`'s fork server, one for each
pytest worker) does it once; each command is a fork of it, with its own working directory, environment and output.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "monai.bundle",
        "monai.handlers",
        *(f"monai_retina_gen.{room}" for room in ("transforms", "generators", "engines")),
    ]
)


class Ended(NamedTuple):
    """Exit status (negative: the signal that ended it), and what the process printed to both streams."""

    status: int
    output: str


def python(*command: str, cwd: Path, timeout: float = 600, **environment: str) -> Ended:
    """`python command` in the folder `cwd`: `-m module ...`, `-c code ...` or `script ...`."""
    environment = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | environment
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        output.touch()
        process = _SERVER.Process(target=_child, args=(command, str(cwd), str(output), environment))
        process.start()
        process.join(timeout)
        process.kill()  # no more than a word to one that has ended
        process.join()
        assert process.exitcode is not None
        return Ended(process.exitcode, output.read_text(encoding="utf-8", errors="replace"))


def run_bundle(bundle: Path, *arguments: str, **environment: str) -> None:
    """`python -m monai.bundle run arguments` in the bundle's folder; a failure shows what was printed last."""
    done = python("-m", "monai.bundle", "run", *arguments, cwd=bundle, **environment)
    assert done.status == 0, done.output[-5000:]


def _child(command: tuple[str, ...], cwd: str, output: str, environment: dict[str, str]) -> None:
    with open(output, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    multiprocessing.set_start_method(None, force=True)  # the command's own processes start as anywhere else
    os.chdir(cwd)
    os.environ.update(environment)
    if command[0] == "-c":
        sys.argv = ["-c", *command[2:]]
        exec(compile(command[1], "<string>", "exec"), {"__name__": "__main__"})
    elif command[0] == "-m":
        sys.argv = list(command[1:])
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(command)
        runpy.run_path(command[0], run_name="__main__")


_SHIM = """#!{python} -SE
import json, os, socket, sys
command = sys.argv[1:]
if os.path.basename(sys.argv[0]) == "monai-retina-gen":
    command = ["-m", "monai_retina_gen", *command]
elif command[:1] == ["-"]:
    command = ["-c", sys.stdin.read()]
exported = {{key: value for key, value in os.environ.items() if key.startswith("MRG_") or key == "HOME"}}
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect({address!r})
    file = asked.makefile("rw", encoding="utf-8")
    print(json.dumps([command, os.getcwd(), exported]), file=file, flush=True)
    status, output = json.loads(file.readline())
sys.stdout.write(output)
sys.exit(status if status >= 0 else 128 - status)
"""


def bash(script: str, cwd: Path, **environment: str) -> Ended:
    """Run a script by bash, in which `python` and `monai-retina-gen` are forks of the server, too.

    The first that fails ends the script, as `set -e` does.
    """
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/socket")
        server.listen()
        shim = _SHIM.format(python=sys.executable, address=f"{folder}/socket")
        for name in ("python", "monai-retina-gen"):
            (Path(folder) / name).write_text(shim)
            (Path(folder) / name).chmod(0o755)
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{script}"],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment, "PATH": path},
        )
        return Ended(done.returncode, done.stdout)


def _serve(server: socket.socket) -> None:
    while True:
        try:
            asked, _ = server.accept()
        except OSError:  # the script is at its end
            return
        with asked, asked.makefile("rw", encoding="utf-8") as file:
            command, cwd, environment = json.loads(file.readline())
            print(json.dumps(python(*command, cwd=Path(cwd), **environment)), file=file, flush=True)
