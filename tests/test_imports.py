"""The house keeps its shape: rooms import downwards only, and importing the package costs next to nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "monai_retina_gen"

ROWS = (
    ("apps",),
    ("evidence",),
    ("zoo",),
    ("transforms",),
    ("generators",),
    ("editing",),
    ("engines", "handlers"),
    ("weights",),
    ("metrics",),
    ("losses",),
    ("networks",),
    ("data",),
)
"""From top to bottom; a room imports from its own row and those below."""

ROOMS = [room for row in ROWS for room in row]


def _allowed(room: str) -> set[str]:
    row = next(i for i, names in enumerate(ROWS) if room in names)
    return {name for names in ROWS[row:] for name in names}


def _imported_rooms(source: str) -> set[str]:
    """Rooms of the package that a module imports anywhere, in functions and for types too."""
    modules = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "monai_retina_gen":
            modules += [f"monai_retina_gen.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules.append(node.module)
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    parts = [module.split(".") for module in modules]
    return {p[1] for p in parts if p[0] == "monai_retina_gen" and len(p) > 1 and p[1] in ROOMS}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_downwards(room: str) -> None:
    wrong = {}
    for path in (PACKAGE / room).rglob("*.py"):
        upwards = _imported_rooms(path.read_text(encoding="utf-8")) - _allowed(room)
        if upwards:
            wrong[str(path.relative_to(PACKAGE))] = sorted(upwards)
    assert not wrong, f"{room} may import from {sorted(_allowed(room))}: {wrong}"


def test_every_room_is_named() -> None:
    found = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert found == set(ROOMS)


def test_an_import_upwards_is_noticed() -> None:
    assert _imported_rooms("def f():\n    from monai_retina_gen import apps") == {"apps"}
    assert _imported_rooms("import monai_retina_gen.zoo.packing as p\nimport torch") == {"zoo"}
    assert "apps" not in _allowed("zoo")


def test_relative_imports_stay_in_their_package() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level > 1), path


def test_importing_the_package_imports_nothing_heavy() -> None:
    """Whoever imports MONAI has torch already; the package itself must add neither it nor anything of its own."""
    code = "import sys, monai_retina_gen; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    heavy = {"torch", "monai", "numpy", "torchvision", "ignite", "scipy", "matplotlib"}
    assert not heavy & set(done.stdout.split())


def test_importing_the_package_takes_under_a_third_of_a_second() -> None:
    """Beside a Python that imports nothing, as both start; the best of three, as machines have other things to do."""

    def seconds(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        return time.perf_counter() - start

    added = min(seconds("import monai_retina_gen") for _ in range(3)) - min(seconds("") for _ in range(3))
    assert added < 0.3
