"""A bank that is made anew is read anew, and lies where it lay when it was named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from monai_retina_gen.data import read_record
from monai_retina_gen.transforms import GenerativeAugment
from monai_retina_gen.transforms.expansion.folder import expand


def seed_shown(augment: GenerativeAugment) -> int:
    return read_record(augment(torch.zeros(3, 32, 32), grade=3).meta["generated"]).seed  # type: ignore[union-attr]


def test_a_bank_made_anew_shows_its_new_images(
    vae_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown, augments = [], []
    for seed in (1, 2):
        shutil.rmtree("bank", ignore_errors=True)
        expand(str(vae_bundle), {3: 1}, "bank", seed=seed, gate=None, progress=False)
        augments.append(GenerativeAugment(bank="bank", prob=1.0, image_order="CHW"))
        shown.append(seed_shown(augments[-1]))
    assert shown[0] != shown[1]
    assert seed_shown(augments[0]) == shown[1], "the first transform shows what is there now"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert seed_shown(augments[0]) == shown[1]


def test_a_bank_serves_without_the_generator_that_is_named_beside_it(vae_bundle: Path, tmp_path: Path) -> None:
    folder = expand(str(vae_bundle), {3: 1}, tmp_path / "bank", gate=None, progress=False)
    assert seed_shown(GenerativeAugment(bank=folder, generator="no_such_bundle", prob=1.0, image_order="CHW")) >= 0
