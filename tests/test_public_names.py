"""Public names are those in `public_names.txt`: a change there is a change that users see.

After a change that is meant: `python tests/test_public_names.py > tests/public_names.txt`.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

ROOMS = ("data", "networks", "losses", "metrics", "weights", "engines", "handlers", "editing", "generators")
ROOMS += ("transforms", "zoo", "errors")
ROOMS += ("evidence.audit", "evidence.evaluation", "evidence.report", "evidence.study")
FILE = Path(__file__).with_name("public_names.txt")


def public_names() -> list[str]:
    """`module.name` of everything in `__all__` of the package and its rooms, and the commands."""
    from monai_retina_gen.__main__ import COMMANDS, MODEL_COMMANDS

    names = []
    for module in ("monai_retina_gen", *(f"monai_retina_gen.{room}" for room in ROOMS)):
        exported = importlib.import_module(module).__all__
        names += [f"{module}.{name}" for name in exported]
    return sorted(
        [*names, *(f"monai-retina-gen {name}" for name in (*COMMANDS, *(f"model {m}" for m in MODEL_COMMANDS)))]
    )


def test_public_names_are_listed() -> None:
    listed, found = FILE.read_text(encoding="utf-8").splitlines(), public_names()
    added, gone = sorted(set(found) - set(listed)), sorted(set(listed) - set(found))
    say = "python tests/test_public_names.py > tests/public_names.txt, and name it in CHANGELOG.md"
    assert not added, f"not in {FILE.name}: {added}; if they are meant: {say}"
    assert not gone, (
        f"in {FILE.name} and gone: {gone}; a name that users have used should warn for a while first: {say}"
    )
    assert listed == found


def test_what_bundles_name_is_public() -> None:
    """`_target_` of a configuration is a public name of a room, or a full path into a module."""
    configs = (FILE.parents[1] / "bundles").glob("*/configs/*.json")
    found = {name for path in configs for name in re.findall(r'"(monai_retina_gen(?:\.\w+)+)"', path.read_text())}
    of_rooms = {name for name in found if name.rpartition(".")[0] in {f"monai_retina_gen.{room}" for room in ROOMS}}
    assert len(of_rooms) > 50
    assert not of_rooms - set(public_names())


def test_public_names_exist_and_are_documented() -> None:
    """`__all__` tells the truth, and what is public and made by us has a docstring."""
    missing = []
    for name in public_names():
        if not name.startswith("monai-retina-gen "):
            module, _, attribute = name.rpartition(".")
            value = getattr(importlib.import_module(module), attribute)
            is_ours = inspect.isclass(value) or inspect.isfunction(value)
            if is_ours and not (value.__doc__ or "").strip():
                missing.append(name)
    assert not missing


if __name__ == "__main__":
    print("\n".join(public_names()))
