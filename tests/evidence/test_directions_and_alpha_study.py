"""The commands `directions` and `evaluate --edits photographs`, on a small untrained network and phantoms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from monai_retina_gen.__main__ import main
from monai_retina_gen.apps.model import style as command
from monai_retina_gen.data import load_datalist, phantom_fundus, write_image
from monai_retina_gen.editing import Directions, GateLimits, Inversion, LabelGate, load_directions
from monai_retina_gen.engines import FundusSegmenter
from monai_retina_gen.evidence.edits.alpha_study import AlphaSettings, alpha_study, summarise
from monai_retina_gen.evidence.edits.directions import search_directions, store
from monai_retina_gen.generators import StyleGAN3Generator, load_generator
from monai_retina_gen.networks import LesionSegmenter, StyleGAN3
from monai_retina_gen.networks.inputs import resized
from monai_retina_gen.transforms import CropToFieldOfView, LoadFundus
from monai_retina_gen.weights import save_state, sha256_file

TINY = {"image_size": 32, "z_dim": 8, "w_dim": 8, "num_classes": 5, "channel_base": 256, "channel_max": 8}


class Masks:
    side = 32

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        return {"ex": (0.5 + 3 * (images[:, :1] - 0.5)).clamp(0, 1), "vessel": (images[:, 2:] > 0.6).float()}


class ByBrightness(nn.Module):
    """Graders that call bright photographs severe."""

    def forward(self, images: Tensor, groups: Any) -> Tensor:
        level = (images.mean((1, 2, 3)) * 20).long().clamp(0, 4)
        return torch.eye(5)[level]


class MeanStyles:
    def __init__(self, network: StyleGAN3) -> None:
        self.network = network

    def __call__(self, images: Tensor, grades: Tensor) -> Inversion:
        ws = self.network.mapping(torch.ones(len(images), 8), torch.full((len(images),), 3))
        styles = self.network.style_space.flatten(self.network.styles(ws))
        image = (self.network.synthesis.run(self.network.style_space.split(styles)) + 1) / 2
        return Inversion(styles, image.clamp(0, 1), torch.zeros(len(images)))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny_stylegan3"
    (folder / "configs").mkdir(parents=True)
    torch.manual_seed(0)
    save_state(StyleGAN3(**TINY).state_dict(), folder / "models" / "model.pt")
    config = {
        "network_def": {"_target_": "monai_retina_gen.networks.StyleGAN3", **TINY},
        "generator": {"_target_": "monai_retina_gen.generators.StyleGAN3Generator", "network": "@network_def"},
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    pins = {"models/model.pt": {"sha256": sha256_file(folder / "models" / "model.pt")}}
    (folder / "configs" / "metadata.json").write_text(json.dumps({"version": "0.1", "weights": pins}))
    return folder


def loaded(bundle: Path) -> StyleGAN3Generator:
    generator = load_generator(bundle)
    assert isinstance(generator, StyleGAN3Generator)
    return generator


def gate() -> LabelGate:
    limits = GateLimits(0.1, {8: [4.0] * 5}, {8: [1.0] * 5}, 1.0, 4.0, 1.0, 1.0)
    return LabelGate(graders=ByBrightness(), segmenter=None, limits=limits)


def test_directions_are_found_stored_and_loaded(bundle: Path) -> None:
    generator = loaded(bundle)
    found = search_directions(
        generator, Masks(), lesions=["ex"], presets=["paper", "robust", "joint"], images=8, probes=3, gate=gate(),
    )  # fmt: skip
    assert set(found.directions) == {"paper", "robust", "joint"}
    joint = found.directions["joint"].vectors["ex"]
    assert int((joint != 0).sum()) > generator.style_space.size // 2  # all layers together
    assert found.rows["joint"][0].area_change > 0
    row = found.rows["robust"][0]
    assert row.area_change > 0  # strength upwards is more of the lesion
    assert 0 <= row.locality <= 1
    assert row.label_flips is not None
    path = store(bundle, "inference", found, "robust", of=generator.weights_sha256, notes={"images": 8})
    text = path.read_text()
    assert "| ex |" in text
    assert "| paper | 0.6 | ex |" in text
    assert {p.name for p in (bundle / "docs").iterdir()} == {
        "directions.json", "directions.md", "directions.png", "directions_paper.png", "directions_joint.png",
    }  # fmt: skip
    again = loaded(bundle).directions
    assert again is not None
    assert torch.equal(again.vectors["ex"], found.directions["robust"].vectors["ex"])
    assert torch.equal(load_directions(bundle, of=generator.weights_sha256).mean, again.mean)


class Lookup:
    """Inverts photographs that it knows: the styles of the one that is most alike."""

    def __init__(self, images: list[Tensor], styles: Tensor) -> None:
        self.images, self.styles = torch.stack(images), styles

    def __call__(self, images: Tensor, grades: Tensor) -> Inversion:
        nearest = torch.cdist(images.flatten(1), self.images.flatten(1)).argmin(1)
        return Inversion(self.styles[nearest], images, torch.zeros(len(images)))


@pytest.fixture
def planted(bundle: Path, tmp_path: Path) -> tuple[StyleGAN3Generator, Tensor, list[str]]:
    """A generator for which painted versions differ by a known change, and options of the command."""
    generator = loaded(bundle)
    space = generator.style_space
    change = torch.zeros(space.size)
    change[[space.index(9, 2), space.index(11, 5)]] = torch.tensor([3.0, -2.0])
    load, crop, known, items, listed = LoadFundus(), CropToFieldOfView(size=32), list[Tensor](), [], []
    for i in range(4):
        eye = phantom_fundus(i, size=64, grade=2).image
        painted = eye.clone()
        painted[0, 24:30, 24:30], painted[1:, 24:30, 24:30] = 1.0, 0.9
        write_image(tmp_path / f"{i}.png", eye)
        write_image(tmp_path / f"{i}_ex.png", painted)
        items.append({"image": f"{i}.png", "grade": 2, "group": str(i)})
        version = {"image": f"{i}_ex.png", "grade": 2, "lesion": "ex"}
        listed.append({"image": f"{i}.png", "versions": [version]})
        known += [crop(load(tmp_path / f"{i}.png")).as_tensor(), resized(painted[None], 32)[0]]
    (tmp_path / "list.json").write_text(json.dumps({"training": items, "validation": [], "test": []}))
    (tmp_path / "versions.json").write_text(json.dumps(listed))
    with torch.no_grad():
        ws = generator.codes(list(range(4)), torch.full((4,), 2))
        clean = space.flatten(generator.network.styles(ws))
    styles = torch.stack([clean, clean + change], dim=1).flatten(0, 1)
    generator.equip(inverter=Lookup(known, styles))
    options = ["--versions", str(tmp_path / "versions.json"), "--datalist", str(tmp_path / "list.json")]
    return generator, change, [*options, "--dataset-dir", str(tmp_path)]


def test_pairs_are_a_preset_like_the_others(
    bundle: Path, planted: tuple[StyleGAN3Generator, Tensor, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, change, options = planted
    network = LesionSegmenter(structures=["ex"], channels=(4, 8, 8))
    segmenter = FundusSegmenter(network, structures=["ex"], image_size=32)
    monkeypatch.setattr(command, "load_style_generator", lambda name, device: generator)
    monkeypatch.setattr(command, "load_segmenter", lambda *names, **keywords: segmenter)
    arguments = ["model", "directions", "--generator", str(bundle), "--preset", "pairs", "--images", "8"]
    assert main([*arguments, "--probes", "2", *options]) == 0
    stored = load_directions(bundle, of=generator.weights_sha256)
    torch.testing.assert_close(stored.vectors["ex"], change, atol=1e-4, rtol=1e-4)
    written = json.loads((bundle / "docs" / "directions.json").read_text())
    assert (written["preset"], written["counts"]["pairs"]) == ("pairs", {"ex": 4})
    assert written["directions"]["pairs"][0]["channels_moved"] == 2
    assert main(arguments) == 2  # without versions


def test_pairs_beside_other_presets_and_without_samples(
    planted: tuple[StyleGAN3Generator, Tensor, list[str]],
) -> None:
    generator, change, _ = planted
    styles = generator.inverter.styles  # type: ignore[union-attr]
    pairs = {"ex": (styles[::2], styles[1::2])}
    options: dict[str, Any] = {"lesions": ["ex"], "pairs": pairs, "images": 8, "probes": 2}
    both = search_directions(generator, Masks(), presets=["joint", "pairs"], **options)
    assert {name: rows[0].lesion for name, rows in both.rows.items()} == {"joint": "ex", "pairs": "ex"}
    generator.modes = generator.modes - {"sample"}
    alone = search_directions(generator, Masks(), presets=["pairs"], **options)
    for found in (both, alone):
        torch.testing.assert_close(found.directions["pairs"].vectors["ex"], change, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="no photograph has a version with ex painted"):
        search_directions(generator, Masks(), presets=["pairs"], **{**options, "pairs": {}})
    with pytest.raises(ValueError, match="does not sample"):
        search_directions(generator, Masks(), presets=["joint"], **{**options, "pairs": {}})


def test_directions_of_other_weights_are_left_out(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    generator = loaded(bundle)
    found = search_directions(generator, Masks(), lesions=["ex"], presets=["paper"], images=4, probes=2)
    store(bundle, "inference", found, "paper", of="0" * 64, notes={})
    assert loaded(bundle).directions is None
    assert "belongs to other weights" in caplog.text


def test_no_lesion_is_an_error(bundle: Path) -> None:
    def nothing(images: Tensor) -> dict[str, Tensor]:
        return {"ex": torch.zeros_like(images[:, :1])}

    with pytest.raises(ValueError, match="none of 4 generated images"):
        search_directions(loaded(bundle), nothing, lesions=["ex"], images=4, probes=2)


def make_editor(bundle: Path) -> StyleGAN3Generator:
    generator = loaded(bundle)
    size = generator.style_space.size
    vector, one = torch.zeros(size), torch.ones(size)
    vector[generator.style_space.index(9, 2)] = 30.0
    none: dict[str, Any] = {"channels": torch.tensor([], dtype=torch.long), "effects": {}, "spread": {}}
    directions = Directions({"ex": vector}, "sigma", one, one, -900 * one, 900 * one, **none)
    generator.equip(inverter=MeanStyles(generator.network), directions=directions, masker=Masks())
    return generator


def test_alpha_study_measures_writes_and_goes_on(bundle: Path, phantom_folder: Path, tmp_path: Path) -> None:
    items = [
        item for item in load_datalist(str(phantom_folder / "datalist.json"))["training"] if item["grade"] in (0, 2, 3)
    ][:5]
    settings = AlphaSettings(strengths=(-1, 0, 1), image_size=64, graders="own")
    options = {"judge": gate(), "distance": lambda a, b: (a - b).abs().mean((1, 2, 3))}
    report = alpha_study(items, make_editor(bundle), tmp_path / "a", settings, **options)
    figures = {f["strength"]: f for f in report["figures"]}
    edited = [item for item in items if item["grade"] != 0]
    assert sorted(figures) == [-1, 0, 1]
    assert figures[0]["n"] == len(edited)
    assert figures[0]["flips"]["rate"] == 0
    assert figures[0]["area_change"] == 0
    assert figures[1]["area_change"] != 0
    assert figures[1]["outside"] < 1e-3  # nothing but the soft edge reaches outside
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        "alpha_study.csv", "alpha_study.json", "alpha_study.png", "rows", "settings.json",
    }  # fmt: skip
    still = make_editor(bundle)
    still.edit = None  # type: ignore[method-assign,assignment]  # nothing is edited a second time
    again = alpha_study(items, still, tmp_path / "a", settings, **options)
    assert again == report
    other = AlphaSettings(strengths=(-1, 0, 1), image_size=48, graders="own")
    with pytest.raises(ValueError, match="other settings \\(image_size: 64 there"):
        alpha_study(items, still, tmp_path / "a", other, **options)
    stranger = gate()
    stranger.image_size = 8
    for changed, named in (
        ({"judge": stranger}, "judges \\(judge\\)"),
        ({"distance": nn.Linear(1, 1)}, "distance_sha256"),
    ):
        with pytest.raises(ValueError, match=f"other settings \\({named}"):
            alpha_study(items, still, tmp_path / "a", settings, **{**options, **changed})
    with pytest.raises(ValueError, match="other settings \\(data_sha256"):
        alpha_study(items[1:], still, tmp_path / "a", settings, **options)
    with pytest.raises(ValueError, match="other settings \\(generator \\(directions_sha256\\)"):
        alpha_study(items, loaded(bundle), tmp_path / "a", settings, **options)


def test_figures_in_closed_form() -> None:
    common = {"lesion": "ex", "grade": 3, "probability": 0.5, "outside": None, "flipped": False, "refused": ""}
    rows = [
        {**common, "image": "a", "asked": 0, "strength": 0, "predicted": 3, "area": 0.1},
        {**common, "image": "b", "asked": 0, "strength": 0, "predicted": 2, "area": 0.3},
        {**common, "image": "a", "asked": 1, "strength": 1, "predicted": 4, "area": 0.2, "flipped": True},
        {**common, "image": "b", "asked": 1, "strength": 0, "predicted": 2, "area": 0.3, "refused": "far 9"},
    ]
    zero, one = summarise(rows)
    assert (zero["accuracy"]["rate"], one["accuracy"]["rate"]) == (0.5, 0.0)
    assert (one["flips"]["rate"], one["accepted"]["rate"], one["mean_strength"]) == (0.5, 0.5, 0.5)
    assert one["area_change"] == pytest.approx(0.25)
    assert one["reasons"] == {"far ": 1}
    assert zero["outside"] is None


@pytest.mark.parametrize(
    ("options", "message"), [({"strengths": (2.0,)}, "in \\[-1, 1\\]"), ({"gate": "label"}, "judged by itself")]
)
def test_settings_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AlphaSettings(**options)
