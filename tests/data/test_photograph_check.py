"""`datalist` opens what it checks: broken, blank, misnamed and repeated photographs."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import check_datalist, check_photographs, phantom_fundus, write_image
from monai_retina_gen.data.checking import SAME, look_alikes, perceptual_hash
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.errors import DatalistError


def eye(seed: int) -> torch.Tensor:
    return torch.as_tensor(phantom_fundus(seed=seed, grade=seed % 5, size=128).image)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "fine.png", eye(0))
    write_image(tmp_path / "black.png", torch.zeros(3, 32, 32))
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes((tmp_path / "fine.png").read_bytes()[:400])
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    items = [{"image": str(path)} for path in sorted(tmp_path.iterdir())]
    with pytest.raises(DatalistError) as caught:
        check_photographs({"training": items})
    text = str(caught.value)
    assert all(name in text for name in ("black.png", "empty.png", "cut.png", "page.jpg"))
    assert "cannot be read: 3" in text
    assert "fine.png" not in text


def test_copies_under_other_names_and_through_links(tmp_path: Path) -> None:
    first, copy, link = (tmp_path / name for name in ("a.png", "copy.png", "link.png"))
    write_image(first, eye(0))
    shutil.copy(first, copy)
    os.symlink(first, link)
    for other in (copy, link):
        with pytest.raises(DatalistError, match="same content in several sections"):
            check_photographs({"training": [{"image": str(first)}], "test": [{"image": str(other)}]})
    with pytest.raises(DatalistError, match="image listed more than once"):
        check_datalist({"training": [{"image": str(first)}, {"image": str(link)}]})
    with pytest.warns(UserWarning, match="Same content more than once"):
        check_photographs({"training": [{"image": str(first)}, {"image": str(copy)}]})


def test_a_copy_saved_again_looks_alike_and_a_wrong_suffix_is_said(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", eye(0))
    write_image(tmp_path / "b.png", eye(1))
    Image.open(tmp_path / "a.png").resize((100, 100)).save(tmp_path / "again.png", format="JPEG", quality=80)
    paths = {name: {"image": str(tmp_path / f"{name}.png"), "group": name} for name in ("a", "b", "again")}
    with pytest.warns(UserWarning, match="look alike") as caught:
        check_photographs({"training": [paths["a"], paths["b"]], "test": [paths["again"]]})
    texts = [str(warning.message) for warning in caught]
    assert any("again.png holds .jpg" in text for text in texts)
    [alike] = [text for text in texts if "look alike" in text]
    assert "a.png (training)" in alike
    assert "again.png (test)" in alike
    assert "b.png" not in alike
    paths["again"]["group"] = "a"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_photographs({"training": [paths["a"], paths["b"]]})


@settings(max_examples=15, deadline=None)
@example(seed=8, wider=8, scale=1.0, size=187)
@example(seed=37, wider=3, scale=1.0, size=140)
@given(seed=st.integers(0, 50), wider=st.integers(0, 30), scale=st.floats(0.9, 1.0), size=st.integers(140, 220))
def test_hash_stays_when_a_photograph_is_resized_or_darkened(seed: int, wider: int, scale: float, size: int) -> None:
    image = eye(seed)
    padded = torch.nn.functional.pad(image, (wider, wider // 2, wider // 3, wider))
    resized = torch.nn.functional.interpolate(padded[None], (size, size), mode="bilinear", antialias=True)[0]
    bits = {"first": perceptual_hash(image), "second": perceptual_hash(scale * resized)}
    assert look_alikes(bits) == [("first", "second")]


def test_copies_of_idrid_and_no_other_photographs_look_alike(mrg_data: Path) -> None:
    files = sorted((mrg_data / "idrid/256/images").glob("grading_train_*.jpg"))[:60]
    hashes = {file.name: perceptual_hash(read_image(file)) for file in files}
    assert look_alikes(hashes) == []
    share = [(a != b).float().mean() for a in hashes.values() for b in hashes.values() if a is not b]
    assert min(share) > SAME


def test_the_command_opens_the_photographs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "a.png", eye(0))
    (tmp_path / "broken_left.png").write_bytes(b"\x89PNG and no more")
    command = ["datalist", "folder", str(tmp_path), "--out", str(tmp_path / "my.json")]
    assert main(command) != 0
    assert "broken_left.png" in capsys.readouterr().err
    assert main([*command, "--no-check"]) == 0
