"""Verification: shipped bundles pass every check, and every check can fail."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from monai.bundle import verify_metadata
from torch import Tensor

from monai_retina_gen.networks import ResidualGenerator
from monai_retina_gen.weights import CHECKPOINT, read_metadata, save_state, sha256_file
from monai_retina_gen.zoo import find_bundles, verification
from monai_retina_gen.zoo.checks_network import (
    check_export,
    check_figures,
    check_network_in_out,
    check_properties,
    check_scripting,
    compare_figures,
)
from monai_retina_gen.zoo.checks_static import SCHEMA
from monai_retina_gen.zoo.verification import FAST_CHECKS, verify_bundle

BUNDLES = find_bundles(Path(__file__).resolve().parents[2] / "bundles")


@pytest.fixture(params=BUNDLES, ids=lambda path: path.name)
def shipped(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.mark.parametrize("check", list(FAST_CHECKS))
def test_shipped_bundle_passes(shipped: Path, check: str) -> None:
    assert FAST_CHECKS[check](shipped) == []


def test_monai_accepts_the_metadata(shipped: Path) -> None:
    """The check uses jsonschema itself, as MONAI's command names one problem at a time."""
    verify_metadata(meta_file=str(shipped / "configs" / "metadata.json"), filepath=str(SCHEMA))


def test_shipped_network_in_and_out(shipped: Path) -> None:
    assert check_network_in_out(shipped) == []


def test_shipped_workflows_have_the_required_properties(shipped: Path) -> None:
    assert check_properties(shipped) == []


def test_shipped_network_scripts_and_exports(shipped: Path) -> None:
    assert check_scripting(shipped) == []
    assert check_export(shipped) == []


def test_a_network_that_cannot_be_scripted_or_gives_something_else(
    broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _forget_compiled(monkeypatch)
    monkeypatch.setattr(ResidualGenerator, "forward", _by_the_clock)
    problems = check_scripting(broken)
    assert len(problems) == 2
    assert "TorchScript differs from the network by 1 in a batch of 1" in problems[0]
    _forget_compiled(monkeypatch)
    monkeypatch.setattr(ResidualGenerator, "forward", _by_a_set)
    monkeypatch.setattr(verification, "SLOW_CHECKS", {"scripting": check_scripting, "export": check_export})
    results = {r.check: r for r in verify_bundle(broken)}
    assert "Set" in results["scripting"].problems[0]
    assert results["export"].passed


def _forget_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """TorchScript keeps what it has compiled of a class in this process, by whichever test."""
    monkeypatch.setattr(torch.jit._recursive, "concrete_type_store", torch.jit._recursive.ConcreteTypeStore())


def _by_the_clock(self: ResidualGenerator, latent: Tensor, grade: Tensor | None = None) -> Tensor:
    found = torch.zeros(latent.shape[0], 3, 64, 64)
    return found if torch.jit.is_scripting() else found + 1


def _by_a_set(self: ResidualGenerator, latent: Tensor, grade: Tensor | None = None) -> Tensor:
    return torch.zeros(latent.shape[0], 3, 64, 64) + len({self.image_size})


@pytest.mark.slow
def test_figures_come_again_from_evaluate_json(bundles_dir: Path, mrg_data: Path) -> None:
    """The quickest bundle; `zoo verify --figures` does all."""
    assert check_figures(bundles_dir / "retina_grader", mrg_data / "idrid") == []


@pytest.fixture
def broken(bundles_dir: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    ignored = shutil.ignore_patterns("training", "output")
    return Path(shutil.copytree(bundles_dir / "retina_wgan_gp", tmp_path / "retina_wgan_gp", ignore=ignored))


def _edit(bundle: Path, name: str, old: str, new: str) -> None:
    text = (bundle / name).read_text()
    assert re.search(old, text), old
    (bundle / name).write_text(re.sub(old, new, text))


def _metadata(bundle: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    metadata = read_metadata(bundle)
    change(metadata)
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))


BREAKS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "a missing file": ("layout", lambda b: (b / "LICENSE").unlink(), "LICENSE is missing"),
    "unpinned weights": ("layout", lambda b: (b / "models" / "old.pt").write_bytes(b""), "not pinned"),
    "a name": ("layout", lambda b: b.rename(b.with_name("Retina-GAN")), "lower_snake_case"),
    "no task": ("metadata", lambda b: _metadata(b, lambda m: m.pop("task")), "'task' is a required property"),
    "no figures": ("metadata", lambda b: _metadata(b, lambda m: m.pop("eval_metrics")), "measure the bundle"),
    "nested figures": (
        "metadata",
        lambda b: _metadata(b, lambda m: m["eval_metrics"].update(validation={"fid": 1.0})),
        "validation: a dict",
    ),
    "figures of nobody knows what": (
        "metadata",
        lambda b: _metadata(b, lambda m: m["eval_metrics"].pop("split")),
        "eval_metrics has no split",
    ),
    "too many digits": (
        "metadata",
        lambda b: _metadata(b, lambda m: m["eval_metrics"].update(fid=1.23456)),
        "at most four digits",
    ),
    "a floor at another n": (
        "metadata",
        lambda b: _metadata(b, lambda m: m["eval_metrics"].pop("fid")),
        "fid_floor stands alone",
    ),
    "no output": (
        "metadata",
        lambda b: _metadata(b, lambda m: m["network_data_format"].pop("outputs")),
        "'outputs' is a required property",
    ),
    "first input": (
        "metadata",
        lambda b: _metadata(b, lambda m: m["network_data_format"].update(inputs={"seed": {"type": "number"}})),
        "want 'image'",
    ),
    "changelog": ("version", lambda b: _metadata(b, lambda m: m.update(changelog={})), "not in the changelog"),
    "two digits": ("version", lambda b: _metadata(b, lambda m: m.update(version="0.10.0")), "single digits"),
    "a newer package": (
        "version",
        lambda b: _metadata(b, lambda m: m["required_packages_version"].update({"monai-retina-gen": "99.0.0"})),
        "needs monai-retina-gen 99",
    ),
    "changed weights": ("weights", lambda b: (b / CHECKPOINT).write_bytes(b"x"), "is pinned"),
    "no pins": ("weights", lambda b: _metadata(b, lambda m: m.pop("weights")), "does not pin"),
    "no limitations": ("card", lambda b: _edit(b, "docs/README.md", "## Limitations", "## More"), "`## Limitations`"),
    "clinical use": ("card", lambda b: _edit(b, "docs/README.md", "(?i)not for clinical use", "new"), "clinical use"),
    "a broken link": ("card", lambda b: (b / "docs" / "samples.png").unlink(), "links to samples.png"),
    "another figure": (
        "card",
        lambda b: _metadata(b, lambda m: m["eval_metrics"].update(fid=77.7)),
        "does not quote fid = 77.7",
    ),
    "no data licence": ("licences", lambda b: (b / "docs" / "data_license.txt").unlink(), "data_license.txt"),
    "no licence of weights": (
        "licences",
        lambda b: _edit(b, "docs/README.md", "Code and weights: Apache-2.0", "Code: Apache-2.0"),
        "README.md, License, does not state the licence of the weights",
    ),
    "no weights yet": (
        "licences",
        lambda b: _metadata(b, lambda m: m.update(weights_licence="Code: Apache-2.0. No weights yet.")),
        "weights_licence, does not state",
    ),
    "a home folder": (
        "paths",
        lambda b: _edit(b, "configs/train.json", '"datalist": "idrid"', '"datalist": "/home/me/idrid.json"'),
        "/home/me/idrid.json",
    ),
    "a Windows folder": (
        "paths",
        lambda b: _edit(b, "docs/README.md", "## Data", r"## Data in D:\\\\idrid"),
        "absolute path",
    ),
}


@pytest.mark.parametrize("name", list(BREAKS))
def test_every_check_can_fail(name: str, broken: Path) -> None:
    check, spoil, message = BREAKS[name]
    moved = spoil(broken)
    problems = FAST_CHECKS[check](moved if isinstance(moved, Path) else broken)
    assert any(message in problem for problem in problems), problems


def test_a_pickle_in_place_of_weights_is_not_executed(broken: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",))

    torch.save({"weight": Evil()}, broken / CHECKPOINT)
    _metadata(broken, lambda m: m["weights"][CHECKPOINT].update(sha256=sha256_file(broken / CHECKPOINT)))
    assert any("weights_only=True" in problem for problem in FAST_CHECKS["weights"](broken))
    assert not (tmp_path / "owned").exists()


def test_a_network_of_another_shape_is_noticed(broken: Path) -> None:
    def other_channels(metadata: dict[str, Any]) -> None:
        metadata["network_data_format"]["outputs"]["pred"]["num_channels"] = 4

    _metadata(broken, other_channels)
    assert "4" in check_network_in_out(broken)[0]


def test_a_missing_property_is_noticed(broken: Path) -> None:
    _edit(broken, "configs/inference.json", '"inferer": {', '"another": {')
    _edit(broken, "configs/inference.json", "@inferer", "@another")
    problem = "the inference workflow: Property 'inferer' with config ID 'inferer' not in the config."
    assert check_properties(broken) == [problem]


def test_a_broken_bundle_fails_and_hides_nothing(broken: Path) -> None:
    (broken / "configs" / "metadata.json").write_text("{")
    results = {result.check: result for result in verify_bundle(broken, fast=True)}
    assert list(results) == list(FAST_CHECKS)
    assert "not valid JSON" in results["metadata"].problems[0]
    assert results["paths"].passed


def test_figures_need_photographs(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MRG_DATA", raising=False)
    last = list(verify_bundle(broken, fast=True, figures=True))[-1]
    assert not last.passed
    assert "MRG_DATA" in last.skipped


def test_figures_are_compared_to_their_last_digit() -> None:
    assert compare_figures({"fid": 12.9}, {"fid": 12.94}) == []
    assert compare_figures({"kid": 0.0264}, {"kid": 0.0270}) == []
    assert compare_figures({"kid": 0.0264}, {"kid": 0.0310}) != []
    assert "none of which" in compare_figures({"fid": 1.0}, {"kappa": 1.0})[0]


def test_the_schema_agrees_with_jsonschema_and_refuses() -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft201909Validator.check_schema(schema)
    for missing in schema["required"]:
        metadata = read_metadata(BUNDLES[0])
        del metadata[missing]
        with pytest.raises(jsonschema.ValidationError, match=missing):
            jsonschema.validate(metadata, schema)


def test_saved_weights_of_another_network_are_noticed(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(torch.nn.Linear(2, 2).state_dict(), broken / CHECKPOINT)
    _metadata(broken, lambda m: m["weights"][CHECKPOINT].update(sha256=sha256_file(broken / CHECKPOINT)))
    monkeypatch.setattr(verification, "SLOW_CHECKS", {"export": check_export})
    results = {r.check: r for r in verify_bundle(broken)}
    assert "does not fit" in results["export"].problems[0]
