"""Contribution scores against gradients one by one, reference numbers and closed forms."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_retina_gen.editing import ContributionScores, DirectionPreset, rank_channels, resolve_preset, style_gradients
from monai_retina_gen.editing.style.contribution_scores import region_masks
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.networks import StyleGAN3
from monai_retina_gen.weights.import_stylegan3 import convert_stylegan3_state

FIXTURE = Path(os.environ.get("MRG_FIXTURES", Path(__file__).resolve().parents[4] / "shared" / "fixtures"))


def tiny() -> StyleGAN3:
    torch.manual_seed(0)
    return StyleGAN3(image_size=32, z_dim=8, w_dim=8, channel_base=256, channel_max=8).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network() -> StyleGAN3:
    return tiny()


@pytest.fixture(scope="module")
def styles(network: StyleGAN3) -> list[Tensor]:
    latent = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    return [style.detach() for style in network.styles(network.mapping(latent))]


def square(rows: list[int], low: int, high: int) -> Tensor:
    mask = torch.zeros(3, 1, 32, 32)
    mask[rows, :, low:high, low:high] = 1
    return mask


MASKS = {"ex": square([0, 1], 4, 9), "he": square([0, 1, 2], 12, 15), "vessel": square([0, 1, 2], 20, 30)}


def test_batched_backward_equals_one_by_one(network: StyleGAN3, styles: list[Tensor]) -> None:
    vectors = torch.randn(4, 3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    found, images = style_gradients(network, styles, vectors)
    leaves = [style.clone().requires_grad_() for style in styles]
    image = network.synthesize_from_styles(leaves)
    torch.testing.assert_close(images, image.detach())
    for row, vector in zip(found, vectors, strict=True):
        single = torch.cat(torch.autograd.grad((image * vector).sum(), leaves, retain_graph=True), 1)
        torch.testing.assert_close(row, single, rtol=1e-5, atol=1e-7)


def test_gradients_equal_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    path = FIXTURE / "stylegan3_t32.npz"
    if not path.is_file():
        pytest.skip(f"reference numbers not found at {path}: set MRG_FIXTURES to their folder")
    with np.load(path) as arrays:
        reference: dict[str, Any] = {
            key: json.loads(str(a)) if key == "cfg" else torch.as_tensor(a) for key, a in arrays.items()
        }
    own = StyleGAN3(image_size=32, z_dim=16, w_dim=16, channel_base=512, channel_max=16).eval()
    state = {key[3:]: value for key, value in reference.items() if key.startswith("sd/")}
    own.load_state_dict(convert_stylegan3_state(state, own))
    own.requires_grad_(False)
    mask = reference["in/mask"].expand(-1, 3, -1, -1)
    found, _ = style_gradients(own, own.styles(own.mapping(reference["in/z"])), torch.stack([mask, 2 * mask]))
    names = ["input", *(f"L{i:02d}" for i in range(15))]
    for layer, part in zip(names, own.style_space.split(found[0]), strict=True):
        wanted = reference[f"out/grad/style/{layer}"]
        assert float((part - wanted).norm() / wanted.norm()) < 2e-4, layer
    torch.testing.assert_close(found[1], 2 * found[0])


def test_paper_scores_are_the_mean_of_equation_4(network: StyleGAN3, styles: list[Tensor]) -> None:
    scores = ContributionScores(network, resolve_preset("paper"), ["ex"])
    scores.update([style[:2] for style in styles], {"ex": MASKS["ex"][:2]})
    scores.update([style[2:] for style in styles], {"ex": MASKS["ex"][2:]})
    table = scores.compute()
    leaves = [style.clone().requires_grad_() for style in styles]
    y = (network.synthesize_from_styles(leaves) * MASKS["ex"]).sum()
    gradient = torch.cat(torch.autograd.grad(y, leaves), 1)
    torch.testing.assert_close(table.signed[0], gradient.sum(0) / 2, rtol=1e-4, atol=1e-6)  # the third has no mask
    assert (table.counts["ex"], table.skipped["ex"]) == (2, 1)
    assert float(table.consistency("ex").max()) <= 1 + 1e-6


def test_released_scores(network: StyleGAN3, styles: list[Tensor]) -> None:
    scores = ContributionScores(network, resolve_preset("released"), ["ex"])
    scores.update([style[:1] for style in styles], {"ex": MASKS["ex"][:1]})
    mask = MASKS["ex"][:1].expand(-1, 3, -1, -1)
    (inside, rest), _ = style_gradients(network, [style[:1] for style in styles], torch.stack([mask, 1 - mask]))
    area = float(mask.sum())
    wanted = 10 * inside.abs() / area + rest.abs() / (255 - area)
    torch.testing.assert_close(scores.compute().signed[0], wanted[0], rtol=1e-4, atol=1e-7)


def test_contrast_ignores_what_brightens_everything(network: StyleGAN3, styles: list[Tensor]) -> None:
    # The contrast's vector adds up to zero, so that a constant added to the image scores nothing.
    scores = ContributionScores(network, DirectionPreset(), ["ex", "he"])
    images = torch.full((3, 3, 32, 32), 0.5)
    regions = region_masks(images, MASKS, ["ex", "he"])
    vector = scores._vector("ex", regions["ex"], regions)
    assert float(vector[:2].sum((1, 2, 3)).abs().max()) < 1e-5
    assert float(vector[0, 0, 6, 6]) > 0 > float(vector[0, 0, 3, 3])
    assert not vector[0, 2].any()  # exudates are yellow: blue does not count


def test_regions_do_not_overlap_the_background() -> None:
    images = torch.full((3, 3, 32, 32), 0.5)
    images[:, :, :, :2] = 0
    regions = region_masks(images, MASKS, ["ex"])
    assert sorted(regions) == ["background", "ex", "vessel"]
    assert float((regions["background"] * (regions["ex"] + regions["vessel"] + MASKS["he"])).max()) == 0
    assert not regions["background"][..., :2].any()


def test_excluded_layers_and_other_regions(network: StyleGAN3, styles: list[Tensor]) -> None:
    preset = DirectionPreset(form="mean", lesion_colors=False)
    scores = ContributionScores(network, preset, ["ex", "he"])
    scores.update(styles, MASKS)
    table, space = scores.compute(), network.style_space
    ranked, specificity = rank_channels(table, "ex", preset, space, torch.ones(space.size))
    assert bool((ranked[:4] == -torch.inf).all())
    assert bool((ranked[space.offsets[15] :] == -torch.inf).all())
    row = table.absolute
    torch.testing.assert_close(ranked[50], row[0, 50] - row[1:, 50].max())
    torch.testing.assert_close(specificity[50], (row[0, 50] - row[1:, 50].max()) / row[0, 50])
    released, _ = rank_channels(table, "ex", resolve_preset("released"), space, torch.ones(space.size))
    kept = [name for layer, name in enumerate(space.names) if released[space.offsets[layer]] > -torch.inf]
    assert kept == ["input", *(f"L{i}" for i in range(11))]  # L10 and earlier, as the authors chose by hand


def test_bad_input(network: StyleGAN3, styles: list[Tensor]) -> None:
    scores = ContributionScores(network, DirectionPreset(), ["ex"])
    with pytest.raises(ImageValueError, match="wanted \\(3, 1, 32, 32\\)"):
        scores.update(styles, {"ex": torch.zeros(3, 1, 16, 16)})
    with pytest.raises(ImageValueError, match="'ex'"):
        scores.update(styles, {"he": MASKS["he"]})
    with pytest.raises(ValueError, match="want one of paper, released, robust, joint"):
        resolve_preset("best")
    with pytest.raises(ValueError, match="want one of sum, mean, released, contrast"):
        DirectionPreset(form="median")
