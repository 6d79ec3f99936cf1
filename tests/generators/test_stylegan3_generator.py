"""StyleGAN3 as a generator: truncation, mixing, the user transform, records, style space and its statistics."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.errors import UnsupportedModeError, WeightsError
from monai_retina_gen.generators import (
    STATISTICS,
    StyleGAN3Generator,
    load_generator,
    measure_styles,
    regenerate,
    save_style_statistics,
)
from monai_retina_gen.generators.style_statistics import load_style_statistics
from monai_retina_gen.generators.stylegan3_generator import inverse_transform
from monai_retina_gen.networks import StyleGAN3
from monai_retina_gen.weights import CHECKPOINT, save_state, sha256_file

ARGUMENTS = {"image_size": 32, "z_dim": 8, "w_dim": 8, "num_classes": 5, "channel_base": 256, "channel_max": 8}
OPTIONS = {
    "truncation": 0.6,
    "truncation_cutoff": 8,
    "mix_layers": [4, 5],
    "transform": {"rotate": 20.0, "translate": [0.1, -0.05]},
}


def network(**options: object) -> StyleGAN3:
    torch.manual_seed(0)
    made = StyleGAN3(**(ARGUMENTS | options))  # type: ignore[arg-type]
    with torch.no_grad():
        made.w_avg.normal_()
    return made


@pytest.fixture(scope="module")
def generator() -> StyleGAN3Generator:
    return StyleGAN3Generator(network(), batch_size=3)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny_stylegan3"
    (folder / "configs").mkdir(parents=True)
    save_state(network().state_dict(), folder / CHECKPOINT)
    described = {"_target_": "monai_retina_gen.networks.StyleGAN3", **ARGUMENTS}
    target = {"_target_": "monai_retina_gen.generators.StyleGAN3Generator", "network": "@network_def"}
    (folder / "configs" / "inference.json").write_text(json.dumps({"network_def": described, "generator": target}))
    pin = {"version": "0.0.1", "weights": {CHECKPOINT: {"sha256": sha256_file(folder / CHECKPOINT)}}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(pin))
    return folder


def test_an_image_is_made_again_from_its_record_alone(bundle: Path) -> None:
    batch = load_generator(bundle).sample([0, 4, 2], seeds=[5, 6, 7], mix_seeds=[8, 9, 10], **OPTIONS)
    for image, record in zip(batch.image, batch.records, strict=True):
        again = regenerate(GenerationRecord.from_json(record.to_json()), bundle=bundle)
        assert (again.image[0] - image).abs().max() < 1 / 255
        assert again.records[0] == record
    assert batch.records[1].options["mix_seeds"] == [9]


def test_a_sample_depends_on_its_seed_and_grade_alone(generator: StyleGAN3Generator) -> None:
    whole = generator.sample([0, 1, 2, 3, 4], seeds=[3, 1, 4, 1, 5], truncation=0.8).image
    for i, (grade, seed) in enumerate(zip(range(5), [3, 1, 4, 1, 5], strict=True)):
        alone = generator.sample([grade], seeds=[seed], truncation=0.8).image[0]
        assert (alone - whole[i]).abs().max() < 1 / 255
    assert not torch.allclose(whole[1], whole[3], atol=1e-2)  # one seed, two grades


def test_truncation_to_the_grade_keeps_the_grades_apart(generator: StyleGAN3Generator) -> None:
    grades, seeds = [0, 0, 4, 4], [1, 2, 3, 4]
    own = generator.sample(grades, seeds=seeds, truncation=0.0).image
    torch.testing.assert_close(own[0], own[1])
    assert not torch.allclose(own[0], own[2], atol=1e-2)
    common = generator.sample(grades, seeds=seeds, truncation=0.0, truncation_center="global").image
    torch.testing.assert_close(common[0], common[2])


def test_global_truncation_is_the_networks(generator: StyleGAN3Generator) -> None:
    grade = torch.tensor([1, 3])
    found = generator.codes([7, 8], grade, truncation=0.7, truncation_cutoff=5, truncation_center="global")
    wanted = generator.network.mapping(generator.latents([7, 8]), grade, truncation=0.7, truncation_cutoff=5)
    torch.testing.assert_close(found, wanted)


def test_center_is_the_mean_latent_and_follows_a_training() -> None:
    made = StyleGAN3Generator(network())
    before = made.centers().clone()
    w = made.network.mapping(
        torch.randn(20_000, 8, generator=torch.Generator().manual_seed(1)), torch.full((20_000,), 3)
    )
    torch.testing.assert_close(before[3], w[:, 0].mean(0), atol=0.1, rtol=0)
    assert made.centers() is made.centers()
    average = made.network.latent_mapping.parameters()
    with torch.no_grad():
        torch._foreach_lerp_(list(average), [p + 1 for p in made.network.latent_mapping.parameters()], 0.1)
    assert not torch.allclose(made.centers(), before)


def test_mixing_takes_the_layers_that_are_named(generator: StyleGAN3Generator) -> None:
    def look(**options: object) -> torch.Tensor:
        return generator.sample([2], seeds=[1], **options).image  # type: ignore[arg-type]

    other = generator.sample([2], seeds=[9]).image
    torch.testing.assert_close(look(mix_seeds=[9], mix_layers=list(range(16))), other)
    torch.testing.assert_close(look(mix_seeds=[9], mix_layers=[]), look())
    mixed = look(mix_seeds=[9], mix_layers=[12, 13])
    assert not torch.allclose(mixed, look(), atol=1e-3)
    assert not torch.allclose(mixed, other, atol=1e-3)


def test_translation_moves_the_eye_the_way_it_says() -> None:
    made = StyleGAN3Generator(network(num_classes=0, channel_max=16))
    still = made.sample([0], seeds=[3]).image[0]
    moved = made.sample([0], seeds=[3], transform={"translate": [0.25, -0.125]}).image[0]  # 8 to the right, 4 up
    inside = (slice(None), slice(4, 24), slice(12, 28))
    wanted = still.roll((-4, 8), (1, 2))[inside]
    wrong = [still.roll(shift, (1, 2))[inside] for shift in ((4, 8), (-4, -8), (8, -4), (0, 0))]
    error = (moved[inside] - wanted).square().mean()
    assert error < 0.1 * min((moved[inside] - other).square().mean() for other in wrong)


def test_rotation_turns_the_eye_counter_clockwise() -> None:
    made = StyleGAN3Generator(network(config="r", num_classes=0, channel_max=16))
    still = made.sample([0], seeds=[3]).image[0]
    turned = made.sample([0], seeds=[3], transform={"rotate": 90.0}).image[0]
    errors = [float((turned - still.rot90(k, (1, 2))).square().mean()) for k in range(4)]  # k = 1 is counter-clockwise
    assert errors[1] < 0.05 * min(errors[0], errors[2], errors[3])


@settings(max_examples=30, deadline=None)
@given(st.floats(-720, 720), st.floats(-2, 2), st.floats(-2, 2), st.floats(-1, 1), st.floats(-1, 1))
def test_transform_is_inverted(angle: float, dx: float, dy: float, x: float, y: float) -> None:
    """A place that is turned, then moved, is found again where it came from."""
    a = math.radians(angle)
    there = [x * math.cos(a) + y * math.sin(a) + dx, -x * math.sin(a) + y * math.cos(a) + dy, 1.0]
    back = inverse_transform({"rotate": angle, "translate": [dx, dy]}) @ torch.tensor(there)
    torch.testing.assert_close(back, torch.tensor([x, y, 1.0]), atol=1e-4, rtol=1e-4)


def test_style_space_maps_flat_indices(generator: StyleGAN3Generator) -> None:
    space = generator.style_space
    assert space.size == 124
    assert [space.index(*space.locate(k)) for k in range(space.size)] == list(range(space.size))


def test_statistics_are_those_of_all_samples_at_once(generator: StyleGAN3Generator) -> None:
    found = measure_styles(generator, samples=57, seed=11, batch_size=10)
    grades = torch.arange(57) % 5
    with torch.no_grad():
        rows = generator.style_space.flatten(generator.network.styles(generator.codes(range(11, 68), grades))).double()
    torch.testing.assert_close(found.mean.double(), rows.mean(0), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found.std.double(), rows.std(0, correction=0), atol=1e-6, rtol=1e-5)
    assert found.count == 57


def test_statistics_belong_to_their_weights(bundle: Path) -> None:
    with pytest.raises(WeightsError, match="style-statistics"):
        load_style_statistics(bundle)
    found = measure_styles(load_generator(bundle), samples=20)  # type: ignore[arg-type]
    save_style_statistics(bundle, found, seed=0)
    loaded = load_style_statistics(bundle)
    assert torch.equal(loaded.mean, found.mean)
    assert torch.equal(loaded.std, found.std)
    assert loaded.count == 20
    load_generator(bundle)  # the pin of the weights is still there
    whole = (bundle / STATISTICS).read_bytes()
    (bundle / STATISTICS).write_bytes(whole[:-1])
    with pytest.raises(WeightsError, match="is pinned"):
        load_style_statistics(bundle)
    (bundle / STATISTICS).write_bytes(whole)
    save_state({k: v + 1 for k, v in network().state_dict().items()}, bundle / CHECKPOINT)
    with pytest.raises(WeightsError, match="make it again"):
        load_style_statistics(bundle)


def test_unconditional_networks_say_that_the_label_means_nothing() -> None:
    made = StyleGAN3Generator(network(num_classes=0))
    batch = made.sample([0, 4], seeds=[1, 1], truncation=0.5)
    assert batch.records[1].options["curated"] is False
    torch.testing.assert_close(batch.image[0], batch.image[1])
    again = made.sample([4], seeds=[1], **batch.records[1].options).image  # type: ignore[arg-type]
    torch.testing.assert_close(again[0], batch.image[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [1]}, "2 grades need as many seeds, got 1"),
        ({"truncation": 0.5, "truncation_cutoff": 17}, r"truncation_cutoff must lie in 0..16, got 17"),
        ({"truncation": 0.5, "truncation_center": "median"}, "truncation_center must be one of grade, global"),
        ({"mix_seeds": [1, 2]}, "give both or neither"),
        ({"mix_seeds": [1], "mix_layers": [0]}, "2 grades need as many seeds, got 1"),
        ({"mix_seeds": [1, 2], "mix_layers": [16]}, r"layers must lie in 0..15, got 16"),
        ({"transform": {"scale": 2.0}}, r"transform has \['scale'\]"),
        ({"transform": {"translate": [1.0]}}, "want numbers"),
        ({"transform": {"translate": 1.0}}, "want numbers"),
        ({"transform": {"rotate": float("nan")}}, "want numbers"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str, generator: StyleGAN3Generator) -> None:
    with pytest.raises(ValueError, match=message):
        generator.sample([0, 1], **({"seeds": [1, 2]} | options))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        generator.sample([0], seeds=[1], temperature=0.5)


def test_a_network_that_does_not_sample_says_so() -> None:
    network = StyleGAN3(image_size=32, z_dim=8, w_dim=8, num_classes=5, channel_base=256, channel_max=8)
    generator = StyleGAN3Generator(network, samples=False)
    assert not generator.modes
    with pytest.raises(UnsupportedModeError, match="has no mode 'sample'"):
        generator.sample([0], seeds=[0])
    assert generator.equip(inverter=None).modes == frozenset()
