"""Building a zoo: what is packed and what never is, the same bytes, versions that do not change."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import zipfile
from pathlib import Path

import pytest

from monai_retina_gen.errors import ZooError
from monai_retina_gen.weights import CHECKPOINT, load_state, parse_index, read_metadata
from monai_retina_gen.zoo import bundle_files, find_bundles, headline_figures
from monai_retina_gen.zoo.building import build_zoo

ARCHIVE = "tiny_vae_v0.0.1.zip"


@pytest.fixture
def bundle(zoo_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(zoo_bundle, tmp_path / "tiny_vae"))


def _set_metadata(bundle: Path, **values: object) -> None:
    path = bundle / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_training_state_output_caches_and_hidden_files_stay_out(zoo_bundle: Path) -> None:
    wanted = ["LICENSE", "configs/inference.json", "configs/metadata.json", "docs/README.md", "models/model.pt"]
    assert bundle_files(zoo_bundle) == wanted


def test_equal_input_gives_equal_bytes(bundle: Path, zoo_bundle: Path, tmp_path: Path) -> None:
    for i, path in enumerate(sorted(bundle.rglob("*"), reverse=True)):
        os.utime(path, (i, i))
        if path.is_file():
            path.chmod(0o600)
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    try:
        build_zoo([bundle], tmp_path / "a")
    finally:
        del os.environ["TZ"]
        time.tzset()
    build_zoo([zoo_bundle], tmp_path / "b")
    for name in (ARCHIVE, "index.json", "model_info.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["index.json", "model_info.json", ARCHIVE]


def test_indices_tell_the_truth(bundle: Path, tmp_path: Path) -> None:
    build_zoo([bundle], tmp_path / "zoo", address="https://example.org/zoo/")
    content = (tmp_path / "zoo" / ARCHIVE).read_bytes()
    entry = parse_index((tmp_path / "zoo" / "index.json").read_bytes(), "zoo").find("tiny_vae")
    assert (entry.sha256, entry.bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert entry.modes == ("sample",)
    with zipfile.ZipFile(tmp_path / "zoo" / ARCHIVE) as archive:
        assert {i.filename: i.file_size for i in archive.infolist()} == {
            f"tiny_vae/{path}": pin["bytes"] for path, pin in entry.files.items()
        }
    info = json.loads((tmp_path / "zoo" / "model_info.json").read_text())
    source = f"https://example.org/zoo/{ARCHIVE}"
    assert info == {"tiny_vae_v0.0.1": {"checksum": hashlib.sha1(content).hexdigest(), "source": source}}


def test_a_version_is_not_changed_and_older_ones_stay(bundle: Path, tmp_path: Path) -> None:
    build_zoo([bundle], tmp_path / "zoo")
    before = (tmp_path / "zoo" / ARCHIVE).read_bytes()
    (bundle / "docs" / "README.md").write_text("changed")
    with pytest.raises(ZooError, match="raise the version"):
        build_zoo([bundle], tmp_path / "zoo")
    assert (tmp_path / "zoo" / ARCHIVE).read_bytes() == before
    _set_metadata(bundle, version="0.0.2")
    assert [e.version for e in build_zoo([bundle], tmp_path / "zoo")] == ["0.0.1", "0.0.2"]
    _set_metadata(bundle, version="0.0.1")
    build_zoo([bundle], tmp_path / "zoo", replace=True)
    assert (tmp_path / "zoo" / ARCHIVE).read_bytes() != before


def test_what_cannot_be_packed(bundle: Path, tmp_path: Path) -> None:
    (bundle / "models" / "old.pt").write_bytes(b"x")
    with pytest.raises(ZooError, match="not pinned"):
        bundle_files(bundle)
    (bundle / "models" / "old.pt").unlink()
    (bundle / "docs" / "link.md").symlink_to("/etc/hostname")
    with pytest.raises(ZooError, match="is a link"):
        bundle_files(bundle)
    (bundle / "docs" / "link.md").unlink()
    with (bundle / "models" / "model.pt").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ZooError, match="is not the file that"):
        bundle_files(bundle)
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(ZooError, match=r"lacks models/model\.pt"):
        bundle_files(bundle)
    with pytest.raises(ZooError, match="holds no bundle"):
        find_bundles(tmp_path)


def test_no_half_zoo_is_left(bundle: Path, tmp_path: Path) -> None:
    _set_metadata(bundle, version="first")
    with pytest.raises(ZooError, match="version is 'first'"):
        build_zoo([bundle], tmp_path / "zoo")
    assert not (tmp_path / "zoo" / "index.json").exists()


def test_weights_and_training_states_together_stay_small(bundles_dir: Path) -> None:
    files = [path for folder in ("models", "training") for path in bundles_dir.glob(f"*/{folder}/*")]
    assert len(files) > len(find_bundles(bundles_dir))
    assert sum(path.stat().st_size for path in files) <= 150e6


def test_metadata_names_the_grades_that_curation_kept(bundles_dir: Path) -> None:
    metadata = read_metadata(bundles_dir / "retina_wgan")
    counts = load_state(bundles_dir / "retina_wgan" / CHECKPOINT)["curated_counts"]
    named = {int(n) for n in re.findall(r"\d", metadata["label_classes"].split("(")[0])}
    assert named == {grade for grade, count in enumerate(counts.tolist()) if count}


def test_shipped_figures_are_those_of_the_metadata(bundles_dir: Path) -> None:
    for bundle in find_bundles(bundles_dir):
        metrics = read_metadata(bundle)["eval_metrics"]
        figures = headline_figures(read_metadata(bundle))
        assert figures
        assert all(metrics[name] == value for name, value in figures.items())
