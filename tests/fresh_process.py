"""Commands in a fresh Python process that need not import torch and MONAI first.

The import takes longer than most of what the tests run. A server (`multiprocessing`'s fork server, one for each
pytest worker) does it once; each command is a fork of it, with its own working directory, environment and output.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
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
